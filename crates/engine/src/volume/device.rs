//! What a volume's data is on, made and mounted.
//!
//! A size is enforced by a project quota where the file system of the data root has them, and otherwise by a sized image:
//! a sparse file with an ext4 in it, on a loop device while it is mounted. Only `mkfs.ext4` can make that file system, and
//! it is the one program that volumes need, when one is made and never when one is used.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, StatxAttributes, StatxFlags};
use rustix::mount::UnmountFlags;
use teu_sys::{block, mount, quota};

use super::driver::{Backing, FileSystem, Wanted};
use super::{VolumeRecord, Volumes, lock, make_dir};
use crate::error::{Error, Result};

/// Less has no room for a file system of its own.
const LEAST_IMAGE: u64 = 4 << 20;
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
        make_image(&dir.join(IMAGE), bytes)?;
        let backing = Backing::Image { bytes };
        // Programs take a folder that is not empty for one that is in use.
        mount_image(dir)?;
        let emptied = fs::remove_dir(data.join("lost+found"));
        unmount(&data)?;
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
        if !needs_mount(&record.backing) || is_mount(&data) {
            return Ok(());
        }
        match &record.backing {
            Backing::Image { .. } => mount_image(dir),
            Backing::Mounted(file_system) => mount_file_system(file_system, &data),
            _ => Ok(()),
        }
    }

    /// Unmounts the volume in `dir` if it is mounted.
    pub(super) fn unmount_at(&self, record: &VolumeRecord, dir: &Path) -> Result<()> {
        let data = dir.join("_data");
        if needs_mount(&record.backing) && is_mount(&data) { unmount(&data) } else { Ok(()) }
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

/// Whether something is mounted on `path`, statx(2). Asked of the kernel alone: a server that is gone is not waited for.
fn is_mount(path: &Path) -> bool {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::STATX_DONT_SYNC;
    rustix::fs::statx(CWD, path, flags, StatxFlags::TYPE)
        .is_ok_and(|stat| stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

fn unmount(data: &Path) -> Result<()> {
    rustix::mount::unmount(data, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)
        .map_err(|error| Error::io("unmount", data, error.into()))
}

fn make_image(path: &Path, bytes: u64) -> Result<()> {
    if bytes < LEAST_IMAGE {
        return Err(Error::bad("a size below 4 MiB needs a file system with project quotas below the data root"));
    }
    let sparse = File::create(path).and_then(|file| file.set_len(bytes));
    sparse.map_err(|error| Error::io("make", path, error))?;
    let mut command = Command::new("mkfs.ext4");
    command.args(["-q", "-F", "-m", "0", "-E", "lazy_itable_init=1,lazy_journal_init=1,nodiscard"]).arg(path);
    match command.stdin(Stdio::null()).output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            Err(Error::internal(format!("make a file system of {bytes} bytes: mkfs.ext4: {}", said.trim())))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Error::bad(
            "a size needs a file system with project quotas below the data root, or the program mkfs.ext4: there is neither",
        )),
        Err(error) => Err(Error::internal(format!("run mkfs.ext4: {error}"))),
    }
}

fn mount_image(dir: &Path) -> Result<()> {
    let (image, data) = (dir.join(IMAGE), dir.join("_data"));
    let make = || -> io::Result<()> {
        let device = block::loop_device(&image)?;
        let source = device.path.to_string_lossy().into_owned();
        // Blocks of removed files go back to the disk.
        let made = mount::filesystem("ext4", &[("source", Some(&source)), ("discard", None)], 0)?;
        attach(&made, &data)
    };
    make().map_err(|error| Error::io("mount", &image, error))
}

fn mount_file_system(file_system: &FileSystem, data: &Path) -> Result<()> {
    let file_system = addressed(file_system.clone())?;
    let mut options = vec![("source", Some(file_system.device.as_str()))];
    options.extend(file_system.data.iter().map(|option| match option.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (option.as_str(), None),
    }));
    let made = mount::filesystem(&file_system.kind, &options, file_system.attributes);
    made.and_then(|made| attach(&made, data)).map_err(|error| {
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

fn attach(made: impl std::os::fd::AsFd, data: &Path) -> io::Result<()> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let target = rustix::fs::open(data, flags, Mode::empty())?;
    mount::attach(made, target)
}

/// A folder in which a volume is put together before it has its name.
pub(super) fn staging(volumes: &Volumes) -> Result<PathBuf> {
    let dir = volumes.inner.dir.join(format!(".making-{}", crate::container::names::random_id()?));
    fs::DirBuilder::new().mode(0o701).create(&dir).map_err(|error| Error::io("make", &dir, error))?;
    Ok(dir)
}
