//! `exec`: a further process in a container.

use std::path::{Path, PathBuf};

use teu_oci::runtime::{Capabilities, Process, Spec};

use super::arguments::Given;
use super::foreground::{self, Foreground};
use super::state::{Container, Sight, Status};
use super::{Context, Failure, config, console, end_with, launch};
use crate::Entrance;

/// Runs a process in a container; the command ends with what it ends with.
pub(super) fn exec(context: &Context, given: &Given) -> Result<(), Failure> {
    let failed = |failure: Failure| Failure { code: 255, ..failure.during("exec failed") };
    let exit = run(context, given).map_err(failed)?;
    exit.map_or(Ok(()), |code| Err(end_with(code)))
}

fn run(context: &Context, given: &Given) -> Result<Option<i32>, Failure> {
    let container = Container::load(&context.root, given.argument(0))?;
    let Sight { status, process: init, cgroup } = container.look();
    match status {
        Status::Stopped => return Err(Failure::new("cannot exec in a stopped container")),
        Status::Paused if !given.has("ignore-paused") => {
            return Err(Failure::new("cannot exec in a paused container (use --ignore-paused to override)"));
        }
        _ => {}
    }
    let detach = given.has("detach");
    let pid_file = given.value("pid-file").map(std::path::absolute).transpose()?;
    let console = given.value("console-socket").filter(|path| !path.is_empty());
    let text = container.spec_text()?;
    let mut spec = config::parse(&text)?;
    spec.linux.as_mut().map(|linux| linux.intel_rdt.take());
    let mut process = process(given, &container, &text, &spec)?;
    launch::check_terminal(&process, detach, console)?;
    crate::credentials::doubts(&process).iter().for_each(|doubt| context.log.warn(doubt));
    let descriptors = launch::pass_on(&mut process, given, false)?;
    let below = below(given)?;
    let init = init.ok_or_else(|| Failure::new("cannot exec in a stopped container"))?;
    let signals = if detach { None } else { Some(foreground::take_signals()?) };
    let entrance = Entrance {
        descriptors,
        plain_terminal: console.is_none(),
        identity: container.identity(),
        below,
        cgroup: Some(cgroup.map_or_else(|| container.record.cgroup.open(), Ok)?),
        ..Entrance::default()
    };
    let stock = container.filter(&spec)?;
    if let Some(groups) = &container.record.groups {
        // What is born here is there from the first moment.
        groups.join(std::process::id().cast_signed())?;
    }
    let mut entered = crate::exec_with(std::os::fd::AsFd::as_fd(&init), &spec, &process, entrance, &stock)?;
    let tell = |entered: &mut crate::Process| -> Result<(), Failure> {
        use std::os::fd::AsFd;
        if let Some(path) = console
            && let Some(terminal) = entered.terminal.take()
        {
            console::send(Path::new(path), b"/dev/ptmx", terminal.as_fd())?;
        }
        if let Some(path) = given.value("pidfd-socket") {
            console::send(Path::new(path), container.record.id.as_bytes(), entered.pidfd.as_fd())?;
        }
        pid_file.as_deref().map_or(Ok(()), |path| launch::write_pid(path, entered.pid))
    };
    if let Err(failure) = tell(&mut entered) {
        let _ = teu_sys::process::send_signal(&entered.pidfd, rustix::process::Signal::KILL.as_raw());
        let _ = teu_sys::process::wait(&entered.pidfd);
        return Err(failure);
    }
    let Some(signals) = signals else { return Ok(None) };
    let crate::Process { pid, pidfd, terminal, .. } = entered;
    let exit = Foreground { pid, pidfd, terminal, signals, cgroup: None }.wait()?;
    Ok(Some(exit.code))
}

