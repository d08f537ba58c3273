//! A volume's data while somebody needs it: mounted if it has to be, and let go of afterwards.

use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use teu_oci::Digest;
use teu_store::tree::{Copier, CopyOptions};
use teu_sys::fs::{Dir, Root};

use super::device::needs_mount;
use super::driver::Backing;
use super::{Volumes, lock};
use crate::container::names::random_id;
use crate::error::{Error, Result};

/// Where a volume's data is on the host, and how it may be mounted from there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    /// A folder of the host.
    pub(crate) path: PathBuf,
    /// `MOUNT_ATTR_*` that any mount of it has.
    pub(crate) attributes: u64,
    /// Without the mounts below it.
    pub(crate) alone: bool,
}

/// Data that stays where it is as long as this lives.
pub(crate) struct Held {
    volumes: Volumes,
    name: String,
    user: String,
    place: Place,
}

impl Volumes {
    /// Makes the data of a volume be there for `user`, until [`Volumes::unmount`].
    pub(crate) fn mount(&self, name: &str, user: &str) -> Result<Place> {
        let gate = self.gate(name);
        let mut mounted_for = lock(&gate.mounted_for);
        let record = self.record(name)?;
        let data = self.data(name);
        if let Backing::Bind { path, recursive, attributes } = &record.backing {
            if !path.exists() {
                let (path, data) = (path.display(), data.display());
                let message = format!(
                    "error while mounting volume '{data}': failed to mount local volume: mount {path}:{data}, flags: \
                     0x1000: no such file or directory"
                );
                return Err(Error::internal(message));
            }
            return Ok(Place { path: path.clone(), attributes: *attributes, alone: !recursive });
        }
        self.mount_at(&record, &self.dir(name)).map_err(|error| {
            let message = format!("error while mounting volume '{}': {}", data.display(), error.message);
            Error { message, ..error }
        })?;
        if needs_mount(&record.backing) {
            mounted_for.insert(user.to_owned());
        }
        Ok(Place { path: data, ..Place::default() })
    }

    /// Lets go of a volume's data; the last one unmounts it.
    pub(crate) fn unmount(&self, name: &str, user: &str) -> Result<()> {
        let gate = self.gate(name);
        let mut mounted_for = lock(&gate.mounted_for);
        if mounted_for.remove(user) && mounted_for.is_empty() {
            let record = self.record(name)?;
            self.unmount_at(&record, &self.dir(name))?;
        }
        Ok(())
    }

    /// The data of a volume, for the engine's own use.
    pub(crate) fn hold(&self, name: &str) -> Result<Held> {
        let user = random_id()?;
        let place = self.mount(name, &user)?;
        Ok(Held { volumes: self.clone(), name: name.into(), user, place })
    }

    /// First use: an empty volume gets what the image has at its place, with owners, modes and attributes.
    ///
    /// # Errors
    /// When the image has something else than a directory there.
    pub(crate) fn fill(&self, name: &str, subpath: &str, chain: Option<&Digest>, path: &str) -> Result<()> {
        let Some(chain) = chain else { return Ok(()) };
        let backing = self.record(name)?.backing;
        if matches!(&backing, Backing::Mounted(file_system) if matches!(file_system.kind.as_str(), "tmpfs" | "ramfs")) {
            // It would be gone before anybody looks.
            return Ok(());
        }
        let gate = self.gate(name);
        let _filling = lock(&gate.filling);
        let held = self.hold(name)?;
        let wrong = |error: std::io::Error| Error::io("fill the volume at", &held.place.path, error);
        let Some(target) = held.dir(subpath).map_err(wrong)? else { return Ok(()) };
        if !target.entries().map_err(wrong)?.is_empty() {
            return Ok(());
        }
        let view = self.inner.store.snapshots().view(Some(chain))?;
        let tree = Root::from_fd(view.mount_detached().map_err(wrong)?);
        if !tree.metadata(path).is_ok_and(|meta| meta.is_dir()) {
            return Ok(());
        }
        let source = tree.dir(path).map_err(wrong)?;
        Ok(Copier::new(CopyOptions::default()).copy(&source, ".", &target, ".")?)
    }
}

impl Held {
    /// The volume's name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.place.path
    }

    /// The data as a tree that nothing leads out of.
    pub(crate) fn root(&self) -> std::io::Result<Root> {
        Root::open(&self.place.path)
    }

    /// The directory at `subpath` of it; none if there is no directory.
    fn dir(&self, subpath: &str) -> std::io::Result<Option<Dir>> {
        let root = self.root()?;
        match root.open_with(subpath, OFlags::RDONLY | OFlags::DIRECTORY, 0) {
            Ok(fd) => Ok(Some(Dir::from_fd(fd))),
            Err(error) if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Err(error) = self.volumes.unmount(&self.name, &self.user) {
            tracing::warn!(%error, volume = self.name, "unmount a volume");
        }
    }
}
