//! The child's story: from a copy of the supervisor to the container's first process.
//!
//! It runs in new namespaces with nothing but the socket to its parent. It never logs and never decides: what is to be
//! done came with its [`Orders`], and what stops it goes back as an [`Error`]. The conversation is drawn in `sync`.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use teu_oci::runtime::{Device, Spec};
use teu_sys::fs::Root;
use teu_sys::mount::{self, Change, Propagation, attribute};
use teu_sys::namespace;

use crate::error::During;
use crate::launch::{self, Launch};
use crate::mounts::apply::{self, Mounts};
use crate::mounts::mask::{self, Mask};
use crate::mounts::plan::{self, Planned};
use crate::namespaces::{self, Namespaces};
use crate::sources::{CgroupDirectories, Sources};
use crate::sync::{self, Order, Report};
use crate::{Cgroup, Error, devices, sysctl};

/// Everything that init needs to know.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Orders {
    pub(crate) namespaces: Namespaces,
    /// Whether the parent puts init into its cgroups, and says so.
    pub(crate) placed_by_parent: bool,
    /// Whether the root of init's mount namespace is empty and a place for the container's to lie on.
    pub(crate) on_empty_root: bool,
    pub(crate) launch: Launch,
    read_only_root: bool,
    propagation: Option<Propagation>,
    pub(crate) mounts: Vec<Planned>,
    /// The cgroup hierarchies that are shown, by name.
    hierarchies: Vec<Option<String>>,
    devices: Vec<Device>,
    masked: Vec<String>,
    read_only: Vec<String>,
    sysctl: BTreeMap<String, String>,
    hostname: String,
    domainname: String,
}

impl Orders {
    /// Plans a container, and refuses what cannot be done before anything is made.
    pub(crate) fn new(spec: &Spec) -> Result<Orders, Error> {
        let process = spec.process.as_ref().ok_or_else(|| Error::refused("execute: the spec has no process"))?;
        let linux = spec.linux.clone_without_filter();
        if spec.hooks.as_ref().is_some_and(|hooks| *hooks != teu_oci::runtime::Hooks::default()) {
            return Err(Error::refused("run hooks: not supported yet"));
        }
        let namespaces = namespaces::plan(&linux)?;
        sysctl::check(&linux.sysctl, &namespaces)?;
        let own_names = namespaces.born & namespace::UTS != 0;
        let named = !spec.hostname.is_empty() || !spec.domainname.is_empty();
        if named && !own_names {
            return Err(Error::refused("set the host name: the container has no UTS namespace of its own"));
        }
        let propagation = match linux.rootfs_propagation.trim_start_matches('r') {
            "" => None,
            "shared" => Some(Propagation::Shared),
            "slave" => Some(Propagation::Slave),
            "private" => Some(Propagation::Private),
            "unbindable" => Some(Propagation::Unbindable),
            other => return Err(Error::refused(format!("propagate mounts: there is no mode \"{other}\""))),
        };
        Ok(Orders {
            namespaces,
            placed_by_parent: false,
            on_empty_root: false,
            launch: Launch::new(process)?,
            read_only_root: spec.root.as_ref().is_some_and(|root| root.readonly),
            propagation,
            mounts: plan::plan(&spec.mounts)?,
            hierarchies: Vec::new(),
            devices: linux.devices,
            masked: linux.masked_paths,
            read_only: linux.readonly_paths,
            sysctl: linux.sysctl,
            hostname: spec.hostname.clone(),
            domainname: spec.domainname.clone(),
        })
    }

    /// Tells which hierarchies a mount of type cgroup shows; returns their directories.
    pub(crate) fn show_cgroup(&mut self, cgroup: &Cgroup) -> CgroupDirectories {
        if !self.mounts.iter().any(|planned| planned.source == plan::Source::Cgroup) {
            return Vec::new();
        }
        let directories = cgroup.named_directories();
        self.hierarchies = directories.iter().map(|(name, _)| name.clone()).collect();
        directories
    }
}

