//! What a container wrote, kept and passed on: written by the supervisor, read by the engine ([`Reader`]).
//!
//! ```text
//!                     ┌─ json-file   <path>, <path>.1, <path>.2.gz …      Docker's format      json_writer, json_reader
//! pipe ─ lines ─ Log ─┼─ local       <dir>/0000000007.log, …6.zst …       ours, see segment    local_writer, local_reader
//!                     └─ syslog, journald,       a socket                 link and one for each
//!                        gelf, fluentd
//! ```
//!
//! What is sent elsewhere is also kept as `local`, so that it can be read. Reader and writer share nothing but the files.
//!
//! A log never stops its container: what cannot be written (a full disk) or sent (nobody takes it) is lost, and a file
//! stays a sequence of whole records.

mod compress;
mod fluentd;
mod gelf;
mod journald;
mod json_line;
mod json_reader;
mod json_writer;
mod lines;
mod link;
mod local_reader;
mod local_writer;
mod remote;
mod segment;
mod sink;
mod syslog;

pub use json_reader::JsonReader;
pub use local_reader::LocalReader;
pub use sink::Log;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use teu_sys::poll::Changes;

use crate::protocol::LogFormat;

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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line<'r> {
    /// Where it was written.
    pub stream: Stream,
    /// When it was read from the container.
    pub time: Timestamp,
    /// The bytes, with the newline if it is the end of a line.
    pub bytes: &'r [u8],
    /// What the log's options add to each line.
    pub attributes: Option<&'r BTreeMap<String, String>>,
}

/// Which lines are wanted.
#[derive(Debug, Clone, Default)]
pub struct Query {
    /// Only this many, counted from the end.
    pub tail: Option<usize>,
    /// Of those, none older than this.
    pub since: Option<Timestamp>,
    /// Of those, none newer than this.
    pub until: Option<Timestamp>,
}

/// A place in a container's log.
#[derive(Debug)]
pub enum Reader {
    /// Of the driver `json-file`.
    Json(JsonReader),
    /// Of the driver `local`.
    Local(LocalReader),
}

impl Reader {
    /// Opens the log at `path` where `query` begins. A log that does not exist yet is an empty one.
    ///
    /// # Errors
    /// As open(2) and read(2).
    pub fn open(format: LogFormat, path: &Path, query: &Query) -> io::Result<Reader> {
        Ok(match format {
            LogFormat::JsonFile => Reader::Json(JsonReader::open(path, query)?),
            LogFormat::Local => Reader::Local(LocalReader::open(path, query)?),
        })
    }

    /// Goes to the next line; false at the present end of the log, from where a later call goes on.
    ///
    /// # Errors
    /// As read(2).
    pub fn advance(&mut self) -> io::Result<bool> {
        match self {
            Reader::Json(reader) => reader.advance(),
            Reader::Local(reader) => reader.advance(),
        }
    }

    /// Takes hold of what was written meanwhile, so that it is not removed before it is read: for who waits for something
    /// else than the log. What is kept is bounded.
    ///
    /// # Errors
    /// As open(2).
    pub fn keep_up(&mut self) -> io::Result<()> {
        match self {
            Reader::Json(reader) => reader.keep_up(),
            Reader::Local(reader) => reader.keep_up(),
        }
    }

    /// The line that [`Reader::advance`] went to.
    pub fn line(&self) -> Line<'_> {
        match self {
            Reader::Json(reader) => reader.line(),
            Reader::Local(reader) => reader.line(),
        }
    }

    /// Everything up to the query's `until` has been returned: there is nothing to wait for.
    pub fn finished(&self) -> bool {
        match self {
            Reader::Json(reader) => reader.finished(),
            Reader::Local(reader) => reader.finished(),
        }
    }

    /// A descriptor that becomes readable when there may be more; drain it with `take(|_| true)` and call
    /// [`Reader::advance`] until it returns false. Make it before the first `advance`, so that nothing falls between.
    ///
    /// # Errors
    /// As inotify_add_watch(2); `ENOENT` when the log's directory does not exist.
    pub fn changes(&self) -> io::Result<Changes> {
        Changes::of(match self {
            Reader::Json(reader) => reader.dir(),
            Reader::Local(reader) => reader.dir(),
        })
    }
}

/// The name of the file that was rotated `age` times.
fn rotated(path: &Path, age: u32) -> PathBuf {
    if age == 0 { path.to_owned() } else { with_suffix(path, &format!(".{age}")) }
}

/// The same after it was compressed.
fn rotated_compressed(path: &Path, age: u32) -> PathBuf {
    with_suffix(path, &format!(".{age}.gz"))
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}

/// A time as files keep it.
fn nanoseconds(time: Timestamp) -> i64 {
    i64::try_from(time.as_nanosecond()).unwrap_or(i64::MAX)
}
