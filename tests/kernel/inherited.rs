//! `teu runtime` with a configuration that lists no mount namespace: the container is in the runtime's, and what was
//! mounted for it is gone with it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use rustix::process::Signal;
use serde_json::json;

use super::runtime::{create, create_as};
use super::support::{Bundle, Running, TEU, eventually, processes_of, run};

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

/// Between the mounts and the record of the container, a runtime waits for a console that has no time for it.
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
    let create = || {
        let command = &mut bundle.command(&["create", "--console-socket", console_socket, &bundle.id]);
        let creating = Running::spawn(command);
        eventually("its tree is shown", || mounted(&bundle, "self").len().checked_sub(3));
        assert!(!bundle.path().join("state").join(&bundle.id).join("state.json").exists());
        creating
    };
    create().signal(Signal::KILL);
    eventually("what it had mounted is gone", || mounted(&bundle, "self").is_empty().then_some(()));
    bundle.runtime(&["delete", "--force", &bundle.id]).ok();
    // With its first process, which would have done that, at the same moment.
    let creating = create();
    creating.signal(Signal::STOP);
    for pid in processes_of(&bundle.id) {
        let pid = rustix::process::Pid::from_raw(pid).expect("a number");
        rustix::process::kill_process(pid, Signal::KILL).expect("killed");
    }
    creating.signal(Signal::KILL);
    creating.finish();
    assert!(!mounted(&bundle, "self").is_empty());
    bundle.runtime(&["delete", "--force", &bundle.id]).ok();
    assert_eq!(mounted(&bundle, "self"), [""; 0]);
}

/// Numbers of mounts are given again at once, to the next one here.
#[test]
fn a_container_whose_mounts_are_gone_takes_off_nothing_of_the_next() {
    let bundle = bundle("sleep 1000");
    create(&bundle);
    bundle.runtime(&["kill", &bundle.id, "KILL"]).ok();
    let root = bundle.rootfs();
    while !mounted(&bundle, "self").is_empty() {
        run(Command::new("umount").arg("--lazy").arg(&root)).ok();
    }
    let next = format!("{}-next", bundle.id);
    create_as(&bundle, &next);
    bundle.runtime(&["start", &next]).ok();
    let before = mounted(&bundle, "self");
    bundle.runtime(&["delete", &bundle.id]).ok();
    assert_eq!(mounted(&bundle, "self"), before);
    assert_eq!(bundle.runtime(&["exec", &next, "ls", "/proc/1/root"]).ok().lines().next(), Some("bin"));
    bundle.runtime(&["delete", "--force", &next]).ok();
    assert_eq!(mounted(&bundle, "self"), [""; 0]);
}

