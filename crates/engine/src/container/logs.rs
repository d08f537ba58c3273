//! Logs: what a container wrote, read from the files that its supervisor writes.

use bytes::Bytes;
use jiff::Timestamp;
use teu_api::stream::StreamKind;
use teu_supervisor::log::{Query, Reader, Record as Line, Stream};
use tokio::io::unix::AsyncFd;
use tokio::sync::{mpsc, watch};

use super::{Container, Phase, Published};
use crate::error::{Error, Result};

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
}

impl Container {
    /// What it wrote, as Docker's bytes: frames, or raw for a terminal. The channel closes at the end.
    ///
    /// # Errors
    /// When its log is not kept.
    pub async fn logs(&self, options: LogsOptions) -> Result<mpsc::Receiver<Bytes>> {
        let record = self.record();
        if record.host.log_config.kind == "none" {
            return Err(Error::bad("configured logging driver does not support reading"));
        }
        if !options.stdout && !options.stderr {
            return Err(Error::bad("Bad parameters: you must choose at least one stream"));
        }
        let path = self.shared.context.log_path(self.id());
        let time = |nanos: Option<i64>| nanos.and_then(|nanos| Timestamp::from_nanosecond(i128::from(nanos)).ok());
        let query = Query { tail: options.tail, since: time(options.since), until: time(options.until) };
        let reader = Reader::open(&path, &query).map_err(|error| Error::io("read", &path, error))?;
        let (send, receive) = mpsc::channel(16);
        let source = Source { reader, options, tty: record.config.tty, send };
        let published = self.shared.published.subscribe();
        tokio::spawn(async move {
            if let Err(error) = source.run(published).await {
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
    async fn run(mut self, mut published: watch::Receiver<Published>) -> std::io::Result<()> {
        if !self.options.follow {
            self.drain().await?;
            return Ok(());
        }
        #[expect(deprecated, reason = "the descriptor is owned by what is handed over")]
        let changes = AsyncFd::new(self.reader.changes()?)?;
        loop {
            // Asked before the drain: what was written before the end is then certainly read.
            let ended = over(&published.borrow_and_update());
            if !self.drain().await? || self.reader.finished() || ended {
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

    /// Sends all there is; `false` when nobody listens any more.
    async fn drain(&mut self) -> std::io::Result<bool> {
        const BATCH: usize = 32 << 10;
        let mut batch = Vec::with_capacity(BATCH + 4096);
        while let Some(line) = self.reader.next()? {
            self.render(&line, &mut batch);
            if batch.len() >= BATCH && self.send.send(Bytes::from(std::mem::take(&mut batch))).await.is_err() {
                return Ok(false);
            }
        }
        Ok(batch.is_empty() || self.send.send(Bytes::from(batch)).await.is_ok())
    }

    fn render(&self, line: &Line, batch: &mut Vec<u8>) {
        let (wanted, kind) = match line.stream {
            Stream::Stdout => (self.options.stdout, StreamKind::Stdout),
            Stream::Stderr => (self.options.stderr, StreamKind::Stderr),
        };
        if !wanted {
            return;
        }
        let stamp = if self.options.timestamps { format!("{:.9} ", line.time) } else { String::new() };
        if !self.tty {
            let length = u32::try_from(stamp.len() + line.bytes.len()).unwrap_or(u32::MAX);
            batch.extend_from_slice(&kind.header(length));
        }
        batch.extend_from_slice(stamp.as_bytes());
        batch.extend_from_slice(&line.bytes);
    }
}

fn over(published: &Published) -> bool {
    published.gone || !matches!(published.record.state.phase, Phase::Running | Phase::Paused | Phase::Restarting)
}
