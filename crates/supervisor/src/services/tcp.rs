//! One connection passed on: bytes go from socket to socket through a pipe, in the kernel.
//!
//! The end of each direction is passed on by itself, so a client may close its half and still read.
//!
//! A client that comes before the container's program listens is let wait for that, while the container is young: it has
//! been accepted already, and a connection that ends at once would look like a server with nothing to say.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::SocketType;
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};

use super::ports::connect;

/// What a pipe holds at most: enough that a fast sender is not woken for every packet.
const PIPE: usize = 256 << 10;
/// How many rounds one connection may take before the others have their turn.
const ROUNDS: u32 = 16;
/// Between two tries to reach a program that does not listen yet.
const AGAIN: Duration = Duration::from_millis(10);

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

/// How far the connection to the container is.
#[derive(Debug)]
enum Container {
    /// Begun.
    Asked(TcpStream),
    /// Refused, and to be asked again.
    Later(Instant),
    /// Made.
    Made(TcpStream),
}

/// A client's connection and the one to the container.
#[derive(Debug)]
pub(super) struct Relay {
    client: TcpStream,
    container: Container,
    target: SocketAddr,
    /// Until then a refusal is not the last word.
    patience: Instant,
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
    pub(super) fn new(client: TcpStream, target: SocketAddr, patience: Instant) -> io::Result<Self> {
        client.set_nonblocking(true)?;
        client.set_nodelay(true)?;
        let container = ask(target, patience)?;
        let (up, down) = (Half::new()?, Half::new()?);
        Ok(Self { client, container, target, patience, up, down, broken: false })
    }

    pub(super) fn interests<'fd>(&'fd self, wait: &mut dyn FnMut(BorrowedFd<'fd>, bool, bool)) {
        let made = match &self.container {
            Container::Later(_) => return,
            Container::Asked(asked) => return wait(asked.as_fd(), false, true),
            Container::Made(made) => made,
        };
        let client = (self.up.wants_input(), self.down.filled > 0);
        let container = (self.down.wants_input(), self.up.filled > 0);
        // One that is waited for neither way would report its hang-up again and again.
        if client != (false, false) {
            wait(self.client.as_fd(), client.0, client.1);
        }
        if container != (false, false) {
            wait(made.as_fd(), container.0, container.1);
        }
    }

    pub(super) fn pump(&mut self) {
        let later = Container::Later(Instant::now() + AGAIN);
        self.container = match std::mem::replace(&mut self.container, later) {
            Container::Asked(asked) => match asked.take_error() {
                Ok(None) => Container::Made(asked),
                Ok(Some(error)) if may_wait(&error, self.patience) => return,
                _ => {
                    self.broken = true;
                    return;
                }
            },
            other => other,
        };
        if let Container::Made(made) = &self.container {
            let up = self.up.pump(&self.client, made);
            let down = self.down.pump(made, &self.client);
            self.broken |= up.is_err() || down.is_err();
        }
    }

    /// How long until the container is asked again.
    pub(super) fn timeout(&self) -> Option<Duration> {
        match &self.container {
            Container::Later(at) => Some(at.saturating_duration_since(Instant::now())),
            _ => None,
        }
    }

    /// Asks again when it is time.
    pub(super) fn settle(&mut self) {
        if self.timeout().is_some_and(|left| left.is_zero()) {
            match ask(self.target, self.patience) {
                Ok(container) => self.container = container,
                Err(_) => self.broken = true,
            }
        }
    }

    pub(super) fn over(&self) -> bool {
        self.broken || (self.up.done && self.down.done)
    }
}

fn ask(target: SocketAddr, patience: Instant) -> io::Result<Container> {
    match connect(SocketType::STREAM, target) {
        Ok(socket) => {
            let container = TcpStream::from(socket);
            container.set_nodelay(true)?;
            Ok(Container::Asked(container))
        }
        Err(error) if may_wait(&error, patience) => Ok(Container::Later(Instant::now() + AGAIN)),
        Err(error) => Err(error),
    }
}

/// Nobody listens, but somebody may soon.
fn may_wait(error: &io::Error, patience: Instant) -> bool {
    error.kind() == io::ErrorKind::ConnectionRefused && Instant::now() < patience
}
