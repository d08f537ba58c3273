//! The container's processes: the first one and the execs, each with its streams, from being made to having been
//! reported.
//!
//! ```text
//! create ── Created ── start ── Running ── pidfd ready, reaped ── drained ── reported
//! exec ──────────────────────── Running ── …
//! ```
//!
//! A process' output is complete when it was read to its end, or when the process has been reaped and nothing is left
//! to read: whoever else still holds the other side of a pipe is not waited for.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Instant;

use jiff::Timestamp;
use teu_oci::runtime::{ConsoleSize, IdMapping, Namespace, NamespaceKind, Resources, Spec};
use teu_runtime::checkpoint::{self, CgroupMode, Choices, Subject};
use teu_runtime::hooks::Identity;
use teu_runtime::{Cgroup, Doors, Entrance, Error, Options, Process, Stock, Zygote};
use teu_sys::process::{Exit, send_signal, try_wait};

use crate::hooks;
use crate::log::Log;
use crate::protocol::{CreateRequest, ExecRequest, ExitStatus, WindowSize};
use crate::revival::{Revival, Waiting};
use crate::rundir::RunDir;
use crate::streams::{Read, Streams};

const SIGKILL: i32 = 9;

/// One process and its streams.
#[derive(Debug)]
pub(crate) struct Child {
    pub(crate) streams: Streams,
    process: Option<Process>,
    /// The end of an attached client's input ends its input.
    pub(crate) ends_with_client: bool,
    exit: Option<(ExitStatus, Instant)>,
}

impl Child {
    /// The descriptor to wait on, until it has been reaped.
    pub(crate) fn pidfd(&self) -> Option<BorrowedFd<'_>> {
        self.process.as_ref().filter(|_| self.exit.is_none()).map(|process| process.pidfd.as_fd())
    }

    /// Its id, while it runs.
    pub(crate) fn pid(&self) -> Option<i32> {
        self.process.as_ref().filter(|_| self.exit.is_none()).map(|process| process.pid)
    }

    /// How and when it ended, once it has.
    pub(crate) fn exit(&self) -> Option<&(ExitStatus, Instant)> {
        self.exit.as_ref()
    }

    /// It has ended and all its output was read.
    pub(crate) fn drained(&self) -> bool {
        self.exit.is_some() && self.streams.outputs.is_empty()
    }

    /// Reaps it if it has ended. `first` says that it is the container's first process.
    pub(crate) fn reap(&mut self, first: bool) {
        let Some(process) = self.process.as_ref().filter(|_| self.exit.is_none()) else { return };
        let Exit { code, signal } = match try_wait(&process.pidfd) {
            Ok(None) => return,
            Ok(Some(exit)) => exit,
            // Nobody else reaps our children; were it so, how it ended could not be known any more.
            Err(_) => Exit { code: 255, signal: None },
        };
        // What an exec has to do with it nobody can say: the container tells.
        let oom_killed = first && process.cgroup.oom_kills() > 0;
        let finished_at = Timestamp::now().to_string();
        self.exit = Some((ExitStatus { code, signal, oom_killed, finished_at }, Instant::now()));
        self.streams.input = Default::default();
    }

    pub(crate) fn signal(&self, signal: i32) -> std::io::Result<()> {
        match self.pidfd() {
            Some(pidfd) => send_signal(pidfd, signal),
            None => Err(std::io::Error::from_raw_os_error(rustix::io::Errno::SRCH.raw_os_error())),
        }
    }

    /// Reads once from the output at `index`. One that is at its end is removed.
    pub(crate) fn read(&mut self, index: usize, buffer: &mut [u8]) -> Read {
        let Some(output) = self.streams.outputs.get_mut(index) else { return Read::End };
        let ended = self.exit.is_some();
        let read = if ended { output.read_leftover(buffer) } else { output.read(buffer) };
        if read == Read::End {
            self.streams.outputs.remove(index);
        }
        read
    }
}

