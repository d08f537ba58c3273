//! `teu runtime`: what engines that drive an OCI runtime expect of its verbs.

use std::fs;
use std::io::Read;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::support::{Bundle, eventually};

/// Makes the container without a stream of the test's, which it would hold open.
#[track_caller]
pub(super) fn create(bundle: &Bundle) {
    create_as(bundle, &bundle.id);
}

/// The same by another id.
#[track_caller]
pub(super) fn create_as(bundle: &Bundle, id: &str) {
    let null = || fs::File::options().read(true).write(true).open("/dev/null").expect("null");
    let status = bundle.command(&["create", id]).stdin(null()).stdout(null()).stderr(null()).status();
    assert!(status.expect("ran").success(), "create");
}

#[test]
fn a_container_goes_through_its_states() {
    let bundle = Bundle::new("sleep 1000");
    create(&bundle);
    assert_eq!(bundle.state("status"), "created");
    assert_eq!(bundle.state("bundle"), bundle.path().to_str().expect("a path"));
    bundle.runtime(&["start", &bundle.id]).ok();
    assert_eq!(bundle.state("status"), "running");
    let again = bundle.runtime(&["start", &bundle.id]);
    assert!(again.code == 1 && again.err.contains("cannot start an already running container"), "{}", again.err);
    bundle.runtime(&["pause", &bundle.id]).ok();
    assert_eq!(bundle.state("status"), "paused");
    let refused = bundle.runtime(&["exec", &bundle.id, "true"]);
    assert!(refused.code == 255 && refused.err.contains("cannot exec in a paused container"), "{}", refused.err);
    bundle.runtime(&["resume", &bundle.id]).ok();
    assert_eq!(bundle.exec("echo hello"), "hello");
    bundle.runtime(&["kill", &bundle.id, "KILL"]).ok();
    eventually("it stops", || (bundle.state("status") == "stopped").then_some(()));
    let refused = bundle.runtime(&["exec", &bundle.id, "true"]);
    assert!(refused.code == 255 && refused.err.contains("cannot exec in a stopped container"), "{}", refused.err);
    bundle.runtime(&["delete", &bundle.id]).ok();
    assert!(bundle.runtime(&["state", &bundle.id]).err.contains("container does not exist"));
}

/// It is its own to say what it is called, and not whether it is there.
#[test]
fn a_container_is_running_whatever_it_calls_itself() {
    let bundle = Bundle::new("printf '\\377) Z 1' >/proc/1/comm; while :; do sleep 1; done");
    create(&bundle);
    bundle.runtime(&["start", &bundle.id]).ok();
    let renamed = || bundle.exec("cat /proc/1/comm | od -c").contains("377");
    eventually("it has another name", || renamed().then_some(()));
    assert_eq!(bundle.state("status"), "running");
    let refused = bundle.runtime(&["delete", &bundle.id]);
    assert!(refused.code == 1 && refused.err.contains("that is not stopped"), "{}", refused.err);
}

#[test]
fn the_program_that_is_missing_is_told_of_when_the_container_is_made() {
    let mut bundle = Bundle::new("true");
    bundle.config["process"]["args"] = json!(["nope"]);
    let ran = bundle.runtime(&["create", &bundle.id]);
    assert!(ran.code == 1 && ran.err.contains("executable file not found in $PATH"), "{}", ran.err);
    assert!(!bundle.path().join("state").join(&bundle.id).exists());
}

#[test]
fn the_exit_code_of_the_foreground_is_the_programs() {
    assert_eq!(Bundle::new("exit 42").run().code, 42);
    assert_eq!(Bundle::new("kill -TERM $$; sleep 10").run().code, 0, "nobody sends signals to the first process");
    let bundle = Bundle::new("trap 'exit 9' TERM; echo up; while :; do sleep 0.1; done");
    let mut running = bundle.spawn();
    running.until("up");
    running.signal(rustix::process::Signal::TERM);
    assert_eq!(running.finish().code, 9);
}

