//! The matcher, case by case.

use super::*;

#[test]
fn the_last_pattern_that_matches_decides() {
    for (file, path, want) in [
        ("a", "a", true),
        ("a", "b", false),
        ("a", "x/a", false),
        ("a", "a/b/c", true),
        ("a/", "a/b", true),
        ("/a", "a", true),
        ("./a", "a", true),
        ("a/../b", "b", true),
        ("*.md", "README.md", true),
        ("*.md", "doc/README.md", false),
        ("*/*.md", "doc/README.md", true),
        ("*/*.md", "doc/x/README.md", false),
        ("**/*.md", "README.md", true),
        ("**/*.md", "doc/x/README.md", true),
        ("**", "anything/at/all", true),
        ("a/**", "a/b", true),
        ("a/**", "a/b/c", true),
        ("a/**", "a", false),
        ("a/**/b", "a/b", true),
        ("a/**/b", "a/x/y/b", true),
        ("a/**/b", "axb", false),
        ("**/node_modules", "x/y/node_modules/z.js", true),
        ("a?c", "abc", true),
        ("a?c", "a/c", false),
        ("[ab]c", "bc", true),
        ("[^ab]c", "bc", false),
        ("a.c", "abc", false),
        ("a$", "a$", true),
        ("a\\*", "a*", true),
        ("a\\*", "ab", false),
        ("# comment\na", "a", true),
        ("#a", "#a", false),
        (" #a", "#a", true),
        ("\n\n  a  \n", "a", true),
        ("*\n!keep", "keep", false),
        ("*\n!keep", "keep/inner", false),
        ("*\n!keep", "drop", true),
        ("*\n!keep\nkeep/secret", "keep/secret", true),
        ("*\n!keep\nkeep/secret", "keep/open", false),
        ("!keep\n*", "keep", true),
        ("dir\n!dir/a", "dir/a", false),
        ("dir\n!dir/a", "dir/b", true),
        ("*.md\n!README*.md\nREADME-secret.md", "README-secret.md", true),
        ("*.md\n!README*.md\nREADME-secret.md", "README-a.md", false),
        ("*.md\nREADME-secret.md\n!README*.md", "README-secret.md", false),
        ("! keep\n*\n!  keep ", "keep", false),
        ("\u{feff}a", "a", true),
        (".", "a", false),
        (".", ".", false),
        ("a**b", "axx/yb", false),
        ("**b", "a/b", true),
        (".git", ".git/config", true),
        (".*", ".env", true),
    ] {
        assert_eq!(Ignore::parse(file).unwrap().excludes(path), want, "{file:?} on {path}");
    }
}

#[test]
fn bad_patterns_are_named() {
    assert_eq!(Ignore::parse("a\n!\n"), Err(IgnoreError::Bare));
    assert_eq!(Ignore::parse("[a"), Err(IgnoreError::Pattern("[a".into())));
    assert_eq!(Ignore::parse("a\\"), Err(IgnoreError::Pattern("a\\".into())));
}

#[test]
fn a_directory_is_walked_when_an_exception_may_lie_below() {
    let ignore = Ignore::parse("*\n!a/b/c\n").unwrap();
    for (directory, want) in [("a", true), ("a/b", true), ("a/b/c", true), ("a/x", false), ("z", false)] {
        assert_eq!(ignore.may_hold_exceptions(directory), want, "{directory}");
    }
    assert!(Ignore::parse("*\n!**/x\n").unwrap().may_hold_exceptions("z"));
    assert!(!Ignore::parse("*\n").unwrap().may_hold_exceptions("z"));
}

proptest::proptest! {
    #[test]
    fn no_pattern_makes_the_matcher_panic(text in "[a-c*?/!\\[\\]^\\\\.\n -]{0,40}", path in "[a-c/.]{0,20}") {
        if let Ok(ignore) = Ignore::parse(&text) {
            let _ = ignore.excludes(&path);
            let _ = ignore.may_hold_exceptions(&path);
        }
    }
}
