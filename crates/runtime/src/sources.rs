//! What a container mounts of the host's tree: opened by the parent, attached by init.
//!
//! The parent is in the host's mount namespace, init may be in one that has never seen it. So the parent makes each
//! mount as a descriptor, attached to nothing, and sends it along: first the root file system, then what the planned
//! mounts need, in their order. A mount that is lost on the way vanishes with its descriptor. A mount namespace to be
//! joined goes in front of them all. They travel in two parts: the first ends before the cgroup is shown, which is still
//! being made then.
//!
//! An ordinary user may copy mounts only in a mount namespace of their own: there init, which is in one, does it all.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::CWD;
use teu_sys::mount::{self, Change, Overlay, Propagation, attribute};
use teu_sys::namespace;

use crate::error::{During, at};
use crate::idmap::{self, Maps};
use crate::mounts::plan::{Attributes, Planned, Source};
use crate::namespaces::User;
use crate::orders::Orders;
use crate::{Cgroup, Error, Rootfs, sync};

/// The name (`None` for v2) and directory of the container's cgroup in each hierarchy.
pub(crate) type CgroupDirectories = Vec<(Option<String>, PathBuf)>;

/// Descriptors of mounts on their way.
#[derive(Debug)]
pub(crate) struct Sources {
    mounts: std::vec::IntoIter<OwnedFd>,
}

impl Sources {
    /// Makes them all, but for those that are asked for later.
    pub(crate) fn open(rootfs: &Rootfs, orders: &Orders, cgroup: &CgroupDirectories) -> Result<Sources, Error> {
        let mut opener = Opener::new(orders)?;
        let mut mounts = opener.first(rootfs)?;
        mounts.extend(opener.rest(cgroup)?);
        Ok(Sources { mounts: mounts.into_iter() })
    }

    /// The next one.
    pub(crate) fn next(&mut self) -> Result<OwnedFd, Error> {
        self.mounts.next().ok_or_else(|| Error::refused("mount: a source is missing"))
    }
}

/// Makes them in two parts.
pub(crate) struct Opener<'a> {
    users: Users<'a>,
    /// The place in the plan of the next one.
    next: usize,
}

impl<'a> Opener<'a> {
    /// Refuses what an ordinary user cannot do.
    pub(crate) fn new(orders: &'a Orders) -> Result<Opener<'a>, Error> {
        if let Some(planned) = orders.mounts.iter().find(|planned| orders.opens_sources && planned.owners.is_some()) {
            let what = format!("mount {}: an ordinary user cannot show other owners", planned.destination);
            return Err(Error::refused(what));
        }
        Ok(Opener { users: Users { orders, made: Vec::new() }, next: 0 })
    }

    /// The mount namespace that is joined, the root, and what comes before the first mount of type cgroup.
    pub(crate) fn first(&mut self, rootfs: &Rootfs) -> Result<Vec<OwnedFd>, Error> {
        let orders = self.users.orders;
        let layers = matches!(rootfs, Rootfs::Overlay(_)) && orders.namespaces.user == User::Born;
        let root = || Some((orders.maps.host_user(0)?, orders.maps.host_group(0)?));
        let own = if layers {
            let root = root().ok_or_else(|| Error::refused("map ids: the container's root is in no map"))?;
            Some((self.users.find(&orders.maps)?, root))
        } else {
            None
        };
        let mut mounts =
            orders.namespaces.mount.as_deref().map(open_joined).transpose()?.into_iter().collect::<Vec<_>>();
        mounts.push(rootfs.open(own).during("mount the root file system")?);
        let end = orders.mounts.iter().position(|planned| planned.source == Source::Cgroup);
        self.open_until(end.unwrap_or(orders.mounts.len()), &Vec::new(), &mut mounts)?;
        Ok(mounts)
    }

    /// All that are left.
    pub(crate) fn rest(mut self, cgroup: &CgroupDirectories) -> Result<Vec<OwnedFd>, Error> {
        let mut mounts = Vec::new();
        self.open_until(self.users.orders.mounts.len(), cgroup, &mut mounts)?;
        Ok(mounts)
    }

    fn open_until(&mut self, end: usize, cgroup: &CgroupDirectories, mounts: &mut Vec<OwnedFd>) -> Result<(), Error> {
        let orders = self.users.orders;
        for (place, planned) in orders.mounts.iter().enumerate().take(end).skip(self.next) {
            match &planned.source {
                Source::Bind { .. } if orders.later.contains(&place) => {}
                Source::Bind { path, recursive } => {
                    let tree = copy_tree(path, *recursive, planned)?;
                    self.users.map(&tree, planned)?;
                    mounts.push(change(tree, *recursive, planned)?);
                }
                Source::Cgroup => {
                    for (_, directory) in cgroup {
                        mounts.push(copy(directory, planned).map_err(at(&planned.destination, "cgroup"))?);
                    }
                }
                Source::Layers(overlay) => mounts.push(self.users.layers(overlay, planned)?),
                Source::Filesystem { .. } | Source::Remount { .. } => {}
            }
        }
        self.next = end;
        Ok(())
    }
}

/// Sends mounts to init.
pub(crate) fn send(mounts: &[OwnedFd], socket: BorrowedFd<'_>) -> io::Result<()> {
    for some in mounts.chunks(sync::MOST_DESCRIPTORS) {
        sync::send(socket, sync::MOUNTS, &some.iter().map(AsFd::as_fd).collect::<Vec<_>>())?;
    }
    Ok(())
}

/// Opens the mount namespace that the container joins. Its members get the container's tree as their root, so it is
/// neither the runtime's nor the machine's.
fn open_joined(path: &Path) -> Result<OwnedFd, Error> {
    let file = std::fs::File::open(path).during_with(|| format!("open namespace {}", path.display()))?;
    let joined = rustix::fs::fstat(&file).during_with(|| format!("look at namespace {}", path.display()))?;
    for own in ["/proc/self/ns/mnt", "/proc/1/ns/mnt"] {
        // Not everybody may see those of the machine's first process, and then they may not enter them either.
        let Ok(own) = rustix::fs::stat(own) else { continue };
        if (own.st_dev, own.st_ino) == (joined.st_dev, joined.st_ino) {
            let what = format!(
                "use namespaces: {} is the host's mount namespace: who is to be there lists none",
                path.display()
            );
            return Err(Error::refused(what));
        }
    }
    Ok(file.into())
}

/// User namespaces for idmapped mounts. Mounts with the same maps share one.
struct Users<'a> {
    orders: &'a Orders,
    made: Vec<(&'a Maps, OwnedFd)>,
}

impl<'a> Users<'a> {
    /// Shows the tree's owners as the plan has it.
    fn map(&mut self, tree: &OwnedFd, planned: &'a Planned) -> Result<(), Error> {
        let Some(maps) = &planned.owners else { return Ok(()) };
        let users = self.find(maps)?;
        mount::map_owners(tree, planned.owners_below, users).map_err(at(&planned.destination, "map owners"))
    }

