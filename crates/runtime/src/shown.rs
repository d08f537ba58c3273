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
//!  Supplied(the runtime's mount namespace), Supplied(the lowest mount) ──▶
//!  attaches all
//!  Go ──────────────────────▶ goes back, chroot
//! ```
//!
//! There are three mounts. The lowest is the root's directory over itself, and private, because the place may be one
//! whose mounts appear in other namespaces: what lies on a private mount does not, and keeps the propagation that the
//! configuration asks for. On it is an empty tmpfs whose source is a word that nothing else has: numbers of mounts are
//! given again, at once. On that is the tree. Whoever made the container takes them off when it is deleted, and what has
//! been mounted on them with them; init does when its parent is gone before the container has been written down.
//!
//! ```text
//! /run/teu-shown/        0700
//!   lock                 whoever attaches or takes off
//!   <name>               what is to be taken off, written before it is attached; by the container's state directory
//! ```

use std::ffi::OsStr;
use std::fs::{DirBuilder, File};
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{CWD, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use teu_sys::mount::{self, Change, Entry, Propagation, attribute};
use teu_sys::namespace;

use crate::Error;
use crate::error::During;
use crate::sync::{self, Order, Report};

const SHOW: &str = "show the container's tree";
/// Where all of them are written down.
const REGISTRY: &str = "/run/teu-shown";
/// How often somebody else may be at the same place at the same moment.
const ATTEMPTS: usize = 100;
const PAUSE: Duration = Duration::from_millis(10);

/// The mounts of a container in the runtime's mount namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Shown {
    /// The container's state directory.
    owner: PathBuf,
    /// Where they were attached, without links.
    place: PathBuf,
    /// The machine's boot, and the mount namespace that they are in.
    boot: String,
    namespace: (u64, u64),
    /// The source of the tmpfs, which copies of it have too, and its id, which another has soon after it is gone.
    mark: String,
    marked: u64,
    /// The id of the lowest mount and the device of its file system.
    lowest: u64,
    device: String,
}

/// The name of what there is of the container with this state directory in the caller's mount namespace. In another one
/// the same path may be another's.
pub fn name_here(owner: &Path) -> String {
    name(owner, identity("mnt").unwrap_or_default())
}

fn name(owner: &Path, (device, inode): (u64, u64)) -> String {
    let mut key = real(owner).into_os_string().into_encoded_bytes();
    key.extend(format!("\0{device}:{inode}").into_bytes());
    teu_oci::Digest::sha256(&key).hex().to_owned()
}

/// A path without links, of what may be there or not.
fn real(path: &Path) -> PathBuf {
    let real = |path: &Path| {
        let above = std::fs::canonicalize(path.parent()?).ok()?;
        Some(above.join(path.file_name()?))
    };
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    real(&absolute).unwrap_or(absolute)
}

/// Whether something of that name is written down.
pub(crate) fn is_known(name: &str) -> bool {
    Path::new(REGISTRY).join(name).exists()
}

/// Refuses a root that cannot be shown.
pub(crate) fn check(root: &Path) -> Result<(), Error> {
    let real = std::fs::canonicalize(root).during_with(|| format!("{SHOW} at {}", root.display()))?;
    if real == Path::new("/") {
        let what = "the runtime's own root is in the mount namespace it would be in";
        return Err(Error::refused(format!("{SHOW} at /: {what}")));
    }
    let tables = Tables::own().during("read the mount table")?;
    let overlaps = |shown: &Shown| real.starts_with(&shown.place) || shown.place.starts_with(&real);
    for shown in all_here().into_iter().filter(overlaps) {
        if shown.is_there(&tables).during("read the mount table")? {
            return Err(Error::refused(format!(
                "{SHOW} at {}: that of {} is at {}, and is to be deleted first",
                real.display(),
                shown.owner.display(),
                shown.place.display()
            )));
        }
    }
    Ok(())
}

/// Where trees are shown in this mount namespace.
pub(crate) fn places() -> Vec<PathBuf> {
    all_here().into_iter().map(|shown| shown.place).collect()
}

