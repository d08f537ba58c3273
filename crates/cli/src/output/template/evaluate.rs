//! A tree and a JSON value become text.

use std::collections::BTreeMap;

use serde_json::Value;

use super::function;
use super::parse::{Node, Operand, Pipeline, Term};

/// What a list of nodes asks its loop to do.
#[derive(PartialEq)]
enum Flow {
    On,
    Break,
    Continue,
}

/// The labels of the object that a row of a list is about.
type Labels = BTreeMap<String, String>;

/// Fills a template in. For a heading, functions give their first text back.
pub(super) fn render(nodes: &[Node], value: &Value, labels: Option<&Labels>, heading: bool) -> Result<String, String> {
    let mut scope = Scope { root: value, variables: vec![], labels, heading, out: String::new() };
    scope.nodes(nodes, value)?;
    Ok(scope.out)
}

struct Scope<'a> {
    /// What `$` is.
    root: &'a Value,
    variables: Vec<(String, Value)>,
    labels: Option<&'a Labels>,
    heading: bool,
    out: String,
}

impl Scope<'_> {
    fn nodes(&mut self, nodes: &[Node], dot: &Value) -> Result<Flow, String> {
        for node in nodes {
            let flow = self.node(node, dot)?;
            if flow != Flow::On {
                return Ok(flow);
            }
        }
        Ok(Flow::On)
    }

    fn node(&mut self, node: &Node, dot: &Value) -> Result<Flow, String> {
        match node {
            Node::Text(text) => self.out.push_str(text),
            Node::Action(pipeline) => {
                let value = self.pipeline(pipeline, dot)?;
                if pipeline.variables.is_empty() {
                    self.out.push_str(&function::display_member(&value, member(pipeline)));
                } else {
                    self.set(pipeline, value)?;
                }
            }
            Node::If(pipeline, body, otherwise) | Node::With(pipeline, body, otherwise) => {
                let depth = self.variables.len();
                let value = self.pipeline(pipeline, dot)?;
                if !pipeline.variables.is_empty() {
                    self.set(pipeline, value.clone())?;
                }
                let inner = if matches!(node, Node::With(..)) { &value } else { dot };
                let flow = match function::truth(&value) {
                    true => self.nodes(body, inner),
                    false => self.nodes(otherwise, dot),
                };
                self.variables.truncate(depth);
                return flow;
            }
            Node::Range(pipeline, body, otherwise) => return self.range(pipeline, body, otherwise, dot),
            Node::Break => return Ok(Flow::Break),
            Node::Continue => return Ok(Flow::Continue),
        }
        Ok(Flow::On)
    }

    fn range(&mut self, over: &Pipeline, body: &[Node], otherwise: &[Node], dot: &Value) -> Result<Flow, String> {
        let items: Vec<(Value, Value)> = match self.pipeline(over, dot)? {
            Value::Array(items) => items.into_iter().enumerate().map(|(at, item)| (Value::from(at), item)).collect(),
            Value::Object(members) => {
                let mut members: Vec<_> = members.into_iter().map(|(key, value)| (Value::from(key), value)).collect();
                // Go visits the keys of a map in order.
                members.sort_by(|(a, _), (b, _)| a.as_str().cmp(&b.as_str()));
                members
            }
            Value::Null => Vec::new(),
            other => return Err(format!("range can't iterate over {}", function::display(&other))),
        };
        if items.is_empty() {
            return self.nodes(otherwise, dot);
        }
        let depth = self.variables.len();
        for (key, item) in items {
            match over.variables.as_slice() {
                [] => {}
                [one] => self.variables.push((one.clone(), item.clone())),
                [first, second, ..] => {
                    self.variables.push((first.clone(), key));
                    self.variables.push((second.clone(), item.clone()));
                }
            }
            let flow = self.nodes(body, &item)?;
            self.variables.truncate(depth);
            if flow == Flow::Break {
                break;
            }
        }
        Ok(Flow::On)
    }

    fn set(&mut self, pipeline: &Pipeline, value: Value) -> Result<(), String> {
        let Some(name) = pipeline.variables.first() else { return Ok(()) };
        if pipeline.declares {
            self.variables.push((name.clone(), value));
            return Ok(());
        }
        let variable = self.variables.iter_mut().rev().find(|(known, _)| known == name);
        variable.ok_or_else(|| format!("undefined variable \"{name}\""))?.1 = value;
        Ok(())
    }

    fn pipeline(&self, pipeline: &Pipeline, dot: &Value) -> Result<Value, String> {
        let mut last = None;
        for command in &pipeline.commands {
            last = Some(self.command(command, last, dot)?);
        }
        Ok(last.unwrap_or(Value::Null))
    }

    fn command(&self, terms: &[Term], piped: Option<Value>, dot: &Value) -> Result<Value, String> {
        let Some((first, rest)) = terms.split_first() else { return Ok(Value::Null) };
        let Operand::Function(name) = &first.operand else {
            // Rows of lists have one method with an argument, `.Label "x"`.
            if let (Operand::Dot, [method], [argument]) = (&first.operand, first.fields.as_slice(), rest)
                && method == "Label"
            {
                let name = function::display(&self.term(argument, dot)?);
                return Ok(Value::from(match (self.heading, self.labels) {
                    (true, _) => label_heading(&name),
                    (false, Some(labels)) => labels.get(&name).cloned().unwrap_or_default(),
                    (false, None) => function::label(dot, &name),
                }));
            }
            return match rest {
                [] if piped.is_none() => self.term(first, dot),
                _ => Err("can't give argument to non-function".into()),
            };
        };
        let mut arguments = rest.iter().map(|term| self.term(term, dot)).collect::<Result<Vec<Value>, String>>()?;
        arguments.extend(piped);
        if self.heading && name != "pad" {
            let text = arguments.iter().find(|argument| argument.is_string());
            return Ok(text.cloned().unwrap_or(Value::Null));
        }
        // A row is told as Docker's lists tell it: names in order, and safe within HTML.
        if let ("json", Some(_), [row @ Value::Object(_)]) = (name.as_str(), self.labels, arguments.as_slice()) {
            return Ok(Value::from(function::json_of_row(row)));
        }
        fields(function::call(name, &arguments)?, &first.fields)
    }

    fn term(&self, term: &Term, dot: &Value) -> Result<Value, String> {
        let value = match &term.operand {
            Operand::Dot => return fields_of(dot, &term.fields),
            Operand::Variable(name) if name == "$" => return fields_of(self.root, &term.fields),
            Operand::Variable(name) => {
                let variable = self.variables.iter().rev().find(|(known, _)| known == name);
                variable.map(|(_, value)| value.clone()).ok_or_else(|| format!("undefined variable \"{name}\""))?
            }
            Operand::Constant(value) => value.clone(),
            Operand::Function(name) => function::call(name, &[])?,
            Operand::Nested(pipeline) => self.pipeline(pipeline, dot)?,
        };
        fields(value, &term.fields)
    }
}

/// The member that a pipeline shows, when it is nothing but one.
fn member(pipeline: &Pipeline) -> &str {
    match pipeline.commands.as_slice() {
        [command] if command.len() == 1 => command[0].fields.last().map_or("", String::as_str),
        _ => "",
    }
}

/// The heading of a column of labels: the last part of the label's name.
fn label_heading(name: &str) -> String {
    name.rsplit('.').next().unwrap_or(name).replace(['-', '_'], " ")
}

fn fields(value: Value, names: &[String]) -> Result<Value, String> {
    if names.is_empty() { Ok(value) } else { fields_of(&value, names) }
}

/// Follows fields by name: as written, else whatever the case (Go's names and JSON's differ in that).
fn fields_of(value: &Value, names: &[String]) -> Result<Value, String> {
    let mut value = value;
    for name in names {
        let found = match value {
            Value::Object(members) => members
                .get(name)
                .or_else(|| members.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)),
            Value::Null => Some(&Value::Null),
            _ => None,
        };
        value = found.ok_or_else(|| format!("can't evaluate field {name} in {}", function::kind(value)))?;
    }
    Ok(value.clone())
}
