//! Making a container's first process in its namespaces.
//!
//! It is a child of the caller, born where it belongs. Only where a user namespace meets namespaces that are joined is
//! there an *usher* in between: what is joined may belong to the user namespace above, so somebody enters it first,
//! with the privileges of before, and cannot come back; so the usher gives birth to a child of the caller, and ends.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use teu_sys::namespace;
use teu_sys::process::{self, Child};

use crate::error::During;
use crate::namespaces::{Namespaces, User};
use crate::sync::{self, Report};
use crate::{Error, create, rootless};

/// Nobody who is in the container may look into the calling process and its future children, which are half the runtime
/// still (ptrace(2), "ptrace access mode checking"): not into their descriptors, their memory, their program.
///
/// Who visits a pid namespace in use calls it before: its child is seen there from the first moment. A program that is
/// executed is visible again, and a change of ids may make it so: then it is called once more.
pub(crate) fn hide() -> Result<(), Error> {
    hide_from_all().during("hide from ptrace")
}

/// The same, for who takes no memory.
pub(crate) fn hide_from_all() -> std::io::Result<()> {
    use rustix::process::{DumpableBehavior, set_dumpable_behavior};
    Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}

/// Makes a child in the container's new namespaces. For `Namespaces::pid` the caller visits that namespace.
pub(crate) fn spawn(
    namespaces: &Namespaces,
    flags: u64,
    unified: Option<BorrowedFd<'_>>,
    child: impl FnOnce() -> i32,
) -> Result<Child, Error> {
    if namespaces.needs_usher() {
        return by_usher(|| lead(namespaces, unified, child));
    }
    let visit = |path: &std::path::PathBuf| -> std::io::Result<OwnedFd> {
        let own = File::open("/proc/self/ns/pid")?;
        namespace::enter(File::open(path)?, namespace::PID)?;
        Ok(own.into())
    };
    if namespaces.pid.is_some() {
        hide()?;
    }
    let own = namespaces.pid.as_ref().map(visit).transpose().during("enter the pid namespace")?;
    let made = process::spawn(namespaces.born | flags, unified, child).during("make the container's process");
    if let Some(own) = own {
        namespace::enter(own, namespace::PID).during("return from the pid namespace")?;
    }
    made
}

/// Has an usher make a child of the caller: `lead` is its story.
pub(crate) fn by_usher(lead: impl FnOnce() -> Result<Child, Error>) -> Result<Child, Error> {
    let (ours, theirs) = sync::pair().during("make a socket pair")?;
    let story = || {
        let told = match lead() {
            Ok(Child { pid, pidfd }) => sync::send(theirs.as_fd(), &pid.to_ne_bytes(), &[pidfd.as_fd()]),
            Err(error) => sync::report(theirs.as_fd(), &Report::Failed(error), None),
        };
        i32::from(told.is_err())
    };
    let usher = process::spawn(0, None, story).during("make the container's usher")?;
    let mut answer = [0; 8192];
    let heard = sync::take(ours.as_fd(), &mut answer);
    create::reap(&usher);
    let (length, mut fds) = heard.during("hear from the container's usher")?;
    if let (Ok(pid), Some(pidfd)) = (<[u8; 4]>::try_from(&answer[..length]), fds.pop()) {
        return Ok(Child { pid: i32::from_ne_bytes(pid), pidfd });
    }
    match serde_json::from_slice(&answer[..length]) {
        Ok(Report::Failed(error)) => Err(error),
        _ => Err(Error::refused("make the container's process: its usher died")),
    }
}

/// The usher's story.
fn lead(namespaces: &Namespaces, unified: Option<BorrowedFd<'_>>, child: impl FnOnce() -> i32) -> Result<Child, Error> {
    let enter = |kind: u64, path: &Path| {
        let enter = || namespace::enter(File::open(path)?, kind);
        enter().during_with(|| format!("enter namespace {}", path.display()))
    };
    // Opened while the host's paths still mean what they say.
    let user = match &namespaces.user {
        User::Joined(path) => Some(File::open(path).during_with(|| format!("open namespace {}", path.display()))?),
        _ => None,
    };
    let enter_user = |user: Option<File>| {
        user.map_or(Ok(()), |user| namespace::enter(user, namespace::USER)).during("enter the user namespace")
    };
    // An ordinary user has no privileges before.
    let (first, last) = if rootless::is_ordinary() { (user, None) } else { (None, user) };
    enter_user(first)?;
    for (kind, path) in &namespaces.joined {
        enter(*kind, path)?;
    }
    if let Some(path) = &namespaces.pid {
        hide()?;
        enter(namespace::PID, path)?;
    }
    enter_user(last)?;
    process::spawn(namespaces.born | process::PARENT, unified, child).during("make the container's process")
}
