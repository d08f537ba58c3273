//! `teu runtime checkpoint` and `restore`, `teu checkpoint` and `start --checkpoint`: what is promised of a container that
//! is brought back.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::json;

use super::support::{Bundle, Daemon, Ran, eventually, packages};

/// A command of the runtime that finds criu, with streams that can be saved.
fn command(bundle: &Bundle, args: &[&str]) -> Command {
    let mut path = packages("criu").join("bin").into_os_string();
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap_or_default());
    let mut command = bundle.command(args);
    command.env("PATH", path).stdin(Stdio::null());
    command
}

/// Runs one to its end. What it leaves running has no stream of the test's.
#[track_caller]
fn detached(bundle: &Bundle, args: &[&str]) {
    let log = bundle.path().join("log");
    let mut all = vec!["--log", log.to_str().expect("a path")];
    all.extend(args);
    let status = command(bundle, &all).stdout(Stdio::null()).stderr(Stdio::null()).status().expect("ran");
    assert!(status.success(), "{args:?}: {}", fs::read_to_string(log).unwrap_or_default());
}

#[track_caller]
fn ran(bundle: &Bundle, args: &[&str]) -> Ran {
    super::support::run(&mut command(bundle, args))
}

/// A container that counts in a file of the host's.
fn counter() -> Bundle {
    let mut bundle =
        Bundle::new("i=0; while :; do i=$((i+1)); echo $i >/data/new; mv /data/new /data/count; sleep 0.02; done");
    let data = bundle.outside("data");
    bundle.bind(&data, "/data", &["nosuid"]);
    bundle
}

fn count(bundle: &Bundle) -> u64 {
    let text = fs::read_to_string(bundle.path().join("data/count")).unwrap_or_default();
    text.trim().parse().unwrap_or(0)
}

#[track_caller]
fn counts_beyond(bundle: &Bundle, value: u64) {
    eventually("it counts", || (count(bundle) > value).then_some(()));
}

/// Its mounts but for their numbers, and whose its first process is.
fn inside(bundle: &Bundle) -> String {
    bundle
        .exec("cut -d' ' -f4- /proc/self/mountinfo | sort; grep -E '^(Uid|Cap|NoNew|Seccomp)' /proc/1/status; hostname")
}

#[test]
fn a_container_goes_on_where_it_was_with_all_its_mounts() {
    let mut bundle = counter();
    bundle.config["root"]["readonly"] = json!(true);
    fs::remove_dir(bundle.rootfs().join("tmp")).expect("removed");
    detached(&bundle, &["run", "--detach", &bundle.id]);
    counts_beyond(&bundle, 5);
    let before = inside(&bundle);
    ran(&bundle, &["checkpoint", &bundle.id]).ok();
    let (stopped, absent) = (count(&bundle), bundle.runtime(&["state", &bundle.id]));
    assert!(absent.err.contains("container does not exist"), "{}", absent.err);
    assert!(stopped >= 5);
    let host = fs::read_to_string("/proc/self/mountinfo").expect("a table").lines().count();
    for _ in 0..2 {
        detached(&bundle, &["restore", "--detach", &bundle.id]);
        assert_eq!(bundle.state("status"), "running");
        counts_beyond(&bundle, stopped);
        assert!(count(&bundle) < stopped + 1000);
        assert_eq!(inside(&bundle), before);
        assert_eq!(bundle.exec("wc -c </proc/timer_list; ls /sys/firmware"), "0", "what was covered is covered");
        let limits = fs::read_to_string(format!("/proc/{}/cgroup", bundle.state("pid"))).expect("cgroups");
        assert!(limits.contains(&bundle.id), "{limits}");
        ran(&bundle, &["checkpoint", &bundle.id]).ok();
    }
    let after = fs::read_to_string("/proc/self/mountinfo").expect("a table").lines().count();
    assert!(after <= host, "nothing is mounted on the host");
}

#[test]
fn a_container_may_go_on_after_its_checkpoint_and_be_brought_back_as_another() {
    let bundle = counter();
    detached(&bundle, &["run", "--detach", &bundle.id]);
    counts_beyond(&bundle, 2);
    let images = bundle.path().join("images");
    ran(&bundle, &["checkpoint", "--leave-running", "--image-path", images.to_str().expect("a path"), &bundle.id]).ok();
    assert_eq!(bundle.state("status"), "running");
    counts_beyond(&bundle, count(&bundle));
    assert!(images.join("inventory.img").exists() && images.join("descriptors.json").exists());
    let again = ran(&bundle, &["restore", "--image-path", images.to_str().expect("a path"), &bundle.id]);
    assert!(again.code == 1 && again.err.contains("already exists"), "{}", again.err);
}

