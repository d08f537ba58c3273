//! A container whose configuration lists no mount namespace: it is in the runtime's, as the runtime spec has it
//! ("Namespaces": a type that is not listed is inherited).
//!
//! Its tree is built like any other, in a mount namespace where only init is. When it is whole, a copy of it is shown
//! in the runtime's at the root's own path, and init goes back there and makes it its root by chroot(2). So what comes to
//! nothing while it is made has never been seen, and the runtime's other mounts are as they were, their propagation too.
//!
//! ```text
//!  parent                                   init
//!             ◀────────── Whole(a copy of the tree)
//!  Supplied(the runtime's mount namespace), Supplied(the lower mount) ───▶
//!  attaches both
//!  Go ──────────────────────▶ goes back, chroot
//! ```
//!
//! There are two mounts. The lower one is the root's directory over itself, and private, because the place may be one
//! whose mounts appear in other namespaces: what lies on a private mount does not, and keeps the propagation that the
//! configuration asks for. Whoever made the container takes both off when it is deleted; init does when its parent is
//! gone before the container has been handed over.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags};
use serde::{Deserialize, Serialize};
use teu_sys::mount::{self, Change, Propagation};
use teu_sys::namespace;

use crate::Error;
use crate::error::During;
use crate::sync::{self, Order, Report};

const SHOW: &str = "show the container's tree";

/// The mounts of a container in the runtime's mount namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    /// Where they lie, without links.
    pub place: PathBuf,
    /// Their ids, the lower one's first.
    mounts: Vec<u64>,
}

impl Shown {
    /// Shows a tree in the caller's mount namespace, over the directory `place`, once its owner has what it takes to go
    /// there and to take it off.
    pub(crate) fn show(tree: &OwnedFd, place: &Path, socket: BorrowedFd<'_>) -> Result<Shown, Error> {
        let during = || format!("{SHOW} at {}", place.display());
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let target = rustix::fs::open(place, flags, Mode::empty()).during_with(during)?;
        let real = std::fs::read_link(format!("/proc/self/fd/{}", target.as_raw_fd())).during_with(during)?;
        let lower = mount::clone_at(&target, false).during_with(during)?;
        let own = std::fs::File::open("/proc/self/ns/mnt").during_with(during)?;
        for fd in [own.into(), lower.try_clone().during_with(during)?] {
            sync::order(socket, &Order::Supplied(fd)).during_with(during)?;
        }
        mount::attach(&lower, target).during_with(during)?;
        let attach = || -> io::Result<Vec<u64>> {
            let private = Change { propagation: Some(Propagation::Private), ..Change::default() };
            mount::set_attributes(&lower, false, private)?;
            let ids = vec![mount::mount_id(&lower, "")?, mount::mount_id(tree, "")?];
            mount::attach(tree, &lower)?;
            Ok(ids)
        };
        let mounts = attach().inspect_err(|_| {
            // The error that led here is the one to tell.
            let _ = mount::take_off(lower.as_fd());
        });
        Ok(Shown { place: real, mounts: mounts.during_with(during)? })
    }

    /// Takes off what is still there of it.
    ///
    /// # Errors
    /// When something else has been mounted over it, which is then not touched, and what the kernel says.
    pub fn take_off(&self) -> Result<(), Error> {
        let during = || format!("take the container's tree off {}", self.place.display());
        for id in self.mounts.iter().rev() {
            let table = std::fs::read("/proc/self/mountinfo").during_with(during)?;
            if !mount::table(&table).any(|(known, point)| known == *id && point == self.place) {
                continue;
            }
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let top = rustix::fs::open(&self.place, flags, Mode::empty()).during_with(during)?;
            if mount::mount_id(&top, "").during_with(during)? != *id {
                let what = "something else is mounted over it, and has to be taken off first";
                return Err(Error::refused(format!("{}: {what}", during())));
            }
            mount::take_off(top.as_fd()).during_with(during)?;
        }
        Ok(())
    }
}

/// Init's part in it: what it has to take off itself if nobody is left who knows of it.
#[derive(Debug)]
pub(crate) struct Return {
    own: OwnedFd,
    lower: OwnedFd,
}

impl Return {
    /// Tells that the tree at `root` is whole, and what is needed to be shown. Returns the copy that is the container's.
    pub(crate) fn ask(
        root: impl AsFd,
        socket: BorrowedFd<'_>,
        mut supplied: impl FnMut() -> Result<OwnedFd, Error>,
    ) -> Result<(OwnedFd, Return), Error> {
        let tree = mount::clone_at(root, true).during(SHOW)?;
        sync::report(socket, &Report::Whole, Some(tree.as_fd())).during(SHOW)?;
        Ok((tree, Return { own: supplied()?, lower: supplied()? }))
    }

    /// Goes back to the runtime's mount namespace.
    pub(crate) fn go(&self) -> Result<(), Error> {
        namespace::enter(&self.own, namespace::MOUNT).during("enter the runtime's mount namespace")
    }

    /// Takes off what may have been attached: both, one, or none.
    pub(crate) fn undo(&self) {
        // Nobody is left to tell of an error. Where init has its tree as its root it is there already.
        let _ = self.go();
        while mount::take_off(self.lower.as_fd()).is_ok() {}
    }
}

/// The root of a process in the caller's mount namespace, which it may have by chroot(2) only; none for one in another.
pub(crate) fn root_beside(pid: &str) -> io::Result<Option<OwnedFd>> {
    let namespace = |pid: &str| rustix::fs::stat(format!("/proc/{pid}/ns/mnt"));
    let (theirs, own) = (namespace(pid)?, namespace("self")?);
    if (theirs.st_dev, theirs.st_ino) != (own.st_dev, own.st_ino) {
        return Ok(None);
    }
    let root = rustix::fs::openat(CWD, format!("/proc/{pid}/root"), OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    Ok(Some(root))
}
