//! `create` and `run`: from a bundle to a container.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use teu_oci::runtime::{Linux, NamespaceKind, Process, Spec};
use teu_sys::process::Exit;

use super::arguments::Given;
use super::config::Bundle;
use super::foreground::Foreground;
use super::home::Home;
use super::notify::Notify;
use super::state::{self, Container, Record};
use super::{Context, Failure, console, end_with, foreground, life};
use crate::resctrl::Groups;
use crate::{Created, Options, Rootfs};
use crate::{checkpoint, hooks, namespaces, resctrl, rootless, shown};

/// Makes a container up to its program, and leaves it waiting for `start`.
pub(super) fn create(context: &Context, given: &Given) -> Result<(), Failure> {
    let what = format!("{} create failed", context.program);
    Launch::plan(context, given, true).and_then(|launch| launch.create(context)).map_err(|error| error.during(&what))
}

/// Makes a container, starts it, and waits for its end.
pub(super) fn run(context: &Context, given: &Given) -> Result<(), Failure> {
    let what = format!("{} run failed", context.program);
    let launch = Launch::plan(context, given, given.has("detach")).map_err(|error| error.during(&what))?;
    let exit = launch.run(context, given).map_err(|error| error.during(&what))?;
    exit.map_or(Ok(()), |exit| Err(end_with(exit.code)))
}

/// Everything that is known before something is made.
struct Launch {
    id: String,
    bundle: Bundle,
    pid_file: Option<PathBuf>,
    console: Option<String>,
    pidfd: Option<String>,
    descriptors: u32,
    no_pivot: bool,
    callers_keyring: bool,
    directory: PathBuf,
    notify: Option<Notify>,
    /// Under what name there is something of it in this mount namespace.
    shown: Option<String>,
    /// Its groups in resctrl, once they are made.
    groups: Option<Groups>,
}

impl Launch {
    fn plan(context: &Context, given: &Given, detach: bool) -> Result<Launch, Failure> {
        let id = given.argument(0).to_owned();
        state::check_id(&id)?;
        let pid_file = given.value("pid-file").map(std::path::absolute).transpose()?;
        let mut bundle = Bundle::open(context, given.value("bundle"))?;
        if rootless::is_ordinary() {
            rootless::check(&bundle.spec)?;
        }
        let Some(process) = &mut bundle.spec.process else { return Err(Failure::new("there is no process")) };
        let console = given.value("console-socket").filter(|path| !path.is_empty()).map(str::to_owned);
        check_terminal(process, detach, console.as_deref())?;
        crate::credentials::doubts(process).iter().for_each(|doubt| context.log.warn(doubt));
        let descriptors = pass_on(process, given, true)?;
        let listed = |linux: &Linux| namespaces::has(linux, NamespaceKind::Mount);
        let is_shown = !bundle.spec.linux.as_ref().is_some_and(listed);
        if is_shown {
            shown::check(&bundle.rootfs)?;
        }
        let directory = state::make_directory(&context.root, &id)?;
        let shown = is_shown.then(|| shown::name_here(&directory));
        let notify = Notify::plan(&directory, &mut bundle.spec);
        Ok(Launch {
            id,
            pid_file,
            console,
            pidfd: given.value("pidfd-socket").map(str::to_owned),
            descriptors,
            no_pivot: given.has("no-pivot"),
            callers_keyring: given.has("no-new-keyring"),
            bundle,
            directory,
            notify,
            shown,
            groups: None,
        })
    }

    fn create(mut self, context: &Context) -> Result<(), Failure> {
        let made = self.make_gated(context);
        self.undo_unless(made)
    }

    fn make_gated(&mut self, context: &Context) -> Result<(), Failure> {
        if let Some(notify) = &self.notify {
            notify.make_directory()?;
        }
        let gate = open_gate(&self.directory)?;
        let (created, _) = self.make(context, Some(gate))?;
        let process = created.leave()?;
        self.tell_process(process.pid, process.pidfd.as_fd()).inspect_err(|_| abandon(&process))
    }

    fn run(mut self, context: &Context, given: &Given) -> Result<Option<Exit>, Failure> {
        let detach = given.has("detach");
        let made = self.make_running(context, given, detach);
        let (foreground, container) = match made {
            Ok(made) => made,
            Err(error) => return self.undo_unless(Err(error)),
        };
        let Some(foreground) = foreground else { return Ok(None) };
        let cgroup = foreground.cgroup.clone();
        let exit = foreground.wait()?;
        if !given.has("keep") {
            let cgroup = cgroup.map_or_else(|| container.record.cgroup.open(), Ok);
            life::destroy_with(context, &container, cgroup, self.bundle.spec.hooks.as_ref())?;
        }
        Ok(Some(exit))
    }