#[test]
fn pipes_are_the_callers_and_the_exit_code_is_the_programs() {
    let bundle = Bundle::new("read one; echo got $one; read two; echo got $two; exit 7");
    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    let mut run = command(&bundle, &["run", "--detach", &bundle.id]);
    let (out, theirs) = std::io::pipe().expect("a pipe");
    assert!(
        run.stdin(reader).stdout(theirs.try_clone().expect("a copy")).stderr(theirs).status().expect("ran").success()
    );
    drop(run);
    writer.write_all(b"one\n").expect("written");
    let mut line = String::new();
    BufReader::new(&out).read_line(&mut line).expect("read");
    assert_eq!(line, "got one\n");
    ran(&bundle, &["checkpoint", &bundle.id]).ok();
    let mut back = command(&bundle, &["restore", &bundle.id]);
    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    let mut running = back.stdin(reader).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("spawned");
    drop(back);
    writer.write_all(b"two\n").expect("written");
    drop(writer);
    let mut text = String::new();
    running.stdout.as_mut().expect("a stream").read_to_string(&mut text).expect("read");
    assert_eq!((text.as_str(), running.wait().expect("ended").code()), ("got two\n", Some(7)));
}

#[test]
fn who_waits_for_a_container_hears_that_it_ended_with_its_checkpoint() {
    let bundle = counter();
    let mut waiting =
        command(&bundle, &["run", &bundle.id]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("ran");
    counts_beyond(&bundle, 2);
    ran(&bundle, &["checkpoint", &bundle.id]).ok();
    assert_eq!(waiting.wait().expect("ended").code(), Some(137));
    let stopped = count(&bundle);
    let mut waiting =
        command(&bundle, &["restore", &bundle.id]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("ran");
    counts_beyond(&bundle, stopped);
    bundle.runtime(&["kill", &bundle.id, "TERM"]).ok();
    bundle.runtime(&["kill", &bundle.id, "KILL"]).ok();
    assert_eq!(waiting.wait().expect("ended").code(), Some(137));
    assert!(bundle.runtime(&["state", &bundle.id]).err.contains("does not exist"));
}

#[test]
fn a_network_namespace_of_somebody_elses_is_entered_again() {
    let mut holder = Command::new("unshare").args(["--net", "sleep", "1000"]).spawn().expect("unshare");
    let own = fs::read_link("/proc/self/ns/net").expect("a namespace");
    let path = format!("/proc/{}/ns/net", holder.id());
    let joined = eventually("it has one of its own", || fs::read_link(&path).ok().filter(|link| *link != own));
    let mut bundle = counter();
    let namespaces = bundle.config["linux"]["namespaces"].as_array_mut().expect("namespaces");
    let network = namespaces.iter_mut().find(|namespace| namespace["type"] == "network").expect("one of the network");
    network["path"] = json!(path);
    detached(&bundle, &["run", "--detach", &bundle.id]);
    counts_beyond(&bundle, 2);
    ran(&bundle, &["checkpoint", &bundle.id]).ok();
    detached(&bundle, &["restore", "--detach", &bundle.id]);
    assert_eq!(bundle.exec("readlink /proc/1/ns/net"), joined.to_str().expect("a name"));
    holder.kill().and_then(|()| holder.wait()).expect("killed");
}

#[test]
fn without_criu_its_package_is_named_and_the_container_goes_on() {
    let bundle = counter();
    detached(&bundle, &["run", "--detach", &bundle.id]);
    let refused = super::support::run(bundle.command(&["checkpoint", &bundle.id]).env("PATH", "/nowhere"));
    assert!(refused.code == 1 && refused.err.contains("criu is not installed: the package criu"), "{}", refused.err);
    counts_beyond(&bundle, count(&bundle));
}

#[test]
fn what_criu_cannot_save_is_told_in_its_words() {
    let bundle = Bundle::new("echo up; sleep 1000");
    let file = fs::File::create(bundle.path().join("out")).expect("a file");
    let mut run = command(&bundle, &["run", "--detach", &bundle.id]);
    // A file of the host's, which is in no mount of the container's.
    assert!(run.stdout(file).stderr(Stdio::null()).status().expect("ran").success());
    let refused = ran(&bundle, &["checkpoint", &bundle.id]);
    assert!(refused.code == 1 && refused.err.contains("criu failed: type DUMP"), "{}", refused.err);
    assert!(refused.err.contains("fd=1") && refused.err.contains("dump.log"), "{}", refused.err);
    assert_eq!(bundle.state("status"), "running");
    let refused = ran(&bundle, &["restore", "--image-path", "nowhere", "other"]);
    assert!(refused.code == 1 && refused.err.contains("nowhere"), "{}", refused.err);
    assert!(!bundle.path().join("state/other").exists() && !Path::new("/sys/fs/cgroup/teu/other").exists());
}

/// A daemon that finds criu, with a container that counts in its memory and shows it.
fn counting(name: &str, options: &[&str]) -> Daemon {
    let daemon = Daemon::finding(&packages("criu").join("bin"), &["--experimental"]);
    let mut words = vec!["run", "-d", "--name", name];
    words.extend(options);
    words.extend(["busybox", "sh", "-c", "i=0; while :; do i=$((i+1)); echo $i; sleep 0.05; done"]);
    daemon.ok(words);
    daemon
}

fn shown(daemon: &Daemon, name: &str) -> Vec<u64> {
    daemon.ok(["logs", name]).lines().filter_map(|line| line.parse().ok()).collect()
}

#[test]
fn a_container_of_the_engines_goes_on_from_a_checkpoint_with_its_streams_network_and_mounts() {
    let daemon = counting("saved", &["-v", "kept:/data", "--tmpfs", "/scratch", "-m", "64m", "--restart", "always"]);
    eventually("it counts", || (shown(&daemon, "saved").len() > 5).then_some(()));
    daemon.ok(["exec", "saved", "sh", "-c", "echo volume >/data/file; echo memory >/scratch/file"]);
    // In a v1 hierarchy that the container is not in; where there is none, it is nowhere.
    let others = Path::new("/sys/fs/cgroup/blkio").join(daemon.folder().file_name().expect("a name"));
    let made = fs::create_dir(&others).is_ok();
    assert_eq!(daemon.ok(["checkpoint", "create", "saved", "first"]), "first");
    assert!(!made || fs::remove_dir(&others).is_ok());
    eventually("it has ended", || (daemon.inspect("saved", "{{.State.Status}}") == "exited").then_some(()));
    assert_eq!(daemon.inspect("saved", "{{.State.ExitCode}}"), "137");
    assert_eq!(daemon.ok(["checkpoint", "ls", "saved"]).lines().last(), Some("first"));
    let before = shown(&daemon, "saved");
    daemon.ok(["start", "--checkpoint", "first", "saved"]);
    eventually("it counts on", || (shown(&daemon, "saved").len() > before.len() + 5).then_some(()));
    assert!(!others.exists(), "somebody else's cgroup was made again");
    let whole: Vec<u64> = (1..).take(before.len() + 5).collect();
    assert_eq!(shown(&daemon, "saved")[..before.len() + 5], whole, "each number once, in order");
    assert_eq!(daemon.ok(["exec", "saved", "cat", "/data/file", "/scratch/file"]), "volume\nmemory");
    let address = daemon.inspect("saved", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}");
    assert!(daemon.ok(["exec", "saved", "ip", "address", "show", "eth0"]).contains(&address));
    assert_eq!(daemon.ok(["exec", "saved", "cat", "/proc/1/comm"]), "sh");
    // A start without a checkpoint is one from the beginning.
    daemon.ok(["stop", "-t", "0", "saved"]);
    daemon.ok(["start", "saved"]);
    eventually("it begins again", || {
        (shown(&daemon, "saved").iter().filter(|one| **one == 1).count() == 2).then_some(())
    });
    daemon.ok(["checkpoint", "rm", "saved", "first"]);
    assert!(daemon.ok(["info"]).contains("Experimental: true"));
    let gone = daemon.teu(["start", "--checkpoint", "first", "saved"]);
    assert!(gone.code == 1 && gone.err.contains("checkpoint first does not exist for container saved"), "{}", gone.err);
}

#[test]
fn a_checkpoint_may_leave_its_container_running_and_lie_anywhere_and_what_cannot_be_saved_is_refused() {
    let daemon = counting("saved", &[]);
    let folder = daemon.folder().join("elsewhere");
    let place = folder.to_str().expect("a path");
    let create = ["checkpoint", "create", "--leave-running", "--checkpoint-dir", place, "saved", "second"];
    daemon.ok(create);
    assert_eq!(daemon.inspect("saved", "{{.State.Status}}"), "running");
    assert!(folder.join("second/inventory.img").is_file());
    let again = daemon.teu(create);
    assert!(again.err.contains("checkpoint with name second already exists for container saved"), "{}", again.err);
    let wrong = daemon.teu(["checkpoint", "create", "saved", "../third"]);
    assert!(wrong.err.contains("Invalid checkpoint ID (../third)"), "{}", wrong.err);
    daemon.ok(["rm", "-f", "saved"]);
    let users = super::users::possible(&daemon).then_some(("--userns=auto", "a user namespace"));
    for (options, what) in [("-t", "tty"), ("--init", "an init")].into_iter().chain(users) {
        daemon.ok(["run", "-d", "--name", "other", options, "busybox", "sleep", "1000"]);
        let refused = daemon.teu(["checkpoint", "create", "other", "fourth"]);
        let sentence = format!("checkpoint not supported on containers with {what}");
        assert!(refused.code == 1 && refused.err.contains(&sentence), "{}", refused.err);
        daemon.ok(["rm", "-f", "other"]);
    }
    daemon.ok(["create", "--name", "still", "busybox", "true"]);
    let still = daemon.teu(["checkpoint", "create", "still", "fifth"]);
    assert!(still.code == 1 && still.err.contains("not running"), "{}", still.err);
}
