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
    /// A number, as it is written.
    Number(String),
    /// A character constant.
    Character(char),
    /// `|`, `(`, `)`, `,`, `=`, `:=`.
    Mark(&'static str),
    /// White space between words; it separates arguments.
    Space,
}

/// A token and the part of the text that it is.
#[derive(Clone, Debug)]
pub(super) struct Placed {
    /// The token.
    pub(super) token: Token,
    /// Where it begins, in bytes.
    pub(super) start: usize,
    /// Where it ends.
    pub(super) end: usize,
}

/// What is wrong with a template, and where.
#[derive(Debug)]
pub(super) struct Mistake {
    /// Where, in bytes.
    pub(super) at: usize,
    /// What.
    pub(super) why: String,
}

/// Words that are no names of functions.
pub(super) const KEYWORDS: [&str; 11] =
    ["block", "break", "continue", "define", "else", "end", "if", "nil", "range", "template", "with"];

/// Cuts a template into tokens.
pub(super) fn lex(text: &str) -> Result<Vec<Placed>, Mistake> {
    let mut lexer = Lexer { text, at: 0, tokens: Vec::new() };
    let mut trim = false;
    while let Some(found) = text[lexer.at..].find("{{") {
        let (start, open) = (lexer.at, lexer.at + found);
        let marked = text[open + 2..].strip_prefix('-').is_some_and(|rest| rest.starts_with(is_space));
        lexer.text_between(start, open, trim, marked);
        lexer.at = open + 2 + usize::from(marked);
        trim = lexer.action(open)?;
    }
    lexer.text_between(lexer.at, text.len(), trim, false);
    Ok(lexer.tokens)
}

fn is_space(char: char) -> bool {
    matches!(char, ' ' | '\t' | '\r' | '\n')
}

fn is_name(char: char) -> bool {
    char.is_alphanumeric() || char == '_'
}

struct Lexer<'t> {
    text: &'t str,
    at: usize,
    tokens: Vec<Placed>,
}

impl<'t> Lexer<'t> {
    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    fn mistake(&self, why: impl Into<String>) -> Mistake {
        Mistake { at: self.at, why: why.into() }
    }

    fn push(&mut self, token: Token, length: usize) {
        self.tokens.push(Placed { token, start: self.at, end: self.at + length });
        self.at += length;
    }

    fn text_between(&mut self, start: usize, end: usize, trim_start: bool, trim_end: bool) {
        let text = &self.text[start..end];
        let text = if trim_start { text.trim_start_matches(is_space) } else { text };
        let text = if trim_end { text.trim_end_matches(is_space) } else { text };
        if !text.is_empty() {
            self.tokens.push(Placed { token: Token::Text(text.to_owned()), start, end });
        }
        self.at = end;
    }

    /// Reads one action; whether the white space behind it is dropped.
    fn action(&mut self, open: usize) -> Result<bool, Mistake> {
        let blank = self.rest().len() - self.rest().trim_start_matches(is_space).len();
        // Blanks may stand before a comment only where they belong to the mark that trims.
        let comment = if self.at > open + 2 { blank } else { 0 };
        if self.rest()[comment..].starts_with("/*") {
            let end = self.rest().find("*/").ok_or_else(|| self.mistake("unclosed comment"))?;
            self.at += end + 2;
            let Some((length, trim)) = self.close() else {
                return Err(self.mistake("comment ends before closing delimiter"));
            };
            self.at += length;
            return Ok(trim);
        }
        self.tokens.push(Placed { token: Token::Open, start: open, end: self.at });
        loop {
            if let Some((length, trim)) = self.close() {
                self.push(Token::Close, length);
                return Ok(trim);
            }
            self.token()?;
        }
    }

    /// The length of the end of an action that is here, `}}` or ` -}}`, and whether it trims.
    fn close(&self) -> Option<(usize, bool)> {
        let rest = self.rest();
        let after = rest.trim_start_matches(is_space);
        let blank = rest.len() - after.len();
        match after.starts_with("-}}") && blank > 0 {
            true => Some((blank + 3, true)),
            false => rest.starts_with("}}").then_some((2, false)),
        }
    }

    fn token(&mut self) -> Result<(), Mistake> {
        let rest = self.rest();
        let Some(first) = rest.chars().next() else { return Err(self.mistake("unclosed action")) };
        let name_end = |from: usize| rest[from..].find(|char| !is_name(char)).map_or(rest.len(), |at| from + at);
        match first {
            _ if is_space(first) => {
                self.push(Token::Space, rest.len() - rest.trim_start_matches(is_space).len());
                Ok(())
            }
            '"' => self.quoted(),
            '`' => {
                let end = rest[1..].find('`').ok_or_else(|| self.mistake("unterminated raw quoted string"))?;
                self.push(Token::Quoted(rest[1..=end].to_owned()), end + 2);
                Ok(())
            }
            '\'' => self.character(),
            '.' if !rest[1..].starts_with(|char: char| char.is_ascii_digit()) => match name_end(1) {
                1 => {
                    self.push(Token::Dot, 1);
                    Ok(())
                }
                end => self.word(Token::Field(rest[1..end].to_owned()), end),
            },
            '$' => self.word(Token::Variable(rest[..name_end(1)].to_owned()), name_end(1)),
            '0'..='9' | '-' | '+' | '.' => self.number(),
            _ if is_name(first) => self.word(Token::Word(rest[..name_end(0)].to_owned()), name_end(0)),
            _ => {
                let mark = ["|", "(", ")", ",", ":=", "="].into_iter().find(|mark| rest.starts_with(mark));
                let mark = mark.ok_or_else(|| self.mistake(format!("unexpected \"{first}\" in command")))?;
                self.push(Token::Mark(mark), mark.len());
                Ok(())
            }
        }
    }

