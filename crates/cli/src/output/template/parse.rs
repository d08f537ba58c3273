//! Tokens as a tree.

use std::collections::BTreeMap;

use serde_json::Value;

use super::function;
use super::lex::{KEYWORDS, Mistake, Placed, Token};

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
    /// A template by its name, with what it is about.
    Template(String, Option<Pipeline>, Span),
    /// `break`.
    Break,
    /// `continue`.
    Continue,
}

/// The part of the text that something is, in bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    /// Where it begins.
    pub(super) start: usize,
    /// Where it ends.
    pub(super) end: usize,
}

/// Commands, each fed to the next as its last argument.
#[derive(Clone, Debug)]
pub(super) struct Pipeline {
    /// Variables it sets; two for a `range` with keys.
    pub(super) variables: Vec<String>,
    /// It declares them rather than assigning.
    pub(super) declares: bool,
    /// The commands.
    pub(super) commands: Vec<Command>,
}

impl Pipeline {
    /// Where its commands are.
    pub(super) fn span(&self) -> Span {
        let (first, last) = (self.commands.first(), self.commands.last());
        Span { start: first.map_or(0, |first| first.span.start), end: last.map_or(0, |last| last.span.end) }
    }
}

/// A value, or a function and its arguments.
#[derive(Clone, Debug)]
pub(super) struct Command {
    /// The value or function.
    pub(super) first: Term,
    /// Arguments.
    pub(super) rest: Vec<Term>,
    /// Where it is.
    pub(super) span: Span,
}

/// An operand and the fields taken of it.
#[derive(Clone, Debug)]
pub(super) struct Term {
    /// Where it starts.
    pub(super) operand: Operand,
    /// Fields, in order.
    pub(super) fields: Vec<String>,
    /// Where it is.
    pub(super) span: Span,
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
    /// Nothing.
    Nil,
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

/// Templates by their names.
pub(super) type Named = BTreeMap<String, Vec<Node>>;

/// How deep blocks and parentheses may be in each other.
const DEEPEST: usize = 100;

/// Reads all tokens: the template, and those defined in it.
pub(super) fn parse(tokens: &[Placed]) -> Result<(Vec<Node>, Named), Mistake> {
    let mut parser = Parser { tokens, at: 0, depth: 0, loops: 0, variables: vec!["$".into()], named: Named::default() };
    match parser.nodes(true)? {
        (nodes, End::Text) => Ok((nodes, parser.named)),
        (_, End::Block) => Err(parser.mistake("unexpected {{end}}")),
        (_, End::Else) => Err(parser.mistake("unexpected {{else}}")),
    }
}

struct Parser<'t> {
    tokens: &'t [Placed],
    at: usize,
    depth: usize,
    /// How many `range`s this is in.
    loops: usize,
    /// Variables that are known here.
    variables: Vec<String>,
    named: Named,
}

/// A token as a sentence names it.
fn named(token: Option<&Token>) -> String {
    match token {
        None => "EOF".into(),
        Some(Token::Dot) => "<.>".into(),
        Some(Token::Word(word)) if KEYWORDS.contains(&word.as_str()) => format!("<{word}>"),
        Some(Token::Text(text) | Token::Variable(text) | Token::Word(text) | Token::Number(text)) => {
            format!("\"{text}\"")
        }
        Some(Token::Field(name)) => format!("\".{name}\""),
        Some(Token::Quoted(text)) => format!("\"\\\"{text}\\\"\""),
        Some(Token::Character(char)) => format!("\"'{char}'\""),
        Some(Token::Mark(mark)) => format!("\"{mark}\""),
        Some(Token::Space) => "\" \"".into(),
        Some(Token::Open) => "\"{{\"".into(),
        Some(Token::Close) => "\"}}\"".into(),
    }
}

