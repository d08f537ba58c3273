//! A tree and a JSON value become text.

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

/// Fills a template in. For a heading, functions give their last argument back.
pub(super) fn render(nodes: &[Node], value: &Value, heading: bool) -> Result<String, String> {
    let mut scope = Scope { variables: vec![("$".to_owned(), value.clone())], heading, out: String::new() };
    scope.nodes(nodes, value)?;
    Ok(scope.out)
}

struct Scope {
    variables: Vec<(String, Value)>,
    heading: bool,
    out: String,
}

impl Scope {
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
                    self.out.push_str(&function::display(&value));
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
            // Lists of the field's tools have methods with one argument, `.Label "x"`.
            if let (Operand::Dot, [method], [argument]) = (&first.operand, first.fields.as_slice(), rest) {
                let argument = self.term(argument, dot)?;
                return Ok(if self.heading { argument } else { function::method(dot, method, &argument) });
            }
            return match rest {
                [] if piped.is_none() => self.term(first, dot),
                _ => Err("can't give argument to non-function".into()),
            };
        };
        let mut arguments = rest.iter().map(|term| self.term(term, dot)).collect::<Result<Vec<Value>, String>>()?;
        arguments.extend(piped);
        if self.heading {
            let text = arguments.iter().find(|argument| argument.is_string());
            return Ok(text.cloned().unwrap_or(Value::Null));
        }
        fields(function::call(name, &arguments)?, &first.fields)
    }

    fn term(&self, term: &Term, dot: &Value) -> Result<Value, String> {
        let value = match &term.operand {
            Operand::Dot => return fields_of(dot, &term.fields),
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
