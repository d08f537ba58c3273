//! Variables, quotes and escapes in an instruction's words.
//!
//! ```text
//! $v ${v}              the value, or nothing
//! ${v:-w} ${v-w}       w when v is unset or empty / unset        ${v:+w} ${v+w}   w when it is not
//! ${v:?m} ${v?m}       an error with m then
//! ${v#p} ${v##p}       without the shortest / longest prefix that matches p;  % %% the same for suffixes
//! ${v/p/r} ${v//p/r}   the first / every match of p replaced by r
//! ```
//! In patterns `*` is any text, `?` any character, and a backslash makes the next one literal. Single quotes keep
//! everything, double quotes keep white space and expand. `w`, `p` and `r` are words themselves.

use std::iter::Peekable;
use std::str::Chars;

/// How deep `${a:-${b:-…}}` may nest.
const MAX_DEPTH: usize = 64;

/// Where values come from.
pub trait Variables {
    /// The value of a variable, if it is set.
    fn get(&self, name: &str) -> Option<String>;
}

impl<F: Fn(&str) -> Option<String>> Variables for F {
    fn get(&self, name: &str) -> Option<String> {
        self(name)
    }
}

/// Why a word cannot be expanded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExpandError {
    /// A quote, brace or pattern without its end.
    #[error("syntax error in {word:?}: no closing {missing}")]
    Unclosed {
        /// The word.
        word: String,
        /// What is missing.
        missing: char,
    },
    /// `${…}` with something no rule knows.
    #[error("bad substitution in {word:?}: {reason}")]
    Substitution {
        /// The word.
        word: String,
        /// What is wrong with it.
        reason: String,
    },
    /// `${v:?message}` on a variable that is not there.
    #[error("{name}: {message}")]
    Missing {
        /// The variable.
        name: String,
        /// What the file says about it.
        message: String,
    },
}

/// Expands one word: quotes and escapes removed.
///
/// # Errors
/// When the word is malformed, or a variable is missing that it insists on.
pub fn word(text: &str, escape: char, variables: &dyn Variables) -> Result<String, ExpandError> {
    Ok(run(text, escape, variables, Mode::Word)?.text)
}

/// Expands one text into words: white space outside quotes separates, also where it comes from a value.
///
/// # Errors
/// As [`word`].
pub fn words(text: &str, escape: char, variables: &dyn Variables) -> Result<Vec<String>, ExpandError> {
    Ok(run(text, escape, variables, Mode::Word)?.finish())
}

/// Expands the body of a here-document: variables and escaped dollars only; quotes are text.
///
/// # Errors
/// As [`word`].
pub fn body(text: &str, escape: char, variables: &dyn Variables) -> Result<String, ExpandError> {
    Ok(run(text, escape, variables, Mode::Body)?.text)
}

fn run(text: &str, escape: char, variables: &dyn Variables, mode: Mode) -> Result<Output, ExpandError> {
    let mut lexer = Lexer { chars: text.chars().peekable(), escape, variables, whole: text, mode, depth: 0 };
    lexer.until(None)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Quotes and escapes mean something and go.
    Word,
    /// Quotes are text; an escape guards only a dollar and itself.
    Body,
    /// As `Word`, but escapes stay, for the pattern matcher to see.
    Pattern,
}

/// The expanded text, and how it falls into words.
#[derive(Default)]
struct Output {
    text: String,
    words: Vec<String>,
    current: Option<String>,
}

impl Output {
    /// Text that never separates words; even empty, it makes one.
    fn quoted(&mut self, text: &str) {
        self.text.push_str(text);
        self.current.get_or_insert_default().push_str(text);
    }

    fn plain(&mut self, text: &str) {
        self.text.push_str(text);
        for c in text.chars() {
            if c.is_whitespace() {
                self.words.extend(self.current.take());
            } else {
                self.current.get_or_insert_default().push(c);
            }
        }
    }

    fn finish(mut self) -> Vec<String> {
        self.words.extend(self.current.take());
        self.words
    }
}

struct Lexer<'a> {
    chars: Peekable<Chars<'a>>,
    escape: char,
    variables: &'a dyn Variables,
    whole: &'a str,
    mode: Mode,
    depth: usize,
}

