//! Text for people and scripts: tables, templates, progress, units.

pub(crate) mod colour;
pub(crate) mod list;
pub(crate) mod progress;
pub(crate) mod table;
pub(crate) mod template;
pub(crate) mod units;

use std::io::{self, Write};

use crate::failure::{Failure, Naming};

/// Prints to standard output; a reader that has left early (`| head`) is no failure worth a word.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Failure::silent(141)),
        other => other.or_fail("write standard output"),
    }
}

/// Writes to standard error; that nobody reads it is no reason to end.
pub(crate) fn aside(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// Writes one line to standard error, as `eprintln!` does, but never ends the program.
macro_rules! note {
    ($($words:tt)*) => { $crate::output::aside(&(format!($($words)*) + "\n")) };
}
pub(crate) use note;

/// Prints one line.
pub(crate) fn line(text: &str) -> Result<(), Failure> {
    print(&format!("{text}\n"))
}
