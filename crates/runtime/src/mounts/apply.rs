//! Makes planned mounts inside the container's root, before it is the root.
//!
//! Every target is resolved in the root by descriptor, made if it is missing, and the mount lands on that descriptor:
//! a link in the image leads nowhere else. What was learned on the way and is needed later (the fresh procfs, the
//! devpts) is kept in [`Mounts`].

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use teu_sys::fs::Root;
use teu_sys::mount::{self, Change, attribute};

use super::plan::{Planned, Source};
use crate::Error;
use crate::error::at;

/// What of procfs may be replaced by a mount; nothing else on it is a target.
const IN_PROC: [&str; 11] = [
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/uptime",
    "/proc/loadavg",
    "/proc/slabinfo",
    "/proc/net/dev",
    "/proc/sys/kernel/ns_last_pid",
    "/proc/sys/crypto/fips_enabled",
];
/// How many links may lead from one to the next, as path_resolution(7) has it.
const LONGEST_CHAIN: u32 = 40;
/// The magic number of procfs, statfs(2).
const PROC_MAGIC: i64 = 0x9fa0;

/// Mounts that later steps need.
#[derive(Debug, Default)]
pub(crate) struct Mounts {
    /// The container's procfs, as it was when nobody else had seen it.
    pub(crate) proc: Option<OwnedFd>,
    /// The container's terminals.
    pub(crate) devpts: Option<OwnedFd>,
    /// A `/dev` that becomes read-only when its nodes are made.
    pub(crate) read_only_dev: Option<OwnedFd>,
}

/// Where mounts of the host's tree come from: those that were sent, and those that are asked for only when what comes
/// before them is there.
pub(crate) trait Supply {
    /// The next of those that were sent.
    fn next(&mut self) -> Result<OwnedFd, Error>;

    /// The one at this place in the plan, if it is asked for.
    fn ask(&mut self, place: usize) -> Result<Option<OwnedFd>, Error>;
}

/// Makes every mount, in order. `hierarchies` are the names of the cgroup hierarchies that are shown.
pub(crate) fn apply(
    root: &Root,
    plan: &[Planned],
    hierarchies: &[Option<String>],
    supply: &mut impl Supply,
) -> Result<Mounts, Error> {
    let mut mounts = Mounts::default();
    for (place, planned) in plan.iter().enumerate() {
        match planned.source {
            Source::Cgroup => mount_cgroup(root, planned, hierarchies, supply)?,
            Source::Filesystem { .. } => apply_one(root, planned, None, &mut mounts)?,
            Source::Remount { ref data } => remount(root, planned, data)?,
            Source::Bind { .. } | Source::Layers(_) => {
                let tree = match supply.ask(place)? {
                    Some(tree) => tree,
                    None => supply.next()?,
                };
                apply_one(root, planned, Some(tree), &mut mounts)?;
            }
        }
    }
    Ok(mounts)
}

fn apply_one(root: &Root, planned: &Planned, tree: Option<OwnedFd>, mounts: &mut Mounts) -> Result<(), Error> {
    let destination = planned.destination.as_str();
    let (kind, made) = match (&planned.source, tree) {
        (Source::Filesystem { kind, data }, _) if kind == "tmpfs" => {
            (kind.as_str(), filesystem(kind, &with_mode(root, destination, data), planned, mounts)?)
        }
        (Source::Filesystem { kind, data }, _) => (kind.as_str(), filesystem(kind, data, planned, mounts)?),
        (_, Some(tree)) => ("", tree),
        (_, None) => return Err(Error::refused(format!("mount {destination}: its source is missing"))),
    };
    let target = if matches!(kind, "proc" | "sysfs") {
        real_directory(root, destination)?
    } else {
        target(root, destination, is_directory(&made).map_err(at(destination, "look at the source"))?)?
    };
    refuse_in_proc(&target, destination)?;
    if planned.copy_up {
        super::copy::copy_up(&target, &made).map_err(at(destination, "fill the tmpfs"))?;
    }
    mount::attach(&made, target).map_err(at(destination, "attach"))?;
    match kind {
        "proc" => mounts.proc = Some(made),
        "devpts" => mounts.devpts = Some(made),
        _ => {}
    }
    Ok(())
}

