//! A task: one supervisor process, reached through its socket; and the pool of supervisors started ahead of need.
//!
//! `<run>/tasks/<id>/` belongs to the supervisor of container (or build step) `<id>`: `socket`, `pid`, `exit.json`.
//! A supervisor in the pool lives in `<run>/tasks/.warm-<n>/` until [`Pool::take`] renames the folder; it holds the
//! folder open, so it does not notice. The engine keeps one control connection to each; when the daemon dies those of
//! the pool end by themselves, and those with a container go on.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use teu_supervisor::protocol::{Event, ExitStatus, Request};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Notify, mpsc, oneshot, watch};

use crate::error::{Error, Result};

/// How long after one was taken the pool is filled again.
const BREATH: Duration = Duration::from_millis(20);
/// How many supervisors wait ahead of need.
const WARM: usize = 2;

/// What a supervisor tells unasked about its container.
#[derive(Debug)]
pub(crate) enum News {
    /// The container's first process ended.
    Exited(ExitStatus),
    /// The supervisor is gone without a word: it was killed.
    Gone,
}

/// A supervisor and the connection to it. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Task {
    inner: Arc<Inner>,
}

struct Inner {
    dir: Mutex<PathBuf>,
    requests: mpsc::UnboundedSender<(Vec<u8>, oneshot::Sender<Event>)>,
    execs: Mutex<HashMap<String, watch::Sender<Option<ExitStatus>>>>,
}

/// A task with its stream of news, as whoever starts it gets it.
pub(crate) struct Fresh {
    pub(crate) task: Task,
    pub(crate) news: mpsc::UnboundedReceiver<News>,
}

impl Task {
    /// Connects to the supervisor that lives in `dir`.
    pub(crate) async fn connect(dir: &Path) -> io::Result<Fresh> {
        let stream = dial(dir).await?;
        let (reader, writer) = stream.into_split();
        let (requests, queue) = mpsc::unbounded_channel();
        let (tell, news) = mpsc::unbounded_channel();
        let inner = Arc::new(Inner { dir: Mutex::new(dir.into()), requests, execs: Mutex::default() });
        let task = Self { inner };
        let (answers, waiting) = mpsc::unbounded_channel();
        tokio::spawn(send(queue, answers, writer));
        tokio::spawn(receive(task.clone(), reader, waiting, tell));
        Ok(Fresh { task, news })
    }

