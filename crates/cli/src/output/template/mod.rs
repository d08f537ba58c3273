//! Go templates, as `--format` uses them.
//!
//! ```text
//! text ─ lex ─▶ tokens ─ parse ─▶ nodes ─ evaluate over JSON and its type ─▶ text
//! ```
//! The language is Go's text/template with Docker's functions. What a field's type is, so what it is when the daemon
//! says nothing of it and how it is printed, is taken from the API's own description. Left out: complex numbers.

mod evaluate;
mod function;
mod lex;
mod parse;
mod show;
mod value;

#[cfg(test)]
mod tests;

use serde_json::Value;
use teu_api::shape::Shape;

use self::evaluate::{About, Fault};
use self::lex::Mistake;
use self::value::Datum;
use super::list::Row;
use crate::failure::Failure;

/// A template that was read.
pub(crate) struct Template {
    text: String,
    nodes: Vec<parse::Node>,
    named: parse::Named,
    words: Words,
}

/// How a mistake is told: when the template is read, and when it is filled in.
type Words = [&'static str; 2];
const OF_OBJECTS: Words = ["template parsing error", "template parsing error"];
const OF_LISTS: Words = ["failed to parse template", "failed to execute template"];

impl Template {
    /// Reads a template.
    pub(crate) fn parse(text: &str) -> Result<Self, Failure> {
        Self::read(text, OF_OBJECTS)
    }

    /// Reads a template of a list, whose mistakes are told in other words.
    pub(crate) fn of_list(text: &str) -> Result<Self, Failure> {
        Self::read(text, OF_LISTS)
    }

    fn read(text: &str, words: Words) -> Result<Self, Failure> {
        let read = lex::lex(text).and_then(|tokens| parse::parse(&tokens));
        let (nodes, named) = read.map_err(|Mistake { at, why }| {
            let line = text[..at].matches('\n').count() + 1;
            Failure::new(format!("{}: template: :{line}: {why}", words[0]))
        })?;
        Ok(Self { text: text.to_owned(), nodes, named, words })
    }

    /// Fills it in with a value of which nothing but its JSON is known.
    pub(crate) fn render(&self, value: &Value) -> Result<String, Failure> {
        self.render_typed(value, Shape::Any)
    }

    /// Fills it in with a value of a type.
    pub(crate) fn render_typed(&self, value: &Value, shape: Shape) -> Result<String, Failure> {
        self.fill_in(value, shape, About::default())
    }

    /// Fills it in with a row of a list.
    pub(crate) fn render_row(&self, row: Row) -> Result<String, Failure> {
        self.fill_in(&row.cells.object(), Shape::Any, About { labels: Some(&row.labels), heading: false })
    }

    /// Fills it in with headings, as far as that goes.
    pub(crate) fn render_heading(&self, headings: &Value) -> String {
        let about = About { labels: None, heading: true };
        evaluate::render(&self.nodes, &self.named, &Datum::from(headings.clone()), about).0
    }

    fn fill_in(&self, value: &Value, shape: Shape, about: About<'_>) -> Result<String, Failure> {
        let value = Datum::new(value.clone(), shape);
        let (text, result) = evaluate::render(&self.nodes, &self.named, &value, about);
        result.map(|()| text).map_err(|fault| self.failure(&fault))
    }

    /// A fault as a sentence: the template, the line, how far into the line, and the part itself.
    fn failure(&self, fault: &Fault) -> Failure {
        let Fault { template, span, why } = fault;
        let before = &self.text[..span.start];
        let line = before.matches('\n').count() + 1;
        let column = before.len() - before.rfind('\n').map_or(0, |at| at + 1);
        let part = &self.text[span.start..span.end];
        let place = format!("template: {template}:{line}:{column}: executing \"{template}\" at <{part}>");
        Failure::new(format!("{}: {place}: {why}", self.words[1]))
    }
}
