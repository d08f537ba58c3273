//! Streams: the progress messages of long requests, and the frames that carry two outputs over one connection.
//!
//! ```text
//! frame: [stream, 0, 0, 0, length (4 bytes, big-endian)] payload
//! stream: 0 stdin, 1 stdout, 2 stderr, 3 an error of the engine's, 4 the exit code (only to whoever asked for it)
//! ```

use serde_json::Value;

/// Media type of a stream that is the terminal's bytes.
pub const RAW_STREAM: &str = "application/vnd.docker.raw-stream";
/// Media type of a stream of frames.
pub const MULTIPLEXED_STREAM: &str = "application/vnd.docker.multiplexed-stream";
/// Length of a frame's header.
pub const HEADER_LENGTH: usize = 8;

wire! {
    /// One line of a progress stream (build, pull, push, load, import).
    pub struct JsonMessage {
        /// Text as the build prints it.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub stream: Option<String> = "stream",
        /// What is going on, `Downloading`.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub status: Option<String> = "status",
        /// How far it is.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub progress_detail: Option<ProgressDetail> = "progressDetail",
        /// Legacy: the same as text.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub progress: Option<String> = "progress",
        /// Which layer.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub id: Option<String> = "id",
        /// Legacy: which repository.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub from: Option<String> = "from",
        /// The end: an error.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub error_detail: Option<ErrorDetail> = "errorDetail",
        /// The same error as text.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub error: Option<String> = "error",
        /// A result for programs, as [`crate::build::BuildResult`].
        #[serde(skip_serializing_if = "Option::is_none")]
        pub aux: Option<Value> = "aux",
    }

    /// How far something is.
    pub struct ProgressDetail {
        /// Done.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub current: Option<u64> = "current",
        /// To do; none when unknown.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub total: Option<u64> = "total",
        /// Unit; bytes when none.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub units: Option<String> = "units",
    }

    /// An error at the end of a progress stream.
    pub struct ErrorDetail {
        /// A number for programs: the exit code of a build step.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub code: Option<i64> = "code",
        /// One sentence.
        pub message: String = "message",
    }
}

impl JsonMessage {
    /// A line of build output.
    #[must_use]
    pub fn output(text: impl Into<String>) -> Self {
        Self { stream: Some(text.into()), ..Self::default() }
    }

    /// A line that says what is going on.
    #[must_use]
    pub fn status(text: impl Into<String>) -> Self {
        Self { status: Some(text.into()), ..Self::default() }
    }

    /// How far one layer is.
    #[must_use]
    pub fn progress(id: impl Into<String>, status: impl Into<String>, current: u64, total: u64) -> Self {
        let detail = if current == 0 && total == 0 {
            ProgressDetail::default()
        } else {
            ProgressDetail { current: Some(current), total: (total > 0).then_some(total), units: None }
        };
        Self { id: Some(id.into()), status: Some(status.into()), progress_detail: Some(detail), ..Self::default() }
    }

    /// The end: an error.
    #[must_use]
    pub fn failure(code: Option<i64>, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { error: Some(message.clone()), error_detail: Some(ErrorDetail { code, message }), ..Self::default() }
    }

    /// A result for programs.
    #[must_use]
    pub fn aux(value: Value) -> Self {
        Self { aux: Some(value), ..Self::default() }
    }
}

/// Which stream a frame belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamKind {
    /// Standard input (never sent by an engine).
    Stdin,
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// An error of the engine's own, as text.
    System,
    /// What the process returned, as decimal text; the last frame. Not Docker's.
    Exit,
}

impl StreamKind {
    /// The kind a header's first byte means.
    #[must_use]
    pub fn from_byte(byte: u8) -> Option<Self> {
        [Self::Stdin, Self::Stdout, Self::Stderr, Self::System, Self::Exit].get(usize::from(byte)).copied()
    }

    /// The header of a frame with `length` bytes of payload.
    #[must_use]
    pub fn header(self, length: u32) -> [u8; HEADER_LENGTH] {
        let [a, b, c, d] = length.to_be_bytes();
        [self as u8, 0, 0, 0, a, b, c, d]
    }
}

/// A frame whose header makes no sense; holds the stream byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownStream(pub u8);

impl std::fmt::Display for UnknownStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "read frame header: stream {} is unknown", self.0)
    }
}

impl std::error::Error for UnknownStream {}

/// Takes frames apart as bytes arrive, however they are cut; copies no payload.
#[derive(Debug, Default)]
pub struct Decoder {
    header: [u8; HEADER_LENGTH],
    have: usize,
    stream: Option<StreamKind>,
    left: usize,
}

impl Decoder {
    /// A decoder at the start of a stream.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Calls `sink` with each piece of payload in `input`, in order.
    ///
    /// # Errors
    /// [`UnknownStream`] when the input is not a stream of frames.
    pub fn feed(&mut self, mut input: &[u8], mut sink: impl FnMut(StreamKind, &[u8])) -> Result<(), UnknownStream> {
        while !input.is_empty() {
            if let (Some(stream), true) = (self.stream, self.left > 0) {
                let (piece, rest) = input.split_at(self.left.min(input.len()));
                sink(stream, piece);
                self.left -= piece.len();
                input = rest;
                continue;
            }
            let (piece, rest) = input.split_at((HEADER_LENGTH - self.have).min(input.len()));
            self.header[self.have..self.have + piece.len()].copy_from_slice(piece);
            self.have += piece.len();
            input = rest;
            if self.have == HEADER_LENGTH {
                let [kind, _, _, _, a, b, c, d] = self.header;
                self.stream = Some(StreamKind::from_byte(kind).ok_or(UnknownStream(kind))?);
                self.left = u32::from_be_bytes([a, b, c, d]) as usize;
                self.have = 0;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: StreamKind, payload: &[u8]) -> Vec<u8> {
        [&kind.header(u32::try_from(payload.len()).unwrap())[..], payload].concat()
    }

    #[test]
    fn frames_survive_any_cut() {
        let bytes =
            [frame(StreamKind::Stdout, b"hello\n"), frame(StreamKind::Stderr, b""), frame(StreamKind::Stderr, b"bad")]
                .concat();
        for step in 1..=bytes.len() {
            let (mut out, mut err) = (Vec::new(), Vec::new());
            let mut decoder = Decoder::new();
            for chunk in bytes.chunks(step) {
                decoder
                    .feed(chunk, |kind, piece| match kind {
                        StreamKind::Stdout => out.extend_from_slice(piece),
                        _ => err.extend_from_slice(piece),
                    })
                    .unwrap();
            }
            assert_eq!((out.as_slice(), err.as_slice()), (&b"hello\n"[..], &b"bad"[..]), "step {step}");
        }
    }

    #[test]
    fn an_unknown_stream_is_refused() {
        assert_eq!(Decoder::new().feed(b"HTTP/1.1 200", |_, _| ()), Err(UnknownStream(b'H')));
    }

    #[test]
    fn a_message_has_only_what_is_set() {
        let text = serde_json::to_string(&JsonMessage::progress("abc", "Downloading", 1, 2)).unwrap();
        assert_eq!(text, r#"{"status":"Downloading","progressDetail":{"current":1,"total":2},"id":"abc"}"#);
        assert_eq!(serde_json::to_string(&JsonMessage::output("x\n")).unwrap(), r#"{"stream":"x\n"}"#);
    }
}
