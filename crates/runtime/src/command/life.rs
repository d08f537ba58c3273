//! `start`, `kill`, `delete`, `pause`, `resume`: what happens to a container that is there.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use rustix::process::Signal;
use teu_oci::runtime::{Hooks, NamespaceKind};
use teu_sys::poll::Interests;
use teu_sys::process;

use super::arguments::Given;
use super::notify::Notify;
use super::state::{self, Container, Status};
use super::{Context, Failure, launch};
use crate::{Cgroup, hooks, shown};

/// How long a killed process may take to end.
const PATIENCE: Duration = Duration::from_secs(10);

/// Lets a created container execute its program.
pub(super) fn start(context: &Context, given: &Given) -> Result<(), Failure> {
    let container = Container::load(&context.root, given.argument(0))?;
    match container.status() {
        Status::Created => {}
        Status::Stopped => return Err(Failure::new("cannot start a container that has stopped")),
        Status::Running => return Err(Failure::new("cannot start an already running container")),
        Status::Paused => return Err(Failure::new("cannot start a container in the paused state")),
    }
    let spec = container.spec()?;
    let pidfd = container.process().ok_or_else(|| Failure::new("cannot start a container that has stopped"))?;
    let notify = Notify::of(&container.directory);
    let listening = notify.as_ref().map(Notify::listen).transpose()?;
    let gate = knock(&container).map_err(|error| Failure::new(format!("reach the container: {error}")))?;
    crate::start_at(gate.as_fd(), &spec, &container.identity(), container.record.pid, pidfd.as_fd())?;
    // Gone already only when another start was quicker by a hair, and then that one is told of it.
    let _ = std::fs::remove_file(container.gate());
    launch::run_poststart(&spec, &container)?;
    if let (Some(notify), Some(listening)) = (notify, listening) {
        notify.relay(&listening, container.record.pid, pidfd.as_fd())?;
    }
    Ok(())
}

/// Goes to the gate where the first process waits.
fn knock(container: &Container) -> io::Result<OwnedFd> {
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    let connect = |path: &Path| Ok(rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?);
    state::with_short_path(&container.gate(), connect)?;
    Ok(socket)
}

/// Sends a signal to the first process; without a pid namespace of its own, a SIGKILL goes to all.
pub(super) fn kill(context: &Context, given: &Given) -> Result<(), Failure> {
    let container = Container::load(&context.root, given.argument(0))?;
    let signal = parse_signal(given.arguments.get(1).map_or("SIGTERM", String::as_str))?;
    match send(&container, signal) {
        Err(_) if given.has("all") && container.process().is_none() => Ok(()),
        other => other,
    }
}

fn send(container: &Container, signal: i32) -> Result<(), Failure> {
    let process = container.process();
    let cgroup = container.record.cgroup.open()?;
    // Without a cgroup nobody knows what else belongs to it.
    if signal == Signal::KILL.as_raw() && !has_own_pids(container) && !cgroup.is_absent() {
        if process.is_none() && cgroup.processes().map_or(true, |processes| processes.is_empty()) {
            return Err(Failure::new("container not running"));
        }
        cgroup.kill()?;
        return Ok(cgroup.thaw_killed()?);
    }
    let pidfd = process.ok_or_else(|| Failure::new("container not running"))?;
    match process::send_signal(&pidfd, signal) {
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error()) => {
            Err(Failure::new("container not running"))
        }
        Err(error) => Err(Failure::new(format!("unable to signal init: {error}"))),
        // What v1's freezer holds cannot even be killed.
        Ok(()) if signal == Signal::KILL.as_raw() => {
            Ok(container.record.cgroup.open().map_or(Ok(()), |cgroup| cgroup.thaw_killed())?)
        }
        Ok(()) => Ok(()),
    }
}

fn has_own_pids(container: &Container) -> bool {
    let own = |spec: teu_oci::runtime::Spec| {
        let own = |one: &teu_oci::runtime::Namespace| one.kind == NamespaceKind::Pid && one.path.is_none();
        spec.linux.is_some_and(|linux| linux.namespaces.iter().any(own))
    };
    container.spec().is_ok_and(own)
}

/// Removes what a container has left.
pub(super) fn delete(context: &Context, given: &Given) -> Result<(), Failure> {
    let id = given.argument(0);
    let force = given.has("force");
    let container = match Container::load(&context.root, id) {
        Err(failure) if failure.absent => {
            // What was interrupted while it was made: what is shown of it, its state, and the cgroup that it has where nothing
            // else is asked for.
            shown::take_off(&shown::name_here(&context.root.join(id)))?;
            if std::fs::remove_dir_all(context.root.join(id)).is_ok()
                && let Ok(cgroup) = Cgroup::at(&Path::new("/teu").join(id))
            {
                cgroup.discard();
            }
            return if force { Ok(()) } else { Err(failure) };
        }
        other => other?,
    };
    match container.status() {
        Status::Stopped => {}
        Status::Created => end(&container)?,
        _ if force => end(&container)?,
        status => {
            let what = format!("cannot delete container {id} that is not stopped: {}", status.text());
            return Err(Failure::new(what));
        }
    }
    destroy(context, &container)
}

