//! Frames on the way out: as the process' stream has them, or as the client asked for them.
//!
//! A process with a terminal gives raw bytes, one without gives frames. A client says at an exec's start whether it
//! wants the one or the other, and some say other than the exec has.

use std::io;

use teu_api::stream::{Decoder, StreamKind};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};

const BUFFER: usize = 32 << 10;

/// How bytes are passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// Untouched.
    AsIs,
    /// Raw bytes become frames of standard output.
    Wrap,
    /// Frames become the bytes they carry.
    Unwrap,
}

impl Framing {
    /// From what the process gives to what the client wants.
    pub(crate) fn between(process_raw: bool, client_raw: bool) -> Self {
        match (process_raw, client_raw) {
            (true, false) => Self::Wrap,
            (false, true) => Self::Unwrap,
            _ => Self::AsIs,
        }
    }

    /// Copies until the end of `from`.
    pub(crate) async fn copy(self, from: impl AsyncRead + Unpin, to: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
        let mut from = BufReader::with_capacity(BUFFER, from);
        if self == Self::AsIs {
            return tokio::io::copy_buf(&mut from, to).await.map(drop);
        }
        let mut decoder = Decoder::new();
        let mut buffer = vec![0; BUFFER];
        loop {
            let length = from.read(&mut buffer).await?;
            if length == 0 {
                return Ok(());
            }
            let mut out = Vec::with_capacity(length + 8);
            if self == Self::Wrap {
                out.extend_from_slice(&StreamKind::Stdout.header(u32::try_from(length).unwrap_or(u32::MAX)));
                out.extend_from_slice(&buffer[..length]);
            } else {
                let fed = decoder.feed(&buffer[..length], |_, bytes| out.extend_from_slice(bytes));
                fed.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
            }
            to.write_all(&out).await?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn copied(framing: Framing, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        framing.copy(bytes, &mut out).await.expect("copied");
        out
    }

    #[tokio::test]
    async fn a_terminal_is_framed_for_whoever_wants_frames_and_the_other_way_round() {
        let framed = copied(Framing::between(true, false), b"word").await;
        assert_eq!(framed, b"\x01\0\0\0\0\0\0\x04word");
        assert_eq!(copied(Framing::between(false, true), &framed).await, b"word");
        assert_eq!(copied(Framing::between(true, true), b"word").await, b"word");
    }
}
