//! One more process in a running container: its cgroup, its namespaces, the same rules, another program.
//!
//! It needs no process in between: the caller visits the container's pid namespace for the moment of the clone. Only an
//! ordinary user has no right to, but in the container's user namespace, from which there is no way back. Mostly it needs no
//! memory of its own either until it executes its program ([`crate::lean`]); what takes more than system calls, or goes
//! wrong, is done by a process with a copy of the caller's, which can tell of it.

use std::cell::OnceCell;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::Errno;
use rustix::process::PidfdFlags;
use teu_oci::runtime::{self, Spec};
use teu_sys::fs::Root;
use teu_sys::mount;
use teu_sys::namespace;
use teu_sys::process::{self, Child};

use crate::cgroup::pid_of;
use crate::credentials::Filter;
use crate::error::During;
use crate::hooks::Identity;
use crate::launch::{self, Launch};
use crate::lean::Plan;
use crate::sync::{self, Report};
use crate::{Cgroup, Error, Process, Stdio, Stock, birth, create, idmap, listener, namespaces, rootless, shown};

/// The magic number of devpts, statfs(2).
const DEVPTS_MAGIC: i64 = 0x1cd1;

/// What is asked of an exec besides its process.
#[derive(Debug, Default)]
pub struct Entrance {
    /// Its descriptors 0, 1 and 2; without them it inherits the caller's.
    pub stdio: Option<Stdio>,
    /// How many of the caller's descriptors from 3 on the program gets.
    pub descriptors: u32,
    /// Have the terminal leave line feeds as they are: what it shows goes to another terminal, or to none.
    pub plain_terminal: bool,
    /// The container, for whoever reads the calls that its filter passes on.
    pub identity: Identity,
    /// Where it goes below the container's cgroup: by controller, or for all.
    pub below: Vec<(Option<String>, std::path::PathBuf)>,
    /// The container's cgroup, where the spec's path is not where it is.
    pub cgroup: Option<Cgroup>,
    /// The ways into it, where they are open already.
    pub doors: Rc<Doors>,
}

/// The ways into a container's cgroup, which stay open for who has more than one exec: version 1 has one for each
/// hierarchy, and to open them takes longer than to go through.
#[derive(Debug, Default)]
pub struct Doors(OnceCell<Vec<File>>);

impl Doors {
    fn open(&self, cgroup: &Cgroup) -> io::Result<&[File]> {
        if let Some(open) = self.0.get() {
            return Ok(open);
        }
        let open = cgroup.open_legacy_joins()?;
        Ok(self.0.get_or_init(|| open))
    }
}

/// What the new process needs to know.
struct Orders<'a> {
    init: BorrowedFd<'a>,
    /// What it enters.
    kinds: u64,
    /// The container's root, where it may be another than its mount namespace's.
    root: Option<OwnedFd>,
    /// Whether its ids are the container's.
    maps_ids: bool,
    joins: &'a [File],
    launch: Launch,
    filter: Option<Filter>,
}

/// Runs `process` in the running container whose first process is behind `init` and whose spec is `spec`.
///
/// The caller is single-threaded; the process is its child. Without `stdio` it inherits the caller's descriptors.
///
/// # Errors
/// [`Error::NoSuchProgram`], [`Error::NotExecutable`], [`Error::WorkingDirectory`] or a step; nothing is left then.
pub fn exec(
    init: BorrowedFd<'_>,
    spec: &Spec,
    process: &runtime::Process,
    stdio: Option<Stdio>,
    stock: &Stock,
) -> Result<Process, Error> {
    exec_with(init, spec, process, Entrance { stdio, ..Entrance::default() }, stock)
}

