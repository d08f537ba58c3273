//! Volumes out of volumes: clones, snapshots, and archives in both directions.
//!
//! A copy is put together beside its place and gets its name when it is whole: nobody sees half of one, and what a crash
//! leaves behind has no name. Unless told otherwise the containers that may write to the source are frozen meanwhile, so a
//! copy is of one moment. Where the file system can share blocks between files, a copy costs no room.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use teu_api::volume::Volume;
use teu_store::tar::{ArchiveOptions, ExtractOptions, archive, extract};
use teu_store::tree::{Copier, CopyOptions};
use teu_sys::fs::Root;

use super::driver::{Backing, Wanted};
use super::{ANONYMOUS, Plan, VolumeRecord, Volumes, check, device, lock, now};
use crate::container::{Container, Containers, Phase};
use crate::error::{Error, Result};
use crate::pipe::{Stream, stream};
use crate::plain::plain;

/// What becomes of a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyKind {
    /// A volume like any other.
    Clone,
    /// A volume that nothing may write to.
    Snapshot,
}

impl Volumes {
    /// Copies the volume `name` into a new one. With `pause`, containers that may write to it are frozen meanwhile.
    ///
    /// # Errors
    /// When there is no such volume, or the new name is taken or no name; no new volume is made then.
    pub async fn copy(
        &self,
        name: &str,
        to: Option<&str>,
        kind: CopyKind,
        pause: bool,
        containers: &Containers,
    ) -> Result<Volume> {
        let source = self.record(name)?;
        let to = match to {
            Some(to) => to.to_owned(),
            None => format!("{name}-{}", jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ")),
        };
        self.free(&to)?;
        let frozen = if pause { freeze(self.writers(name, containers)).await } else { vec![] };
        let (volumes, name) = (self.clone(), name.to_owned());
        let copied = tokio::task::spawn_blocking(move || volumes.copy_now(&name, &source, &to, kind)).await;
        thaw(frozen).await;
        copied.map_err(|error| Error::internal(error.to_string()))?
    }

    fn copy_now(&self, name: &str, source: &VolumeRecord, to: &str, kind: CopyKind) -> Result<Volume> {
        let held = self.hold(name)?;
        let size = match source.backing {
            Backing::Quota { bytes, .. } | Backing::Image { bytes } => Some(bytes),
            _ => None,
        };
        let dir = device::staging(self)?;
        let fill = |dir: &Path| -> Result<Backing> {
            let backing = self.build(dir, &Wanted { backing: Backing::Folder, size })?;
            let draft = VolumeRecord { backing: backing.clone(), ..VolumeRecord::default() };
            self.mount_at(&draft, dir)?;
            let copied = copy_tree(held.path(), &dir.join("_data"));
            let unmounted = self.unmount_at(&draft, dir);
            copied.and(unmounted).map(|()| backing)
        };
        let done = fill(&dir).and_then(|backing| {
            let mut labels = source.labels.clone().unwrap_or_default();
            labels.remove(ANONYMOUS);
            let record = VolumeRecord {
                created: now(),
                labels: (!labels.is_empty()).then_some(labels),
                options: size.iter().map(|size| ("size".to_owned(), size.to_string())).collect(),
                backing,
                snapshot_of: (kind == CopyKind::Snapshot).then(|| name.to_owned()),
                renamed_from: None,
            };
            self.settle(&dir, to, &record)
        });
        if done.is_err() {
            self.inner.store.discard(&dir)?;
        }
        done
    }

    /// Gives a volume that was put together in `dir` its name.
    fn settle(&self, dir: &Path, name: &str, record: &VolumeRecord) -> Result<Volume> {
        let gate = self.gate(name);
        let _mounted = lock(&gate.mounted_for);
        self.free(name)?;
        let place = self.dir(name);
        self.inner.store.discard(&place)?;
        std::fs::rename(dir, &place).map_err(|error| Error::io("make", &place, error))?;
        self.inner.table.put(name, record)?;
        self.emit("create", name, &[]);
        Ok(self.describe(name, record))
    }

    /// Refuses a name that a volume has.
    pub(super) fn free(&self, name: &str) -> Result<()> {
        check(name)?;
        match self.inner.table.get(name)? {
            Some(_) => Err(Error::conflict(format!("volume \"{name}\" exists already"))),
            None => Ok(()),
        }
    }

    /// A volume's files as a tar stream.
    ///
    /// # Errors
    /// When there is no such volume; what goes wrong later ends the stream with an error.
    pub fn export(&self, name: &str) -> Result<Stream> {
        self.record(name)?;
        let (volumes, name) = (self.clone(), name.to_owned());
        Ok(stream(move |out| {
            let held = volumes.hold(&name).map_err(std::io::Error::other)?;
            let options = ArchiveOptions { rename: Some(".".into()), ..ArchiveOptions::default() };
            archive(&held.root()?, Path::new("/"), out, &options).map_err(std::io::Error::other)
        }))
    }

    /// Extracts a tar into the volume `name`, made if it is not there; into one that has files only if `force`. Blocks.
    ///
    /// # Errors
    /// When the volume is not empty, or the archive is damaged: a volume that was made is removed then.
    pub fn import(&self, name: &str, tar: impl Read, force: bool) -> Result<Volume> {
        let is_new = self.inner.table.get(name)?.is_none();
        let volume = self.make(name, &Plan { labels: None, options: BTreeMap::new() }, None)?;
        let imported = self.import_into(name, tar, force);
        if imported.is_err() && is_new {
            self.remove_unused(name)?;
        }
        imported.map(|()| volume)
    }

    fn import_into(&self, name: &str, tar: impl Read, force: bool) -> Result<()> {
        if self.is_snapshot(name)? {
            return Err(Error::conflict(format!("volume \"{name}\" is a snapshot: nothing is written to it")));
        }
        let held = self.hold(name)?;
        let wrong = |error| Error::io("import into", held.path(), error);
        let root = held.root().map_err(wrong)?;
        if !force && !root.dir("/").and_then(|dir| dir.entries()).map_err(wrong)?.is_empty() {
            return Err(Error::conflict(format!("volume \"{name}\" is not empty")));
        }
        let options = ExtractOptions { with_root: true, ..ExtractOptions::default() };
        extract(&root, Path::new("/"), plain(tar)?, &options).map_err(Into::into)
    }

    /// Running containers that may write to a volume.
    fn writers(&self, name: &str, containers: &Containers) -> Vec<Container> {
        let writes = |container: &Container| {
            let record = container.record();
            let mut points = record.mounts.iter().map(|mount| &mount.point);
            record.state.phase == Phase::Running && points.any(|point| point.rw && point.is_volume(name))
        };
        self.users(name).iter().filter_map(|id| containers.find(id).ok()).filter(writes).collect()
    }
}

/// Freezes containers. One that cannot be frozen has ended, or is frozen already.
async fn freeze(containers: Vec<Container>) -> Vec<Container> {
    let mut frozen = vec![];
    for container in containers {
        if container.pause().await.is_ok() {
            frozen.push(container);
        }
    }
    frozen
}

async fn thaw(containers: Vec<Container>) {
    for container in containers {
        if let Err(error) = container.unpause().await {
            tracing::warn!(%error, container = container.id(), "go on after a copy of a volume");
        }
    }
}

fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    let open =
        |path: &Path| Root::open(path).and_then(|root| root.dir(".")).map_err(|error| Error::io("open", path, error));
    Ok(Copier::new(CopyOptions::default()).copy(&open(from)?, ".", &open(to)?, ".")?)
}
