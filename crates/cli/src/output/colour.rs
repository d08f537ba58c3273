//! Colours on a terminal; none where output goes elsewhere, where `NO_COLOR` is set, or where the terminal is dumb.

use std::io::{self, IsTerminal};

/// How text looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// A heading.
    Title,
    /// A name.
    Name,
    /// What matters less.
    Faint,
    /// All is well.
    Good,
    /// Worth a look.
    Warning,
    /// Wrong.
    Bad,
}

/// Whether standard output may be coloured.
pub(crate) fn on_stdout() -> bool {
    allowed(io::stdout().is_terminal(), |name| std::env::var(name).ok())
}

fn allowed(terminal: bool, variable: impl Fn(&str) -> Option<String>) -> bool {
    terminal && variable("NO_COLOR").is_none_or(|value| value.is_empty()) && variable("TERM").as_deref() != Some("dumb")
}

/// Text in its look, when colours are on.
pub(crate) fn paint(text: &str, look: Look, on: bool) -> String {
    let code = match look {
        Look::Title => "1",
        Look::Name => "1;34",
        Look::Faint => "2",
        Look::Good => "32",
        Look::Warning => "33",
        Look::Bad => "1;31",
    };
    if on { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_for_terminals_whose_users_want_them() {
        let with =
            |name: &'static str, value: &'static str| move |asked: &str| (asked == name).then(|| value.to_owned());
        assert!(allowed(true, |_| None) && allowed(true, with("NO_COLOR", "")));
        assert!(!allowed(false, |_| None) && !allowed(true, with("NO_COLOR", "1")));
        assert!(!allowed(true, with("TERM", "dumb")));
        assert_eq!(paint("x", Look::Bad, false), "x");
        assert_eq!(paint("x", Look::Good, true), "\x1b[32mx\x1b[0m");
    }
}
