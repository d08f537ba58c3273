//! A process that waits, ready to become a container, before the container is asked for.
//!
//! What takes long and is the same for most containers is done ahead of time: joining cgroups (v1 makes the kernel wait
//! 10 to 20 ms), new namespaces, and a mount namespace that has let go of the host's tree and whose root is an empty
//! directory. When the container comes, the cgroups get its name, and the zygote gives birth to init as a child of its
//! own parent, in all of these, and ends.
//!
//! ```text
//!  supervisor                          zygote
//!  /teu/.warm-…, clone ──────────────▶ joins them (slow), unshares, empties its tree
//!                                ◀──── its network namespace: it is ready; waits
//!  rename to the wanted path
//!  Birth (orders, descriptors) ──────▶ clone3(CLONE_PARENT) ──▶ init, see `sync`
//!                                ◀──── pid, pidfd; ends
//! ```
//!
//! A container that shares a namespace with the host makes the zygote go back to it first. Unused, it leaves no trace:
//! dropped, it is killed and its cgroups removed; when the supervisor dies, it sees the end of file, leaves its cgroups
//! and removes them itself.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::MemfdFlags;
use teu_oci::runtime::Resources;
use teu_sys::mount::{self, Propagation, attribute};
use teu_sys::namespace;
use teu_sys::process::{self, Child};

use crate::create::{self, Stdio};
use crate::error::{During, errno};
use crate::namespaces::Namespaces;
use crate::orders::Orders;
use crate::sources::CgroupDirectories;
use crate::{Cgroup, Error, birth, init, launch, sync};

/// The kinds of namespaces that are made ahead of time, besides the one for mounts, and their names in procfs.
const PREPARED: [(u64, &str); 4] =
    [(namespace::PID, "pid"), (namespace::IPC, "ipc"), (namespace::UTS, "uts"), (namespace::NETWORK, "net")];

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

/// Hears of a container's network namespace as soon as it is known which one it will be, before the container is made.
pub type Herald<'a> = dyn FnMut(OwnedFd) + 'a;

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
        cgroup.make_legacy().map_err(io::Error::other)?;
        let (socket, theirs) = sync::pair()?;
        let child = process::spawn(0, None, || wait_for_birth(&cgroup, theirs.as_fd()));
        match child {
            Ok(child) => Ok(Zygote { parts: Some(Parts { child, socket, cgroup }) }),
            Err(error) => {
                cgroup.remove().unwrap_or_default();
                Err(error)
            }
        }
    }

    /// Whether it can become the container in cgroup `path`: v1 renames within one directory only, a limit may need a
    /// hierarchy that it has not joined, and what is joined by path it cannot find any more.
    pub(crate) fn suits(&self, path: &Path, resources: &Resources, namespaces: &Namespaces) -> bool {
        let Some(parts) = &self.parts else { return false };
        path.parent() == Some(Path::new("/teu"))
            && parts.cgroup.joined_for(resources)
            && namespaces.born & (namespace::MOUNT | namespace::USER) == namespace::MOUNT
            && namespaces.pid.is_none()
            && namespaces.joined.is_empty()
    }

    /// Waits until it is ready; its network namespace, which the container will have if it has one of its own. `None`
    /// when it has ended for a reason of its own.
    pub(crate) fn ready(&self) -> Option<OwnedFd> {
        let parts = self.parts.as_ref()?;
        sync::take(parts.socket.as_fd(), &mut [0]).ok().and_then(|(_, mut fds)| fds.pop())
    }

    /// Becomes a container's first process, once it is ready; tells which cgroups a mount of that type shows. `None` when
    /// it has ended for a reason of its own.
    pub(crate) fn become_init(
        mut self,
        path: &Path,
        resources: &Resources,
        orders: &mut Orders,
        stdio: Option<&Stdio>,
        sync: &OwnedFd,
    ) -> Result<Option<(Child, Cgroup, CgroupDirectories)>, Error> {
        let Some(parts) = self.parts.take() else { return Ok(None) };
        let cgroup = Cgroup::at(path)?;
        let born = cgroup.adopt(&parts.cgroup, resources).and_then(|()| {
            let shown = orders.show_cgroup(&cgroup);
            orders.on_empty_root = true;
            Ok((give_birth(&parts, &cgroup, orders, stdio, sync.as_fd())?, shown))
        });
        if let Ok((Some(child), shown)) = born {
            // It ends by itself right after the birth.
            process::wait(&parts.child.pidfd).during("reap the zygote")?;
            return Ok(Some((child, cgroup, shown)));
        }
        create::end(&parts.child);
        parts.cgroup.discard();
        cgroup.discard();
        orders.on_empty_root = false;
        born.map(|_| None)
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
) -> Result<Option<Child>, Error> {
    let ask = || -> io::Result<Option<Child>> {
        let memory = rustix::fs::memfd_create("orders", MemfdFlags::CLOEXEC)?;
        let mut file = File::from(memory);
        file.write_all(&serde_json::to_vec(orders)?)?;
        file.rewind()?;
        let unified = cgroup.open_unified()?;
        let mut fds = vec![file.as_fd(), sync];
        fds.extend(unified.as_ref().map(AsFd::as_fd));
        fds.extend(stdio.iter().flat_map(|stdio| stdio.borrow()));
        match sync::send(parts.socket.as_fd(), &[unified.is_some().into(), stdio.is_some().into()], &fds) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(None),
            other => other?,
        }
        let mut answer = [0; 4];
        let (length, mut fds) = sync::take(parts.socket.as_fd(), &mut answer)?;
        let number = i32::from_ne_bytes(answer);
        match (length, fds.pop()) {
            (4, Some(pidfd)) => Ok(Some(Child { pid: number, pidfd })),
            (4, None) => Err(io::Error::from_raw_os_error(number)),
            _ => Ok(None),
        }
    };
    ask().during("make the container's process")
}

