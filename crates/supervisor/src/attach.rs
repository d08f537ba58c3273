//! A client of a process' streams.
//!
//! Slow is not stopped. While a client reads slowly, at most [`FULL`] bytes wait for it and then the process waits too,
//! as it would for a terminal: nothing that a client is still reading gets lost. But when the program at the other end
//! of the socket has been stopped and has taken nothing for [`PATIENCE`], it is let go of, and the process goes on.

use std::io::{ErrorKind, IoSlice, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use crate::log::Stream;
use crate::protocol::{Event, Wanted};

/// Unread bytes at which no more output is fetched.
const FULL: usize = 1 << 20;
/// How long a stopped reader is waited for, and how often that is looked at.
pub(crate) const PATIENCE: Duration = Duration::from_secs(1);

/// What came from a client.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Received {
    /// This many bytes of input.
    Bytes(usize),
    /// Nothing now, or nothing of interest.
    Nothing,
    /// The end of its input.
    End,
}

/// One attached client.
#[derive(Debug)]
pub(crate) struct Attach {
    stream: UnixStream,
    /// Whose streams; none is the container's first process.
    pub(crate) target: Option<String>,
    wanted: Wanted,
    /// Input that came right behind the request.
    pub(crate) early: Vec<u8>,
    /// The client may still send.
    receiving: bool,
    /// The client may still read.
    sending: bool,
    unsent: Vec<u8>,
    /// Nothing more comes: close when everything is sent.
    ending: bool,
    progress: Instant,
}

impl Attach {
    pub(crate) fn new(stream: UnixStream, early: Vec<u8>, target: Option<String>, wanted: Wanted) -> Attach {
        let (receiving, sending, ending) = (true, true, false);
        let progress = Instant::now();
        Attach { stream, target, wanted, early, receiving, sending, unsent: Vec::new(), ending, progress }
    }

    /// It can be let go of.
    pub(crate) fn over(&self) -> bool {
        if self.ending { !self.unsent() } else { !self.receiving && !self.sending }
    }

    /// Whether to wait for input, or for room to send. `fed` says that the process takes input now.
    ///
    /// Neither, while the client could still send: then it is not waited for at all, since a hang-up that cannot be
    /// acted on would be reported again and again.
    pub(crate) fn interest(&self, fed: bool) -> Option<(bool, bool)> {
        let readable = self.receiving && !self.ending && (fed || !self.wanted.stdin);
        match (readable, self.unsent()) {
            (false, false) if self.receiving || !self.sending => None,
            interest => Some(interest),
        }
    }

    pub(crate) fn unsent(&self) -> bool {
        self.sending && !self.unsent.is_empty()
    }

    /// So much is unread that its process has to wait.
    pub(crate) fn full(&self) -> bool {
        self.sending && self.unsent.len() >= FULL
    }

    pub(crate) fn receive(&mut self, buffer: &mut [u8]) -> Received {
        match self.stream.read(buffer) {
            Ok(0) => {}
            Ok(n) if self.wanted.stdin => return Received::Bytes(n),
            Ok(_) => return Received::Nothing,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                return Received::Nothing;
            }
            Err(_) => self.sending = false,
        }
        self.receiving = false;
        if self.wanted.stdin { Received::End } else { Received::Nothing }
    }

    /// The client is gone altogether, not only finished with its input.
    pub(crate) fn hung_up(&mut self) {
        if !self.receiving {
            self.sending = false;
        }
    }

    pub(crate) fn wants_input(&self) -> bool {
        self.wanted.stdin
    }

    pub(crate) fn wants(&self, stream: Stream) -> bool {
        match stream {
            Stream::Stdout => self.wanted.stdout,
            Stream::Stderr => self.wanted.stderr,
        }
    }

    /// Sends output: framed, or raw from a terminal. At once as far as there is room.
    pub(crate) fn send(&mut self, stream: Stream, bytes: &[u8], raw: bool) {
        if !self.sending || self.ending || !self.wants(stream) {
            return;
        }
        let mut header = [1 + stream as u8, 0, 0, 0, 0, 0, 0, 0];
        header[4..].copy_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
        let header: &[u8] = if raw { &[] } else { &header };
        let mut sent = 0;
        if self.unsent.is_empty() {
            match self.stream.write_vectored(&[IoSlice::new(header), IoSlice::new(bytes)]) {
                Ok(n) => sent = n,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                Err(_) => self.sending = false,
            }
            self.progress = Instant::now();
        }
        self.unsent.extend(&header[sent.min(header.len())..]);
        self.unsent.extend(&bytes[sent.saturating_sub(header.len())..]);
    }

    /// Sends a line of its own, before everything else.
    pub(crate) fn greet(&mut self, event: &Event) {
        // Events are plain data with string keys: they always have a JSON form.
        if let Ok(line) = serde_json::to_vec(event) {
            self.unsent.extend(line);
            self.unsent.push(b'\n');
        }
        self.flush();
    }

    /// Sends what there is room for.
    pub(crate) fn flush(&mut self) {
        let mut sent = 0;
        while self.sending && sent < self.unsent.len() {
            match self.stream.write(&self.unsent[sent..]) {
                Ok(n) => {
                    sent += n;
                    self.progress = Instant::now();
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => self.sending = false,
            }
        }
        self.unsent.drain(..sent);
        if !self.unsent() {
            self.unsent = Vec::new();
        }
    }

    /// The process has ended and everything it wrote was passed to [`Attach::send`].
    pub(crate) fn end(&mut self) {
        self.ending = true;
    }

    /// Closes the connection so that the client reads the end of the stream: a socket closed with unread input in it
    /// would give it an error instead.
    pub(crate) fn close(mut self, buffer: &mut [u8]) {
        let _ = self.stream.shutdown(Shutdown::Both);
        while self.stream.read(buffer).is_ok_and(|n| n > 0) {}
    }

    /// Lets go of a client that reads nothing because it was stopped. For clients that are waited for.
    pub(crate) fn check(&mut self) {
        if self.unsent() && self.progress.elapsed() >= PATIENCE && stopped(&self.stream) {
            (self.sending, self.receiving) = (false, false);
        }
    }
}

impl AsFd for Attach {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

/// Whether the process that made this connection is stopped, by a signal or a debugger (proc_pid_stat(5)).
fn stopped(stream: &UnixStream) -> bool {
    let Ok(peer) = rustix::net::sockopt::socket_peercred(stream) else { return false };
    let Ok(stat) = teu_sys::proc::Stat::of(peer.pid.as_raw_nonzero().get()) else { return true };
    matches!(stat.state(), 'T' | 't') || stat.has_ended()
}
