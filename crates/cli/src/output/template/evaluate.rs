//! A tree and a value become text.

use std::collections::BTreeMap;

use serde_json::Value;

use super::function;
use super::parse::{Command, Named, Node, Operand, Pipeline, Span, Term};
use super::show;
use super::value::Datum;
use crate::output::list;
use crate::output::units;

/// What a list of nodes asks its loop to do.
#[derive(PartialEq)]
enum Flow {
    On,
    Break,
    Continue,
}

/// Why a template cannot be filled in, and which part of it.
pub(super) struct Fault {
    /// The template it is in; empty is the main one.
    pub(super) template: String,
    /// The part.
    pub(super) span: Span,
    /// Why.
    pub(super) why: String,
}

/// What a template is filled in with, besides the value.
#[derive(Clone, Copy, Default)]
pub(super) struct About<'a> {
    /// The labels of the object that a row of a list is about.
    pub(super) labels: Option<&'a BTreeMap<String, String>>,
    /// These are headings: functions that would change them pass them through.
    pub(super) heading: bool,
}

/// How deep templates may use each other.
const DEEPEST: usize = 200;

/// Fills a template in; as far as it went, and why no further.
pub(super) fn render(nodes: &[Node], named: &Named, value: &Datum, about: About<'_>) -> (String, Result<(), Fault>) {
    let mut scope =
        Scope { named, name: "", variables: vec![("$".into(), value.clone())], about, depth: 0, out: String::new() };
    let result = scope.nodes(nodes, value).map(|_| ());
    (scope.out, result)
}

struct Scope<'a> {
    named: &'a Named,
    /// The template that this is.
    name: &'a str,
    /// `$` is the first.
    variables: Vec<(String, Datum)>,
    about: About<'a>,
    depth: usize,
    out: String,
}

impl<'a> Scope<'a> {
    fn fault(&self, span: Span) -> impl Fn(String) -> Fault + use<> {
        let template = self.name.to_owned();
        move |why| Fault { template: template.clone(), span, why }
    }

    fn nodes(&mut self, nodes: &'a [Node], dot: &Datum) -> Result<Flow, Fault> {
        let known = self.variables.len();
        for node in nodes {
            let flow = self.node(node, dot)?;
            if flow != Flow::On {
                self.variables.truncate(known);
                return Ok(flow);
            }
        }
        self.variables.truncate(known);
        Ok(Flow::On)
    }

    fn node(&mut self, node: &'a Node, dot: &Datum) -> Result<Flow, Fault> {
        match node {
            Node::Text(text) => self.out.push_str(text),
            Node::Action(pipeline) => {
                let value = self.pipeline(pipeline, dot)?;
                if pipeline.variables.is_empty() {
                    // What a list's row has not is a pointer to nothing.
                    let show = if self.about.labels.is_some() { show::value } else { show::action };
                    self.out.push_str(&show(&value));
                }
            }
            Node::If(pipeline, body, otherwise) | Node::With(pipeline, body, otherwise) => {
                let known = self.variables.len();
                let value = self.pipeline(pipeline, dot)?;
                let inner = if matches!(node, Node::With(..)) { &value } else { dot };
                let flow = match value.truth() {
                    true => self.nodes(body, inner),
                    false => self.nodes(otherwise, dot),
                };
                self.variables.truncate(known);
                return flow;
            }
            Node::Range(pipeline, body, otherwise) => return self.range(pipeline, body, otherwise, dot),
            Node::Template(name, about, span) => self.template(name, about.as_ref(), *span, dot)?,
            Node::Break => return Ok(Flow::Break),
            Node::Continue => return Ok(Flow::Continue),
        }
        Ok(Flow::On)
    }

