//! Namespaces, capabilities, descriptors, paths: what a container sees of the machine and may do to it.

use std::fs;

use super::support::{Daemon, eventually, processes_of};

const KINDS: [&str; 6] = ["mnt", "pid", "uts", "ipc", "net", "cgroup"];

fn namespace(pid: &str, kind: &str) -> String {
    fs::read_link(format!("/proc/{pid}/ns/{kind}")).expect("namespace").display().to_string()
}

#[test]
fn six_namespaces_are_the_containers_own() {
    let daemon = Daemon::start();
    let inside = daemon.sh("for kind in mnt pid uts ipc net cgroup; do readlink /proc/self/ns/$kind; done");
    let host: Vec<_> = KINDS.iter().map(|kind| namespace("self", kind)).collect();
    let inside: Vec<_> = inside.lines().collect();
    assert_eq!(inside.len(), 6);
    for (inside, host) in inside.iter().zip(&host) {
        assert_ne!(inside, host);
    }
}

#[test]
fn network_host_shares_the_hosts_network_namespace_and_no_other() {
    let daemon = Daemon::start();
    let script = "readlink /proc/self/ns/net; readlink /proc/self/ns/pid; hostname";
    let told = daemon.ok(["run", "--rm", "--network", "host", "busybox", "sh", "-c", script]);
    let told: Vec<_> = told.lines().collect();
    assert_eq!(told[0], namespace("self", "net"));
    assert_ne!(told[1], namespace("self", "pid"));
    assert_eq!(told[2], fs::read_to_string("/proc/sys/kernel/hostname").expect("name").trim());
}

#[test]
fn the_program_is_process_one_and_sees_no_other() {
    let daemon = Daemon::start();
    // By the shell alone: of a pipeline's programs one may look before the other is there.
    let told = daemon.sh("echo $$; set -- /proc/[0-9]*; echo $#");
    assert_eq!(told, "1\n1");
}

#[test]
fn killing_the_first_process_ends_every_process_in_the_container() {
    let daemon = Daemon::start();
    let script = "for i in 1 2 3 4 5; do (setsid sleep 1000 &) ; setsid sleep 1000 & done; echo up; wait";
    let id = daemon.ok(["run", "-d", "--name", "many", "busybox", "sh", "-c", script]);
    daemon.spawn(["logs", "-f", "many"]).until("up");
    // The shell, and ten sleepers in sessions of their own.
    let all = eventually("eleven processes", || Some(processes_of(&id)).filter(|all| all.len() == 11));
    let first: i32 = daemon.inspect("many", "{{.State.Pid}}").parse().expect("a number");
    assert!(all.contains(&first));
    daemon.ok(["kill", "many"]);
    assert_eq!(daemon.ok(["wait", "many"]), "137");
    assert_eq!(processes_of(&id), [0; 0]);
    let alive =
        all.iter().filter(|pid| fs::read_to_string(format!("/proc/{pid}/cgroup")).is_ok_and(|t| t.contains(&id)));
    assert_eq!(alive.count(), 0);
}

#[test]
fn capabilities_are_exactly_dockers_fourteen() {
    let daemon = Daemon::start();
    let told = daemon.sh("grep Cap /proc/self/status | cut -f 2");
    // Inheritable, permitted, effective, bounding, ambient.
    let set = "00000000a80425fb";
    assert_eq!(told.lines().collect::<Vec<_>>(), ["0000000000000000", set, set, set, "0000000000000000"]);
}

#[test]
fn a_user_other_than_root_has_no_capability() {
    let daemon = Daemon::start();
    let script = "id -u; id -g; id -G; grep -E 'Cap(Inh|Prm|Eff|Amb)' /proc/self/status | cut -f 2 | sort -u";
    let told = daemon.ok(["run", "--rm", "--network", "none", "-u", "1234:567", "busybox", "sh", "-c", script]);
    assert_eq!(told, "1234\n567\n567\n0000000000000000");
}

