//! Tokens as a tree.

use serde_json::Value;

use super::function;
use super::lex::Token;

/// A part of a template.
#[derive(Clone, Debug)]
pub(super) enum Node {
    /// Text as it is.
    Text(String),
    /// A value to print; a declaration or assignment prints nothing.
    Action(Pipeline),
    /// `if`, with its `else`.
    If(Pipeline, Vec<Node>, Vec<Node>),
    /// `with`, with its `else`.
    With(Pipeline, Vec<Node>, Vec<Node>),
    /// `range`, with its `else`.
    Range(Pipeline, Vec<Node>, Vec<Node>),
    /// `break`.
    Break,
    /// `continue`.
    Continue,
}

/// Commands, each fed to the next as its last argument.
#[derive(Clone, Debug)]
pub(super) struct Pipeline {
    /// Variables it sets; two for a `range` with keys.
    pub(super) variables: Vec<String>,
    /// It declares them rather than assigning.
    pub(super) declares: bool,
    /// The commands.
    pub(super) commands: Vec<Vec<Term>>,
}

/// An operand and the fields taken of it.
#[derive(Clone, Debug)]
pub(super) struct Term {
    /// Where it starts.
    pub(super) operand: Operand,
    /// Fields, in order.
    pub(super) fields: Vec<String>,
}

/// Where a term starts.
#[derive(Clone, Debug)]
pub(super) enum Operand {
    /// The current value.
    Dot,
    /// A variable.
    Variable(String),
    /// A constant.
    Constant(Value),
    /// A function.
    Function(String),
    /// A pipeline in parentheses.
    Nested(Box<Pipeline>),
}

/// What ended a list of nodes.
#[derive(PartialEq)]
enum End {
    Text,
    Block,
    Else,
}

/// Reads all tokens.
pub(super) fn parse(tokens: &[Token]) -> Result<Vec<Node>, String> {
    let mut parser = Parser { tokens, at: 0 };
    match parser.nodes()? {
        (nodes, End::Text) => Ok(nodes),
        (_, End::Block) => Err("unexpected {{end}}".into()),
        (_, End::Else) => Err("unexpected {{else}}".into()),
    }
}

struct Parser<'t> {
    tokens: &'t [Token],
    at: usize,
}

