//! Device nodes, and the links and the console that a `/dev` has.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{CWD, FileType, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;
use teu_oci::runtime::Device;
use teu_sys::fs::Root;
use teu_sys::mount;

use crate::Error;
use crate::error::During;
use crate::mounts::plan::{Planned, Source};

/// Nodes that every container has: name, major, minor.
const NODES: [(&str, u32, u32); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];

/// Links that every container has.
const LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];

/// Fills `/dev`. Expects that the umask is 0.
///
/// A `/dev` that is the host's, or somebody else's, stays as it is. Where ids are mapped, the kernel lets nobody make a
/// node, and the host's own is bound in its place.
pub(crate) fn make(root: &Root, devices: &[Device], mounts: &[Planned], mapped: bool) -> Result<(), Error> {
    let bound = |planned: &Planned| {
        planned.destination.trim_end_matches('/') == "/dev" && matches!(planned.source, Source::Bind { .. })
    };
    if mounts.iter().any(bound) {
        return Ok(());
    }
    let dev = root.create_dir_all("dev", 0o755).during("open /dev")?;
    for (name, major, minor) in NODES {
        let number = rustix::fs::makedev(major, minor);
        let made = if mapped {
            bind_node(&dev, name, &format!("/dev/{name}"))
        } else {
            unless_there(rustix::fs::mknodat(&dev, name, FileType::CharacterDevice, Mode::from_raw_mode(0o666), number))
        };
        made.during_with(|| format!("make /dev/{name}"))?;
    }
    for (name, target) in LINKS {
        unless_there(rustix::fs::symlinkat(target, &dev, name)).during_with(|| format!("link /dev/{name}"))?;
    }
    devices.iter().try_for_each(|device| make_one(root, device, mapped))
}

/// The nodes of a container: those that every one has, and its own.
pub(crate) fn paths(devices: &[Device]) -> Vec<String> {
    let all = NODES.iter().map(|(name, ..)| format!("/dev/{name}"));
    all.chain(devices.iter().map(|device| device.path.clone())).collect()
}

/// Puts the host's node `source` at `name`.
fn bind_node(dev: impl AsFd, name: &str, source: &str) -> io::Result<()> {
    unless_there(rustix::fs::mknodat(&dev, name, FileType::RegularFile, Mode::from_raw_mode(0o600), 0))?;
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let place = rustix::fs::openat(&dev, name, flags, Mode::empty())?;
    mount::attach(mount::clone_tree(CWD, std::path::Path::new(source), false)?, place)
}

/// What the image or an earlier mount has put there stays.
fn unless_there(made: rustix::io::Result<()>) -> io::Result<()> {
    match made {
        Err(Errno::EXIST) => Ok(()),
        other => Ok(other?),
    }
}

fn make_one(root: &Root, device: &Device, mapped: bool) -> Result<(), Error> {
    let path = device.path.as_str();
    let kind = match device.kind.as_str() {
        "c" | "u" => FileType::CharacterDevice,
        "b" => FileType::BlockDevice,
        "p" => FileType::Fifo,
        other => return Err(Error::refused(format!("make device {path}: there is no type \"{other}\""))),
    };
    let Some((above, name)) = path.rsplit_once('/').filter(|(_, name)| !matches!(*name, "" | "." | "..")) else {
        return Err(Error::refused(format!("make device \"{path}\": not the path of a file")));
    };
    let mode = Mode::from_raw_mode(device.file_mode.unwrap_or(0o666) & 0o7777);
    let make = || -> io::Result<()> {
        let directory = root.create_dir_all(above, 0o755)?;
        if mapped && kind != FileType::Fifo {
            return bind_node(&directory, name, path);
        }
        let number = rustix::fs::makedev(device.major, device.minor);
        unless_there(rustix::fs::mknodat(&directory, name, kind, mode, number))?;
        if device.uid.is_some() || device.gid.is_some() {
            let (uid, gid) = (device.uid.map(Uid::from_raw), device.gid.map(Gid::from_raw));
            rustix::fs::chownat(&directory, name, uid, gid, rustix::fs::AtFlags::SYMLINK_NOFOLLOW)?;
        }
        Ok(())
    };
    make().during_with(|| format!("make device {path}"))
}

/// Puts the terminal `replica` at `/dev/console`.
pub(crate) fn bind_console(root: &Root, replica: BorrowedFd<'_>) -> Result<(), Error> {
    let bind = || -> io::Result<()> {
        let dev = root.create_dir_all("dev", 0o755)?;
        let made = rustix::fs::mknodat(&dev, "console", FileType::RegularFile, Mode::from_raw_mode(0o600), 0);
        unless_there(made)?;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let place = rustix::fs::openat(&dev, "console", flags, Mode::empty())?;
        mount::attach(mount::clone_at(replica.as_fd(), false)?, place)
    };
    bind().during("bind /dev/console")
}