#[test]
fn hundreds_of_execs_end_as_they_should_with_all_their_output() {
    let bundle = Bundle::new("sleep 1000");
    create(&bundle);
    bundle.runtime(&["start", &bundle.id]).ok();
    std::thread::scope(|scope| {
        for worker in 0..8 {
            let bundle = &bundle;
            scope.spawn(move || {
                for turn in 0..25 {
                    let code = (worker * 25 + turn) % 200;
                    let script = format!("seq 1 2000; exit {code}");
                    let ran = bundle_exec(bundle, &script);
                    assert_eq!((ran.code, ran.out.lines().count()), (code, 2000), "{}", ran.err);
                }
            });
        }
    });
}

fn bundle_exec(bundle: &Bundle, script: &str) -> super::support::Ran {
    bundle.runtime(&["exec", &bundle.id, "sh", "-c", script])
}

#[test]
fn hooks_hear_of_their_container_in_order() {
    let mut bundle = Bundle::new("true");
    let log = bundle.path().join("log");
    let hook = |name: &str| {
        let script = format!("printf '{name} ' >>{0}; cat >>{0}; echo >>{0}", log.display());
        json!([{ "path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin:/usr/bin"], "timeout": 30 }])
    };
    bundle.config["hooks"] = json!({
        "prestart": hook("prestart"), "createRuntime": hook("createRuntime"),
        "createContainer": hook("createContainer"), "poststart": hook("poststart"), "poststop": hook("poststop"),
    });
    bundle.run().ok();
    let text = fs::read_to_string(&log).expect("a log");
    let told: Vec<(String, Value)> = text
        .lines()
        .map(|line| line.split_once(' ').expect("two words"))
        .map(|(name, state)| (name.to_owned(), serde_json::from_str(state).expect("JSON")))
        .collect();
    let names: Vec<_> =
        told.iter().map(|(name, state)| (name.as_str(), state["status"].as_str().expect("a status"))).collect();
    let expected = [
        ("prestart", "creating"),
        ("createRuntime", "creating"),
        ("createContainer", "creating"),
        ("poststart", "running"),
        ("poststop", "stopped"),
    ];
    assert_eq!(names, expected);
    assert!(told[0].1["pid"].as_i64() > Some(0) && told[0].1["id"] == bundle.id.as_str());
}

#[test]
fn a_hook_that_fails_or_takes_too_long_stops_the_container() {
    let mut bundle = Bundle::new("echo ran");
    bundle.config["hooks"] =
        json!({ "createRuntime": [{ "path": "/bin/sh", "args": ["sh", "-c", "echo no >&2; exit 3"] }] });
    let ran = bundle.run();
    assert!(ran.code == 1 && ran.out.is_empty() && ran.err.contains("exit status 3: no"), "{}", ran.err);
    bundle.config["hooks"] =
        json!({ "createRuntime": [{ "path": "/bin/sleep", "args": ["sleep", "100"], "timeout": 1 }] });
    let ran = bundle.run();
    assert!(ran.code == 1 && ran.err.contains("longer than 1 s"), "{}", ran.err);
}

#[test]
fn a_terminal_goes_to_the_console_socket() {
    let mut bundle = Bundle::new("stty size; read line; echo got $line");
    bundle.config["process"]["terminal"] = json!(true);
    bundle.config["process"]["consoleSize"] = json!({ "height": 30, "width": 90 });
    let path = bundle.path().join("console");
    let listener = UnixListener::bind(&path).expect("bound");
    bundle.runtime(&["run", "--detach", "--console-socket", path.to_str().expect("a path"), &bundle.id]).ok();
    let (stream, _) = listener.accept().expect("a connection");
    let mut terminal = fs::File::from(receive(&stream));
    let mut told = String::new();
    let mut take = |terminal: &mut fs::File, end: &str| {
        while !told.contains(end) {
            let mut chunk = [0; 256];
            let length = terminal.read(&mut chunk).expect("read");
            told.push_str(&String::from_utf8_lossy(&chunk[..length]));
        }
        told.clone()
    };
    assert!(take(&mut terminal, "\n").starts_with("30 90"));
    std::io::Write::write_all(&mut terminal, b"you\n").expect("written");
    take(&mut terminal, "got you");
}

/// The descriptor that comes with a message.
fn receive(stream: &std::os::unix::net::UnixStream) -> std::os::fd::OwnedFd {
    use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut text = [0; 64];
    let mut slices = [std::io::IoSliceMut::new(&mut text)];
    rustix::net::recvmsg(stream, &mut slices, &mut ancillary, RecvFlags::empty()).expect("a message");
    let rights = ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut rights) => rights.next(),
        _ => None,
    });
    rights.expect("a descriptor")
}