/// What is written down of this mount namespace.
fn all_here() -> Vec<Shown> {
    let Ok(entries) = std::fs::read_dir(REGISTRY) else { return Vec::new() };
    let (Ok(boot), Ok(own)) = (boot(), identity("mnt")) else { return Vec::new() };
    let read = |entry: std::fs::DirEntry| serde_json::from_slice::<Shown>(&std::fs::read(entry.path()).ok()?).ok();
    entries.flatten().filter_map(read).filter(|shown| shown.boot == boot && shown.namespace == own).collect()
}

/// Shows a tree in the caller's mount namespace, over the directory `place`, once its owner has what it takes to go there
/// and to take it off.
pub(crate) fn show(tree: &OwnedFd, place: &Path, owner: &Path, socket: BorrowedFd<'_>) -> Result<(), Error> {
    let during = || format!("{SHOW} at {}", place.display());
    let registry = Registry::lock()?;
    check(place)?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let target = rustix::fs::open(place, flags, Mode::empty()).during_with(during)?;
    let prepare = || -> io::Result<(OwnedFd, OwnedFd, Shown)> {
        let lowest = mount::clone_at(&target, false)?;
        let mark = format!("teu:{}", random()?);
        let options = [("source", Some(mark.as_str())), ("size", Some("4k")), ("nr_inodes", Some("1"))];
        let marked = mount::filesystem("tmpfs", &options, attribute::READ_ONLY)?;
        let shown = Shown {
            owner: real(owner),
            place: std::fs::read_link(format!("/proc/self/fd/{}", target.as_raw_fd()))?,
            boot: boot()?,
            namespace: identity("mnt")?,
            mark,
            marked: mount::mount_id(&marked, "")?,
            lowest: mount::mount_id(&lowest, "")?,
            device: device_of(mount::mount_id(&target, "")?)?,
        };
        Ok((lowest, marked, shown))
    };
    let (lowest, marked, shown) = prepare().during_with(during)?;
    let own = File::open("/proc/thread-self/ns/mnt").during_with(during)?;
    for fd in [own.into(), lowest.try_clone().during_with(during)?] {
        sync::order(socket, &Order::Supplied(fd)).during_with(during)?;
    }
    let name = name_here(owner);
    if let Some(left) = registry.read(&name)? {
        left.take_off()?;
    }
    registry.write(&name, &shown).during_with(during)?;
    let attach = || -> io::Result<()> {
        mount::attach(&lowest, &target)?;
        // A shared place has made it shared.
        mount::set_attributes(&lowest, false, Change { propagation: Some(Propagation::Private), ..Change::default() })?;
        mount::attach(&marked, &lowest)?;
        mount::attach(tree, &marked)
    };
    let attached = attach().inspect_err(|_| {
        take_all_off(&lowest);
        registry.forget(&name);
    });
    attached.during_with(during)
}

/// Takes off what is still there of what has this name, in whatever mount namespace the caller is, and what has been
/// mounted on it.
///
/// # Errors
/// When a mount above it hides it, which is then not touched; when the caller cannot see who is in its mount namespace;
/// and what the kernel says.
pub fn take_off(name: &str) -> Result<(), Error> {
    if !is_known(name) {
        return Ok(());
    }
    let registry = Registry::lock()?;
    if let Some(shown) = registry.read(name)? {
        shown.take_off()?;
        registry.forget(name);
    }
    Ok(())
}

/// What is written down, with nobody else writing.
struct Registry {
    _lock: File,
}

impl Registry {
    fn lock() -> Result<Registry, Error> {
        let open = || -> io::Result<Registry> {
            DirBuilder::new().recursive(true).mode(0o700).create(REGISTRY)?;
            let path = Path::new(REGISTRY).join("lock");
            let lock = File::options().write(true).create(true).truncate(false).mode(0o600).open(path)?;
            for _ in 0..ATTEMPTS * 10 {
                match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
                    Err(Errno::WOULDBLOCK | Errno::INTR) => std::thread::sleep(PAUSE),
                    other => return Ok(other.map(|()| Registry { _lock: lock })?),
                }
            }
            Err(Errno::BUSY.into())
        };
        open().during_with(|| format!("lock {REGISTRY}"))
    }

    fn read(&self, name: &str) -> Result<Option<Shown>, Error> {
        let path = Path::new(REGISTRY).join(name);
        let read = || match std::fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            other => Ok::<_, io::Error>(Some(serde_json::from_slice(&other?)?)),
        };
        read().during_with(|| format!("read {}", path.display()))
    }

    fn write(&self, name: &str, shown: &Shown) -> io::Result<()> {
        let new = Path::new(REGISTRY).join(format!(".{name}"));
        std::fs::write(&new, serde_json::to_vec(shown)?)?;
        std::fs::rename(new, Path::new(REGISTRY).join(name))
    }

    fn forget(&self, name: &str) {
        // One that stays names mounts that are not there.
        let _ = std::fs::remove_file(Path::new(REGISTRY).join(name));
    }
}

