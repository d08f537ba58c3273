//! A process that waits in a container's cgroups before the container is asked for.
//!
//! Joining a cgroup v1 makes the kernel wait some 10 to 20 ms, which a child born there is spared. So a zygote joins
//! nameless cgroups ahead of time; when the container comes, the cgroups get its name, and the zygote gives birth to
//! init as a child of its own parent, and ends.
//!
//! ```text
//!  supervisor                          zygote
//!  /teu/.warm-…, clone ──────────────▶ joins them (slow), waits
//!  rename to the wanted path
//!  Birth (orders, descriptors) ──────▶ clone3(CLONE_PARENT) ──▶ init, see `sync`
//!                                ◀──── pid, pidfd; ends
//! ```
//!
//! Unused, it leaves no trace: dropped, it is killed and its cgroups removed; when the supervisor dies, it sees the end
//! of file, leaves its cgroups and removes them itself. Where there is no v1 hierarchy it is empty.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::MemfdFlags;
use teu_oci::runtime::Resources;
use teu_sys::process::{self, Child};

use crate::create::{self, Stdio};
use crate::error::{During, errno};
use crate::init::{self, Orders};
use crate::{Cgroup, Error, launch, sync};

/// A process that waits in a container's cgroups.
#[derive(Debug)]
pub struct Zygote {
    parts: Option<Parts>,
}

#[derive(Debug)]
struct Parts {
    child: Child,
    socket: OwnedFd,
    cgroup: Cgroup,
}

impl Zygote {
    /// Prepares one; returns at once, it joins its cgroups by itself. The caller is single-threaded.
    ///
    /// # Errors
    /// As making cgroups and processes.
    pub fn prepare() -> io::Result<Zygote> {
        let mut random = [0_u8; 8];
        rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())?;
        let name = format!("/teu/.warm-{:016x}", u64::from_ne_bytes(random));
        let cgroup = Cgroup::at(Path::new(&name)).map_err(io::Error::other)?;
        if !cgroup.make_legacy().map_err(io::Error::other)? {
            return Ok(Zygote { parts: None });
        }
        let (socket, theirs) = sync::pair()?;
        let mut joins = cgroup.open_legacy_joins()?;
        let child = process::spawn(0, None, || wait_for_birth(&cgroup, &mut joins, theirs.as_fd()));
        match child {
            Ok(child) => Ok(Zygote { parts: Some(Parts { child, socket, cgroup }) }),
            Err(error) => {
                cgroup.remove().unwrap_or_default();
                Err(error)
            }
        }
    }

    /// Whether it can become the container in cgroup `path`: v1 renames within one directory only, and a limit may
    /// need a hierarchy that it has not joined.
    pub(crate) fn suits(&self, path: &Path, resources: &Resources) -> bool {
        let Some(parts) = &self.parts else { return false };
        path.parent() == Some(Path::new("/teu")) && parts.cgroup.joined_for(resources)
    }

    /// Becomes a container's first process.
    pub(crate) fn become_init(
        mut self,
        path: &Path,
        resources: &Resources,
        orders: &mut Orders,
        stdio: Option<&Stdio>,
        sync: OwnedFd,
    ) -> Result<(Child, Cgroup), Error> {
        let Some(parts) = self.parts.take() else { return Err(Error::refused("use the zygote: it is empty")) };
        let cgroup = Cgroup::at(path)?;
        let born = cgroup.adopt(&parts.cgroup, resources).and_then(|()| {
            orders.show_cgroup(&cgroup);
            give_birth(&parts, &cgroup, orders, stdio, sync.as_fd())
        });
        drop(sync);
        if born.is_err() {
            create::end(&parts.child);
            parts.cgroup.discard();
            cgroup.discard();
        } else {
            // It ends by itself right after the birth.
            process::wait(&parts.child.pidfd).during("reap the zygote")?;
        }
        Ok((born?, cgroup))
    }
}

impl Drop for Zygote {
    fn drop(&mut self) {
        if let Some(parts) = self.parts.take() {
            create::end(&parts.child);
            parts.cgroup.remove().unwrap_or_default();
        }
    }
}

/// The parent's side of a birth.
fn give_birth(
    parts: &Parts,
    cgroup: &Cgroup,
    orders: &Orders,
    stdio: Option<&Stdio>,
    sync: BorrowedFd<'_>,
) -> Result<Child, Error> {
    let ask = || -> io::Result<Option<Child>> {
        let memory = rustix::fs::memfd_create("orders", MemfdFlags::CLOEXEC)?;
        let mut file = File::from(memory);
        file.write_all(&serde_json::to_vec(orders)?)?;
        file.rewind()?;
        let unified = cgroup.open_unified()?;
        let mut fds = vec![file.as_fd(), sync];
        fds.extend(unified.as_ref().map(AsFd::as_fd));
        fds.extend(stdio.iter().flat_map(|stdio| stdio.borrow()));
        sync::send(parts.socket.as_fd(), &[unified.is_some().into(), stdio.is_some().into()], &fds)?;
        let mut answer = [0; 4];
        let (length, mut fds) = sync::take(parts.socket.as_fd(), &mut answer)?;
        let number = i32::from_ne_bytes(answer);
        match (length, fds.pop()) {
            (4, Some(pidfd)) => Ok(Some(Child { pid: number, pidfd })),
            (4, None) => Err(io::Error::from_raw_os_error(number)),
            _ => Ok(None),
        }
    };
    ask().during("make the container's process")?.ok_or_else(|| Error::refused("make the container: its zygote died"))
}

/// The zygote's story.
fn wait_for_birth(cgroup: &Cgroup, joins: &mut [File], socket: BorrowedFd<'_>) -> i32 {
    let joined = joins.iter_mut().try_for_each(|join| join.write_all(b"0"));
    let Ok(socket) = launch::settle(None, socket) else { return 1 };
    if joined.is_err() {
        return 1;
    }
    let mut header = [0; 2];
    match sync::take(socket, &mut header) {
        Ok((2, fds)) => {
            let (number, pidfd) = match deliver(header, fds) {
                Ok(Child { pid, pidfd }) => (pid, Some(pidfd)),
                Err(error) => (errno(&error), None),
            };
            let told = sync::send(socket, &number.to_ne_bytes(), pidfd.as_ref().map(AsFd::as_fd).as_slice());
            i32::from(told.is_err())
        }
        _ => {
            cgroup.abandon();
            0
        }
    }
}

/// Clones init as a sibling.
fn deliver([unified, stdio]: [u8; 2], fds: Vec<OwnedFd>) -> io::Result<Child> {
    let mut fds = fds.into_iter();
    let mut next = || fds.next().ok_or(io::Error::from(rustix::io::Errno::BADF));
    let mut text = Vec::new();
    File::from(next()?).read_to_end(&mut text)?;
    let orders: Orders = serde_json::from_slice(&text)?;
    let sync = next()?;
    let unified = if unified == 1 { Some(next()?) } else { None };
    let stdio = if stdio == 1 { Some([next()?, next()?, next()?]) } else { None };
    let unified = unified.as_ref().map(AsFd::as_fd);
    let run = || init::run(&orders, stdio.as_ref().map(|fds| fds.each_ref().map(AsFd::as_fd)), sync.as_fd());
    init::spawn(&orders.namespaces, process::PARENT, unified, run).map_err(|error| match error {
        Error::Step { errno, .. } => io::Error::from_raw_os_error(errno),
        other => io::Error::other(other),
    })
}