    fn make_running(
        &mut self,
        context: &Context,
        given: &Given,
        detach: bool,
    ) -> Result<(Option<Foreground>, Container), Failure> {
        // Signals that come from here on are the container's.
        let signals = if detach { None } else { Some(foreground::take_signals()?) };
        if !detach && !given.has("no-subreaper") {
            teu_sys::process::become_subreaper()?;
        }
        let listening = match &self.notify {
            Some(notify) => {
                notify.make_directory()?;
                Some(notify.listen()?)
            }
            None => None,
        };
        let (created, record) = self.make(context, None)?;
        let mut created = created;
        let terminal = created.terminal();
        let process = created.start()?;
        let container = Container { directory: self.directory.clone(), record };
        let after = || -> Result<(), Failure> {
            run_poststart(&self.bundle.spec, &container)?;
            self.tell_process(process.pid, process.pidfd.as_fd())
        };
        if let Err(error) = after() {
            abandon(&process);
            return Err(error);
        }
        if let (Some(notify), Some(listening)) = (&self.notify, listening) {
            notify.relay(&listening, process.pid, process.pidfd.as_fd()).inspect_err(|_| abandon(&process))?;
        }
        let foreground = signals.map(|signals| Foreground {
            pid: process.pid,
            pidfd: process.pidfd,
            terminal,
            signals,
            cgroup: Some(process.cgroup),
        });
        Ok((foreground, container))
    }

    /// Makes the container, writes it down, and sends its terminal away.
    fn make(&mut self, context: &Context, gate: Option<OwnedFd>) -> Result<(Created, Record), Failure> {
        let spec = &mut self.bundle.spec;
        let shares = spec.linux.as_mut().and_then(|linux| linux.intel_rdt.take());
        let shares = shares.as_ref().map(|shares| resctrl::Plan::new(shares, &self.id)).transpose()?;
        let home = Home::begin(context, &self.id, spec)?;
        let options = Options {
            cgroup: Some(home.cgroup.clone()),
            descriptors: self.descriptors,
            gate,
            plain_terminal: self.console.is_none(),
            bundle: self.bundle.directory.clone(),
            no_pivot: self.no_pivot,
            callers_keyring: self.callers_keyring,
            inherits_mounts: Some(self.directory.clone()),
            ..Options::default()
        };
        let rootfs = Rootfs::Directory(self.bundle.rootfs.clone());
        context.log.debug("make the container's process");
        if context.log.is_verbose()
            && let Some(flags) = crate::listener::flags(spec)
        {
            context.log.debug(&format!("seccomp filter flags: {flags}"));
        }
        let mut created =
            crate::create_with(&self.id, spec, &rootfs, options, &crate::Stock::default()).inspect_err(|_| {
                // What was refused before anything was made has left this.
                home.abandon();
            })?;
        self.groups = shares.as_ref().map(resctrl::Plan::groups);
        if let Some(console) = &self.console
            && let Some(terminal) = created.terminal()
        {
            console::send(Path::new(console), b"/dev/ptmx", terminal.as_fd())?;
        }
        let (started, _) =
            state::look_at(created.pid()).ok_or_else(|| Failure::new("the container's process is gone"))?;
        let record = Record {
            oci_version: spec.oci_version.clone(),
            id: self.id.clone(),
            pid: created.pid(),
            started,
            bundle: self.bundle.directory.clone(),
            rootfs: self.bundle.rootfs.clone(),
            created: Timestamp::now().to_string(),
            annotations: spec.annotations.clone(),
            cgroup: home.place.clone(),
            streams: checkpoint::streams_of(created.pid()),
            shown: self.shown.clone(),
            groups: self.groups.clone(),
            ..Record::default()
        };
        state::save_new(&self.directory, &record, &self.bundle.text)?;
        // Written down by now: they outlive whoever is interrupted here.
        if let (Some(shares), Some(groups)) = (shares, &self.groups) {
            shares.make(groups, &[created.pid()])?;
        }
        Ok((created, record))
    }

    fn tell_process(&self, pid: i32, pidfd: std::os::fd::BorrowedFd<'_>) -> Result<(), Failure> {
        if let Some(path) = &self.pidfd {
            console::send(Path::new(path), self.id.as_bytes(), pidfd)?;
        }
        self.pid_file.as_deref().map_or(Ok(()), |path| write_pid(path, pid))
    }

