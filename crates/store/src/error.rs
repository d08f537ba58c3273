//! What can go wrong, as far as a caller can act on it.

use std::io;
use std::path::{Path, PathBuf};

use teu_oci::Digest;

use crate::tar::Fault;

/// A result of this room.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong in the store.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing is stored under that name.
    #[error("{what} not found")]
    NotFound {
        /// The kind and the name of it.
        what: String,
    },
    /// The bytes are not those that the digest names.
    #[error("digest mismatch: expected {expected}, got {actual}")]
    DigestMismatch {
        /// What was asked for.
        expected: Digest,
        /// What came.
        actual: Digest,
    },
    /// The name is taken.
    #[error("{what} already exists")]
    Exists {
        /// The kind and the name of it.
        what: String,
    },
    /// Somebody else is working with it right now.
    #[error("{what} is in use")]
    InUse {
        /// The kind and the name of it.
        what: String,
    },
    /// More bytes than are accepted.
    #[error("{what} is larger than {limit} bytes")]
    TooLarge {
        /// The kind and the name of it.
        what: String,
        /// The limit, in bytes.
        limit: u64,
    },
    /// The disk, or the user's share of it, is full.
    #[error("no space left on the disk of {}", path.display())]
    NoSpace {
        /// What was being written.
        path: PathBuf,
    },
    /// The archive is damaged, hostile or uses what is not supported.
    #[error("{}{fault}", place(entry))]
    Tar {
        /// The entry's name as the archive gives it.
        entry: String,
        /// What is wrong with it.
        fault: Fault,
    },
    /// The stream that an archive or a blob is read from broke.
    #[error("read the stream: {0}")]
    Stream(#[source] io::Error),
    /// The stream that an archive is written to broke.
    #[error("write the stream: {0}")]
    Sink(#[source] io::Error),
    /// A record does not have the shape that it should have.
    #[error("parse record {}: {source}", path.display())]
    Record {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: serde_json::Error,
    },
    /// Anything else that the kernel refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The kernel's reason.
        source: io::Error,
    },
}

/// Where in an archive something is wrong; nothing is to be said when it is no entry's fault.
fn place(entry: &str) -> String {
    if entry.is_empty() { String::new() } else { format!("archive entry {entry:?}: ") }
}

impl Error {
    /// Names the file that an I/O error is about, and tells a full disk from the rest.
    pub fn io(path: impl AsRef<Path>, source: impl Into<io::Error>) -> Self {
        let (path, source) = (path.as_ref().to_path_buf(), source.into());
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::NoSpace { path },
            _ => Self::Io { path, source },
        }
    }

    /// Whether this says that nothing is stored under the name asked for.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }
}
