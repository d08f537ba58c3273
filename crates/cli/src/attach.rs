//! Copying between a hijacked connection and the user's standard streams.
//!
//! Standard input is read by a thread of its own, because it may be a terminal, a pipe or a file and must not change
//! its flags (they are shared with the shell). Output is written at once, so that prompts appear.

use std::io::{self, Read, Write};

use teu_api::stream::{Decoder, StreamKind};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

use crate::client::Hijacked;
use crate::failure::{Failure, Naming};
use crate::terminal::{DetachKeys, RawMode};

/// What is attached.
pub(crate) struct Streams {
    /// Standard input is sent.
    pub(crate) stdin: bool,
    /// The container has a terminal.
    pub(crate) tty: bool,
    /// The keys that detach.
    pub(crate) keys: DetachKeys,
}

/// How copying ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The container closed its output; with what the process returned, where the stream says so.
    Closed(Option<i32>),
    /// The user detached.
    Detached,
}

impl Streams {
    /// Copies until the container closes its output or the user detaches.
    ///
    /// The directions wait for nothing of each other: a container that prints while nobody reads stops reading, too.
    pub(crate) async fn copy(self, connection: Hijacked) -> Result<Ended, Failure> {
        let Hijacked { output, input, raw, .. } = connection;
        let _raw_mode = if self.stdin && self.tty { RawMode::enter().or_fail("set up the terminal")? } else { None };
        let printer = Printer::new(raw || self.tty);
        tokio::select! {
            outcome = copy_output(output, printer) => outcome.map(Ended::Closed),
            () = self.copy_input(input) => Ok(Ended::Detached),
        }
    }

    /// Sends what the user types; ends only when the user detaches.
    async fn copy_input(mut self, mut input: impl AsyncWrite + Unpin) {
        if self.stdin {
            let mut pieces = read_stdin();
            while let Some(piece) = pieces.recv().await {
                let (piece, detach) = if self.tty { self.keys.filter(&piece) } else { (piece, false) };
                // The container may have closed its input while its output still comes.
                let sent = input.write_all(&piece).await.and(input.flush().await);
                if detach {
                    return;
                }
                if sent.is_err() {
                    break;
                }
            }
            let _ = input.shutdown().await;
        }
        std::future::pending::<()>().await;
    }
}

/// Prints what the container prints, to its end.
async fn copy_output(mut output: impl AsyncRead + Unpin, mut printer: Printer) -> Result<Option<i32>, Failure> {
    let mut buffer = vec![0; 32 << 10];
    loop {
        match output.read(&mut buffer).await {
            // A connection that resets after the container's end says nothing new.
            Ok(0) | Err(_) => return Ok(printer.exit_code()),
            Ok(count) => printer.print(&buffer[..count])?,
        }
    }
}

/// Reads standard input in a thread until its end.
pub(crate) fn read_stdin() -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel(4);
    std::thread::spawn(move || {
        let mut buffer = vec![0; 32 << 10];
        let mut stdin = io::stdin().lock();
        loop {
            match stdin.read(&mut buffer) {
                Ok(count) if count > 0 => {
                    if sender.blocking_send(buffer[..count].to_vec()).is_err() {
                        return;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                _ => return,
            }
        }
    });
    receiver
}

/// Puts output where it belongs.
pub(crate) struct Printer {
    raw: bool,
    decoder: Decoder,
    /// What is said of the process' end.
    exit: String,
}

impl Printer {
    /// For a terminal's bytes, or for frames.
    pub(crate) fn new(raw: bool) -> Self {
        Self { raw, decoder: Decoder::new(), exit: String::new() }
    }

    /// Prints what has come.
    pub(crate) fn print(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        if self.raw {
            return put(StreamKind::Stdout, bytes).map_err(|error| unwritten(&error));
        }
        let (mut wrong, exit) = (None, &mut self.exit);
        let fed = self.decoder.feed(bytes, |stream, piece| {
            if stream == StreamKind::Exit {
                exit.push_str(&String::from_utf8_lossy(piece));
            } else if wrong.is_none() {
                wrong = put(stream, piece).err();
            }
        });
        fed.map_err(|error| Failure::new(error.to_string()))?;
        wrong.map_or(Ok(()), |error| Err(unwritten(&error)))
    }
}

impl Printer {
    /// What the process returned, where the stream said so.
    fn exit_code(&self) -> Option<i32> {
        self.exit.parse().ok()
    }
}

/// Output that cannot be written; a reader that has left early (`| head`) is not worth a word.
fn unwritten(error: &io::Error) -> Failure {
    if error.kind() == io::ErrorKind::BrokenPipe { Failure::silent(141) } else { Failure::io("write output", error) }
}

fn put(stream: StreamKind, bytes: &[u8]) -> io::Result<()> {
    if stream == StreamKind::Stdout {
        let mut out = io::stdout().lock();
        out.write_all(bytes)?;
        out.flush()
    } else {
        io::stderr().lock().write_all(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn a_stream_cut_in_small_pieces_is_read_to_its_end() {
        let (mut container, client) = tokio::io::duplex(4);
        let header = StreamKind::Stderr.header(0);
        let (written, read) = tokio::join!(
            async {
                let sent = container.write_all(&header).await;
                drop(container);
                sent
            },
            copy_output(client, Printer::new(false)),
        );
        assert!(written.is_ok());
        assert_eq!(read.expect("read"), None);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn the_last_frame_says_what_the_process_returned() {
        let frame = [&StreamKind::Exit.header(3)[..], b"137"].concat();
        for cut in 0..frame.len() {
            let (first, second) = frame.split_at(cut);
            let stream = AsyncReadExt::chain(first, second);
            let read = copy_output(stream, Printer::new(false)).await;
            assert_eq!(read.expect("read"), Some(137));
        }
    }
}
