//! The child's story: from a copy of the supervisor to the container's first process.
//!
//! It runs in new namespaces with nothing but the socket to its parent. It never logs and never decides: what is to be
//! done came with its [`Orders`], and what stops it goes back as an [`Error`]. The conversation is drawn in `sync`.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use teu_sys::fs::Root;
use teu_sys::mount::{self, Change, Propagation, attribute};
use teu_sys::poll::Interests;
use teu_sys::{namespace, process, scheduling, signal};

use crate::credentials::Filter;
use crate::error::During;
use crate::hooks;
use crate::launch::{self, Settled};
use crate::mounts::apply::{self, Mounts, Supply};
use crate::mounts::mask::{self, Mask};
use crate::namespaces::User;
use crate::orders::Orders;
use crate::shown::Return;
use crate::sources::{self, CgroupDirectories, Sources};
use crate::sync::{self, Order, Report};
use crate::{Error, Rootfs, birth, devices, idmap, reaper, sysctl};

/// Runs the story in a process that `birth::spawn` made, and returns what it ends with if it does not become the program.
pub(crate) fn run(
    orders: &Orders,
    own: Option<Own<'_>>,
    stdio: Option<[BorrowedFd<'_>; 3]>,
    socket: BorrowedFd<'_>,
    gate: Option<BorrowedFd<'_>>,
) -> i32 {
    let mut back = None;
    let (socket, error) = match launch::settle(stdio, socket, gate, orders.launch.descriptors()) {
        Ok(settled) => match become_container(orders, own, settled, &mut back) {
            Ok(None) => (settled.socket, None),
            Err(error) => (settled.socket, Some(error)),
        },
        Err(error) => {
            (socket, Some(Error::Step { step: "arrange descriptors".into(), errno: crate::error::errno(&error) }))
        }
    };
    let code = i32::from(error.is_some());
    if let Some(error) = error {
        // When the parent is gone there is nobody to tell.
        let _ = sync::report(socket, &Report::Failed(error), None);
    }
    if let Some(back) = back {
        back.undo();
    }
    code
}

/// What init opens the sources of its mounts from, where it does that itself.
pub(crate) type Own<'a> = (&'a Rootfs, &'a CgroupDirectories);

/// The story. Returns `None` when the parent went away before it said *start*.
///
/// In `back` is what to take off in the end, until somebody else has written it down.
fn become_container(
    orders: &Orders,
    own: Option<Own<'_>>,
    settled: Settled,
    back: &mut Option<Return>,
) -> Result<Option<Infallible>, Error> {
    let socket = settled.socket;
    // Nobody who gets into the container may look into a process that is still half the supervisor. But an ordinary user
    // cannot map the ids of a process that hides, and nobody else is in its user namespace yet.
    if own.is_none() || orders.namespaces.user != User::Born {
        birth::hide()?;
    }
    rustix::process::umask(rustix::fs::Mode::empty());
    if !orders.namespaces.needs_usher() {
        for (kind, path) in &orders.namespaces.joined {
            let enter = || namespace::enter(File::open(path)?, *kind);
            enter().during_with(|| format!("enter namespace {}", path.display()))?;
        }
    }
    let mut ears = Ears { socket, placed: false, mounts: VecDeque::new() };
    let Some(own) = open_own(orders, own, &mut ears)? else { return Ok(None) };
    if orders.namespaces.maps_ids() {
        become_root()?;
    }
    if orders.namespaces.born & namespace::NETWORK != 0 {
        teu_sys::link::loopback_up().during("set the loopback interface up")?;
    }
    set_clocks(orders)?;
    if let Some(name) = &orders.keyring {
        new_keyring(name)?;
    }
    let root = build_root(orders, &mut Supplier { orders, own, ears: &mut ears })?;
    let Some(pid) = await_hooks(orders, &root.root, &mut ears)? else { return Ok(None) };
    let master = finish_root(orders, root, &mut ears, back)?;
    let program = orders.launch.program()?;
    if orders.placed_by_parent && !ears.placed {
        let Some(Order::Placed) = sync::obey(socket).during("wait for the cgroup")? else { return Ok(None) };
    }
    orders.launch.go_everywhere();
    if orders.namespaces.cgroup {
        namespace::unshare(namespace::CGROUP).during("make the cgroup namespace")?;
    }
    orders.launch.limit()?;
    orders.launch.own_null_streams()?;
    orders.launch.own_streams();
    if orders.gated {
        orders.launch.look_ahead(&program)?;
    }
    sync::report(socket, &Report::Ready, master.as_ref().map(AsFd::as_fd))
        .during("tell that the container is ready")?;
    drop(master);
    let order = sync::obey(socket).during("wait for the start")?;
    if order.is_some() {
        *back = None;
    }
    let filter = match order {
        Some(Order::Start(filter)) => filter,
        Some(Order::Hold(filter)) => return wait_at_gate(orders, &program, settled, pid, filter.as_ref()),
        _ => return Ok(None),
    };
    start(orders, &program, pid, filter.as_ref(), socket).map(Some)
}

/// What the parent says, in whatever order it comes: mounts, and that init is placed, may come at any time.
struct Ears {
    socket: BorrowedFd<'static>,
    placed: bool,
    /// Those that have come and are not attached yet.
    mounts: VecDeque<OwnedFd>,
}

impl Ears {
    fn next(&mut self, step: &str) -> Result<Option<Order>, Error> {
        loop {
            match sync::obey(self.socket).during(step)? {
                Some(Order::Placed) => self.placed = true,
                Some(Order::Mounts(mounts)) => self.mounts.extend(mounts),
                other => return Ok(other),
            }
        }
    }

    /// Waits until there is a mount to attach; false when the parent is gone.
    fn await_mount(&mut self) -> Result<bool, Error> {
        while self.mounts.is_empty() {
            match sync::obey(self.socket).during("wait for the mounts")? {
                Some(Order::Placed) => self.placed = true,
                Some(Order::Mounts(mounts)) => self.mounts.extend(mounts),
                _ => return Ok(false),
            }
        }
        Ok(true)
    }

    fn mount(&mut self) -> Result<OwnedFd, Error> {
        self.await_mount()?;
        self.mounts.pop_front().ok_or_else(|| Error::refused("wait for the mounts: the runtime is gone"))
    }
}

/// Waits until somebody at the gate says start, and answers to them from then on.
fn wait_at_gate(
    orders: &Orders,
    program: &crate::program::Program,
    settled: Settled,
    pid: i32,
    filter: Option<&Filter>,
) -> Result<Option<Infallible>, Error> {
    let Some(gate) = settled.gate else { return Ok(None) };
    // Whoever made the container is gone.
    let null = rustix::fs::open("/", rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC, rustix::fs::Mode::empty());
    process::place_descriptor(null.during("let go of the parent")?.as_fd(), settled.number, true)
        .during("let go of the parent")?;
    // A first process ignores what it does not handle, and one that only waits is to end like any other.
    let all = signal::Set::full();
    signal::block(&all).during("block signals")?;
    let signals = signal::descriptor(&all).during("block signals")?;
    loop {
        let mut interests = Interests::new();
        let (called, signalled) = (interests.add(gate, true, false), interests.add(signals.as_fd(), true, false));
        interests.wait(None).during("wait at the gate")?;
        if interests.readable(signalled)
            && let Ok(Some(number)) = signal::take(&signals)
            && signal::ends(number)
        {
            process::end(128 + number);
        }
        if !interests.readable(called) {
            continue;
        }
        let visitor = match rustix::net::accept(gate) {
            Err(Errno::INTR | Errno::CONNABORTED) => continue,
            other => other.during("wait at the gate")?,
        };
        if let Ok(Some(Order::Start(None))) = sync::obey(visitor.as_fd()) {
            process::place_descriptor(visitor.as_fd(), settled.number, true).during("hear the start")?;
            drop((visitor, signals));
            signal::set_blocked(&signal::Set::empty()).during("unblock signals")?;
            return start(orders, program, pid, filter, settled.socket).map(Some);
        }
    }
}

/// The last steps. Returns only why they were impossible.
fn start(
    orders: &Orders,
    program: &crate::program::Program,
    pid: i32,
    filter: Option<&Filter>,
    socket: BorrowedFd<'_>,
) -> Result<Infallible, Error> {
    // With the program's own identity and filter: what they execute is in the container, and so may be the container's.
    let last = || -> Result<(), Error> {
        let Some(hooks) = orders.hooks.as_ref().filter(|hooks| !hooks.start_container.is_empty()) else {
            return Ok(());
        };
        let mut own = hooks.start_container.clone();
        // One that names no environment has the program's.
        own.iter_mut().filter(|hook| hook.env.is_empty()).for_each(|hook| hook.env = program.environment());
        hooks::run("startContainer", &own, &hooks.identity.state("created", pid))
    };
    if orders.reaper {
        return Err(reaper::run(&orders.launch, program, filter, socket, &last));
    }
    Err(orders.launch.execute(program, filter, socket, &last))
}

/// Takes on the namespace's first id; the maps are written by now.
fn become_root() -> Result<(), Error> {
    idmap::become_root().during("become the root of the user namespace")?;
    // A change of ids made the process readable again.
    birth::hide()
}

/// Waits until ids are mapped. The mounts of the host's tree that the parent does not send are opened then, by the caller's
/// own id still, who may reach what the container's root may not. The outer `None` when the parent is gone.
fn open_own(orders: &Orders, own: Option<Own<'_>>, ears: &mut Ears) -> Result<Option<Option<Sources>>, Error> {
    let Some((rootfs, cgroup)) = own else { return Ok(ears.await_mount()?.then_some(None)) };
    let Some(Order::Go(_)) = ears.next("wait for the maps of ids")? else { return Ok(None) };
    birth::hide()?;
    Sources::open(rootfs, orders, cgroup).map(|sources| Some(Some(sources)))
}

/// Where the mounts of the host's tree come from.
struct Supplier<'a> {
    orders: &'a Orders,
    own: Option<Sources>,
    ears: &'a mut Ears,
}

