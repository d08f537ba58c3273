//! What goes wrong in the engine: a kind that a caller acts on, a sentence for the user, and the cause.

use std::fmt;
use std::path::Path;

/// What kind of trouble it is; the server maps each to one HTTP status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The request itself is wrong.
    BadRequest,
    /// Credentials are missing or wrong.
    Unauthorized,
    /// Never allowed.
    Forbidden,
    /// The thing named does not exist.
    NotFound,
    /// The thing is in a state that does not allow it, or the name is taken.
    Conflict,
    /// It is so already.
    NotModified,
    /// Not a thing that teu does.
    NotImplemented,
    /// Not now.
    Unavailable,
    /// Everything else.
    Internal,
}

/// An error of the engine.
#[derive(Debug)]
pub struct Error {
    /// What kind it is.
    pub kind: Kind,
    /// One sentence for the user.
    pub message: String,
    /// The cause, for the log.
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// The engine's results.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error of a kind.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    /// The request is wrong.
    pub fn bad(message: impl Into<String>) -> Self {
        Self::new(Kind::BadRequest, message)
    }

    /// Never allowed.
    pub fn forbidden(message: impl Into<String>) -> Self {
        Self::new(Kind::Forbidden, message)
    }

    /// It does not exist.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(Kind::NotFound, message)
    }

    /// Its state does not allow it.
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(Kind::Conflict, message)
    }

    /// It went wrong inside.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(Kind::Internal, message)
    }

    /// An I/O error with what was being done to which path.
    #[must_use]
    pub fn io(verb: &str, path: &Path, source: std::io::Error) -> Self {
        let message = format!("{verb} {}: {source}", path.display());
        Self { kind: Kind::Internal, message, source: Some(Box::new(source)) }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|source| &**source as &(dyn std::error::Error + 'static))
    }
}

impl From<teu_store::Error> for Error {
    fn from(error: teu_store::Error) -> Self {
        let kind = match error {
            teu_store::Error::NotFound { .. } => Kind::NotFound,
            teu_store::Error::Exists { .. } => Kind::Conflict,
            teu_store::Error::Tar { .. } | teu_store::Error::DigestMismatch { .. } => Kind::BadRequest,
            _ => Kind::Internal,
        };
        Self { kind, message: error.to_string(), source: Some(Box::new(error)) }
    }
}

impl From<teu_network::Error> for Error {
    fn from(error: teu_network::Error) -> Self {
        Self { kind: Kind::Internal, message: error.to_string(), source: Some(Box::new(error)) }
    }
}

impl From<teu_oci::ReferenceError> for Error {
    fn from(error: teu_oci::ReferenceError) -> Self {
        Self::bad(error.to_string())
    }
}

impl From<teu_oci::ChangeError> for Error {
    fn from(error: teu_oci::ChangeError) -> Self {
        Self::bad(error.to_string())
    }
}