/// Kills a container and waits until its first process has ended.
fn end(container: &Container) -> Result<(), Failure> {
    let Some(pidfd) = container.process() else { return Ok(()) };
    // One that ended by itself meanwhile is as good as killed.
    let _ = send(container, Signal::KILL.as_raw());
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut interests = Interests::new();
        let place = interests.add(pidfd.as_fd(), true, false);
        let left = deadline.saturating_duration_since(Instant::now());
        interests.wait(Some(left))?;
        if interests.readable(place) {
            return Ok(());
        }
        if left.is_zero() {
            return Err(Failure::new("container init still running"));
        }
    }
}

/// Takes away the cgroup and the state, and runs the last hooks.
pub(super) fn destroy(context: &Context, container: &Container) -> Result<(), Failure> {
    let hooks = container.spec().ok().and_then(|spec| spec.hooks);
    destroy_with(context, container, container.record.cgroup.open(), hooks.as_ref())
}

/// The same for who has at hand what can be found otherwise: the cgroup, and the hooks of its configuration.
pub(super) fn destroy_with(
    context: &Context,
    container: &Container,
    cgroup: Result<Cgroup, crate::Error>,
    hooks: Option<&Hooks>,
) -> Result<(), Failure> {
    let remove = || -> Result<(), Failure> {
        let cgroup = cgroup?;
        cgroup.thaw_killed()?;
        Ok(cgroup.remove()?)
    };
    match remove() {
        Err(failure) if context.rootless => context.log.warn(&failure.message),
        other => other.map_err(|failure| failure.during("remove the cgroup"))?,
    }
    if let Some(name) = &container.record.shown {
        shown::take_off(name)?;
    }
    if let Some(groups) = &container.record.groups {
        groups.remove().map_err(|error| Failure::new(format!("remove the groups of resctrl: {error}")))?;
    }
    match std::fs::remove_dir_all(&container.directory) {
        // Somebody else has done it all: a checkpoint, say, of one that ran in the foreground.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => {
            other.map_err(|error| Failure::new(format!("remove {}: {error}", container.directory.display())))?;
        }
    }
    if let Some(hooks) = hooks {
        let state = container.identity().state("stopped", 0);
        if let Err(error) = hooks::run("poststop", &hooks.poststop, &state) {
            context.log.warn(&error.to_string());
        }
    }
    Ok(())
}

/// Stops every process.
pub(super) fn pause(context: &Context, given: &Given) -> Result<(), Failure> {
    let container = Container::load(&context.root, given.argument(0))?;
    match container.status() {
        Status::Created | Status::Running => Ok(container.record.cgroup.require()?.freeze()?),
        status => Err(Failure::new(format!("container not running or created: {}", status.text()))),
    }
}

/// Lets every process go on.
pub(super) fn resume(context: &Context, given: &Given) -> Result<(), Failure> {
    let container = Container::load(&context.root, given.argument(0))?;
    match container.status() {
        Status::Paused => Ok(container.record.cgroup.require()?.thaw()?),
        _ => Err(Failure::new("container not paused")),
    }
}

/// The names of signals by number, from 1; real-time ones go by number.
const SIGNALS: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM", "TERM",
    "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO",
    "PWR", "SYS",
];

fn parse_signal(text: &str) -> Result<i32, Failure> {
    if let Ok(number) = text.parse() {
        return Ok(number);
    }
    let upper = text.to_uppercase();
    let name = match upper.strip_prefix("SIG").unwrap_or(&upper) {
        "IOT" => "ABRT",
        "CLD" => "CHLD",
        "POLL" => "IO",
        name => name,
    };
    let place = SIGNALS.iter().position(|known| *known == name);
    let number = place.and_then(|place| i32::try_from(place + 1).ok());
    number.ok_or_else(|| Failure::new(format!("unknown signal \"{text}\"")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_has_a_number_a_name_and_a_long_name() {
        for text in ["9", "KILL", "SIGKILL", "kill"] {
            assert_eq!(parse_signal(text).expect("a signal"), 9, "{text}");
        }
        assert_eq!(parse_signal("SYS").expect("a signal"), 31);
        assert!(parse_signal("SIGNOPE").is_err());
    }
}