    fn find(&mut self, maps: &'a Maps) -> Result<BorrowedFd<'_>, Error> {
        let place = match self.made.iter().position(|(known, _)| *known == maps) {
            Some(place) => place,
            None => {
                self.made.push((maps, self.open(maps)?));
                self.made.len() - 1
            }
        };
        Ok(self.made[place].1.as_fd())
    }

    /// Layers as one tree, or a part of it; without an upper one it cannot be written.
    fn layers(&mut self, overlay: &Overlay, planned: &'a Planned) -> Result<OwnedFd, Error> {
        let read_only = if overlay.upper.is_none() { attribute::READ_ONLY } else { 0 };
        let set = planned.own.set | planned.all.set | read_only;
        let mapped = planned.owners.as_ref().map(|maps| self.find(maps)).transpose()?;
        let make = || -> io::Result<OwnedFd> {
            let whole = match mapped {
                // Nothing is ever made in it, so no owner is needed for that.
                Some(users) => overlay.mount_mapped(users, (0, 0))?,
                None => overlay.mount_detached()?,
            };
            let tree = match &planned.subpath {
                Some(subpath) => mount::part_of_detached(&whole, subpath)?,
                None => whole,
            };
            let change = Change { set, propagation: Some(Propagation::Private), ..Change::default() };
            mount::set_attributes(&tree, false, change)?;
            Ok(tree)
        };
        make().map_err(at(&planned.destination, "mount the layers"))
    }

    /// The user namespace that has these maps; without any it is the one that the container joins.
    fn open(&self, maps: &Maps) -> Result<OwnedFd, Error> {
        match &self.orders.namespaces.user {
            User::Joined(path) if maps.is_empty() => {
                let file = std::fs::File::open(path).during_with(|| format!("open namespace {}", path.display()))?;
                Ok(file.into())
            }
            _ => idmap::user_namespace(maps),
        }
    }
}

/// A mount that is made only when those before it are there: where it comes from, and whether with what is below.
fn planned_later(orders: &Orders, place: usize) -> Result<(&Planned, &Path, bool), Error> {
    let planned = orders.mounts.get(place).filter(|_| orders.later.contains(&place));
    let planned = planned.ok_or_else(|| Error::refused("make a mount: it is not in the plan"))?;
    match &planned.source {
        Source::Bind { path, recursive } => Ok((planned, path, *recursive)),
        _ => Err(Error::refused(format!("mount {}: not a bind", planned.destination))),
    }
}

/// Makes one mount of what lies in the caller's mount namespace, which is the container's.
pub(crate) fn make_one_here(orders: &Orders, place: usize) -> Result<OwnedFd, Error> {
    let (planned, path, recursive) = planned_later(orders, place)?;
    change(copy_tree(path, recursive, planned)?, recursive, planned)
}

/// Makes one mount of what lies in the container's mount namespace, where earlier mounts may have put it. A thread of
/// its own goes there for it.
pub(crate) fn make_one(orders: &Orders, place: usize, pid: i32) -> Result<OwnedFd, Error> {
    let (planned, path, recursive) = planned_later(orders, place)?;
    let there = std::fs::File::open(format!("/proc/{pid}/ns/mnt")).during("open the mount namespace")?;
    let go = || -> Result<OwnedFd, Error> {
        namespace::leave_files().during("part from other threads")?;
        namespace::enter(&there, namespace::MOUNT).during("enter the mount namespace")?;
        copy_tree(path, recursive, planned)
    };
    let broken = || Error::refused("make a mount: the visiting thread ended early");
    let tree = std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().spawn_scoped(scope, go).during("start a thread")?;
        thread.join().unwrap_or_else(|_| Err(broken()))
    })?;
    Users { orders, made: Vec::new() }.map(&tree, planned)?;
    change(tree, recursive, planned)
}