#[test]
fn capabilities_are_added_and_dropped_by_name() {
    let daemon = Daemon::start();
    let line = [
        "run",
        "--rm",
        "--cap-drop",
        "ALL",
        "--cap-add",
        "NET_ADMIN",
        "busybox",
        "grep",
        "CapEff",
        "/proc/self/status",
    ];
    assert!(daemon.ok(line).ends_with("0000000000001000"));
}

#[test]
fn an_exec_has_no_more_capabilities_than_the_container() {
    let daemon = Daemon::start();
    daemon.ok(["run", "-d", "--name", "box", "busybox", "sleep", "1000"]);
    let told = daemon.ok(["exec", "box", "sh", "-c", "grep Cap /proc/self/status | cut -f 2"]);
    let set = "00000000a80425fb";
    assert_eq!(told.lines().collect::<Vec<_>>(), ["0000000000000000", set, set, set, "0000000000000000"]);
}

#[test]
fn no_descriptor_above_two_reaches_the_container() {
    let daemon = Daemon::start();
    // The listing's own descriptor is the one above 2.
    assert_eq!(daemon.sh("ls /proc/self/fd").split_whitespace().collect::<Vec<_>>(), ["0", "1", "2", "3"]);
    daemon.ok(["run", "-d", "--name", "box", "busybox", "sleep", "1000"]);
    let listed = daemon.ok(["exec", "box", "ls", "/proc/self/fd"]);
    assert_eq!(listed.split_whitespace().collect::<Vec<_>>(), ["0", "1", "2", "3"]);
    assert_eq!(daemon.ok(["exec", "box", "ls", "/proc/1/fd"]).split_whitespace().collect::<Vec<_>>(), ["0", "1", "2"]);
}

#[test]
fn masked_paths_tell_nothing_and_kernel_settings_cannot_be_written() {
    let daemon = Daemon::start();
    let script = "for path in kcore keys timer_list sched_debug; do
            if [ -e /proc/$path ]; then wc -c < /proc/$path; fi
        done | sort -u
        ls -A /sys/firmware | wc -l
        ls -A /proc/acpi /proc/scsi 2>/dev/null | grep -v : | grep -c .
        for path in /proc/sys/kernel/hostname /proc/sysrq-trigger /sys/fs/cgroup/x /proc/bus/x; do
            (echo 1 > $path) 2>/dev/null && echo wrote $path
        done
        echo end";
    assert_eq!(daemon.sh(script), "0\n0\n0\nend");
}

#[test]
fn mounting_and_making_namespaces_are_refused() {
    let daemon = Daemon::start();
    let script = "mount -t tmpfs none /mnt 2>/dev/null && echo mounted
        mount -o remount,rw /sys 2>/dev/null && echo remounted
        unshare -U true 2>/dev/null && echo unshared
        mknod /tmp/disk b 8 0 && cat /tmp/disk 2>/dev/null && echo opened
        grep Seccomp: /proc/self/status | cut -f 2";
    assert_eq!(daemon.sh(script), "2");
}

#[test]
fn devices_are_the_harmless_ones() {
    let daemon = Daemon::start();
    let listed = daemon.sh("ls /dev");
    let listed: Vec<_> = listed.split_whitespace().collect();
    let expected = [
        "fd", "full", "mqueue", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin", "stdout", "tty", "urandom",
        "zero",
    ];
    assert_eq!(listed, expected);
    assert_eq!(
        daemon.sh("echo gone > /dev/null && head -c 4 /dev/zero | wc -c && head -c 4 /dev/urandom | wc -c"),
        "4\n4"
    );
}

#[test]
fn the_hostname_is_the_short_id_or_what_was_asked_for() {
    let daemon = Daemon::start();
    let id = daemon.ok(["create", "--name", "one", "busybox", "hostname"]);
    assert_eq!(daemon.ok(["start", "-a", "one"]), id[..12]);
    // An address of each family that the host has.
    let script = "hostname; cat /etc/hostname; cut -f 2 /etc/hosts | grep -x web | sort -u";
    assert_eq!(daemon.ok(["run", "--rm", "--hostname", "web", "busybox", "sh", "-c", script]), "web\nweb\nweb");
}

