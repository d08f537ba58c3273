//! What is wrong with JSON, in the words of Go's decoder, which clients of Docker have always been given.
//!
//! Looked at only when the parser has refused a text: [`sentence`] finds the first character that cannot be there. A text
//! that is sound as far as its first value goes on too long; one that has no fault of form has one of meaning, which the
//! parser words better.

/// Nesting that the parser takes; deeper texts it has refused for that.
const DEEPEST: usize = 128;

/// There is more than one value, and Docker has a sentence of its own for that.
pub(crate) const MORE: &str = "unexpected content after JSON";

/// What is wrong with the form of `text`; none when nothing is.
pub(crate) fn sentence(text: &[u8]) -> Option<String> {
    let mut reader = Reader { text, at: 0 };
    match reader.value(0) {
        Err(Fault::Character(character, place)) => Some(format!("invalid character {} {place}", quoted(character))),
        Err(Fault::End) => Some("unexpected EOF".into()),
        Err(Fault::Depth) => Some("exceeded max depth".into()),
        Ok(()) => {
            reader.blanks();
            reader.peek().map(|_| MORE.into())
        }
    }
}

enum Fault {
    /// A character, and Go's words for where it stands.
    Character(char, String),
    End,
    Depth,
}

type Checked = Result<(), Fault>;

struct Reader<'t> {
    text: &'t [u8],
    at: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn blanks(&mut self) {
        while self.peek().is_some_and(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    fn next(&mut self) -> Result<u8, Fault> {
        let byte = self.peek().ok_or(Fault::End)?;
        self.at += 1;
        Ok(byte)
    }

    /// The byte just taken cannot be there.
    fn wrong(&self, place: impl Into<String>) -> Fault {
        Fault::Character(char::from(self.text[self.at - 1]), place.into())
    }

    fn value(&mut self, depth: usize) -> Checked {
        if depth > DEEPEST {
            return Err(Fault::Depth);
        }
        self.blanks();
        match self.next()? {
            b'{' => self.object(depth),
            b'[' => self.array(depth),
            b'"' => self.string(),
            b't' => self.word("true"),
            b'f' => self.word("false"),
            b'n' => self.word("null"),
            b'-' => {
                let first = self.next()?;
                self.number(first, "in numeric literal")
            }
            first => self.number(first, "looking for beginning of value"),
        }
    }

    fn object(&mut self, depth: usize) -> Checked {
        self.blanks();
        match self.next()? {
            b'}' => return Ok(()),
            b'"' => self.string()?,
            _ => return Err(self.wrong("looking for beginning of object key string")),
        }
        loop {
            self.blanks();
            if self.next()? != b':' {
                return Err(self.wrong("after object key"));
            }
            self.value(depth + 1)?;
            self.blanks();
            match self.next()? {
                b'}' => return Ok(()),
                b',' => {}
                _ => return Err(self.wrong("after object key:value pair")),
            }
            self.blanks();
            if self.next()? != b'"' {
                return Err(self.wrong("looking for beginning of object key string"));
            }
            self.string()?;
        }
    }

    fn array(&mut self, depth: usize) -> Checked {
        self.blanks();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(());
        }
        loop {
            self.value(depth + 1)?;
            self.blanks();
            match self.next()? {
                b']' => return Ok(()),
                b',' => {}
                _ => return Err(self.wrong("after array element")),
            }
        }
    }

    fn string(&mut self) -> Checked {
        loop {
            match self.next()? {
                b'"' => return Ok(()),
                b'\\' => match self.next()? {
                    b'b' | b'f' | b'n' | b'r' | b't' | b'\\' | b'/' | b'"' => {}
                    b'u' => {
                        for _ in 0..4 {
                            if !self.next()?.is_ascii_hexdigit() {
                                return Err(self.wrong("in \\u hexadecimal character escape"));
                            }
                        }
                    }
                    _ => return Err(self.wrong("in string escape code")),
                },
                0..0x20 => return Err(self.wrong("in string literal")),
                _ => {}
            }
        }
    }

    fn word(&mut self, word: &str) -> Checked {
        for expected in &word.as_bytes()[1..] {
            if self.next()? != *expected {
                return Err(self.wrong(format!("in literal {word} (expecting {})", quoted(char::from(*expected)))));
            }
        }
        Ok(())
    }

    /// A number whose first digit was taken.
    fn number(&mut self, first: u8, place: &str) -> Checked {
        if !first.is_ascii_digit() {
            return Err(self.wrong(place));
        }
        if first != b'0' {
            self.digits();
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digit("after decimal point in numeric literal")?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digit("in exponent of numeric literal")?;
        }
        Ok(())
    }

    fn digit(&mut self, place: &str) -> Checked {
        if !self.next()?.is_ascii_digit() {
            return Err(self.wrong(place));
        }
        self.digits();
        Ok(())
    }

    fn digits(&mut self) {
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
    }
}

/// A character as Go quotes it.
fn quoted(character: char) -> String {
    match character {
        '\'' => r"'\''".into(),
        '"' => "'\"'".into(),
        other => format!("'{}'", other.escape_debug()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_character_that_cannot_be_there_is_named() {
        for (text, words) in [
            ("{invalid json", "invalid character 'i' looking for beginning of object key string"),
            ("{}  trailing", "unexpected content after JSON"),
            ("{\"a\" 1}", "invalid character '1' after object key"),
            ("{\"a\":1 \"b\"}", "invalid character '\"' after object key:value pair"),
            ("[1 2]", "invalid character '2' after array element"),
            ("nil", "invalid character 'i' in literal null (expecting 'u')"),
            ("x", "invalid character 'x' looking for beginning of value"),
            ("1.x", "invalid character 'x' after decimal point in numeric literal"),
            ("\"\\x\"", "invalid character 'x' in string escape code"),
            ("{\"a\":", "unexpected EOF"),
        ] {
            assert_eq!(sentence(text.as_bytes()).as_deref(), Some(words), "{text}");
        }
    }

    #[test]
    fn a_text_of_sound_form_has_no_fault_of_form() {
        for text in [r#"{"a":[1,-2.5e+3,"\u00e9",true,null,{}],"b":[]}"#, " 0 ", "\"\""] {
            assert_eq!(sentence(text.as_bytes()), None, "{text}");
        }
        assert!(sentence("[".repeat(100_000).as_bytes()).is_some());
    }
}
