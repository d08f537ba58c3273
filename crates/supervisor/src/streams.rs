//! A process' three descriptors, seen from outside: what goes in and what comes out.
//!
//! Without a terminal they are three pipes; with one, a single descriptor is both ways. All are non-blocking on this
//! side (the other side has its own open file description and blocks as programs expect).

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::pipe::PipeFlags;
use teu_runtime::Stdio;

use crate::log::Stream;

/// Reads after which an ended process' output is taken for endless: more than the largest pipe or terminal holds.
const MAX_LEFTOVER: u32 = 64;

/// What one read gave.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Read {
    /// This many bytes.
    Bytes(usize),
    /// Nothing now.
    Later,
    /// Nothing ever again.
    End,
}

/// One of a process' outputs.
#[derive(Debug)]
pub(crate) struct Output {
    fd: OwnedFd,
    pub(crate) stream: Stream,
    /// How many reads are left once the process has ended.
    leftover: u32,
}

impl Output {
    fn new(fd: OwnedFd, stream: Stream) -> Output {
        Output { fd, stream, leftover: MAX_LEFTOVER }
    }

    /// Reads what an ended process has left behind: to the end, or until nothing is there, or until it is clear that
    /// somebody else goes on writing.
    pub(crate) fn read_leftover(&mut self, buffer: &mut [u8]) -> Read {
        self.leftover = self.leftover.saturating_sub(1);
        match self.read(buffer) {
            Read::Bytes(n) if self.leftover > 0 => Read::Bytes(n),
            _ => Read::End,
        }
    }

    pub(crate) fn read(&self, buffer: &mut [u8]) -> Read {
        loop {
            match rustix::io::read(&self.fd, &mut *buffer) {
                Ok(0) => return Read::End,
                Ok(n) => return Read::Bytes(n),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Read::Later,
                // EIO is how a terminal says that nobody has its other side open any more.
                Err(_) => return Read::End,
            }
        }
    }
}

impl AsFd for Output {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// A process' input, and what is on its way there.
#[derive(Debug, Default)]
pub(crate) struct Input {
    fd: Option<OwnedFd>,
    terminal: bool,
    pending: Vec<u8>,
    /// Close when `pending` has gone.
    ending: bool,
}

impl Input {
    /// More may be pushed: nothing is on its way. A closed input takes everything, and drops it.
    pub(crate) fn idle(&self) -> bool {
        self.pending.is_empty()
    }

    /// The descriptor to wait for room on, when something is on its way.
    pub(crate) fn waiting(&self) -> Option<BorrowedFd<'_>> {
        self.fd.as_ref().filter(|_| !self.pending.is_empty()).map(AsFd::as_fd)
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        if self.fd.is_some() && !self.ending {
            self.pending.extend(bytes);
            self.flush();
        }
    }

    /// No more comes: the process reads its end of file after what is on its way. A terminal has no such end.
    pub(crate) fn end(&mut self) {
        if !self.terminal {
            self.ending = true;
            self.flush();
        }
    }

    /// Writes what there is room for.
    pub(crate) fn flush(&mut self) {
        let mut written = 0;
        while let Some(fd) = &self.fd
            && written < self.pending.len()
        {
            match rustix::io::write(fd, &self.pending[written..]) {
                Ok(n) => written += n,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(_) => self.fd = None,
            }
        }
        self.pending.drain(..written);
        if self.fd.is_none() || self.pending.is_empty() {
            self.pending = Vec::new();
        }
        if self.ending && self.pending.is_empty() {
            self.fd = None;
        }
    }
}

/// All of a process' streams.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    pub(crate) input: Input,
    pub(crate) outputs: Vec<Output>,
    terminal: Option<OwnedFd>,
}

impl Streams {
    /// Three pipes and the process' sides of them. Without `stdin` its input is at its end from the start.
    ///
    /// The process may open its own descriptors again by name (`/dev/stdout`), so they belong to its user.
    pub(crate) fn pipes(stdin: bool, uid: u32, gid: u32) -> io::Result<(Streams, Stdio)> {
        let (stdout, stdout_inside) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
        let (stderr, stderr_inside) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
        let mut input = Input::default();
        let stdin_inside = if stdin {
            let (inside, outside) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
            own(&inside, uid, gid)?;
            input.fd = Some(non_blocking(outside)?);
            inside
        } else {
            rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?
        };
        own(&stdout_inside, uid, gid)?;
        own(&stderr_inside, uid, gid)?;
        let outputs = vec![
            Output::new(non_blocking(stdout)?, Stream::Stdout),
            Output::new(non_blocking(stderr)?, Stream::Stderr),
        ];
        let stdio = Stdio { stdin: stdin_inside, stdout: stdout_inside, stderr: stderr_inside };
        Ok((Streams { input, outputs, terminal: None }, stdio))
    }

    /// The master side of a terminal, both ways.
    pub(crate) fn terminal(master: OwnedFd) -> io::Result<Streams> {
        let master = non_blocking(master)?;
        let input = Input { fd: Some(master.try_clone()?), terminal: true, ..Input::default() };
        let outputs = vec![Output::new(master.try_clone()?, Stream::Stdout)];
        Ok(Streams { input, outputs, terminal: Some(master) })
    }

    /// Attached clients get raw bytes instead of frames.
    pub(crate) fn is_terminal(&self) -> bool {
        self.terminal.is_some()
    }

    pub(crate) fn resize(&self, rows: u16, cols: u16) -> io::Result<()> {
        match &self.terminal {
            Some(master) => teu_sys::pty::set_size(master, rows, cols),
            None => Err(Errno::NOTTY.into()),
        }
    }

    /// Lets go of everything.
    pub(crate) fn close(&mut self) {
        let terminal = self.terminal.take();
        *self = Streams::default();
        self.terminal = terminal;
    }
}

fn own(fd: &OwnedFd, uid: u32, gid: u32) -> io::Result<()> {
    use rustix::fs::{Gid, Uid};
    if uid == 0 && gid == 0 {
        return Ok(());
    }
    Ok(rustix::fs::fchown(fd, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?)
}

fn non_blocking(fd: OwnedFd) -> io::Result<OwnedFd> {
    let flags = rustix::fs::fcntl_getfl(&fd)?;
    rustix::fs::fcntl_setfl(&fd, flags | OFlags::NONBLOCK)?;
    Ok(fd)
}
