//! What a container wrote, kept: json-file lines, written by the supervisor ([`Writer`]) and read by the engine
//! ([`Reader`]).
//!
//! ```text
//! {"log":"hello\n","stream":"stdout","time":"2026-01-02T03:04:05.123456789Z"}
//! ```
//!
//! One record is one line of output, its newline included; a line longer than 16 KiB is several records, of which only
//! the last ends with a newline. `path` is the newest file; a full one becomes `path.1`, `path.1` becomes `path.2`, and
//! so on. Reader and writer share nothing but the files.

mod reader;
mod writer;

pub use reader::{Query, Reader};
pub use writer::Writer;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Where bytes were written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    /// Descriptor 1, or the terminal.
    Stdout,
    /// Descriptor 2.
    Stderr,
}

/// One line of output, or a piece of a long one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Where it was written.
    pub stream: Stream,
    /// When it was read from the container.
    pub time: Timestamp,
    /// The bytes; what is not UTF-8 has become U+FFFD.
    pub bytes: Vec<u8>,
}

/// The name of the file that was rotated `age` times.
fn rotated(path: &Path, age: u32) -> PathBuf {
    if age == 0 {
        return path.to_owned();
    }
    let mut name = OsString::from(path);
    name.push(format!(".{age}"));
    PathBuf::from(name)
}