/// A writable cgroup belongs to the container's root, as the spec has it for cgroup v2.
pub(crate) fn delegate(orders: &Orders, cgroup: &Cgroup) -> Result<(), Error> {
    let writable = orders.mounts.iter().any(|planned| {
        planned.source == Source::Cgroup && (planned.own.set | planned.all.set) & attribute::READ_ONLY == 0
    });
    match orders.maps.host_user(0).filter(|_| writable && orders.namespaces.cgroup) {
        Some(owner) => match cgroup.give_to(owner) {
            // An ordinary user gives nothing away: it stays theirs, and is the container's root's if that is them.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied && orders.opens_sources => Ok(()),
            other => other.during("give the cgroup to the container's root"),
        },
        None => Ok(()),
    }
}

fn copy_tree(path: &Path, recursive: bool, planned: &Planned) -> Result<OwnedFd, Error> {
    let step = || format!("bind {}", path.display());
    let tree = match &planned.subpath {
        Some(subpath) => mount::clone_part(path, subpath, recursive),
        None => match elsewhere(path) {
            Some((namespace, inside)) => copy_there(&namespace, inside, recursive),
            None => mount::clone_tree(CWD, path, recursive),
        },
    };
    tree.map_err(|error| at(&planned.destination, &step())(error))
}

/// A path through the root of a process, `/proc/<pid>/root/…`, as that process's mount namespace and the path in it: mounts
/// can be copied only by who is in their namespace.
fn elsewhere(path: &Path) -> Option<(PathBuf, &Path)> {
    let mut parts = path.components();
    let mut next = || match parts.next() {
        Some(Component::Normal(name)) => name.to_str(),
        Some(Component::RootDir) => Some("/"),
        _ => None,
    };
    let through = next()? == "/" && next()? == "proc";
    let pid: u32 = next()?.parse().ok().filter(|_| through)?;
    if next()? != "root" {
        return None;
    }
    Some((PathBuf::from(format!("/proc/{pid}/ns/mnt")), parts.as_path()))
}

/// A copy made by a thread that goes there. What is there is another container's doing, so no link is followed.
fn copy_there(namespace: &Path, inside: &Path, recursive: bool) -> io::Result<OwnedFd> {
    let there = std::fs::File::open(namespace)?;
    let go = || {
        namespace::leave_files()?;
        namespace::enter(&there, namespace::MOUNT)?;
        mount::clone_linkless(&Path::new("/").join(inside), recursive)
    };
    std::thread::scope(|scope| {
        let broken = || io::Error::other("the visiting thread ended early");
        std::thread::Builder::new().spawn_scoped(scope, go)?.join().unwrap_or_else(|_| Err(broken()))
    })
}

/// Gives a copy of a tree the attributes of its plan.
fn change(tree: OwnedFd, recursive: bool, planned: &Planned) -> Result<OwnedFd, Error> {
    let destination = planned.destination.as_str();
    // A copy of a host's mount hears of the host's further mounts unless it is told not to.
    let (propagation, deep) = planned.propagation.unwrap_or((Propagation::Private, true));
    let whole = Change { set: planned.all.set, clear: planned.all.clear, propagation: None };
    let own = Change { set: planned.own.set, clear: planned.own.clear, propagation: None };
    let change = |deep: bool, change: Change| mount::set_attributes(&tree, deep, change);
    let events = Change { propagation: Some(propagation), ..Change::default() };
    if deep == recursive && planned.all == Attributes::default() && !recursive {
        change(false, Change { propagation: Some(propagation), ..own }).map_err(at(destination, "set attributes"))?;
        return Ok(tree);
    }
    change(deep, Change { set: whole.set, clear: whole.clear, ..events }).map_err(at(destination, "set attributes"))?;
    if !deep && planned.all != Attributes::default() {
        change(true, whole).map_err(at(destination, "set attributes"))?;
    }
    if planned.own != Attributes::default() {
        change(false, own).map_err(at(destination, "set attributes"))?;
    }
    Ok(tree)
}

/// A copy of a cgroup directory.
fn copy(directory: &Path, planned: &Planned) -> io::Result<OwnedFd> {
    let set = planned.own.set | planned.all.set;
    let tree = mount::clone_tree(CWD, directory, false)?;
    mount::set_attributes(&tree, false, Change { set, propagation: Some(Propagation::Private), ..Change::default() })?;
    Ok(tree)
}
