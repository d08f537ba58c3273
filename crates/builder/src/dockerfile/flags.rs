//! `--name=value` flags between an instruction's keyword and its arguments.

use super::instruction::Parsed;
use super::{SyntaxError, suggest};

/// The flags of one line, to be taken one by one; what is left at the end is unknown.
#[derive(Debug)]
pub(super) struct Flags {
    keyword: &'static str,
    given: Vec<(String, Option<String>)>,
}

/// Cuts the leading flags off `text`: they end at the first word without two dashes, or at a bare `--`.
pub(super) fn extract<'a>(keyword: &'static str, text: &'a str, escape: char) -> (Flags, &'a str) {
    let mut given = Vec::new();
    let mut rest = text.trim_start();
    while rest.starts_with("--") {
        let (word, after) = word(rest, escape);
        rest = after.trim_start();
        if word == "--" {
            break;
        }
        let (name, value) = match word[2..].split_once('=') {
            Some((name, value)) => (name.to_string(), Some(value.to_string())),
            None => (word[2..].to_string(), None),
        };
        given.push((name, value));
    }
    (Flags { keyword, given }, rest)
}

/// The first word with its quotes and escapes removed, and what follows it.
fn word(text: &str, escape: char) -> (String, &str) {
    let mut word = String::new();
    let mut quote = None;
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match quote {
            None if c.is_whitespace() => return (word, &text[at..]),
            None if c == '"' || c == '\'' => quote = Some(c),
            Some(open) if c == open => quote = None,
            _ if c == escape => word.extend(chars.next().map(|(_, next)| next)),
            _ => word.push(c),
        }
    }
    (word, "")
}

impl Flags {
    /// Whether none is left.
    pub(super) fn is_empty(&self) -> bool {
        self.given.is_empty()
    }

    /// The value of a flag that may be given once and must have one.
    pub(super) fn value(&mut self, name: &str) -> Parsed<Option<String>> {
        let mut values = self.values(name)?;
        match values.len() {
            0 | 1 => Ok(values.pop()),
            _ => Err(SyntaxError::new(format!("duplicate flag specified: --{name}"))),
        }
    }

    /// Every value of a flag that may be repeated.
    pub(super) fn values(&mut self, name: &str) -> Parsed<Vec<String>> {
        self.take(name)
            .into_iter()
            .map(|value| match value {
                Some(value) if !value.is_empty() => Ok(value),
                _ => Err(SyntaxError::new(format!("missing a value on flag: --{name}"))),
            })
            .collect()
    }

    /// A flag that is true when it has no value.
    pub(super) fn switch(&mut self, name: &str) -> Parsed<Option<bool>> {
        let given = self.take(name);
        match &given[..] {
            [] => Ok(None),
            [None] => Ok(Some(true)),
            [Some(value)] => match value.to_ascii_lowercase().as_str() {
                "true" | "1" => Ok(Some(true)),
                "false" | "0" => Ok(Some(false)),
                _ => Err(SyntaxError::new(format!("expecting boolean value for flag --{name}, not: {value}"))),
            },
            _ => Err(SyntaxError::new(format!("duplicate flag specified: --{name}"))),
        }
    }

    /// Refuses what nobody took.
    pub(super) fn finish(self, known: &[&str]) -> Parsed<()> {
        match self.given.first() {
            None => Ok(()),
            Some((name, _)) => {
                let hint = suggest(name, known.iter().copied()).map(|hint| hint.replace("mean ", "mean --"));
                Err(SyntaxError::new(format!("{} has an unknown flag: --{name}", self.keyword)).hint(hint))
            }
        }
    }

    fn take(&mut self, name: &str) -> Vec<Option<String>> {
        self.given.extract_if(.., |(given, _)| given == name).map(|(_, value)| value).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_end_where_the_arguments_begin() {
        let (mut flags, rest) = extract("COPY", "  --from=a --chown=\"b c\" --link x --y z", '\\');
        assert_eq!(rest, "x --y z");
        assert_eq!(flags.value("from").unwrap().as_deref(), Some("a"));
        assert_eq!(flags.value("chown").unwrap().as_deref(), Some("b c"));
        assert_eq!(flags.switch("link").unwrap(), Some(true));
        flags.finish(&[]).unwrap();
        assert_eq!(extract("RUN", "-- --odd", '\\').1, "--odd");
    }

    #[test]
    fn bad_flags_are_named() {
        let flags = |text| extract("COPY", text, '\\').0;
        assert!(flags("--from x").value("from").unwrap_err().message.contains("missing a value on flag: --from"));
        assert!(flags("--from=a --from=b x").value("from").unwrap_err().message.contains("duplicate"));
        assert!(flags("--link=maybe x").switch("link").unwrap_err().message.contains("boolean"));
        let error = flags("--form=a x").finish(&["from", "chown"]).unwrap_err();
        assert_eq!(error.message, "COPY has an unknown flag: --form");
        assert_eq!(error.hint.as_deref(), Some("did you mean --from?"));
    }
}
