//! `teu runtime checkpoint` and `restore`: what is promised of a container that is brought back.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::json;

use super::support::{Bundle, Ran, eventually, packages};

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
    let bundle = counter();
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
