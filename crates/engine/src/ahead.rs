//! What containers need of the disk, made before they are: room for a new file is dear where many come and go.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use teu_store::{Snapshots, Spares, Store};
use teu_sys::mount::Overlay;

use crate::container::ETC_FILES;
use crate::error::{Error, Result};

/// Folders for containers to come. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Ahead {
    snapshots: Snapshots,
    etc: Spares,
    logs: Spares,
    mount_points: PathBuf,
}

impl Ahead {
    /// Of the folders none is there until the first [`Ahead::refill`].
    pub(crate) fn new(store: &Store) -> Result<Self> {
        let mount_points = store.root().join("mount-points");
        make_mount_points(&mount_points).map_err(|error| Error::io("make", &mount_points, error))?;
        let (snapshots, etc, logs) = (store.snapshots().clone(), store.spares(furnish_etc), store.spares(furnish));
        Ok(Self { snapshots, etc, logs, mount_points })
    }

    /// Makes again what was taken.
    pub(crate) fn refill(&self) {
        self.snapshots.prepare_ahead();
        self.etc.refill();
        self.logs.refill();
    }

    /// Puts a tree with nothing but the mount points that every container has below those of a container, so that none has
    /// to make what its image lacks.
    pub(crate) fn give_mount_points(&self, overlay: &mut Overlay) {
        overlay.lowers.push(self.mount_points.clone());
    }

    /// Makes the folder of a container's `hosts` and so on, unless it is there.
    pub(crate) fn make_etc(&self, dir: &Path) -> Result<()> {
        make(&self.etc, dir)
    }

    /// Makes the folder of a container's log, unless it is there.
    pub(crate) fn make_logs(&self, dir: &Path) -> Result<()> {
        make(&self.logs, dir)
    }
}

fn make(spares: &Spares, dir: &Path) -> Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    let made = spares.place(dir).or_else(|error| match error.kind() {
        io::ErrorKind::NotFound => fs::create_dir_all(dir),
        io::ErrorKind::AlreadyExists if dir.is_dir() => Ok(()),
        _ => Err(error),
    });
    made.map_err(|error| Error::io("make", dir, error))
}

/// As open as the system's own: what may be read in it is for the files to say.
fn furnish(dir: &Path) -> teu_store::Result<()> {
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).map_err(|error| teu_store::Error::io(dir, error))
}

fn furnish_etc(dir: &Path) -> teu_store::Result<()> {
    furnish(dir)?;
    for name in ETC_FILES {
        let path = dir.join(name);
        fs::File::create_new(&path).map_err(|error| teu_store::Error::io(&path, error))?;
    }
    Ok(())
}

/// What is there stays: somebody may run on it.
fn make_mount_points(dir: &Path) -> io::Result<()> {
    for folder in ["", "dev", "etc", "proc", "sys"] {
        fs::create_dir_all(dir.join(folder))?;
        fs::set_permissions(dir.join(folder), fs::Permissions::from_mode(0o755))?;
    }
    for file in ETC_FILES {
        fs::File::options().write(true).create(true).truncate(false).open(dir.join("etc").join(file))?;
    }
    Ok(())
}
