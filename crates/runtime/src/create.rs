//! The parent's story: plan, cgroup, clone, wait for *ready*; later, *start*. The conversation is drawn in `sync`.

use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use teu_oci::runtime::{Mount, Resources, Spec};
use teu_sys::namespace;
use teu_sys::process::{self, Child};

use crate::credentials::Filter;
use crate::error::During;
use crate::hooks::{self, Identity};
use crate::namespaces::User;
use crate::orders::Orders;
use crate::sources::{self, CgroupDirectories, Opener};
use crate::sync::{self, Order, Report};
use crate::systemd::Unit;
use crate::zygote::Herald;
use crate::{Cgroup, Error, Rootfs, Stock, Zygote, birth, init, listener, netdev, shown};

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

/// What is asked of the making of a container besides its spec.
#[derive(Debug, Default)]
pub struct Options {
    /// Its descriptors 0, 1 and 2; without them it inherits the caller's.
    pub stdio: Option<Stdio>,
    /// How many of the caller's descriptors from 3 on the program gets.
    pub descriptors: u32,
    /// Have the terminal leave line feeds as they are: what it shows goes to another terminal, or to none.
    pub plain_terminal: bool,
    /// A listening socket at which somebody says start later; the caller may leave then, see [`Created::leave`].
    pub gate: Option<OwnedFd>,
    /// Its bundle, which hooks are told of.
    pub bundle: PathBuf,
    /// Change the root without pivot_root(2), for a machine that runs from its first root.
    pub no_pivot: bool,
    /// Leave it in the caller's mount namespace if the spec lists none, for the container with this state directory: when it
    /// has ended, the caller takes off what is shown of it ([`crate::shown::take_off`]). Otherwise it has one of its own.
    pub inherits_mounts: Option<PathBuf>,
    /// Have a first process that only looks after the others, see `reaper`.
    pub reaper: bool,
    /// Keep the caller's session keyring instead of making a new one.
    pub callers_keyring: bool,
    /// Something that makes it faster where there is cgroup v1.
    pub zygote: Option<Zygote>,
    /// The cgroup, where somebody else (systemd) has made it.
    pub cgroup: Option<Cgroup>,
}

impl Options {
    pub(crate) fn identity(&self, id: &str, spec: &Spec) -> Identity {
        Identity { id: id.to_owned(), bundle: self.bundle.clone(), annotations: spec.annotations.clone() }
    }
}

/// A container that is complete but for its program. Dropping it ends it and leaves nothing behind.
#[derive(Debug)]
pub struct Created {
    /// None once it is a [`Process`].
    parts: Option<Parts>,
    filter: Option<Filter>,
    listener: Option<listener::Reader>,
    /// Under what name there is something of it in the caller's mount namespace.
    shown: Option<String>,
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
    create_with(id, spec, rootfs, Options { stdio, zygote, ..Options::default() }, stock)
}

/// The same with more choices.
///
/// # Errors
/// As [`create`].
pub fn create_with(id: &str, spec: &Spec, rootfs: &Rootfs, options: Options, stock: &Stock) -> Result<Created, Error> {
    create_telling(id, spec, rootfs, options, stock, &mut |_| {})
}

/// The same, telling `herald` of the network namespace where it is known before the container is made: by a zygote. Only
/// should that end early is the container's another one.
///
/// # Errors
/// As [`create`].
pub fn create_telling(
    id: &str,
    spec: &Spec,
    rootfs: &Rootfs,
    mut options: Options,
    stock: &Stock,
    herald: &mut Herald<'_>,
) -> Result<Created, Error> {
    let mut orders = Orders::new(id, spec, rootfs, &options)?;
    let listener = listener::Reader::of(spec, options.identity(id, spec))?;
    let linux = spec.linux.as_ref();
    let path = linux.and_then(|linux| linux.cgroups_path.clone()).unwrap_or_else(|| PathBuf::from("/teu").join(id));
    let none = Resources::default();
    let resources = linux.and_then(|linux| linux.resources.as_ref()).unwrap_or(&none);
    let (socket, theirs) = sync::pair().during("make a socket pair")?;
    let mut scope = None;
    if let Some(unit) = Unit::of(&path).filter(|_| options.cgroup.is_none()) {
        let (cgroup, made) = Cgroup::create_scope(&unit, resources, &spec.annotations)?;
        (options.cgroup, scope) = (Some(cgroup), Some(made));
    } else if options.cgroup.is_none() && changes_cgroups(spec) {
        // In a hierarchy that it has not joined it would change what is the host's.
        options.cgroup = Some(Cgroup::begin_everywhere(&path, resources)?);
    }
    let suits = |zygote: &Zygote| {
        options.cgroup.is_none() && orders.is_plain() && zygote.suits(&path, resources, &orders.namespaces)
    };
    let zygote = options.zygote.take();
    let ready = zygote.filter(suits).and_then(|zygote| zygote.ready().map(|network| (zygote, network)));
    let born = match ready {
        Some((zygote, network)) => {
            if orders.namespaces.born & namespace::NETWORK != 0 {
                herald(network);
            }
            zygote.become_init(&path, resources, &mut orders, options.stdio.as_ref(), &theirs)?
        }
        None => None,
    };
    let (child, cgroup, shown) = match born {
        Some((child, cgroup, shown)) => (child, cgroup, shown),
        None => {
            let cgroup = match options.cgroup.take() {
                Some(cgroup) => cgroup,
                None => Cgroup::begin(&path, resources)?,
            };
            match clone_init(&mut orders, rootfs, &cgroup, &options, &theirs) {
                Ok((child, shown)) => (child, cgroup, shown),
                Err(error) => {
                    cgroup.discard();
                    return Err(error);
                }
            }
        }
    };
    (options.stdio, options.gate) = (None, None);
    drop(theirs);
    let mut created =
        Created { parts: Some(Parts { child, socket, cgroup, terminal: None }), filter: None, listener, shown: None };
    created.supply(rootfs, &orders, &shown)?;
    if orders.placed_by_parent {
        unless_gone(created.place()).during("join the cgroup")?;
    }
    created.complete(spec, resources, &orders, &options.identity(id, spec), stock)?;
    drop(scope);
    Ok(created)
}