impl Supply for Supplier<'_> {
    fn next(&mut self) -> Result<OwnedFd, Error> {
        self.own.as_mut().map_or_else(|| self.ears.mount(), Sources::next)
    }

    fn ask(&mut self, place: usize) -> Result<Option<OwnedFd>, Error> {
        if !self.orders.later.contains(&place) {
            return Ok(None);
        }
        if self.orders.opens_sources {
            return sources::make_one_here(self.orders, place).map(Some);
        }
        sync::report(self.ears.socket, &Report::Want(place), None).during("ask for a mount")?;
        match self.ears.next("wait for a mount")? {
            Some(Order::Supplied(mount)) => Ok(Some(mount)),
            _ => Err(Error::refused("wait for a mount: the runtime is gone")),
        }
    }
}

/// Makes the time namespace with its clocks set, and goes there.
fn set_clocks(orders: &Orders) -> Result<(), Error> {
    if !orders.namespaces.time {
        return Ok(());
    }
    namespace::unshare(namespace::TIME).during("make the time namespace")?;
    let clocks = orders.clocks.iter().map(|(clock, offset)| format!("{clock} {} {}\n", offset.secs, offset.nanosecs));
    let text: String = clocks.collect();
    if !text.is_empty() {
        use rustix::process::{DumpableBehavior, set_dumpable_behavior};
        // The file of a process that hides belongs to the host's root. Nobody else is in the new user namespace yet.
        let hides = orders.namespaces.user == User::Born;
        if hides {
            set_dumpable_behavior(DumpableBehavior::Dumpable).during("show up")?;
        }
        let written = std::fs::write("/proc/self/timens_offsets", text);
        if hides {
            birth::hide()?;
        }
        written.during("set the clocks of the time namespace")?;
    }
    let enter = || namespace::enter(File::open("/proc/self/ns/time_for_children")?, namespace::TIME);
    enter().during("enter the time namespace")
}