/// The container, from `Created` on.
#[derive(Debug)]
pub(crate) struct Container {
    pub(crate) id: String,
    /// What hooks are told.
    identity: Identity,
    spec: Spec,
    /// Until it is started.
    created: Option<Waiting>,
    /// Its network namespace, for whoever plugs it in before it is started.
    network: Option<OwnedFd>,
    /// What its descriptors 0, 1 and 2 were at its birth.
    descriptors: Vec<String>,
    pub(crate) child: Child,
    pub(crate) log: Option<Log>,
    pub(crate) execs: Vec<(String, Child)>,
    /// The ways by which execs enter its cgroup.
    doors: Rc<Doors>,
    pub(crate) started_at: Option<String>,
    pub(crate) paused: bool,
}

impl Container {
    pub(crate) fn create(
        request: CreateRequest,
        dir: &RunDir,
        zygote: Option<Zygote>,
        stock: &Stock,
        herald: &mut dyn FnMut(BorrowedFd<'_>),
    ) -> Result<(Container, i32), Error> {
        let CreateRequest { id, spec, rootfs, log, init, stdin, stdin_once, size, checkpoint } = request;
        let log = Log::open(&log).map_err(step("open the log"))?;
        let terminal = spec.process.as_ref().is_some_and(|process| process.terminal);
        let (mut streams, mut stdio) = (Streams::default(), None);
        if !terminal {
            let (uid, gid) = owner(&spec, spec.process.as_ref());
            let (outside, inside) = Streams::pipes(stdin, uid, gid).map_err(step("make pipes"))?;
            (streams, stdio) = (outside, Some(inside));
        }
        let bundle = hooks::bundle(dir, &spec)?;
        let identity = hooks::identity(&id, &spec, &bundle);
        let (created, descriptors);
        let mut network = None;
        if let Some(images) = checkpoint {
            let revival = Revival::prepare(dir, &spec, rootfs, stdio, images)?;
            (created, descriptors) = (Waiting::Saved(revival), Vec::new());
        } else {
            let options = Options { stdio, zygote, reaper: init, bundle, ..Options::default() };
            let mut tell = |namespace: OwnedFd| {
                herald(namespace.as_fd());
                network = Some(namespace);
            };
            let mut made = teu_runtime::create_telling(&id, &spec, &rootfs, options, stock, &mut tell)?;
            if let Some(master) = made.terminal() {
                streams = terminal_streams(master, size)?;
            }
            descriptors = checkpoint::streams_of(made.pid());
            created = Waiting::Created(made);
        }
        let (pid, created) = (created.pid(), Some(created));
        let child = Child { streams, process: None, ends_with_client: stdin_once, exit: None };
        let container = Container {
            id,
            identity,
            spec,
            created,
            network,
            descriptors,
            child,
            log,
            execs: Vec::new(),
            doors: Rc::default(),
            started_at: None,
            paused: false,
        };
        Ok((container, pid))
    }

    /// Executes the program. After an error nothing is left of the container.
    pub(crate) fn start(&mut self) -> Result<i32, Error> {
        let Some(created) = self.created.take() else {
            return Err(Error::Refused { what: "container is already started".into() });
        };
        self.network = None;
        let process = match created {
            Waiting::Created(created) => created.start()?,
            Waiting::Saved(revival) => self.revive(revival)?,
        };
        let pid = process.pid;
        hooks::started(&self.identity, &self.spec, &process)?;
        self.child.process = Some(process);
        self.started_at = Some(Timestamp::now().to_string());
        Ok(pid)
    }

    /// Has a container that was saved go on.
    fn revive(&mut self, revival: Revival) -> Result<Process, Error> {
        let mut process = revival.start(&self.spec, &self.identity)?;
        if let Some(master) = process.terminal.take() {
            self.child.streams = terminal_streams(master, None)?;
        }
        self.descriptors = checkpoint::streams_of(process.pid);
        let namespaces = self.spec.linux.get_or_insert_default();
        let known = namespaces.namespaces.iter().any(|one| one.kind == NamespaceKind::Time);
        if !known && checkpoint::has_own_clocks(process.pid) {
            // Who enters it goes into its clocks too.
            namespaces.namespaces.push(Namespace { kind: NamespaceKind::Time, path: None });
        }
        Ok(process)
    }

    /// Saves the processes to disk. Unless they go on, they have ended then.
    pub(crate) fn save(&self, images: PathBuf, leave_running: bool) -> Result<(), Error> {
        let (Some(pid), Some(cgroup)) = (self.child.pid(), self.cgroup()) else {
            return Err(Error::Refused { what: "container is not running".into() });
        };
        let subject = Subject { pid, spec: &self.spec, cgroup, streams: &self.descriptors };
        // A v1 hierarchy that it has not joined would be saved from its root, and every cgroup there made again one day.
        let cgroups = Some(CgroupMode::Ignore);
        let choices =
            Choices { images, leave_running, leave_network: true, file_locks: true, cgroups, ..Choices::default() };
        checkpoint::checkpoint(&subject, choices)
    }

    pub(crate) fn exec(&mut self, request: ExecRequest, stock: &Stock) -> Result<i32, Error> {
        let ExecRequest { exec, mut process, stdin, size, streams: _ } = request;
        // Before the program looks.
        let cells = size.map(|WindowSize { rows, cols }| ConsoleSize { height: rows, width: cols });
        process.console_size = cells.or(process.console_size);
        let Some(init) = self.child.pidfd() else {
            return Err(Error::Refused { what: "container is not running".into() });
        };
        if self.paused {
            // A new process would be frozen at once, and its maker would wait for it for ever.
            return Err(Error::Refused { what: "container is paused".into() });
        }
        if self.execs.iter().any(|(other, _)| *other == exec) {
            return Err(Error::Refused { what: format!("exec {exec} is already running") });
        }
        let (mut streams, mut stdio) = (Streams::default(), None);
        if !process.terminal {
            let (uid, gid) = owner(&self.spec, Some(&process));
            let (outside, inside) = Streams::pipes(stdin, uid, gid).map_err(step("make pipes"))?;
            (streams, stdio) = (outside, Some(inside));
        }
        let (cgroup, doors) = (self.cgroup().cloned(), self.doors.clone());
        let entrance = Entrance { stdio, cgroup, doors, ..Entrance::default() };
        let mut process = teu_runtime::exec_with(init, &self.spec, &process, entrance, stock)?;
        if let Some(master) = process.terminal.take() {
            streams = terminal_streams(master, None)?;
        }
        let pid = process.pid;
        let process = Some(process);
        self.execs.push((exec, Child { streams, process, ends_with_client: true, exit: None }));
        Ok(pid)
    }

    /// The process that `exec` names; none is the first one.
    pub(crate) fn child(&mut self, exec: Option<&str>) -> Option<&mut Child> {
        match exec {
            None => Some(&mut self.child),
            Some(exec) => self.execs.iter_mut().find(|(other, _)| other == exec).map(|(_, child)| child),
        }
    }

    /// The container's first process, from its making to its end.
    pub(crate) fn first_process(&self) -> Option<i32> {
        self.child.pid().or_else(|| self.created.as_ref().map(Waiting::pid))
    }

    pub(crate) fn running(&self) -> bool {
        self.child.pid().is_some()
    }

    /// It waits for its start.
    pub(crate) fn created(&self) -> Option<&Waiting> {
        self.created.as_ref()
    }

    /// Gives up what waits for its start, which is dead; tells how it ended.
    pub(crate) fn lose(&mut self) {
        let Some(created) = self.created.take() else { return };
        let exit = try_wait(created.pidfd()).ok().flatten().unwrap_or(Exit { code: 128 + SIGKILL, signal: None });
        let oom_killed = created.cgroup().oom_kills() > 0;
        let finished_at = Timestamp::now().to_string();
        let status = ExitStatus { code: exit.code, signal: exit.signal, oom_killed, finished_at };
        self.child.exit = Some((status, Instant::now()));
        self.child.streams.close();
    }

    /// Signals every process. One that is frozen cannot die, so a kill thaws.
    pub(crate) fn signal_all(&mut self, signal: i32) -> std::io::Result<()> {
        let Some(cgroup) = self.cgroup() else { return Ok(()) };
        if signal == SIGKILL {
            cgroup.kill()?;
            return self.thaw_if_paused();
        }
        for pid in cgroup.processes()? {
            // One that has ended meanwhile needs no signal.
            if let Some(pid) = rustix::process::Pid::from_raw(pid)
                && let Ok(pidfd) = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())
            {
                let _ = send_signal(pidfd, signal);
            }
        }
        Ok(())
    }

