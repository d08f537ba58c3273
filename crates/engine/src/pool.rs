//! The pool of supervisors started ahead of need, and the nursery that they come from.
//!
//! A supervisor in the pool lives in `<run>/tasks/.warm-<n>/` until [`Pool::take`] renames the folder; it holds the
//! folder open, so it does not notice. When the daemon dies, those that have no container end by themselves.

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::net::{AddressFamily, SocketFlags, SocketType};
use teu_oci::runtime::Spec;
use teu_supervisor::protocol::Request;
use teu_sys::socket;
use tokio::sync::Notify;

use crate::ahead::Ahead;
use crate::error::{Error, Result};
use crate::task::{Fresh, Task, open_dir};

/// How long after one was taken the pool is filled again.
const BREATH: Duration = Duration::from_millis(20);
/// How many supervisors wait ahead of need.
const WARM: usize = 2;

/// The process that becomes supervisors by being copied; started when it is first needed, and again when it is gone.
pub(crate) struct Nursery {
    program: PathBuf,
    /// Keeps `program` valid.
    _sealed: Option<OwnedFd>,
    /// Named in its command line, so that people see whose it is.
    dir: PathBuf,
    /// A container as most are.
    ordinary: Vec<u8>,
    socket: Mutex<Option<OwnedFd>>,
}

impl Nursery {
    /// A nursery that is `program supervise --nursery dir` and prepares for containers like `ordinary`.
    pub(crate) fn new(program: PathBuf, dir: PathBuf, ordinary: &Spec) -> Self {
        let sealed = crate::host::sealed_program(&program);
        let program = sealed.as_ref().map_or(program, |fd| format!("/proc/self/fd/{}", fd.as_raw_fd()).into());
        let ordinary = serde_json::to_vec(ordinary).unwrap_or_default();
        Self { program, _sealed: sealed, dir, ordinary, socket: Mutex::default() }
    }

    /// Makes a supervisor that listens on `listener` and whose folder is `dir`.
    fn copy(&self, dir: &Path, listener: &UnixListener) -> io::Result<()> {
        let message: Vec<u8> = [b"s", dir.as_os_str().as_bytes()].concat();
        let mut socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(nursery) = socket.as_ref()
            && socket::send(nursery.as_fd(), &message, &[listener.as_fd()]).is_ok()
        {
            return Ok(());
        }
        let nursery = socket.insert(self.start()?);
        socket::send(nursery.as_fd(), &message, &[listener.as_fd()])
    }

    fn start(&self) -> io::Result<OwnedFd> {
        let flags = SocketFlags::CLOEXEC;
        let (ours, theirs) = rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        let mut child = tokio::process::Command::new(&self.program)
            .arg0("teu")
            .args(["supervise", "--nursery"])
            .arg(&self.dir)
            .env_clear()
            // Programs that a supervisor runs (criu) are the daemon's.
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        // Collects the process when it ends while this daemon lives; afterwards init does.
        tokio::spawn(async move { child.wait().await });
        socket::send(ours.as_fd(), &[b"p".as_slice(), &self.ordinary].concat(), &[])?;
        Ok(ours)
    }
}

/// Supervisors that wait for a container. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Pool {
    inner: Arc<PoolInner>,
}

struct PoolInner {
    nursery: Nursery,
    dir: PathBuf,
    /// What else is made ahead of need, at the same moments.
    ahead: Ahead,
    count: AtomicU64,
    ready: Mutex<Vec<Fresh>>,
    wanted: Arc<Notify>,
    /// Held while the pool is being filled; says whether it is closed for good.
    closed: tokio::sync::Mutex<bool>,
}

impl Drop for PoolInner {
    fn drop(&mut self) {
        self.wanted.notify_one();
    }
}

impl Pool {
    /// A pool whose tasks live in `dir`. It stays empty until the first [`Pool::refill`].
    pub(crate) fn new(nursery: Nursery, dir: PathBuf, ahead: Ahead) -> Self {
        let wanted = Arc::new(Notify::new());
        let inner = Arc::new(PoolInner {
            nursery,
            dir,
            ahead,
            count: AtomicU64::new(0),
            ready: Mutex::default(),
            wanted: wanted.clone(),
            closed: tokio::sync::Mutex::new(false),
        });
        let weak = Arc::downgrade(&inner);
        tokio::spawn(async move {
            loop {
                // While nothing is wanted this must not keep the store open.
                wanted.notified().await;
                // Whoever took one is starting a container now; the processors are better left to it.
                tokio::time::sleep(BREATH).await;
                let Some(inner) = weak.upgrade() else { return };
                let pool = Self { inner };
                if let Err(error) = pool.fill().await {
                    tracing::warn!(%error, "cannot start a supervisor ahead of need");
                }
                let ahead = pool.inner.ahead.clone();
                let _ = tokio::task::spawn_blocking(move || ahead.refill()).await;
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
        fresh.task.moved(to);
        Ok(fresh)
    }

    /// Fills the pool up again, and what else is made ahead; called when the one who took is done with its haste.
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
        self.inner.nursery.copy(&dir, &listener).map_err(wrong)?;
        let fresh = Task::connect(&dir).await.map_err(wrong)?;
        // An answer means that it has opened its folder, which may be renamed from then on.
        fresh.task.request(&Request::State).await?;
        Ok(fresh)
    }
}
