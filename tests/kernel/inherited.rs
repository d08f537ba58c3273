//! `teu runtime` with a configuration that lists no mount namespace: the container is in the runtime's, and what was
//! mounted for it is gone with it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use rustix::process::Signal;
use serde_json::json;

use super::runtime::create;
use super::support::{Bundle, Running, eventually, run};

/// A bundle without a mount namespace.
fn bundle(script: &str) -> Bundle {
    let mut bundle = Bundle::new(script);
    let namespaces = bundle.config["linux"]["namespaces"].as_array_mut().expect("namespaces");
    namespaces.retain(|namespace| namespace["type"] != "mount");
    bundle
}

/// Lets the container mount and change its root.
fn empower(bundle: &mut Bundle) {
    for set in ["bounding", "effective", "permitted"] {
        let set = bundle.config["process"]["capabilities"][set].as_array_mut().expect("capabilities");
        set.extend(["CAP_SYS_ADMIN", "CAP_SYS_CHROOT"].map(|name| json!(name)));
    }
}

/// Where something is mounted at or below the bundle's root, as a process sees it.
fn mounted(bundle: &Bundle, pid: &str) -> Vec<String> {
    let table = fs::read_to_string(format!("/proc/{pid}/mountinfo")).expect("a mount table");
    let points = table.lines().filter_map(|line| line.split(' ').nth(4));
    points.filter(|point| Path::new(point).starts_with(bundle.rootfs())).map(str::to_owned).collect()
}

/// A mount whose mounts appear in another namespace too, and a process that is in that.
struct Peer {
    place: PathBuf,
    process: Child,
}

impl Peer {
    fn of(place: &Path) -> Self {
        let mount = |args: &[&str]| run(Command::new("mount").args(args).arg(place)).ok();
        mount(&["--bind", place.to_str().expect("a path")]);
        mount(&["--make-shared"]);
        let there = Command::new("unshare").args(["--mount", "--propagation", "unchanged", "sleep", "1000"]).spawn();
        let peer = Self { place: place.to_owned(), process: there.expect("unshare") };
        let own = fs::read_link("/proc/self/ns/mnt").expect("a namespace");
        let path = format!("/proc/{}/ns/mnt", peer.process.id());
        eventually("it has one of its own", || fs::read_link(&path).ok().filter(|link| *link != own));
        peer
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.process.kill().and_then(|()| self.process.wait());
        run(Command::new("umount").arg("--lazy").arg(&self.place));
    }
}

#[test]
fn a_container_without_a_mount_namespace_is_in_the_runtimes() {
    let mut bundle = bundle(
        "readlink /proc/self/ns/mnt; ls /; grep -c ' / /proc ' /proc/self/mountinfo; mount -t tmpfs none /tmp; \
         cat /proc/keys; (echo x >/proc/sys/kernel/hostname) 2>&1 | grep -c Read-only; echo up; read line",
    );
    empower(&mut bundle);
    let mut running = bundle.spawn();
    let own = fs::read_link("/proc/self/ns/mnt").expect("a namespace");
    let told = running.until("up\n");
    assert!(told.starts_with(own.to_str().expect("a name")), "{told}");
    assert!(told.contains("\nbin\ndev\netc\nproc\nrun\nsys\ntmp\n1\n1\nup\n"), "its own root and procfs: {told}");
    let seen = mounted(&bundle, "self");
    let at = |name: &str| bundle.rootfs().join(name).to_string_lossy().into_owned();
    for name in ["", "proc", "dev", "dev/pts", "proc/keys", "proc/sys", "tmp"] {
        let place = at(name);
        assert!(seen.contains(&place.trim_end_matches('/').to_owned()), "{name}: {seen:?}");
    }
    running.write("\n");
    assert_eq!(running.finish().code, 0);
    assert_eq!(mounted(&bundle, "self"), [""; 0]);
}

#[test]
fn what_enters_it_has_its_root_and_delete_takes_its_mounts_off() {
    let bundle = bundle("sleep 1000");
    create(&bundle);
    assert!(!mounted(&bundle, "self").is_empty());
    bundle.runtime(&["start", &bundle.id]).ok();
    fs::write(bundle.rootfs().join("etc/mark"), "the container's").expect("written");
    assert_eq!(bundle.exec("cat /etc/mark; readlink /proc/1/root; ls /proc/1/root/etc"), "the container's/\nmark");
    let terminal = bundle.runtime(&["exec", "--tty", &bundle.id, "sh", "-c", "tty; pwd; ls /etc"]).ok();
    assert_eq!(terminal.split_whitespace().collect::<Vec<_>>(), ["/dev/pts/0", "/", "mark"]);
    let refused = bundle.runtime(&["checkpoint", &bundle.id]);
    assert!(refused.code == 1 && refused.err.contains("cannot be checkpointed"), "{}", refused.err);
    bundle.runtime(&["kill", &bundle.id, "KILL"]).ok();
    eventually("it stops", || (bundle.state("status") == "stopped").then_some(()));
    assert!(!mounted(&bundle, "self").is_empty(), "what the container has left is deleted with it");
    bundle.runtime(&["delete", &bundle.id]).ok();
    assert_eq!(mounted(&bundle, "self"), [""; 0]);
}

