//! Facts of the host, looked up once: what `info` and `version` tell.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};
use teu_sys::mount::{Change, attribute};

use crate::error::{Error, Result};

/// What does not change while the daemon runs.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    pub(crate) hostname: String,
    pub(crate) kernel: String,
    pub(crate) machine: String,
    pub(crate) system: String,
    pub(crate) system_version: String,
    pub(crate) processors: usize,
    pub(crate) memory: i64,
    pub(crate) cgroup_version: &'static str,
}

impl Facts {
    pub(crate) fn gather() -> Self {
        let uname = rustix::system::uname();
        let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
        let field = |key: &str| {
            let line = release.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
            line.map(|value| value.trim_matches('"').to_string()).unwrap_or_default()
        };
        let unified = fs::exists("/sys/fs/cgroup/cgroup.controllers").unwrap_or(false);
        Self {
            hostname: uname.nodename().to_string_lossy().into_owned(),
            kernel: uname.release().to_string_lossy().into_owned(),
            machine: uname.machine().to_string_lossy().into_owned(),
            system: field("PRETTY_NAME"),
            system_version: field("VERSION_ID"),
            processors: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            memory: memory(),
            cgroup_version: if unified { "2" } else { "1" },
        }
    }
}

/// What tells an engine from all others, made once for its root and kept in its file `engine-id`.
pub(crate) fn engine_id(root: &Path) -> Result<String> {
    let path = root.join("engine-id");
    let kept = fs::read_to_string(&path).unwrap_or_default();
    if !kept.trim().is_empty() {
        return Ok(kept.trim().into());
    }
    let id = crate::container::names::random_id()?;
    fs::write(&path, &id).map_err(|error| Error::io("write", &path, error))?;
    Ok(id)
}

fn memory() -> i64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib: i64 = line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0);
    kib * 1024
}

/// Makes joining a cgroup quick on a host with version 1 hierarchies, for as long as the descriptor is held.
///
/// There a process joins by a write to `cgroup.procs`, and the first write of a burst waits 5 to 20 ms for an RCU grace
/// period. The mount option `favordynmods` (Linux 6.0, kernel documentation "Control Group v2", "Mounting") takes that
/// wait away, at the price of a memory barrier in each fork and exit. It counts for the whole system if any hierarchy
/// has it, so one of our own carries it: empty, without controllers, attached nowhere, gone with the daemon. Version 2
/// needs none of this: there a container is born in its cgroup.
pub(crate) fn quick_cgroups() -> Option<OwnedFd> {
    if !fs::exists("/sys/fs/cgroup/memory/cgroup.procs").unwrap_or(false) {
        return None;
    }
    let context = rustix::mount::fsopen("cgroup", FsOpenFlags::FSOPEN_CLOEXEC).ok()?;
    rustix::mount::fsconfig_set_flag(&context, "none").ok()?;
    rustix::mount::fsconfig_set_string(&context, "name", "teu").ok()?;
    rustix::mount::fsconfig_set_flag(&context, "favordynmods").ok()?;
    rustix::mount::fsconfig_create(&context).ok()?;
    rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty()).ok()
}

/// The program that supervisors are started from, on a read-only mount that is attached nowhere.
///
/// A container can get hold of the program that entered it, through `/proc/<pid>/exe` (CVE-2019-5736); on such a mount
/// not even root can open it for writing.
pub(crate) fn sealed_program(program: &Path) -> Option<OwnedFd> {
    let path = fs::canonicalize(program).ok()?;
    let clone = teu_sys::mount::clone_tree(rustix::fs::CWD, &path, false).ok()?;
    let read_only = Change { set: attribute::READ_ONLY, ..Change::default() };
    teu_sys::mount::set_attributes(&clone, false, read_only).ok()?;
    Some(clone)
}
