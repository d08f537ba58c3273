//! A template's text as tokens.

/// A piece of a template.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    /// Text outside actions.
    Text(String),
    /// `{{`.
    Open,
    /// `}}`.
    Close,
    /// `.Name`; directly after another value it is a field of that.
    Field(String),
    /// `.` alone.
    Dot,
    /// `$name`, or `$`.
    Variable(String),
    /// A function's name or a keyword.
    Word(String),
    /// A text constant.
    Quoted(String),
    /// A number.
    Number(String),
    /// `|`, `(`, `)`, `,`, `=`, `:=`.
    Mark(&'static str),
    /// White space between words; it separates arguments.
    Space,
}

/// Cuts a template into tokens.
pub(super) fn lex(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = text;
    let mut trim = false;
    while let Some(at) = rest.find("{{") {
        let (before, action) = rest.split_at(at);
        let action = &action[2..];
        let trims_before = action.starts_with('-') && action[1..].starts_with(char::is_whitespace);
        let before = if trim { before.trim_start() } else { before };
        push_text(&mut tokens, if trims_before { before.trim_end() } else { before });
        let inside = if trims_before { &action[1..] } else { action };
        (rest, trim) = self::action(&mut tokens, inside)?;
    }
    push_text(&mut tokens, if trim { rest.trim_start() } else { rest });
    Ok(tokens)
}

fn push_text(tokens: &mut Vec<Token>, text: &str) {
    if !text.is_empty() {
        tokens.push(Token::Text(text.to_owned()));
    }
}

/// Reads one action; gives what follows and whether its white space is dropped.
fn action<'t>(tokens: &mut Vec<Token>, text: &'t str) -> Result<(&'t str, bool), String> {
    if let Some(comment) = text.trim_start().strip_prefix("/*") {
        let (_, rest) = comment.split_once("*/").ok_or("unclosed comment")?;
        return close(rest.trim_start()).ok_or_else(|| "comment ends before closing delimiter".to_owned());
    }
    tokens.push(Token::Open);
    let mut rest = text;
    loop {
        if let Some(end) = close(rest.trim_start()) {
            tokens.push(Token::Close);
            return Ok(end);
        }
        let (token, after) = token(rest)?;
        tokens.push(token);
        rest = after;
    }
}

/// The end of an action, `}}` or `-}}`.
fn close(text: &str) -> Option<(&str, bool)> {
    let trimmed = text.strip_prefix("-}}").map(|rest| (rest, true));
    trimmed.or_else(|| text.strip_prefix("}}").map(|rest| (rest, false)))
}

fn token(text: &str) -> Result<(Token, &str), String> {
    let first = text.chars().next().ok_or("unclosed action")?;
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    let name_end = |from: usize| text[from..].find(|c| !is_name(c)).map_or(text.len(), |at| from + at);
    match first {
        _ if first.is_whitespace() => Ok((Token::Space, text.trim_start())),
        '"' => quoted(text),
        '`' => {
            let (raw, rest) = text[1..].split_once('`').ok_or("unterminated raw quoted string")?;
            Ok((Token::Quoted(raw.to_owned()), rest))
        }
        '.' => {
            let end = name_end(1);
            let token = if end == 1 { Token::Dot } else { Token::Field(text[1..end].to_owned()) };
            Ok((token, &text[end..]))
        }
        '$' => {
            let end = name_end(1);
            Ok((Token::Variable(text[..end].to_owned()), &text[end..]))
        }
        '0'..='9' | '-' | '+' => {
            let end = text[1..].find(|c: char| !c.is_ascii_alphanumeric() && c != '.').map_or(text.len(), |at| at + 1);
            Ok((Token::Number(text[..end].to_owned()), &text[end..]))
        }
        _ if is_name(first) => {
            let end = name_end(0);
            Ok((Token::Word(text[..end].to_owned()), &text[end..]))
        }
        _ => {
            let mark = ["|", "(", ")", ",", ":=", "="].into_iter().find(|mark| text.starts_with(mark));
            let mark = mark.ok_or_else(|| format!("unexpected \"{first}\" in command"))?;
            Ok((Token::Mark(mark), &text[mark.len()..]))
        }
    }
}

fn quoted(text: &str) -> Result<(Token, &str), String> {
    let mut out = String::new();
    let mut chars = text.char_indices().skip(1);
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return Ok((Token::Quoted(out), &text[at + 1..])),
            '\\' => match chars.next().map(|(_, char)| char) {
                Some('n') => out.push('\n'),
                Some('t') => out.push('\t'),
                Some('r') => out.push('\r'),
                Some(char @ ('"' | '\\' | '\'')) => out.push(char),
                _ => return Err("unknown escape in a quoted string".into()),
            },
            char => out.push(char),
        }
    }
    Err("unterminated quoted string".into())
}
