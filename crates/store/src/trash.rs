//! Removal that nobody waits for while there is room: a rename now, the deletion in a thread, the rest at the next open.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;

use teu_sys::fs::Root;

use crate::{Error, Result, layout, names};

enum Job {
    Delete(String),
    Answer(Sender<()>),
}

/// So much free room, in bytes, that no removal is waited for.
const PLENTY: u64 = 1 << 30;

/// The trash of a store.
pub(crate) struct Trash {
    dir: PathBuf,
    /// Tells this process's names from those that another left.
    prefix: u64,
    serial: AtomicU64,
    worker: Mutex<Option<Sender<Job>>>,
}

impl Trash {
    /// Opens the trash and begins to empty it.
    pub(crate) fn open(dir: PathBuf) -> Result<Self> {
        let trash = Self { dir, prefix: layout::random()?, serial: AtomicU64::new(0), worker: Mutex::new(None) };
        for name in names::entries(&trash.dir)? {
            trash.send(Job::Delete(name))?;
        }
        Ok(trash)
    }

    /// Takes `path` out of the way at once; `false` when there was nothing. Its room is free soon, and on a disk that is
    /// nearly full when this returns.
    pub(crate) fn discard(&self, path: &Path) -> Result<bool> {
        let name = format!("{:016x}-{}", self.prefix, self.serial.fetch_add(1, Ordering::Relaxed));
        match fs::rename(path, self.dir.join(&name)) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            // On a file system of its own: there is nowhere to put it.
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
                return fs::remove_dir_all(path).map(|()| true).map_err(|error| Error::io(path, error));
            }
            Err(error) => return Err(Error::io(path, error)),
        }
        self.send(Job::Delete(name))?;
        if self.is_room_short() {
            self.settle()?;
        }
        Ok(true)
    }

    /// Waits until all that was discarded so far is gone.
    pub(crate) fn settle(&self) -> Result<()> {
        let (answer, done) = mpsc::channel();
        self.send(Job::Answer(answer))?;
        // An error means that the thread has gone: there is nothing left to wait for.
        let _ = done.recv();
        Ok(())
    }

    /// Whether who removes something is likely to need its room at once: less than a tenth of the disk is free, and less
    /// than [`PLENTY`].
    fn is_room_short(&self) -> bool {
        rustix::fs::statvfs(&self.dir).is_ok_and(|disk| {
            let free = disk.f_bavail.saturating_mul(disk.f_frsize);
            free < PLENTY && disk.f_bavail < disk.f_blocks / 10
        })
    }

    fn send(&self, job: Job) -> Result<()> {
        let mut worker = self.worker.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let sender = match &*worker {
            Some(sender) => sender,
            None => worker.insert(self.start()?),
        };
        // The thread ends only when the sender is dropped.
        let _ = sender.send(job);
        Ok(())
    }

    fn start(&self) -> Result<Sender<Job>> {
        let root = Root::open(&self.dir).map_err(|error| Error::io(&self.dir, error))?;
        let (sender, receiver) = mpsc::channel();
        let thread = thread::Builder::new().name("trash".into()).stack_size(1 << 20);
        thread.spawn(move || work(&root, &receiver)).map_err(|error| Error::io(&self.dir, error))?;
        Ok(sender)
    }
}

fn work(root: &Root, jobs: &Receiver<Job>) {
    for job in jobs {
        match job {
            // What cannot be deleted now (a busy mount) is tried again at the next open.
            Job::Delete(name) => drop(root.remove_all(&name)),
            Job::Answer(answer) => drop(answer.send(())),
        }
    }
}
