//! What a daemon may leave on a machine, looked for by the names it goes by.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::command::run;

/// How long the kernel may take to finish removals that are under way.
const GRACE: Duration = Duration::from_secs(10);

/// By what names the machine knows what one daemon made.
#[derive(Default)]
pub struct Marks {
    folder: PathBuf,
    /// Bridge and firewall table.
    pub bridge: String,
    /// Names of cgroups below `teu/`.
    cgroups: BTreeSet<String>,
    /// Interfaces on the bridge.
    interfaces: BTreeSet<String>,
}

impl Marks {
    /// Of the daemon with this run directory, somewhere below `folder`.
    pub fn new(folder: &Path, exec_root: &Path) -> Self {
        let digest = teu_oci::Digest::sha256(exec_root.as_os_str().as_encoded_bytes());
        Self { folder: folder.into(), bridge: format!("teu-{}", &digest.hex()[..8]), ..Self::default() }
    }

    /// Remembers what there is now, and containers of these ids.
    pub fn notice(&mut self, ids: Vec<String>) {
        self.cgroups.extend(ids.into_iter().filter(|id| !id.is_empty()));
        self.cgroups.extend(names_in(&self.folder.join("run/tasks")).into_iter().filter(|name| !name.starts_with('.')));
        self.cgroups.extend(self.processes().iter().flat_map(|pid| cgroups_of_process(*pid)));
        let ports = format!("/sys/class/net/{}/brif", self.bridge);
        self.interfaces.extend(names_in(Path::new(&ports)));
    }

    /// Processes that speak of the folder or are in a cgroup of ours.
    fn processes(&self) -> Vec<i32> {
        let own = self.folder.to_string_lossy().into_owned();
        let is_ours = |pid: &i32| {
            let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&words).contains(&own)
                || cgroups_of_process(*pid).iter().any(|name| self.cgroups.contains(name))
        };
        every_process().into_iter().filter(is_ours).collect()
    }

    /// What is there still, after a while for the kernel.
    pub fn leftovers(&self) -> Vec<String> {
        let deadline = Instant::now() + GRACE;
        loop {
            let found = self.look();
            if found.is_empty() || Instant::now() > deadline {
                return found;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn look(&self) -> Vec<String> {
        let mut found = vec![];
        for pid in self.processes() {
            let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            found.push(format!("process {pid} {}", String::from_utf8_lossy(&words).replace('\0', " ")));
        }
        found.extend(self.cgroups.iter().flat_map(|name| cgroup_of(name)).map(|path| format!("cgroup {path:?}")));
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let own = self.folder.to_string_lossy().into_owned();
        found.extend(mounts.lines().filter(|line| line.contains(&own)).map(|line| format!("mount {line}")));
        let links = names_in(Path::new("/sys/class/net"));
        let is_ours = |name: &&String| **name == self.bridge || self.interfaces.contains(*name);
        found.extend(links.iter().filter(is_ours).map(|name| format!("interface {name}")));
        if tables().contains(&self.bridge) {
            found.push(format!("firewall table {}", self.bridge));
        }
        found
    }

    /// Processes and mounts that speak of the folder, after a while for the kernel.
    pub fn leftovers_of_folder(&self) -> Vec<String> {
        let ours = |line: &String| line.starts_with("process") || line.starts_with("mount");
        let deadline = Instant::now() + GRACE;
        loop {
            let found: Vec<_> = self.look().into_iter().filter(ours).collect();
            if found.is_empty() || Instant::now() > deadline {
                return found;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Takes away by force what a failed test left.
    pub fn sweep(&self) {
        for pid in self.processes() {
            if let Some(pid) = Pid::from_raw(pid) {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
        for path in self.cgroups.iter().flat_map(|name| cgroup_of(name)) {
            let deadline = Instant::now() + GRACE;
            while fs::remove_dir(&path).is_err() && path.exists() && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        if Path::new("/sys/class/net").join(&self.bridge).exists() {
            run(Command::new("ip").args(["link", "delete", &self.bridge]));
        }
        if tables().contains(&self.bridge) {
            run(Command::new("nft").args(["delete", "table", "ip", &self.bridge]));
        }
    }
}

/// The firewall's tables.
fn tables() -> String {
    let listed = run(Command::new("nft").args(["list", "tables"]).env("PATH", PATH));
    assert_eq!(listed.code, 0, "nft list tables: {} (tools/setup test installs it)", listed.err);
    listed.out
}

/// System programs live in folders that not every user's PATH has.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The folders of the cgroup `teu/<name>`, in every hierarchy that has it.
pub fn cgroup_of(name: &str) -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let hierarchies = mounts.lines().filter(|line| line.contains(" - cgroup"));
    let points = hierarchies.filter_map(|line| line.split_whitespace().nth(4));
    points.map(|point| Path::new(point).join("teu").join(name)).filter(|path| path.exists()).collect()
}

/// The processes of the container `id`, by its cgroup.
pub fn processes_of(id: &str) -> Vec<i32> {
    let lists = cgroup_of(id).into_iter().map(|path| fs::read_to_string(path.join("cgroup.procs")).unwrap_or_default());
    let most = lists.max_by_key(|list| list.lines().count()).unwrap_or_default();
    most.lines().filter_map(|line| line.parse().ok()).collect()
}

/// The names below `teu/` of the cgroups that a process is in.
fn cgroups_of_process(pid: i32) -> Vec<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    let paths = text.lines().filter_map(|line| line.split_once(":/teu/").map(|(_, name)| name.to_owned()));
    paths.collect()
}

fn every_process() -> Vec<i32> {
    let own = std::process::id().to_string();
    names_in(Path::new("/proc")).iter().filter(|name| **name != own).filter_map(|name| name.parse().ok()).collect()
}

fn names_in(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}
