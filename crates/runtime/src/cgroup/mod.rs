//! A container's cgroup: made before the container, limited before its program runs, joined, watched, changed, removed.
//!
//! One path, relative to every hierarchy's root. On a v2 machine that is one directory; on a v1 or hybrid one there is
//! a directory in each hierarchy that is of use: those of the limits asked for, those that count (memory, pids, cpu),
//! and, where there is no v2 tree, the freezer and the device controller. A hybrid machine's v2 tree serves to be born
//! in, to freeze, to kill and to filter devices.
//!
//! Invariant: limits hold before a program of the container is executed.

pub(crate) mod devices;
mod directory;
mod freezer;
mod hierarchy;
mod making;
mod place;
mod scope;
mod settings;
mod stats;

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::io::Errno;
use teu_oci::runtime::{DeviceRule, Resources};

use crate::error::During;
use crate::systemd::{self, Unit};
use crate::{Error, Stock, rootless};
use directory::{collect_processes, filter_devices, inherit_cpuset, make_directory, remove_tree, wait_empty, write};
pub(crate) use hierarchy::Hierarchies;
use hierarchy::{Legacy, Version};
pub use place::Place;
use settings::Setting;
pub(crate) use settings::weight_of_shares;
pub use stats::{BlockIoStats, CpuStats, MemoryStats, PidsStats, Stats};

/// v1 controllers that every container joins, because they count.
const COUNTING: [&str; 3] = ["memory", "pids", "cpu"];
/// v1 controllers that do what the v2 tree does where there is one.
const WITHOUT_UNIFIED: [&str; 3] = ["freezer", "devices", "cpuacct"];
/// v2 controllers that every container gets where they are.
const UNIFIED: [&str; 4] = ["memory", "pids", "cpu", "io"];

/// A container's cgroup.
#[derive(Debug, Clone)]
pub struct Cgroup {
    /// From each hierarchy's root, without a leading slash.
    path: PathBuf,
    hierarchies: Hierarchies,
    /// Whether the container joins every v1 hierarchy, as those who look at it from outside may expect.
    everywhere: bool,
    /// The scope that systemd has made for it, if it has.
    unit: Option<String>,
    /// The v1 hierarchies in which its directory is still to be made.
    unmade: Vec<Legacy>,
}

/// The id of the process behind `pidfd`, as procfs has it (pidfd_open(2)).
pub(crate) fn pid_of(pidfd: BorrowedFd<'_>) -> io::Result<String> {
    let about = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd()))?;
    Ok(about.lines().find_map(|line| line.strip_prefix("Pid:")).unwrap_or_default().trim().to_owned())
}

impl Cgroup {
    /// The cgroup `path`, which exists.
    ///
    /// # Errors
    /// `ENOENT` when it does not; `EINVAL` for a path that leaves the tree.
    pub fn open(path: &Path) -> io::Result<Cgroup> {
        let cgroup = Cgroup::at(path).map_err(|_| io::Error::from(Errno::INVAL))?;
        if cgroup.directories().next().is_none() {
            return Err(io::Error::from(Errno::NOENT));
        }
        Ok(cgroup)
    }

    /// The handle of a path, whether or not it exists; of a scope for `slice:prefix:name`.
    pub(crate) fn at(path: &Path) -> Result<Cgroup, Error> {
        let hierarchies = Hierarchies::find().during("read /proc/self/mountinfo")?;
        match Unit::of(path) {
            Some(unit) => Ok(Cgroup {
                path: unit.path(),
                hierarchies,
                everywhere: true,
                unit: Some(unit.name),
                unmade: Vec::new(),
            }),
            None => {
                Ok(Cgroup { path: relative(path)?, hierarchies, everywhere: false, unit: None, unmade: Vec::new() })
            }
        }
    }

    /// No cgroup at all: what is in it stays in its caller's, has no limits, and is known by nothing but its first process.
    pub(crate) fn absent() -> Cgroup {
        Cgroup {
            path: PathBuf::new(),
            hierarchies: Hierarchies::default(),
            everywhere: false,
            unit: None,
            unmade: Vec::new(),
        }
    }

    /// Whether it is none at all.
    pub(crate) fn is_absent(&self) -> bool {
        self.path.as_os_str().is_empty()
    }

