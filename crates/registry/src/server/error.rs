//! Refusals, in the form and with the codes of the distribution specification ("Error Codes").

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use serde_json::json;

/// The fourteen codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Code {
    BlobUnknown,
    BlobUploadInvalid,
    BlobUploadUnknown,
    DigestInvalid,
    ManifestBlobUnknown,
    ManifestInvalid,
    ManifestUnknown,
    NameInvalid,
    NameUnknown,
    SizeInvalid,
    Unauthorized,
    Denied,
    Unsupported,
    TooManyRequests,
}

impl Code {
    /// Code, sentence and usual status.
    fn facts(self) -> (&'static str, &'static str, StatusCode) {
        match self {
            Self::BlobUnknown => ("BLOB_UNKNOWN", "blob unknown to registry", StatusCode::NOT_FOUND),
            Self::BlobUploadInvalid => ("BLOB_UPLOAD_INVALID", "blob upload invalid", StatusCode::BAD_REQUEST),
            Self::BlobUploadUnknown => {
                ("BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry", StatusCode::NOT_FOUND)
            }
            Self::DigestInvalid => {
                ("DIGEST_INVALID", "provided digest did not match uploaded content", StatusCode::BAD_REQUEST)
            }
            Self::ManifestBlobUnknown => (
                "MANIFEST_BLOB_UNKNOWN",
                "manifest references a manifest or blob unknown to registry",
                StatusCode::NOT_FOUND,
            ),
            Self::ManifestInvalid => ("MANIFEST_INVALID", "manifest invalid", StatusCode::BAD_REQUEST),
            Self::ManifestUnknown => ("MANIFEST_UNKNOWN", "manifest unknown", StatusCode::NOT_FOUND),
            Self::NameInvalid => ("NAME_INVALID", "invalid repository name", StatusCode::BAD_REQUEST),
            Self::NameUnknown => ("NAME_UNKNOWN", "repository name not known to registry", StatusCode::NOT_FOUND),
            Self::SizeInvalid => {
                ("SIZE_INVALID", "provided length did not match content length", StatusCode::BAD_REQUEST)
            }
            Self::Unauthorized => ("UNAUTHORIZED", "authentication required", StatusCode::UNAUTHORIZED),
            Self::Denied => ("DENIED", "requested access to the resource is denied", StatusCode::FORBIDDEN),
            Self::Unsupported => ("UNSUPPORTED", "the operation is unsupported", StatusCode::METHOD_NOT_ALLOWED),
            Self::TooManyRequests => ("TOOMANYREQUESTS", "too many requests", StatusCode::TOO_MANY_REQUESTS),
        }
    }
}

/// Why a request was refused.
#[derive(Debug)]
pub(super) enum Error {
    /// By the client's fault.
    Refused { code: Code, status: StatusCode, detail: String, headers: HeaderMap },
    /// By ours: logged, and told to nobody else.
    Store(teu_store::Error),
    /// By ours too.
    Internal(String),
}

impl Error {
    /// A refusal with the code's usual status.
    pub(super) fn new(code: Code, detail: impl Into<String>) -> Self {
        Self::Refused { code, status: code.facts().2, detail: detail.into(), headers: HeaderMap::new() }
    }

    /// The same with another status.
    pub(super) fn with_status(self, status: StatusCode) -> Self {
        match self {
            Self::Refused { code, detail, headers, .. } => Self::Refused { code, status, detail, headers },
            other => other,
        }
    }

    /// The same with one more header; what cannot be a header is left out.
    pub(super) fn with_header(mut self, name: HeaderName, value: &str) -> Self {
        if let (Self::Refused { headers, .. }, Ok(value)) = (&mut self, HeaderValue::try_from(value)) {
            headers.insert(name, value);
        }
        self
    }
}

impl From<teu_store::Error> for Error {
    fn from(error: teu_store::Error) -> Self {
        Self::Store(error)
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let (code, status, detail, headers) = match self {
            Self::Refused { code, status, detail, headers } => (code, status, detail, headers),
            Self::Store(teu_store::Error::NoSpace { path }) => {
                tracing::error!(path = %path.display(), "no space left");
                let detail = "no space left on the registry".to_string();
                (Code::Denied, StatusCode::INSUFFICIENT_STORAGE, detail, HeaderMap::new())
            }
            Self::Store(error) => return internal(&error.to_string()),
            Self::Internal(error) => return internal(&error),
        };
        let (name, message, _) = code.facts();
        answer(status, headers, &json!({"errors": [{"code": name, "message": message, "detail": detail}]}))
    }
}

fn internal(error: &str) -> Response {
    tracing::error!(error, "registry request");
    let body = json!({"errors": [{"code": "UNKNOWN", "message": "internal server error"}]});
    answer(StatusCode::INTERNAL_SERVER_ERROR, HeaderMap::new(), &body)
}

fn answer(status: StatusCode, mut headers: HeaderMap, body: &serde_json::Value) -> Response {
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    (status, headers, body.to_string()).into_response()
}