fn new_keyring(name: &str) -> Result<(), Error> {
    let name = std::ffi::CString::new(name).map_err(|_| Error::refused("name the keyring: a null byte in the id"))?;
    match scheduling::new_session_keyring(&name) {
        // A kernel without keys, a filter around us, or a user with too many: as other runtimes, go on without.
        Err(error) if matches!(Errno::from_io_error(&error), Some(Errno::NOSYS | Errno::PERM | Errno::DQUOT)) => Ok(()),
        other => other.during("make the session keyring"),
    }
}

/// Lets the runtime's hooks and then the container's own run. Returns init's process id outside; none when the parent
/// is gone.
fn await_hooks(orders: &Orders, root: &Root, ears: &mut Ears) -> Result<Option<i32>, Error> {
    let Some(own) = &orders.hooks else { return Ok(Some(0)) };
    sync::report(ears.socket, &Report::Built, None).during("tell that the root is built")?;
    let Some(Order::Go(pid)) = ears.next("wait for the hooks")? else { return Ok(None) };
    if !own.create_container.is_empty() {
        rustix::process::fchdir(root).during("enter the root for its hooks")?;
        hooks::run("createContainer", &own.create_container, &own.identity.state("creating", pid))?;
    }
    Ok(Some(pid))
}

/// The container's tree on its way to be the root.
struct NewRoot {
    root: Root,
    mounts: Mounts,
    mask: Option<Mask>,
}

/// Mounts the root file system and everything in it.
fn build_root(orders: &Orders, supply: &mut Supplier<'_>) -> Result<NewRoot, Error> {
    if let Some(path) = &orders.namespaces.mount {
        // So late because no path means what it meant from here on.
        namespace::enter(supply.next()?, namespace::MOUNT)
            .during_with(|| format!("enter namespace {}", path.display()))?;
    }
    if !orders.on_empty_root {
        let from_host = match orders.propagation {
            Some(Propagation::Shared) => Propagation::Shared,
            _ => Propagation::Slave,
        };
        mount::set_propagation_of_all(from_host).during("part from the host's mounts")?;
    }
    let mask = if orders.in_place() { None } else { make_mask(orders)? };
    let made = supply.next()?;
    attach_root(orders, &made).during("attach the root file system")?;
    let root = Root::from_fd(made);
    let mounts = apply::apply(&root, &orders.mounts, &orders.hierarchies, supply)?;
    devices::make(&root, &orders.devices, &orders.mounts, orders.namespaces.maps_ids())?;
    if orders.launch.cwd() != "/" {
        // One that cannot be made is told when it cannot be entered.
        let _ = root.create_dir_all(orders.launch.cwd(), 0o755);
    }
    Ok(NewRoot { root, mounts, mask })
}