    /// Whether these limits take a cgroup. Rules about devices do not: nobody without privileges makes a device.
    pub(crate) fn is_needed(resources: &Resources) -> bool {
        settings::plan(resources, &|_| Some(Version::Unified)).map_or(true, |settings| !settings.is_empty())
    }

    /// Where a relative path leads for who has only a part of the tree: beside the caller's own cgroup, where the tree of
    /// version 2 is the only one and the caller may put processes there.
    pub(crate) fn beside_own(path: &Path) -> Option<PathBuf> {
        let hierarchies = Hierarchies::find().ok()?;
        let mount = hierarchies.unified.filter(|_| path.is_relative() && hierarchies.v1.is_empty())?;
        rootless::beside_own_cgroup(&mount, path)
    }

    /// Whether there are hierarchies of version 1.
    pub(crate) fn has_legacy(&self) -> bool {
        !self.hierarchies.v1.is_empty()
    }

    /// The path, from each hierarchy's root.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A cgroup below this one, in the hierarchy of each controller named, or in all.
    ///
    /// # Errors
    /// [`Error::Refused`] for a path that leaves this one, or a controller that has no hierarchy of its own.
    pub(crate) fn below(&self, paths: &[(Option<String>, PathBuf)]) -> Result<Cgroup, Error> {
        let mut below = self.clone();
        for (controller, path) in paths {
            if path.components().any(|part| part == Component::ParentDir) {
                return Err(Error::refused(format!("bad sub cgroup path: {} leaves the container", path.display())));
            }
            let known = |name: &String| self.hierarchies.legacy(name).is_some();
            if controller.as_ref().is_some_and(|name| !known(name)) {
                let name = controller.as_deref().unwrap_or_default();
                return Err(Error::refused(format!("join the cgroup: unknown controller {name} in --cgroup")));
            }
            let path = path.components().filter(|part| matches!(part, Component::Normal(_))).collect::<PathBuf>();
            if path.as_os_str().is_empty() {
                continue;
            }
            let refuse_missing = |directory: PathBuf| {
                let what = || format!("error adding pid to cgroup {}: no such file or directory", directory.display());
                if directory.exists() { Ok(()) } else { Err(Error::refused(what())) }
            };
            match controller {
                None => {
                    let mut own = self.directories().map(|directory| directory.join(&path));
                    own.try_for_each(refuse_missing)?;
                    below.path.push(&path);
                }
                Some(name) => {
                    let own = |legacy: &&mut Legacy| legacy.controllers.iter().any(|one| one == name);
                    let legacy = below.hierarchies.v1.iter_mut().find(own).ok_or_else(|| {
                        Error::refused(format!("join the cgroup: unknown controller {name} in SubCgroupPaths"))
                    })?;
                    legacy.mount = legacy.mount.join(&self.path).join(&path);
                    refuse_missing(legacy.mount.clone())?;
                    legacy.below = true;
                }
            }
        }
        Ok(below)
    }