/// What is to be run: from a file, or the container's own process with what was said changed.
fn process(given: &Given, container: &Container, text: &[u8], spec: &Spec) -> Result<Process, Failure> {
    if let Some(path) = given.value("process") {
        let text = std::fs::read(path).map_err(|error| Failure::new(format!("open {path}: {error}")))?;
        let process: Process =
            serde_json::from_slice(&text).map_err(|error| Failure::new(format!("understand {path}: {error}")))?;
        config::check_process(Some(&process))?;
        return Ok(process);
    }
    // The bundle may have been changed since, and then that is what is meant.
    let path = container.record.bundle.join("config.json");
    let present = match std::fs::read(&path) {
        Ok(present) if present != text => config::parse(&present)?.process,
        _ => spec.process.clone(),
    };
    let mut process = present.ok_or_else(|| Failure::new("process property must not be empty"))?;
    if given.arguments.len() < 2 {
        return Err(Failure::new("exec args cannot be empty"));
    }
    process.args = given.arguments[1..].to_vec();
    if let Some(cwd) = given.value("cwd").filter(|cwd| !cwd.is_empty()) {
        cwd.clone_into(&mut process.cwd);
    }
    if let Some(profile) = given.value("apparmor").filter(|name| !name.is_empty()) {
        profile.clone_into(&mut process.apparmor_profile);
    }
    if let Some(label) = given.value("process-label").filter(|name| !name.is_empty()) {
        label.clone_into(&mut process.selinux_label);
    }
    let capabilities = process.capabilities.get_or_insert_default();
    given.values("cap").for_each(|name| add_capability(capabilities, name));
    process.env.extend(given.values("env").map(str::to_owned));
    process.terminal = given.has("tty");
    if given.value("no-new-privs").is_some() {
        process.no_new_privileges = given.has("no-new-privs");
    }
    take_user(given, &mut process)?;
    config::check_process(Some(&process))?;
    Ok(process)
}

fn add_capability(capabilities: &mut Capabilities, name: &str) {
    for set in [&mut capabilities.bounding, &mut capabilities.effective, &mut capabilities.permitted] {
        set.push(name.to_owned());
    }
    // An ambient one must be inheritable, which nothing here makes it.
    if !capabilities.inheritable.is_empty() {
        capabilities.ambient.push(name.to_owned());
    }
}

fn take_user(given: &Given, process: &mut Process) -> Result<(), Failure> {
    // The largest number is "leave as it is" to the kernel, and nobody's id.
    let number = |text: &str, what: &str| match text.parse::<u32>() {
        Ok(id) if id != u32::MAX => Ok(id),
        _ => Err(Failure::new(format!("bad {what}: \"{text}\""))),
    };
    if let Some(user) = given.value("user").filter(|user| !user.is_empty()) {
        let (uid, gid) = user.split_once(':').map_or((user, None), |(uid, gid)| (uid, Some(gid)));
        process.user.uid = number(uid, "uid")?;
        if let Some(gid) = gid {
            process.user.gid = number(gid, "gid")?;
        }
    }
    for value in given.values("additional-gids") {
        for text in value.split(',') {
            process.user.additional_gids.push(number(text.trim(), "additional gid")?);
        }
    }
    Ok(())
}

/// Where below the container's cgroup the process goes.
fn below(given: &Given) -> Result<Vec<(Option<String>, PathBuf)>, Failure> {
    let mut below: Vec<(Option<String>, PathBuf)> = Vec::new();
    let values: Vec<_> = given.values("cgroup").collect();
    for value in &values {
        let Some((names, path)) = value.split_once(':') else {
            if values.len() != 1 {
                let what = format!("invalid --cgroup argument: {value} (missing <controller>: prefix)");
                return Err(Failure::new(what));
            }
            below.push((None, PathBuf::from(value)));
            continue;
        };
        for name in names.split(',') {
            if name.is_empty() {
                return Err(Failure::new(format!("invalid --cgroup argument: {value} (empty <controller> prefix)")));
            }
            if below.iter().any(|(known, _)| known.as_deref() == Some(name)) {
                let what = format!("invalid --cgroup argument(s): controller {name} specified multiple times");
                return Err(Failure::new(what));
            }
            below.push((Some(name.to_owned()), PathBuf::from(path)));
        }
    }
    Ok(below)
}