/// A copy of the Linux part without its largest member, which init gets in compiled form.
trait WithoutFilter {
    fn clone_without_filter(&self) -> teu_oci::runtime::Linux;
}

impl WithoutFilter for Option<teu_oci::runtime::Linux> {
    fn clone_without_filter(&self) -> teu_oci::runtime::Linux {
        let Some(linux) = self else { return teu_oci::runtime::Linux::default() };
        teu_oci::runtime::Linux {
            namespaces: linux.namespaces.clone(),
            devices: linux.devices.clone(),
            sysctl: linux.sysctl.clone(),
            masked_paths: linux.masked_paths.clone(),
            readonly_paths: linux.readonly_paths.clone(),
            rootfs_propagation: linux.rootfs_propagation.clone(),
            ..teu_oci::runtime::Linux::default()
        }
    }
}

/// Makes a child in the container's new namespaces. For `Namespaces::pid` the caller visits that namespace.
pub(crate) fn spawn(
    namespaces: &Namespaces,
    flags: u64,
    unified: Option<BorrowedFd<'_>>,
    child: impl FnOnce() -> i32,
) -> Result<teu_sys::process::Child, Error> {
    let visit = |path: &PathBuf| -> std::io::Result<OwnedFd> {
        let own = File::open("/proc/self/ns/pid")?;
        namespace::enter(File::open(path)?, namespace::PID)?;
        Ok(own.into())
    };
    let own = namespaces.pid.as_ref().map(visit).transpose().during("enter the pid namespace")?;
    let made = teu_sys::process::spawn(namespaces.born | flags, unified, child).during("make the container's process");
    if let Some(own) = own {
        namespace::enter(own, namespace::PID).during("return from the pid namespace")?;
    }
    made
}

/// Runs the story in a process that [`spawn`] made, and returns what it ends with if it does not become the program.
pub(crate) fn run(orders: &Orders, stdio: Option<[BorrowedFd<'_>; 3]>, socket: BorrowedFd<'_>) -> i32 {
    let (socket, error) = match launch::settle(stdio, socket) {
        Ok(settled) => match become_container(orders, settled) {
            Ok(None) => return 0,
            Err(error) => (settled, error),
        },
        Err(error) => (socket, Error::Step { step: "arrange descriptors".into(), errno: crate::error::errno(&error) }),
    };
    // When the parent is gone there is nobody to tell.
    let _ = sync::report(socket, &Report::Failed(error), None);
    1
}

/// The story. Returns `None` when the parent went away before it said *start*.
fn become_container(orders: &Orders, socket: BorrowedFd<'_>) -> Result<Option<Infallible>, Error> {
    // Nobody who gets into the container may look into a process that is still half the supervisor.
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)
        .during("hide from ptrace")?;
    rustix::process::umask(rustix::fs::Mode::empty());
    for (kind, path) in &orders.namespaces.joined {
        let enter = || namespace::enter(File::open(path)?, *kind);
        enter().during_with(|| format!("enter namespace {}", path.display()))?;
    }
    if orders.namespaces.born & namespace::NETWORK != 0 {
        teu_sys::link::loopback_up().during("set the loopback interface up")?;
    }
    let program = orders.launch.program()?;
    let count = Sources::count(&orders.mounts, orders.hierarchies.len());
    let Some(sources) = Sources::receive(socket, count).during("wait for the mounts")? else { return Ok(None) };
    let root = build_root(orders, sources)?;
    let master = finish_root(orders, root)?;
    if orders.placed_by_parent {
        let Some(Order::Placed) = sync::obey(socket).during("wait for the cgroup")? else { return Ok(None) };
    }
    if orders.namespaces.cgroup {
        namespace::unshare(namespace::CGROUP).during("make the cgroup namespace")?;
    }
    orders.launch.limit()?;
    orders.launch.own_streams();
    sync::report(socket, &Report::Ready, master.as_ref().map(AsFd::as_fd))
        .during("tell that the container is ready")?;
    drop(master);
    let Some(Order::Start(filter)) = sync::obey(socket).during("wait for the start")? else { return Ok(None) };
    Err(orders.launch.execute(&program, filter.as_ref()))
}

