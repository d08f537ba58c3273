//! Hooks that the runtime does not run by itself, and the bundle that hooks look into.
//!
//! A hook is told a folder, its container's bundle, and may read `config.json` there. Only a container with hooks has one: the
//! task directory. Its root has no path on the host; createContainer hooks, which run inside the container's mount namespace,
//! start in it, and so that is the path they are told.

use std::path::{Path, PathBuf};

use rustix::io::Errno;
use teu_oci::runtime::{Root, Spec};
use teu_runtime::hooks::{self, Identity};
use teu_runtime::{Error, Process};
use teu_sys::process::{send_signal, wait};

use crate::rundir::RunDir;

const SIGKILL: i32 = 9;
/// Where the root of the container is for a hook that starts in it.
const ROOT: &str = "/proc/self/cwd";

/// Writes the bundle that hooks are told of, where there are any.
pub(crate) fn bundle(dir: &RunDir, spec: &Spec) -> Result<PathBuf, Error> {
    if spec.hooks.is_none() {
        return Ok(PathBuf::new());
    }
    let readonly = spec.root.as_ref().is_some_and(|root| root.readonly);
    let told = Spec { root: Some(Root { path: ROOT.into(), readonly }), ..spec.clone() };
    let json = serde_json::to_vec(&told).unwrap_or_default();
    let written = dir.write("config.json", &json).and_then(|()| dir.path());
    written.map_err(|error| Error::Step {
        step: "write config.json".into(),
        errno: error.raw_os_error().unwrap_or(Errno::IO.raw_os_error()),
    })
}

/// A container, as its hooks are told of it.
pub(crate) fn identity(id: &str, spec: &Spec, bundle: &Path) -> Identity {
    Identity { id: id.to_owned(), bundle: bundle.to_owned(), annotations: spec.annotations.clone() }
}

/// Runs what comes after the program's start. When one does not succeed, the container is ended.
pub(crate) fn started(container: &Identity, spec: &Spec, process: &Process) -> Result<(), Error> {
    let Some(own) = &spec.hooks else { return Ok(()) };
    let result = hooks::run("poststart", &own.poststart, &container.state("running", process.pid));
    if result.is_err() {
        let _ = send_signal(&process.pidfd, SIGKILL);
        let _ = wait(&process.pidfd);
        let _ = process.cgroup.remove();
    }
    result
}

/// Runs what comes after the container's end: all of them, whatever became of those before.
pub(crate) fn stopped(container: &Identity, spec: &Spec) {
    let Some(own) = &spec.hooks else { return };
    for hook in &own.poststop {
        let _ = hooks::run("poststop", std::slice::from_ref(hook), &container.state("stopped", 0));
    }
}
