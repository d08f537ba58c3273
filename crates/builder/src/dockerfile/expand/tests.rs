//! Expansion, case by case.

use super::*;

fn variables(name: &str) -> Option<String> {
    let value = match name {
        "v" => "value",
        "empty" => "",
        "path" => "/usr/local/lib/libfoo.so.1",
        "words" => "one two",
        "dot" => "a.b.c",
        "star" => "a*b*c",
        "other" => "v",
        "1" => "first",
        _ => return None,
    };
    Some(value.into())
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn one_word_expands_as_the_language_says() {
    for (text, want) in [
        ("plain", "plain"),
        ("", ""),
        ("$v", "value"),
        ("${v}", "value"),
        ("a$v/b", "avalue/b"),
        ("a${v}b", "avalueb"),
        ("$vx", ""),
        ("$unset", ""),
        ("${unset}", ""),
        ("$1", "first"),
        ("$12", ""),
        ("$", "$"),
        ("a$ b", "a$ b"),
        ("$.", "$."),
        ("\\$v", "$v"),
        ("\\\\$v", "\\value"),
        ("'$v'", "$v"),
        ("\"$v\"", "value"),
        ("\"\\$v\"", "$v"),
        ("\"a\\\"b\"", "a\"b"),
        ("\"a\\nb\"", "a\\nb"),
        ("a\\ b", "a b"),
        ("a\\nb", "anb"),
        ("trailing\\", "trailing"),
        ("'it''s'", "its"),
        ("\"it's\"", "it's"),
        ("'say \"x\"'", "say \"x\""),
        ("${v:-w}", "value"),
        ("${empty:-w}", "w"),
        ("${empty-w}", ""),
        ("${unset:-w}", "w"),
        ("${unset-w}", "w"),
        ("${unset:-}", ""),
        ("${v:+w}", "w"),
        ("${v+w}", "w"),
        ("${empty:+w}", ""),
        ("${empty+w}", "w"),
        ("${unset:+w}", ""),
        ("${unset+w}", ""),
        ("${unset:-${v}}", "value"),
        ("${unset:-a$v}", "avalue"),
        ("${unset:-${unset:-deep}}", "deep"),
        ("${unset:-\"a}b\"}", "a}b"),
        ("${unset:-'$v'}", "$v"),
        ("${v:?m}", "value"),
        ("${empty?m}", ""),
        ("${path#*/}", "usr/local/lib/libfoo.so.1"),
        ("${path##*/}", "libfoo.so.1"),
        ("${path%/*}", "/usr/local/lib"),
        ("${path%%/*}", ""),
        ("${path%.*}", "/usr/local/lib/libfoo.so"),
        ("${path%%.*}", "/usr/local/lib/libfoo"),
        ("${path#nothing}", "/usr/local/lib/libfoo.so.1"),
        ("${v#?}", "alue"),
        ("${v%?}", "valu"),
        ("${v##*}", ""),
        ("${v#*}", "value"),
        ("${unset#a}", ""),
        ("${dot/./-}", "a-b.c"),
        ("${dot//./-}", "a-b-c"),
        ("${dot//./}", "abc"),
        ("${dot/b*/x}", "a.x"),
        ("${dot//?/x}", "xxxxx"),
        ("${dot/z/x}", "a.b.c"),
        ("${star/\\*/-}", "a-b*c"),
        ("${star//\\*/-}", "a-b-c"),
        ("${star%\\**}", "a*b"),
        ("${dot/./$v}", "avalueb.c"),
        ("${words}", "one two"),
        ("é${v}ü", "évalueü"),
        ("$v$v", "valuevalue"),
    ] {
        assert_eq!(word(text, '\\', &variables).as_deref(), Ok(want), "{text}");
    }
}

#[test]
fn malformed_words_are_refused_with_the_reason() {
    for (text, want) in [
        ("'open", "no closing '"),
        ("\"open", "no closing \""),
        ("\"open\\", "no closing \""),
        ("${", "no closing }"),
        ("${v", "no closing }"),
        ("${v:", "no closing }"),
        ("${v:-w", "no closing }"),
        ("${}", "names no variable"),
        ("${ v}", "names no variable"),
        ("${v:x}", "unsupported modifier :x"),
        ("${v^}", "unsupported modifier ^"),
        ("${v/a}", "no closing /"),
        ("${v/a/b", "no closing }"),
        ("${unset:?need it}", "unset: need it"),
        ("${empty:?}", "empty: is not allowed to be empty"),
        ("${unset?}", "unset: is not allowed to be unset"),
    ] {
        let error = word(text, '\\', &variables).unwrap_err().to_string();
        assert!(error.contains(want), "{text}: {error}");
    }
}

#[test]
fn words_split_at_space_that_no_quote_guards() {
    for (text, want) in [
        ("a b", vec!["a", "b"]),
        ("$words", vec!["one", "two"]),
        ("\"$words\"", vec!["one two"]),
        ("x$words", vec!["xone", "two"]),
        ("a\\ b c", vec!["a b", "c"]),
        ("'' b", vec!["", "b"]),
        ("$unset", vec![]),
        ("  a  ", vec!["a"]),
    ] {
        assert_eq!(words(text, '\\', &variables).unwrap(), want, "{text}");
    }
}

#[test]
fn the_escape_character_can_be_a_backtick() {
    assert_eq!(word("c:\\dir`$v\\$v", '`', &variables).as_deref(), Ok("c:\\dir$v\\value"));
}

#[test]
fn a_body_keeps_its_quotes() {
    let text = "say \"$v\" and '$v' \\$v \\n\n";
    assert_eq!(body(text, '\\', &variables).as_deref(), Ok("say \"value\" and 'value' $v \\n\n"));
    assert_eq!(body("${unset:-\"q\"}", '\\', &variables).as_deref(), Ok("q"));
}

#[test]
fn endless_nesting_is_refused_and_not_run_into() {
    let text = "${u:-".repeat(5_000) + &"}".repeat(5_000);
    assert!(word(&text, '\\', &|_: &str| None).unwrap_err().to_string().contains("nests too deep"));
}

proptest::proptest! {
    #[test]
    fn no_text_makes_expansion_panic(text in ".{0,80}", tail in "[$a-z{}:+?/#%*'\"\\\\-]{0,60}") {
        let _ = word(&text, '\\', &variables);
        let _ = words(&tail, '\\', &variables);
        let _ = body(&tail, '`', &variables);
    }
}
