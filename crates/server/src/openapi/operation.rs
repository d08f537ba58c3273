//! One operation of the API as data: where it is asked for, with which parameters, and what it answers.

use teu_api::shape::{Shape, Shaped};

/// What a client may ask.
#[derive(Clone, Copy)]
pub(crate) struct Operation {
    pub(crate) id: &'static str,
    pub(crate) verb: Verb,
    /// Without a version; what is in braces is one segment.
    pub(crate) path: &'static str,
    pub(crate) about: &'static str,
    pub(crate) query: &'static [Parameter],
    pub(crate) headers: &'static [Parameter],
    pub(crate) body: Body,
    pub(crate) answers: &'static [Answer],
}

/// The methods that the API uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Get,
    Head,
    Post,
    Put,
    Delete,
}

/// One parameter.
#[derive(Clone, Copy)]
pub(crate) struct Parameter {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) kind: Kind,
    pub(crate) required: bool,
}

/// How a parameter is written.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    /// Yes or no, and what it is when it is not there.
    Flag(bool),
    Text,
    /// One of these.
    Word(&'static [&'static str]),
    Integer(i64, u64),
    /// Seconds since 1970, with or without a fraction.
    Moment,
    /// May come more than once.
    Texts,
    /// An object of lists of text, with these names.
    Filters(&'static [&'static str]),
    /// JSON of that shape.
    Json(fn() -> Shape),
    /// JSON of that shape, in base64.
    Encoded(fn() -> Shape),
}

/// What a request brings.
#[derive(Clone, Copy)]
pub(crate) enum Body {
    None,
    Json(fn() -> Shape),
    /// JSON that may be left out.
    Perhaps(fn() -> Shape),
    /// Bytes of that media type.
    Bytes(&'static str),
}

/// One answer.
#[derive(Clone, Copy)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) about: &'static str,
    pub(crate) content: Content,
}

/// What an answer brings.
#[derive(Clone, Copy)]
pub(crate) enum Content {
    None,
    Json(fn() -> Shape),
    /// One JSON value a line, until the work is done or the client goes.
    Lines(fn() -> Shape),
    /// Bytes of these media types.
    Bytes(&'static [&'static str]),
}

impl Operation {
    const fn new(verb: Verb, id: &'static str, path: &'static str, about: &'static str) -> Self {
        Self { id, verb, path, about, query: &[], headers: &[], body: Body::None, answers: &[] }
    }

    pub(super) const fn query(self, query: &'static [Parameter]) -> Self {
        Self { query, ..self }
    }

    pub(super) const fn headers(self, headers: &'static [Parameter]) -> Self {
        Self { headers, ..self }
    }

    pub(super) const fn takes<T: Shaped>(self) -> Self {
        Self { body: Body::Json(T::shape), ..self }
    }

    pub(super) const fn may_take<T: Shaped>(self) -> Self {
        Self { body: Body::Perhaps(T::shape), ..self }
    }

    pub(super) const fn takes_bytes(self, kind: &'static str) -> Self {
        Self { body: Body::Bytes(kind), ..self }
    }

    pub(super) const fn answers(self, answers: &'static [Answer]) -> Self {
        Self { answers, ..self }
    }

    /// The kind of object it is about: the first segment of its path.
    pub(crate) fn room(&self) -> &'static str {
        self.path.split('/').nth(1).unwrap_or_default()
    }

    /// The names in its path.
    pub(crate) fn places(&self) -> impl Iterator<Item = &'static str> {
        self.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
    }
}

pub(super) const fn get(id: &'static str, path: &'static str, about: &'static str) -> Operation {
    Operation::new(Verb::Get, id, path, about)
}

pub(super) const fn head(id: &'static str, path: &'static str, about: &'static str) -> Operation {
    Operation::new(Verb::Head, id, path, about)
}

pub(super) const fn post(id: &'static str, path: &'static str, about: &'static str) -> Operation {
    Operation::new(Verb::Post, id, path, about)
}

pub(super) const fn put(id: &'static str, path: &'static str, about: &'static str) -> Operation {
    Operation::new(Verb::Put, id, path, about)
}

pub(super) const fn delete(id: &'static str, path: &'static str, about: &'static str) -> Operation {
    Operation::new(Verb::Delete, id, path, about)
}

impl Parameter {
    const fn new(kind: Kind, name: &'static str, about: &'static str) -> Self {
        Self { name, about, kind, required: false }
    }

    /// Without it the request means nothing.
    pub(super) const fn needed(self) -> Self {
        Self { required: true, ..self }
    }
}

/// Off unless it is there.
pub(super) const fn flag(name: &'static str, about: &'static str) -> Parameter {
    Parameter::new(Kind::Flag(false), name, about)
}

/// On unless it says no.
pub(super) const fn unless(name: &'static str, about: &'static str) -> Parameter {
    Parameter::new(Kind::Flag(true), name, about)
}

pub(super) const fn text(name: &'static str, about: &'static str) -> Parameter {
    Parameter::new(Kind::Text, name, about)
}

pub(super) const fn word(name: &'static str, words: &'static [&'static str], about: &'static str) -> Parameter {
    Parameter::new(Kind::Word(words), name, about)
}

pub(super) const fn integer(name: &'static str, about: &'static str) -> Parameter {
    Parameter::new(Kind::Integer(i64::MIN, i64::MAX as u64), name, about)
}

/// Rows or columns of a terminal.
pub(super) const fn cells(name: &'static str, about: &'static str) -> Parameter {
    Parameter::new(Kind::Integer(0, u16::MAX as u64), name, about)
}

pub(super) const fn moment(name: &'static str, about: &'static str) -> Parameter {
    Parameter::new(Kind::Moment, name, about)
}

pub(super) const fn texts(name: &'static str, about: &'static str) -> Parameter {
    Parameter::new(Kind::Texts, name, about)
}

pub(super) const fn filters(names: &'static [&'static str]) -> Parameter {
    Parameter::new(
        Kind::Filters(names),
        "filters",
        "Which ones; values of one name are alternatives, names must all hold.",
    )
}

pub(super) const fn json<T: Shaped>(name: &'static str, about: &'static str) -> Parameter {
    Parameter::new(Kind::Json(T::shape), name, about)
}

pub(super) const fn encoded<T: Shaped>(name: &'static str, about: &'static str) -> Parameter {
    Parameter::new(Kind::Encoded(T::shape), name, about)
}

/// An answer without content.
pub(super) const fn empty(status: u16, about: &'static str) -> Answer {
    Answer { status, about, content: Content::None }
}

pub(super) const fn gives<T: Shaped>(status: u16, about: &'static str) -> Answer {
    Answer { status, about, content: Content::Json(T::shape) }
}

pub(super) const fn lines<T: Shaped>(about: &'static str) -> Answer {
    Answer { status: 200, about, content: Content::Lines(T::shape) }
}

pub(super) const fn bytes(status: u16, kinds: &'static [&'static str], about: &'static str) -> Answer {
    Answer { status, about, content: Content::Bytes(kinds) }
}
