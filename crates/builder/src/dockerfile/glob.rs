//! Go's `filepath.Match`: the wildcards of COPY and ADD sources, one path component at a time.
//!
//! `*` any text without a slash, `?` one character but a slash, `[a-z]` and `[^a-z]` classes, `\c` the character itself.

/// The pattern is malformed: a class or an escape without its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("syntax error in pattern")]
pub struct BadPattern;

/// One element of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// This character.
    Literal(char),
    /// `?`.
    Any,
    /// `*`.
    Star,
    /// `**/`: any number of directories, or none. Only [`super::ignore`] makes these two.
    Directories,
    /// `**` at the end: everything.
    Rest,
    /// `[…]`.
    Class {
        /// Whether it began with `^`.
        negated: bool,
        /// Its ranges, inclusive.
        ranges: Vec<(char, char)>,
    },
}

impl Token {
    /// Whether one character is it.
    pub(super) fn takes(&self, c: char) -> bool {
        match self {
            Self::Literal(literal) => *literal == c,
            Self::Any | Self::Star => c != '/',
            Self::Directories | Self::Rest => true,
            Self::Class { negated, ranges } => ranges.iter().any(|(low, high)| (*low..=*high).contains(&c)) != *negated,
        }
    }
}

/// Whether `text` has a wildcard that is not escaped.
#[must_use]
pub fn has_wildcard(text: &str) -> bool {
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '*' | '?' | '[' => return true,
            '\\' => {
                chars.next();
            }
            _ => {}
        }
    }
    false
}

/// The text a pattern without wildcards stands for.
#[must_use]
pub fn unescape(text: &str) -> String {
    let mut chars = text.chars();
    let mut out = String::new();
    while let Some(c) = chars.next() {
        out.push(if c == '\\' { chars.next().unwrap_or(c) } else { c });
    }
    out
}

/// Whether `pattern` matches all of `name`.
///
/// # Errors
/// When the pattern is malformed, whatever the name.
pub fn matches(pattern: &str, name: &str) -> Result<bool, BadPattern> {
    let tokens = tokens(pattern)?;
    let name: Vec<char> = name.chars().collect();
    Ok(run(&tokens, &name))
}

/// Reads a pattern.
pub(super) fn tokens(pattern: &str) -> Result<Vec<Token>, BadPattern> {
    let mut tokens = Vec::new();
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        tokens.push(match c {
            '*' if tokens.last() == Some(&Token::Star) => continue,
            '*' => Token::Star,
            '?' => Token::Any,
            '[' => class(&mut chars)?,
            '\\' => Token::Literal(chars.next().ok_or(BadPattern)?),
            c => Token::Literal(c),
        });
    }
    Ok(tokens)
}

/// A class behind its opening bracket; at least one range.
pub(super) fn class(chars: &mut std::str::Chars<'_>) -> Result<Token, BadPattern> {
    let mut rest = chars.clone();
    let negated = rest.next() == Some('^');
    if negated {
        *chars = rest;
    }
    let mut ranges = Vec::new();
    loop {
        let mut ahead = chars.clone();
        if ahead.next() == Some(']') && !ranges.is_empty() {
            *chars = ahead;
            return Ok(Token::Class { negated, ranges });
        }
        let low = class_char(chars)?;
        let mut ahead = chars.clone();
        let high = if ahead.next() == Some('-') {
            *chars = ahead;
            class_char(chars)?
        } else {
            low
        };
        ranges.push((low, high));
    }
}

/// A bound of a range: not a bare dash or closing bracket.
fn class_char(chars: &mut std::str::Chars<'_>) -> Result<char, BadPattern> {
    match chars.next() {
        None | Some('-' | ']') => Err(BadPattern),
        Some('\\') => chars.next().ok_or(BadPattern),
        Some(c) => Ok(c),
    }
}

/// Whether the tokens match all of the text, in time proportional to the product of their lengths.
pub(super) fn run(tokens: &[Token], text: &[char]) -> bool {
    // `reach[i]`: the tokens so far match exactly the first `i` characters.
    let mut reach = vec![false; text.len() + 1];
    reach[0] = true;
    for token in tokens {
        let mut next = vec![false; text.len() + 1];
        match token {
            Token::Star => {
                for i in 0..=text.len() {
                    next[i] = reach[i] || (i > 0 && next[i - 1] && text[i - 1] != '/');
                }
            }
            Token::Rest => {
                for i in 0..=text.len() {
                    next[i] = reach[i] || (i > 0 && next[i - 1]);
                }
            }
            Token::Directories => {
                let mut begun = false;
                for i in 0..=text.len() {
                    next[i] = reach[i] || (begun && text[i - 1] == '/');
                    begun |= reach[i];
                }
            }
            token => {
                for i in 1..=text.len() {
                    next[i] = reach[i - 1] && token.takes(text[i - 1]);
                }
            }
        }
        reach = next;
    }
    reach[text.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_gos_do() {
        for (pattern, name, want) in [
            ("abc", "abc", Ok(true)),
            ("*", "abc", Ok(true)),
            ("*c", "abc", Ok(true)),
            ("a*", "a", Ok(true)),
            ("a*", "ab/c", Ok(false)),
            ("a*/b", "abc/b", Ok(true)),
            ("a*/b", "a/c/b", Ok(false)),
            ("a*b*c*d*e*/f", "axbxcxdxe/f", Ok(true)),
            ("a*b?c*x", "abxbbxdbxebxczzx", Ok(true)),
            ("a*b?c*x", "abxbbxdbxebxczzy", Ok(false)),
            ("ab[c]", "abc", Ok(true)),
            ("ab[b-d]", "abc", Ok(true)),
            ("ab[e-g]", "abc", Ok(false)),
            ("ab[^c]", "abc", Ok(false)),
            ("ab[^e-g]", "abc", Ok(true)),
            ("a\\*b", "a*b", Ok(true)),
            ("a\\*b", "ab", Ok(false)),
            ("a?b", "a☺b", Ok(true)),
            ("a[^a]b", "a☺b", Ok(true)),
            ("a???b", "a☺b", Ok(false)),
            ("[a-ζ]*", "α", Ok(true)),
            ("*[a-ζ]", "A", Ok(false)),
            ("a?b", "a/b", Ok(false)),
            ("a*b", "a/b", Ok(false)),
            ("[\\]a]", "]", Ok(true)),
            ("[\\-x]", "-", Ok(true)),
            ("[x\\-]", "z", Ok(false)),
            ("*x", "xxx", Ok(true)),
            ("[]a]", "]", Err(BadPattern)),
            ("[-]", "-", Err(BadPattern)),
            ("[x-]", "x", Err(BadPattern)),
            ("[a-b-c]", "a", Err(BadPattern)),
            ("[", "a", Err(BadPattern)),
            ("[^", "a", Err(BadPattern)),
            ("a[", "a", Err(BadPattern)),
            ("\\", "a", Err(BadPattern)),
        ] {
            assert_eq!(matches(pattern, name), want, "{pattern} on {name}");
        }
    }

    #[test]
    fn wildcards_can_be_escaped() {
        assert!(has_wildcard("a*") && has_wildcard("a[b") && has_wildcard("?"));
        assert!(!has_wildcard("a\\*b") && !has_wildcard("plain"));
        assert_eq!(unescape("a\\*b\\[c"), "a*b[c");
    }
}
