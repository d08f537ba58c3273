//! From a function that writes, on a thread of its own, to a stream that async code reads.

use std::io::{self, Write};

use bytes::{Bytes, BytesMut};
use tokio::sync::mpsc;

/// Bytes as they come; an error is the last item.
pub type Stream = mpsc::Receiver<io::Result<Bytes>>;

const CHUNK: usize = 256 << 10;

/// Runs `produce` on a blocking thread; it ends early with a broken pipe when the receiver is dropped. What was cut off, by a
/// panic even, does not end like what is complete.
pub(crate) fn stream(produce: impl FnOnce(&mut dyn Write) -> io::Result<()> + Send + 'static) -> Stream {
    let (send, receive) = mpsc::channel(4);
    tokio::task::spawn_blocking(move || {
        let mut out = Out { send, buffer: BytesMut::with_capacity(CHUNK), ended: false };
        let result = produce(&mut out).and_then(|()| out.flush());
        out.ended = true;
        if let Err(error) = result {
            let _ = out.send.blocking_send(Err(error));
        }
    });
    receive
}

struct Out {
    send: mpsc::Sender<io::Result<Bytes>>,
    buffer: BytesMut,
    ended: bool,
}

impl Drop for Out {
    fn drop(&mut self) {
        if !self.ended {
            let _ = self.send.blocking_send(Err(io::Error::other("the work was cut off")));
        }
    }
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= CHUNK {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let chunk = std::mem::replace(&mut self.buffer, BytesMut::with_capacity(CHUNK)).freeze();
        self.send.blocking_send(Ok(chunk)).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_cut_off_ends_with_an_error() {
        let mut whole = stream(|out| out.write_all(b"all"));
        assert_eq!(whole.recv().await.expect("a piece").expect("bytes"), "all");
        assert!(whole.recv().await.is_none());
        let mut cut = stream(|out| {
            out.write_all(&vec![0; CHUNK])?;
            std::panic::resume_unwind(Box::new("cut off"))
        });
        assert!(cut.recv().await.expect("a piece").is_ok());
        assert!(cut.recv().await.expect("an end").is_err());
    }
}
