//! Hooks: programs run at fixed points of a container's life, with its state on their standard input.
//!
//! ```text
//! create   namespaces made ─ prestart, createRuntime (runtime's namespaces) ─ createContainer (the container's) ─ pivot
//! start    startContainer (the container's) ─ execve ─ poststart (runtime's)
//! delete   poststop (runtime's)
//! ```

use std::ffi::CString;
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{MemfdFlags, Mode};
use serde::{Deserialize, Serialize};
use teu_oci::runtime::Hook;
use teu_sys::poll::Interests;
use teu_sys::process::{self, Child, Exit};

use crate::Error;
use crate::error::During;

/// What hooks are told of their container, besides its status and process: the spec's `state`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The container's id.
    pub id: String,
    /// Its bundle, absolute.
    pub bundle: PathBuf,
    /// Its annotations.
    pub annotations: std::collections::BTreeMap<String, String>,
}

impl Identity {
    /// The spec's `state`.
    pub fn state(&self, status: &str, pid: i32) -> serde_json::Value {
        let mut state = serde_json::json!({
            "ociVersion": teu_oci::runtime::VERSION, "id": self.id, "status": status, "bundle": self.bundle,
        });
        if pid > 0 {
            state["pid"] = pid.into();
        }
        if !self.annotations.is_empty() {
            state["annotations"] = serde_json::json!(self.annotations);
        }
        state
    }
}

/// Runs hooks of one kind in order; the first that does not succeed ends it.
///
/// # Errors
/// Names the hook and what it did. The caller is single-threaded.
pub fn run(kind: &str, hooks: &[Hook], state: &serde_json::Value) -> Result<(), Error> {
    hooks.iter().enumerate().try_for_each(|(index, hook)| {
        let fail =
            |why: String| Error::refused(format!("error running {kind} hook #{index}: {}: {why}", hook.path.display()));
        run_one(hook, state, &fail)
    })
}

fn run_one(hook: &Hook, state: &serde_json::Value, fail: &dyn Fn(String) -> Error) -> Result<(), Error> {
    let name = if hook.path.is_absolute() { &hook.path } else { return Err(fail("its path is not absolute".into())) };
    let program = text(name)?;
    let mut args = hook.args.iter().map(|arg| text(Path::new(arg))).collect::<Result<Vec<_>, _>>()?;
    if args.is_empty() {
        args.push(program.clone());
    }
    let env = hook.env.iter().map(|entry| text(Path::new(entry))).collect::<Result<Vec<_>, _>>()?;
    let (args, env) = (process::Texts::from(args), process::Texts::from(env));
    let input = memory(state.to_string().as_bytes()).during("tell a hook its state")?;
    // What it says is told where it fails.
    let output = memory(&[]).during("hear from a hook")?;
    let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).during("make a pipe")?;
    let story = || {
        let arrange = || -> std::io::Result<()> {
            teu_sys::signal::restore_defaults();
            teu_sys::signal::set_blocked(&teu_sys::signal::Set::empty())?;
            // Whoever waits to build a root has none.
            rustix::process::umask(Mode::from_raw_mode(0o022));
            process::place_descriptor(input.as_fd(), 0, false)?;
            process::place_descriptor(output.as_fd(), 1, false)?;
            process::place_descriptor(output.as_fd(), 2, false)?;
            process::close_on_exec_from(3)
        };
        let error = match arrange() {
            Ok(()) => process::execute(&program, &args, &env),
            Err(error) => error,
        };
        let _ = rustix::io::write(&writer, &crate::error::errno(&error).to_ne_bytes());
        127
    };
    let child = process::spawn(0, None, story).during("make a hook's process")?;
    drop(writer);
    let exit = wait(&child, hook.timeout.map(Duration::from_secs))
        .ok_or_else(|| fail(format!("it took longer than {} s", hook.timeout.unwrap_or(0))))?;
    let mut errno = [0; 4];
    if matches!(File::from(reader).read(&mut errno), Ok(4)) {
        return Err(fail(std::io::Error::from_raw_os_error(i32::from_ne_bytes(errno)).to_string()));
    }
    if exit.code == 0 {
        return Ok(());
    }
    let said = said(output);
    let how = exit.signal.map_or_else(
        || format!("exit status {}", exit.code),
        |signal| match signal {
            9 => "signal: killed".to_owned(),
            11 => "signal: segmentation fault".to_owned(),
            15 => "signal: terminated".to_owned(),
            31 => "signal: bad system call".to_owned(),
            other => format!("signal {other}"),
        },
    );
    Err(fail(if said.is_empty() { how } else { format!("{how}: {said}") }))
}

fn text(path: &Path) -> Result<CString, Error> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| Error::refused("run a hook: a null byte in its arguments"))
}

fn memory(content: &[u8]) -> std::io::Result<OwnedFd> {
    let mut file = File::from(rustix::fs::memfd_create("hook", MemfdFlags::CLOEXEC)?);
    file.write_all(content)?;
    file.rewind()?;
    Ok(file.into())
}

fn said(output: OwnedFd) -> String {
    let mut file = File::from(output);
    let mut bytes = Vec::new();
    if file.rewind().and_then(|()| (&file).take(2048).read_to_end(&mut bytes)).is_err() {
        return String::new();
    }
    String::from_utf8_lossy(&bytes).trim().to_owned()
}

/// Waits for a hook; one that takes too long is killed, and there is no exit then.
fn wait(child: &Child, timeout: Option<Duration>) -> Option<Exit> {
    if let Some(timeout) = timeout {
        let end = std::time::Instant::now() + timeout;
        loop {
            let left = end.saturating_duration_since(std::time::Instant::now());
            let mut interests = Interests::new();
            let place = interests.add(child.pidfd.as_fd(), true, false);
            // An error shows in the wait below.
            if interests.wait(Some(left)).is_err() || interests.readable(place) {
                break;
            }
            if left.is_zero() {
                crate::create::end(child);
                return None;
            }
        }
    }
    Some(process::wait(&child.pidfd).unwrap_or(Exit { code: 255, signal: None }))
}