/// Attaches the root where it waits to be the root: over the old one, or, where hooks look for it by its path, there.
fn attach_root(orders: &Orders, made: &OwnedFd) -> std::io::Result<()> {
    use rustix::fs::{Mode, OFlags};
    let Some(path) = orders.directory.as_ref().filter(|_| orders.in_place()) else {
        return mount::attach_over_root(made);
    };
    match rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()) {
        // Whoever made the namespace that is joined has another tree there.
        Err(Errno::NOENT | Errno::NOTDIR) if orders.namespaces.mount.is_some() => mount::attach_over_root(made),
        place => mount::attach(made, place?),
    }
}

fn make_mask(orders: &Orders) -> Result<Option<Mask>, Error> {
    if orders.masked.is_empty() { Ok(None) } else { Mask::new().during("make a mask").map(Some) }
}

/// Covers what is to be covered and makes the tree the root. Returns the terminal's master side.
fn finish_root(
    orders: &Orders,
    NewRoot { root, mounts, mask }: NewRoot,
    ears: &mut Ears,
    back: &mut Option<Return>,
) -> Result<Option<OwnedFd>, Error> {
    // Hooks that enter the mount namespace must not find themselves in the mask.
    let mask = if orders.in_place() { make_mask(orders)? } else { mask };
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
    let root = change_root(orders, root, ears, back)?;
    if let Some(propagation) = orders.propagation.filter(|propagation| *propagation != Propagation::Private) {
        let change = Change { propagation: Some(propagation), ..Change::default() };
        mount::set_attributes(&root, false, change).during("set the root's propagation")?;
    }
    Ok(master)
}

/// Makes the tree the root; returns the mount that is it now.
fn change_root(orders: &Orders, root: Root, ears: &mut Ears, back: &mut Option<Return>) -> Result<Root, Error> {
    let step = "change the root";
    if orders.namespaces.shares_mounts {
        let (socket, gone) = (ears.socket, || Error::refused("show the container's tree: the runtime is gone"));
        let supplied = || match ears.next("wait to be shown")? {
            Some(Order::Supplied(fd)) => Ok(fd),
            _ => Err(gone()),
        };
        let (tree, asked) = Return::ask(&root, socket, supplied)?;
        let back = back.insert(asked);
        let Some(Order::Go(_)) = ears.next("wait to be shown")? else { return Err(gone()) };
        back.go()?;
        mount::enter_over_root(&tree).during(step)?;
        return Ok(Root::from_fd(tree));
    }
    if orders.no_pivot {
        hide_kernel_files(orders)?;
        mount::change_root_into(&root).during(step)?;
    } else {
        let enter = if orders.on_empty_root { mount::enter_over_root } else { mount::pivot_into };
        enter(&root).during(step)?;
    }
    Ok(root)
}

/// Without pivot_root the host's tree stays underneath, and whoever sees an unmasked procfs there may mount a new one.
fn hide_kernel_files(orders: &Orders) -> Result<(), Error> {
    let Some(own) = &orders.directory else { return Ok(()) };
    let table = std::fs::read("/proc/self/mountinfo").during("read the mount table")?;
    let table = String::from_utf8_lossy(&table);
    for line in table.lines().rev() {
        let Some((mount, kind)) = line.split_once(" - ") else { continue };
        let Some(path) = mount.split(' ').nth(4).map(std::path::Path::new) else { continue };
        let kind = kind.split(' ').next().unwrap_or_default();
        if !matches!(kind, "proc" | "sysfs") || path.starts_with(own) {
            continue;
        }
        // One that cannot be taken off is covered.
        if rustix::mount::unmount(path, rustix::mount::UnmountFlags::DETACH).is_err() {
            let cover = mount::filesystem("tmpfs", &[("size", Some("0"))], attribute::READ_ONLY);
            let cover = cover.during("cover the host's procfs")?;
            let place = rustix::fs::open(
                path,
                rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC,
                rustix::fs::Mode::empty(),
            );
            mount::attach(cover, place.during("cover the host's procfs")?).during("cover the host's procfs")?;
        }
    }
    Ok(())
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
