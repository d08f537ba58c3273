//! Streams in both directions: lines of JSON from the daemon, bytes from a thread to it.

use std::io;
use std::marker::PhantomData;

use bytes::Bytes;
use futures_util::StreamExt;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;

use super::Body;
use super::call::broken;
use crate::failure::Failure;

/// An answer that is one JSON value after another.
pub(crate) struct JsonLines<T> {
    body: Incoming,
    buffer: Vec<u8>,
    ended: bool,
    kind: PhantomData<T>,
}

impl<T: DeserializeOwned> JsonLines<T> {
    /// Values of an answer's body.
    pub(crate) fn new(body: Incoming) -> Self {
        Self { body, buffer: Vec::new(), ended: false, kind: PhantomData }
    }

    /// The next value; `None` at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<T>, Failure> {
        loop {
            if let Some(line) = take_line(&mut self.buffer, self.ended) {
                let value = serde_json::from_slice(&line);
                return value.map(Some).map_err(|error| Failure::new(format!("read the daemon's answer: {error}")));
            }
            if self.ended {
                return Ok(None);
            }
            match self.body.frame().await {
                Some(frame) => {
                    if let Ok(data) = frame.map_err(|error| broken(&error))?.into_data() {
                        self.buffer.extend_from_slice(&data);
                    }
                }
                None => self.ended = true,
            }
        }
    }
}

/// Takes one line that is not blank out of the buffer; at the end, also one without a newline.
fn take_line(buffer: &mut Vec<u8>, ended: bool) -> Option<Vec<u8>> {
    loop {
        let end = match buffer.iter().position(|byte| *byte == b'\n') {
            Some(at) => at + 1,
            None if ended && !buffer.is_empty() => buffer.len(),
            None => return None,
        };
        let line: Vec<u8> = buffer.drain(..end).collect();
        if !line.trim_ascii().is_empty() {
            return Some(line);
        }
    }
}

/// The writing end of a request body, for a thread of its own.
pub(crate) struct ChannelWriter {
    sender: mpsc::Sender<io::Result<Bytes>>,
}

/// A request body that a thread writes; it waits when the daemon does not keep up.
pub(crate) fn channel_body() -> (ChannelWriter, Body) {
    let (sender, receiver) = mpsc::channel::<io::Result<Bytes>>(8);
    let pieces = futures_util::stream::unfold(receiver, async |mut receiver| {
        receiver.recv().await.map(|piece| (piece.map(Frame::data), receiver))
    });
    (ChannelWriter { sender }, BodyExt::boxed(StreamBody::new(SyncStream::new(pieces.boxed()))))
}

impl ChannelWriter {
    /// Breaks the request off: what was sent is not complete.
    pub(crate) fn abort(&self, error: io::Error) {
        let _ = self.sender.blocking_send(Err(error));
    }
}

impl io::Write for ChannelWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let piece = Bytes::copy_from_slice(bytes);
        self.sender.blocking_send(Ok(piece)).map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A stream that may be shared by reference because it is only ever polled by `&mut`: what [`BodyExt::boxed`] asks.
struct SyncStream<S>(std::sync::Mutex<S>);

impl<S> SyncStream<S> {
    fn new(stream: S) -> Self {
        Self(std::sync::Mutex::new(stream))
    }
}

impl<S: futures_util::Stream + Unpin> futures_util::Stream for SyncStream<S> {
    type Item = S::Item;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<S::Item>> {
        match self.0.get_mut() {
            Ok(stream) => stream.poll_next_unpin(context),
            Err(poisoned) => poisoned.into_inner().poll_next_unpin(context),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_taken_as_they_become_complete() {
        let mut buffer = b"{\"a\":1}\r\n\r\n{\"b\"".to_vec();
        assert_eq!(take_line(&mut buffer, false).unwrap(), b"{\"a\":1}\r\n");
        assert_eq!(take_line(&mut buffer, false), None);
        buffer.extend_from_slice(b":2}");
        assert_eq!(take_line(&mut buffer, false), None);
        assert_eq!(take_line(&mut buffer, true).unwrap(), b"{\"b\":2}");
        assert_eq!(take_line(&mut buffer, true), None);
    }
}