impl Shown {
    fn during(&self) -> String {
        format!("take the container's tree off {}", self.place.display())
    }

    fn is_there(&self, tables: &Tables) -> io::Result<bool> {
        let table = tables.read()?;
        let entries: Vec<_> = mount::table(&table).collect();
        Ok(self.find(&entries).is_some())
    }

    /// The tmpfs, or what is left without it where somebody was interrupted.
    fn find<'a>(&self, entries: &'a [Entry<'a>]) -> Option<&'a Entry<'a>> {
        let is_marked = |entry: &&Entry<'_>| entry.id == self.marked && entry.source == self.mark.as_bytes();
        let marked = entries.iter().find(is_marked);
        marked.or_else(|| entries.iter().find(|entry| self.is_lowest(entry, entries) && entry.place() == self.place))
    }

    /// The lowest mount, alone: on another's there would be something.
    fn is_lowest(&self, entry: &Entry<'_>, entries: &[Entry<'_>]) -> bool {
        let is_bare = || !entries.iter().any(|other| other.parent == entry.id);
        entry.id == self.lowest && entry.device == self.device.as_bytes() && is_bare()
    }

    fn take_off(&self) -> Result<(), Error> {
        let during = || self.during();
        if boot().during_with(during)? != self.boot {
            return Ok(());
        }
        if identity("mnt").during_with(during)? == self.namespace {
            return self.take_off_here(&Tables::own().during_with(during)?);
        }
        let namespace = match find_namespace(self.namespace) {
            Found::There(namespace) => namespace,
            // Its mounts are gone with it.
            Found::Gone => return Ok(()),
            Found::Unknown => {
                let what = format!(
                    "it is in a mount namespace that nobody is in who can be seen from here; if that is gone, remove {}",
                    Path::new(REGISTRY).join(name(&self.owner, self.namespace)).display()
                );
                return Err(Error::refused(format!("{}: {what}", during())));
            }
        };
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
        let mut misses = 0;
        let mut place = None;
        while misses < ATTEMPTS {
            let table = tables.read().during_with(|| self.during())?;
            let entries: Vec<_> = mount::table(&table).collect();
            let left = self.find(&entries).or_else(|| {
                // It may have been moved to another path meanwhile.
                entries.iter().find(|entry| self.is_lowest(entry, &entries) && place.as_ref() == Some(&entry.place()))
            });
            let Some(left) = left else { return Ok(()) };
            let top = place.insert(left.place());
            match top_of(top) {
                Ok((top, id)) if id == left.id || lies_on(&entries, id, left.id) => {
                    match mount::take_off(top.as_fd()) {
                        // Somebody else was quicker.
                        Err(error) if error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => misses += 1,
                        other => other.during_with(|| self.during())?,
                    }
                }
                // Hidden, or it has just been taken off.
                _ => {
                    misses += 1;
                    std::thread::sleep(PAUSE);
                }
            }
        }
        let what = "it is hidden by something that is mounted above it, which has to be taken off first";
        Err(Error::refused(format!("{}: {what}", self.during())))
    }
}

/// The device of a mount's file system, as the mount table has it.
fn device_of(id: u64) -> io::Result<String> {
    let table = std::fs::read("/proc/thread-self/mountinfo")?;
    let entry = mount::table(&table).find(|entry| entry.id == id).ok_or(Errno::NOENT)?;
    Ok(String::from_utf8_lossy(entry.device).into_owned())
}

