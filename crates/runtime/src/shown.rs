//! A container whose configuration lists no mount namespace: it is in the runtime's, as the runtime spec has it
//! ("Namespaces": a type that is not listed is inherited).
//!
//! Its tree is built like any other, in a mount namespace where only init is. When it is whole, a copy of it is shown
//! in the runtime's at the root's own path, and init goes back there and makes it its root by chroot(2). So what comes to
//! nothing while it is made has never been seen, and the runtime's other mounts are as they were, their propagation too.
//!
//! ```text
//!  parent                                   init
//!             ◀────────── Whole(a copy of the tree)
//!  Supplied(the runtime's mount namespace), Supplied(the lower mount) ───▶
//!  attaches both
//!  Go ──────────────────────▶ goes back, chroot
//! ```
//!
//! There are two mounts. The lower one is the root's directory over itself, and private, because the place may be one
//! whose mounts appear in other namespaces: what lies on a private mount does not, and keeps the propagation that the
//! configuration asks for. Whoever made the container takes both off when it is deleted, and what has been mounted on them
//! with them; init does when its parent is gone before the container has been written down.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{CWD, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use teu_sys::mount::{self, Change, Entry, Propagation};
use teu_sys::namespace;

use crate::Error;
use crate::error::During;
use crate::sync::{self, Order, Report};

const SHOW: &str = "show the container's tree";
/// How often somebody else may be at the same place at the same moment.
const ATTEMPTS: usize = 100;
const PAUSE: Duration = Duration::from_millis(10);

/// The mounts of a container in the runtime's mount namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    /// Where they were attached, without links.
    place: PathBuf,
    /// The machine's boot and the mount namespace that they are in.
    boot: String,
    namespace: (u64, u64),
    /// The lower one first.
    mounts: Vec<Mark>,
}

/// By what a mount is known again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Mark {
    /// Another may have it when this one is gone.
    id: u64,
    /// No other one has it, where the kernel has such ids.
    unique: Option<u64>,
    /// The device of its file system.
    device: String,
}

impl Mark {
    fn of(mount: impl AsFd, table: &[u8]) -> io::Result<Mark> {
        let id = mount::mount_id(&mount, "")?;
        let entry = mount::table(table).find(|entry| entry.id == id).ok_or(Errno::NOENT)?;
        let device = String::from_utf8_lossy(entry.device).into_owned();
        Ok(Mark { id, unique: mount::unique_mount_id(&mount)?, device })
    }

    fn is(&self, entry: &Entry<'_>) -> bool {
        self.id == entry.id && self.device.as_bytes() == entry.device
    }
}

/// Refuses a root that cannot be shown.
pub(crate) fn check(root: &Path) -> Result<(), Error> {
    let real = std::fs::canonicalize(root).during_with(|| format!("{SHOW} at {}", root.display()))?;
    if real == Path::new("/") {
        return Err(Error::refused(format!(
            "{SHOW} at /: the runtime's own root is in the mount namespace it would be in"
        )));
    }
    let table = std::fs::read("/proc/thread-self/mountinfo").during("read the mount table")?;
    match places(&table).into_iter().find(|place| real.starts_with(place) || place.starts_with(&real)) {
        None => Ok(()),
        Some(place) => Err(Error::refused(format!(
            "{SHOW} at {}: that of another container without a mount namespace is at {}, which is to be deleted first",
            real.display(),
            place.display()
        ))),
    }
}

/// Where a mount table has a directory over itself twice: where trees are shown.
pub(crate) fn places(table: &[u8]) -> Vec<PathBuf> {
    let entries: Vec<_> = mount::table(table).collect();
    let is_upper = |entry: &&Entry<'_>| entries.iter().any(|lower| entry.repeats(lower));
    entries.iter().filter(is_upper).map(Entry::place).collect()
}