#[test]
fn what_comes_to_nothing_leaves_nothing_mounted() {
    let mut bundle = bundle("true");
    bundle.config["process"]["args"] = json!(["nope"]);
    assert_eq!((bundle.run().code, mounted(&bundle, "self")), (1, vec![]));
    create_fails(&bundle, "executable file not found");
    bundle.config["process"]["args"] = json!(["true"]);
    bundle.config["hooks"] = json!({ "createContainer": [{ "path": "/bin/false" }] });
    create_fails(&bundle, "createContainer");
    bundle.config["hooks"] = json!({ "poststart": [{ "path": "/bin/false" }] });
    assert_eq!((bundle.run().code, mounted(&bundle, "self")), (1, vec![]));
    bundle.config["hooks"] = json!({});
    let socket = bundle.path().join("nobody");
    let ran = bundle.runtime(&["create", "--pidfd-socket", socket.to_str().expect("a path"), &bundle.id]);
    assert_eq!((ran.code, mounted(&bundle, "self")), (1, vec![]));
}

#[track_caller]
fn create_fails(bundle: &Bundle, words: &str) {
    let ran = bundle.runtime(&["create", &bundle.id]);
    assert!(ran.code == 1 && ran.err.contains(words), "{}", ran.err);
    assert_eq!(mounted(bundle, "self"), [""; 0]);
}

/// Between the mounts and the record of them, a runtime waits for a console that has no time for it.
#[test]
fn a_runtime_that_is_killed_while_it_makes_one_leaves_nothing_mounted() {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, bind, connect, listen, socket};
    let mut bundle = bundle("sleep 1000");
    bundle.config["process"]["terminal"] = json!(true);
    let path = bundle.path().join("console");
    let address = SocketAddrUnix::new(&path).expect("an address");
    let stream = || socket(AddressFamily::UNIX, SocketType::STREAM, None).expect("a socket");
    let (console, first) = (stream(), stream());
    bind(&console, &address).and_then(|()| listen(&console, 0)).expect("bound");
    connect(&first, &address).expect("the only one to wait");
    let console_socket = path.to_str().expect("a path");
    let creating = Running::spawn(&mut bundle.command(&["create", "--console-socket", console_socket, &bundle.id]));
    eventually("its tree is shown", || mounted(&bundle, "self").len().checked_sub(3));
    assert!(!bundle.path().join("state").join(&bundle.id).join("state.json").exists());
    creating.signal(Signal::KILL);
    eventually("what it had mounted is gone", || mounted(&bundle, "self").is_empty().then_some(()));
}

#[test]
fn none_of_its_mounts_appears_in_another_namespace_and_the_hosts_stay_as_they_were() {
    let mut bundle = bundle("grep -c -e shared: -e master: /proc/self/mountinfo; read line");
    let shared = bundle.path().to_owned();
    let peer = Peer::of(&shared);
    let there = peer.process.id().to_string();
    let above = || {
        let table = fs::read_to_string("/proc/self/mountinfo").expect("a mount table");
        let line = table.lines().find(|line| line.split(' ').nth(4) == shared.to_str()).map(str::to_owned);
        line.expect("the mount of the bundle")
    };
    let before = above();
    bundle.config["linux"]["rootfsPropagation"] = json!("private");
    create(&bundle);
    assert_eq!(above(), before);
    let seen = mounted(&bundle, &there);
    assert_eq!(seen, [bundle.rootfs().to_str().expect("a path")], "the directory over itself, and nothing on it");
    bundle.runtime(&["delete", "--force", &bundle.id]).ok();
    assert!(mounted(&bundle, "self").is_empty() && mounted(&bundle, &there).is_empty());
    assert_eq!(above(), before);
    let mut running = bundle.spawn();
    assert_eq!(running.line(), "0", "each is private, as the configuration has it");
    running.write("\n");
    assert_eq!(running.finish().code, 0);
}

#[test]
fn what_others_have_mounted_over_it_is_not_touched() {
    let bundle = bundle("sleep 1000");
    create(&bundle);
    let root = bundle.rootfs();
    run(Command::new("mount").args(["-t", "tmpfs", "of-another"]).arg(&root)).ok();
    let refused = bundle.runtime(&["delete", &bundle.id]);
    assert!(refused.code == 1 && refused.err.contains("something else is mounted over it"), "{}", refused.err);
    run(Command::new("umount").arg(&root)).ok();
    bundle.runtime(&["delete", &bundle.id]).ok();
    assert_eq!(mounted(&bundle, "self"), [""; 0]);
    // What somebody has taken off already is no obstacle.
    create(&bundle);
    run(Command::new("umount").args(["--lazy"]).arg(&root)).ok();
    bundle.runtime(&["delete", &bundle.id]).ok();
    assert_eq!(mounted(&bundle, "self"), [""; 0]);
}

#[test]
fn what_cannot_be_in_the_runtimes_mount_namespace_is_refused() {
    let mut bundle = bundle("sleep 1000");
    create(&bundle);
    let second = bundle.runtime(&["create", "second"]);
    assert!(second.code == 1 && second.err.contains("has the same root: delete it first"), "{}", second.err);
    bundle.runtime(&["delete", "--force", &bundle.id]).ok();
    let mounts = bundle.config["mounts"].clone();
    let tmpfs = json!({ "destination": "/mnt", "type": "tmpfs", "source": "none", "options": ["unbindable"] });
    bundle.config["mounts"].as_array_mut().expect("mounts").push(tmpfs);
    create_fails(&bundle, "mount /mnt: an unbindable mount takes a mount namespace of the container's own");
    bundle.config["mounts"] = mounts;
    bundle.config["linux"]["namespaces"].as_array_mut().expect("namespaces").push(json!({ "type": "user" }));
    let map = json!([{ "containerID": 0, "hostID": 200_000, "size": 1000 }]);
    bundle.config["linux"]["uidMappings"] = map.clone();
    bundle.config["linux"]["gidMappings"] = map;
    create_fails(&bundle, "with a user namespace the container may not mount");
}
