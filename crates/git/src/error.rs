//! What goes wrong with a repository.

use std::io;

/// Why there is no checkout. No message holds a password of a URL.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The machine has no git.
    #[error("git repositories take the program git, which is not installed here")]
    NoProgram,
    /// Git said no.
    #[error("git {what} {url}: {said}")]
    Refused {
        /// The command.
        what: &'static str,
        /// The repository.
        url: String,
        /// What git said of it, on one line.
        said: String,
    },
    /// There is no such branch, tag or commit.
    #[error("repository {url} does not contain ref {reference}")]
    Missing {
        /// The repository.
        url: String,
        /// What was looked for.
        reference: String,
    },
    /// The commit is another one.
    #[error("expected checksum to match {wanted}, got {found}")]
    Checksum {
        /// How it was to begin.
        wanted: String,
        /// What it is.
        found: String,
    },
    /// The folder of the repository that was asked for is none, or leads out of it.
    #[error("the folder {subdir} of the repository {reason}")]
    Subdir {
        /// Its path.
        subdir: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// What the URL says cannot be.
    #[error("{0}")]
    Url(String),
    /// The kernel refused something.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: &'static str,
        /// The kernel's reason.
        source: io::Error,
    },
}

impl Error {
    /// An I/O error with what was being done.
    pub(crate) fn io(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { what, source }
    }
}
