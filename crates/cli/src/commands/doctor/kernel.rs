//! The kernel: its version, what it was built with, its control groups.

use std::path::Path;

use super::{Finding, text};

const KERNEL: &str = "Kernel";
const CGROUPS: &str = "Control groups";

/// The oldest kernel that has every call teu makes: `mount_setattr` came with 5.12.
const OLDEST: (u32, u32) = (5, 12);
/// Since this one OverlayFS mounts layers whose owners are mapped.
const MAPPED_OVERLAYS: (u32, u32) = (5, 19);

pub(super) fn look() -> Vec<Finding> {
    let release = text("/proc/sys/kernel/osrelease");
    let mut findings = vec![version(release.trim())];
    let has = |name: &str| Path::new("/proc/self/ns").join(name).exists();
    findings.push(namespaces(has));
    let module = format!("/lib/modules/{}/kernel/fs/overlayfs", release.trim());
    findings.push(overlay(&text("/proc/filesystems"), Path::new(&module).exists()));
    findings.push(seccomp(&text("/proc/sys/kernel/seccomp/actions_avail")));
    findings.push(cgroups(
        &text("/proc/self/mountinfo"),
        &text("/sys/fs/cgroup/cgroup.controllers"),
        &text("/proc/cgroups"),
    ));
    findings
}

fn version(release: &str) -> Finding {
    let mut numbers = release.split(|char: char| !char.is_ascii_digit()).map(|number| number.parse().unwrap_or(0));
    let found = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if found < OLDEST {
        return Finding::bad(KERNEL, format!("Linux {release} is older than {}.{}", OLDEST.0, OLDEST.1))
            .mend("install a newer kernel: apt install linux-image-amd64");
    }
    match found < MAPPED_OVERLAYS {
        true => {
            Finding::warning(KERNEL, format!("Linux {release} cannot mount layers for a user namespace (5.19 can)"))
        }
        false => Finding::good(KERNEL, format!("Linux {release}")),
    }
}

fn namespaces(has: impl Fn(&str) -> bool) -> Finding {
    let missing: Vec<&str> =
        ["mnt", "pid", "uts", "ipc", "net", "cgroup", "user"].into_iter().filter(|name| !has(name)).collect();
    match missing.is_empty() {
        true => Finding::good(KERNEL, "namespaces: mnt, pid, uts, ipc, net, cgroup, user"),
        false => Finding::bad(KERNEL, format!("namespaces that this kernel was built without: {}", missing.join(", ")))
            .mend("install your distribution's own kernel"),
    }
}

fn overlay(filesystems: &str, module: bool) -> Finding {
    match filesystems.lines().any(|line| line.split_whitespace().last() == Some("overlay")) {
        true => Finding::good(KERNEL, "OverlayFS"),
        false if module => {
            Finding::warning(KERNEL, "OverlayFS is a module that is not loaded").mend("modprobe overlay")
        }
        false => Finding::bad(KERNEL, "OverlayFS is missing").mend("modprobe overlay, or another kernel"),
    }
}

fn seccomp(actions: &str) -> Finding {
    match actions.contains("errno") {
        true => Finding::good(KERNEL, "seccomp filters"),
        false => Finding::bad(KERNEL, "seccomp filters are missing: containers could make any system call")
            .mend("install your distribution's own kernel"),
    }
}

/// Which controllers are there, whichever the version.
fn cgroups(mounts: &str, unified: &str, known: &str) -> Finding {
    let mounted = |kind: &str| mounts.lines().any(|line| line.contains(&format!(" - {kind} ")));
    if !mounted("cgroup") && !mounted("cgroup2") {
        return Finding::bad(CGROUPS, "no control groups are mounted: limits cannot be set")
            .mend("mount -t cgroup2 none /sys/fs/cgroup");
    }
    let v2: Vec<&str> = unified.split_whitespace().collect();
    let v1 = |name: &str| {
        let mut rows = known.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        rows.any(|row| row.first() == Some(&name) && row.get(3) == Some(&"1"))
    };
    let pure = !mounted("cgroup");
    let wanted = [("cpu", "cpu"), ("memory", "memory"), ("pids", "pids"), ("io", "blkio"), ("cpuset", "cpuset")];
    let missing: Vec<&str> =
        wanted.into_iter().filter(|(new, old)| !v2.contains(new) && (pure || !v1(old))).map(|(new, _)| new).collect();
    let version = match (pure, mounted("cgroup2")) {
        (true, _) => "version 2",
        (false, true) => "version 1 and 2 (hybrid)",
        (false, false) => "version 1",
    };
    if missing.contains(&"memory") {
        return Finding::bad(CGROUPS, format!("{version}, without the memory controller: --memory cannot be set"))
            .mend("add cgroup_enable=memory to the kernel's command line and reboot");
    }
    match missing.is_empty() {
        true => Finding::good(CGROUPS, format!("{version}, with cpu, cpuset, io, memory and pids")),
        false => Finding::warning(CGROUPS, format!("{version}, without the controllers {}", missing.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    #[test]
    fn kernels_are_judged_by_their_version() {
        assert_eq!(version("4.19.0-amd64").state, State::Bad);
        assert_eq!(version("5.15.0-91-generic").state, State::Warning);
        assert_eq!(version("6.1.0-18-amd64").state, State::Good);
    }

    #[test]
    fn what_a_kernel_lacks_is_told() {
        assert!(namespaces(|name| name != "user").told.contains("user"));
        assert_eq!(overlay("nodev\tsysfs\nnodev\toverlay\n", false).state, State::Good);
        assert_eq!(overlay("nodev\tsysfs\n", true).mend.as_deref(), Some("modprobe overlay"));
        assert_eq!(overlay("", false).state, State::Bad);
        assert_eq!((seccomp("kill errno").state, seccomp("").state), (State::Good, State::Bad));
    }

    #[test]
    fn control_groups_are_told_in_each_version() {
        let v2 = "30 24 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        let v1 = "31 24 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";
        let known = "#subsys\nmemory 1 2 1\npids 1 2 1\ncpu 1 2 1\nblkio 1 2 1\ncpuset 1 2 1\n";
        assert!(cgroups(v2, "cpuset cpu io memory pids", "").told.starts_with("version 2, with"));
        assert_eq!(cgroups(v2, "cpu pids", "").state, State::Bad);
        assert!(cgroups(&format!("{v1}{v2}"), "", known).told.starts_with("version 1 and 2"));
        assert_eq!(cgroups(v1, "", &known.replace("memory 1 2 1", "memory 1 2 0")).state, State::Bad);
        assert_eq!(cgroups("", "", "").state, State::Bad);
    }
}