impl Shown {
    /// Shows a tree in the caller's mount namespace, over the directory `place`, once its owner has what it takes to go
    /// there and to take it off.
    pub(crate) fn show(tree: &OwnedFd, place: &Path, socket: BorrowedFd<'_>) -> Result<Shown, Error> {
        let during = || format!("{SHOW} at {}", place.display());
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let target = rustix::fs::open(place, flags, Mode::empty()).during_with(during)?;
        // Whoever shows something at this place now has the same directory open, by whatever mount.
        lock(&target).during_with(during)?;
        check(place)?;
        let real = std::fs::read_link(format!("/proc/self/fd/{}", target.as_raw_fd())).during_with(during)?;
        let lower = mount::clone_at(&target, false).during_with(during)?;
        let own = File::open("/proc/thread-self/ns/mnt").during_with(during)?;
        let about = own.metadata().during_with(during)?;
        for fd in [own.into(), lower.try_clone().during_with(during)?] {
            sync::order(socket, &Order::Supplied(fd)).during_with(during)?;
        }
        mount::attach(&lower, &target).during_with(during)?;
        let attach = || -> io::Result<Vec<Mark>> {
            let private = Change { propagation: Some(Propagation::Private), ..Change::default() };
            mount::set_attributes(&lower, false, private)?;
            mount::attach(tree, &lower)?;
            let table = std::fs::read("/proc/thread-self/mountinfo")?;
            Ok(vec![Mark::of(&lower, &table)?, Mark::of(tree, &table)?])
        };
        let mounts = attach().inspect_err(|_| take_both_off(&lower)).during_with(during)?;
        let boot = boot().during_with(during)?;
        Ok(Shown { place: real, boot, namespace: (about.dev(), about.ino()), mounts })
    }

    /// Takes off what is still there of it, in whatever mount namespace the caller is, and what has been mounted on it.
    ///
    /// # Errors
    /// When a mount above it hides it, which is then not touched, and what the kernel says.
    pub fn take_off(&self) -> Result<(), Error> {
        let during = || format!("take the container's tree off {}", self.place.display());
        if boot().during_with(during)? != self.boot {
            return Ok(());
        }
        let there =
            |path: &Path| std::fs::metadata(path).is_ok_and(|about| (about.dev(), about.ino()) == self.namespace);
        if there(Path::new("/proc/thread-self/ns/mnt")) {
            return self.take_off_here(&Tables::own().during_with(during)?);
        }
        let processes = std::fs::read_dir("/proc").during_with(during)?;
        let mut namespaces = processes.flatten().map(|process| process.path().join("ns/mnt"));
        // A namespace that nobody is in any more is gone, and its mounts with it.
        let Some(path) = namespaces.find(|path| there(path)) else { return Ok(()) };
        let namespace = File::open(path).during_with(during)?;
        let visit = || -> Result<(), Error> {
            let tables = Tables::own().during_with(during)?;
            namespace::leave_files().during_with(during)?;
            namespace::enter(&namespace, namespace::MOUNT).during_with(during)?;
            self.take_off_here(&tables)
        };
        let broken = || Err(Error::refused(format!("{}: the visiting thread ended early", during())));
        std::thread::scope(|scope| scope.spawn(visit).join().unwrap_or_else(|_| broken()))
    }

    fn take_off_here(&self, tables: &Tables) -> Result<(), Error> {
        let during = || format!("take the container's tree off {}", self.place.display());
        let hidden = "it is hidden by something that is mounted above it, which has to be taken off first";
        for mark in self.mounts.iter().rev() {
            let gone = (0..ATTEMPTS).find_map(|_| match mark.take_off(tables) {
                Ok(true) => Some(Ok(())),
                Ok(false) => None,
                Err(error) => Some(Err(error)),
            });
            let hidden = || Err(Error::refused(format!("{}: {hidden}", during())));
            gone.map_or_else(hidden, |gone| gone.during_with(during))?;
        }
        Ok(())
    }
}