    /// Where the supervisor lives.
    pub(crate) fn dir(&self) -> PathBuf {
        self.inner.dir.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Asks, and waits for the answer.
    pub(crate) async fn request(&self, request: &Request) -> Result<Event> {
        let mut line = serde_json::to_vec(request).map_err(|error| Error::internal(error.to_string()))?;
        line.push(b'\n');
        let (reply, answer) = oneshot::channel();
        let gone = || Error::internal("the container's supervisor is gone");
        self.inner.requests.send((line, reply)).map_err(|_| gone())?;
        answer.await.map_err(|_| gone())
    }

    /// Asks for something whose only good answer is `Done`.
    pub(crate) async fn order(&self, request: &Request) -> Result<()> {
        match self.request(request).await? {
            Event::Done => Ok(()),
            Event::Refused { message } => Err(Error::conflict(message)),
            other => Err(Error::internal(format!("unexpected answer from the supervisor: {other:?}"))),
        }
    }

    /// A raw stream to and from a process of this container.
    pub(crate) async fn attach(
        &self,
        exec: Option<String>,
        stdin: bool,
        stdout: bool,
        stderr: bool,
    ) -> Result<BufReader<UnixStream>> {
        let dir = self.dir();
        let wrong = |error: io::Error| Error::io("attach to the supervisor in", &dir, error);
        let mut stream = BufReader::new(dial(&dir).await.map_err(wrong)?);
        let request = Request::Attach { exec, stdin, stdout, stderr };
        let mut line = serde_json::to_vec(&request).map_err(|error| Error::internal(error.to_string()))?;
        line.push(b'\n');
        stream.get_mut().write_all(&line).await.map_err(wrong)?;
        let mut answer = String::new();
        stream.read_line(&mut answer).await.map_err(wrong)?;
        match serde_json::from_str(&answer) {
            Ok(Event::Attached) => Ok(stream),
            Ok(Event::Refused { message }) => Err(Error::conflict(message)),
            _ => Err(Error::internal("the container's supervisor does not take an attach stream")),
        }
    }

    /// A watch on the end of an exec; register it before the exec is started.
    pub(crate) fn watch_exec(&self, exec: &str) -> watch::Receiver<Option<ExitStatus>> {
        let mut execs = self.inner.execs.lock().unwrap_or_else(PoisonError::into_inner);
        execs.entry(exec.into()).or_insert_with(|| watch::channel(None).0).subscribe()
    }

    /// Gives up a container that was never started.
    pub(crate) async fn discard(&self) {
        let _ = self.request(&Request::Discard).await;
    }

    fn exec_ended(&self, exec: &str, status: ExitStatus) {
        let mut execs = self.inner.execs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(watch) = execs.remove(exec) {
            let _ = watch.send(Some(status));
        }
    }
}

/// Connects to `<dir>/socket` whatever the length of `dir`: a socket's address has room for 108 bytes only.
async fn dial(dir: &Path) -> io::Result<UnixStream> {
    let handle = open_dir(dir)?;
    UnixStream::connect(format!("/proc/self/fd/{}/socket", handle.as_raw_fd())).await
}

fn open_dir(dir: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(dir, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

async fn send(
    mut queue: mpsc::UnboundedReceiver<(Vec<u8>, oneshot::Sender<Event>)>,
    answers: mpsc::UnboundedSender<oneshot::Sender<Event>>,
    mut writer: OwnedWriteHalf,
) {
    while let Some((line, reply)) = queue.recv().await {
        // Answers come in the order of the questions, so the question's place in the queue is all that is kept.
        if answers.send(reply).is_err() || writer.write_all(&line).await.is_err() {
            return;
        }
    }
}

async fn receive(
    task: Task,
    reader: OwnedReadHalf,
    mut waiting: mpsc::UnboundedReceiver<oneshot::Sender<Event>>,
    tell: mpsc::UnboundedSender<News>,
) {
    let mut lines = BufReader::with_capacity(1024, reader).lines();
    // The strong handle would keep the connection open for ever.
    let weak = Arc::downgrade(&task.inner);
    drop(task);
    let mut ended = false;
    while let Ok(Some(line)) = lines.next_line().await {
        match serde_json::from_str(&line) {
            Ok(Event::Exited { exec: None, status }) => {
                ended = true;
                let _ = tell.send(News::Exited(status));
            }
            Ok(Event::Exited { exec: Some(exec), status }) => {
                if let Some(inner) = weak.upgrade() {
                    Task { inner }.exec_ended(&exec, status);
                }
            }
            Ok(answer) => {
                if let Ok(reply) = waiting.try_recv() {
                    let _ = reply.send(answer);
                }
            }
            Err(error) => tracing::warn!(%error, "a supervisor spoke nonsense"),
        }
    }
    if !ended {
        let _ = tell.send(News::Gone);
    }
}

/// Supervisors that wait for a container. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Pool {
    inner: Arc<PoolInner>,
}

struct PoolInner {
    program: PathBuf,
    /// Keeps `program` valid.
    _sealed: Option<OwnedFd>,
    dir: PathBuf,
    count: AtomicU64,
    ready: Mutex<Vec<Fresh>>,
    wanted: Notify,
    /// Held while the pool is being filled; says whether it is closed for good.
    closed: tokio::sync::Mutex<bool>,
}

impl Pool {
    /// A pool whose tasks live in `dir`; `program` is started as `program supervise <task-dir> --warm`. It stays empty
    /// until the first [`Pool::refill`].
    pub(crate) fn new(program: PathBuf, dir: PathBuf) -> Self {
        let sealed = crate::host::sealed_program(&program);
        let program = sealed.as_ref().map_or(program, |fd| format!("/proc/self/fd/{}", fd.as_raw_fd()).into());
        let inner = Arc::new(PoolInner {
            program,
            _sealed: sealed,
            dir,
            count: AtomicU64::new(0),
            ready: Mutex::default(),
            wanted: Notify::new(),
            closed: tokio::sync::Mutex::new(false),
        });
        let weak = Arc::downgrade(&inner);
        tokio::spawn(async move {
            loop {
                let Some(inner) = weak.upgrade() else { return };
                let pool = Self { inner };
                pool.inner.wanted.notified().await;
                // Whoever took one is starting a container now; the processors are better left to it.
                tokio::time::sleep(BREATH).await;
                if let Err(error) = pool.fill().await {
                    tracing::warn!(%error, "cannot start a supervisor ahead of need");
                }
            }
        });
        Self { inner }
    }

    /// The folder of the task `id`.
    pub(crate) fn task_dir(&self, id: &str) -> PathBuf {
        self.inner.dir.join(id)
    }

    /// A supervisor for `id`, from the pool or, when that is empty, a new one.
    pub(crate) async fn take(&self, id: &str) -> Result<Fresh> {
        let ready = self.inner.ready.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let fresh = match ready {
            Some(fresh) => fresh,
            None => self.spawn().await?,
        };
        let (from, to) = (fresh.task.dir(), self.task_dir(id));
        if to.exists() {
            let _ = fs::remove_dir_all(&to);
        }
        fs::rename(&from, &to).map_err(|error| Error::io("name the task", &to, error))?;
        *fresh.task.inner.dir.lock().unwrap_or_else(PoisonError::into_inner) = to;
        Ok(fresh)
    }

    /// Fills the pool up again; called when the one who took is done with its haste.
    pub(crate) fn refill(&self) {
        self.inner.wanted.notify_one();
    }

    /// Lets the waiting supervisors go.
    pub(crate) async fn close(&self) {
        // A supervisor that is being started now would be forgotten.
        *self.inner.closed.lock().await = true;
        let ready = std::mem::take(&mut *self.inner.ready.lock().unwrap_or_else(PoisonError::into_inner));
        for fresh in ready {
            fresh.task.discard().await;
            let _ = fs::remove_dir_all(fresh.task.dir());
        }
    }

    async fn fill(&self) -> Result<()> {
        let closed = self.inner.closed.lock().await;
        while !*closed && self.inner.ready.lock().unwrap_or_else(PoisonError::into_inner).len() < WARM {
            let fresh = self.spawn().await?;
            self.inner.ready.lock().unwrap_or_else(PoisonError::into_inner).push(fresh);
        }
        Ok(())
    }

    async fn spawn(&self) -> Result<Fresh> {
        let number = self.inner.count.fetch_add(1, Ordering::Relaxed);
        let dir = self.inner.dir.join(format!(".warm-{}-{number}", std::process::id()));
        let wrong = |error: io::Error| Error::io("start a supervisor in", &dir, error);
        fs::create_dir(&dir).map_err(wrong)?;
        let handle = open_dir(&dir).map_err(wrong)?;
        let listener = UnixListener::bind(format!("/proc/self/fd/{}/socket", handle.as_raw_fd())).map_err(wrong)?;
        let mut child = tokio::process::Command::new(&self.inner.program)
            .arg0("teu")
            .arg("supervise")
            .arg(&dir)
            .arg("--warm")
            .env_clear()
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::from(OwnedFd::from(listener)))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(wrong)?;
        // Collects the process when it ends while this daemon lives; afterwards init does.
        tokio::spawn(async move { child.wait().await });
        let fresh = Task::connect(&dir).await.map_err(wrong)?;
        // An answer means that it has opened its folder, which may be renamed from then on.
        fresh.task.request(&Request::State).await?;
        Ok(fresh)
    }
}
