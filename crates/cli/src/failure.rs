//! What goes wrong, as one sentence, a hint and an exit code.
//!
//! Exit codes are Docker's: 1 for most, 125 when `run` or flag parsing goes wrong before the container does, 126 and
//! 127 when its program cannot be started, otherwise the container's own.

use std::fmt::Display;
use std::io;

/// Why a command ends early.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// The sentence; empty prints nothing (the reason was shown already).
    pub(crate) message: String,
    /// What to try, printed as a `hint:` line.
    pub(crate) hint: Option<String>,
    /// How the command is used, printed last and apart.
    pub(crate) help: Option<String>,
    /// The process's exit code.
    pub(crate) code: u8,
    /// HTTP status, when the daemon said no.
    pub(crate) status: Option<u16>,
}

impl Failure {
    /// A sentence with exit code 1.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None, help: None, code: 1, status: None }
    }

    /// Nothing more to say; only the exit code.
    pub(crate) fn silent(code: u8) -> Self {
        Self { code, ..Self::new("") }
    }

    /// An answer of the daemon with status 400 or above.
    pub(crate) fn daemon(status: u16, message: &str) -> Self {
        let mut failure = Self::new(format!("Error response from daemon: {message}"));
        failure.status = Some(status);
        failure
    }

    /// An operation of the operating system that went wrong.
    pub(crate) fn io(what: &str, source: &io::Error) -> Self {
        Self::new(format!("{what}: {}", reason(source)))
    }

    /// Adds what to try.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds how the command is used.
    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Sets the exit code.
    pub(crate) fn code(mut self, code: u8) -> Self {
        self.code = code;
        self
    }

    /// Whether the daemon does not know the object.
    pub(crate) fn is_not_found(&self) -> bool {
        self.status == Some(404)
    }

    /// The failure as `teu run` reports it: its program's name first, and how to get help after.
    pub(crate) fn of_run(mut self, called: &str) -> Self {
        if !self.message.is_empty() {
            self.message = format!("teu: {}", self.message);
            return self.help(format!("Run '{called} --help' for more information"));
        }
        self
    }

    /// Prints it and gives the exit code.
    pub(crate) fn report(&self) -> u8 {
        if !self.message.is_empty() {
            crate::output::note!("{}", self.message);
        }
        if let Some(hint) = &self.hint {
            crate::output::note!("hint: {hint}");
        }
        if let Some(help) = &self.help {
            crate::output::note!("\n{help}");
        }
        self.code
    }
}

/// The exit code that a refusal to start a container means: the program is missing, cannot be run, or the engine's.
pub(crate) fn start_code(message: &str) -> u8 {
    const MISSING: [&str; 3] =
        ["executable file not found", "no such file or directory", "system cannot find the file"];
    const UNRUNNABLE: [&str; 4] = ["permission denied", "not a directory", "is a directory", "exec format error"];
    let text = message.to_lowercase();
    if MISSING.iter().any(|sign| text.contains(sign)) {
        127
    } else if UNRUNNABLE.iter().any(|sign| text.contains(sign)) {
        126
    } else {
        125
    }
}

/// An I/O error without Rust's `(os error 2)`.
pub(crate) fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error") {
        Some(at) => text[..at].to_lowercase(),
        None => text,
    }
}

/// Names what an operation was about when it goes wrong.
pub(crate) trait Naming<T> {
    /// Turns the error into `what: reason`.
    fn or_fail(self, what: impl Display) -> Result<T, Failure>;
}

impl<T> Naming<T> for io::Result<T> {
    fn or_fail(self, what: impl Display) -> Result<T, Failure> {
        self.map_err(|source| Failure::io(&what.to_string(), &source))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_start_has_dockers_exit_code() {
        for (message, code) in [
            ("exec: \"nope\": executable file not found in $PATH", 127),
            ("exec: \"/etc/passwd\": permission denied", 126),
            ("exec: \"/etc\": is a directory", 126),
            ("driver: address already in use", 125),
        ] {
            assert_eq!(start_code(message), code, "{message}");
        }
    }

    #[test]
    fn an_io_error_is_a_plain_sentence() {
        let error = io::Error::from_raw_os_error(2);
        assert_eq!(Failure::io("open context.tar", &error).message, "open context.tar: no such file or directory");
    }
}
