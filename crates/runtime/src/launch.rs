//! The steps that a container's first process and every later one have in common: descriptors, terminal, limits,
//! scheduling, working directory, labels, identity, program.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{FileType, Gid, Uid};
use serde::{Deserialize, Serialize};
use teu_oci::runtime::{Linux, NamespaceKind, Process};
use teu_sys::process;
use teu_sys::pty::Pair;

use crate::Error;
use crate::credentials::{Credentials, Filter};
use crate::error::{During, errno};
use crate::labels::Label;
use crate::program::Program;
use crate::schedule::Schedule;
use crate::sync::{self, Report};

/// How a process is started.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Launch {
    process: Process,
    credentials: Credentials,
    /// Number of the resource, soft, hard.
    limits: Vec<(u32, u64, u64)>,
    /// How many of the caller's descriptors from 3 on the program gets.
    descriptors: u32,
    /// Whether its terminal leaves line feeds as they are.
    plain_terminal: bool,
    schedule: Schedule,
    labels: Vec<Label>,
}

/// What [`settle`] has arranged.
#[derive(Clone, Copy)]
pub(crate) struct Settled {
    pub(crate) socket: BorrowedFd<'static>,
    /// The socket's number, at which another one may be put.
    pub(crate) number: i32,
    pub(crate) gate: Option<BorrowedFd<'static>>,
}

impl Launch {
    /// Checks and translates a process, purely but for asking which capabilities there are.
    pub(crate) fn new(process: &Process, descriptors: u32) -> Result<Launch, Error> {
        if !process.cwd.is_empty() && !process.cwd.starts_with('/') {
            return Err(Error::refused(format!("change to working directory \"{}\": not absolute", process.cwd)));
        }
        let mut limits: Vec<(u32, u64, u64)> = Vec::with_capacity(process.rlimits.len());
        for limit in &process.rlimits {
            let number = process::limit_by_name(&limit.kind)
                .ok_or_else(|| Error::refused(format!("limit \"{}\": there is no such resource", limit.kind)))?;
            if limit.soft > limit.hard {
                return Err(Error::refused(format!("limit {}: the soft limit is above the hard one", limit.kind)));
            }
            if limits.iter().any(|(other, ..)| *other == number) {
                return Err(Error::refused(format!("limit {}: it is listed twice", limit.kind)));
            }
            limits.push((number, limit.soft, limit.hard));
        }
        Ok(Launch {
            process: process.clone(),
            credentials: Credentials::new(process)?,
            limits,
            descriptors,
            plain_terminal: false,
            schedule: Schedule::of(process)?,
            labels: Label::of(process)?,
        })
    }

    /// Adds what concerns every process of a container.
    pub(crate) fn of_container(mut self, linux: &Linux) -> Result<Launch, Error> {
        self.schedule.of_container(linux)?;
        if linux.namespaces.iter().any(|one| one.kind == NamespaceKind::User) {
            self.credentials = self.credentials.in_user_namespace();
        }
        Ok(self)
    }

    /// Has the terminal leave line feeds as they are: what it shows goes to another terminal, or to none.
    pub(crate) fn on_plain_terminal(mut self, plain: bool) -> Launch {
        self.plain_terminal = plain;
        self
    }

    /// How many of the caller's descriptors from 3 on the program gets.
    pub(crate) fn descriptors(&self) -> u32 {
        self.descriptors
    }

    /// Whether the program can be executed as far as can be seen: for who wants to hear of it before the start.
    pub(crate) fn look_ahead(&self, program: &Program) -> Result<(), Error> {
        program.look_ahead(self.cwd())
    }

    /// Runs on every processor that the cgroup allows, whatever the caller was bound to.
    pub(crate) fn go_everywhere(&self) {
        // A convenience: a process that stays bound runs all the same.
        let _ = teu_sys::scheduling::set_all_processors();
    }

    /// The processors on which an entering process runs until it is in the cgroup.
    pub(crate) fn go_to_first_processors(&self) -> Result<(), Error> {
        self.schedule.enter_first()
    }

    /// The processors on which an entering process runs from then on.
    pub(crate) fn go_to_last_processors(&self) -> Result<(), Error> {
        self.go_everywhere();
        self.schedule.enter_last()
    }

    /// Whether it gets a terminal.
    pub(crate) fn terminal(&self) -> bool {
        self.process.terminal
    }

    /// The working directory.
    pub(crate) fn cwd(&self) -> &str {
        if self.process.cwd.is_empty() { "/" } else { &self.process.cwd }
    }

    /// The program, looked at but not yet looked for. In the container.
    pub(crate) fn program(&self) -> Result<Program, Error> {
        let mut program = Program::new(&self.process)?;
        program.find_home(Path::new("/"), self.credentials.uid());
        Ok(program)
    }