/// The same with more choices.
///
/// # Errors
/// As [`exec`].
pub fn exec_with(
    init: BorrowedFd<'_>,
    spec: &Spec,
    program: &runtime::Process,
    entrance: Entrance,
    stock: &Stock,
) -> Result<Process, Error> {
    let Entrance { stdio, descriptors, plain_terminal, identity, below, cgroup, doors } = entrance;
    let listener = listener::Reader::of(spec, identity)?;
    let linux = spec.linux.as_ref().ok_or_else(|| Error::refused("enter the container: its spec has no namespaces"))?;
    let cgroup = match (cgroup, &linux.cgroups_path) {
        (Some(cgroup), _) => cgroup,
        (None, Some(path)) => Cgroup::open(path).during("open the cgroup")?,
        (None, None) => return Err(Error::refused("enter the container: its spec has no cgroup")),
    };
    let joined = cgroup.below(&below)?;
    let unified = joined.open_unified().during("open the cgroup")?;
    let (kinds, root) = entered(linux, init)?;
    let mut orders = Orders {
        init,
        kinds,
        root,
        maps_ids: kinds & namespace::USER != 0,
        joins: doors.open(&joined).during("open cgroup.procs")?,
        launch: Launch::new(program, descriptors)?.of_container(linux)?.on_plain_terminal(plain_terminal),
        filter: listener::filter(spec, stock)?,
    };
    let own_pids = namespaces::has(linux, runtime::NamespaceKind::Pid);
    let by_usher = own_pids && orders.maps_ids && rootless::is_ordinary();
    birth::hide()?;
    // Who has to do something for it before it executes its program cannot wait for that.
    let apart = by_usher
        || orders.root.is_some()
        || listener.is_some()
        || program.oom_score_adj.is_some()
        || has_memory_apart(linux);
    if !apart && let Some(Child { pid, pidfd }) = orders.enter_lean(stdio.as_ref(), unified.as_ref(), own_pids) {
        return Ok(Process { pid, pidfd, terminal: None, cgroup });
    }
    let (socket, theirs) = sync::pair().during("make a socket pair")?;
    let born_in = |flags: u64, unified: Option<&OwnedFd>, orders: &mut Orders<'_>| {
        process::spawn(flags, unified.map(AsFd::as_fd), || {
            run(orders, stdio.as_ref().map(Stdio::borrow), theirs.as_fd())
        })
    };
    let born = |flags: u64, orders: &mut Orders<'_>| match born_in(flags, unified.as_ref(), orders) {
        // A container that has cgroups of its own with controllers (systemd, an engine) has no processes above them,
        // cgroups(7), "no internal processes": the new one goes where the first one is.
        Err(error) if error.raw_os_error() == Some(Errno::BUSY.raw_os_error()) && below.is_empty() => {
            born_in(flags, Some(&cgroup.open_unified_of(init)?), orders)
        }
        other => other,
    };
    let child = if by_usher {
        orders.kinds &= !namespace::USER;
        birth::by_usher(|| {
            namespace::enter(init, namespace::USER | namespace::PID).during("enter the user namespace")?;
            born(process::PARENT, &mut orders).during("make the process")
        })?
    } else if own_pids {
        visit(init, || born(0, &mut orders)).during("make the process")?
    } else {
        born(0, &mut orders).during("make the process")?
    };
    drop((theirs, stdio));
    let told = await_program(&child, &socket, program, listener.as_ref()).inspect_err(|_| create::end(&child));
    Ok(Process { terminal: told?, pid: child.pid, pidfd: child.pidfd, cgroup })
}

/// The kinds of namespaces that are entered, and the container's root unless that is its mount namespace's.
fn entered(linux: &runtime::Linux, init: BorrowedFd<'_>) -> Result<(u64, Option<OwnedFd>), Error> {
    let kinds = namespaces::entered(linux);
    if namespaces::has(linux, runtime::NamespaceKind::Mount) {
        return Ok((kinds, None));
    }
    let pid = pid_of(init).during("find the container's process")?;
    let (root, is_beside) = shown::root_of(&pid).during("open the container's root")?;
    Ok((if is_beside { kinds & !namespace::MOUNT } else { kinds }, Some(root)))
}

impl Orders<'_> {
    /// A process in the caller's memory that has become the program; none where that was not to be.
    fn enter_lean(&self, stdio: Option<&Stdio>, unified: Option<&OwnedFd>, own_pids: bool) -> Option<Child> {
        let (program, directory) = self.launch.lean(self.init)?;
        let plan = Plan {
            init: self.init,
            kinds: self.kinds,
            maps_ids: self.maps_ids,
            joins: self.joins,
            stdio: stdio.map(Stdio::borrow),
            launch: &self.launch,
            filter: self.filter.as_ref(),
            program,
            directory,
        };
        let executes = AtomicBool::new(false);
        let lend = || process::lend(0, unified.map(AsFd::as_fd), || plan.run(&executes));
        let child = if own_pids { visit(self.init, lend) } else { lend() }.ok()?;
        if executes.load(Ordering::Relaxed) {
            return Some(child);
        }
        create::end(&child);
        None
    }
}