/// What lies topmost at a path, and its id.
fn top_of(place: &Path) -> io::Result<(OwnedFd, u64)> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let top = rustix::fs::open(place, flags, Mode::empty())?;
    let id = mount::mount_id(&top, "")?;
    Ok((top, id))
}

/// A word that nobody else has.
fn random() -> io::Result<String> {
    let mut bytes = [0_u8; 16];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    Ok(format!("{:032x}", u128::from_ne_bytes(bytes)))
}

/// The identity of a namespace of the caller's.
fn identity(kind: &str) -> io::Result<(u64, u64)> {
    let about = std::fs::metadata(format!("/proc/thread-self/ns/{kind}"))?;
    Ok((about.dev(), about.ino()))
}

/// What is known of a mount namespace.
enum Found {
    There(File),
    Gone,
    Unknown,
}

/// The inode of the first pid namespace, `PROC_PID_INIT_INO` of the kernel's include/linux/proc_ns.h: who is in it sees
/// every process.
const FIRST_PIDS: u64 = 0xeffffffc;

/// Finds a mount namespace by who is in it, with a thread or with a descriptor, or by what it is mounted on.
fn find_namespace(wanted: (u64, u64)) -> Found {
    let mut blind = identity("pid").is_ok_and(|(_, inode)| inode != FIRST_PIDS);
    let mut look = |path: PathBuf| {
        let is_it = |about: &std::fs::Metadata| (about.dev(), about.ino()) == wanted;
        match std::fs::metadata(&path) {
            // Whoever was there may end, and its number be another's.
            Ok(about) if is_it(&about) => {
                File::open(path).ok().filter(|file| file.metadata().is_ok_and(|about| is_it(&about)))
            }
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                blind = true;
                None
            }
            _ => None,
        }
    };
    let list = |path: PathBuf| std::fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
    let numbered =
        |path: &PathBuf| path.file_name().is_some_and(|name| name.as_encoded_bytes().iter().all(u8::is_ascii_digit));
    let processes: Vec<_> = list(PathBuf::from("/proc")).filter(numbered).collect();
    let threads = processes.iter().flat_map(|process| list(process.join("task"))).map(|thread| thread.join("ns/mnt"));
    let table = std::fs::read("/proc/thread-self/mountinfo").unwrap_or_default();
    let pinned = mount::table(&table).filter(|entry| entry.kind == b"nsfs").map(|entry| entry.place());
    let descriptors = processes.iter().flat_map(|process| list(process.join("fd")));
    match threads.chain(pinned).chain(descriptors).find_map(&mut look) {
        Some(file) => Found::There(file),
        None if blind => Found::Unknown,
        None => Found::Gone,
    }
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

/// Takes off what lies on the lowest mount, and that.
fn take_all_off(lowest: &OwnedFd) {
    // One that is not there is an error; another one is the one to tell.
    let _ = (0..3).try_for_each(|_| mount::take_off(lowest.as_fd()));
}

/// Init's part in it: what it has to take off itself if nobody is left who knows of it.
#[derive(Debug)]
pub(crate) struct Return {
    own: OwnedFd,
    lowest: OwnedFd,
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
        Ok((tree, Return { own: supplied()?, lowest: supplied()? }))
    }

    /// Goes back to the runtime's mount namespace.
    pub(crate) fn go(&self) -> Result<(), Error> {
        namespace::enter(&self.own, namespace::MOUNT).during("enter the runtime's mount namespace")
    }

    /// Takes off what may have been attached: all, some, or none.
    pub(crate) fn undo(&self) {
        // Nobody is left to tell of an error. Where init has its tree as its root it is there already.
        let _ = self.go();
        take_all_off(&self.lowest);
    }
}

/// The root of a process, which it may have by chroot(2) only, and whether it is in the caller's mount namespace.
pub(crate) fn root_of(pid: &str) -> io::Result<(OwnedFd, bool)> {
    let namespace = |pid: &str| rustix::fs::stat(format!("/proc/{pid}/ns/mnt"));
    let (theirs, own) = (namespace(pid)?, namespace("self")?);
    let root = rustix::fs::openat(CWD, format!("/proc/{pid}/root"), OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    Ok((root, (theirs.st_dev, theirs.st_ino) == (own.st_dev, own.st_ino)))
}