#[test]
fn a_directory_that_is_mounted_over_itself_is_nobodys_container() {
    let bundle = bundle("echo fine");
    let place = bundle.path().to_owned();
    let peers = [Peer::of(&place), Peer::of(&place)];
    assert_eq!(bundle.run().ok(), "fine");
    assert_eq!(mounted(&bundle, "self"), [""; 0]);
    drop(peers);
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

/// What the container is given of the host both ways stays the host's.
#[test]
fn nothing_of_the_hosts_is_taken_off_with_it() {
    let mut bundle = bundle("mount -t tmpfs of-container /volume/own && sleep 1000");
    empower(&mut bundle);
    let volume = bundle.outside("volume");
    for name in ["before", "later", "own"] {
        fs::create_dir(volume.join(name)).expect("a folder");
    }
    let peer = Peer::of(&volume);
    let mount = |name: &str| run(Command::new("mount").args(["-t", "tmpfs", name]).arg(volume.join(name))).ok();
    mount("before");
    bundle.bind(&volume, "/volume", &["rbind", "rshared"]);
    let names = || {
        let table = fs::read_to_string("/proc/self/mountinfo").expect("a mount table");
        let points = table.lines().filter_map(|line| line.split(' ').nth(4)).map(Path::new);
        let below = points.filter_map(|point| point.strip_prefix(&volume).ok().map(Path::to_owned));
        below.map(|point| point.to_string_lossy().into_owned()).collect::<Vec<_>>()
    };
    create(&bundle);
    bundle.runtime(&["start", &bundle.id]).ok();
    eventually("the container has mounted", || names().contains(&"own".to_owned()).then_some(()));
    mount("later");
    bundle.runtime(&["delete", "--force", &bundle.id]).ok();
    assert_eq!((names(), mounted(&bundle, "self")), (["", "before", "own", "later"].map(String::from).into(), vec![]));
    bundle.config["process"]["args"] = json!(["nope"]);
    assert_eq!((bundle.run().code, names().len()), (1, 4), "nor with one that comes to nothing");
    for name in ["own", "later", "before"] {
        run(Command::new("umount").arg(volume.join(name))).ok();
    }
    drop(peer);
}

#[test]
fn what_was_mounted_on_it_goes_with_it_and_what_hides_it_is_not_touched() {
    let mut bundle = bundle("mount -t tmpfs of-container / && exit 7");
    empower(&mut bundle);
    assert_eq!((bundle.run().code, mounted(&bundle, "self")), (7, vec![]));
    create(&bundle);
    let root = bundle.rootfs();
    run(Command::new("mount").args(["-t", "tmpfs", "of-another"]).arg(&root)).ok();
    bundle.runtime(&["delete", &bundle.id]).ok();
    assert_eq!(mounted(&bundle, "self"), [""; 0]);
    create(&bundle);
    let state = bundle.path().join("state");
    run(Command::new("mount").args(["-t", "tmpfs", "of-another"]).arg(bundle.path())).ok();
    fs::create_dir(&state).expect("a folder");
    run(Command::new("umount").arg("--lazy").arg(bundle.path())).ok();
    bundle.runtime(&["delete", &bundle.id]).ok();
    // What somebody has taken off already is no obstacle, and what they have put there since is theirs.
    create(&bundle);
    while !mounted(&bundle, "self").is_empty() {
        run(Command::new("umount").arg("--lazy").arg(&root)).ok();
    }
    run(Command::new("mount").args(["-t", "tmpfs", "of-another"]).arg(&root)).ok();
    bundle.runtime(&["delete", &bundle.id]).ok();
    assert_eq!(mounted(&bundle, "self"), [root.to_str().expect("a path")]);
    run(Command::new("umount").arg(&root)).ok();
}

#[test]
fn from_another_mount_namespace_it_is_entered_and_deleted_all_the_same() {
    let bundle = bundle("sleep 1000");
    fs::write(bundle.rootfs().join("etc/mark"), "the container's").expect("written");
    create(&bundle);
    bundle.runtime(&["start", &bundle.id]).ok();
    let elsewhere = |args: &[&str]| {
        let own = bundle.command(args);
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private"]).arg(own.get_program()).args(own.get_args());
        run(command.current_dir(bundle.path()))
    };
    assert_eq!(elsewhere(&["exec", &bundle.id, "sh", "-c", "cat /etc/mark; ls /"]).ok(), INSIDE);
    // Where nobody of its namespace can be seen, nobody says that it is gone.
    let own = bundle.command(&["delete", "--force", &bundle.id]);
    let mut blind = Command::new("unshare");
    blind.args(["--mount", "--propagation", "private", "--pid", "--fork", "--mount-proc"]);
    bundle.runtime(&["kill", &bundle.id, "KILL"]).ok();
    eventually("it stops", || (bundle.state("status") == "stopped").then_some(()));
    let refused = run(blind.arg(own.get_program()).args(own.get_args()).current_dir(bundle.path()));
    assert!(refused.code == 1 && refused.err.contains("nobody is in who can be seen from here"), "{}", refused.err);
    elsewhere(&["delete", "--force", &bundle.id]).ok();
    assert_eq!(mounted(&bundle, "self"), [""; 0]);
}

/// The mark, and the root of such a bundle.
const INSIDE: &str = "the container'sbin\ndev\netc\nproc\nrun\nsys\ntmp";

#[test]
fn exec_is_where_its_first_process_is_wherever_that_went() {
    let mut bundle = bundle("exec unshare -m sleep 1000");
    empower(&mut bundle);
    fs::write(bundle.rootfs().join("etc/mark"), "the container's").expect("written");
    let kinds = |bundle: &mut Bundle, kinds: &[&str]| {
        bundle.config["linux"]["namespaces"] = kinds.iter().map(|kind| json!({ "type": kind })).collect();
    };
    for listed in [&["pid", "uts"][..], &["pid"], &[]] {
        kinds(&mut bundle, listed);
        bundle.config.as_object_mut().expect("an object").remove("hostname");
        create(&bundle);
        bundle.runtime(&["start", &bundle.id]).ok();
        assert_eq!(bundle.exec("cat /etc/mark; ls /"), INSIDE, "{listed:?}");
        bundle.runtime(&["delete", "--force", &bundle.id]).ok();
        assert_eq!(mounted(&bundle, "self"), [""; 0]);
    }
}

#[test]
fn a_bundle_that_was_moved_meanwhile_leaves_nothing_mounted() {
    let bundle = bundle("true");
    create(&bundle);
    let moved = bundle.path().with_extension("moved");
    fs::rename(bundle.path(), &moved).expect("moved");
    run(Command::new(TEU).args(["runtime", "--root"]).arg(moved.join("state")).args(["delete", &bundle.id])).ok();
    let table = fs::read_to_string("/proc/self/mountinfo").expect("a mount table");
    assert!(!table.contains(moved.to_str().expect("a path")));
    fs::rename(&moved, bundle.path()).expect("moved back");
}

/// A recursive bind of what is above copies all of it, the mark too, and that may be hidden.
#[test]
fn a_copy_of_its_mounts_is_not_taken_for_them() {
    let bundle = bundle("true");
    create(&bundle);
    let (copy, root) = (bundle.outside("copy"), bundle.rootfs());
    let mount = |args: &[&str]| run(Command::new("mount").args(args).arg(&copy)).ok();
    mount(&["--rbind", root.to_str().expect("a path")]);
    mount(&["-t", "tmpfs", "of-another"]);
    bundle.runtime(&["delete", "--force", &bundle.id]).ok();
    assert_eq!(mounted(&bundle, "self"), [""; 0]);
    for _ in 0..8 {
        run(Command::new("umount").arg("--lazy").arg(&copy));
    }
}

/// By its path a state directory may be another's in another mount namespace, and one path may be a link.
#[test]
fn what_is_written_down_is_by_container_not_by_path() {
    let (first, mut second) = (bundle("true"), bundle("true"));
    second.config["linux"]["cgroupsPath"] = json!(format!("/teu/{}", second.id));
    let (links, id) = (first.outside("links"), first.id.as_str());
    let root = links.join("state");
    let command = |bundle: &Bundle, args: &[&str]| {
        let mut words = vec![TEU.to_owned(), "runtime".to_owned(), "--root".to_owned(), root.display().to_string()];
        words.extend(args.iter().map(|word| (*word).to_owned()));
        format!("cd {} && {} </dev/null >/dev/null 2>&1", bundle.path().display(), words.join(" "))
    };
    for bundle in [&first, &second] {
        drop(bundle.command(&["list"]));
        fs::create_dir_all(bundle.path().join("state")).expect("a folder");
    }
    std::os::unix::fs::symlink(first.path().join("state"), &root).expect("a link");
    let shell = |script: &str| run(Command::new("sh").args(["-c", script])).ok();
    shell(&command(&first, &["create", id]));
    // The same path leads elsewhere there, and the same id is another container.
    let elsewhere = format!(
        "mount --bind {} {}; {}; {}; grep -c {} /proc/self/mountinfo",
        second.path().join("state").display(),
        first.path().join("state").display(),
        command(&second, &["create", id]),
        command(&second, &["delete", "--force", id]),
        second.rootfs().display(),
    );
    let mut apart = Command::new("unshare");
    let told = run(apart.args(["--mount", "--propagation", "private", "sh", "-c", &elsewhere]));
    assert_eq!((told.out.as_str(), told.err.as_str()), ("0\n", ""));
    assert!(!mounted(&first, "self").is_empty());
    shell(&command(&first, &["delete", "--force", id]));
    assert_eq!(mounted(&first, "self"), [""; 0]);
}

/// Under a filter that ends whoever mounts, what is wrong is told all the same.
#[test]
fn a_failure_is_told_before_anything_else_is_done() {
    let mut bundle = bundle("true");
    let deadly = json!({ "names": ["setns", "umount2", "mount", "fchdir"], "action": "SCMP_ACT_KILL_PROCESS" });
    bundle.config["linux"]["seccomp"] = json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [deadly] });
    bundle.config["process"]["args"] = json!(["/bin/prog"]);
    let program = bundle.rootfs().join("bin/prog");
    fs::copy("/bin/busybox", &program).expect("a program");
    create(&bundle);
    fs::remove_file(&program).expect("removed");
    run(Command::new("mount").args(["-t", "tmpfs", "of-another"]).arg(bundle.rootfs().join("run"))).ok();
    let started = bundle.runtime(&["start", &bundle.id]);
    assert!(started.code == 1 && started.err.contains("/bin/prog"), "{}: {}", started.code, started.err);
    assert!(mounted(&bundle, "self").len() > 3, "that is for delete to do");
    bundle.runtime(&["delete", &bundle.id]).ok();
    create_fails(&bundle, "/bin/prog");
}