impl Mark {
    /// Takes the mount off, or something that lies on it. Whether it is gone, which it is too when it never was there.
    fn take_off(&self, tables: &Tables) -> io::Result<bool> {
        let table = tables.read()?;
        let entries: Vec<_> = mount::table(&table).collect();
        let Some(own) = entries.iter().find(|entry| self.is(entry)) else { return Ok(true) };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let top = rustix::fs::open(own.place(), flags, Mode::empty()).map_err(io::Error::from);
        let (top, id) = match top.and_then(|top| mount::mount_id(&top, "").map(|id| (top, id))) {
            Ok((top, id)) if id == self.id || lies_on(&entries, id, self.id) => (top, id),
            // Hidden, or it has just been taken off.
            _ => {
                std::thread::sleep(PAUSE);
                return Ok(false);
            }
        };
        if id == self.id && self.unique.is_some() && mount::unique_mount_id(&top)? != self.unique {
            return Ok(true);
        }
        match mount::take_off(top.as_fd()) {
            // Somebody else was quicker.
            Err(error) if error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => Ok(false),
            other => other.map(|()| id == self.id),
        }
    }
}

/// Waits for the lock of a directory.
fn lock(directory: &OwnedFd) -> io::Result<()> {
    for _ in 0..ATTEMPTS {
        match rustix::fs::flock(directory, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK | Errno::INTR) => std::thread::sleep(PAUSE),
            other => return Ok(other?),
        }
    }
    Err(Errno::BUSY.into())
}

/// Whether a mount lies on another one, perhaps with others in between.
fn lies_on(entries: &[Entry<'_>], mut id: u64, lower: u64) -> bool {
    for _ in entries {
        match entries.iter().find(|entry| entry.id == id) {
            Some(entry) if entry.parent == lower => return true,
            Some(entry) => id = entry.parent,
            None => return false,
        }
    }
    false
}

/// The machine's present boot, proc_sys_kernel(5).
fn boot() -> io::Result<String> {
    Ok(std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

/// The mount table of the caller's thread, wherever it goes.
struct Tables(OwnedFd);

impl Tables {
    fn own() -> io::Result<Tables> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Tables(rustix::fs::open("/proc/thread-self", flags, Mode::empty())?))
    }

    fn read(&self) -> io::Result<Vec<u8>> {
        let file = rustix::fs::openat(&self.0, OsStr::new("mountinfo"), OFlags::CLOEXEC, Mode::empty())?;
        let mut text = Vec::new();
        File::from(file).read_to_end(&mut text)?;
        Ok(text)
    }
}

/// Takes off what lies on the lower mount, and that.
fn take_both_off(lower: &OwnedFd) {
    // One that is not there is an error; another one is the one to tell.
    let _ = mount::take_off(lower.as_fd()).and_then(|()| mount::take_off(lower.as_fd()));
}

/// Init's part in it: what it has to take off itself if nobody is left who knows of it.
#[derive(Debug)]
pub(crate) struct Return {
    own: OwnedFd,
    lower: OwnedFd,
}

impl Return {
    /// Tells that the tree at `root` is whole, and what is needed to be shown. Returns the copy that is the container's.
    pub(crate) fn ask(
        root: impl AsFd,
        socket: BorrowedFd<'_>,
        mut supplied: impl FnMut() -> Result<OwnedFd, Error>,
    ) -> Result<(OwnedFd, Return), Error> {
        let tree = mount::clone_at(root, true).during(SHOW)?;
        sync::report(socket, &Report::Whole, Some(tree.as_fd())).during(SHOW)?;
        Ok((tree, Return { own: supplied()?, lower: supplied()? }))
    }

    /// Goes back to the runtime's mount namespace.
    pub(crate) fn go(&self) -> Result<(), Error> {
        namespace::enter(&self.own, namespace::MOUNT).during("enter the runtime's mount namespace")
    }

    /// Takes off what may have been attached: both, one, or none.
    pub(crate) fn undo(&self) {
        // Nobody is left to tell of an error. Where init has its tree as its root it is there already.
        let _ = self.go();
        take_both_off(&self.lower);
    }
}

/// The root of a process, which it may have by chroot(2) only, and whether it is in the caller's mount namespace.
pub(crate) fn root_of(pid: &str) -> io::Result<(OwnedFd, bool)> {
    let namespace = |pid: &str| rustix::fs::stat(format!("/proc/{pid}/ns/mnt"));
    let (theirs, own) = (namespace(pid)?, namespace("self")?);
    let root = rustix::fs::openat(CWD, format!("/proc/{pid}/root"), OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    Ok((root, (theirs.st_dev, theirs.st_ino) == (own.st_dev, own.st_ino)))
}