    /// Fills in another template, which sees nothing of this one but what it is given.
    fn template(&mut self, name: &'a str, about: Option<&Pipeline>, span: Span, dot: &Datum) -> Result<(), Fault> {
        let fault = self.fault(span);
        let nodes = self.named.get(name).ok_or_else(|| fault(format!("template \"{name}\" not defined")))?;
        if self.depth == DEEPEST {
            return Err(fault(format!("exceeded maximum template depth ({DEEPEST})")));
        }
        let value = match about {
            Some(about) => self.pipeline(about, dot)?,
            None => Datum::from(Value::Null),
        };
        let outside = std::mem::replace(&mut self.variables, vec![("$".into(), value.clone())]);
        let outside = (outside, std::mem::replace(&mut self.name, name));
        self.depth += 1;
        self.nodes(nodes, &value)?;
        self.depth -= 1;
        (self.variables, self.name) = outside;
        Ok(())
    }

    fn range(
        &mut self,
        over: &'a Pipeline,
        body: &'a [Node],
        otherwise: &'a [Node],
        dot: &Datum,
    ) -> Result<Flow, Fault> {
        let fault = self.fault(over.span());
        let value = self.value_of(over, dot)?;
        if value.json.is_number() && over.variables.len() > 1 {
            let shown = show::value(&value);
            return Err(fault(format!("can't use {shown} to iterate over more than one variable")));
        }
        let items = value.items().map_err(fault)?;
        if items.is_empty() {
            return self.nodes(otherwise, dot);
        }
        let known = self.variables.len();
        for (key, item) in items {
            match over.variables.as_slice() {
                [] => {}
                [one] => self.set(over, one, item.clone())?,
                [first, second, ..] => {
                    self.set(over, first, key)?;
                    self.set(over, second, item.clone())?;
                }
            }
            let flow = self.nodes(body, &item)?;
            self.variables.truncate(known);
            if flow == Flow::Break {
                break;
            }
        }
        Ok(Flow::On)
    }

    fn set(&mut self, pipeline: &Pipeline, name: &str, value: Datum) -> Result<(), Fault> {
        if pipeline.declares {
            self.variables.push((name.to_owned(), value));
            return Ok(());
        }
        let fault = self.fault(pipeline.span());
        let variable = self.variables.iter_mut().rev().find(|(known, _)| known == name);
        variable.ok_or_else(|| fault(format!("undefined variable: {name}")))?.1 = value;
        Ok(())
    }

    /// The value of a pipeline, which sets its variable.
    fn pipeline(&mut self, pipeline: &Pipeline, dot: &Datum) -> Result<Datum, Fault> {
        let value = self.value_of(pipeline, dot)?;
        if let Some(name) = pipeline.variables.first() {
            self.set(pipeline, name, value.clone())?;
        }
        Ok(value)
    }

    fn value_of(&mut self, pipeline: &Pipeline, dot: &Datum) -> Result<Datum, Fault> {
        let mut last = None;
        for command in &pipeline.commands {
            last = Some(self.command(command, last, dot)?);
        }
        Ok(last.unwrap_or(Datum::from(Value::Null)))
    }

    fn command(&mut self, command: &Command, piped: Option<Datum>, dot: &Datum) -> Result<Datum, Fault> {
        let Command { first, rest, span } = command;
        let given = !rest.is_empty() || piped.is_some();
        match &first.operand {
            Operand::Function(name) => {
                let value = self.call((name, first.span), rest, *span, piped, dot)?;
                first.fields.iter().try_fold(value, |value, name| value.field(name)).map_err(self.fault(first.span))
            }
            Operand::Nil => Err(self.fault(first.span)("nil is not a command".into())),
            _ if !given => self.term(first, dot),
            Operand::Dot | Operand::Variable(_) if first.fields.as_slice() == ["Label"] => {
                self.label(first, rest, piped, dot)
            }
            _ => Err(self.fault(first.span)(match first.fields.last() {
                Some(name) => format!("{name} is not a method but has arguments"),
                None => "can't give argument to non-function".into(),
            })),
        }
    }

