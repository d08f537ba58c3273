//! The parent's story: plan, cgroup, clone, wait for *ready*; later, *start*. The conversation is drawn in `sync`.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use teu_oci::runtime::{Resources, Spec};
use teu_sys::process::{self, Child};

use crate::credentials::Filter;
use crate::error::During;
use crate::init::{self, Orders};
use crate::sources::{CgroupDirectories, Sources};
use crate::sync::{self, Order, Report};
use crate::{Cgroup, Error, Rootfs, Stock, Zygote, seccomp};

/// What a process gets as descriptors 0, 1 and 2; ignored when it has a terminal.
#[derive(Debug)]
pub struct Stdio {
    /// Descriptor 0.
    pub stdin: OwnedFd,
    /// Descriptor 1.
    pub stdout: OwnedFd,
    /// Descriptor 2.
    pub stderr: OwnedFd,
}

impl Stdio {
    pub(crate) fn borrow(&self) -> [BorrowedFd<'_>; 3] {
        [self.stdin.as_fd(), self.stdout.as_fd(), self.stderr.as_fd()]
    }
}

/// A container that is complete but for its program. Dropping it ends it and leaves nothing behind.
#[derive(Debug)]
pub struct Created {
    /// None once it is a [`Process`].
    parts: Option<Parts>,
    filter: Option<Filter>,
}

#[derive(Debug)]
struct Parts {
    child: Child,
    socket: OwnedFd,
    cgroup: Cgroup,
    terminal: Option<OwnedFd>,
}

/// A process that executes its program: the container's first, or one of [`crate::exec`]. It is a child of the caller.
#[derive(Debug)]
pub struct Process {
    /// Its id as the caller counts.
    pub pid: i32,
    /// The descriptor to wait on; `teu_sys::process::try_wait` reaps.
    pub pidfd: OwnedFd,
    /// The master side of its terminal, unless [`Created::terminal`] took it.
    pub terminal: Option<OwnedFd>,
    /// The container's cgroup. Whoever has reaped the container removes it.
    pub cgroup: Cgroup,
}

/// Makes a container: everything up to, and without, the execution of its program.
///
/// The caller is single-threaded. The container's first process is its child, to be reaped through the pidfd. Without
/// `stdio` it inherits the caller's descriptors 0, 1 and 2. A `zygote` and a `stock` make it faster.
///
/// # Errors
/// [`Error`] says what stood in the way; nothing is left behind then.
pub fn create(
    id: &str,
    spec: &Spec,
    rootfs: &Rootfs,
    stdio: Option<Stdio>,
    zygote: Option<Zygote>,
    stock: &Stock,
) -> Result<Created, Error> {
    let mut orders = Orders::new(spec)?;
    let linux = spec.linux.as_ref();
    let path = linux.and_then(|linux| linux.cgroups_path.clone()).unwrap_or_else(|| PathBuf::from("/teu").join(id));
    let none = Resources::default();
    let resources = linux.and_then(|linux| linux.resources.as_ref()).unwrap_or(&none);
    let (socket, theirs) = sync::pair().during("make a socket pair")?;
    let suits = |zygote: &Zygote| zygote.suits(&path, resources, &orders.namespaces);
    let born = match zygote.filter(suits) {
        Some(zygote) => zygote.become_init(&path, resources, &mut orders, stdio.as_ref(), &theirs)?,
        None => None,
    };
    let (child, cgroup, joins, shown) = match born {
        Some((child, cgroup, shown)) => (child, cgroup, Vec::new(), shown),
        None => {
            let cgroup = Cgroup::create_unlimited(&path, resources)?;
            match clone_init(&mut orders, &cgroup, stdio.as_ref(), &theirs) {
                Ok((child, joins, shown)) => (child, cgroup, joins, shown),
                Err(error) => {
                    cgroup.discard();
                    return Err(error);
                }
            }
        }
    };
    drop((stdio, theirs));
    let mut created = Created { parts: Some(Parts { child, socket, cgroup, terminal: None }), filter: None };
    let sources = Sources::open(rootfs, &orders.mounts, &shown)?;
    unless_gone(sources.send(created.present().socket.as_fd())).during("send the mounts")?;
    unless_gone(created.place(joins)).during("join the cgroup")?;
    created.complete(spec, resources, stock)?;
    Ok(created)
}

/// Clones init straight from the caller. On v1 the caller moves it, while it builds its root: by the returned files.
fn clone_init(
    orders: &mut Orders,
    cgroup: &Cgroup,
    stdio: Option<&Stdio>,
    theirs: &OwnedFd,
) -> Result<(Child, Vec<File>, CgroupDirectories), Error> {
    let joins = cgroup.open_legacy_joins().during("open cgroup.procs")?;
    let unified = cgroup.open_unified().during("open the cgroup")?;
    orders.placed_by_parent = !joins.is_empty();
    let shown = orders.show_cgroup(cgroup);
    let unified = unified.as_ref().map(AsFd::as_fd);
    let run = || init::run(orders, stdio.map(Stdio::borrow), theirs.as_fd());
    Ok((init::spawn(&orders.namespaces, 0, unified, run)?, joins, shown))
}

/// An init that has ended already says why itself.
fn unless_gone(result: std::io::Result<()>) -> std::io::Result<()> {
    match result {
        Err(error) if matches!(error.raw_os_error(), Some(gone) if is_gone(gone)) => Ok(()),
        other => other,
    }
}

fn is_gone(errno: i32) -> bool {
    use rustix::io::Errno;
    [Errno::SRCH, Errno::PIPE, Errno::CONNRESET].iter().any(|gone| gone.raw_os_error() == errno)
}

