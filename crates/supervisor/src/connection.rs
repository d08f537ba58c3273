//! A connection to the socket, until its first line says what it is; and from then on if that is control.
//!
//! Lines in, lines out. What the other side does not read is kept, up to a bound: events are small and few, so one who
//! does not read them at all is not there.

use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use crate::protocol::{Event, MAX_LINE};

/// Answers and events that may wait to be read.
const MAX_UNREAD: usize = 1 << 20;

/// One connection.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: UnixStream,
    received: Vec<u8>,
    unsent: Vec<u8>,
    /// It has made a request: it understands events.
    pub(crate) greeted: bool,
    /// To be let go of.
    pub(crate) closed: bool,
}

impl Connection {
    pub(crate) fn new(stream: UnixStream) -> io::Result<Connection> {
        stream.set_nonblocking(true)?;
        Ok(Connection { stream, received: Vec::new(), unsent: Vec::new(), greeted: false, closed: false })
    }

    /// There is something to send.
    pub(crate) fn unsent(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// Reads what has come.
    pub(crate) fn receive(&mut self, buffer: &mut [u8]) {
        match self.stream.read(buffer) {
            Ok(0) => self.closed = true,
            Ok(n) => self.received.extend(&buffer[..n]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(_) => self.closed = true,
        }
        if self.received.len() > MAX_LINE && !self.received.contains(&b'\n') {
            self.closed = true;
        }
    }

    /// Takes the next whole line.
    pub(crate) fn line(&mut self) -> Option<Vec<u8>> {
        let end = self.received.iter().position(|&byte| byte == b'\n')?;
        let later = self.received.split_off(end + 1);
        Some(std::mem::replace(&mut self.received, later))
    }

    /// Sends an event, at once if there is room.
    pub(crate) fn send(&mut self, event: &Event) {
        // Events are plain data with string keys: they always have a JSON form.
        if let Ok(mut line) = serde_json::to_vec(event) {
            line.push(b'\n');
            self.unsent.extend(line);
        }
        self.flush();
        self.closed |= self.unsent.len() > MAX_UNREAD;
    }

    /// Sends what there is room for.
    pub(crate) fn flush(&mut self) {
        while !self.unsent.is_empty() {
            match self.stream.write(&self.unsent) {
                Ok(n) => drop(self.unsent.drain(..n)),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => {
                    self.closed = true;
                    return;
                }
            }
        }
        self.unsent = Vec::new();
    }

    /// Becomes a raw stream: the socket, and the bytes that came after the line. What is left is closed.
    pub(crate) fn become_stream(&mut self) -> io::Result<(UnixStream, Vec<u8>)> {
        self.closed = true;
        Ok((self.stream.try_clone()?, std::mem::take(&mut self.received)))
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}
