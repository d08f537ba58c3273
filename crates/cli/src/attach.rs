//! Copying between a hijacked connection and the user's standard streams.
//!
//! Standard input is read by a thread of its own, because it may be a terminal, a pipe or a file and must not change
//! its flags (they are shared with the shell). Output is written at once, so that prompts appear.

use std::io::{self, Read, Write};

use teu_api::stream::{Decoder, StreamKind};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
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
    /// The container closed its output.
    Closed,
    /// The user detached.
    Detached,
}

impl Streams {
    /// Copies until the container closes its output or the user detaches.
    pub(crate) async fn copy(mut self, connection: Hijacked) -> Result<Ended, Failure> {
        let Hijacked { mut output, mut input, raw } = connection;
        let _raw_mode = if self.stdin && self.tty { RawMode::enter().or_fail("set up the terminal")? } else { None };
        let mut keyboard = self.stdin.then(read_stdin);
        let mut printer = Printer::new(raw || self.tty);
        let mut buffer = vec![0; 32 << 10];
        loop {
            tokio::select! {
                read = output.read(&mut buffer) => match read {
                    // A connection that resets after the container's end says nothing new.
                    Ok(0) | Err(_) => return Ok(Ended::Closed),
                    Ok(count) => printer.print(&buffer[..count])?,
                },
                piece = next_piece(&mut keyboard) => match piece {
                    Some(piece) => {
                        let (piece, detach) = if self.tty { self.keys.filter(&piece) } else { (piece, false) };
                        // The container may have closed its input while its output still comes.
                        let _ = input.write_all(&piece).await;
                        let _ = input.flush().await;
                        if detach {
                            return Ok(Ended::Detached);
                        }
                    }
                    None => {
                        let _ = input.shutdown().await;
                        keyboard = None;
                    }
                },
            }
        }
    }
}

async fn next_piece(keyboard: &mut Option<mpsc::Receiver<Vec<u8>>>) -> Option<Vec<u8>> {
    match keyboard {
        Some(pieces) => pieces.recv().await,
        None => std::future::pending().await,
    }
}

/// Reads standard input in a thread until its end.
fn read_stdin() -> mpsc::Receiver<Vec<u8>> {
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
}

impl Printer {
    /// For a terminal's bytes, or for frames.
    pub(crate) fn new(raw: bool) -> Self {
        Self { raw, decoder: Decoder::new() }
    }

    /// Prints what has come.
    pub(crate) fn print(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        if self.raw {
            return put(StreamKind::Stdout, bytes).or_fail("write standard output");
        }
        let mut wrong = None;
        let fed = self.decoder.feed(bytes, |stream, piece| {
            if wrong.is_none() {
                wrong = put(stream, piece).err();
            }
        });
        fed.map_err(|error| Failure::new(error.to_string()))?;
        wrong.map_or(Ok(()), |error| Err(error).or_fail("write output"))
    }
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
