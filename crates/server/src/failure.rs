//! Errors on the wire: one table from kind to status, one body shape, and the log line for what is our own fault.

use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use teu_engine::{Error, Kind};

/// What a handler gives back.
pub(crate) type Answer<T = Response> = Result<T, Failure>;

/// An answer that is an error.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) status: StatusCode,
    pub(crate) message: String,
    /// For a stream's last line: the exit code of the build step that went wrong.
    pub(crate) code: Option<i64>,
}

impl Failure {
    pub(crate) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), code: None }
    }

    /// The request is wrong.
    pub(crate) fn bad(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }
}

fn status(kind: Kind) -> StatusCode {
    match kind {
        Kind::BadRequest => StatusCode::BAD_REQUEST,
        Kind::Unauthorized => StatusCode::UNAUTHORIZED,
        Kind::Forbidden => StatusCode::FORBIDDEN,
        Kind::NotFound => StatusCode::NOT_FOUND,
        Kind::Conflict => StatusCode::CONFLICT,
        Kind::NotModified => StatusCode::NOT_MODIFIED,
        Kind::NotImplemented => StatusCode::NOT_IMPLEMENTED,
        Kind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Kind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::new(status(error.kind), error.message)
    }
}

impl From<teu_builder::Error> for Failure {
    fn from(error: teu_builder::Error) -> Self {
        let code = error.code();
        let message = error.to_string();
        let status = match &error {
            teu_builder::Error::Engine(error) => status(error.kind),
            error if error.is_bad_request() => StatusCode::BAD_REQUEST,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self { status, message, code }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        if self.status == StatusCode::NOT_MODIFIED {
            return self.status.into_response();
        }
        if self.status == StatusCode::INTERNAL_SERVER_ERROR {
            tracing::error!(error = self.message, "a request went wrong");
        }
        let body = serde_json::json!({ "message": self.message }).to_string() + "\n";
        (self.status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
    }
}

/// The answer to a path that is none.
pub(crate) async fn page_not_found() -> Failure {
    Failure::new(StatusCode::NOT_FOUND, "page not found")
}

/// The answer to a path that does not take this method.
pub(crate) async fn method_not_allowed(method: http::Method, uri: http::Uri) -> Failure {
    Failure::new(StatusCode::METHOD_NOT_ALLOWED, format!("{method} is not allowed on {}", uri.path()))
}
