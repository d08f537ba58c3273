//! `.dockerignore`: which files of a context are not there.
//!
//! Patterns are tried in order and the last that matches decides; `!` takes back. A pattern that matches a parent directory
//! matches everything below it. `**/` is any number of directories or none, a trailing `**` is everything; the rest is Go's
//! `filepath.Match`. The same matcher serves `COPY --exclude`.

use super::glob::{self, BadPattern, Token};

/// The patterns of one file, ready to match.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ignore {
    rules: Vec<Rule>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    tokens: Vec<Token>,
    /// The directories that must be walked for the rule to have its say, for `!a/b` below an excluded `a`.
    literal_prefix: String,
    exception: bool,
}

/// Why a pattern cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IgnoreError {
    /// Malformed.
    #[error("invalid pattern {0:?}: {BadPattern}")]
    Pattern(String),
    /// An exclamation mark alone.
    #[error("illegal exclusion pattern: \"!\"")]
    Bare,
}

impl Ignore {
    /// Reads a `.dockerignore` file.
    ///
    /// # Errors
    /// The first pattern that is malformed.
    pub fn parse(text: &str) -> Result<Self, IgnoreError> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        Self::new(text.lines().filter(|line| !line.starts_with('#')))
    }

    /// From patterns, one each.
    ///
    /// # Errors
    /// The first pattern that is malformed.
    pub fn new<'a>(patterns: impl IntoIterator<Item = &'a str>) -> Result<Self, IgnoreError> {
        let lines = patterns.into_iter().map(str::trim).filter(|line| !line.is_empty());
        Ok(Self { rules: lines.map(Rule::read).collect::<Result<_, _>>()? })
    }

    /// Whether there is nothing to match.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Whether the file at `path` (relative, clean, without a leading slash) is left out.
    #[must_use]
    pub fn excludes(&self, path: &str) -> bool {
        if path.is_empty() || path == "." {
            return false;
        }
        let chars: Vec<char> = path.chars().collect();
        let ends: Vec<usize> =
            chars.iter().enumerate().filter(|(_, c)| **c == '/').map(|(at, _)| at).chain([chars.len()]).collect();
        let mut excluded = false;
        for rule in &self.rules {
            if rule.exception == excluded && ends.iter().any(|&end| glob::run(&rule.tokens, &chars[..end])) {
                excluded = !rule.exception;
            }
        }
        excluded
    }

    /// Whether a directory that is left out must be walked all the same, because an exception may lie below it.
    #[must_use]
    pub fn may_hold_exceptions(&self, directory: &str) -> bool {
        let below = format!("{directory}/");
        self.rules.iter().filter(|rule| rule.exception).any(|rule| {
            let prefix = &rule.literal_prefix;
            prefix.starts_with(&below) || below.starts_with(prefix.as_str())
        })
    }
}

impl Rule {
    fn read(line: &str) -> Result<Self, IgnoreError> {
        let (exception, pattern) = line.strip_prefix('!').map_or((false, line), |rest| (true, rest.trim()));
        if exception && pattern.is_empty() {
            return Err(IgnoreError::Bare);
        }
        let pattern = clean(pattern);
        glob::tokens(&pattern).map_err(|BadPattern| IgnoreError::Pattern(line.into()))?;
        let tokens = tokens(&pattern).map_err(|BadPattern| IgnoreError::Pattern(line.into()))?;
        let literal_prefix = literal_prefix(&tokens);
        Ok(Self { tokens, literal_prefix, exception })
    }
}

/// The directories that a match must lie in, each with its slash.
fn literal_prefix(tokens: &[Token]) -> String {
    let literal = tokens.iter().map_while(|token| match token {
        Token::Literal(c) => Some(*c),
        _ => None,
    });
    let text: String = literal.collect();
    match (text.len() == tokens.len(), text.rfind('/')) {
        (true, _) => text + "/",
        (false, Some(slash)) => text[..=slash].into(),
        (false, None) => String::new(),
    }
}

/// Go's `filepath.Clean`, without a leading slash.
fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if rooted => {}
            part => parts.push(part),
        }
    }
    if parts.is_empty() { ".".into() } else { parts.join("/") }
}

/// As [`glob::tokens`], with the two meanings of `**`.
fn tokens(pattern: &str) -> Result<Vec<Token>, BadPattern> {
    let mut tokens = Vec::new();
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        match c {
            '*' if chars.as_str().starts_with('*') => {
                chars.next();
                if chars.as_str().starts_with('/') {
                    chars.next();
                }
                tokens.push(if chars.as_str().is_empty() { Token::Rest } else { Token::Directories });
            }
            '*' => tokens.push(Token::Star),
            '?' => tokens.push(Token::Any),
            '[' => tokens.push(glob::class(&mut chars)?),
            '\\' => tokens.push(Token::Literal(chars.next().ok_or(BadPattern)?)),
            c => tokens.push(Token::Literal(c)),
        }
    }
    Ok(tokens)
}

#[cfg(test)]
mod tests;