/// Clones init straight from the caller. On v1 the caller moves it, while it builds its root.
fn clone_init(
    orders: &mut Orders,
    rootfs: &Rootfs,
    cgroup: &Cgroup,
    options: &Options,
    theirs: &OwnedFd,
) -> Result<(Child, CgroupDirectories), Error> {
    let unified = cgroup.open_unified().during("open the cgroup")?;
    orders.placed_by_parent = cgroup.is_joined_by_writing();
    let shown = orders.show_cgroup(cgroup);
    let unified = unified.as_ref().map(AsFd::as_fd);
    let (stdio, gate) = (options.stdio.as_ref().map(Stdio::borrow), options.gate.as_ref().map(AsFd::as_fd));
    let own = Some((rootfs, &shown)).filter(|_| orders.opens_sources);
    let run = || init::run(orders, own, stdio, theirs.as_fd(), gate);
    Ok((birth::spawn(&orders.namespaces, 0, unified, run)?, shown))
}

/// Whether the container sees its cgroups and can write there.
fn changes_cgroups(spec: &Spec) -> bool {
    let writable = |mount: &Mount| mount.kind == "cgroup" && !mount.options.iter().any(|option| option == "ro");
    spec.mounts.iter().any(writable)
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
    reap(child);
}

/// Waits for a child of which nothing more is to be learned.
pub(crate) fn reap(child: &Child) {
    let _ = process::wait(&child.pidfd);
}

impl Created {
    /// Makes what init cannot: the maps of its ids, what it mounts of the host's tree, and meanwhile the rest of the cgroup.
    fn supply(&mut self, rootfs: &Rootfs, orders: &Orders, shown: &CgroupDirectories) -> Result<(), Error> {
        let Parts { child, socket, cgroup, .. } = self.present();
        if orders.namespaces.user == User::Born {
            orders.maps.write(child.pid)?;
            sources::delegate(orders, cgroup)?;
        }
        if orders.opens_sources {
            let (pid, socket) = (child.pid, socket.try_clone().during("tell that ids are mapped")?);
            self.complete_cgroup()?;
            return tell(socket.as_fd(), &Order::Go(pid), "tell that ids are mapped");
        }
        let mut opener = Opener::new(orders)?;
        let send = |created: &Created, mounts: Vec<OwnedFd>| {
            tell(created.present().socket.as_fd(), &Order::Mounts(mounts), "send the mounts")
        };
        send(self, opener.first(rootfs)?)?;
        self.complete_cgroup()?;
        send(self, opener.rest(shown)?)
    }

    fn complete_cgroup(&mut self) -> Result<(), Error> {
        self.parts.as_mut().map_or(Ok(()), |parts| parts.cgroup.complete())
    }

    /// Moves init into its v1 cgroups, and tells it.
    fn place(&self) -> std::io::Result<()> {
        let Parts { child, socket, cgroup, .. } = self.present();
        let joins = cgroup.open_legacy_joins()?;
        joins.into_iter().try_for_each(|mut join| join.write_all(child.pid.to_string().as_bytes()))?;
        sync::order(socket.as_fd(), &Order::Placed)
    }