#[test]
fn descriptors_are_passed_on_only_as_many_as_asked_for() {
    use std::os::unix::process::CommandExt;
    let bundle = Bundle::new("ls /proc/self/fd; cat <&3");
    let file = bundle.path().join("file");
    fs::write(&file, "preserved").expect("a file");
    let file = fs::File::open(&file).expect("opened");
    let number = file.as_raw_fd();
    let mut shell = Command::new("sh");
    let line = format!(
        "exec 3<&{number} 4<&{number}; exec {} runtime --root state run --preserve-fds 1 {}",
        super::support::TEU,
        bundle.id
    );
    shell.args(["-c", &line]).current_dir(bundle.path());
    // The configuration is written by whoever asks for a command.
    drop(bundle.command(&["state"]));
    rustix::io::fcntl_setfd(&file, rustix::io::FdFlags::empty()).expect("kept");
    shell.process_group(0);
    let told = super::support::run(&mut shell).ok();
    assert_eq!(told.split_whitespace().collect::<Vec<_>>(), ["0", "1", "2", "3", "4", "preserved"]);
}

#[test]
fn a_user_namespace_has_any_mapping() {
    let mut bundle =
        Bundle::new("cat /proc/self/uid_map | tr -s ' '; id -u; stat -c %u /bin/busybox; echo x >/tmp/made");
    bundle.config["linux"]["namespaces"].as_array_mut().expect("namespaces").push(json!({ "type": "user" }));
    let map =
        json!([{ "containerID": 0, "hostID": 200_000, "size": 1000 }, { "containerID": 1000, "hostID": 0, "size": 1 }]);
    bundle.config["linux"]["uidMappings"] = map.clone();
    bundle.config["linux"]["gidMappings"] = map;
    std::os::unix::fs::chown(bundle.rootfs().join("tmp"), Some(200_000), Some(200_000)).expect("chown");
    let told = bundle.run().ok();
    assert_eq!(told, " 0 200000 1000\n 1000 0 1\n0\n1000");
    use std::os::unix::fs::MetadataExt;
    assert_eq!(fs::metadata(bundle.rootfs().join("tmp/made")).expect("made").uid(), 200_000);
}

/// Makes the container's mount namespace the one at `path`.
fn join_mounts(bundle: &mut Bundle, path: &str) {
    let namespaces = bundle.config["linux"]["namespaces"].as_array_mut().expect("namespaces");
    let mount = namespaces.iter_mut().find(|namespace| namespace["type"] == "mount").expect("a mount namespace");
    mount["path"] = json!(path);
}

#[test]
fn a_mount_namespace_that_is_joined_gets_the_containers_tree_and_so_do_its_members() {
    let mut holder = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sleep", "1000"])
        .spawn()
        .expect("unshare");
    let own = fs::read_link("/proc/self/ns/mnt").expect("a namespace");
    let path = format!("/proc/{}/ns/mnt", holder.id());
    let joined = eventually("it has one of its own", || fs::read_link(&path).ok().filter(|link| *link != own));
    let mut bundle = Bundle::new("readlink /proc/self/ns/mnt; echo hello >/tmp/here");
    join_mounts(&mut bundle, &path);
    assert_eq!(bundle.run().ok(), joined.to_str().expect("a name"));
    // As with pivot_root(2): whoever had the old root has the new one.
    let seen = format!("/proc/{}/root", holder.id());
    assert_eq!(fs::read_to_string(format!("{seen}/tmp/here")).expect("a file"), "hello\n");
    assert!(!Path::new(&seen).join("usr").exists() && Path::new("/usr").exists());
    // The next one's directory is not there any more, and that is no obstacle.
    let mut next = Bundle::new("ls /tmp; echo next");
    join_mounts(&mut next, &path);
    assert_eq!(next.run().ok(), "next");
    holder.kill().and_then(|()| holder.wait()).expect("killed");
}

#[test]
fn the_hosts_mount_namespace_is_not_joined() {
    let mut bundle = Bundle::new("true");
    join_mounts(&mut bundle, "/proc/self/ns/mnt");
    let ran = bundle.run();
    assert!(ran.code == 1 && ran.err.contains("/proc/self/ns/mnt is the host's mount namespace"), "{}", ran.err);
}

