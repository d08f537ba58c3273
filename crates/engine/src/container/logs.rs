//! Logs: what a container wrote, read from the files that its supervisor writes.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use bytes::Bytes;
use jiff::Timestamp;
use teu_api::stream::StreamKind;
use teu_supervisor::log::{Line, Query, Reader, Stream};
use teu_supervisor::protocol::LogFormat;
use teu_sys::poll::Changes;
use tokio::io::unix::AsyncFd;
use tokio::sync::{mpsc, watch};

use super::{Container, Phase, Published, logging};
use crate::error::{Error, Kind, Result};

/// Bytes that are sent at once.
const BATCH: usize = 64 << 10;
/// After so many pieces a follower looks whether there are new files.
const LOOKS: usize = 16;

/// What of the log is wanted.
#[derive(Clone, Copy, Debug, Default)]
pub struct LogsOptions {
    /// Go on with what comes.
    pub follow: bool,
    /// The standard output.
    pub stdout: bool,
    /// The standard error.
    pub stderr: bool,
    /// None older, nanoseconds since the epoch.
    pub since: Option<i64>,
    /// None newer, nanoseconds since the epoch.
    pub until: Option<i64>,
    /// Only so many, counted from the end.
    pub tail: Option<usize>,
    /// Each line begins with its time.
    pub timestamps: bool,
    /// Each line has what the log's options add to it.
    pub details: bool,
}

impl Container {
    /// What it wrote, as Docker's bytes: frames, or raw for a terminal. The channel closes at the end.
    ///
    /// # Errors
    /// When its log is not kept.
    pub async fn logs(&self, options: LogsOptions) -> Result<mpsc::Receiver<Bytes>> {
        let record = self.record();
        let Some(format) = logging::kept(&record.host.log_config) else {
            let message = "configured logging driver does not support reading";
            return Err(Error::new(Kind::NotImplemented, message));
        };
        if !options.stdout && !options.stderr {
            return Err(Error::bad("Bad parameters: you must choose at least one stream"));
        }
        if record.state.phase == Phase::Removing {
            let message = "can not get logs from container which is dead or marked for removal";
            return Err(Error::conflict(message));
        }
        let context = &self.shared.context;
        let path = match format {
            LogFormat::JsonFile => context.log_path(self.id()),
            LogFormat::Local => context.log_dir(self.id()),
        };
        let time = |nanos: Option<i64>| nanos.and_then(|nanos| Timestamp::from_nanosecond(i128::from(nanos)).ok());
        let query = Query { tail: options.tail, since: time(options.since), until: time(options.until) };
        let reader = Reader::open(format, &path, &query).map_err(|error| Error::io("read", &path, error))?;
        let (send, receive) = mpsc::channel(16);
        let source = Source { reader, options, tty: record.config.tty, send };
        let published = self.shared.published.subscribe();
        let exits = record.state.exits;
        tokio::spawn(async move {
            if let Err(error) = source.run(published, exits).await {
                tracing::warn!(%error, log = %path.display(), "read a log");
            }
        });
        Ok(receive)
    }
}

struct Source {
    reader: Reader,
    options: LogsOptions,
    tty: bool,
    send: mpsc::Sender<Bytes>,
}

impl Source {
    async fn run(mut self, mut published: watch::Receiver<Published>, exits: u64) -> std::io::Result<()> {
        if !self.options.follow {
            self.drain(None).await?;
            return Ok(());
        }
        #[expect(deprecated, reason = "the descriptor is owned by what is handed over")]
        let changes = AsyncFd::new(self.reader.changes()?)?;
        loop {
            // Asked before the drain: what was written before the end is then certainly read.
            let ended = over(&published.borrow_and_update(), exits);
            if !self.drain(Some(&changes)).await? || self.reader.finished() || ended {
                return Ok(());
            }
            tokio::select! {
                ready = changes.readable() => {
                    ready?.clear_ready();
                    changes.get_ref().take(|_| true)?;
                }
                changed = published.changed() => {
                    if changed.is_err() {
                        return Ok(());
                    }
                }
                () = self.send.closed() => return Ok(()),
            }
        }
    }

