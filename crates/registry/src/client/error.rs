//! What can go wrong between us and a registry.

use std::io;
use std::time::Duration;

use http::StatusCode;
use teu_oci::Digest;

/// Why a registry could not be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The registry does not know the manifest, or the repository.
    #[error("{what} not found: {message}")]
    NotFound {
        /// What was asked for.
        what: String,
        /// The registry's own words.
        message: String,
    },
    /// The registry wants credentials, or others than these.
    #[error("{what}: unauthorized: {message}")]
    Unauthorized {
        /// What was asked for.
        what: String,
        /// The registry's own words.
        message: String,
    },
    /// The credentials are known and do not suffice.
    #[error("{what}: denied: {message}")]
    Denied {
        /// What was asked for.
        what: String,
        /// The registry's own words.
        message: String,
    },
    /// Too many requests, as the registry sees it.
    #[error("{what}: toomanyrequests: {message}")]
    TooManyRequests {
        /// What was asked for.
        what: String,
        /// The registry's own words.
        message: String,
        /// How long it wants us to wait.
        after: Option<Duration>,
    },
    /// The registry answered with any other status than was wanted.
    #[error("{what}: {message} (status {status})")]
    Refused {
        /// What was asked for.
        what: String,
        /// The HTTP status.
        status: StatusCode,
        /// The error code of the distribution specification (`BLOB_UPLOAD_INVALID`, …), empty if it gave none.
        code: String,
        /// The registry's own words.
        message: String,
        /// How long it wants us to wait.
        after: Option<Duration>,
    },
    /// A name that no resolver knows.
    #[error("lookup {host}: no such host")]
    NoSuchHost {
        /// The name.
        host: String,
    },
    /// Nobody answers there.
    #[error("dial {address}: {source}")]
    Connect {
        /// Host and port.
        address: String,
        /// The kernel's reason.
        source: io::Error,
    },
    /// The peer does not prove that it is who we want, or does not speak TLS.
    #[error("tls {host}: {source}")]
    Tls {
        /// The host.
        host: String,
        /// The reason.
        source: io::Error,
    },
    /// Something is not what its digest says.
    #[error("{what}: digest is {actual}, want {expected}")]
    DigestMismatch {
        /// What was checked.
        what: String,
        /// What it should have been.
        expected: Digest,
        /// What it is.
        actual: Digest,
    },
    /// No image for this platform.
    #[error("no matching manifest for {platform} in the manifest list entries")]
    NoPlatform {
        /// The platform.
        platform: String,
    },
    /// The registry, or the image, breaks the specification.
    #[error("{what}: {why}")]
    Invalid {
        /// What was read.
        what: String,
        /// What is wrong with it.
        why: String,
    },
    /// The peer fell silent.
    #[error("{what}: no data for {} s", .after.as_secs())]
    Stalled {
        /// What was being moved.
        what: String,
        /// For how long.
        after: Duration,
    },
    /// The peer ended before it had sent everything.
    #[error("{what}: ended after {received} of {size} bytes")]
    CutShort {
        /// What was being moved.
        what: String,
        /// How much came.
        received: u64,
        /// How much there should have been.
        size: u64,
    },
    /// The connection broke.
    #[error("{what}: {source}")]
    Broken {
        /// What was being moved.
        what: String,
        /// How.
        source: hyper::Error,
    },
    /// The store refused.
    #[error(transparent)]
    Store(#[from] teu_store::Error),
    /// Something local failed.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: String,
        /// The reason.
        source: io::Error,
    },
}

impl Error {
    /// Whether it is the registry's doing, or the way's to it, and not this machine's.
    #[must_use]
    pub fn is_theirs(&self) -> bool {
        !matches!(self, Self::Store(_) | Self::Io { .. })
    }

    /// Whether the same request may well succeed a moment later.
    pub(super) fn is_transient(&self) -> bool {
        match self {
            Self::Stalled { .. } | Self::CutShort { .. } | Self::Broken { .. } | Self::TooManyRequests { .. } => true,
            Self::Refused { status, .. } => status.is_server_error() || *status == StatusCode::REQUEST_TIMEOUT,
            _ => false,
        }
    }

    /// How long the registry wants us to wait.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::TooManyRequests { after, .. } | Self::Refused { after, .. } => *after,
            _ => None,
        }
    }

    pub(super) fn invalid(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Invalid { what: what.into(), why: why.into() }
    }

    pub(super) fn io(what: impl Into<String>, source: io::Error) -> Self {
        Self::Io { what: what.into(), source }
    }
}
