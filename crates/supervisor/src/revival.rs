//! A container that is to go on from a checkpoint, until it does: a process that holds its network namespace, so that its
//! network can be plugged in as that of any other, and what criu needs.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use teu_oci::runtime::{NamespaceKind, Resources, Spec};
use teu_runtime::checkpoint::{self, CgroupMode, Choices};
use teu_runtime::hooks::Identity;
use teu_runtime::{Cgroup, Created, Error, Process, Rootfs, Stdio};
use teu_sys::poll::Interests;
use teu_sys::process::{self, Child};
use teu_sys::{link, namespace};

use crate::children::step;
use crate::rundir::RunDir;

const SIGKILL: i32 = 9;
/// The place for criu's mounts in the task directory.
const PLACE: &str = "criu";

/// What waits for its start.
#[derive(Debug)]
pub(crate) enum Waiting {
    /// A container that is complete but for its program.
    Created(Created),
    /// One that was saved.
    Saved(Revival),
}

impl Waiting {
    /// The process by which its namespaces are found.
    pub(crate) fn pid(&self) -> i32 {
        match self {
            Waiting::Created(created) => created.pid(),
            Waiting::Saved(revival) => revival.holder.pid,
        }
    }

    /// The same, to wait on.
    pub(crate) fn pidfd(&self) -> BorrowedFd<'_> {
        match self {
            Waiting::Created(created) => created.pidfd(),
            Waiting::Saved(revival) => revival.holder.pidfd.as_fd(),
        }
    }

    /// Its cgroup.
    pub(crate) fn cgroup(&self) -> &Cgroup {
        match self {
            Waiting::Created(created) => created.cgroup(),
            Waiting::Saved(revival) => &revival.cgroup,
        }
    }
}

/// A container that was saved.
#[derive(Debug)]
pub(crate) struct Revival {
    holder: Child,
    cgroup: Cgroup,
    rootfs: Rootfs,
    stdio: Option<Stdio>,
    images: PathBuf,
    place: PathBuf,
    /// The cgroup is not ours to remove any more.
    begun: bool,
}

impl Revival {
    /// Makes what is there before the container goes on.
    pub(crate) fn prepare(
        dir: &RunDir,
        spec: &Spec,
        rootfs: Rootfs,
        stdio: Option<Stdio>,
        images: PathBuf,
    ) -> Result<Revival, Error> {
        let linux = spec.linux.as_ref();
        let own = linux.is_some_and(|linux| {
            linux.namespaces.iter().any(|one| one.kind == NamespaceKind::Network && one.path.is_none())
        });
        let none = Resources::default();
        let resources = linux.and_then(|linux| linux.resources.as_ref()).unwrap_or(&none);
        let path = linux.and_then(|linux| linux.cgroups_path.as_deref());
        let path = path.ok_or_else(|| Error::Refused { what: "restore: the spec has no cgroup".into() })?;
        let place = dir.path().map_err(step("find the task directory"))?.join(PLACE);
        let cgroup = Cgroup::create(path, resources)?;
        let kinds = if own { namespace::NETWORK } else { 0 };
        let holder = process::spawn(kinds, None, || hold(own));
        let holder = holder.map_err(step("make a network namespace")).inspect_err(|_| drop(cgroup.remove()))?;
        Ok(Revival { holder, cgroup, rootfs, stdio, images, place, begun: false })
    }

    /// Has the container go on, as a child of this process.
    pub(crate) fn start(mut self, spec: &Spec, identity: &Identity) -> Result<Process, Error> {
        let own = spec.linux.iter().flat_map(|linux| &linux.namespaces);
        let own = own.filter(|one| one.kind == NamespaceKind::Network && one.path.is_none()).count() > 0;
        let open = || std::fs::File::open(format!("/proc/{}/ns/net", self.holder.pid)).map(OwnedFd::from);
        let network = if own { Some(open().map_err(step("open the network namespace"))?) } else { None };
        std::fs::create_dir_all(&self.place).map_err(step("make a place for mounts"))?;
        let (rootfs, place) = (self.rootfs.clone(), self.place.clone());
        let revival = checkpoint::Revival {
            spec,
            rootfs: &rootfs,
            identity: identity.clone(),
            stdio: self.stdio.take(),
            place: &place,
            cgroup: self.cgroup.clone(),
            network,
        };
        self.begun = true;
        // It comes back in the cgroup that criu is in.
        let cgroups = Some(CgroupMode::Ignore);
        let choices = Choices { images: self.images.clone(), file_locks: true, cgroups, ..Choices::default() };
        checkpoint::restore(revival, &choices, &mut |_| Ok(()))
    }
}

impl Drop for Revival {
    fn drop(&mut self) {
        // Of the container's it has nothing but the network namespace, which lives on in the container.
        let _ = process::send_signal(&self.holder.pidfd, SIGKILL);
        let _ = process::wait(&self.holder.pidfd);
        let _ = std::fs::remove_dir(&self.place);
        if !self.begun {
            let _ = self.cgroup.remove();
        }
    }
}

/// Holds a network namespace, and nothing else, until it is killed or its maker is gone.
fn hold(own: bool) -> i32 {
    let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
    if own && link::loopback_up().is_err() || process::close_from(0).is_err() {
        return 1;
    }
    loop {
        let _ = Interests::new().wait(None);
    }
}