impl Parser<'_> {
    fn next(&mut self) -> Option<Token> {
        let token = self.tokens.get(self.at).map(|placed| placed.token.clone());
        self.at += 1;
        token
    }

    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at).map(|placed| &placed.token)
    }

    fn skip_space(&mut self) {
        while self.peek() == Some(&Token::Space) {
            self.at += 1;
        }
    }

    /// Something is wrong with the token that was read last.
    fn mistake(&self, why: impl Into<String>) -> Mistake {
        let last = self.tokens.get(self.at.saturating_sub(1)).or(self.tokens.last());
        Mistake { at: last.map_or(0, |placed| placed.start), why: why.into() }
    }

    fn unexpected(&self, context: &str) -> Mistake {
        let token = self.tokens.get(self.at.saturating_sub(1)).map(|placed| &placed.token);
        self.mistake(format!("unexpected {} in {context}", named(token)))
    }

    /// From the token at `start` to the one that was read last.
    fn span(&self, start: usize) -> Span {
        let place = |at: usize| self.tokens.get(at).or(self.tokens.last());
        let end = place(self.at.saturating_sub(1)).map_or(0, |placed| placed.end);
        Span { start: place(start).map_or(0, |placed| placed.start), end }
    }

    fn deeper<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, Mistake>) -> Result<T, Mistake> {
        if self.depth == DEEPEST {
            return Err(self.mistake("too many blocks and parentheses in each other"));
        }
        self.depth += 1;
        let result = read(self);
        self.depth -= 1;
        result
    }

    /// The keyword that an action begins with.
    fn keyword(&mut self) -> Option<String> {
        self.skip_space();
        let Some(Token::Word(word)) = self.peek() else { return None };
        let word = Some(word).filter(|word| KEYWORDS.contains(&word.as_str()) && *word != "nil").cloned();
        self.at += usize::from(word.is_some());
        word
    }

    fn close(&mut self, context: &str) -> Result<(), Mistake> {
        self.skip_space();
        match self.next() {
            Some(Token::Close) => Ok(()),
            None => Err(self.mistake("unclosed action")),
            Some(Token::Mark(")")) => Err(self.mistake("unexpected right paren")),
            _ => Err(self.unexpected(context)),
        }
    }

    /// Nodes until `end`, `else` or the end of all; of `else` only the word is taken.
    fn nodes(&mut self, top: bool) -> Result<(Vec<Node>, End), Mistake> {
        let mut nodes = Vec::new();
        while let Some(token) = self.next() {
            if let Token::Text(text) = token {
                nodes.push(Node::Text(text));
                continue;
            }
            let start = self.at - 1;
            match self.keyword().as_deref() {
                Some("if") => nodes.push(self.deeper(|parser| parser.block("if", Node::If))?),
                Some("with") => nodes.push(self.deeper(|parser| parser.block("with", Node::With))?),
                Some("range") => nodes.push(self.deeper(|parser| parser.block("range", Node::Range))?),
                Some("else") => return Ok((nodes, End::Else)),
                Some("end") => {
                    self.close("end")?;
                    return Ok((nodes, End::Block));
                }
                Some("break") => nodes.push(self.jump("break", Node::Break)?),
                Some("continue") => nodes.push(self.jump("continue", Node::Continue)?),
                Some("template") => nodes.push(self.template(start)?),
                Some("block") => nodes.push(self.deeper(|parser| parser.define_here(start))?),
                Some("define") if top => {
                    let name = self.name("define clause")?;
                    self.close("define clause")?;
                    self.deeper(|parser| parser.define(name))?;
                }
                Some(_) => return Err(self.unexpected("command")),
                None => {
                    nodes.push(Node::Action(self.pipeline("command")?));
                    self.close("operand")?;
                }
            }
        }
        Ok((nodes, End::Text))
    }

    fn jump(&mut self, word: &str, node: Node) -> Result<Node, Mistake> {
        self.close(&format!("{{{{{word}}}}}"))?;
        match self.loops {
            0 => Err(self.mistake(format!("{{{{{word}}}}} outside {{{{range}}}}"))),
            _ => Ok(node),
        }
    }

    /// The name of a template.
    fn name(&mut self, context: &str) -> Result<String, Mistake> {
        self.skip_space();
        match self.next() {
            Some(Token::Quoted(name)) => Ok(name),
            _ => Err(self.unexpected(context)),
        }
    }

    /// The rest of `template "name" about`.
    fn template(&mut self, start: usize) -> Result<Node, Mistake> {
        let name = self.name("template clause")?;
        self.skip_space();
        let about = match self.peek() {
            Some(Token::Close) => None,
            _ => Some(self.pipeline("template clause")?),
        };
        self.close("template clause")?;
        Ok(Node::Template(name, about, self.span(start)))
    }

    /// The rest of `block "name" about`: a template that is defined where it is used.
    fn define_here(&mut self, start: usize) -> Result<Node, Mistake> {
        let name = self.name("block clause")?;
        let about = self.pipeline("block clause")?;
        self.close("block clause")?;
        let span = self.span(start);
        self.define(name.clone())?;
        Ok(Node::Template(name, Some(about), span))
    }

    /// The body of a template, to its `end`. It knows no variables but its own.
    fn define(&mut self, name: String) -> Result<(), Mistake> {
        let variables = std::mem::replace(&mut self.variables, vec!["$".into()]);
        let loops = std::mem::take(&mut self.loops);
        let (nodes, end) = self.nodes(false)?;
        (self.variables, self.loops) = (variables, loops);
        match end {
            End::Text => return Err(self.mistake("unexpected EOF")),
            End::Else => return Err(self.mistake("unexpected {{else}} in define clause")),
            End::Block => {}
        }
        let blank =
            |nodes: &[Node]| nodes.iter().all(|node| matches!(node, Node::Text(text) if text.trim().is_empty()));
        // A template of nothing but white space gives way to another of its name.
        match self.named.get(&name) {
            Some(_) if blank(&nodes) => {}
            Some(known) if !blank(known) => {
                return Err(self.mistake(format!("template: multiple definition of template \"{name}\"")));
            }
            _ => _ = self.named.insert(name, nodes),
        }
        Ok(())
    }

    /// The rest of `if`, `with` or `range`, to its `end`.
    fn block(&mut self, word: &str, make: fn(Pipeline, Vec<Node>, Vec<Node>) -> Node) -> Result<Node, Mistake> {
        let known = self.variables.len();
        let pipeline = self.pipeline(word)?;
        self.close("operand")?;
        self.loops += usize::from(word == "range");
        let (body, end) = self.nodes(false)?;
        self.loops -= usize::from(word == "range");
        let otherwise = match end {
            End::Block => Vec::new(),
            End::Text => return Err(self.mistake("unexpected EOF")),
            End::Else => self.otherwise(word)?,
        };
        self.variables.truncate(known);
        Ok(make(pipeline, body, otherwise))
    }

    /// What follows `else`: `else if` and `else with` nest, and share the `end`.
    fn otherwise(&mut self, word: &str) -> Result<Vec<Node>, Mistake> {
        match self.keyword().as_deref() {
            Some("if") if word != "range" => return Ok(vec![self.deeper(|parser| parser.block("if", Node::If))?]),
            Some("with") if word == "with" => {
                return Ok(vec![self.deeper(|parser| parser.block("with", Node::With))?]);
            }
            Some(_) => return Err(self.unexpected("else")),
            None => {}
        }
        self.close("else")?;
        match self.nodes(false)? {
            (nodes, End::Block) => Ok(nodes),
            (_, End::Text) => Err(self.mistake("unexpected EOF")),
            (_, End::Else) => Err(self.mistake("expected end; found {{else}}")),
        }
    }

    fn pipeline(&mut self, context: &str) -> Result<Pipeline, Mistake> {
        let (variables, declares) = self.variables(context)?;
        let mut commands = Vec::new();
        loop {
            self.skip_space();
            match self.peek() {
                Some(Token::Mark(")") | Token::Close) | None if commands.is_empty() => {
                    return Err(self.mistake(format!("missing value for {context}")));
                }
                Some(Token::Mark(")") | Token::Close) | None => break,
                _ => {}
            }
            let command = self.command(context)?;
            if !commands.is_empty() && matches!(command.first.operand, Operand::Constant(_) | Operand::Nil) {
                let stage = commands.len() + 1;
                return Err(self.mistake(format!("non executable command in pipeline stage {stage}")));
            }
            commands.push(command);
            match self.peek() {
                Some(Token::Mark("|")) => self.at += 1,
                _ => break,
            }
        }
        if declares {
            self.variables.extend(variables.iter().cloned());
        }
        Ok(Pipeline { variables, declares, commands })
    }

    /// `$a :=`, `$a, $b :=`, `$a =`, or nothing.
    fn variables(&mut self, context: &str) -> Result<(Vec<String>, bool), Mistake> {
        let start = self.at;
        let mut variables = Vec::new();
        loop {
            self.skip_space();
            let Some(Token::Variable(name)) = self.next() else { break };
            variables.push(name);
            self.skip_space();
            let most = if context == "range" { 2 } else { 1 };
            match self.next() {
                Some(Token::Mark(",")) if variables.len() < most => {}
                Some(Token::Mark(",")) => return Err(self.mistake(format!("too many declarations in {context}"))),
                Some(Token::Mark(mark @ (":=" | "="))) => return Ok((variables, mark == ":=")),
                _ => break,
            }
        }
        self.at = start;
        Ok((Vec::new(), false))
    }

    /// Terms until `|`, `)` or the action's end.
    fn command(&mut self, context: &str) -> Result<Command, Mistake> {
        let first = self.term(context)?;
        let mut rest = Vec::new();
        loop {
            match self.peek() {
                Some(Token::Space) => self.skip_space(),
                Some(Token::Mark("|" | ")") | Token::Close) | None => {
                    let end = rest.last().map_or(first.span.end, |term: &Term| term.span.end);
                    let span = Span { start: first.span.start, end };
                    return Ok(Command { first, rest, span });
                }
                Some(_) => {
                    self.at += 1;
                    return Err(self.unexpected("operand"));
                }
            }
            if !matches!(self.peek(), Some(Token::Mark("|" | ")") | Token::Close) | None) {
                rest.push(self.term("operand")?);
            }
        }
    }

    fn term(&mut self, context: &str) -> Result<Term, Mistake> {
        let start = self.at;
        let mut fields = Vec::new();
        let operand = match self.next() {
            Some(Token::Dot) => Operand::Dot,
            Some(Token::Field(name)) => {
                fields.push(name);
                Operand::Dot
            }
            Some(Token::Variable(name)) if self.variables.contains(&name) => Operand::Variable(name),
            Some(Token::Variable(name)) => return Err(self.mistake(format!("undefined variable \"{name}\""))),
            Some(Token::Quoted(text)) => Operand::Constant(Value::from(text)),
            Some(Token::Character(char)) => Operand::Constant(u32::from(char).into()),
            Some(Token::Number(text)) => {
                Operand::Constant(number(&text).ok_or_else(|| self.mistake(format!("bad number syntax: \"{text}\"")))?)
            }
            Some(Token::Word(word)) => match word.as_str() {
                "true" => Operand::Constant(Value::Bool(true)),
                "false" => Operand::Constant(Value::Bool(false)),
                "nil" => Operand::Nil,
                name if KEYWORDS.contains(&name) => return Err(self.unexpected(context)),
                name if function::exists(name) => Operand::Function(word),
                name => return Err(self.mistake(format!("function \"{name}\" not defined"))),
            },
            Some(Token::Mark("(")) => {
                let nested = self.deeper(|parser| parser.pipeline("parenthesized pipeline"))?;
                match self.next() {
                    Some(Token::Mark(")")) => Operand::Nested(Box::new(nested)),
                    _ => return Err(self.mistake("unclosed left paren")),
                }
            }
            Some(Token::Mark(")")) => return Err(self.mistake("unexpected right paren")),
            None => return Err(self.mistake("unclosed action")),
            _ => return Err(self.unexpected(context)),
        };
        while let Some(Token::Field(name)) = self.peek() {
            fields.push(name.clone());
            self.at += 1;
        }
        if !fields.is_empty() && matches!(operand, Operand::Constant(_) | Operand::Nil) {
            let constant = self.tokens.get(start).map(|placed| &placed.token);
            return Err(self.mistake(format!("unexpected . after term {}", named(constant))));
        }
        Ok(Term { operand, fields, span: self.span(start) })
    }
}