/// Changes what is mounted at the destination already.
fn remount(root: &Root, planned: &Planned, data: &[(String, Option<String>)]) -> Result<(), Error> {
    let destination = planned.destination.as_str();
    let there = root.open_path(destination).map_err(at(destination, "open the target"))?;
    let (own, all) = (planned.own, planned.all);
    let travels = planned.propagation.filter(|(_, recursive)| !recursive).map(|(propagation, _)| propagation);
    let change = Change { set: own.set, clear: own.clear, propagation: travels };
    let not_mounted = |error: io::Error| match error.raw_os_error() {
        Some(errno) if errno == Errno::INVAL.raw_os_error() => Error::refused(format!(
            "mount {destination}: remount of what is no mount, or with options it does not have"
        )),
        _ => at(destination, "remount")(error),
    };
    mount::set_attributes(&there, false, change).map_err(not_mounted)?;
    let travels = planned.propagation.filter(|(_, recursive)| *recursive).map(|(propagation, _)| propagation);
    if all.set | all.clear != 0 || travels.is_some() {
        let change = Change { set: all.set, clear: all.clear, propagation: travels };
        mount::set_attributes(&there, true, change).map_err(at(destination, "remount"))?;
    }
    if data.is_empty() {
        return Ok(());
    }
    let options: Vec<_> = data.iter().map(|(key, value)| (key.as_str(), value.as_deref())).collect();
    mount::reconfigure(&there, &options).map_err(not_mounted)
}

/// A tmpfs takes the mode of the directory it covers where it was given none.
fn with_mode(root: &Root, destination: &str, data: &[(String, Option<String>)]) -> Vec<(String, Option<String>)> {
    let mut data = data.to_vec();
    if !data.iter().any(|(key, _)| key == "mode")
        && let Ok(covered) = root.open_path(destination).and_then(|covered| Ok(rustix::fs::fstat(covered)?))
    {
        data.push(("mode".to_owned(), Some(format!("{:o}", covered.st_mode & 0o7777))));
    }
    data
}

fn filesystem(
    kind: &str,
    data: &[(String, Option<String>)],
    planned: &Planned,
    mounts: &mut Mounts,
) -> Result<OwnedFd, Error> {
    let destination = planned.destination.as_str();
    let options: Vec<_> = data.iter().map(|(key, value)| (key.as_str(), value.as_deref())).collect();
    let mut attributes = planned.own.set | planned.all.set;
    let read_only_dev = destination == "/dev" && attributes & attribute::READ_ONLY != 0;
    if read_only_dev {
        attributes &= !attribute::READ_ONLY;
    }
    let made = mount::filesystem(kind, &options, attributes).map_err(at(destination, kind))?;
    if let Some((propagation, _)) = planned.propagation {
        let change = Change { propagation: Some(propagation), ..Change::default() };
        mount::set_attributes(&made, false, change).map_err(at(destination, "set propagation"))?;
    }
    if read_only_dev {
        mounts.read_only_dev = Some(made.try_clone().map_err(at(destination, kind))?);
    }
    Ok(made)
}

/// Mounts the container's cgroup: itself on a v2 machine, one directory for each hierarchy on others.
fn mount_cgroup(
    root: &Root,
    planned: &Planned,
    hierarchies: &[Option<String>],
    supply: &mut impl Supply,
) -> Result<(), Error> {
    let destination = planned.destination.as_str();
    let attributes = planned.own.set | planned.all.set;
    let place = target(root, destination, true)?;
    refuse_in_proc(&place, destination)?;
    if let [None] = hierarchies {
        return mount::attach(supply.next()?, place).map_err(at(destination, "attach"));
    }
    let options = [("source", Some("cgroup")), ("mode", Some("755")), ("size", Some("64k"))];
    let cover = mount::filesystem("tmpfs", &options, attributes & !attribute::READ_ONLY);
    let cover = cover.map_err(at(destination, "tmpfs"))?;
    mount::attach(&cover, place).map_err(at(destination, "attach"))?;
    for name in hierarchies {
        show_hierarchy(&cover, hierarchy_name(name.as_deref()), supply.next()?).map_err(at(destination, "cgroup"))?;
    }
    let change = Change { set: attributes, ..Change::default() };
    mount::set_attributes(&cover, false, change).map_err(at(destination, "set attributes"))
}