    /// Takes away what was made, when it came to nothing.
    fn undo_unless<T>(self, made: Result<T, Failure>) -> Result<T, Failure> {
        if made.is_err() {
            // The error that led here is the one to tell.
            let gone = self.shown.as_deref().map_or(Ok(()), shown::take_off);
            let _ = self.groups.as_ref().map(Groups::remove);
            // What is hidden now is for `delete` to take off later.
            let _ = gone.is_ok().then(|| std::fs::remove_dir_all(&self.directory));
        }
        made
    }
}

/// Ends what has been made, and was then not to be.
pub(super) fn abandon(process: &crate::Process) {
    // The error that led here is the one to tell.
    let _ = teu_sys::process::send_signal(&process.pidfd, rustix::process::Signal::KILL.as_raw());
    let _ = teu_sys::process::wait(&process.pidfd);
    let _ = process.cgroup.remove();
}

/// A terminal and a way to it go together.
pub(super) fn check_terminal(process: &Process, detach: bool, console: Option<&str>) -> Result<(), Failure> {
    match (detach, process.terminal, console) {
        (true, true, None) => {
            Err(Failure::new("cannot allocate tty if runc will detach without setting console socket"))
        }
        (false, _, Some(_)) | (_, false, Some(_)) => {
            Err(Failure::new("cannot use console socket if runc will not detach or allocate tty"))
        }
        _ => Ok(()),
    }
}

/// How many descriptors from 3 on the program gets: those of socket activation, which it is told of, and those asked for.
pub(super) fn pass_on(process: &mut Process, given: &Given, activated: bool) -> Result<u32, Failure> {
    let variable = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u32>().ok());
    let ours = activated && variable("LISTEN_PID") == Some(std::process::id());
    let listening = variable("LISTEN_FDS").filter(|_| ours).unwrap_or(0);
    if listening > 0 {
        process.env.push(format!("LISTEN_FDS={listening}"));
        process.env.push("LISTEN_PID=1".to_owned());
    }
    let wanted: u32 = given.number("preserve-fds")?.unwrap_or(0);
    for (count, number) in (3 + listening..3 + listening + wanted).enumerate() {
        if teu_sys::process::inherited(i32::try_from(number).unwrap_or(-1)).is_err() {
            let what = format!("unable to stat preserved-fd {count} (of {wanted}): no such file or directory");
            return Err(Failure::new(what));
        }
    }
    Ok(listening + wanted)
}

/// The socket at which the container's first process waits.
fn open_gate(directory: &Path) -> Result<OwnedFd, Failure> {
    let path = state::gate(directory);
    let bind = || {
        let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        state::with_short_path(&path, |path| Ok(rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?))?;
        rustix::net::listen(&socket, 8)?;
        Ok::<_, std::io::Error>(socket)
    };
    bind().map_err(|error| Failure::new(format!("make {}: {error}", path.display())))
}

/// Writes a process id into a file that appears whole.
pub(super) fn write_pid(path: &Path, pid: i32) -> Result<(), Failure> {
    let fail = |error: std::io::Error| Failure::new(format!("write {}: {error}", path.display()));
    let name = path.file_name().ok_or_else(|| Failure::new(format!("write {}: not a file", path.display())))?;
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    let new = path.with_file_name(hidden);
    std::fs::write(&new, pid.to_string()).and_then(|()| std::fs::rename(&new, path)).map_err(fail)
}

/// Runs the hooks that come after the start.
pub(super) fn run_poststart(spec: &Spec, container: &Container) -> Result<(), Failure> {
    let Some(hooks) = &spec.hooks else { return Ok(()) };
    let state = container.identity().state("running", container.record.pid);
    Ok(hooks::run("poststart", &hooks.poststart, &state)?)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn a_terminal_and_its_socket_go_together() {
        let process = |terminal| Process { terminal, ..Process::default() };
        assert!(check_terminal(&process(true), true, None).is_err());
        assert!(check_terminal(&process(true), true, Some("/s")).is_ok());
        assert!(check_terminal(&process(true), false, Some("/s")).is_err());
        assert!(check_terminal(&process(false), true, Some("/s")).is_err());
        assert!(check_terminal(&process(true), false, None).is_ok());
    }

    #[test]
    fn a_descriptor_number_is_what_a_file_has() {
        let file = std::fs::File::open("/dev/null").expect("open");
        assert!(teu_sys::process::inherited(file.as_raw_fd()).is_ok());
    }
}