    /// The same for who is outside the container, whose first process is behind `init`, and the working directory. None for
    /// what takes more than system calls once it is in: a terminal, labels, a schedule.
    pub(crate) fn lean(&self, init: BorrowedFd<'_>) -> Option<(Program, CString)> {
        if self.process.terminal || !self.labels.is_empty() || self.schedule != Schedule::default() {
            return None;
        }
        let mut program = Program::new(&self.process).ok()?;
        if program.lacks_home() {
            // Of a process that is gone there is no namespace to enter either.
            let root = format!("/proc/{}/root", crate::cgroup::pid_of(init).ok()?);
            program.find_home(Path::new(&root), self.credentials.uid());
        }
        Some((program, CString::new(self.cwd()).ok()?))
    }

    /// Sets the limits, takes on the identity and the filter in the working directory `cwd`. Takes no memory.
    pub(crate) fn take_lean(&self, cwd: &CStr, filter: Option<&Filter>) -> io::Result<()> {
        for (number, soft, hard) in &self.limits {
            process::set_limit(*number, *soft, *hard)?;
        }
        self.own_streams();
        process::close_on_exec_from(3 + self.descriptors)?;
        let enter = || {
            rustix::process::chdir(cwd)?;
            if process::is_below_root()? { Ok(()) } else { Err(rustix::io::Errno::NOENT.into()) }
        };
        self.credentials.assume(filter, enter, |_| Err(rustix::io::Errno::NOTSUP.into()))
    }

    /// Makes a terminal in `devpts`, of the size asked for and owned by the user.
    pub(crate) fn open_terminal(&self, devpts: impl AsFd) -> Result<Pair, Error> {
        let open = || -> io::Result<Pair> {
            let pair = teu_sys::pty::open_in(devpts)?;
            if let Some(size) = self.process.console_size {
                teu_sys::pty::set_size(&pair.master, size.height, size.width)?;
            }
            if self.plain_terminal {
                teu_sys::pty::leave_line_feeds(&pair.replica)?;
            }
            rustix::fs::fchown(&pair.replica, Some(Uid::from_raw(self.credentials.uid())), None)?;
            Ok(pair)
        };
        open().during("open a terminal")
    }

    /// Makes `replica` the process' terminal: its controlling one, and its descriptors 0, 1 and 2.
    pub(crate) fn use_terminal(&self, replica: &OwnedFd) -> Result<(), Error> {
        let attach = || -> io::Result<()> {
            teu_sys::pty::make_controlling(replica)?;
            (0..=2).try_for_each(|number| process::place_descriptor(replica.as_fd(), number, false))
        };
        attach().during("use the terminal")
    }

    /// Gives pipes to the user, so that `/dev/stdout` can be opened by who is not root.
    pub(crate) fn own_streams(&self) {
        let uid = self.credentials.uid();
        if uid == 0 || self.process.terminal {
            return;
        }
        for number in 0..=2 {
            let Ok(stream) = process::inherited(number) else { continue };
            let kind = rustix::fs::fstat(stream).map(|stat| FileType::from_raw_mode(stat.st_mode));
            if matches!(kind, Ok(FileType::Fifo | FileType::Socket)) {
                // A convenience: a stream that cannot be given away still can be written.
                let _ = rustix::fs::fchown(stream, Some(Uid::from_raw(uid)), None::<Gid>);
            }
        }
    }

    /// Opens the container's own `/dev/null` where a stream is the host's: a file of the host's tree could not be saved with
    /// the container.
    pub(crate) fn own_null_streams(&self) -> Result<(), Error> {
        let null = rustix::fs::makedev(1, 3);
        let is_null = |fd: BorrowedFd<'_>| rustix::fs::fstat(fd).is_ok_and(|stat| stat.st_rdev == null);
        let streams = (0..=2).filter(|number| process::inherited(*number).is_ok_and(is_null)).collect::<Vec<i32>>();
        if streams.is_empty() {
            return Ok(());
        }
        let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::CLOEXEC;
        // An image may have something else there, or nothing.
        let Ok(own) = rustix::fs::open("/dev/null", flags, rustix::fs::Mode::empty()) else { return Ok(()) };
        if !is_null(own.as_fd()) {
            return Ok(());
        }
        rustix::fs::fcntl_setfl(&own, rustix::fs::OFlags::RDWR).during("open /dev/null")?;
        let place = |number: i32| process::place_descriptor(own.as_fd(), number, false).during("open /dev/null");
        streams.into_iter().try_for_each(place)
    }

    /// Sets the limits, as far as this caller may.
    pub(crate) fn limit(&self) -> Result<(), Error> {
        for (limit, (number, soft, hard)) in self.process.rlimits.iter().zip(&self.limits) {
            process::set_limit(*number, *soft, *hard).during_with(|| format!("limit {}", limit.kind))?;
        }
        Ok(())
    }