    /// A name; what follows must not look as if it belonged to it.
    fn word(&mut self, token: Token, length: usize) -> Result<(), Mistake> {
        self.push(token, length);
        match self.rest().chars().next() {
            Some(next) if !is_space(next) && !".,|:()=".contains(next) && !self.rest().starts_with("}}") => {
                Err(self.mistake(format!("bad character U+{:04X} '{next}'", u32::from(next))))
            }
            _ => Ok(()),
        }
    }

    fn number(&mut self) -> Result<(), Mistake> {
        let rest = self.rest();
        let hexadecimal = rest.trim_start_matches(['-', '+']).starts_with("0x");
        let mut before = ' ';
        let ends = |char: char| {
            // A sign belongs to an exponent, which hexadecimal digits are not.
            let sign = !hexadecimal && matches!(before, 'e' | 'E') && matches!(char, '+' | '-');
            before = char;
            !(is_name(char) || char == '.' || sign)
        };
        let end = rest[1..].find(ends).map_or(rest.len(), |at| at + 1);
        self.push(Token::Number(rest[..end].to_owned()), end);
        Ok(())
    }

    fn quoted(&mut self) -> Result<(), Mistake> {
        let rest = self.rest();
        let mut out = Vec::new();
        let mut inside = &rest[1..];
        loop {
            match inside.chars().next() {
                Some('"') => break,
                None | Some('\n') => return Err(self.mistake("unterminated quoted string")),
                Some(_) => inside = unescaped(inside, &mut out).map_err(|why| self.mistake(why))?,
            }
        }
        let text = String::from_utf8_lossy(&out).into_owned();
        self.push(Token::Quoted(text), rest.len() - inside.len() + 1);
        Ok(())
    }

    fn character(&mut self) -> Result<(), Mistake> {
        let rest = self.rest();
        let end = rest[1..].find('\'').map(|at| at + 1);
        let end = match end {
            // '\''
            Some(2) if rest[1..].starts_with('\\') => rest[3..].find('\'').map(|at| at + 3),
            end => end,
        };
        let end = end.ok_or_else(|| self.mistake("unterminated character constant"))?;
        let malformed = || self.mistake(format!("malformed character constant: {}", &rest[..=end]));
        let mut out = Vec::new();
        let after = unescaped(&rest[1..], &mut out).map_err(|_| malformed())?;
        let text = String::from_utf8_lossy(&out);
        match text.chars().next() {
            Some(char) if after.len() + end == rest.len() => {
                self.push(Token::Character(char), end + 1);
                Ok(())
            }
            _ => Err(malformed()),
        }
    }
}

/// Takes one character of a quoted text, or what an escape stands for; what follows it.
fn unescaped<'t>(text: &'t str, out: &mut Vec<u8>) -> Result<&'t str, &'static str> {
    let mut chars = text.chars();
    let wrong = "invalid syntax in a quoted string";
    let char = match chars.next() {
        Some('\\') => match chars.next() {
            Some('n') => '\n',
            Some('t') => '\t',
            Some('r') => '\r',
            Some('a') => '\u{7}',
            Some('b') => '\u{8}',
            Some('v') => '\u{b}',
            Some('f') => '\u{c}',
            Some(char @ ('"' | '\\' | '\'')) => char,
            Some('x') => return digits(text, 2, 2, 16, out).ok_or(wrong),
            Some('u') => return digits(text, 2, 4, 16, out).ok_or(wrong),
            Some('U') => return digits(text, 2, 8, 16, out).ok_or(wrong),
            Some('0'..='7') => return digits(text, 1, 3, 8, out).ok_or(wrong),
            _ => return Err(wrong),
        },
        Some(char) => char,
        None => return Err(wrong),
    };
    out.extend(char.encode_utf8(&mut [0; 4]).bytes());
    Ok(chars.as_str())
}

/// An escape by digits: two of them or octal ones are a byte, more a character.
fn digits<'t>(text: &'t str, from: usize, count: usize, radix: u32, out: &mut Vec<u8>) -> Option<&'t str> {
    let digits = text.get(from..from + count).filter(|digits| digits.chars().all(|char| char.is_digit(radix)))?;
    let code = u32::from_str_radix(digits, radix).ok()?;
    match count {
        2 | 3 => out.push(u8::try_from(code).ok()?),
        _ => out.extend(char::from_u32(code)?.encode_utf8(&mut [0; 4]).bytes()),
    }
    text.get(from + count..)
}