    /// Thaws a container that was sent what it must be awake to obey.
    pub(crate) fn thaw_if_paused(&mut self) -> std::io::Result<()> {
        if self.paused { self.pause(false) } else { Ok(()) }
    }

    pub(crate) fn pause(&mut self, paused: bool) -> std::io::Result<()> {
        if let Some(cgroup) = self.cgroup() {
            if paused { cgroup.freeze()? } else { cgroup.thaw()? }
        }
        self.paused = paused;
        Ok(())
    }

    pub(crate) fn update(&mut self, resources: &Resources) -> Result<(), Error> {
        // It may be in more hierarchies from now on.
        self.doors = Rc::default();
        self.cgroup().map_or(Ok(()), |cgroup| cgroup.update(resources))
    }

    /// After the first process' end: ends whatever is left, so that the execs end and the cgroup can go.
    pub(crate) fn kill_stragglers(&mut self) {
        let Some(cgroup) = self.cgroup() else { return };
        if cgroup.processes().is_ok_and(|processes| !processes.is_empty()) {
            let _ = cgroup.kill();
            let _ = self.thaw_if_paused();
        }
    }

    /// Removes the cgroup, and lets the hooks of the end run. Best effort: there is nobody left to tell.
    pub(crate) fn clean_up(&mut self) {
        if let Some(cgroup) = self.cgroup() {
            let _ = cgroup.remove();
        }
        hooks::stopped(&self.identity, &self.spec);
    }

