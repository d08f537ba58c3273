//! Messages of the command: to standard error or a file, as text or JSON, in the form that engines read.

use std::fs::{File, OpenOptions};
use std::io::{IsTerminal, Write};

use jiff::Timestamp;

use super::Failure;

/// Where messages go.
#[derive(Debug, Default)]
pub(super) struct Log {
    file: Option<File>,
    json: bool,
    debug: bool,
}

impl Log {
    /// Opens the file, if there is one.
    pub(super) fn new(file: Option<&str>, format: Option<&str>, debug: bool) -> Result<Log, Failure> {
        let json = match format {
            None | Some("" | "text") => false,
            Some("json") => true,
            Some(other) => return Err(Failure::new(format!("invalid log-format: {other}"))),
        };
        let open = |path: &str| {
            let file = OpenOptions::new().create(true).append(true).open(path);
            file.map_err(|error| Failure::new(format!("open {path}: {error}")))
        };
        Ok(Log { file: file.filter(|path| !path.is_empty()).map(open).transpose()?, json, debug })
    }

    /// Something that stopped the command. With a file, standard error is told too, plainly.
    pub(super) fn error(&self, message: &str) {
        self.write("error", message);
        if self.file.is_some() {
            eprintln!("{message}");
        }
    }

    /// Something the user should know.
    pub(super) fn warn(&self, message: &str) {
        self.write("warning", message);
    }

    /// Whether anybody sees steps.
    pub(super) fn is_verbose(&self) -> bool {
        self.debug
    }

    /// A step, for who wants to see them.
    pub(super) fn debug(&self, message: &str) {
        if self.debug {
            self.write("debug", message);
        }
    }

    fn write(&self, level: &str, message: &str) {
        let time = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ");
        let line = if self.json {
            serde_json::json!({ "level": level, "msg": message, "time": time.to_string() }).to_string()
        } else if self.file.is_none() && std::io::stderr().is_terminal() {
            format!("{}[0000] {message}", &level.to_uppercase()[..4])
        } else {
            format!("time=\"{time}\" level={level} msg={message:?}")
        };
        // A log that cannot be written cannot be told of either.
        let _ = match &self.file {
            Some(file) => (&mut &*file).write_all(format!("{line}\n").as_bytes()),
            None => writeln!(std::io::stderr(), "{line}"),
        };
    }
}
