//! What a volume's data is on, made and mounted.
//!
//! A size is enforced by a project quota where the file system of the data root has them, and otherwise by a file system in a
//! file ([`crate::sized`]), mounted while somebody uses it.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use teu_sys::{mount, quota};

use super::driver::{Backing, FileSystem, Wanted};
use super::{VolumeRecord, Volumes, lock, make_dir};
use crate::error::{Error, Result};
use crate::sized;

/// The first project number that volumes take: far from those that administrators choose.
const FIRST_PROJECT: u32 = 0x7465_0000;
const IMAGE: &str = "image.ext4";

impl Volumes {
    /// Makes a volume's folder and what its data is on.
    pub(super) fn build(&self, dir: &Path, wanted: &Wanted) -> Result<Backing> {
        make_dir(dir, 0o701)?;
        let data = dir.join("_data");
        make_dir(&data, 0o755)?;
        let Some(bytes) = wanted.size else { return Ok(wanted.backing.clone()) };
        let project = self.free_project()?;
        let folder = File::open(&data).map_err(|error| Error::io("open", &data, error))?;
        if quota::limit(&folder, project, bytes).is_ok() {
            return Ok(Backing::Quota { project, bytes });
        }
        sized::make(&dir.join(IMAGE), bytes)?;
        let backing = Backing::Image { bytes };
        // Programs take a folder that is not empty for one that is in use.
        sized::mount(&dir.join(IMAGE), &data)?;
        let emptied = fs::remove_dir(data.join("lost+found"));
        sized::unmount(&data)?;
        match emptied {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::io("prepare", &data, error)),
            _ => Ok(backing),
        }
    }

    fn free_project(&self) -> Result<u32> {
        let used = self.inner.table.list()?.into_iter().filter_map(|(_, record)| match record.backing {
            Backing::Quota { project, .. } => Some(project),
            _ => None,
        });
        Ok(used.max().map_or(FIRST_PROJECT, |most| most + 1))
    }

    /// Lets the limit of a volume go that is removed. What stays would limit nobody.
    pub(super) fn release_limit(&self, backing: &Backing) {
        if let (Backing::Quota { project, .. }, Ok(dir)) = (backing, File::open(&self.inner.dir)) {
            let _ = quota::unlimit(&dir, *project);
        }
    }

    /// Mounts what has to be mounted of the volume in `dir`, unless it is.
    pub(super) fn mount_at(&self, record: &VolumeRecord, dir: &Path) -> Result<()> {
        let data = dir.join("_data");
        if !needs_mount(&record.backing) || sized::is_mount(&data) {
            return Ok(());
        }
        match &record.backing {
            Backing::Image { .. } => sized::mount(&dir.join(IMAGE), &data),
            Backing::Mounted(file_system) => mount_file_system(file_system, &data),
            _ => Ok(()),
        }
    }

    /// Unmounts the volume in `dir` if it is mounted.
    pub(super) fn unmount_at(&self, record: &VolumeRecord, dir: &Path) -> Result<()> {
        let data = dir.join("_data");
        if needs_mount(&record.backing) && sized::is_mount(&data) { sized::unmount(&data) } else { Ok(()) }
    }

    /// Unmounts volumes of containers that ended while no daemon looked.
    pub(crate) fn unmount_unused(&self) {
        for (name, record) in self.inner.table.list().unwrap_or_default() {
            let gate = self.gate(&name);
            let mounted_for = lock(&gate.mounted_for);
            if mounted_for.is_empty()
                && let Err(error) = self.unmount_at(&record, &self.dir(&name))
            {
                tracing::warn!(%error, volume = name, "unmount a volume that nobody uses");
            }
        }
    }

    /// Bytes that its files take; none when that cannot be said without asking somebody else.
    pub(super) fn size(&self, name: &str, backing: &Backing) -> Option<u64> {
        match backing {
            Backing::Folder => Some(crate::usage::size(&self.data(name))),
            Backing::Quota { project, .. } => {
                let dir = File::open(&self.inner.dir).ok()?;
                quota::usage(&dir, *project).ok()
            }
            Backing::Image { .. } => fs::metadata(self.dir(name).join(IMAGE)).ok().map(|meta| meta.blocks() * 512),
            Backing::Bind { .. } | Backing::Mounted(_) => None,
        }
    }
}

/// Whether its data is somewhere else than in its folder until it is mounted.
pub(super) fn needs_mount(backing: &Backing) -> bool {
    matches!(backing, Backing::Image { .. } | Backing::Mounted(_))
}

fn mount_file_system(file_system: &FileSystem, data: &Path) -> Result<()> {
    let file_system = addressed(file_system.clone())?;
    let mut options = vec![("source", Some(file_system.device.as_str()))];
    options.extend(file_system.data.iter().map(|option| match option.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (option.as_str(), None),
    }));
    let made = mount::filesystem(&file_system.kind, &options, file_system.attributes);
    made.and_then(|made| sized::attach(&made, data)).map_err(|error| {
        let FileSystem { kind, device, .. } = &file_system;
        let shown = file_system.shown();
        let why = match rustix::io::Errno::from_io_error(&error) {
            Some(rustix::io::Errno::NODEV) => format!("this kernel has no file system \"{kind}\""),
            _ => error.to_string(),
        };
        Error::new(
            crate::Kind::Internal,
            format!(
                "failed to mount local volume: mount {device}:{}, type: {kind}, data: {shown}: {why}",
                data.display()
            ),
        )
    })
}

/// With the address of the host that only a name is given of: the kernel knows no names.
fn addressed(file_system: FileSystem) -> Result<FileSystem> {
    let Some(host) = file_system.host() else { return Ok(file_system) };
    let unresolved =
        |why: String| Error::internal(format!("error resolving passed in network volume address: {host}: {why}"));
    let lookup = teu_registry::client::lookup(host);
    let runtime = tokio::runtime::Handle::try_current().map_err(|error| unresolved(error.to_string()))?;
    let addresses = runtime.block_on(lookup).map_err(|error| unresolved(error.to_string()))?;
    let address = addresses.iter().find(|address| address.is_ipv4()).or(addresses.first());
    let address = address.ok_or_else(|| unresolved("no address".into()))?.to_string();
    Ok(file_system.at(&address))
}

/// A folder in which a volume is put together before it has its name.
pub(super) fn staging(volumes: &Volumes) -> Result<PathBuf> {
    let dir = volumes.inner.dir.join(format!(".making-{}", crate::container::names::random_id()?));
    fs::DirBuilder::new().mode(0o701).create(&dir).map_err(|error| Error::io("make", &dir, error))?;
    Ok(dir)
}