    fn cgroup(&self) -> Option<&Cgroup> {
        let running = self.child.process.as_ref().map(|process| &process.cgroup);
        running.or_else(|| self.created.as_ref().map(Waiting::cgroup))
    }
}

fn terminal_streams(master: OwnedFd, size: Option<WindowSize>) -> Result<Streams, Error> {
    let streams = Streams::terminal(master).map_err(step("set up the terminal"))?;
    if let Some(WindowSize { rows, cols }) = size {
        streams.resize(rows, cols).map_err(step("set the terminal's size"))?;
    }
    Ok(streams)
}

/// Who owns the pipes, as the host counts.
fn owner(spec: &Spec, process: Option<&teu_oci::runtime::Process>) -> (u32, u32) {
    let (uid, gid) = process.map_or((0, 0), |process| (process.user.uid, process.user.gid));
    let Some(linux) = &spec.linux else { return (uid, gid) };
    (outside(&linux.uid_mappings, uid), outside(&linux.gid_mappings, gid))
}

fn outside(mappings: &[IdMapping], id: u32) -> u32 {
    let holds = |mapping: &&IdMapping| id.checked_sub(mapping.container_id).is_some_and(|at| at < mapping.size);
    mappings.iter().find(holds).map_or(id, |mapping| mapping.host_id + (id - mapping.container_id))
}

/// Names the step that an I/O error stopped.
pub(crate) fn step(what: &str) -> impl FnOnce(std::io::Error) -> Error {
    move |error| {
        let errno = error.raw_os_error().unwrap_or(rustix::io::Errno::IO.raw_os_error());
        Error::Step { step: what.to_owned(), errno }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pipes_belong_to_the_user_as_the_host_counts() {
        let mappings = [IdMapping { container_id: 0, host_id: 100_000, size: 65536 }];
        assert_eq!(outside(&mappings, 1000), 101_000);
        assert_eq!(outside(&[], 1000), 1000);
    }
}
