//! The steps that a container's first process and every later one have in common: descriptors, terminal, limits,
//! working directory, identity, program.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{FileType, Gid, Uid};
use serde::{Deserialize, Serialize};
use teu_oci::runtime::Process;
use teu_sys::process;
use teu_sys::pty::Pair;

use crate::Error;
use crate::credentials::{Credentials, Filter};
use crate::error::{During, errno};
use crate::program::Program;

/// Where the socket to the parent is put.
const SOCKET: i32 = 3;

/// How a process is started.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Launch {
    process: Process,
    credentials: Credentials,
    /// Number of the resource, soft, hard.
    limits: Vec<(u32, u64, u64)>,
}

impl Launch {
    /// Checks and translates a process, purely but for asking which capabilities there are.
    pub(crate) fn new(process: &Process) -> Result<Launch, Error> {
        for (name, value) in [("AppArmor", &process.apparmor_profile), ("SELinux", &process.selinux_label)] {
            if !value.is_empty() {
                return Err(Error::refused(format!("take {name} label \"{value}\": not supported yet")));
            }
        }
        if !process.cwd.is_empty() && !process.cwd.starts_with('/') {
            return Err(Error::refused(format!("change to working directory \"{}\": not absolute", process.cwd)));
        }
        let mut limits = Vec::with_capacity(process.rlimits.len());
        for limit in &process.rlimits {
            let number = process::limit_by_name(&limit.kind)
                .ok_or_else(|| Error::refused(format!("limit \"{}\": there is no such resource", limit.kind)))?;
            if limit.soft > limit.hard {
                return Err(Error::refused(format!("limit {}: the soft limit is above the hard one", limit.kind)));
            }
            limits.push((number, limit.soft, limit.hard));
        }
        Ok(Launch { process: process.clone(), credentials: Credentials::new(process)?, limits })
    }

    /// Whether it gets a terminal.
    pub(crate) fn terminal(&self) -> bool {
        self.process.terminal
    }

    /// The working directory.
    pub(crate) fn cwd(&self) -> &str {
        if self.process.cwd.is_empty() { "/" } else { &self.process.cwd }
    }

    /// The program, looked at but not yet looked for.
    pub(crate) fn program(&self) -> Result<Program, Error> {
        Program::new(&self.process)
    }

    /// Makes a terminal in `devpts`, of the size asked for and owned by the user.
    pub(crate) fn open_terminal(&self, devpts: impl AsFd) -> Result<Pair, Error> {
        let open = || -> io::Result<Pair> {
            let pair = teu_sys::pty::open_in(devpts)?;
            if let Some(size) = self.process.console_size {
                teu_sys::pty::set_size(&pair.master, size.height, size.width)?;
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

    /// Sets the limits, as far as this caller may.
    pub(crate) fn limit(&self) -> Result<(), Error> {
        for (limit, (number, soft, hard)) in self.process.rlimits.iter().zip(&self.limits) {
            process::set_limit(*number, *soft, *hard).during_with(|| format!("limit {}", limit.kind))?;
        }
        Ok(())
    }

    /// Becomes the program. Returns only why that was impossible.
    pub(crate) fn execute(&self, program: &Program, filter: Option<&Filter>) -> Error {
        let path = self.cwd();
        let wrong = |errno: i32| Error::WorkingDirectory { path: path.to_owned(), errno };
        let enter = || {
            rustix::process::chdir(path).map_err(|error| wrong(error.raw_os_error()))?;
            // A directory outside the root (left open by somebody, say) has no path that begins with a slash.
            match rustix::process::getcwd(Vec::new()) {
                Ok(real) if real.as_bytes().starts_with(b"/") => Ok(()),
                Ok(_) => Err(wrong(rustix::io::Errno::NOENT.raw_os_error())),
                Err(error) => Err(wrong(error.raw_os_error())),
            }
        };
        // Before the filter and the identity, which may forbid it.
        if let Err(error) = process::close_on_exec_from(3) {
            return Error::Step { step: "close descriptors".to_owned(), errno: errno(&error) };
        }
        match self.credentials.assume(filter, enter) {
            Ok(()) => program.execute(),
            Err(error) => error,
        }
    }
}

/// Gives the new process its own signals, session and descriptors: 0, 1 and 2 from `stdio` (or as they were), the
/// socket to the parent, and nothing else.
///
/// Owners of other descriptors must not be used or dropped in this process again.
pub(crate) fn settle(stdio: Option<[BorrowedFd<'_>; 3]>, socket: BorrowedFd<'_>) -> io::Result<BorrowedFd<'static>> {
    teu_sys::signal::restore_defaults();
    teu_sys::signal::set_blocked(&teu_sys::signal::Set::empty())?;
    // A copy beyond the places that are about to be filled, whatever numbers the originals have.
    let aside = |fd: BorrowedFd<'_>| rustix::io::fcntl_dupfd_cloexec(fd, SOCKET + 1);
    let socket = aside(socket)?;
    if let Some(stdio) = stdio {
        let copies = [aside(stdio[0])?, aside(stdio[1])?, aside(stdio[2])?];
        for (number, copy) in (0..).zip(&copies) {
            process::place_descriptor(copy.as_fd(), number, false)?;
        }
    }
    process::place_descriptor(socket.as_fd(), SOCKET, true)?;
    drop(socket);
    process::close_from(SOCKET.unsigned_abs() + 1)?;
    // It leads a session already when it is the zygote's child that starts over; any other error shows later.
    let _ = rustix::process::setsid();
    process::inherited(SOCKET)
}
