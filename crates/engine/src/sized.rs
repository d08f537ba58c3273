//! A file system of a size: an ext4 in a sparse file, on a loop device while it is mounted.
//!
//! For volumes and write layers with a limit, where the data root has no project quotas. Only `mkfs.ext4` can make one; it is
//! run when one is made and never when one is used.

use std::fs::File;
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, StatxAttributes, StatxFlags};
use rustix::mount::UnmountFlags;
use teu_sys::{block, mount};

use crate::error::{Error, Result};

/// Less has no room for a file system of its own.
const LEAST: u64 = 4 << 20;

/// Makes a sparse file of that size with an empty file system in it.
///
/// # Errors
/// When there is no program for it, or no room.
pub(crate) fn make(path: &Path, bytes: u64) -> Result<()> {
    if bytes < LEAST {
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

/// Mounts the file system in `image` on the folder `data`.
///
/// # Errors
/// When the file holds none, or there is no loop device.
pub(crate) fn mount(image: &Path, data: &Path) -> Result<()> {
    let make = || -> io::Result<()> {
        let device = block::loop_device(image)?;
        let source = device.path.to_string_lossy().into_owned();
        // Blocks of removed files go back to the disk.
        let made = mount::filesystem("ext4", &[("source", Some(&source)), ("discard", None)], 0)?;
        attach(&made, data)
    };
    make().map_err(|error| Error::io("mount", image, error))
}

/// Puts a mount that is attached to nothing on a folder.
///
/// # Errors
/// When that is no folder.
pub(crate) fn attach(made: impl std::os::fd::AsFd, data: &Path) -> io::Result<()> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let target = rustix::fs::open(data, flags, Mode::empty())?;
    mount::attach(made, target)
}

/// Lets go of it; what somebody still has open stays until they close it.
pub(crate) fn unmount(data: &Path) -> Result<()> {
    rustix::mount::unmount(data, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)
        .map_err(|error| Error::io("unmount", data, error.into()))
}

/// Whether something is mounted on `path`, statx(2). Asked of the kernel alone: a server that is gone is not waited for.
pub(crate) fn is_mount(path: &Path) -> bool {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::STATX_DONT_SYNC;
    rustix::fs::statx(CWD, path, flags, StatxFlags::TYPE)
        .is_ok_and(|stat| stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}