#[test]
fn the_cgroup_is_the_root_of_what_the_container_sees() {
    let daemon = Daemon::start();
    let told = daemon.sh("cut -d : -f 3 /proc/self/cgroup | sort -u");
    assert!(told.lines().all(|path| path == "/" || path.starts_with("/..")), "{told}");
    assert!(told.lines().any(|path| path == "/"), "{told}");
    assert!(!told.contains("/teu/"), "{told}");
}

#[test]
fn privileged_means_every_capability_and_no_filter() {
    let daemon = Daemon::start();
    let script = "mount -t tmpfs none /mnt && echo mounted; grep Seccomp: /proc/self/status | cut -f 2";
    let told = daemon.ok(["run", "--rm", "--privileged", "busybox", "sh", "-c", &format!("mkdir -p /mnt; {script}")]);
    assert_eq!(told, "mounted\n0");
}

#[test]
fn no_port_and_no_echo_request_is_a_privilege_in_a_network_of_its_own() {
    let daemon = Daemon::start();
    let script = "cd /proc/sys/net/ipv4; cat ip_unprivileged_port_start ping_group_range";
    assert_eq!(daemon.sh(script), "0\n0\t2147483647");
    let other = ["run", "--rm", "--sysctl", "net.ipv4.ip_unprivileged_port_start=99", "busybox", "sh", "-c", script];
    assert_eq!(daemon.ok(other), "99\n0\t2147483647");
    let host = daemon.ok(["run", "--rm", "--network", "host", "busybox", "sh", "-c", script]);
    let own = |name: &str| fs::read_to_string(format!("/proc/sys/net/ipv4/{name}")).expect("read").trim().to_owned();
    assert_eq!(host, format!("{}\n{}", own("ip_unprivileged_port_start"), own("ping_group_range")));
}

#[test]
fn a_privileged_container_has_the_hosts_devices_and_obeys_a_filter_that_was_asked_for() {
    let daemon = Daemon::start();
    let script = "ls -l /dev/mem /dev/kmsg 2>/dev/null | wc -l; test -c /dev/null && test -L /dev/ptmx && echo own";
    assert_eq!(daemon.sh(script).lines().last(), Some("own"));
    let there = ["/dev/mem", "/dev/kmsg"].iter().filter(|path| fs::symlink_metadata(path).is_ok()).count();
    let told = daemon.ok(["run", "--rm", "--privileged", "busybox", "sh", "-c", script]);
    assert_eq!(told, format!("{there}\nown"));
    let filter = daemon.folder().join("filter.json");
    let text = r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["chown","fchownat","lchown"],"action":"SCMP_ACT_ERRNO"}]}"#;
    fs::write(&filter, text).expect("written");
    let filter = format!("seccomp={}", filter.display());
    let line = ["run", "--rm", "--privileged", "--security-opt", &filter, "busybox", "chown", "1", "/tmp"];
    daemon.teu(line).refused(1, &["Operation not permitted"]);
}

#[test]
fn cgroups_can_be_written_to_only_when_that_is_asked_for() {
    let daemon = Daemon::start();
    let script = "cd /sys/fs/cgroup; cd pids 2>/dev/null; mkdir below && rmdir below && echo made";
    let run = |option: &str| daemon.teu(["run", "--rm", "--security-opt", option, "busybox", "sh", "-c", script]);
    run("writable-cgroups=false").refused(1, &["Read-only file system"]);
    assert_eq!(run("writable-cgroups=true").ok().trim(), "made");
    let all =
        ["run", "--rm", "--privileged", "--security-opt", "writable-cgroups=false", "busybox", "sh", "-c", script];
    daemon.teu(all).refused(1, &["Read-only file system"]);
    run("writable-cgroups=maybe").refused(125, &["invalid --security-opt 2: \"writable-cgroups=maybe\""]);
}