#[test]
fn a_time_namespace_has_its_own_clocks() {
    let mut bundle = Bundle::new("cut -d. -f1 /proc/uptime; cat /proc/self/timens_offsets");
    bundle.config["linux"]["namespaces"].as_array_mut().expect("namespaces").push(json!({ "type": "time" }));
    bundle.config["linux"]["timeOffsets"] = json!({ "boottime": { "secs": 1_000_000 }, "monotonic": { "secs": 5 } });
    let told = bundle.run().ok();
    let uptime: u64 = told.lines().next().and_then(|line| line.parse().ok()).expect("a number");
    assert!(uptime >= 1_000_000, "{told}");
}

#[test]
fn an_idmapped_mount_shows_other_owners_and_changes_none() {
    let mut bundle = Bundle::new("stat -c %u:%g /data/file; touch /data/made");
    let data = bundle.outside("data");
    fs::write(data.join("file"), "x").expect("a file");
    std::os::unix::fs::chown(data.join("file"), Some(5), Some(6)).expect("chown");
    let map = json!([{ "containerID": 0, "hostID": 1000, "size": 100 }]);
    let mount = json!({
        "destination": "/data", "type": "bind", "source": data, "options": ["bind"],
        "uidMappings": map, "gidMappings": map,
    });
    bundle.config["mounts"].as_array_mut().expect("mounts").push(mount);
    bundle.config["process"]["user"] = json!({ "uid": 1007, "gid": 1007 });
    fs::set_permissions(&data, std::os::unix::fs::PermissionsExt::from_mode(0o777)).expect("chmod");
    assert_eq!(bundle.run().ok(), "1005:1006");
    use std::os::unix::fs::MetadataExt;
    let made = fs::metadata(data.join("made")).expect("made");
    assert_eq!((made.uid(), made.gid()), (7, 7));
}