    /// The one method with an argument, of rows of lists: `.Label "x"`.
    fn label(&mut self, first: &Term, rest: &[Term], piped: Option<Datum>, dot: &Datum) -> Result<Datum, Fault> {
        let mut arguments = Vec::new();
        for term in rest {
            arguments.push(self.argument(term, dot)?);
        }
        arguments.extend(piped);
        let (Some(name), 1) = (arguments.first().and_then(|name| name.json.as_str()), arguments.len()) else {
            return Err(self.fault(first.span)("Label wants the name of one label".into()));
        };
        let receiver = self.term(&Term { fields: vec![], ..first.clone() }, dot)?;
        Ok(Datum::text(match (self.about.heading, self.about.labels) {
            (true, _) => label_heading(name),
            (false, Some(labels)) => labels.get(name).cloned().unwrap_or_default(),
            (false, None) => function::label(&receiver.json, name),
        }))
    }

    fn call(
        &mut self,
        (name, place): (&str, Span),
        rest: &[Term],
        span: Span,
        piped: Option<Datum>,
        dot: &Datum,
    ) -> Result<Datum, Fault> {
        let fault = self.fault(span);
        let count = rest.len() + usize::from(piped.is_some());
        function::count(name, count).map_err(self.fault(place))?;
        if matches!(name, "and" | "or") {
            return self.first_that(name == "or", rest, piped, dot);
        }
        let mut arguments = Vec::new();
        for term in rest {
            let argument = self.argument(term, dot)?;
            if !self.about.heading {
                function::accepts(name, arguments.len(), &argument).map_err(self.fault(term.span))?;
            }
            arguments.push(argument);
        }
        if let Some(piped) = piped {
            if !self.about.heading {
                function::accepts(name, arguments.len(), &piped).map_err(&fault)?;
            }
            arguments.push(piped);
        }
        // A row is told as Docker's lists tell it: names in order, and safe within HTML.
        if let ("json", Some(_), [row]) = (name, self.about.labels, arguments.as_slice())
            && row.json.is_object()
        {
            let row = list::sorted(row.json.clone());
            return Ok(Datum::text(units::html_safe(&row.to_string())));
        }
        let call = if self.about.heading { function::call_for_heading } else { function::call };
        call(name, &arguments).map_err(|why| fault(format!("error calling {name}: {why}")))
    }

    /// `and` and `or`: the first argument that decides, else the last; those behind it are not looked at.
    fn first_that(&mut self, truth: bool, rest: &[Term], piped: Option<Datum>, dot: &Datum) -> Result<Datum, Fault> {
        let mut last = Datum::from(Value::Null);
        for term in rest {
            last = self.argument(term, dot)?;
            if last.truth() == truth {
                return Ok(last);
            }
        }
        Ok(piped.unwrap_or(last))
    }

    fn argument(&mut self, term: &Term, dot: &Datum) -> Result<Datum, Fault> {
        match &term.operand {
            Operand::Nil => Ok(Datum::from(Value::Null)),
            Operand::Function(name) => {
                let value = self.call((name, term.span), &[], term.span, None, dot)?;
                term.fields.iter().try_fold(value, |value, name| value.field(name)).map_err(self.fault(term.span))
            }
            _ => self.term(term, dot),
        }
    }

    fn term(&mut self, term: &Term, dot: &Datum) -> Result<Datum, Fault> {
        let fault = self.fault(term.span);
        let value = match &term.operand {
            Operand::Dot => dot.clone(),
            Operand::Variable(name) => {
                let variable = self.variables.iter().rev().find(|(known, _)| known == name);
                let variable = variable.map(|(_, value)| value.clone());
                variable.ok_or_else(|| fault(format!("undefined variable: {name}")))?
            }
            Operand::Constant(value) => Datum::from(value.clone()),
            Operand::Function(_) | Operand::Nil => Datum::from(Value::Null),
            Operand::Nested(pipeline) => self.pipeline(pipeline, dot)?,
        };
        term.fields.iter().try_fold(value, |value, name| value.field(name)).map_err(fault)
    }
}

/// The heading of a column of labels: the last part of the label's name.
fn label_heading(name: &str) -> String {
    name.rsplit('.').next().unwrap_or(name).replace(['-', '_'], " ")
}