/// Whether a process that enters takes a copy of the caller's memory: time namespaces refuse one that shares it, setns(2); and
/// where the kernel ends a whole cgroup for want of memory it ends those too that share a member's, cgroups v2,
/// "memory.oom.group". (One by itself it does not choose while its parent waits for it.)
fn has_memory_apart(linux: &runtime::Linux) -> bool {
    let ends_together = |resources: &runtime::Resources| resources.unified.contains_key("memory.oom.group");
    namespaces::entered(linux) & namespace::TIME != 0 || linux.resources.as_ref().is_some_and(ends_together)
}

/// Does something while one's children are born in the pid namespace of `init`.
fn visit<T>(init: BorrowedFd<'_>, act: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let own = rustix::process::pidfd_open(rustix::process::getpid(), PidfdFlags::empty())?;
    namespace::enter(init, namespace::PID)?;
    let result = act();
    namespace::enter(own, namespace::PID)?;
    result
}

/// Waits until the program runs.
fn await_program(
    child: &Child,
    socket: &OwnedFd,
    process: &runtime::Process,
    listener: Option<&listener::Reader>,
) -> Result<Option<OwnedFd>, Error> {
    create::adjust_oom_score(child.pid, process.oom_score_adj)?;
    let terminal = create::wait_ready(socket.as_fd())?;
    create::await_program(socket.as_fd(), listener, child.pid, child.pidfd.as_fd(), "running")?;
    Ok(terminal)
}

/// The new process' story.
fn run(orders: &mut Orders<'_>, stdio: Option<[BorrowedFd<'_>; 3]>, socket: BorrowedFd<'_>) -> i32 {
    let (socket, error) = match enter(orders) {
        Ok(()) => {
            match launch::settle(stdio, socket, None, orders.launch.descriptors()).during("arrange descriptors") {
                Ok(settled) => (settled.socket, become_program(orders, settled.socket).err()),
                Err(error) => (socket, Some(error)),
            }
        }
        Err(error) => (socket, Some(error)),
    };
    if let Some(error) = error {
        // When the parent is gone there is nobody to tell.
        let _ = sync::report(socket, &Report::Failed(error), None);
    }
    1
}

/// Joins the cgroup and the namespaces.
fn enter(orders: &mut Orders<'_>) -> Result<(), Error> {
    orders.launch.go_to_first_processors()?;
    orders.joins.iter().try_for_each(|mut join| join.write_all(b"0")).during("join the cgroup")?;
    orders.launch.go_to_last_processors()?;
    if orders.kinds != 0 {
        namespace::enter(orders.init, orders.kinds).during("enter the container's namespaces")?;
    }
    if let Some(root) = &orders.root {
        mount::enter_over_root(root).during("enter the container's root")?;
    }
    if orders.maps_ids {
        idmap::become_root().during("become the root of the user namespace")?;
        birth::hide()?;
    }
    Ok(())
}

fn become_program(orders: &Orders<'_>, socket: BorrowedFd<'_>) -> Result<std::convert::Infallible, Error> {
    let launch = &orders.launch;
    let program = launch.program()?;
    let mut master = None;
    if launch.terminal() {
        let pair = launch.open_terminal(devpts().during("open /dev/pts")?)?;
        launch.use_terminal(&pair.replica)?;
        master = Some(pair.master);
    }
    launch.limit()?;
    launch.own_streams();
    sync::report(socket, &Report::Ready, master.as_ref().map(AsFd::as_fd)).during("tell that the process is ready")?;
    drop(master);
    Err(launch.execute(&program, orders.filter.as_ref(), socket, &|| Ok(())))
}

/// The container's `/dev/pts`, if it really is a devpts.
fn devpts() -> io::Result<OwnedFd> {
    let place = Root::open(std::path::Path::new("/"))?.open_path("dev/pts")?;
    if rustix::fs::fstatfs(&place)?.f_type == DEVPTS_MAGIC { Ok(place) } else { Err(Errno::NOTTY.into()) }
}
