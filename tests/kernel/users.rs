//! A user namespace for each container, and a first process that looks after the others.

use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;

use super::support::{Daemon, eventually};

/// Whether this kernel can: where it cannot, what is promised is a refusal that says so, and that is looked at.
pub(crate) fn possible(daemon: &Daemon) -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").expect("the kernel's release");
    let mut numbers = release.split('.').map_while(|part| part.parse::<u32>().ok());
    let new = (numbers.next(), numbers.next()) >= (Some(6), Some(15));
    if !new {
        daemon.teu(["run", "--rm", "--userns", "auto", "busybox", "true"]).refused(125, &["takes Linux 6.15 or newer"]);
    }
    new
}

#[test]
fn a_container_has_a_range_of_the_hosts_ids_of_its_own() {
    let daemon = Daemon::start();
    if !possible(&daemon) {
        return;
    }
    let start = |name: &str| {
        daemon.ok(["run", "-d", "--name", name, "--userns", "auto", "busybox", "sleep", "1000"]);
        let pid = daemon.inspect(name, "{{.State.Pid}}");
        let map = fs::read_to_string(format!("/proc/{pid}/uid_map")).expect("a map");
        map.split_whitespace().map(|word| word.parse::<u32>().expect("a number")).collect::<Vec<_>>()
    };
    let (one, two) = (start("one"), start("two"));
    assert_eq!((one[0], one[2], two[0], two[2]), (0, 65536, 0, 65536));
    assert!(one[1] >= 1 << 30 && one[1].abs_diff(two[1]) >= 65536, "{one:?} {two:?}");
    assert_eq!(daemon.inspect("one", "{{.HostConfig.UsernsMode}}"), "auto");
    assert_eq!(daemon.ok(["exec", "-u", "1000", "one", "id", "-u"]), "1000");
}

#[test]
fn owners_are_as_they_look_inside_on_disk_too() {
    let daemon = Daemon::start();
    if !possible(&daemon) {
        return;
    }
    let shared = daemon.folder().join("shared");
    fs::create_dir(&shared).expect("folder");
    fs::write(shared.join("given"), "x").expect("a file");
    let volume = format!("{}:/shared", shared.display());
    let script =
        "stat -c %u /bin/busybox /shared/given /etc/hosts; touch /shared/made /made; chown 5:6 /shared/made /made";
    let line = ["run", "--name", "box", "--userns", "auto", "-v", &volume, "busybox", "sh", "-c", script];
    assert_eq!(daemon.ok(line), "0\n0\n0");
    let made = fs::metadata(shared.join("made")).expect("made");
    assert_eq!((made.uid(), made.gid()), (5, 6));
    daemon.ok(["commit", "box", "copy"]);
    assert_eq!(daemon.ok(["run", "--rm", "--network", "none", "copy", "stat", "-c", "%u:%g", "/made"]), "5:6");
}

#[test]
fn a_user_namespace_gives_no_right_on_the_host() {
    let daemon = Daemon::start();
    if !possible(&daemon) {
        return;
    }
    let secret = daemon.folder().join("secret");
    fs::write(&secret, "x").expect("a file");
    fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("chmod");
    let script = "id -u; hostname x && echo named; mknod /tmp/disk b 254 0 && echo made; mount -t tmpfs t /tmp && echo mounted; \
                  echo 1 >/proc/sys/kernel/panic && echo set; true";
    let told =
        daemon.ok(["run", "--rm", "--userns", "auto", "busybox", "sh", "-c", &format!("({script}) 2>/dev/null")]);
    assert_eq!(told, "0");
}

#[test]
fn what_is_to_act_on_the_host_shares_its_ids_and_says_so() {
    let daemon = Daemon::start();
    for (name, flag) in [("privileged", "--privileged"), ("net", "--network=host"), ("pid", "--pid=host")] {
        daemon.ok(["create", "--name", name, "--userns", "auto", flag, "busybox", "true"]);
        assert_eq!(daemon.inspect(name, "{{.HostConfig.UsernsMode}}"), "host", "{name}");
    }
    let refused = daemon.teu(["create", "--userns", "nomap", "busybox", "true"]);
    assert!(refused.code != 0 && refused.err.contains("invalid USER mode"), "{}", refused.err);
}

#[test]
fn kept_ids_are_those_of_whoever_asks() {
    let daemon = Daemon::start();
    if !possible(&daemon) {
        return;
    }
    let shared = daemon.folder().join("shared");
    fs::create_dir(&shared).expect("folder");
    std::os::unix::fs::chown(&shared, Some(1234), Some(4321)).expect("chown");
    let volume = format!("{}:/shared", shared.display());
    let keep = "keep-id:uid=1234,gid=4321";
    let line = ["run", "--rm", "--userns", keep, "-v", &volume, "busybox", "sh", "-c", "id -u; id -g; touch /shared/x"];
    assert_eq!(daemon.ok(line), "1234\n4321");
    let made = fs::metadata(shared.join("x")).expect("made");
    assert_eq!((made.uid(), made.gid()), (1234, 4321));
    daemon.ok(["run", "-d", "--name", "mine", "--userns", "keep-id", "busybox", "sleep", "1000"]);
    assert_eq!(daemon.inspect("mine", "{{.HostConfig.UsernsMode}} {{.Config.User}}"), "keep-id:uid=0,gid=0 0:0");
    let pid = daemon.inspect("mine", "{{.State.Pid}}");
    assert_ne!(fs::metadata(format!("/proc/{pid}")).expect("the process").uid(), 0);
    assert_eq!(daemon.ok(["run", "--rm", "--userns", keep, "-u", "7", "busybox", "id", "-u"]), "7");
}

