//! Where everything is below the root, and what all parts of an open store share.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{FlockOperation, IFlags, Mode, OFlags, ioctl_getflags, ioctl_setflags};
use rustix::io::Errno;
use rustix::rand::GetRandomFlags;

use crate::lease::Holds;
use crate::trash::Trash;
use crate::unsynced::Unsynced;
use crate::{Error, Result};

/// The image spec's "oci-layout file".
const OCI_LAYOUT: &str = r#"{"imageLayoutVersion":"1.0.0"}"#;

/// An index that names no image.
const EMPTY_INDEX: &str = r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#;

/// The directories that are not tables.
pub(crate) const OWN: [&str; 7] = ["blobs", "uploads", "snapshots", "spare", "unsynced", "trash", "volumes"];

/// What the parts of an open store share.
pub(crate) struct Layout {
    root: PathBuf,
    /// Held as long as the store is open; the kernel lets go of it when the process ends, however it ends.
    _lock: File,
    serial: AtomicU64,
    /// The tables that have been opened.
    tables: Mutex<BTreeSet<String>>,
    pub(crate) trash: Trash,
    pub(crate) unsynced: Unsynced,
    pub(crate) holds: Holds,
}

impl Layout {
    /// Writes a file so that it is there whole or as it was before, and with `durable` also after a power failure. What it
    /// replaces is freed in the background.
    pub(crate) fn replace(&self, path: &Path, bytes: &[u8], durable: bool) -> Result<()> {
        write_whole(path, bytes, durable, |temporary| self.put(temporary, path))
    }

    fn put(&self, temporary: &Path, path: &Path) -> Result<()> {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        if renameat_with(CWD, temporary, CWD, path, RenameFlags::EXCHANGE).is_ok() {
            return self.trash.discard(temporary).map(drop);
        }
        // There was none, or the file system cannot exchange.
        fs::rename(temporary, path).map_err(|error| Error::io(path, error))
    }

    pub(crate) fn open(root: &Path) -> Result<Self> {
        if let Some(parent) = root.parent() {
            fs::create_dir_all(parent).map_err(|error| Error::io(parent, error))?;
        }
        make_dir(root, 0o710)?;
        let root = std::path::absolute(root).map_err(|error| Error::io(root, error))?;
        close_to_others(&root)?;
        let lock = lock(&root)?;
        for name in ["blobs/sha256", "blobs/sha512", "uploads", "spare", "unsynced", "trash"] {
            make_dir(&root.join(name), 0o700)?;
        }
        for name in ["layers", "active", "staging"] {
            make_dir(&root.join("snapshots").join(name), 0o700)?;
        }
        spread(&root.join("snapshots/staging"));
        // The root of a tree is seen by whoever is in the container: not private.
        make_dir(&root.join("snapshots/empty/0"), 0o755)?;
        make_dir(&root.join("snapshots/empty/1"), 0o755)?;
        write_if_absent(&root.join("blobs/oci-layout"), OCI_LAYOUT)?;
        write_if_absent(&root.join("blobs/index.json"), EMPTY_INDEX)?;
        let trash = Trash::open(root.join("trash"))?;
        let unsynced = Unsynced::open(root.join("unsynced"))?;
        Ok(Self {
            root,
            _lock: lock,
            serial: AtomicU64::new(0),
            tables: Mutex::default(),
            trash,
            unsynced,
            holds: Holds::default(),
        })
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn blobs(&self) -> PathBuf {
        self.root.join("blobs")
    }

    pub(crate) fn uploads(&self) -> PathBuf {
        self.root.join("uploads")
    }

    pub(crate) fn layers(&self) -> PathBuf {
        self.root.join("snapshots/layers")
    }

    pub(crate) fn active(&self) -> PathBuf {
        self.root.join("snapshots/active")
    }

    pub(crate) fn staging(&self) -> PathBuf {
        self.root.join("snapshots/staging")
    }

    pub(crate) fn spare(&self) -> PathBuf {
        self.root.join("spare")
    }

    /// One of the two directories that stay empty.
    pub(crate) fn empty(&self, number: u8) -> PathBuf {
        self.root.join(format!("snapshots/empty/{number}"))
    }

    /// Whether a table is opened for the first time in this process: what is half written in it is left over then.
    pub(crate) fn is_new_table(&self, name: &str) -> bool {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned())
    }

