//! System calls that a filter passes on: to whom, and how they get the descriptor (`SCMP_ACT_NOTIFY`).
//!
//! The process that is under the filter may be unable to send a descriptor, so its parent takes it out of it and sends
//! it on, with the spec's `containerProcessState`, to the socket that the profile names.

use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use serde_json::json;
use teu_oci::runtime::{Seccomp, Spec};
use teu_sys::seccomp as kernel;

use crate::Error;
use crate::credentials::Filter;
use crate::error::During;
use crate::hooks::Identity;
use crate::{Stock, seccomp, sync};

const NOTIFY: &str = "SCMP_ACT_NOTIFY";

/// Who reads the calls that are passed on.
#[derive(Debug)]
pub(crate) struct Reader {
    path: PathBuf,
    metadata: String,
    identity: Identity,
}

impl Reader {
    /// The one that a spec names; none when its filter passes nothing on.
    pub(crate) fn of(spec: &Spec, identity: Identity) -> Result<Option<Reader>, Error> {
        let Some(profile) = spec.linux.as_ref().and_then(|linux| linux.seccomp.as_ref()) else { return Ok(None) };
        let notifies = |action: &String| action == NOTIFY;
        if notifies(&profile.default_action) {
            return Err(Error::refused("load the seccomp filter: SCMP_ACT_NOTIFY cannot be used as default action"));
        }
        let rules: Vec<_> = profile.syscalls.iter().filter(|rule| notifies(&rule.action)).collect();
        if rules.iter().any(|rule| rule.names.iter().any(|name| name == "write")) {
            return Err(Error::refused(
                "load the seccomp filter: SCMP_ACT_NOTIFY cannot be used for the write syscall",
            ));
        }
        match &profile.listener_path {
            Some(path) => {
                let metadata = profile.listener_metadata.clone();
                Ok(Some(Reader { path: path.clone(), metadata, identity }))
            }
            None if rules.is_empty() => Ok(None),
            None => Err(Error::refused("load the seccomp filter: SCMP_ACT_NOTIFY needs a listenerPath")),
        }
    }

    /// Takes the listener `number` out of the process and sends it on.
    pub(crate) fn hand_over(&self, pidfd: BorrowedFd<'_>, number: i32, pid: i32, status: &str) -> Result<(), Error> {
        let listener = teu_sys::process::take_descriptor(pidfd, number).during("take the seccomp listener")?;
        let message = json!({
            "ociVersion": teu_oci::runtime::VERSION, "fds": ["seccompFd"], "pid": pid, "metadata": self.metadata,
            "state": self.identity.state(status, pid),
        });
        let connect = || UnixStream::connect(&self.path);
        let socket =
            connect().during_with(|| format!("failed to connect with seccomp agent {}", self.path.display()))?;
        sync::send(socket.as_fd(), message.to_string().as_bytes(), &[listener.as_fd()])
            .during("send the seccomp listener")
    }
}

/// The spec's filter, compiled.
pub(crate) fn filter(spec: &Spec, stock: &Stock) -> Result<Option<Filter>, Error> {
    let Some(profile) = spec.linux.as_ref().and_then(|linux| linux.seccomp.as_ref()) else { return Ok(None) };
    if let Some(filter) = stock.filter(profile) {
        return Ok(Some(filter.clone()));
    }
    let instructions =
        seccomp::compile(profile).map_err(|error| Error::refused(format!("compile the seccomp profile: {error}")))?;
    let flags = load_flags(profile).map_err(|error| Error::refused(format!("load the seccomp filter: {error}")))?;
    Ok(Some(Filter { instructions, flags }))
}

fn load_flags(profile: &Seccomp) -> Result<u32, seccomp::Error> {
    let notifies = profile.syscalls.iter().any(|rule| rule.action == NOTIFY);
    Ok(seccomp::flags(profile)? | if notifies { kernel::FLAG_NEW_LISTENER } else { 0 })
}

/// The flags that the spec's filter is loaded with, if there is one.
pub(crate) fn flags(spec: &Spec) -> Option<u32> {
    spec.linux.as_ref()?.seccomp.as_ref().and_then(|profile| load_flags(profile).ok())
}