/// What the zygote needs when the container comes, or when nobody comes.
struct Ready {
    /// The host's namespace of each prepared kind.
    host: Vec<(u64, File)>,
    /// The roots of the hierarchies in which it has a cgroup.
    roots: Vec<File>,
    /// Its own network namespace.
    network: File,
}

/// The zygote's story.
fn wait_for_birth(cgroup: &Cgroup, socket: BorrowedFd<'_>) -> i32 {
    let Ok(launch::Settled { socket, .. }) = launch::settle(None, socket, None, 0) else { return 1 };
    let Ok(ready) = prepare(cgroup) else { return 1 };
    if sync::send(socket, b"r", &[ready.network.as_fd()]).is_err() {
        cgroup.abandon(&ready.roots);
        return 0;
    }
    let mut header = [0; 2];
    match sync::take(socket, &mut header) {
        Ok((2, fds)) => {
            let (number, pidfd) = match deliver(header, fds, &ready) {
                Ok(Child { pid, pidfd }) => (pid, Some(pidfd)),
                Err(error) => (errno(&error), None),
            };
            let told = sync::send(socket, &number.to_ne_bytes(), pidfd.as_ref().map(AsFd::as_fd).as_slice());
            i32::from(told.is_err())
        }
        _ => {
            cgroup.abandon(&ready.roots);
            0
        }
    }
}

/// Does ahead of time what takes long.
fn prepare(cgroup: &Cgroup) -> io::Result<Ready> {
    for mut join in cgroup.open_legacy_joins()? {
        join.write_all(b"0")?;
    }
    let open = |(kind, name): &(u64, &str)| Ok((*kind, File::open(format!("/proc/self/ns/{name}"))?));
    let host = PREPARED.iter().map(open).collect::<io::Result<_>>()?;
    let roots = cgroup.open_legacy_roots()?;
    namespace::unshare(PREPARED.iter().fold(namespace::MOUNT, |kinds, (kind, _)| kinds | kind))?;
    let network = File::open("/proc/self/ns/net")?;
    teu_sys::link::loopback_up()?;
    // Whoever is on a container's link does not get to say where its packets go. Done here because it takes the longer
    // the more network namespaces there are: all share one chain of names below /proc/sys/net. Without IPv6 it is not
    // there, and whoever makes an interface looks at what it has.
    let _ = std::fs::write("/proc/sys/net/ipv6/conf/default/accept_ra", "0");
    // The host's tree is let go of, so that nothing in it is ever busy because of us.
    mount::set_propagation_of_all(Propagation::Private)?;
    let options = [("source", Some("teu")), ("mode", Some("555")), ("size", Some("4k")), ("nr_inodes", Some("2"))];
    let empty =
        mount::filesystem("tmpfs", &options, attribute::READ_ONLY | attribute::NO_EXEC | attribute::NO_DEVICES)?;
    mount::attach_over_root(&empty)?;
    mount::pivot_into(&empty)?;
    Ok(Ready { host, roots, network })
}

/// Clones init as a sibling.
fn deliver([unified, stdio]: [u8; 2], fds: Vec<OwnedFd>, ready: &Ready) -> io::Result<Child> {
    let mut fds = fds.into_iter();
    let mut next = || fds.next().ok_or(io::Error::from(rustix::io::Errno::BADF));
    let mut text = Vec::new();
    File::from(next()?).read_to_end(&mut text)?;
    let mut orders: Orders = serde_json::from_slice(&text)?;
    let sync = next()?;
    let unified = if unified == 1 { Some(next()?) } else { None };
    let stdio = if stdio == 1 { Some([next()?, next()?, next()?]) } else { None };
    for (kind, namespace) in ready.host.iter().filter(|(kind, _)| orders.namespaces.born & kind == 0) {
        namespace::enter(namespace, *kind)?;
    }
    orders.namespaces.born &= !ready.host.iter().fold(namespace::MOUNT, |kinds, (kind, _)| kinds | kind);
    let unified = unified.as_ref().map(AsFd::as_fd);
    let run =
        || init::run(&orders, None, stdio.as_ref().map(|fds| fds.each_ref().map(AsFd::as_fd)), sync.as_fd(), None);
    birth::spawn(&orders.namespaces, process::PARENT, unified, run).map_err(|error| match error {
        Error::Step { errno, .. } => io::Error::from_raw_os_error(errno),
        other => io::Error::other(other),
    })
}