/// Ids that a user of the test's is given while this is there.
struct Given(String);

impl Given {
    const FILES: [&str; 2] = ["/etc/subuid", "/etc/subgid"];

    fn new(first: u32) -> Self {
        let name = format!("teu-test-{}", std::process::id());
        for file in Self::FILES {
            let mut file = fs::OpenOptions::new().append(true).create(true).open(file).expect("opened");
            file.write_all(format!("{name}:{first}:65536\n").as_bytes()).expect("written");
        }
        Self(name)
    }
}

impl Drop for Given {
    fn drop(&mut self) {
        for file in Self::FILES {
            let text = fs::read_to_string(file).expect("read");
            let kept: String = text.split_inclusive('\n').filter(|line| !line.starts_with(&self.0)).collect();
            fs::write(file, kept).expect("written");
        }
    }
}

#[test]
fn a_daemons_containers_have_the_subordinate_ids_of_a_user() {
    let given = Given::new(0x7000_0000);
    let daemon = Daemon::with(&["--userns-remap", &given.0]);
    daemon.load();
    if !possible(&daemon) {
        return;
    }
    assert!(daemon.ok(["info", "--format", "{{.SecurityOptions}}"]).contains("name=userns"));
    let script = "cat /proc/self/uid_map; touch /made; chown 1000:1001 /made";
    let map = daemon.ok(["run", "--name", "box", "busybox", "sh", "-c", script]);
    assert_eq!(map.split_whitespace().collect::<Vec<_>>(), ["0", "1879048192", "65536"]);
    daemon.ok(["commit", "box", "copy"]);
    assert_eq!(daemon.ok(["run", "--rm", "copy", "stat", "-c", "%u:%g", "/made"]), "1000:1001");
    let host = daemon.ok(["run", "--rm", "--userns", "host", "--privileged", "copy", "stat", "-c", "%u:%g", "/made"]);
    assert_eq!(host, "1000:1001");
    daemon.teu(["run", "--rm", "--privileged", "busybox", "true"]).refused(125, &["incompatible with user namespaces"]);
    daemon.teu(["run", "--rm", "--pid", "host", "busybox", "true"]).refused(125, &["--userns host"]);
}

#[test]
fn ids_of_their_own_are_one_line_of_configuration() {
    let folder = tempfile::tempdir().expect("folder");
    let file = folder.path().join("daemon.json");
    fs::write(&file, r#"{"default-userns-mode": "auto"}"#).expect("written");
    let daemon = Daemon::with(&["--config-file", file.to_str().expect("path")]);
    daemon.load();
    if !possible(&daemon) {
        return;
    }
    let map = |flags: &[&str]| {
        let line = [&["run", "--rm"], flags, &["busybox", "cat", "/proc/self/uid_map"]].concat();
        let map = daemon.ok(line);
        map.split_whitespace().nth(1).expect("a map").to_owned()
    };
    assert_ne!(map(&[]), "0");
    assert_eq!(map(&["--userns", "host"]), "0");
    assert_eq!(map(&["--network", "host"]), "0");
}

#[test]
fn init_reaps_orphans_hands_signals_on_and_ends_as_the_program_does() {
    let daemon = Daemon::start();
    assert_eq!(daemon.teu(["run", "--rm", "--init", "busybox", "sh", "-c", "exit 7"]).code, 7);
    assert_eq!(daemon.teu(["run", "--rm", "--init", "busybox", "sh", "-c", "kill -KILL $$"]).code, 137);
    assert_eq!(daemon.teu(["run", "--rm", "--init", "busybox", "nope"]).code, 127);
    // The orphan's parent is the first process, which never waits for it by itself.
    let script = "trap 'exit 3' TERM; (sleep 0.1 & echo $! >/orphan); echo up; while :; do sleep 0.1; done";
    daemon.ok(["run", "-d", "--name", "box", "--init", "busybox", "sh", "-c", script]);
    daemon.spawn(["logs", "-f", "box"]).until("up");
    let orphan = "pid=$(cat /orphan); [ -e /proc/$pid ] || echo reaped";
    eventually("the orphan is reaped", || (daemon.ok(["exec", "box", "sh", "-c", orphan]) == "reaped").then_some(()));
    // Its name, its rights and its filter are not the supervisor's.
    let told = daemon.ok([
        "exec",
        "box",
        "sh",
        "-c",
        "tr '\\0' ' ' </proc/1/cmdline; grep -E 'CapEff|Seccomp:' /proc/1/status",
    ]);
    assert!(told.starts_with("init") && told.contains("00000000a80425fb") && told.contains("Seccomp:\t2"), "{told}");
    let refused = daemon.ok(["exec", "box", "sh", "-c", "ls /proc/1/fd /proc/1/exe 2>/dev/null; true"]);
    assert!(!refused.contains('3'), "{refused}");
    daemon.ok(["stop", "box"]);
    assert_eq!(daemon.inspect("box", "{{.State.ExitCode}}"), "3");
}