/// The container's tree on its way to be the root.
struct NewRoot {
    root: Root,
    mounts: Mounts,
    mask: Option<Mask>,
}

/// Mounts the root file system and everything in it.
fn build_root(orders: &Orders, mut sources: Sources) -> Result<NewRoot, Error> {
    if !orders.on_empty_root {
        let from_host = match orders.propagation {
            Some(Propagation::Shared) => Propagation::Shared,
            _ => Propagation::Slave,
        };
        mount::set_propagation_of_all(from_host).during("part from the host's mounts")?;
    }
    let mask = if orders.masked.is_empty() { None } else { Some(Mask::new().during("make a mask")?) };
    let root = Root::from_fd(sources.next()?);
    mount::attach_over_root(&root).during("attach the root file system")?;
    let mounts = apply::apply(&root, &orders.mounts, &orders.hierarchies, &mut sources)?;
    devices::make(&root, &orders.devices)?;
    if orders.launch.cwd() != "/" {
        // One that cannot be made is told when it cannot be entered.
        let _ = root.create_dir_all(orders.launch.cwd(), 0o755);
    }
    Ok(NewRoot { root, mounts, mask })
}

/// Covers what is to be covered and makes the tree the root. Returns the terminal's master side.
fn finish_root(orders: &Orders, NewRoot { root, mounts, mask }: NewRoot) -> Result<Option<OwnedFd>, Error> {
    let mut master = None;
    if orders.launch.terminal() {
        let devpts = mounts.devpts.as_ref().ok_or_else(|| Error::refused("open a terminal: no devpts is mounted"))?;
        let pair = orders.launch.open_terminal(devpts)?;
        devices::bind_console(&root, pair.replica.as_fd())?;
        orders.launch.use_terminal(&pair.replica)?;
        master = Some(pair.master);
    }
    write_parameters(orders, &mounts)?;
    let read_only = Change { set: attribute::READ_ONLY, ..Change::default() };
    if let Some(dev) = &mounts.read_only_dev {
        mount::set_attributes(dev, false, read_only).during("make /dev read-only")?;
    }
    orders.read_only.iter().try_for_each(|path| mask::make_read_only(&root, path))?;
    for path in &orders.masked {
        mask.iter().try_for_each(|mask| mask.cover(&root, path))?;
    }
    if orders.read_only_root {
        mount::set_attributes(&root, false, read_only).during("make the root read-only")?;
    }
    let enter = if orders.on_empty_root { mount::enter_over_root } else { mount::pivot_into };
    enter(&root).during("change the root")?;
    if let Some(propagation) = orders.propagation.filter(|propagation| *propagation != Propagation::Private) {
        let change = Change { propagation: Some(propagation), ..Change::default() };
        mount::set_attributes(&root, false, change).during("set the root's propagation")?;
    }
    Ok(master)
}

/// Host name, domain name and kernel parameters.
fn write_parameters(orders: &Orders, mounts: &Mounts) -> Result<(), Error> {
    if !orders.hostname.is_empty() {
        rustix::system::sethostname(orders.hostname.as_bytes()).during("set the host name")?;
    }
    if !orders.domainname.is_empty() {
        rustix::system::setdomainname(orders.domainname.as_bytes()).during("set the domain name")?;
    }
    if orders.sysctl.is_empty() {
        return Ok(());
    }
    let private;
    let proc = if let Some(proc) = &mounts.proc {
        proc
    } else {
        private = mount::filesystem("proc", &[], 0).during("mount a private procfs")?;
        &private
    };
    sysctl::apply(proc.as_fd(), &orders.sysctl)
}