    /// Becomes the program, after doing what is `last` with its identity. Returns only why that was impossible.
    pub(crate) fn execute(
        &self,
        program: &Program,
        filter: Option<&Filter>,
        socket: BorrowedFd<'_>,
        last: &dyn Fn() -> Result<(), Error>,
    ) -> Error {
        let path = self.cwd();
        let wrong = |errno: i32| Error::WorkingDirectory { path: path.to_owned(), errno };
        let enter = || {
            rustix::process::chdir(path).map_err(|error| wrong(error.raw_os_error()))?;
            match process::is_below_root() {
                Ok(true) => Ok(()),
                Ok(false) => Err(wrong(rustix::io::Errno::NOENT.raw_os_error())),
                Err(error) => Err(wrong(errno(&error))),
            }
        };
        // Before the filter and the identity, which may forbid it.
        if let Err(error) = process::close_on_exec_from(3 + self.descriptors) {
            return Error::Step { step: "close descriptors".to_owned(), errno: errno(&error) };
        }
        let listen = |listener: OwnedFd| {
            sync::report(socket, &Report::Listener(listener.as_raw_fd()), None).during("tell of the listener")?;
            sync::obey(socket).during("wait for the listener's reader").map(drop)
        };
        let prepared = self.schedule.apply().and_then(|()| self.take_labels());
        match prepared.and_then(|()| self.credentials.assume(filter, enter, listen)).and_then(|()| last()) {
            Ok(()) => program.execute(),
            Err(error) => error,
        }
    }

    /// Takes on the identity and the filter of the process, without becoming its program.
    pub(crate) fn become_user(&self, filter: Option<&Filter>) -> Result<(), Error> {
        self.credentials.assume::<Error>(filter, || Ok(()), |_| Ok(()))?;
        // A change of ids made the process readable again.
        crate::birth::hide()
    }

    /// Leads a group of processes, the one that the terminal listens to.
    pub(crate) fn lead_terminal(&self) {
        let lead = || -> rustix::io::Result<()> {
            rustix::process::setpgid(None, None)?;
            let own = rustix::process::getpid();
            if self.process.terminal { rustix::termios::tcsetpgrp(rustix::stdio::stdin(), own) } else { Ok(()) }
        };
        // Without it a signal from the keyboard goes to more processes than it should, no worse.
        let _ = lead();
    }

    fn take_labels(&self) -> Result<(), Error> {
        if self.labels.is_empty() {
            return Ok(());
        }
        let proc = teu_sys::mount::filesystem("proc", &[], 0).during("mount a private procfs")?;
        self.labels.iter().try_for_each(|label| label.take(proc.as_fd()))
    }
}

/// Makes `stdio` the descriptors 0, 1 and 2, whatever numbers they have; those below `free` may be in use. Takes no memory.
pub(crate) fn place_streams(stdio: [BorrowedFd<'_>; 3], free: i32) -> io::Result<()> {
    let aside = |fd: BorrowedFd<'_>| rustix::io::fcntl_dupfd_cloexec(fd, free);
    let copies = [aside(stdio[0])?, aside(stdio[1])?, aside(stdio[2])?];
    (0..).zip(&copies).try_for_each(|(number, copy)| process::place_descriptor(copy.as_fd(), number, false))
}

/// Gives the new process its own signals, session and descriptors: 0, 1 and 2 from `stdio` (or as they were), those
/// after them that the program is to get, the socket to the parent, the gate, and nothing else.
///
/// Owners of other descriptors must not be used or dropped in this process again.
pub(crate) fn settle(
    stdio: Option<[BorrowedFd<'_>; 3]>,
    socket: BorrowedFd<'_>,
    gate: Option<BorrowedFd<'_>>,
    descriptors: u32,
) -> io::Result<Settled> {
    let number = 3 + i32::try_from(descriptors).unwrap_or(i32::MAX - 8);
    teu_sys::signal::restore_defaults();
    teu_sys::signal::set_blocked(&teu_sys::signal::Set::empty())?;
    // A copy beyond the places that are about to be filled, whatever numbers the originals have.
    let aside = |fd: BorrowedFd<'_>| rustix::io::fcntl_dupfd_cloexec(fd, number + 2);
    let (socket, gate) = (aside(socket)?, gate.map(aside).transpose()?);
    stdio.map_or(Ok(()), |stdio| place_streams(stdio, number + 2))?;
    process::place_descriptor(socket.as_fd(), number, true)?;
    if let Some(gate) = &gate {
        process::place_descriptor(gate.as_fd(), number + 1, true)?;
    }
    let has_gate = gate.is_some();
    drop((socket, gate));
    process::close_from(number.unsigned_abs() + if has_gate { 2 } else { 1 })?;
    // It leads a session already when it is the zygote's child that starts over; any other error shows later.
    let _ = rustix::process::setsid();
    let gate = if has_gate { Some(process::inherited(number + 1)?) } else { None };
    Ok(Settled { socket: process::inherited(number)?, number, gate })
}
