//! Mounts of every type: what is seen, who may write, and that nothing lands outside of the container.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::support::{Daemon, run, tree};

/// A mount of the test's own on the host, gone with it.
struct HostMount(PathBuf);

impl HostMount {
    fn new(path: &Path, propagation: &str) -> Self {
        fs::create_dir_all(path).expect("folder");
        let text = path.to_str().expect("path");
        run(Command::new("mount").args(["-t", "tmpfs", "teu-test", text])).ok();
        let mount = Self(path.into());
        run(Command::new("mount").args([propagation, text])).ok();
        mount
    }
}

impl Drop for HostMount {
    fn drop(&mut self) {
        let _ = Command::new("umount").args(["-R", "-l"]).arg(&self.0).status();
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("path")
}

#[test]
fn an_image_is_mounted_whole_or_in_part_and_cannot_be_written() {
    let daemon = Daemon::start();
    let context = daemon.folder().join("context");
    let dockerfile = "FROM busybox\nRUN mkdir /sub /hack && echo world > /sub/hello\n\
        RUN ln -s ../sub /hack/good && ln -s ../../../../../ /hack/bad && echo bar > /foo\n";
    tree(&context, &[("Dockerfile", dockerfile)]);
    daemon.ok(["build", "-q", "-t", "tools", text(&context)]);
    let with = |more: &str, script: &str| {
        let mount = format!("type=image,src=tools,dst=/image{more}");
        daemon.teu(["run", "--rm", "--mount", &mount, "busybox", "sh", "-c", script])
    };
    assert_eq!(with("", "cat /image/foo; touch /image/x || echo fixed").ends_with(0).out, "bar\nfixed\n");
    assert_eq!(with(",image-subpath=sub", "ls /image").ok(), "hello");
    assert_eq!(with(",image-subpath=hack/good", "cat /image/hello").ok(), "world");
    assert_eq!(with(",image-subpath=sub/hello", "cat /image").ok(), "world");
    with(",image-subpath=hack/bad", "true").refused(125, &["path concatenation escapes the base directory"]);
    with(",image-subpath=nothing", "true").refused(127, &["cannot access path"]);
    with(",image-subpath=../etc", "true").refused(125, &["subpath must be a relative path within the volume"]);
    // The image stays as long as a container shows it.
    let mount = "type=image,src=tools,dst=/image";
    let id = daemon.ok(["run", "-d", "--mount", mount, "busybox", "sh", "-c", "sleep 1000"]);
    daemon.teu(["rmi", "tools"]).refused(1, &["is using its referenced image", &id[..12]]);
    daemon.ok(["rmi", "-f", "tools"]);
    daemon.ok(["restart", "-t", "0", &id]);
    assert_eq!(daemon.ok(["exec", &id, "cat", "/image/foo"]), "bar");
    let shown = daemon.inspect(&id, "{{range .Mounts}}{{.Type}} {{.Name}} {{.Destination}} {{.RW}}{{end}}");
    assert_eq!(shown, "image tools /image false");
}

#[test]
fn a_part_of_a_volume_is_mounted_and_never_more_than_the_volume() {
    let daemon = Daemon::start();
    let script = "mkdir /v/sub /v/hack; echo foo > /v/bar.txt; echo hi > /v/sub/hello.txt; \
        ln -s / /v/hack/root; ln -s ../sub /v/hack/good; ln -s root /v/hack/bad";
    daemon.ok(["run", "--rm", "-v", "vol:/v", "busybox", "sh", "-c", script]);
    let with = |subpath: &str, script: &str| {
        let mount = format!("type=volume,src=vol,dst=/part,volume-subpath={subpath}");
        daemon.teu(["run", "--rm", "--mount", &mount, "busybox", "sh", "-c", script])
    };
    assert_eq!(with("sub", "ls /part").ok(), "hello.txt");
    assert_eq!(with("hack/good", "ls /part; echo new > /part/new").ok(), "hello.txt");
    assert_eq!(with("bar.txt", "cat /part").ok(), "foo");
    assert_eq!(with("sub/new", "cat /part").ok(), "new");
    for bad in ["hack/root", "hack/bad"] {
        with(bad, "true").refused(125, &["path concatenation escapes the base directory"]);
    }
    with("nothing", "true").refused(127, &["cannot access path"]);
    with("../../etc", "true").refused(125, &["subpath must be a relative path within the volume"]);
    let mount = "type=volume,dst=/part,volume-subpath=a";
    let ran = daemon.teu(["run", "--rm", "--mount", mount, "busybox"]);
    ran.refused(125, &["must not set Subpath when using anonymous volumes"]);
}

#[test]
fn a_memory_file_system_has_the_options_asked_for() {
    let daemon = Daemon::start();
    let look = "grep -E ' /(a|b|c) ' /proc/mounts; stat -c '%a %u' /a; touch /c/x || echo fixed";
    let mounts = [
        "--tmpfs",
        "/a:size=64k,mode=1750,uid=7,exec",
        "--tmpfs",
        "/b",
        "--mount",
        "type=tmpfs,dst=/c,tmpfs-size=1m,tmpfs-mode=700,readonly",
    ];
    let line = ["run", "--rm"].into_iter().chain(mounts).chain(["busybox", "sh", "-c", look]);
    let ran = daemon.teu(line).ends_with(0);
    let mount = |path: &str| ran.out.lines().find(|line| line.contains(path)).expect(path).to_owned();
    let a = mount(" /a ");
    assert!(a.contains("size=64k") && a.contains("nosuid,nodev") && !a.contains("noexec"), "{a}");
    assert!(mount(" /b ").contains("nosuid,nodev,noexec"), "{}", ran.out);
    assert!(mount(" /c ").contains("size=1024k,mode=700"), "{}", ran.out);
    assert!(ran.out.contains("1750 7\n") && ran.out.ends_with("fixed\n"), "{}", ran.out);
    let shown = daemon.ok(["create", "--mount", "type=tmpfs,dst=/c", "busybox"]);
    assert_eq!(daemon.inspect(&shown, "{{range .Mounts}}{{.Type}} {{.Destination}} {{.RW}}{{end}}"), "tmpfs /c true");
    daemon.teu(["run", "--tmpfs", "/a:colour=red", "busybox"]).refused(125, &["invalid tmpfs option [\"colour=red\"]"]);
    daemon.teu(["run", "--tmpfs", "/", "busybox"]).refused(125, &["destination can't be '/'"]);
}

#[test]
fn a_read_only_bind_is_read_only_below_its_mounts_too_unless_told_otherwise() {
    let daemon = Daemon::start();
    let folder = daemon.folder().join("outer");
    let _inner = HostMount::new(&folder.join("inner"), "--make-private");
    let try_write = |more: &str| {
        let mount = format!("type=bind,src={},dst=/m,readonly{more}", folder.display());
        let script = "touch /m/inner/x 2>/dev/null && echo inner; touch /m/x 2>/dev/null && echo outer; ls -d /m/inner; \
            grep -c ' /m/inner ' /proc/mounts";
        daemon.teu(["run", "--rm", "--mount", &mount, "busybox", "sh", "-c", script]).out
    };
    assert_eq!(try_write(""), "/m/inner\n1\n");
    assert_eq!(try_write(",bind-recursive=readonly"), "/m/inner\n1\n");
    assert_eq!(try_write(",bind-recursive=writable"), "inner\n/m/inner\n1\n");
    assert_eq!(try_write(",bind-recursive=disabled"), "/m/inner\n0\n");
    let bind = format!("{}:/m:ro", folder.display());
    daemon.teu(["run", "--rm", "-v", &bind, "busybox", "touch", "/m/inner/y"]).ends_with(1);
}

#[test]
fn mounts_made_later_travel_as_asked() {
    let daemon = Daemon::start();
    let folder = daemon.folder().join("shared");
    let _shared = HostMount::new(&folder, "--make-shared");
    for name in ["late", "back"] {
        fs::create_dir(folder.join(name)).expect("folder");
    }
    let bind = |how: &str| format!("{}:/m{how}", folder.display());
    for (name, how) in [("slave", ":rslave"), ("shared", ":rshared"), ("private", "")] {
        daemon.ok(["run", "-d", "--privileged", "--name", name, "-v", &bind(how), "busybox", "sleep", "1000"]);
    }
    // From the host into containers.
    run(Command::new("mount").args(["-t", "tmpfs", "teu-test"]).arg(folder.join("late"))).ok();
    let count = |name: &str, path: &str| {
        daemon.teu(["exec", name, "grep", "-c", &format!(" {path} "), "/proc/mounts"]).out.trim().to_owned()
    };
    assert_eq!(["slave", "shared", "private"].map(|name| count(name, "/m/late")), ["1", "1", "0"]);
    // From a container to the host: only where it is shared.
    daemon.ok(["exec", "shared", "mount", "-t", "tmpfs", "teu-test", "/m/back"]);
    let table = || fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
    assert!(table().contains(text(&folder.join("back"))));
    daemon.ok(["exec", "shared", "umount", "/m/back"]);
    daemon.ok(["exec", "slave", "mount", "-t", "tmpfs", "teu-test", "/m/back"]);
    assert!(!table().contains(text(&folder.join("back"))));
    daemon.ok(["rm", "-f", "slave", "shared", "private"]);
    let lonely = daemon.folder().join("lonely");
    let _private = HostMount::new(&lonely, "--make-private");
    let bind = format!("{}:/m:shared", lonely.display());
    let refused = daemon.teu(["run", "--rm", "-v", &bind, "busybox", "true"]);
    refused.refused(125, &[text(&lonely), "but it is not a shared mount"]);
}

#[test]
fn the_source_of_a_bind_is_made_only_where_docker_makes_it() {
    let daemon = Daemon::start();
    let missing = |name: &str| daemon.folder().join(name);
    let short = format!("{}:/m", missing("short").display());
    daemon.ok(["run", "--rm", "-v", &short, "busybox", "true"]);
    assert!(missing("short").is_dir());
    let long = format!("type=bind,src={},dst=/m", missing("long").display());
    let refused = daemon.teu(["run", "--rm", "--mount", &long, "busybox", "true"]);
    refused.refused(125, &["invalid mount config for type \"bind\": bind source path does not exist"]);
    daemon.ok(["run", "--rm", "--mount", &format!("{long},bind-create-src"), "busybox", "true"]);
    assert!(missing("long").is_dir());
    // One that is gone when the container starts again.
    let id = daemon.ok(["create", "--mount", &long, "busybox", "true"]);
    fs::remove_dir(missing("long")).expect("removed");
    daemon.teu(["start", &id]).ends_with(1);
    assert!(!missing("long").exists());
}

#[test]
fn two_mounts_at_one_place_are_refused() {
    let daemon = Daemon::start();
    let refused = |line: &[&str]| {
        let line = [&["create"][..], line, &["busybox"]].concat();
        daemon.teu(line).refused(1, &["Duplicate mount point"]);
    };
    refused(&["-v", "a1:/x", "-v", "b1:/x/"]);
    refused(&["-v", "a1:/x", "--mount", "type=volume,src=b1,dst=/x"]);
    refused(&["-v", "a1:/x", "--tmpfs", "/x"]);
    daemon.teu(["create", "-v", "/a:ro", "busybox"]).refused(125, &["invalid volume specification"]);
    daemon.ok(["volume", "rm", "a1", "b1"]);
    // One that takes the place of another container's leaves that one's volume alone.
    daemon.ok(["create", "--name", "one", "-v", "/x", "busybox"]);
    daemon.ok(["create", "--name", "two", "--volumes-from", "one", "-v", "c1:/x", "busybox"]);
    assert_eq!(daemon.inspect("two", "{{range .Mounts}}{{.Name}}{{end}}"), "c1");
    daemon.ok(["rm", "-v", "one"]);
    assert_eq!(daemon.ok(["volume", "ls", "-q"]), "c1");
}

/// SECURITY 7, 11: while two containers fight over links in a shared volume, no mount and no mount point lands outside.
#[test]
fn row_7_11_a_race_of_links_in_a_shared_volume_makes_nothing_on_the_host() {
    let daemon = Daemon::start();
    let canary = daemon.folder().join("canary");
    fs::create_dir(&canary).expect("folder");
    // The attacker exchanges a directory with a link to the host's path, as fast as it can.
    let script = format!(
        "mkdir -p /v/real && ln -s {} /v/link; while :; do mv /v/real /v/tmp; mv /v/link /v/real; mv /v/tmp /v/link; \
         mv /v/real /v/tmp; mv /v/link /v/real; mv /v/tmp /v/link; done",
        canary.display()
    );
    daemon.ok(["run", "-d", "--name", "attacker", "-v", "vol:/v", "busybox", "sh", "-c", &script]);
    for round in 0..25 {
        let mut line = vec!["run".to_owned(), "--rm".into(), "--network".into(), "none".into()];
        line.extend(["-v".into(), "vol:/v".into()]);
        for number in 0..8 {
            line.extend(["--tmpfs".into(), format!("/v/real/made-{round}-{number}")]);
        }
        line.extend(["busybox", "true"].map(String::from));
        // It may fail, in one sentence; it may not land outside.
        daemon.teu(&line);
    }
    daemon.ok(["rm", "-f", "attacker"]);
    let names: Vec<_> = fs::read_dir(&canary).expect("list").flatten().map(|entry| entry.file_name()).collect();
    assert!(names.is_empty(), "{names:?}");
    let table = fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
    assert!(!table.contains("made-"), "{table}");
}

/// SECURITY 15: an image's own links at the places of teu's mounts lead nowhere on the host.
#[test]
fn row_15_an_image_whose_dev_is_a_link_upwards_makes_nothing_on_the_host() {
    let daemon = Daemon::start();
    let context = daemon.folder().join("context");
    let canary = daemon.folder().join("canary");
    fs::create_dir(&canary).expect("folder");
    let up = "../".repeat(30);
    let dockerfile =
        format!("FROM busybox\nRUN rm -rf /data && ln -s {up}{} /data\n", text(&canary).trim_start_matches('/'));
    tree(&context, &[("Dockerfile", &dockerfile)]);
    daemon.ok(["build", "-q", "-t", "trap", text(&context)]);
    // `/dev` cannot be replaced from inside a build step, so the tree is made outside of one.
    let archive = daemon.folder().join("trap.tar");
    let rootfs = daemon.folder().join("rootfs");
    fs::create_dir_all(rootfs.join("bin")).expect("folder");
    std::os::unix::fs::symlink(format!("{up}{}", text(&canary).trim_start_matches('/')), rootfs.join("dev"))
        .expect("link");
    run(Command::new("tar").arg("-C").arg(&rootfs).arg("-cf").arg(&archive).arg(".")).ok();
    daemon.ok(["import", text(&archive), "devtrap"]);
    daemon.teu(["run", "--rm", "devtrap", "/bin/nothing"]);
    daemon.ok(["run", "--rm", "-v", "vol:/data/below", "trap", "touch", "/data/below/x"]);
    assert_eq!(fs::read_dir(&canary).expect("list").count(), 0);
}
