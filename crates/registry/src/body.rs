//! Bodies: how bytes cross between HTTP (async) and files and hashes (blocking), in large pieces and without copies.
//!
//! ```text
//! file ── 512 KiB read ahead ──> HTTP body
//! HTTP body ──> Pour: gathers while it writes ──> hash and file
//!         └───> channel ──> PieceReader, for what reads on a thread of its own
//! ```
//! What waits in between is bounded, so a slow side holds the fast one back instead of filling memory; and a peer that is
//! slow costs memory, never a thread.

use std::convert::Infallible;
use std::fs::File;
use std::io::{self, BufRead, Read, Write};
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes, BytesMut};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// A body that is sent.
pub(crate) type Outgoing = UnsyncBoxBody<Bytes, io::Error>;

/// How much is read from a file at once.
const PIECE: usize = 512 << 10;
/// How much gathers while a write is under way.
const MOST_WAITING: usize = 4 << 20;
/// How many pieces wait between the two sides of a channel.
pub(crate) const PIECES_WAITING: usize = 8;

/// A body of bytes already there.
pub(crate) fn full(bytes: impl Into<Bytes>) -> Outgoing {
    Full::new(bytes.into()).map_err(|never: Infallible| match never {}).boxed_unsync()
}

/// No body.
pub(crate) fn empty() -> Outgoing {
    full(Bytes::new())
}

/// `length` bytes of `file` from `start`; `sent` hears how much of them has been taken so far.
pub(crate) fn of_file(file: Arc<File>, start: u64, length: u64, sent: impl Fn(u64) + Send + 'static) -> Outgoing {
    let mut body = FileBody { file, at: start, left: length, length, sent: Box::new(sent), taken: 0, reading: None };
    body.read_on();
    body.boxed_unsync()
}

/// A file on its way out. One piece is read ahead; no thread waits for a slow receiver.
struct FileBody {
    file: Arc<File>,
    /// Where the next read begins.
    at: u64,
    /// What has not been read yet.
    left: u64,
    length: u64,
    sent: Box<dyn Fn(u64) + Send>,
    taken: u64,
    reading: Option<JoinHandle<io::Result<Bytes>>>,
}

impl FileBody {
    fn read_on(&mut self) {
        if self.left == 0 {
            return;
        }
        let (file, at) = (self.file.clone(), self.at);
        let length = usize::try_from(self.left).unwrap_or(usize::MAX).min(PIECE);
        self.reading = Some(tokio::task::spawn_blocking(move || read_piece(&file, at, length)));
        self.at += length as u64;
        self.left -= length as u64;
    }
}

/// Exactly `length` bytes: what is shorter is not the file that was promised.
fn read_piece(file: &File, at: u64, length: usize) -> io::Result<Bytes> {
    let mut buffer = BytesMut::zeroed(length);
    file.read_exact_at(&mut buffer, at)?;
    Ok(buffer.freeze())
}

impl Body for FileBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let Some(reading) = &mut self.reading else { return Poll::Ready(None) };
        let piece = std::task::ready!(Pin::new(reading).poll(cx)).map_err(io::Error::other).flatten();
        self.reading = None;
        let piece = match piece {
            Ok(piece) => piece,
            Err(error) => {
                self.left = 0;
                return Poll::Ready(Some(Err(error)));
            }
        };
        self.taken += piece.len() as u64;
        (self.sent)(self.taken);
        self.read_on();
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.reading.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.length - self.taken)
    }
}

/// The blocking end of a channel of pieces, read as a stream that ends when every sender is gone.
pub(crate) struct PieceReader {
    pieces: mpsc::Receiver<Bytes>,
    current: Bytes,
}

impl PieceReader {
    pub(crate) fn new(pieces: mpsc::Receiver<Bytes>) -> Self {
        Self { pieces, current: Bytes::new() }
    }
}

impl BufRead for PieceReader {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.current.is_empty() {
            match self.pieces.blocking_recv() {
                Some(piece) => self.current = piece,
                None => break,
            }
        }
        Ok(&self.current)
    }

    fn consume(&mut self, amount: usize) {
        self.current.advance(amount);
    }
}

impl Read for PieceReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.fill_buf()?.read(buffer)?;
        self.consume(length);
        Ok(length)
    }
}

/// Pieces on their way into a writer that blocks. While one lot is written the next gathers, so a fast sender makes
/// large writes, and no thread waits for a slow one.
pub(crate) struct Pour<W> {
    state: Writing<W>,
    waiting: Vec<Bytes>,
    waiting_bytes: usize,
}

enum Writing<W> {
    Idle(W),
    Busy(JoinHandle<(W, io::Result<()>)>),
    /// The writer was lost with its thread.
    Lost,
}

impl<W: Write + Send + 'static> Pour<W> {
    pub(crate) fn into(writer: W) -> Self {
        Self { state: Writing::Idle(writer), waiting: Vec::new(), waiting_bytes: 0 }
    }

    /// Takes a piece; waits only when too much is waiting.
    pub(crate) async fn write(&mut self, piece: Bytes) -> io::Result<()> {
        self.waiting_bytes += piece.len();
        self.waiting.push(piece);
        match &self.state {
            Writing::Busy(busy) if !busy.is_finished() && self.waiting_bytes < MOST_WAITING => Ok(()),
            _ => self.write_waiting().await,
        }
    }

    /// Writes what is left, and gives the writer back.
    pub(crate) async fn finish(mut self) -> io::Result<W> {
        while !self.waiting.is_empty() {
            self.write_waiting().await?;
        }
        self.settle().await
    }

    async fn write_waiting(&mut self) -> io::Result<()> {
        let mut writer = self.settle().await?;
        let pieces = std::mem::take(&mut self.waiting);
        self.waiting_bytes = 0;
        self.state = Writing::Busy(tokio::task::spawn_blocking(move || {
            let written = pieces.iter().try_for_each(|piece| writer.write_all(piece));
            (writer, written)
        }));
        Ok(())
    }

    /// The writer, once it has nothing to do.
    async fn settle(&mut self) -> io::Result<W> {
        match std::mem::replace(&mut self.state, Writing::Lost) {
            Writing::Idle(writer) => Ok(writer),
            Writing::Busy(busy) => {
                let (writer, written) = busy.await.map_err(io::Error::other)?;
                written.map(|()| writer)
            }
            Writing::Lost => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_part_of_a_file_comes_out_whole() {
        let bytes: Vec<u8> = (0..3 * PIECE + 17).map(|at| u8::try_from(at % 251).unwrap()).collect();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&bytes).unwrap();
        let length = (2 * PIECE + 5) as u64;
        let body = of_file(Arc::new(file), 11, length, |_| ());
        assert_eq!(body.size_hint().exact(), Some(length));
        let sent = body.collect().await.unwrap().to_bytes();
        assert!(sent == bytes[11..2 * PIECE + 16]);
    }

    #[tokio::test]
    async fn a_file_that_became_shorter_is_an_error() {
        let body = of_file(Arc::new(tempfile::tempfile().unwrap()), 0, 10, |_| ());
        assert!(body.collect().await.is_err());
    }

    #[tokio::test]
    async fn what_is_poured_arrives_in_order() {
        let mut pour = Pour::into(Vec::new());
        for number in 0..1000_u32 {
            pour.write(Bytes::copy_from_slice(&number.to_be_bytes())).await.unwrap();
        }
        let all = pour.finish().await.unwrap();
        assert!(all.chunks(4).zip(0_u32..).all(|(four, number)| four == number.to_be_bytes()));
        assert_eq!(all.len(), 4000);
    }
}