/// Kills a child and reaps it.
pub(crate) fn end(child: &Child) {
    // It may be dead already, and then there is only the reaping left to do.
    let _ = process::send_signal(&child.pidfd, rustix::process::Signal::KILL.as_raw());
    let _ = process::wait(&child.pidfd);
}

impl Created {
    /// Moves init into its v1 cgroups, and tells it.
    fn place(&self, joins: Vec<File>) -> std::io::Result<()> {
        if joins.is_empty() {
            return Ok(());
        }
        let Parts { child, socket, .. } = self.present();
        joins.into_iter().try_for_each(|mut join| join.write_all(child.pid.to_string().as_bytes()))?;
        sync::order(socket.as_fd(), &Order::Placed)
    }

    /// What is done while init builds its root, and then the wait for it.
    fn complete(&mut self, spec: &Spec, resources: &Resources, stock: &Stock) -> Result<(), Error> {
        if let Some(parts) = &self.parts {
            parts.cgroup.limit(resources, stock)?;
            adjust_oom_score(parts.child.pid, spec.process.as_ref().and_then(|process| process.oom_score_adj))?;
        }
        self.filter = filter(spec, stock)?;
        let Some(parts) = &mut self.parts else { return Ok(()) };
        parts.terminal = wait_ready(parts.socket.as_fd())?;
        Ok(())
    }

    /// The id of the container's first process, as the caller counts.
    pub fn pid(&self) -> i32 {
        self.parts.as_ref().map_or(0, |parts| parts.child.pid)
    }

    /// Stands for the container's first process.
    ///
    /// # Panics
    /// Never: the process is there until [`Created::start`] takes all of this.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.present().child.pidfd.as_fd()
    }

    /// The master side of the container's terminal; once.
    pub fn terminal(&mut self) -> Option<OwnedFd> {
        self.parts.as_mut()?.terminal.take()
    }

    /// The container's cgroup.
    ///
    /// # Panics
    /// Never: as for [`Created::pidfd`].
    pub fn cgroup(&self) -> &Cgroup {
        &self.present().cgroup
    }

    fn present(&self) -> &Parts {
        match &self.parts {
            Some(parts) => parts,
            None => unreachable!("the parts are taken by start and drop only"),
        }
    }

    /// Lets init execute the program.
    ///
    /// # Errors
    /// [`Error::NoSuchProgram`], [`Error::NotExecutable`], [`Error::WorkingDirectory`] or a step; the container has
    /// ended then and nothing of it is left.
    pub fn start(mut self) -> Result<Process, Error> {
        let filter = self.filter.take();
        let socket = self.present().socket.as_fd();
        // An init that was killed meanwhile has started as far as anybody can tell; its pidfd says the rest.
        unless_gone(sync::order(socket, &Order::Start(filter))).during("tell the container to start")?;
        if let Some((Report::Failed(error), _)) = sync::receive(socket)? {
            return Err(error);
        }
        match self.parts.take() {
            Some(Parts { child: Child { pid, pidfd }, cgroup, terminal, .. }) => {
                Ok(Process { pid, pidfd, terminal, cgroup })
            }
            None => unreachable!("the parts are taken by start and drop only"),
        }
    }
}

impl Drop for Created {
    fn drop(&mut self) {
        if let Some(parts) = self.parts.take() {
            end(&parts.child);
            // What cannot be removed now is found by the next cleaning; there is nobody to tell here.
            parts.cgroup.remove().unwrap_or_default();
        }
    }
}

/// The spec's filter, compiled.
pub(crate) fn filter(spec: &Spec, stock: &Stock) -> Result<Option<Filter>, Error> {
    let Some(profile) = spec.linux.as_ref().and_then(|linux| linux.seccomp.as_ref()) else { return Ok(None) };
    if let Some(filter) = stock.filter(profile) {
        return Ok(Some(filter.clone()));
    }
    let instructions =
        seccomp::compile(profile).map_err(|error| Error::refused(format!("compile the seccomp profile: {error}")))?;
    let mut flags = 0;
    for flag in &profile.flags {
        flags |= match flag.as_str() {
            "SECCOMP_FILTER_FLAG_LOG" => teu_sys::seccomp::FLAG_LOG,
            "SECCOMP_FILTER_FLAG_SPEC_ALLOW" => teu_sys::seccomp::FLAG_SPEC_ALLOW,
            // Of one thread and of all threads is the same in a process that has one.
            "SECCOMP_FILTER_FLAG_TSYNC" => 0,
            other => return Err(Error::refused(format!("load the seccomp filter: flag \"{other}\" is not supported"))),
        };
    }
    Ok(Some(Filter { instructions, flags }))
}

/// Waits for *ready* and the terminal that may come with it.
pub(crate) fn wait_ready(socket: BorrowedFd<'_>) -> Result<Option<OwnedFd>, Error> {
    match sync::receive(socket)? {
        Some((Report::Ready, terminal)) => Ok(terminal),
        Some((Report::Failed(error), _)) => Err(error),
        None => Err(Error::refused("make the container: its process ended before it was ready")),
    }
}

/// Sets how eagerly the kernel kills the process, from outside, where procfs is the real one. Without the privilege to
/// lower it, it stays.
pub(crate) fn adjust_oom_score(pid: i32, score: Option<i32>) -> Result<(), Error> {
    let Some(score) = score else { return Ok(()) };
    match std::fs::write(format!("/proc/{pid}/oom_score_adj"), score.to_string()) {
        // One that ended already says itself why.
        Err(error) if matches!(error.kind(), std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::NotFound) => {
            Ok(())
        }
        other => other.during("set oom_score_adj"),
    }
}
