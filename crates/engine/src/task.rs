//! A task: one supervisor process, reached through its socket.
//!
//! `<run>/tasks/<id>/` belongs to the supervisor of container (or build step) `<id>`: `socket`, `pid`, `exit.json`. The
//! engine keeps one control connection to each; when the daemon dies, those with a container go on.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use teu_supervisor::protocol::{CreateRequest, Event, ExecRequest, ExitStatus, Request, Wanted};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot, watch};

use crate::error::{Error, Result};
use crate::rescue;

/// How long who is not taken yet waits until the next try.
const CROWDED: Duration = Duration::from_millis(1);

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
    /// Who waits for the news of the container's network namespace.
    network: Mutex<Option<oneshot::Sender<PathBuf>>>,
}

impl Inner {
    fn herald(&self) -> Option<oneshot::Sender<PathBuf>> {
        self.network.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
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
        let (execs, network) = Default::default();
        let inner = Arc::new(Inner { dir: Mutex::new(dir.into()), requests, execs, network });
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

    /// Says where the supervisor's folder is now.
    pub(crate) fn moved(&self, dir: PathBuf) {
        *self.inner.dir.lock().unwrap_or_else(PoisonError::into_inner) = dir;
    }

    /// Asks, and waits for the answer.
    pub(crate) async fn request(&self, request: &Request) -> Result<Event> {
        let mut line = serde_json::to_vec(request).map_err(|error| Error::internal(error.to_string()))?;
        line.push(b'\n');
        let (reply, answer) = oneshot::channel();
        let gone = || Error::internal("the container's supervisor is gone");
        self.inner.requests.send((line, reply)).map_err(|_| gone())?;
        self.patiently(answer).await.map_err(|_| gone())
    }

    /// Waits for what the supervisor has to say, and now and then frees it from what holds it.
    async fn patiently<T>(&self, answer: impl Future<Output = T>) -> T {
        let mut answer = std::pin::pin!(answer);
        loop {
            if let Ok(answer) = tokio::time::timeout(rescue::PATIENCE, &mut answer).await {
                return answer;
            }
            let dir = self.dir();
            let _ = tokio::task::spawn_blocking(move || rescue::rescue(&dir)).await;
        }
    }

    /// The same of a container that runs. A supervisor goes when its container has ended: then there is nothing left to do
    /// it to.
    pub(crate) async fn ask(&self, request: &Request) -> Result<Event> {
        let ended = |_| Error::conflict("the container is not running: it has ended meanwhile");
        self.request(request).await.map_err(ended)
    }

    /// Has the container made. Where it is known before it is made which network namespace it will have, its path is told
    /// first; otherwise that channel is closed with the answer.
    pub(crate) fn create(
        &self,
        request: CreateRequest,
    ) -> (impl Future<Output = Result<Event>> + '_, oneshot::Receiver<PathBuf>) {
        let (tell, network) = oneshot::channel();
        *self.inner.network.lock().unwrap_or_else(PoisonError::into_inner) = Some(tell);
        let create = async move {
            let answer = self.request(&Request::Create(Box::new(request))).await;
            // Whether or not there was one: nobody waits for the news any longer.
            drop(self.inner.herald());
            answer
        };
        (create, network)
    }

    /// Asks for something whose only good answer is `Done`.
    pub(crate) async fn order(&self, request: &Request) -> Result<()> {
        done(self.ask(request).await?)
    }

    /// A raw stream to and from the container's first process.
    pub(crate) async fn attach(&self, wanted: Wanted) -> Result<BufReader<UnixStream>> {
        match self.converse("attach to the supervisor in", &Request::Attach(wanted)).await? {
            (Event::Attached, stream) => Ok(stream),
            (Event::Refused { message }, _) => Err(Error::conflict(message)),
            _ => Err(Error::internal("the container's supervisor does not take an attach stream")),
        }
    }

    /// Runs an exec on a connection that becomes its streams when the answer is `Started`.
    pub(crate) async fn enter(&self, request: ExecRequest) -> Result<(Event, BufReader<UnixStream>)> {
        self.converse("run the exec by the supervisor in", &Request::Exec(Box::new(request))).await
    }

    /// Executes the container's program on a connection that becomes its streams when the answer is `Started`.
    pub(crate) async fn start_attached(&self, wanted: Wanted) -> Result<(Event, BufReader<UnixStream>)> {
        self.converse("start the container by the supervisor in", &Request::StartAttached(wanted)).await
    }

    /// Asks on a connection of its own.
    async fn converse(&self, what: &str, request: &Request) -> Result<(Event, BufReader<UnixStream>)> {
        let dir = self.dir();
        self.patiently(ask(&dir, request)).await.map_err(|error| Error::io(what, &dir, error))
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

/// Whether the answer is the good one of an order.
pub(crate) fn done(answer: Event) -> Result<()> {
    match answer {
        Event::Done => Ok(()),
        Event::Refused { message } => Err(Error::conflict(message)),
        other => Err(Error::internal(format!("unexpected answer from the supervisor: {other:?}"))),
    }
}

/// Connects to `<dir>/socket` whatever the length of `dir`: a socket's address has room for 108 bytes only.
async fn dial(dir: &Path) -> io::Result<UnixStream> {
    let handle = open_dir(dir)?;
    let address = SocketAddrUnix::new(format!("/proc/self/fd/{}/socket", handle.as_raw_fd()))?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    // A local connection is there at once, connect(2), or the supervisor has not yet taken as many as may wait.
    while let Err(error) = rustix::net::connect(&socket, &address) {
        match error {
            Errno::AGAIN => tokio::time::sleep(CROWDED).await,
            Errno::INTR => {}
            error => return Err(error.into()),
        }
    }
    UnixStream::from_std(socket.into())
}

/// Asks the supervisor that lives in `dir` on a connection of its own, and reads the one answer.
async fn ask(dir: &Path, request: &Request) -> io::Result<(Event, BufReader<UnixStream>)> {
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    let stream = dial(dir).await?;
    // It need not be waited for: what is there is there when the supervisor takes the connection.
    let written = rustix::io::retry_on_intr(|| rustix::io::write(&stream, &line)).unwrap_or(0);
    let mut stream = BufReader::new(stream);
    stream.get_mut().write_all(&line[written..]).await?;
    let mut answer = String::new();
    stream.read_line(&mut answer).await?;
    Ok((serde_json::from_str(&answer)?, stream))
}

pub(crate) fn open_dir(dir: &Path) -> io::Result<OwnedFd> {
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
            Ok(Event::Network { pid, fd }) => {
                if let Some(waiting) = weak.upgrade().and_then(|inner| inner.herald()) {
                    let _ = waiting.send(format!("/proc/{pid}/fd/{fd}").into());
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