/// Its program may mount what it likes, where others read of it. In a mount namespace apart: the other tests read too.
#[test]
fn what_it_mounts_is_no_hindrance_to_others() {
    let mut bundle = bundle(
        "d=$(printf '/tmp/\\377'); mkdir \"$d\" /tmp/d && mount -t tmpfs none \"$d\" \
         && mount -t cgroup -o none,name=teu-test none /tmp/d && echo up >/etc/up; sleep 1000",
    );
    empower(&mut bundle);
    // Nobody makes a hierarchy in a cgroup namespace of his own.
    let namespaces = bundle.config["linux"]["namespaces"].as_array_mut().expect("namespaces");
    namespaces.retain(|namespace| namespace["type"] != "cgroup");
    let other = Bundle::new("echo fine");
    let line = |bundle: &Bundle, args: &[&str]| {
        let command = bundle.command(args);
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        format!(
            "cd {}; {}",
            bundle.path().display(),
            words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
        )
    };
    let script = format!(
        "({}) </dev/null >/dev/null 2>&1; while ! [ -e {}/etc/up ]; do sleep 0.01; done; ({}); {}; grep -c teu-test /proc/self/mountinfo",
        line(&bundle, &["run", "--detach", &bundle.id]),
        bundle.rootfs().display(),
        line(&other, &["run", &other.id]),
        line(&bundle, &["delete", "--force", &bundle.id]),
    );
    let mut apart = Command::new("unshare");
    let ran = run(apart.args(["--mount", "--propagation", "private", "timeout", "60", "sh", "-c", &script]));
    assert_eq!((ran.out.as_str(), ran.err.as_str()), ("fine\n0\n", ""));
    eventually("nobody has made a cgroup in the hierarchy, and it is gone", || {
        let hierarchies = fs::read_to_string("/proc/self/cgroup").expect("hierarchies");
        (!hierarchies.contains("teu-test")).then_some(())
    });
}

#[test]
fn what_cannot_be_in_the_runtimes_mount_namespace_is_refused() {
    let mut bundle = bundle("sleep 1000");
    create(&bundle);
    let second = bundle.runtime(&["--root", "/tmp/of-nobody", "create", "second"]);
    assert!(second.code == 1 && second.err.contains("and is to be deleted first"), "{}", second.err);
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
    let mut hosts = self::bundle("true");
    hosts.config["root"]["path"] = json!("/");
    create_fails(&hosts, "show the container's tree at /: the runtime's own root");
}