    /// Sends all there is; `false` when nobody listens any more. Whoever follows keeps up with the files meanwhile.
    async fn drain(&mut self, changes: Option<&AsyncFd<Changes>>) -> std::io::Result<bool> {
        for batches in 0_usize.. {
            if changes.is_some() && batches.is_multiple_of(LOOKS) {
                self.reader.keep_up()?;
            }
            let mut batch = Vec::with_capacity(BATCH + (17 << 10));
            let mut more = true;
            while more && batch.len() < BATCH {
                more = self.reader.advance()?;
                if more {
                    render(&self.options, self.tty, &self.reader.line(), &mut batch);
                }
            }
            if !batch.is_empty() && !self.deliver(batch, changes).await? {
                return Ok(false);
            }
            if !more {
                break;
            }
        }
        Ok(true)
    }

    /// Sends a piece; `false` when nobody listens any more.
    async fn deliver(&mut self, batch: Vec<u8>, changes: Option<&AsyncFd<Changes>>) -> std::io::Result<bool> {
        let Some(changes) = changes else { return Ok(self.send.send(Bytes::from(batch)).await.is_ok()) };
        loop {
            tokio::select! {
                biased;
                room = self.send.reserve() => {
                    return Ok(room.map(|room| room.send(Bytes::from(batch))).is_ok());
                }
                ready = changes.readable() => {
                    ready?.clear_ready();
                    changes.get_ref().take(|_| true)?;
                    self.reader.keep_up()?;
                }
            }
        }
    }
}

/// Appends a line as Docker's bytes, if it is wanted.
fn render(options: &LogsOptions, tty: bool, line: &Line<'_>, batch: &mut Vec<u8>) {
    let (wanted, kind) = match line.stream {
        Stream::Stdout => (options.stdout, StreamKind::Stdout),
        Stream::Stderr => (options.stderr, StreamKind::Stderr),
    };
    if !wanted {
        return;
    }
    let mut prefix = String::new();
    if options.timestamps {
        let _ = write!(prefix, "{:.9} ", line.time);
    }
    if options.details {
        prefix.push_str(&attributes(line.attributes));
        prefix.push(' ');
    }
    if !tty {
        let length = u32::try_from(prefix.len() + line.bytes.len()).unwrap_or(u32::MAX);
        batch.extend_from_slice(&kind.header(length));
    }
    batch.extend_from_slice(prefix.as_bytes());
    batch.extend_from_slice(line.bytes);
}

/// `a=1,b=2`, escaped as in a query.
fn attributes(all: Option<&BTreeMap<String, String>>) -> String {
    let pair = |(key, value): (&String, &String)| format!("{}={}", escape(key), escape(value));
    all.into_iter().flatten().map(pair).collect::<Vec<_>>().join(",")
}

/// Go's `url.QueryEscape`.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => escaped.push(char::from(byte)),
            b' ' => escaped.push('+'),
            _ => {
                let _ = write!(escaped, "%{byte:02X}");
            }
        }
    }
    escaped
}

/// Whether the run that was followed has ended; another one may have begun since.
fn over(published: &Published, exits: u64) -> bool {
    let state = &published.record.state;
    published.gone || state.exits != exits || !matches!(state.phase, Phase::Running | Phase::Paused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_preceded_by_its_time_and_its_details() {
        let all = BTreeMap::from([("a b".to_owned(), "1&2".to_owned()), ("c".to_owned(), "é".to_owned())]);
        let time = "2026-01-02T03:04:05.1Z".parse().expect("time");
        let line = Line { stream: Stream::Stderr, time, bytes: b"x\n", attributes: Some(&all) };
        let options = LogsOptions { stderr: true, timestamps: true, details: true, ..LogsOptions::default() };
        let mut batch = Vec::new();
        render(&options, true, &line, &mut batch);
        let expected = "2026-01-02T03:04:05.100000000Z a+b=1%262,c=%C3%A9 x\n";
        assert_eq!(String::from_utf8_lossy(&batch), expected);
        batch.clear();
        render(&LogsOptions { stdout: true, ..options }, false, &line, &mut batch);
        assert_eq!(batch[..8], [2, 0, 0, 0, 0, 0, 0, u8::try_from(expected.len()).expect("short")]);
        batch.clear();
        render(&LogsOptions { stdout: true, stderr: false, ..options }, false, &line, &mut batch);
        assert!(batch.is_empty());
    }
}
