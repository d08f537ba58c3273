//! The Dockerfile language as data: text in, typed instructions with their places out.
//!
//! ```text
//! text ─ lexer ─▶ logical lines (continuations joined, heredocs attached) ─ parse ─▶ Dockerfile { args, stages }
//! ```
//!
//! Nothing here knows an image, a file system or a variable's value: [`expand`] and [`ignore`] are rules that the plan
//! and the solver apply when they know those. Deliberately absent: I/O of any kind.

pub mod expand;
mod flags;
pub mod glob;
pub mod heredoc;
pub mod ignore;
pub mod instruction;
pub mod lexer;
mod parse;
mod parse_copy;
mod parse_values;
mod words;

pub use instruction::{Dockerfile, Instruction, Stage, Step};
pub use parse::{parse, trigger};

use std::fmt;

/// The lines of a Dockerfile that one thing occupies, counted from one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// The first line.
    pub first: usize,
    /// The last line.
    pub last: usize,
}

/// What is wrong with a Dockerfile, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyntaxError {
    /// The line, counted from one; zero when it is about the whole file.
    pub line: usize,
    /// What is wrong.
    pub message: String,
    /// What was probably meant.
    pub hint: Option<String>,
}

impl SyntaxError {
    /// An error without a line yet and without a hint.
    #[must_use]
    pub fn new(message: impl Into<String>) -> Self {
        Self { line: 0, message: message.into(), hint: None }
    }

    /// The same, with what was probably meant.
    #[must_use]
    pub fn hint(mut self, hint: Option<String>) -> Self {
        self.hint = hint;
        self
    }

    /// The same, at `line` unless it knows its line already.
    #[must_use]
    pub fn at(mut self, line: usize) -> Self {
        if self.line == 0 {
            self.line = line;
        }
        self
    }
}

impl fmt::Display for SyntaxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "dockerfile parse error: {}", self.message)?,
            line => write!(f, "dockerfile parse error on line {line}: {}", self.message)?,
        }
        self.hint.as_ref().map_or(Ok(()), |hint| write!(f, " ({hint})"))
    }
}

impl std::error::Error for SyntaxError {}

/// The entry of `known` that `typed` was probably meant to be, as a hint.
pub(crate) fn suggest<'a>(typed: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let typed = typed.to_lowercase();
    known
        .into_iter()
        .map(|name| (distance(&typed, &name.to_lowercase()), name))
        .filter(|(edits, name)| *edits <= 1 + name.len() / 4)
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, name)| format!("did you mean {name}?"))
}

/// The number of single-letter edits (insert, delete, replace, swap of neighbours) between two words.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().take(64).collect(), b.chars().take(64).collect());
    let mut table = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            table[i][j] = if i == 0 || j == 0 {
                i + j
            } else {
                let replace = table[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
                let mut best = replace.min(table[i - 1][j] + 1).min(table[i][j - 1] + 1);
                if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                    best = best.min(table[i - 2][j - 2] + 1);
                }
                best
            };
        }
    }
    table[a.len()][b.len()]
}
