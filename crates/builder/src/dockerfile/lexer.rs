//! From text to logical lines: directives read, comments dropped, continuations joined, here-documents attached.
//!
//! ```text
//! # escape=`            directives: only before anything else, one of each
//! RUN a `               a line goes on when it ends in the escape character (white space may follow)
//!   # dropped           comments and empty lines inside a continuation vanish
//!     b                 ▶ "RUN a     b", lines 2 to 4
//! COPY <<EOF /x         RUN, COPY, ADD (also behind ONBUILD) may open here-documents
//! body
//! EOF
//! ```

use super::heredoc::{self, Heredoc};
use super::{Span, SyntaxError, words};

/// What the comments at the top of the file ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directives {
    /// The escape and continuation character: `\` or `` ` ``.
    pub escape: char,
    /// `# syntax=`: recorded; the language is built in, so it changes nothing.
    pub syntax: Option<String>,
    /// `# check=`: recorded.
    pub check: Option<String>,
}

impl Default for Directives {
    fn default() -> Self {
        Self { escape: '\\', syntax: None, check: None }
    }
}

/// One instruction's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Continuations joined, without the here-documents' bodies.
    pub text: String,
    /// Where it stands.
    pub span: Span,
    /// The here-documents it opens, in order.
    pub heredocs: Vec<Heredoc>,
}

/// Everything the lexer finds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lexed {
    /// The directives.
    pub directives: Directives,
    /// The instructions, none of them empty.
    pub lines: Vec<Line>,
}

/// Cuts a Dockerfile into logical lines.
///
/// # Errors
/// A directive given twice or with a bad value; a here-document without its end.
pub fn lex(text: &str) -> Result<Lexed, SyntaxError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let directives = read_directives(text)?;
    let mut source = Source { lines: text.lines().collect(), next: 0, escape: directives.escape };
    let mut lines = Vec::new();
    while let Some(line) = source.logical_line()? {
        lines.push(line);
    }
    Ok(Lexed { directives, lines })
}

/// Reads the directives, which end at the first line that is none.
fn read_directives(text: &str) -> Result<Directives, SyntaxError> {
    let mut directives = Directives::default();
    let mut escape_seen = false;
    for (index, line) in text.lines().enumerate() {
        let Some((key, value)) = directive(line) else { break };
        let once = |seen: bool| match seen {
            true => Err(SyntaxError::new(format!("only one {key} parser directive can be used")).at(index + 1)),
            false => Ok(()),
        };
        match key.as_str() {
            "escape" => {
                once(std::mem::replace(&mut escape_seen, true))?;
                directives.escape = match value {
                    "\\" => '\\',
                    "`" => '`',
                    other => {
                        let message = format!("invalid ESCAPE '{other}' does not match ` or \\");
                        return Err(SyntaxError::new(message).at(index + 1));
                    }
                };
            }
            "syntax" => once(directives.syntax.replace(value.into()).is_some())?,
            "check" => once(directives.check.replace(value.into()).is_some())?,
            _ => break,
        }
    }
    Ok(directives)
}

/// `# key = value`, the key in lower case.
fn directive(line: &str) -> Option<(String, &str)> {
    let (key, value) = line.trim().strip_prefix('#')?.split_once('=')?;
    let (key, value) = (key.trim(), value.trim());
    let sound = key.starts_with(|c: char| c.is_ascii_alphabetic()) && key.chars().all(|c| c.is_ascii_alphanumeric());
    (sound && !value.is_empty()).then(|| (key.to_ascii_lowercase(), value))
}

/// The physical lines, and how far we are.
struct Source<'a> {
    lines: Vec<&'a str>,
    next: usize,
    escape: char,
}

impl<'a> Source<'a> {
    fn take(&mut self) -> Option<&'a str> {
        let line = self.lines.get(self.next)?;
        self.next += 1;
        Some(line)
    }

    /// The next instruction, or none at the end.
    fn logical_line(&mut self) -> Result<Option<Line>, SyntaxError> {
        loop {
            let Some(line) = self.take() else { return Ok(None) };
            if is_comment(line) || line.trim().is_empty() {
                continue;
            }
            let first = self.next;
            let text = self.join(line.trim_start());
            if text.trim().is_empty() {
                continue;
            }
            let heredocs = self.heredocs(&text, first)?;
            return Ok(Some(Line { text, span: Span { first, last: self.next }, heredocs }));
        }
    }

    /// Joins `line` with what continues it.
    fn join(&mut self, line: &str) -> String {
        let mut text = String::new();
        let mut part = line;
        loop {
            let Some(before) = continued(part, self.escape) else {
                text.push_str(part);
                return text.trim_end().to_string();
            };
            text.push_str(before);
            part = loop {
                match self.take() {
                    None => return text.trim_end().to_string(),
                    Some(line) if is_comment(line) || line.trim().is_empty() => {}
                    Some(line) => break line,
                }
            };
        }
    }

    /// Reads the bodies of the documents that `text` opens.
    fn heredocs(&mut self, text: &str, first: usize) -> Result<Vec<Heredoc>, SyntaxError> {
        if !may_open_heredocs(text) {
            return Ok(Vec::new());
        }
        let mut heredocs = heredoc::openings(text, self.escape);
        for heredoc in &mut heredocs {
            loop {
                let Some(line) = self.take() else {
                    let message = format!("unterminated heredoc: no line is {:?}", heredoc.name);
                    return Err(SyntaxError::new(message).at(first));
                };
                if heredoc.ends_with(line) {
                    break;
                }
                let line = heredoc.line(line).to_string();
                heredoc.content.push_str(&line);
                heredoc.content.push('\n');
            }
        }
        Ok(heredocs)
    }
}

fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with('#')
}

/// The line before its continuation character, if it has one; a doubled character continues nothing.
fn continued(line: &str, escape: char) -> Option<&str> {
    let before = line.trim_end_matches([' ', '\t']).strip_suffix(escape)?;
    (!before.ends_with(escape)).then_some(before)
}

/// RUN, COPY and ADD, unless in JSON form; also behind ONBUILD.
fn may_open_heredocs(text: &str) -> bool {
    let (mut keyword, mut rest) = words::first(text);
    if keyword.eq_ignore_ascii_case("ONBUILD") {
        (keyword, rest) = words::first(rest);
    }
    ["RUN", "COPY", "ADD"].iter().any(|opener| keyword.eq_ignore_ascii_case(opener))
        && words::json(rest) == words::Json::No
}

#[cfg(test)]
mod tests;
