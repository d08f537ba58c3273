//! What ends a build.

use std::io;

use crate::dockerfile::SyntaxError;
use crate::plan::PlanError;

/// Why there is no image.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The Dockerfile cannot be read.
    #[error(transparent)]
    Syntax(#[from] SyntaxError),
    /// The Dockerfile asks for something that cannot be.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// A process of the build ended badly. The text is the one that other builders use.
    #[error("The command '{command}' returned a non-zero code: {code}")]
    Command {
        /// Program and arguments.
        command: String,
        /// Its exit code.
        code: i32,
    },
    /// A process of the build could not be started.
    #[error("run '{command}' in {id}: {source}")]
    Step {
        /// Program and arguments.
        command: String,
        /// The step's own name, as the progress told it.
        id: String,
        /// Why.
        source: teu_engine::Error,
    },
    /// Files could not be copied.
    #[error("{keyword} failed: {reason}")]
    Copy {
        /// `COPY` or `ADD`.
        keyword: &'static str,
        /// Why.
        reason: String,
    },
    /// The context has no such Dockerfile, or one that is no text.
    #[error("{0}")]
    Context(String),
    /// A git repository could not be had.
    #[error(transparent)]
    Git(#[from] teu_git::Error),
    /// A filter that means nothing.
    #[error("{0}")]
    Filter(String),
    /// Whoever asked for the build went away.
    #[error("build cancelled")]
    Cancelled,
    /// Images and processes.
    #[error(transparent)]
    Engine(#[from] teu_engine::Error),
    /// The store.
    #[error(transparent)]
    Store(#[from] teu_store::Error),
    /// Anything else that the kernel refused.
    #[error("{what}: {source}")]
    Io {
        /// What was being done to which path.
        what: String,
        /// The kernel's reason.
        source: io::Error,
    },
}

impl Error {
    /// The exit code of the process that failed, for the progress stream's error detail.
    #[must_use]
    pub fn code(&self) -> Option<i64> {
        match self {
            Self::Command { code, .. } => Some((*code).into()),
            _ => None,
        }
    }

    /// The same in BuildKit's words, which scripts look for.
    #[must_use]
    pub fn in_other_words(&self) -> String {
        match self {
            Self::Command { command, code } => {
                format!("process \"{command}\" did not complete successfully: exit code: {code}")
            }
            other => other.to_string(),
        }
    }

    /// Whether the request is to blame and not the machine.
    #[must_use]
    pub fn is_bad_request(&self) -> bool {
        matches!(
            self,
            Self::Syntax(_) | Self::Plan(_) | Self::Context(_) | Self::Filter(_) | Self::Git(teu_git::Error::Url(_))
        )
    }

    /// An I/O error with what was being done.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}
