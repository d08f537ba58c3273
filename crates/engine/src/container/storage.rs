//! `--storage-opt size=`: how much a container may write besides its volumes.
//!
//! A project quota on the write layer, where the file system of the data root has them: a number from a range of our own, far
//! from those that administrators choose and from those of volumes, and one container's alone. Elsewhere the layer is on a
//! file system of its own ([`crate::sized`]), mounted over the layer's folder while a daemon or the container runs.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use teu_api::container::HostConfig;

use super::{Containers, Record};
use crate::error::{Error, Result};
use crate::{Context, size, sized};

/// The first number and how many there are.
const FIRST_PROJECT: u32 = 0x7466_0000;
const PROJECTS: u32 = 1 << 16;

/// The limit that was asked for, in bytes.
///
/// # Errors
/// When there is another option than `size`, or it is no size.
pub(super) fn limit(host: &HostConfig) -> Result<Option<u64>> {
    if let Some(unknown) = host.storage_opt.keys().find(|key| !key.eq_ignore_ascii_case("size")) {
        return Err(Error::bad(format!("Unknown option {unknown}")));
    }
    let size = host.storage_opt.values().next().map(|text| size::binary(text)).transpose()?;
    Ok(size.filter(|bytes| *bytes > 0))
}

/// What keeps a write layer within its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LayerLimit {
    /// A project quota.
    Project(u32),
    /// A file system of its own, in a file.
    Image,
}

impl Containers {
    /// Limits a write layer that is just made.
    ///
    /// # Errors
    /// When there are no project quotas, and no file system of its own can be made.
    pub(super) fn limit_layer(&self, record: &mut Record) -> Result<()> {
        let Some(bytes) = limit(&record.host)? else { return Ok(()) };
        let snapshots = self.context.store.snapshots();
        let project = |limit: Option<LayerLimit>| match limit {
            Some(LayerLimit::Project(project)) => Some(project),
            _ => None,
        };
        let taken = self.all().iter().filter_map(|container| project(container.record().layer_limit)).collect();
        let project = allocate(&record.id, &taken).ok_or_else(|| Error::conflict("no project number is left"))?;
        if snapshots.limit(&record.id, project, bytes).is_ok() {
            record.layer_limit = Some(LayerLimit::Project(project));
            return Ok(());
        }
        let image = self.context.layer_image(&record.id);
        let folder = self.context.config.root.join("layer-images");
        fs::create_dir_all(&folder).map_err(|error| Error::io("make", &folder, error))?;
        sized::make(&image, bytes)?;
        record.layer_limit = Some(LayerLimit::Image);
        self.context.mount_layer(record)?;
        let dir = snapshots.place(&record.id)?;
        let private = fs::Permissions::from_mode(0o700);
        fs::set_permissions(&dir, private).map_err(|error| Error::io("prepare", &dir, error))?;
        Ok(snapshots.furnish_anew(&record.id, record.chain.as_ref())?)
    }
}

impl Context {
    fn layer_image(&self, id: &str) -> PathBuf {
        self.config.root.join("layer-images").join(id)
    }

    /// Mounts a write layer that has a file system of its own, unless it is mounted.
    ///
    /// # Errors
    /// When it cannot be.
    pub(crate) fn mount_layer(&self, record: &Record) -> Result<()> {
        if record.layer_limit != Some(LayerLimit::Image) {
            return Ok(());
        }
        let dir = self.store.snapshots().place(&record.id)?;
        if sized::is_mount(&dir) { Ok(()) } else { sized::mount(&self.layer_image(&record.id), &dir) }
    }

    /// Lets go of it while nobody runs on it.
    pub(crate) fn unmount_layer(&self, record: &Record) {
        if record.layer_limit == Some(LayerLimit::Image)
            && let Ok(dir) = self.store.snapshots().place(&record.id)
            && sized::is_mount(&dir)
            && let Err(error) = sized::unmount(&dir)
        {
            tracing::warn!(%error, container = record.id, "unmount a write layer");
        }
    }

    /// Removes a write layer and what limits it.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) fn remove_layer(&self, record: &Record) -> Result<()> {
        match record.layer_limit {
            Some(LayerLimit::Image) => return self.remove_stray_layer(&record.id),
            // One that stays would limit nobody.
            Some(LayerLimit::Project(project)) => drop(self.store.snapshots().unlimit(project)),
            None => {}
        }
        Ok(self.store.snapshots().remove(&record.id)?)
    }

    /// Removes a write layer of which nobody knows whether it is limited.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) fn remove_stray_layer(&self, id: &str) -> Result<()> {
        let snapshots = self.store.snapshots();
        let dir = snapshots.place(id)?;
        if sized::is_mount(&dir) {
            sized::unmount(&dir)?;
        }
        let _ = fs::remove_file(self.layer_image(id));
        Ok(snapshots.remove(id)?)
    }
}

/// A number that nobody in `taken` has; two containers made at the same time look in different places.
fn allocate(id: &str, taken: &HashSet<u32>) -> Option<u32> {
    let start = u32::from_str_radix(id.get(..7).unwrap_or("0"), 16).unwrap_or(0);
    (0..PROJECTS).map(|step| FIRST_PROJECT + (start + step) % PROJECTS).find(|project| !taken.contains(project))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(key: &str, value: &str) -> Result<Option<u64>> {
        let storage_opt = [(key.to_owned(), value.to_owned())].into();
        limit(&HostConfig { storage_opt, ..HostConfig::default() })
    }

    #[test]
    fn a_size_is_the_only_option() {
        assert_eq!(asked("size", "10M").unwrap(), Some(10 << 20));
        assert_eq!(asked("size", "0").unwrap(), None);
        assert_eq!(asked("colour", "red").unwrap_err().message, "Unknown option colour");
        assert!(asked("size", "much").is_err());
    }

    #[test]
    fn a_project_is_one_containers_alone() {
        let first = allocate("0123456789", &HashSet::new()).unwrap();
        assert_ne!(allocate("0123456789", &HashSet::from([first])).unwrap(), first);
        assert!((FIRST_PROJECT..FIRST_PROJECT + PROJECTS).contains(&allocate("fffffff", &HashSet::new()).unwrap()));
    }
}