    /// Gives the v2 directory and what its new root needs of it to `owner`, as cgroups(7) has delegation.
    pub(crate) fn give_to(&self, owner: u32) -> io::Result<()> {
        let Some(directory) = self.unified().filter(|_| self.hierarchies.v1.is_empty()) else { return Ok(()) };
        let names = std::fs::read_to_string("/sys/kernel/cgroup/delegate")
            .unwrap_or_else(|_| "cgroup.procs\ncgroup.subtree_control\ncgroup.threads\n".to_owned());
        std::os::unix::fs::chown(&directory, Some(owner), None)?;
        for name in names.lines() {
            match std::os::unix::fs::chown(directory.join(name), Some(owner), None) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// Kills every process, those in cgroups below too.
    ///
    /// # Errors
    /// As writing cgroup files.
    pub fn kill(&self) -> io::Result<()> {
        if let Some(directory) = self.unified() {
            match write(&directory, "cgroup.kill", "1") {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                other => return other,
            }
        }
        for pid in self.processes()? {
            if let Some(pid) = rustix::process::Pid::from_raw(pid) {
                // One that ended by itself meanwhile is as good as killed.
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
        Ok(())
    }

    /// The processes in it, those of cgroups below too.
    ///
    /// # Errors
    /// As reading cgroup files.
    pub fn processes(&self) -> io::Result<Vec<i32>> {
        let Some(directory) = self.directories().next() else { return Ok(Vec::new()) };
        let mut pids = Vec::new();
        collect_processes(&directory, &mut pids)?;
        Ok(pids)
    }

    /// What has been used so far.
    ///
    /// # Errors
    /// `ENOENT` when the cgroup is gone.
    pub fn stats(&self) -> io::Result<Stats> {
        self.directories().next().ok_or(io::Error::from(Errno::NOENT))?;
        Ok(stats::read(self))
    }

    /// The numbers in a list of the cpuset controller.
    pub(crate) fn processors(&self, file: &str) -> Vec<u32> {
        let text = self.read("cpuset", file).unwrap_or_default();
        crate::schedule::list(text.trim(), file).unwrap_or_default()
    }

    /// How much swap (v1: with memory) may be used, bytes.
    pub(crate) fn swap_limit(&self) -> u64 {
        let file =
            if self.hierarchies.legacy("memory").is_some() { "memory.memsw.limit_in_bytes" } else { "memory.swap.max" };
        self.read("memory", file).and_then(|text| text.trim().parse().ok()).unwrap_or(u64::MAX)
    }

    /// How much swap (v1: with memory) is used, bytes.
    pub(crate) fn swap_usage(&self) -> u64 {
        let file = if self.hierarchies.legacy("memory").is_some() {
            "memory.memsw.usage_in_bytes"
        } else {
            "memory.swap.current"
        };
        self.read("memory", file).and_then(|text| text.trim().parse().ok()).unwrap_or(0)
    }

    /// A pressure file of the v2 tree.
    pub(crate) fn pressure(&self, file: &str) -> Option<String> {
        self.read_unified(file)
    }

    /// How many processes the kernel has killed for want of memory.
    pub fn oom_kills(&self) -> u64 {
        stats::oom_kills(self)
    }

    /// Changes limits of a running container; what `resources` does not name stays.
    ///
    /// # Errors
    /// As [`Cgroup::create`].
    pub fn update(&self, resources: &Resources) -> Result<(), Error> {
        let settings = self.plan(resources)?;
        if let Some(unit) = &self.unit {
            systemd::change(unit, &systemd::limits(resources, self.hierarchies.v1.is_empty()))?;
        }
        self.join_missing(&settings)?;
        // Some limits bound one another (memory alone and with swap, burst and quota), so which one can be set first
        // depends on the direction: what fails is tried once more when the others are set.
        let refused: Vec<_> = settings.iter().filter(|setting| self.apply(setting).is_err()).collect();
        refused.into_iter().try_for_each(|setting| self.apply(setting))?;
        if resources.devices.is_empty() { Ok(()) } else { self.limit_devices(&resources.devices, &Stock::default()) }
    }

    /// Removes it and the cgroups below. Processes that are still in are killed.
    ///
    /// # Errors
    /// `EBUSY` when killed processes do not end; otherwise as rmdir(2). One that is gone is removed.
    pub fn remove(&self) -> io::Result<()> {
        let mut result = self.end_scope();
        for directory in self.possible_directories() {
            let removed = match remove_tree(&directory) {
                Err(error) if error.raw_os_error() == Some(Errno::BUSY.raw_os_error()) => {
                    self.kill().and_then(|()| wait_empty(&directory)).and_then(|()| remove_tree(&directory))
                }
                other => other,
            };
            result = result.and(removed);
        }
        result
    }

    /// Removes what of it is empty: never what turned out to be somebody else's.
    pub(crate) fn discard(&self) {
        for directory in self.directories() {
            // The error that led here is the one to tell.
            let _ = std::fs::remove_dir(directory);
        }
    }

    /// The directory of the v2 tree, to be born in.
    pub(crate) fn open_unified(&self) -> io::Result<Option<OwnedFd>> {
        self.unified().map(|directory| File::open(directory).map(OwnedFd::from)).transpose()
    }

    /// The directory of the v2 tree, at or below this one, that a process is in.
    pub(crate) fn open_unified_of(&self, pidfd: BorrowedFd<'_>) -> io::Result<OwnedFd> {
        let pid = pid_of(pidfd)?;
        let table = std::fs::read(format!("/proc/{pid}/cgroup"))?;
        let lines = table.split(|byte| *byte == b'\n');
        let path = lines.filter_map(|line| line.strip_prefix(b"0::/")).map(OsStr::from_bytes).map(Path::new).next();
        let mount = self.hierarchies.unified.as_ref();
        match (mount, path.filter(|path| path.starts_with(&self.path))) {
            (Some(mount), Some(path)) => Ok(File::open(mount.join(path))?.into()),
            _ => Err(io::Error::from(Errno::BUSY)),
        }
    }

    /// The `cgroup.procs` of every v1 directory, to be joined by writing a pid, or 0 for oneself.
    pub(crate) fn open_legacy_joins(&self) -> io::Result<Vec<File>> {
        let own = |legacy: &Legacy| {
            let directory = if legacy.below { legacy.mount.clone() } else { legacy.mount.join(&self.path) };
            directory.join("cgroup.procs")
        };
        let opened = self.hierarchies.v1.iter().map(own).map(|file| OpenOptions::new().write(true).open(file));
        opened.filter(|file| !matches!(file, Err(error) if error.kind() == io::ErrorKind::NotFound)).collect()
    }

    /// Whether it is joined by writing to files of v1 directories.
    pub(crate) fn is_joined_by_writing(&self) -> bool {
        let there = |legacy: &Legacy| legacy.mount.join(&self.path).exists();
        !self.unmade.is_empty() || self.hierarchies.v1.iter().any(there)
    }

    /// The directory by which it is frozen.
    pub(crate) fn freezer(&self) -> Option<PathBuf> {
        self.unified().or_else(|| self.legacy("freezer")).filter(|directory| directory.exists())
    }

    /// The name (`unified`, `memory`, `cpu,cpuacct`) and directory of each hierarchy in which the cgroup exists or will;
    /// the caller's own where there is none.
    pub(crate) fn named_directories(&self) -> Vec<(Option<String>, PathBuf)> {
        if self.is_absent() {
            return hierarchy::own_directories();
        }
        let unified = self.unified().map(|directory| (None, directory));
        let legacy =
            self.hierarchies.v1.iter().map(|one| (Some(one.controllers.join(",")), one.mount.join(&self.path)));
        let unmade = |directory: &Path| self.unmade.iter().any(|one| one.mount.join(&self.path) == directory);
        let there = |directory: &Path| unmade(directory) || directory.exists();
        unified.into_iter().chain(legacy).filter(|(_, directory)| there(directory)).collect()
    }

    /// The roots of the v1 hierarchies in which it has a directory: what [`Cgroup::abandon`] needs where no path leads
    /// to them.
    pub(crate) fn open_legacy_roots(&self) -> io::Result<Vec<File>> {
        let has = |legacy: &&Legacy| legacy.mount.join(&self.path).is_dir();
        self.hierarchies.v1.iter().filter(has).map(|legacy| File::open(&legacy.mount)).collect()
    }

    /// Moves the caller out of the v1 directories, in which nobody else is, and removes them.
    pub(crate) fn abandon(&self, roots: &[File]) {
        use rustix::fs::{AtFlags, Mode, OFlags, openat, unlinkat};
        for root in roots {
            // There is nobody to tell of an obstacle.
            let procs = openat(root, "cgroup.procs", OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty());
            let _ = procs.map(|procs| File::from(procs).write_all(b"0"));
            let _ = unlinkat(root, &self.path, AtFlags::REMOVEDIR);
        }
    }

    /// Sets the limits.
    pub(crate) fn limit(&self, resources: &Resources, stock: &Stock) -> Result<(), Error> {
        self.limit_settings(resources)?;
        self.limit_devices(&resources.devices, stock)
    }

    fn limit_settings(&self, resources: &Resources) -> Result<(), Error> {
        self.plan(resources)?.iter().try_for_each(|setting| self.apply(setting))
    }

    fn limit_devices(&self, spec: &[DeviceRule], stock: &Stock) -> Result<(), Error> {
        let rules = devices::rules(spec);
        if let Some(directory) = self.unified() {
            return match filter_devices(&directory, &rules, stock) {
                // Who cannot load a program cannot make a node either, and finds only the host's own, with its owners.
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied && rootless::lacks_privileges() => Ok(()),
                other => other.during("filter devices"),
            };
        }
        // Without any device controller there is nothing to lean on but the absence of nodes and of CAP_MKNOD.
        let Some(directory) = self.legacy("devices") else { return Ok(()) };
        let apply = || -> io::Result<()> {
            write(&directory, "devices.deny", "a")?;
            for (allow, line) in devices::lines(&rules) {
                write(&directory, if allow { "devices.allow" } else { "devices.deny" }, &line)?;
            }
            Ok(())
        };
        apply().during("write devices.allow")
    }

    fn plan(&self, resources: &Resources) -> Result<Vec<Setting>, Error> {
        let unified = std::cell::OnceCell::new();
        let version_of = |controller: &str| {
            if self.hierarchies.legacy(controller).is_some() {
                return Some(Version::Legacy);
            }
            let names = unified.get_or_init(|| self.hierarchies.unified_controllers());
            names.iter().any(|name| name == controller).then_some(Version::Unified)
        };
        settings::plan(resources, &version_of)
    }

    fn apply(&self, setting: &Setting) -> Result<(), Error> {
        let directory = match setting.version {
            Version::Unified => self.unified(),
            Version::Legacy => self.legacy(&setting.controller),
        };
        let missing =
            || Error::NoCgroupController { controller: setting.controller.clone(), setting: setting.field.to_owned() };
        let Some(directory) = directory else { return Err(missing()) };
        for (file, value) in setting.choices() {
            match write(&directory, file, value) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                other => return other.during_with(|| format!("write {value} to {file}")),
            }
        }
        if setting.field.is_empty() { Ok(()) } else { Err(setting.no_file()) }
    }

    /// Moves every process into v1 hierarchies that a new limit needs and the container has not joined.
    fn join_missing(&self, settings: &[Setting]) -> Result<(), Error> {
        for setting in settings.iter().filter(|setting| setting.version == Version::Legacy) {
            let Some(legacy) = self.hierarchies.legacy(&setting.controller) else { continue };
            let directory = legacy.mount.join(&self.path);
            if directory.exists() {
                continue;
            }
            let pids = self.processes().during("read cgroup.procs")?;
            make_directory(&directory)?;
            if setting.controller == "cpuset" {
                inherit_cpuset(&legacy.mount, &self.path)?;
            }
            for pid in pids {
                // One that ended meanwhile needs no moving.
                let _ = write(&directory, "cgroup.procs", &pid.to_string());
            }
        }
        Ok(())
    }

    fn version(&self, controller: &str) -> Option<Version> {
        if self.hierarchies.legacy(controller).is_some() {
            return Some(Version::Legacy);
        }
        self.hierarchies.unified.as_ref().map(|_| Version::Unified)
    }

    fn unified(&self) -> Option<PathBuf> {
        self.hierarchies.unified.as_ref().map(|mount| mount.join(&self.path))
    }

    fn legacy(&self, controller: &str) -> Option<PathBuf> {
        self.hierarchies.legacy(controller).map(|legacy| legacy.mount.join(&self.path))
    }

    /// Every directory that exists, the v2 tree's first.
    fn directories(&self) -> impl Iterator<Item = PathBuf> {
        self.possible_directories().filter(|directory| directory.exists())
    }

    fn possible_directories(&self) -> impl Iterator<Item = PathBuf> {
        let legacy = self.hierarchies.v1.iter().map(|legacy| legacy.mount.join(&self.path));
        self.unified().into_iter().chain(legacy)
    }

    fn read(&self, controller: &str, file: &str) -> Option<String> {
        let directory = self.legacy(controller).or_else(|| self.unified())?;
        std::fs::read_to_string(directory.join(file)).ok()
    }

    fn read_unified(&self, file: &str) -> Option<String> {
        std::fs::read_to_string(self.unified()?.join(file)).ok()
    }
}

/// The path without its leading slash; refuses one that is empty or has `..`.
fn relative(path: &Path) -> Result<PathBuf, Error> {
    let mut relative = PathBuf::new();
    for component in path.components() {
        match component {
            Component::RootDir | Component::CurDir => {}
            Component::Normal(name) => relative.push(name),
            _ => return Err(Error::refused(format!("use cgroup \"{}\": it leaves the tree", path.display()))),
        }
    }
    if relative.as_os_str().is_empty() {
        return Err(Error::refused("use cgroup \"/\": it is the whole machine"));
    }
    Ok(relative)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_cannot_leave_the_tree() {
        assert_eq!(relative(Path::new("/teu/abc")).expect("relative"), Path::new("teu/abc"));
        assert!(relative(Path::new("/teu/../../x")).is_err());
        assert!(relative(Path::new("/")).is_err());
    }
}
