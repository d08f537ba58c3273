//! Which cgroup hierarchies this machine has, and where: v2 alone, v1, or both (hybrid).
//!
//! A controller lives in exactly one hierarchy. Hierarchies are read from the mount table, because a mount is what one
//! can act on; `/sys/fs/cgroup` is only where distributions usually put them.

use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::StatVfsMountFlags;

use crate::shown;

/// Every hierarchy that is mounted here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Hierarchies {
    /// The v2 tree.
    pub(crate) unified: Option<PathBuf>,
    /// The v1 trees.
    pub(crate) v1: Vec<Legacy>,
}

/// A v1 hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Legacy {
    /// The controllers in it, or `name=…`.
    pub(crate) controllers: Vec<String>,
    /// Where it is mounted.
    pub(crate) mount: PathBuf,
    /// Whether `mount` is already the directory to join: one below a container's.
    pub(crate) below: bool,
}

/// Which kind of file a controller has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    /// v1.
    Legacy,
    /// v2.
    Unified,
}

/// Where distributions put them.
const USUAL: &str = "/sys/fs/cgroup";
/// What a v1 hierarchy can be mounted with that is no controller.
const NOT_CONTROLLERS: [&str; 7] =
    ["rw", "ro", "clone_children", "xattr", "noprefix", "favordynmods", "cpuset_v2_mode"];

impl Hierarchies {
    /// Reads the mount table.
    pub(crate) fn find() -> io::Result<Hierarchies> {
        let mut found = Self::listed()?;
        // A tree that is mounted read-only (an ordinary container's) cannot hold a cgroup of ours.
        found.unified = found.unified.filter(|mount| writable(mount));
        Ok(found)
    }

    /// All there are, but for what a container in this mount namespace has mounted for itself (`shown`).
    fn listed() -> io::Result<Hierarchies> {
        let table = std::fs::read("/proc/self/mountinfo")?;
        let mut found = parse(&String::from_utf8_lossy(&table));
        let mut mounts = found.v1.iter().map(|hierarchy| &hierarchy.mount).chain(&found.unified);
        if mounts.any(|mount| !mount.starts_with(USUAL)) {
            let shown = shown::places();
            let is_ours = |mount: &Path| !shown.iter().any(|place| mount.starts_with(place));
            found.unified = found.unified.filter(|mount| is_ours(mount));
            found.v1.retain(|hierarchy| is_ours(&hierarchy.mount));
        }
        Ok(found)
    }

    /// The v1 hierarchy that holds a controller.
    pub(crate) fn legacy(&self, controller: &str) -> Option<&Legacy> {
        self.v1.iter().find(|hierarchy| hierarchy.controllers.iter().any(|name| name == controller))
    }

    /// The controllers that the v2 tree has to give.
    pub(crate) fn unified_controllers(&self) -> Vec<String> {
        let Some(mount) = &self.unified else { return Vec::new() };
        let text = std::fs::read_to_string(mount.join("cgroup.controllers")).unwrap_or_default();
        text.split_ascii_whitespace().map(str::to_owned).collect()
    }
}

fn writable(path: &Path) -> bool {
    // Not by the root's permissions: a part of the tree may be an ordinary user's.
    rustix::fs::statvfs(path).is_ok_and(|stat| !stat.f_flag.contains(StatVfsMountFlags::RDONLY))
}

/// The name and directory of the caller's own cgroup in each hierarchy that shows it.
pub(super) fn own_directories() -> Vec<(Option<String>, PathBuf)> {
    let read = |path: &str| teu_sys::text::read(path).unwrap_or_default();
    let found = Hierarchies::listed().unwrap_or_default();
    let mut own = Vec::new();
    for line in read("/proc/self/cgroup").lines() {
        let Some((names, path)) = line.split_once(':').and_then(|(_, rest)| rest.split_once(':')) else { continue };
        let names: Vec<_> = names.split(',').filter(|name| !name.is_empty()).collect();
        let mount = match names.first() {
            None => found.unified.as_ref(),
            Some(name) => found.legacy(name).map(|legacy| &legacy.mount),
        };
        let directory = mount.map(|mount| mount.join(path.trim_start_matches('/')));
        if let Some(directory) = directory.filter(|directory| directory.is_dir()) {
            own.push(((!names.is_empty()).then(|| names.join(",")), directory));
        }
    }
    own
}

/// Finds the hierarchies in the text of `/proc/self/mountinfo`; the first mount of each counts.
fn parse(table: &str) -> Hierarchies {
    let mut found = Hierarchies::default();
    for line in table.lines() {
        // "36 35 98:0 /root /mount options optional… - type source super-options"
        let Some((mount, rest)) = line.split_once(" - ") else { continue };
        let mut rest = rest.split(' ');
        let (kind, options) = (rest.next().unwrap_or_default(), rest.nth(1).unwrap_or_default());
        if !kind.starts_with("cgroup") {
            continue;
        }
        let Some(path) = mount.split(' ').nth(4) else { continue };
        let path = PathBuf::from(path);
        if kind == "cgroup2" {
            found.unified.get_or_insert(path);
            continue;
        }
        let named = |option: &&str| !NOT_CONTROLLERS.contains(option) && !option.starts_with("release_agent=");
        let controllers: Vec<String> = options.split(',').filter(named).map(str::to_owned).collect();
        if !found.v1.iter().any(|known| known.controllers == controllers) {
            found.v1.push(Legacy { controllers, mount: path, below: false });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hybrid_machine_has_both_kinds() {
        let found = parse(
            "25 1 0:22 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n\
             26 25 0:23 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct\n\
             27 25 0:24 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,release_agent=/lib/x,name=systemd\n\
             28 25 0:25 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw,nsdelegate\n\
             29 1 0:26 / /elsewhere rw - cgroup cgroup rw,cpu,cpuacct\n",
        );
        assert_eq!(found.unified.as_deref(), Some(Path::new("/sys/fs/cgroup/unified")));
        let cpu = found.legacy("cpuacct").expect("cpuacct");
        assert_eq!(cpu.mount, Path::new("/sys/fs/cgroup/cpu,cpuacct"));
        assert_eq!(found.v1.len(), 2);
        assert_eq!(found.v1[1].controllers, ["name=systemd"]);
    }

    #[test]
    fn a_v2_machine_has_one_tree() {
        let found = parse("30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup rw,nsdelegate\n");
        assert_eq!(found.unified.as_deref(), Some(Path::new("/sys/fs/cgroup")));
        assert!(found.v1.is_empty());
    }
}