    /// What is done while init builds its root, and then the wait for it.
    fn complete(
        &mut self,
        spec: &Spec,
        resources: &Resources,
        orders: &Orders,
        identity: &Identity,
        stock: &Stock,
    ) -> Result<(), Error> {
        let Some(parts) = &mut self.parts else { return Ok(()) };
        let (pid, socket) = (parts.child.pid, parts.socket.as_fd());
        parts.cgroup.limit(resources, stock)?;
        adjust_oom_score(pid, spec.process.as_ref().and_then(|process| process.oom_score_adj))?;
        self.filter = listener::filter(spec, stock)?;
        netdev::give(spec, pid)?;
        if let Some(hooks) = &spec.hooks {
            hear(socket, orders, pid)?;
            let state = identity.state("creating", pid);
            hooks::run("prestart", &hooks.prestart, &state)?;
            hooks::run("createRuntime", &hooks.create_runtime, &state)?;
            tell(socket, &Order::Go(pid), "tell the container to go on")?;
        }
        if orders.namespaces.shares_mounts {
            let (tree, place) = (hear(socket, orders, pid)?, orders.directory.as_deref());
            let (Some(tree), Some(place), Some(owner)) = (tree, place, &orders.owner) else {
                return Err(Error::refused("show the container's tree: it has no directory of its own"));
            };
            self.shown = Some(shown::name_here(owner));
            shown::show(&tree, place, owner, socket)?;
            tell(socket, &Order::Go(pid), "tell the container to go on")?;
        }
        parts.terminal = hear(socket, orders, pid)?;
        Ok(())
    }

    /// Lets somebody else say start, at the gate that [`Options::gate`] named, and the caller leave. The process goes
    /// on as it is, and is nobody's to drop.
    ///
    /// # Errors
    /// When the container has ended meanwhile.
    pub fn leave(mut self) -> Result<Process, Error> {
        let filter = self.filter.take();
        sync::order(self.present().socket.as_fd(), &Order::Hold(filter)).during("tell the container to wait")?;
        match self.parts.take() {
            Some(Parts { child: Child { pid, pidfd }, cgroup, terminal, .. }) => {
                Ok(Process { pid, pidfd, terminal, cgroup })
            }
            None => unreachable!("the parts are taken by start, leave and drop only"),
        }
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
        tell(socket, &Order::Start(filter), "tell the container to start")?;
        let parts = self.present();
        await_program(socket, self.listener.as_ref(), parts.child.pid, parts.child.pidfd.as_fd(), "created")?;
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
            if let Some(name) = &self.shown {
                // What hides it is for others to take off, and it is still written down.
                shown::take_off(name).unwrap_or_default();
            }
            if parts.cgroup.is_complete() {
                // What cannot be removed now is found by the next cleaning; there is nobody to tell here.
                parts.cgroup.remove().unwrap_or_default();
            } else {
                // A directory that could not be made may be in somebody else's use, who is not to end with this.
                parts.cgroup.discard();
            }
        }
    }
}

/// Gives an order; that nobody is there to take it shows later.
fn tell(socket: BorrowedFd<'_>, order: &Order, step: &str) -> Result<(), Error> {
    unless_gone(sync::order(socket, order)).during(step)
}

/// Says start at a container's gate, by its connected socket, and waits until the program runs.
///
/// # Errors
/// As [`Created::start`].
pub fn start_at(
    gate: BorrowedFd<'_>,
    spec: &Spec,
    identity: &Identity,
    pid: i32,
    pidfd: BorrowedFd<'_>,
) -> Result<(), Error> {
    let listener = listener::Reader::of(spec, identity.clone())?;
    tell(gate, &Order::Start(None), "tell the container to start")?;
    await_program(gate, listener.as_ref(), pid, pidfd, "created")
}

/// Waits until the program runs, and gives its listener, if there is one, to the reader.
pub(crate) fn await_program(
    socket: BorrowedFd<'_>,
    listener: Option<&listener::Reader>,
    pid: i32,
    pidfd: BorrowedFd<'_>,
    status: &str,
) -> Result<(), Error> {
    loop {
        match sync::receive(socket)? {
            Some((Report::Failed(error), _)) => return Err(error),
            Some((Report::Listener(number), _)) => {
                if let Some(reader) = listener {
                    reader.hand_over(pidfd, number, pid, status)?;
                }
                tell(socket, &Order::Heard, "go on")?;
            }
            _ => return Ok(()),
        }
    }
}

/// Waits for *built* or *ready*, and makes the mounts that init wants meanwhile.
fn hear(socket: BorrowedFd<'_>, orders: &Orders, pid: i32) -> Result<Option<OwnedFd>, Error> {
    loop {
        match sync::receive(socket)? {
            Some((Report::Failed(error), _)) => return Err(error),
            Some((Report::Want(place), _)) => {
                tell(socket, &Order::Supplied(sources::make_one(orders, place, pid)?), "hand over a mount")?;
            }
            Some((_, terminal)) => return Ok(terminal),
            None => return Err(Error::refused("make the container: its process ended before it was ready")),
        }
    }
}

/// Waits for *ready* and the terminal that may come with it.
pub(crate) fn wait_ready(socket: BorrowedFd<'_>) -> Result<Option<OwnedFd>, Error> {
    match sync::receive(socket)? {
        Some((Report::Failed(error), _)) => Err(error),
        Some((_, terminal)) => Ok(terminal),
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
