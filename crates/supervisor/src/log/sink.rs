//! The log of one container, with everything that it goes to.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use teu_sys::poll::Interests;

use super::Stream;
use super::json_writer::{JsonWriter, render};
use super::lines::Lines;
use super::local_writer::LocalWriter;
use super::remote::Remote;
use crate::protocol::{LogConfig, LogFile, LogFormat};

/// How long the last messages of a container that has ended are tried to be sent.
const FAREWELL: Duration = Duration::from_secs(2);

/// The log of one container.
#[derive(Debug)]
pub struct Log {
    lines: [Lines; 2],
    file: Option<Writer>,
    remote: Option<Remote>,
}

#[derive(Debug)]
enum Writer {
    Json(JsonWriter),
    Local(LocalWriter),
}

impl Writer {
    fn open(config: &LogFile) -> io::Result<Writer> {
        Ok(match config.format {
            LogFormat::JsonFile => Writer::Json(JsonWriter::open(config)?),
            LogFormat::Local => Writer::Local(LocalWriter::open(config)?),
        })
    }
}

impl Log {
    /// Opens the log, at the end of what is there; none when `config` keeps nothing and sends nothing.
    ///
    /// # Errors
    /// As open(2).
    pub fn open(config: &LogConfig) -> io::Result<Option<Log>> {
        let file = config.file.as_ref().map(Writer::open).transpose()?;
        let remote = Remote::new(config);
        Ok((file.is_some() || remote.is_some()).then(|| Log { lines: Default::default(), file, remote }))
    }

    /// Takes what was read from `stream`: whole lines are written, the beginning of one is kept for later.
    pub fn append(&mut self, stream: Stream, bytes: &[u8], time: Timestamp) {
        let Log { lines, file, remote } = self;
        let mut write = Write::new(file, remote, stream, time);
        lines[stream as usize].feed(bytes, &mut |block| write.block(block));
        self.flush();
    }

    /// Writes what was kept of `stream`: it has ended without a newline.
    pub fn end(&mut self, stream: Stream, time: Timestamp) {
        let Log { lines, file, remote } = self;
        let mut write = Write::new(file, remote, stream, time);
        lines[stream as usize].end(&mut |block| write.block(block));
        self.flush();
    }

    fn flush(&mut self) {
        if let Some(Writer::Json(json)) = &mut self.file {
            json.flush();
        }
        if let Some(remote) = &mut self.remote {
            remote.link.flush();
        }
    }

    /// Nothing more comes for a while: lets go of memory.
    pub fn rest(&mut self) {
        if let Some(Writer::Json(json)) = &mut self.file {
            json.rest();
        }
    }

    /// So much waits to be sent that the container should wait too.
    pub fn full(&self) -> bool {
        self.remote.as_ref().is_some_and(|remote| remote.blocking && remote.link.full())
    }

    /// The descriptor to wait on, and whether for room to send; [`Log::hear`] when something happened on it.
    pub fn interest(&self) -> Option<(BorrowedFd<'_>, bool)> {
        self.remote.as_ref().and_then(|remote| remote.link.interest())
    }

    /// How long until [`Log::hear`] has something to do even if nothing happens.
    pub fn timeout(&self) -> Option<Duration> {
        self.remote.as_ref().and_then(|remote| remote.link.timeout())
    }

    /// Something happened on the descriptor, or the time has come.
    pub fn hear(&mut self, buffer: &mut [u8]) {
        if let Some(remote) = &mut self.remote {
            remote.link.hear(buffer);
        }
    }

    /// The container has ended and has been reported: what is left goes now, or never.
    pub fn farewell(mut self) {
        let deadline = Instant::now() + FAREWELL;
        while let Some(remote) = self.remote.as_mut().filter(|remote| !remote.link.idle()) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let mut interests = Interests::new();
            if let Some((fd, writable)) = remote.link.interest() {
                interests.add(fd, true, writable);
            }
            let timeout = remote.link.timeout().map_or(left, |timeout| timeout.min(left));
            if interests.wait(Some(timeout)).is_err() {
                return;
            }
            remote.link.hear(&mut [0; 256]);
        }
    }
}

/// What is done with each block of one reading.
struct Write<'l> {
    file: &'l mut Option<Writer>,
    remote: &'l mut Option<Remote>,
    stream: Stream,
    time: Timestamp,
    rendered: String,
}

impl<'l> Write<'l> {
    fn new(file: &'l mut Option<Writer>, remote: &'l mut Option<Remote>, stream: Stream, time: Timestamp) -> Write<'l> {
        let rendered = if matches!(file, Some(Writer::Json(_))) { render(time) } else { String::new() };
        Write { file, remote, stream, time, rendered }
    }

    fn block(&mut self, block: &[u8]) {
        match self.file {
            Some(Writer::Json(json)) => json.block(self.stream, block, &self.rendered),
            Some(Writer::Local(local)) => local.block(self.stream, block, self.time),
            None => {}
        }
        if let Some(remote) = self.remote {
            remote.block(self.stream, block, self.time);
        }
    }
}