    /// A name that nothing else in this process has; for directories that are cleared when a store is opened.
    pub(crate) fn unique(&self) -> String {
        self.serial.fetch_add(1, Ordering::Relaxed).to_string()
    }
}

/// Makes a directory with all above it, each with `mode` whatever the umask.
pub(crate) fn make_dir(path: &Path, mode: u32) -> Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        make_dir(parent, if mode == 0o755 { 0o700 } else { mode })?;
    }
    match DirBuilder::new().mode(mode).create(path) {
        // Somebody else made it meanwhile.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => return Ok(()),
        made => made.map_err(|error| Error::io(path, error))?,
    }
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(|error| Error::io(path, error))
}

/// Has the file system find each folder that is made in `dir` a part of the disk of its own (chattr(1), attribute T, which
/// ext4 knows): not where many files were removed a moment ago, which it passes over one by one for each new one.
fn spread(dir: &Path) {
    let set = || -> rustix::io::Result<()> {
        let dir = rustix::fs::open(dir, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let flags = ioctl_getflags(&dir)?;
        if flags.contains(IFlags::TOPDIR) { Ok(()) } else { ioctl_setflags(&dir, flags | IFlags::TOPDIR) }
    };
    // Others do not know it, and may not need it.
    let _ = set();
}

/// Nobody but the owner, and the group for passing through, has business in the root.
fn close_to_others(root: &Path) -> Result<()> {
    let mode = fs::metadata(root).map_err(|error| Error::io(root, error))?.permissions().mode() & 0o7777;
    if mode & !0o710 == 0 {
        return Ok(());
    }
    fs::set_permissions(root, fs::Permissions::from_mode(mode & 0o710)).map_err(|error| Error::io(root, error))
}

fn lock(root: &Path) -> Result<File> {
    let path = root.join("lock");
    let file = File::options().create(true).truncate(false).write(true).open(&path);
    let file = file.map_err(|error| Error::io(&path, error))?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(Errno::WOULDBLOCK) => Err(Error::InUse { what: format!("store {}", root.display()) }),
        Err(errno) => Err(Error::io(path, errno)),
    }
}

fn write_if_absent(path: &Path, text: &str) -> Result<()> {
    let put = |temporary: &Path| fs::rename(temporary, path).map_err(|error| Error::io(path, error));
    if path.exists() { Ok(()) } else { write_whole(path, text.as_bytes(), true, put) }
}

/// Writes a file under another name and lets `put` give it its own.
fn write_whole(path: &Path, bytes: &[u8], durable: bool, put: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let dir = path.parent().unwrap_or(Path::new("/"));
    let temporary = dir.join(temporary_name()?);
    let written = write_new(&temporary, bytes, durable).and_then(|()| put(&temporary));
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written?;
    if durable { sync_dir(dir) } else { Ok(()) }
}

/// The beginning of the names of files not finished.
pub(crate) const TEMPORARY: &str = ".new-";

fn temporary_name() -> Result<String> {
    Ok(format!("{TEMPORARY}{:016x}", random()?))
}

/// A number that another process will not come upon.
pub(crate) fn random() -> Result<u64> {
    let mut bytes = [0; 8];
    rustix::rand::getrandom(&mut bytes, GetRandomFlags::empty()).map_err(|errno| Error::io("/dev/urandom", errno))?;
    Ok(u64::from_ne_bytes(bytes))
}

fn write_new(path: &Path, bytes: &[u8], durable: bool) -> Result<()> {
    let mut options = File::options();
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.write(true).create_new(true).open(path);
    file.and_then(|mut file| {
        file.write_all(bytes)?;
        if durable { file.sync_all() } else { Ok(()) }
    })
    .map_err(|error| Error::io(path, error))
}

/// Waits until the directory's entries are on the disk.
pub(crate) fn sync_dir(dir: &Path) -> Result<()> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(|error| Error::io(dir, error))
}
