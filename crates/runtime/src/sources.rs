//! What a container mounts of the host's tree: opened by the parent, attached by init.
//!
//! The parent is in the host's mount namespace, init may be in one that has never seen it. So the parent makes each
//! mount as a descriptor, attached to nothing, and sends it along: first the root file system, then what the planned
//! mounts need, in their order. A mount that is lost on the way vanishes with its descriptor.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::CWD;
use teu_sys::mount::{self, Change, Propagation};

use crate::error::{During, at};
use crate::mounts::plan::{Attributes, Planned, Source};
use crate::{Error, Rootfs, sync};

/// The name (`None` for v2) and directory of the container's cgroup in each hierarchy.
pub(crate) type CgroupDirectories = Vec<(Option<String>, PathBuf)>;

/// Descriptors of mounts on their way.
#[derive(Debug)]
pub(crate) struct Sources {
    mounts: std::vec::IntoIter<OwnedFd>,
}

impl Sources {
    /// Makes them all.
    pub(crate) fn open(rootfs: &Rootfs, plan: &[Planned], cgroup: &CgroupDirectories) -> Result<Sources, Error> {
        let mut mounts = vec![rootfs.open().during("mount the root file system")?];
        for planned in plan {
            match &planned.source {
                Source::Bind { path, recursive } => mounts.push(bind(path, *recursive, planned)?),
                Source::Cgroup => {
                    for (_, directory) in cgroup {
                        mounts.push(copy(directory, planned).map_err(at(&planned.destination, "cgroup"))?);
                    }
                }
                Source::Filesystem { .. } => {}
            }
        }
        Ok(Sources { mounts: mounts.into_iter() })
    }

    /// How many [`Sources::open`] makes.
    pub(crate) fn count(plan: &[Planned], hierarchies: usize) -> usize {
        let of = |planned: &Planned| match planned.source {
            Source::Bind { .. } => 1,
            Source::Cgroup => hierarchies,
            Source::Filesystem { .. } => 0,
        };
        1 + plan.iter().map(of).sum::<usize>()
    }

    /// Sends them to init.
    pub(crate) fn send(self, socket: BorrowedFd<'_>) -> io::Result<()> {
        for some in self.mounts.as_slice().chunks(sync::MOST_DESCRIPTORS) {
            sync::send(socket, b"m", &some.iter().map(AsFd::as_fd).collect::<Vec<_>>())?;
        }
        Ok(())
    }

    /// Receives so many from the parent; none when it is gone.
    pub(crate) fn receive(socket: BorrowedFd<'_>, count: usize) -> io::Result<Option<Sources>> {
        let mut mounts = Vec::with_capacity(count);
        while mounts.len() < count {
            let (length, fds) = sync::take(socket, &mut [0; 1])?;
            if length == 0 {
                return Ok(None);
            }
            mounts.extend(fds);
        }
        Ok(Some(Sources { mounts: mounts.into_iter() }))
    }

    /// The next one.
    pub(crate) fn next(&mut self) -> Result<OwnedFd, Error> {
        self.mounts.next().ok_or_else(|| Error::refused("mount: a source is missing"))
    }
}

fn bind(path: &Path, recursive: bool, planned: &Planned) -> Result<OwnedFd, Error> {
    let destination = planned.destination.as_str();
    let step = || format!("bind {}", path.display());
    let tree = mount::clone_tree(CWD, path, recursive).map_err(|error| at(destination, &step())(error))?;
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