#[test]
fn a_tmpfs_can_begin_with_what_it_covers() {
    let mut bundle =
        Bundle::new("cat /data/file; stat -c '%a %u' /data/file; cat /data/below/link; echo new >/data/file");
    let data = bundle.rootfs().join("data");
    fs::create_dir_all(data.join("below")).expect("folder");
    fs::write(data.join("file"), "old\n").expect("a file");
    fs::set_permissions(data.join("file"), std::os::unix::fs::PermissionsExt::from_mode(0o640)).expect("chmod");
    std::os::unix::fs::symlink("../file", data.join("below/link")).expect("a link");
    let mount = json!({ "destination": "/data", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup"] });
    bundle.config["mounts"].as_array_mut().expect("mounts").push(mount);
    assert_eq!(bundle.run().ok(), "old\n640 0\nold");
    assert_eq!(fs::read_to_string(data.join("file")).expect("read"), "old\n");
}

#[test]
fn a_mount_can_be_made_again_with_other_options() {
    let mut bundle = Bundle::new("grep ' /data ' /proc/self/mountinfo; df -k /data | tail -1");
    let mounts = bundle.config["mounts"].as_array_mut().expect("mounts");
    mounts.push(json!({ "destination": "/data", "type": "tmpfs", "source": "tmpfs", "options": ["ro", "size=1m"] }));
    mounts.push(json!({ "destination": "/data", "options": ["remount", "nosuid", "noexec", "size=2m"] }));
    let told = bundle.run().ok();
    assert!(told.contains(" rw,nosuid,noexec,relatime ") && told.contains("size=2048k"), "{told}");
    assert!(told.contains(" 2048 "), "{told}");
    let mut bundle = Bundle::new("true");
    let mounts = bundle.config["mounts"].as_array_mut().expect("mounts");
    mounts.push(json!({ "destination": "/etc", "options": ["remount", "ro"] }));
    let ran = bundle.run();
    assert!(ran.code == 1 && ran.err.contains("mount /etc: remount of what is no mount"), "{}", ran.err);
}

#[test]
fn what_this_kernel_lacks_is_refused_by_name() {
    let refused = |change: &dyn Fn(&mut Value), words: &str| {
        let mut bundle = Bundle::new("true");
        change(&mut bundle.config);
        let ran = bundle.run();
        assert!(ran.code == 1 && ran.err.contains(words), "{}", ran.err);
    };
    refused(&|config| config["linux"]["intelRdt"] = json!({ "closID": "x" }), "resctrl");
    refused(&|config| config["process"]["scheduler"] = json!({ "policy": "SCHED_LUCK" }), "SCHED_LUCK");
    if !Path::new("/sys/module/apparmor").exists() {
        refused(&|config| config["process"]["apparmorProfile"] = json!("x"), "no AppArmor");
    }
}

#[test]
fn statistics_and_limits_are_told_and_changed() {
    let mut bundle = Bundle::new("sleep 1000");
    bundle.config["linux"]["resources"]["pids"] = json!({ "limit": 50 });
    create(&bundle);
    bundle.runtime(&["start", &bundle.id]).ok();
    let event =
        || -> Value { serde_json::from_str(&bundle.runtime(&["events", "--stats", &bundle.id]).ok()).expect("JSON") };
    let first = event();
    assert_eq!((&first["type"], &first["id"]), (&json!("stats"), &json!(bundle.id)));
    assert_eq!(first["data"]["pids"], json!({ "current": 1, "limit": 50 }));
    bundle.runtime(&["update", "--pids-limit", "77", "--memory", "100M", &bundle.id]).ok();
    let second = event();
    assert_eq!(second["data"]["pids"]["limit"], 77);
    assert_eq!(second["data"]["memory"]["usage"]["limit"], 100 << 20);
    let listed: Value = serde_json::from_str(&bundle.runtime(&["list", "--format", "json"]).ok()).expect("JSON");
    assert_eq!(listed[0]["id"], json!(bundle.id));
}

#[test]
fn a_cgroup_that_somebody_else_lives_in_stays_theirs() {
    let mut bundle = Bundle::new("true");
    let path = format!("teu-test-{}", bundle.id);
    bundle.config["linux"]["cgroupsPath"] = json!(format!("/{path}"));
    let legacy = fs::metadata("/sys/fs/cgroup/memory/cgroup.procs").is_ok();
    let root = Path::new(if legacy { "/sys/fs/cgroup/memory" } else { "/sys/fs/cgroup" });
    fs::create_dir(root.join(&path)).expect("a cgroup");
    let mut stranger = Command::new("sleep").arg("1000").spawn().expect("a stranger");
    fs::write(root.join(&path).join("cgroup.procs"), stranger.id().to_string()).expect("moved in");
    let refused = bundle.run();
    assert!(refused.code == 1 && refused.err.contains("container's cgroup is not empty"), "{}", refused.err);
    assert!(stranger.try_wait().expect("looked at").is_none(), "the stranger lives");
    let whole = bundle.config["mounts"].clone();
    let none = json!({"destination": "/mnt", "type": "bind", "source": "/of/nobody", "options": ["bind"]});
    bundle.config["mounts"].as_array_mut().expect("mounts").push(none);
    assert_eq!(bundle.run().code, 1);
    bundle.config["mounts"] = whole;
    assert!(stranger.try_wait().expect("looked at").is_none(), "the stranger lives");
    let mut hierarchies = fs::read_dir("/sys/fs/cgroup").expect("hierarchies").flatten().map(|entry| entry.path());
    assert!(!hierarchies.any(|other| other != root && other.join(&path).exists()), "nothing else is left");
    stranger.kill().and_then(|()| stranger.wait()).expect("ended");
    eventually("it is empty", || fs::remove_dir(root.join(&path)).ok());
}

#[test]
fn what_was_interrupted_while_it_was_made_can_be_deleted() {
    let bundle = Bundle::new("true");
    let state = bundle.path().join("state").join(&bundle.id);
    fs::create_dir_all(&state).expect("a folder");
    let legacy = fs::metadata("/sys/fs/cgroup/memory/cgroup.procs").is_ok();
    let root = Path::new(if legacy { "/sys/fs/cgroup/memory/teu" } else { "/sys/fs/cgroup/teu" });
    fs::create_dir_all(root.join(&bundle.id)).expect("a cgroup");
    bundle.runtime(&["delete", "--force", &bundle.id]).ok();
    assert!(!state.exists() && !root.join(&bundle.id).exists());
}
