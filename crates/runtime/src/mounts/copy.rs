//! Copying what is at a tmpfs' place into it (`tmpcopyup`), by descriptors only.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Uid};
use teu_sys::fs::{Dir, Root};

/// How deep a tree is copied.
const DEEPEST: u32 = 256;

/// Copies the content of the directory `from` into `to`: files, directories, links; owners and modes.
pub(super) fn copy_up(from: &OwnedFd, to: &OwnedFd) -> io::Result<()> {
    let open = |fd: &OwnedFd| Root::from_fd(fd.try_clone()?).dir(Path::new("."));
    copy(&open(from)?, &open(to)?, DEEPEST)
}

fn copy(from: &Dir, to: &Dir, depth: u32) -> io::Result<()> {
    if depth == 0 {
        return Err(io::Error::from(rustix::io::Errno::NAMETOOLONG));
    }
    for entry in from.entries()? {
        let name = entry.name.as_os_str();
        let stat = rustix::fs::statat(from.as_fd(), name, AtFlags::SYMLINK_NOFOLLOW)?;
        let mode = stat.st_mode & 0o7777;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                to.create_dir(name, mode)?;
                copy(&from.open_dir(name)?, &to.open_dir(name)?, depth - 1)?;
            }
            FileType::RegularFile => {
                let mut target = to.create_file(name, mode)?;
                io::copy(&mut from.open_file(name)?, &mut target)?;
            }
            FileType::Symlink => to.symlink(from.read_link(name)?, name)?,
            // Sockets and nodes mean nothing in a copy.
            _ => continue,
        }
        let (uid, gid) = (Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)));
        rustix::fs::chownat(to.as_fd(), name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
            // A change of owner takes the set-user-id bits away.
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
            let made = File::from(rustix::fs::openat(to.as_fd(), name, flags, Mode::empty())?);
            rustix::fs::fchmod(made, Mode::from_raw_mode(mode))?;
        }
    }
    Ok(())
}
