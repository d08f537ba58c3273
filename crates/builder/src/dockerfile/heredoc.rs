//! Here-documents: `<<NAME`, `<<-NAME`, `<<"NAME"`, where a line opens them and what their bodies are.
//!
//! A word of the form `[digits]<<[-]name` opens one. A dash strips leading tabs from body and terminator; a name with any
//! part of it quoted keeps the body from being expanded.

/// A here-document, opened and read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heredoc {
    /// The terminator, which is also the file's name under COPY and ADD.
    pub name: String,
    /// The body, every line with its newline, tabs already stripped where the dash asks for it.
    pub content: String,
    /// Whether variables in the body mean something.
    pub expand: bool,
    /// Whether it was opened by `<<-`.
    pub strip_tabs: bool,
}

impl Heredoc {
    /// Whether `line`, without its newline, ends this document.
    pub(super) fn ends_with(&self, line: &str) -> bool {
        self.line(line) == self.name
    }

    /// One line of the body as it counts.
    pub(super) fn line<'a>(&self, line: &'a str) -> &'a str {
        if self.strip_tabs { line.trim_start_matches('\t') } else { line }
    }
}

/// The documents that the words of `line` open, in order, with empty bodies.
#[must_use]
pub fn openings(line: &str, escape: char) -> Vec<Heredoc> {
    if !line.contains("<<") {
        return Vec::new();
    }
    super::words::split(line, escape).iter().filter_map(|word| opening(word, escape)).collect()
}

/// The document that one word opens, if it does.
#[must_use]
pub fn opening(word: &str, escape: char) -> Option<Heredoc> {
    let rest = word.trim_start_matches(|c: char| c.is_ascii_digit()).strip_prefix("<<")?;
    let (strip_tabs, rest) = rest.strip_prefix('-').map_or((false, rest), |rest| (true, rest));
    let mut name = String::new();
    let mut quoted = false;
    let mut quote = None;
    let mut chars = rest.chars();
    while let Some(c) = chars.next() {
        match quote {
            Some(open) if c == open => quote = None,
            Some(_) => name.push(c),
            None if c == '"' || c == '\'' => {
                quoted = true;
                quote = Some(c);
            }
            None if c == escape => {
                quoted = true;
                name.extend(chars.next());
            }
            // A redirection, separator or closing parenthesis behind the name belongs to the shell.
            None if ">;|&)".contains(c) => break,
            None if c == '<' || c.is_whitespace() => return None,
            None => name.push(c),
        }
    }
    (quote.is_none() && !name.is_empty()).then(|| Heredoc { name, content: String::new(), expand: !quoted, strip_tabs })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_opens_a_document_or_does_not() {
        for (word, want) in [
            ("<<EOF", Some(("EOF", true, false))),
            ("<<-EOF", Some(("EOF", true, true))),
            ("<<\"EOF\"", Some(("EOF", false, false))),
            ("<<-'E F'", Some(("E F", false, true))),
            ("<<E\"O\"F", Some(("EOF", false, false))),
            ("<<\\EOF", Some(("EOF", false, false))),
            ("3<<EOF", Some(("EOF", true, false))),
            ("<<EOF>out", Some(("EOF", true, false))),
            ("<<EOF;", Some(("EOF", true, false))),
            ("<<", None),
            ("<<-", None),
            ("<<<text", None),
            ("<<'EOF", None),
            ("a<<EOF", None),
            ("<<EOF bash", None),
            ("\"<<EOF\"", None),
            ("$((1<<2))", None),
        ] {
            let got = opening(word, '\\');
            let got = got.as_ref().map(|doc| (doc.name.as_str(), doc.expand, doc.strip_tabs));
            assert_eq!(got, want, "{word}");
        }
    }

    #[test]
    fn a_line_may_open_several() {
        let names: Vec<_> = openings("COPY <<a <<-b /dir/", '\\').into_iter().map(|doc| doc.name).collect();
        assert_eq!(names, ["a", "b"]);
    }
}