/// A number as Go writes it: whole in four bases, `_` between digits, or a fraction.
fn number(text: &str) -> Option<Value> {
    let (sign, digits) = match text.strip_prefix(['-', '+']) {
        Some(digits) => (if text.starts_with('-') { "-" } else { "" }, digits),
        None => ("", text),
    };
    if digits.starts_with('_') || digits.ends_with('_') || digits.contains("__") {
        return None;
    }
    let digits = digits.replace('_', "").to_ascii_lowercase();
    let prefixed = [("0x", 16), ("0b", 2), ("0o", 8)];
    let based = prefixed.into_iter().find_map(|(prefix, radix)| Some((digits.strip_prefix(prefix)?, radix)));
    let old_octal =
        digits.strip_prefix('0').filter(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit()));
    match based.or(old_octal.map(|rest| (rest, 8))) {
        Some((rest, _)) if rest.starts_with(['-', '+']) => None,
        Some((rest, radix)) => i64::from_str_radix(&format!("{sign}{rest}"), radix).ok().map(Value::from),
        None if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            format!("{sign}{digits}").parse::<i64>().ok().map(Value::from)
        }
        None if digits.starts_with(|char: char| char.is_ascii_digit() || char == '.') => {
            format!("{sign}{digits}").parse::<f64>().ok().map(Value::from)
        }
        None => None,
    }
}