impl Lexer<'_> {
    /// Expands up to the character `stop`, which is consumed, or to the end.
    fn until(&mut self, stop: Option<char>) -> Result<Output, ExpandError> {
        let mut out = Output::default();
        while let Some(c) = self.chars.next() {
            match c {
                c if Some(c) == stop => return Ok(out),
                '\'' if self.mode != Mode::Body => out.quoted(&self.single_quoted()?),
                '"' if self.mode != Mode::Body => out.quoted(&self.double_quoted()?),
                '$' => out.plain(&self.dollar()?),
                c if c == self.escape => self.escaped(&mut out),
                c => out.plain(c.encode_utf8(&mut [0; 4])),
            }
        }
        match stop {
            Some(missing) => Err(self.unclosed(missing)),
            None => Ok(out),
        }
    }

    fn escaped(&mut self, out: &mut Output) {
        let escape = self.escape.to_string();
        let next = self.chars.peek().copied();
        match (self.mode, next) {
            (Mode::Word, None) => {}
            (Mode::Word, Some(c)) => {
                self.chars.next();
                out.quoted(c.encode_utf8(&mut [0; 4]));
            }
            (Mode::Pattern, Some(c)) => {
                self.chars.next();
                out.quoted(&format!("\\{c}"));
            }
            (Mode::Body, Some(c)) if c == '$' || c == self.escape => {
                self.chars.next();
                out.quoted(c.encode_utf8(&mut [0; 4]));
            }
            (Mode::Pattern | Mode::Body, _) => out.quoted(&escape),
        }
    }

    fn single_quoted(&mut self) -> Result<String, ExpandError> {
        let mut text = String::new();
        loop {
            match self.chars.next() {
                None => return Err(self.unclosed('\'')),
                Some('\'') => return Ok(text),
                Some(c) => text.push(c),
            }
        }
    }

    fn double_quoted(&mut self) -> Result<String, ExpandError> {
        let mut text = String::new();
        loop {
            match self.chars.next() {
                None => return Err(self.unclosed('"')),
                Some('"') => return Ok(text),
                Some('$') => text.push_str(&self.dollar()?),
                Some(c) if c == self.escape => match self.chars.next() {
                    None => return Err(self.unclosed('"')),
                    Some(next) if next == '"' || next == '$' || next == self.escape => text.push(next),
                    Some(next) => text.extend([c, next]),
                },
                Some(c) => text.push(c),
            }
        }
    }

    /// What stands for a dollar sign already consumed and what follows it.
    fn dollar(&mut self) -> Result<String, ExpandError> {
        if self.chars.next_if_eq(&'{').is_none() {
            return Ok(match self.name() {
                name if name.is_empty() => "$".into(),
                name => self.variables.get(&name).unwrap_or_default(),
            });
        }
        let name = self.name();
        if name.is_empty() {
            return Err(match self.chars.peek() {
                None => self.unclosed('}'),
                Some(_) => self.substitution("it names no variable"),
            });
        }
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.substitution("it nests too deep"));
        }
        let value = self.braced(&name);
        self.depth -= 1;
        value
    }

    /// The rest of `${name…}`.
    fn braced(&mut self, name: &str) -> Result<String, ExpandError> {
        let value = self.variables.get(name);
        match self.chars.next() {
            None => Err(self.unclosed('}')),
            Some('}') => Ok(value.unwrap_or_default()),
            Some(':') => match self.chars.next() {
                Some(operator @ ('-' | '+' | '?')) => {
                    self.alternative(name, operator, value.filter(|value| !value.is_empty()), true)
                }
                Some(other) => Err(self.substitution(&format!("unsupported modifier :{other}"))),
                None => Err(self.unclosed('}')),
            },
            Some(operator @ ('-' | '+' | '?')) => self.alternative(name, operator, value, false),
            Some(side @ ('#' | '%')) => {
                let longest = self.chars.next_if_eq(&side).is_some();
                let pattern = self.nested(Mode::Pattern, '}')?;
                Ok(trim(&value.unwrap_or_default(), &pattern, side == '#', longest))
            }
            Some('/') => {
                let all = self.chars.next_if_eq(&'/').is_some();
                let pattern = self.nested(Mode::Pattern, '/')?;
                let replacement = self.nested(Mode::Word, '}')?;
                Ok(replace(&value.unwrap_or_default(), &pattern, &replacement, all))
            }
            Some(other) => Err(self.substitution(&format!("unsupported modifier {other}"))),
        }
    }

    fn alternative(
        &mut self,
        name: &str,
        operator: char,
        value: Option<String>,
        colon: bool,
    ) -> Result<String, ExpandError> {
        let other = self.nested(Mode::Word, '}')?;
        match (operator, value) {
            ('+', Some(_)) | ('-', None) => Ok(other),
            ('+', None) => Ok(String::new()),
            (_, Some(value)) => Ok(value),
            (_, None) => {
                let message = match (other.is_empty(), colon) {
                    (false, _) => other,
                    (true, true) => "is not allowed to be empty".into(),
                    (true, false) => "is not allowed to be unset".into(),
                };
                Err(ExpandError::Missing { name: name.into(), message })
            }
        }
    }

    /// A word inside braces.
    fn nested(&mut self, mode: Mode, stop: char) -> Result<String, ExpandError> {
        let outer = std::mem::replace(&mut self.mode, mode);
        let output = self.until(Some(stop));
        self.mode = outer;
        Ok(output?.text)
    }

    /// A variable's name: a word, a number, or one of the shell's special characters.
    fn name(&mut self) -> String {
        let mut name = String::new();
        let Some(&first) = self.chars.peek() else { return name };
        if first.is_ascii_digit() {
            while let Some(c) = self.chars.next_if(char::is_ascii_digit) {
                name.push(c);
            }
        } else if first.is_ascii_alphabetic() || first == '_' {
            while let Some(c) = self.chars.next_if(|c| c.is_ascii_alphanumeric() || *c == '_') {
                name.push(c);
            }
        } else if "@*#?-$!".contains(first) {
            name.extend(self.chars.next());
        }
        name
    }

    fn unclosed(&self, missing: char) -> ExpandError {
        ExpandError::Unclosed { word: self.whole.into(), missing }
    }

    fn substitution(&self, reason: &str) -> ExpandError {
        ExpandError::Substitution { word: self.whole.into(), reason: reason.into() }
    }
}

