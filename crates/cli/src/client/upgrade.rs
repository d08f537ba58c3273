//! A connection taken over from HTTP: from then on it is the container's standard streams.

use http::HeaderValue;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use teu_api::container::RunResponse;
use tokio::io::{ReadHalf, WriteHalf};

use super::call::read_json;
use crate::failure::Failure;

/// A connection taken over.
pub(crate) struct Hijacked {
    /// What the container prints.
    pub(crate) output: ReadHalf<TokioIo<Upgraded>>,
    /// What the container reads; shutting it down is the end of its input.
    pub(crate) input: WriteHalf<TokioIo<Upgraded>>,
    /// The output is a terminal's bytes, not frames.
    pub(crate) raw: bool,
    /// What the daemon said of a container that it made and started for this connection.
    about: Option<HeaderValue>,
}

impl Hijacked {
    /// Splits the connection.
    pub(super) fn new(connection: Upgraded, raw: bool, about: Option<HeaderValue>) -> Self {
        let (output, input) = tokio::io::split(TokioIo::new(connection));
        Self { output, input, raw, about }
    }

    /// The container that was made and started for this connection.
    pub(crate) fn run(&self) -> Result<RunResponse, Failure> {
        read_json(self.about.as_ref().map_or(&[], HeaderValue::as_bytes))
    }
}
