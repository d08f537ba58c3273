//! A connection taken over from HTTP: from then on it is the container's standard streams.

use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{ReadHalf, WriteHalf};

/// A connection taken over.
pub(crate) struct Hijacked {
    /// What the container prints.
    pub(crate) output: ReadHalf<TokioIo<Upgraded>>,
    /// What the container reads; shutting it down is the end of its input.
    pub(crate) input: WriteHalf<TokioIo<Upgraded>>,
    /// The output is a terminal's bytes, not frames.
    pub(crate) raw: bool,
}

impl Hijacked {
    /// Splits the connection.
    pub(super) fn new(connection: Upgraded, raw: bool) -> Self {
        let (output, input) = tokio::io::split(TokioIo::new(connection));
        Self { output, input, raw }
    }
}