/// Removes the shortest or longest matching prefix or suffix.
fn trim(value: &str, pattern: &str, prefix: bool, longest: bool) -> String {
    let mut cuts: Vec<usize> = value.char_indices().map(|(at, _)| at).chain([value.len()]).collect();
    // The cut nearest the trimmed end comes first when the shortest match is wanted.
    if prefix == longest {
        cuts.reverse();
    }
    let hit = cuts.into_iter().find(|&at| matches(pattern, if prefix { &value[..at] } else { &value[at..] }));
    match hit {
        Some(at) if prefix => value[at..].into(),
        Some(at) => value[..at].into(),
        None => value.into(),
    }
}

/// Replaces the first or every leftmost longest match.
fn replace(value: &str, pattern: &str, replacement: &str, all: bool) -> String {
    let mut out = String::new();
    let mut rest = value;
    while !rest.is_empty() {
        let ends = rest.char_indices().map(|(at, c)| at + c.len_utf8());
        match ends.rev().find(|&end| matches(pattern, &rest[..end])) {
            Some(end) => {
                out.push_str(replacement);
                rest = &rest[end..];
                if !all {
                    break;
                }
            }
            None => {
                let next = rest.chars().next().map_or(rest.len(), char::len_utf8);
                out.push_str(&rest[..next]);
                rest = &rest[next..];
            }
        }
    }
    out + rest
}

/// Whether `pattern` matches all of `text`.
fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t) = (0, 0);
    // Where to go on after the last star: the pattern behind it, and one character more of the text.
    let mut star: Option<(usize, usize)> = None;
    loop {
        let step = match pattern.get(p) {
            Some('*') => {
                star = Some((p + 1, t));
                p += 1;
                continue;
            }
            Some('?') => (t < text.len()).then_some(1),
            Some('\\') if p + 1 < pattern.len() => (text.get(t) == pattern.get(p + 1)).then_some(2),
            Some(c) => (text.get(t) == Some(c)).then_some(1),
            None if t == text.len() => return true,
            None => None,
        };
        match (step, star) {
            (Some(width), _) => {
                p += width;
                t += 1;
            }
            (None, Some((behind, from))) if from < text.len() => {
                star = Some((behind, from + 1));
                (p, t) = (behind, from + 1);
            }
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests;
