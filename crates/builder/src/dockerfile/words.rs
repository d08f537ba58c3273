//! Cutting an instruction's arguments into words, quotes and escapes kept: expansion removes them later.

/// Splits at white space outside quotes; inside double quotes and outside any, the escape character guards the next one.
pub(super) fn split(text: &str, escape: char) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match quote {
            None if c.is_whitespace() => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                continue;
            }
            None if c == '"' || c == '\'' => quote = Some(c),
            Some(open) if c == open => quote = None,
            _ => {}
        }
        word.push(c);
        if c == escape && quote != Some('\'') {
            word.extend(chars.next());
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

/// Splits at the first run of white space: the word before it, and the rest without leading white space.
pub(super) fn first(text: &str) -> (&str, &str) {
    let text = text.trim_start();
    let end = text.find(char::is_whitespace).unwrap_or(text.len());
    (&text[..end], text[end..].trim_start())
}

/// What `text` is as a JSON array.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Json {
    /// An array of strings.
    Strings(Vec<String>),
    /// An array with something else in it.
    Mixed,
    /// Not a JSON array: the shell form.
    No,
}

/// Reads the exec form.
pub(super) fn json(text: &str) -> Json {
    let text = text.trim_start();
    if !text.starts_with('[') {
        return Json::No;
    }
    let Ok(serde_json::Value::Array(items)) = serde_json::from_str(text) else {
        return Json::No;
    };
    let strings = items.into_iter().map(|item| match item {
        serde_json::Value::String(word) => Some(word),
        _ => None,
    });
    strings.collect::<Option<Vec<_>>>().map_or(Json::Mixed, Json::Strings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_keep_quotes_and_escapes() {
        for (text, want) in [
            ("a b  c", vec!["a", "b", "c"]),
            ("a=\"b c\" d", vec!["a=\"b c\"", "d"]),
            ("a='b \\' c", vec!["a='b \\'", "c"]),
            ("a\\ b c", vec!["a\\ b", "c"]),
            ("\"a\\\" b\" c", vec!["\"a\\\" b\"", "c"]),
            ("\t a\t", vec!["a"]),
            ("a\\", vec!["a\\"]),
            ("", vec![]),
        ] {
            assert_eq!(split(text, '\\'), want, "{text:?}");
        }
        assert_eq!(split("a` b c\\ d", '`'), ["a` b", "c\\", "d"]);
    }

    #[test]
    fn only_an_array_of_strings_is_the_exec_form() {
        assert_eq!(json(" [\"a\", \"b c\"] "), Json::Strings(vec!["a".into(), "b c".into()]));
        assert_eq!(json("[]"), Json::Strings(vec![]));
        assert_eq!(json("[\"a\", 1]"), Json::Mixed);
        for text in ["['a']", "[ -f x ]", "echo [\"a\"]", "[\"a\"] b", "[\"a\",]"] {
            assert_eq!(json(text), Json::No, "{text}");
        }
    }
}