impl Parser<'_> {
    fn next(&mut self) -> Option<Token> {
        let token = self.tokens.get(self.at).cloned();
        self.at += 1;
        token
    }

    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn skip_space(&mut self) {
        while self.peek() == Some(&Token::Space) {
            self.at += 1;
        }
    }

    fn word(&mut self) -> Option<String> {
        self.skip_space();
        match self.peek() {
            Some(Token::Word(word)) => Some(word.clone()),
            _ => None,
        }
    }

    fn close(&mut self) -> Result<(), String> {
        self.skip_space();
        match self.next() {
            Some(Token::Close) => Ok(()),
            other => Err(format!("unexpected {other:?} in action")),
        }
    }

    /// Nodes until `end`, `else` or the end of all; of `else` only the word is taken.
    fn nodes(&mut self) -> Result<(Vec<Node>, End), String> {
        let mut nodes = Vec::new();
        while let Some(token) = self.next() {
            if let Token::Text(text) = token {
                nodes.push(Node::Text(text));
                continue;
            }
            let word = self.word();
            if word
                .as_deref()
                .is_some_and(|word| matches!(word, "if" | "with" | "range" | "end" | "else" | "break" | "continue"))
            {
                self.at += 1;
            }
            match word.as_deref() {
                Some("if") => nodes.push(self.block(Node::If)?),
                Some("with") => nodes.push(self.block(Node::With)?),
                Some("range") => nodes.push(self.block(Node::Range)?),
                Some("else") => return Ok((nodes, End::Else)),
                Some("end") => {
                    self.close()?;
                    return Ok((nodes, End::Block));
                }
                Some("break") => {
                    self.close()?;
                    nodes.push(Node::Break);
                }
                Some("continue") => {
                    self.close()?;
                    nodes.push(Node::Continue);
                }
                _ => {
                    nodes.push(Node::Action(self.pipeline()?));
                    self.close()?;
                }
            }
        }
        Ok((nodes, End::Text))
    }

    /// The rest of `if`, `with` or `range`, to its `end`.
    fn block(&mut self, make: fn(Pipeline, Vec<Node>, Vec<Node>) -> Node) -> Result<Node, String> {
        let pipeline = self.pipeline()?;
        self.close()?;
        let (body, end) = self.nodes()?;
        let otherwise = match end {
            End::Block => Vec::new(),
            End::Text => return Err("unexpected EOF".into()),
            // `else if` and `else with` nest, and share the `end`.
            End::Else => match self.word().as_deref() {
                Some("if") => {
                    self.at += 1;
                    vec![self.block(Node::If)?]
                }
                Some("with") => {
                    self.at += 1;
                    vec![self.block(Node::With)?]
                }
                _ => {
                    self.close()?;
                    match self.nodes()? {
                        (nodes, End::Block) => nodes,
                        (_, End::Text) => return Err("unexpected EOF".into()),
                        (_, End::Else) => return Err("unexpected {{else}}".into()),
                    }
                }
            },
        };
        Ok(make(pipeline, body, otherwise))
    }

    fn pipeline(&mut self) -> Result<Pipeline, String> {
        let (variables, declares) = self.variables();
        let mut commands = vec![self.command()?];
        while self.peek() == Some(&Token::Mark("|")) {
            self.at += 1;
            commands.push(self.command()?);
        }
        Ok(Pipeline { variables, declares, commands })
    }

    /// `$a :=`, `$a, $b :=`, `$a =`, or nothing.
    fn variables(&mut self) -> (Vec<String>, bool) {
        let start = self.at;
        let mut variables = Vec::new();
        loop {
            self.skip_space();
            let Some(Token::Variable(name)) = self.next() else { break };
            variables.push(name);
            self.skip_space();
            match self.next() {
                Some(Token::Mark(",")) => {}
                Some(Token::Mark(":=")) => return (variables, true),
                Some(Token::Mark("=")) => return (variables, false),
                _ => break,
            }
        }
        self.at = start;
        (Vec::new(), false)
    }

    /// Terms until `|`, `)` or the action's end.
    fn command(&mut self) -> Result<Vec<Term>, String> {
        let mut terms = Vec::new();
        loop {
            self.skip_space();
            match self.peek() {
                Some(Token::Mark("|" | ")") | Token::Close) | None => break,
                _ => terms.push(self.term()?),
            }
        }
        if terms.is_empty() { Err("missing value for command".into()) } else { Ok(terms) }
    }

    fn term(&mut self) -> Result<Term, String> {
        let mut fields = Vec::new();
        let operand = match self.next() {
            Some(Token::Dot) => Operand::Dot,
            Some(Token::Field(name)) => {
                fields.push(name);
                Operand::Dot
            }
            Some(Token::Variable(name)) => Operand::Variable(name),
            Some(Token::Quoted(text)) => Operand::Constant(Value::from(text)),
            Some(Token::Number(text)) => Operand::Constant(number(&text)?),
            Some(Token::Word(word)) => match word.as_str() {
                "true" => Operand::Constant(Value::Bool(true)),
                "false" => Operand::Constant(Value::Bool(false)),
                "nil" => Operand::Constant(Value::Null),
                name if function::exists(name) => Operand::Function(word),
                name => return Err(format!("function \"{name}\" not defined")),
            },
            Some(Token::Mark("(")) => {
                let nested = self.pipeline()?;
                match self.next() {
                    Some(Token::Mark(")")) => Operand::Nested(Box::new(nested)),
                    _ => return Err("unclosed left paren".into()),
                }
            }
            other => return Err(format!("unexpected {other:?} in operand")),
        };
        while let Some(Token::Field(name)) = self.peek() {
            fields.push(name.clone());
            self.at += 1;
        }
        Ok(Term { operand, fields })
    }
}

fn number(text: &str) -> Result<Value, String> {
    if let Ok(number) = text.parse::<i64>() {
        return Ok(Value::from(number));
    }
    text.parse::<f64>().map(Value::from).map_err(|_| format!("bad number syntax: \"{text}\""))
}
