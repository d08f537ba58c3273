//! One connection passed on: bytes go from socket to socket through a pipe, in the kernel.
//!
//! The end of each direction is passed on by itself, so a client may close its half and still read.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::SocketType;
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};

use super::ports::connect;

/// What a pipe holds at most: enough that a fast sender is not woken for every packet.
const PIPE: usize = 256 << 10;
/// How many rounds one connection may take before the others have their turn.
const ROUNDS: u32 = 16;

/// One direction.
#[derive(Debug)]
struct Half {
    read: OwnedFd,
    write: OwnedFd,
    filled: usize,
    /// Nothing more comes.
    ended: bool,
    /// That was passed on.
    done: bool,
}

/// A client's connection and the one to the container.
#[derive(Debug)]
pub(super) struct Relay {
    client: TcpStream,
    container: TcpStream,
    connected: bool,
    up: Half,
    down: Half,
    broken: bool,
}

impl Half {
    fn new() -> io::Result<Self> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        // A smaller one works as well.
        let _ = fcntl_setpipe_size(&write, PIPE);
        Ok(Self { read, write, filled: 0, ended: false, done: false })
    }

    /// Moves what there is; an error ends the connection.
    fn pump(&mut self, from: &TcpStream, to: &TcpStream) -> io::Result<()> {
        let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
        for _ in 0..ROUNDS {
            let mut moved = false;
            if self.filled == 0 && !self.ended {
                match splice(from, None, &self.write, None, PIPE, flags) {
                    Ok(0) => self.ended = true,
                    Ok(count) => {
                        self.filled += count;
                        moved = true;
                    }
                    Err(Errno::AGAIN | Errno::INTR) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            while self.filled > 0 {
                match splice(&self.read, None, to, None, self.filled, flags) {
                    Ok(count) => {
                        self.filled = self.filled.saturating_sub(count);
                        moved = true;
                    }
                    Err(Errno::AGAIN | Errno::INTR) => break,
                    Err(error) => return Err(error.into()),
                }
            }
            if self.ended && self.filled == 0 && !self.done {
                self.done = true;
                // The other side may be gone already.
                let _ = to.shutdown(Shutdown::Write);
            }
            if !moved || self.filled > 0 {
                break;
            }
        }
        Ok(())
    }

    fn wants_input(&self) -> bool {
        !self.ended && self.filled == 0
    }
}

impl Relay {
    pub(super) fn new(client: TcpStream, target: SocketAddr) -> io::Result<Self> {
        client.set_nonblocking(true)?;
        client.set_nodelay(true)?;
        let container = TcpStream::from(connect(SocketType::STREAM, target)?);
        container.set_nodelay(true)?;
        let (up, down) = (Half::new()?, Half::new()?);
        Ok(Self { client, container, connected: false, up, down, broken: false })
    }

    pub(super) fn interests<'fd>(&'fd self, wait: &mut dyn FnMut(BorrowedFd<'fd>, bool, bool)) {
        if !self.connected {
            wait(self.container.as_fd(), false, true);
            return;
        }
        let client = (self.up.wants_input(), self.down.filled > 0);
        let container = (self.down.wants_input(), self.up.filled > 0);
        // One that is waited for neither way would report its hang-up again and again.
        if client != (false, false) {
            wait(self.client.as_fd(), client.0, client.1);
        }
        if container != (false, false) {
            wait(self.container.as_fd(), container.0, container.1);
        }
    }

    pub(super) fn pump(&mut self) {
        if !self.connected {
            match self.container.take_error() {
                Ok(None) => self.connected = true,
                _ => {
                    self.broken = true;
                    return;
                }
            }
        }
        let up = self.up.pump(&self.client, &self.container);
        let down = self.down.pump(&self.container, &self.client);
        self.broken |= up.is_err() || down.is_err();
    }

    pub(super) fn over(&self) -> bool {
        self.broken || (self.up.done && self.down.done)
    }
}