/// The directory that shows a hierarchy.
pub(crate) fn hierarchy_name(name: Option<&str>) -> &str {
    name.map_or("unified", |name| name.strip_prefix("name=").unwrap_or(name))
}

fn show_hierarchy(cover: &OwnedFd, name: &str, hierarchy: OwnedFd) -> io::Result<()> {
    rustix::fs::mkdirat(cover, name, Mode::from_raw_mode(0o755))?;
    let place = rustix::fs::openat(cover, name, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    mount::attach(hierarchy, place)?;
    link_controllers(cover, name)
}

/// Programs look for `cpu` where the hierarchy is called `cpu,cpuacct`.
fn link_controllers(cover: &OwnedFd, name: &str) -> io::Result<()> {
    if name.contains(',') {
        for controller in name.split(',') {
            rustix::fs::symlinkat(name, cover, controller)?;
        }
    }
    Ok(())
}

/// The place of a mount, made if it is missing: a directory for a directory, an empty file for anything else.
pub(crate) fn target(root: &Root, destination: &str, directory: bool) -> Result<OwnedFd, Error> {
    match root.open_path(destination) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        other => return other.map_err(at(destination, "open the target")),
    }
    let make = || -> io::Result<OwnedFd> {
        if directory {
            root.create_dir_all(destination, 0o755)?;
        } else {
            make_file(root, Path::new(destination), LONGEST_CHAIN)?;
        }
        root.open_path(destination)
    };
    make().map_err(at(destination, "make the target"))
}

/// Makes an empty file, where the links at its place lead to if there are any, with the directories above.
fn make_file(root: &Root, path: &Path, links: u32) -> io::Result<()> {
    if links == 0 {
        return Err(io::Error::from(Errno::LOOP));
    }
    let above = path.parent().unwrap_or(Path::new("/"));
    root.create_dir_all(above, 0o755)?;
    let (directory, name) = root.parent_of(path)?;
    match directory.find(&name)? {
        Some(found) if found.is_symlink() => {
            // Absolute or not, it is resolved in the root.
            let target = root.real_path(above)?.join(directory.read_link(&name)?);
            make_file(root, &target, links - 1)
        }
        Some(_) => Ok(()),
        None => directory.create_file(&name, 0o644).map(drop),
    }
}

/// The place of procfs or sysfs, which later steps trust to be where its name says: no link leads to it.
fn real_directory(root: &Root, destination: &str) -> Result<OwnedFd, Error> {
    let open = || {
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS;
        rustix::fs::openat2(root, destination, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve)
    };
    match open() {
        Err(Errno::NOENT) => {
            root.create_dir_all(destination, 0o755).map_err(at(destination, "make the target"))?;
            open().map_err(|error| at(destination, "open the target")(error.into()))
        }
        Err(Errno::LOOP | Errno::NOTDIR) => Err(Error::refused(format!(
            "mount {destination}: it must be mounted on ordinary directory, and a symbolic link is on the way"
        ))),
        other => other.map_err(|error| at(destination, "open the target")(error.into())),
    }
}

fn refuse_in_proc(target: &OwnedFd, destination: &str) -> Result<(), Error> {
    let kind = rustix::fs::fstatfs(target).map_err(|error| at(destination, "look at the target")(error.into()))?.f_type;
    if kind != PROC_MAGIC || IN_PROC.contains(&destination) {
        return Ok(());
    }
    Err(Error::refused(format!("mount {destination}: inside /proc")))
}

pub(crate) fn is_directory(fd: impl AsFd) -> io::Result<bool> {
    Ok(FileType::from_raw_mode(rustix::fs::fstat(fd)?.st_mode) == FileType::Directory)
}
