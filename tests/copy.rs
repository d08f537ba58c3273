//! `cp` as its users meet it: each copy once by the stock `docker` command and once by `teu`, from the same state on the
//! same daemon, must say the same and leave the same.

mod support;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use support::{Daemon, Ran, run, run_with, tree};

/// What there is in the container.
const DOCKERFILE: &str = "FROM busybox\nRUN mkdir -p /w/d/y && echo f > /w/f && echo x > /w/d/x && echo z > /w/d/y/z && cd /w \
    && ln -s f lf && ln -s d ld && ln -s /w/d abs && ln -s ../../../w/d/x up && ln -s none dangling && mkfifo pipe \
    && chmod 4751 f && chown 7:8 f d && echo user:x:1000:1000::/:/bin/sh >> /etc/passwd\n";
/// Everything below /w, with what belongs to it.
const LIST: &str = "cd /w; find . ! -type p | sort | while read p; do stat -c '%n %F %a %u %g' \"$p\"; readlink \"$p\"; \
    test -f \"$p\" && cat \"$p\"; done; true";

/// Into a container, from a folder with `one`, `dir/{a,sub/b}`, `link` and `dirlink`.
const IN: &[&[&str]] = &[
    &["one", "box:/w/new"],
    &["one", "box:/w/d"],
    &["one", "box:/w/d/"],
    &["one", "box:/w/f"],
    &["one", "box:/w/none/"],
    &["one", "box:/w/none/new"],
    &["one", "box:w/relative"],
    &["./one", "box:/w/../w/new"],
    &["dir", "box:/w/new"],
    &["dir", "box:/w/new/"],
    &["dir", "box:/w/d"],
    &["dir/", "box:/w/d"],
    &["dir/.", "box:/w/d"],
    &["dir/.", "box:/w/new"],
    &["dir", "box:/w/f"],
    &["link", "box:/w/new"],
    &["-L", "link", "box:/w/new"],
    &["-L", "link", "box:/w/d"],
    &["dirlink", "box:/w/new"],
    &["dirlink/", "box:/w/new"],
    &["dirlink/", "box:/w/d"],
    &["dirlink/.", "box:/w/d"],
    &["-L", "dirlink", "box:/w/d"],
    &["one", "box:/w/lf"],
    &["one", "box:/w/ld"],
    &["one", "box:/w/ld/"],
    &["one", "box:/w/abs"],
    &["one", "box:/w/up"],
    &["one", "box:/w/dangling"],
    &["dir", "box:/w/ld"],
    &["dir", "box:/w/dangling"],
    &["-a", "one", "box:/w/new"],
    &["--archive", "dir", "box:/w/d"],
    &["missing", "box:/w"],
    &["one", "nobody:/w"],
    &["one", "box:"],
    &["one/", "box:/w"],
    &["sub/one", "box:/w/d/x"],
    &["sub/d", "box:/w"],
    &["sub/f", "box:/w"],
];

/// Out of it, into that folder.
const OUT: &[&[&str]] = &[
    &["box:/w/f", "new"],
    &["box:/w/f", "dir"],
    &["box:/w/f", "dir/"],
    &["box:/w/f", "one"],
    &["box:/w/f", "link"],
    &["box:/w/f", "none/new"],
    &["box:/w/f", "new/"],
    &["box:/w/f", "/dev/null"],
    &["box:w/f", "./new"],
    &["-a", "box:/w/f", "new"],
    &["box:/w/d", "new"],
    &["box:/w/d", "dir"],
    &["box:/w/d/", "dir"],
    &["box:/w/d/.", "new"],
    &["box:/w/d/.", "dir"],
    &["box:/w/d", "one"],
    &["box:/w/d", "dirlink"],
    &["box:/w/lf", "new"],
    &["-L", "box:/w/lf", "new"],
    &["-L", "box:/w/lf", "dir"],
    &["box:/w/ld", "new"],
    &["box:/w/ld/", "new"],
    &["box:/w/ld/.", "dir"],
    &["-L", "box:/w/ld", "new"],
    &["-L", "box:/w/abs", "dir"],
    &["-L", "box:/w/up", "new"],
    &["box:/w/dangling", "new"],
    &["-L", "box:/w/dangling", "new"],
    &["box:/w/missing", "new"],
    &["box:/w/f/", "new"],
    &["nobody:/w", "new"],
    &["box:", "new"],
    &["box:/w/f", "box:/w/g"],
    &["one", "new"],
    &["", "new"],
    &["box:/w/f", ""],
    &["box:/w/f"],
    &["box:/w/d", "sub/"],
];

fn built() -> Daemon {
    let daemon = Daemon::start();
    let context = daemon.folder().join("context");
    tree(&context, &[("Dockerfile", DOCKERFILE)]);
    daemon.ok(["build", "-q", "-t", "full", context.to_str().expect("path")]);
    daemon
}

/// The folder of this machine that is copied from and to, as new.
fn here(daemon: &Daemon) -> std::path::PathBuf {
    let here = daemon.folder().join("here");
    let _ = fs::remove_dir_all(&here);
    tree(
        &here,
        &[("one", "1"), ("dir/a", "a"), ("dir/sub/b", "b"), ("sub/one", "2"), ("sub/d", "file"), ("sub/f/x", "y")],
    );
    symlink("one", here.join("link")).and_then(|()| symlink("dir", here.join("dirlink"))).expect("links");
    fs::set_permissions(here.join("one"), fs::Permissions::from_mode(0o640)).expect("mode");
    std::os::unix::fs::chown(here.join("one"), Some(1234), Some(2345)).expect("owner");
    here
}

/// Everything below a folder, with what belongs to it.
fn listed(folder: &Path) -> String {
    let mut entries: Vec<_> = fs::read_dir(folder).expect("folder").map(|entry| entry.expect("entry").path()).collect();
    entries.sort_unstable();
    let mut text = String::new();
    for path in entries {
        let meta = fs::symlink_metadata(&path).expect("metadata");
        text += &format!("{} {:o} {}:{} ", path.display(), meta.mode(), meta.uid(), meta.gid());
        match () {
            () if meta.is_dir() => text += &format!("\n{}", listed(&path)),
            () if meta.is_symlink() => text += &format!("-> {}\n", fs::read_link(&path).expect("link").display()),
            () if meta.is_file() => text += &format!("{:?}\n", fs::read_to_string(&path).expect("text")),
            () => text += "\n",
        }
    }
    text
}

/// One copy by `docker` or by teu's own command, from the beginning: what it said, and what there is then here and there.
fn copy(daemon: &Daemon, stock: bool, running: bool, words: &[&str]) -> (i32, String, String, String) {
    let here = here(daemon);
    let create = ["--name", "box", "--user", "user", "full"];
    let script = if running { "sleep 1000" } else { LIST };
    let line = if running { &["run", "-d"][..] } else { &["create"] };
    daemon.ok(line.iter().chain(&create).chain(&["sh", "-c", script]));
    let mut command = if stock { Command::new("docker") } else { daemon.command(["cp"]) };
    if stock {
        command.env("DOCKER_HOST", daemon.host()).env("DOCKER_CONFIG", daemon.folder().join("client")).arg("cp");
    }
    let ran = run(command.args(words).current_dir(&here));
    let exec = ["exec", "-u", "0", "box", "sh", "-c", LIST];
    let inside = if running { daemon.ok(exec) } else { daemon.ok(["start", "-a", "box"]) };
    daemon.ok(["rm", "-f", "box"]);
    (ran.code, said(&ran), listed(&here), inside)
}

/// The sentence on standard error, without who says it, without advice and without what the stock client logs there.
fn said(ran: &Ran) -> String {
    let first = ran.err.lines().find(|line| !line.starts_with("time=")).unwrap_or_default();
    let first = first.trim_start_matches("teu: ").trim_start_matches("docker: ");
    first.trim_start_matches("Error response from daemon: ").replace("'docker cp'", "'teu cp'")
}

fn compare(running: bool, lines: &[&[&str]]) {
    let daemon = built();
    let mut wrong = vec![];
    for line in lines {
        let (theirs, ours) = (copy(&daemon, true, running, line), copy(&daemon, false, running, line));
        if theirs != ours {
            wrong.push(format!("{line:?}\ntheirs: {theirs:#?}\nours: {ours:#?}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {} differ:\n{}", wrong.len(), lines.len(), wrong.join("\n\n"));
}

#[test]
fn copies_into_a_running_container_are_as_dockers() {
    compare(true, IN);
}

#[test]
fn copies_into_a_stopped_container_are_as_dockers() {
    compare(false, IN);
}

#[test]
fn copies_out_of_a_running_container_are_as_dockers() {
    compare(true, OUT);
}

#[test]
fn copies_out_of_a_stopped_container_are_as_dockers() {
    compare(false, OUT);
}

/// Docker's command stops at such a link, half-way.
#[test]
fn a_link_that_leads_elsewhere_is_copied_and_not_followed() {
    let daemon = built();
    let here = here(&daemon);
    daemon.ok(["create", "--name", "box", "full", "true"]);
    daemon.ok(["cp", "box:/w", here.join("new").to_str().expect("path")]);
    assert_eq!(fs::read_link(here.join("new/up")).expect("link"), Path::new("../../../w/d/x"));
    assert_eq!(fs::read_to_string(here.join("new/d/y/z")).expect("file"), "z\n");
    assert_eq!(fs::metadata(here.join("new/f")).expect("file").uid(), 0);
}

#[test]
fn archives_go_through_standard_input_and_output() {
    let daemon = built();
    daemon.ok(["run", "-d", "--name", "box", "full", "sleep", "1000"]);
    let here = here(&daemon);
    let listing = |tar: &[u8]| run_with(Command::new("tar").args(["-tvf", "-"]), tar).ok();
    let out = |mut command: Command| command.output().expect("output").stdout;
    let stock = |words: &[&str]| {
        let mut command = Command::new("docker");
        command.env("DOCKER_HOST", daemon.host()).env("DOCKER_CONFIG", daemon.folder().join("client")).args(words);
        command
    };
    for path in ["box:/w/d", "box:/w/d/", "box:/w/d/.", "box:/w/f", "box:/w/lf", "box:/w/ld/"] {
        let (theirs, ours) = (out(stock(&["cp", path, "-"])), out(daemon.command(["cp", path, "-"])));
        assert_eq!(listing(&theirs), listing(&ours), "{path}");
    }
    let tar = run(Command::new("tar").args(["-cf", "in.tar", "dir", "one"]).current_dir(&here));
    assert_eq!(tar.code, 0, "{}", tar.err);
    let tar = fs::read(here.join("in.tar")).expect("archive");
    for (name, running) in [("box", true), ("still", false)] {
        if !running {
            daemon.ok(["create", "--name", name, "full", "sh", "-c", "cat /w/dir/sub/b; stat -c %u:%g /w/one"]);
        }
        assert_eq!(daemon.teu_with(["cp", "-", &format!("{name}:/w")], &tar).ok(), "");
    }
    assert_eq!(daemon.ok(["exec", "box", "sh", "-c", "cat /w/dir/sub/b; stat -c %u:%g /w/one"]), "b1234:2345");
    assert_eq!(daemon.ok(["start", "-a", "still"]), "b1234:2345");
    daemon.teu_with(["cp", "-", "box:/w/f"], &tar).refused(1, &["destination \"box:/w/f\" must be a directory"]);
    daemon.teu_with(["cp", "-", "box:/w"], b"no archive, whatever is said of it").refused(1, &["archive"]);
}

#[test]
fn volumes_take_copies_and_what_is_read_only_refuses_them() {
    let daemon = built();
    let here = here(&daemon);
    let one = here.join("one").display().to_string();
    for (name, run) in [("on", ["run", "-d"]), ("off", ["create", "-i"])] {
        let flags = ["--name", name, "--read-only", "--tmpfs", "/tmp", "-v", "vol:/v", "-v", "vol:/ro:ro"];
        daemon.ok(run.iter().chain(&flags).chain(&["full", "sleep", "1000"]));
        daemon.ok(["cp", &one, &format!("{name}:/v/{name}")]);
        let to = |path: &str| daemon.teu(["cp", &one, &format!("{name}:{path}")]);
        to("/ro/x").refused(1, &["mounted volume is marked read-only"]);
        to("/w/x").refused(1, &["container rootfs is marked read-only"]);
        let back = here.join(name);
        daemon.ok(["cp", &format!("{name}:/ro/{name}"), back.to_str().expect("path")]);
        assert_eq!(fs::read_to_string(back).expect("copied"), "1");
    }
    assert_eq!(daemon.ok(["run", "--rm", "-v", "vol:/v", "busybox", "ls", "/v"]), "off\non");
    assert!(!daemon.ok(["exec", "on", "sh", "-c", "ls /w"]).contains("x\n"));
}

#[test]
fn a_container_with_ids_of_its_own_gets_and_gives_files_as_it_sees_them() {
    let daemon = built();
    let here = here(&daemon);
    let flags = ["run", "-d", "--name", "box", "--userns", "auto", "-v", "vol:/v", "full", "sleep", "1000"];
    daemon.ok(flags);
    for place in ["/w", "/v"] {
        daemon.ok(["cp", here.to_str().expect("path"), &format!("box:{place}/new")]);
        let look = format!("stat -c %u:%g {place}/new/one {place}/new/dir/a");
        assert_eq!(daemon.ok(["exec", "box", "sh", "-c", &look]), "1234:2345\n0:0");
    }
    let tar = daemon.command(["cp", "box:/w/f", "-"]).output().expect("output").stdout;
    let listing = run_with(Command::new("tar").args(["--numeric-owner", "-tvf", "-"]), &tar).ok();
    assert!(listing.contains(" 7/8 "), "{listing}");
    daemon.ok(["stop", "-t", "0", "box"]);
    daemon.ok(["cp", here.join("one").to_str().expect("path"), "box:/w/later"]);
    let tar = daemon.command(["cp", "box:/w/later", "-"]).output().expect("output").stdout;
    let listing = run_with(Command::new("tar").args(["--numeric-owner", "-tvf", "-"]), &tar).ok();
    assert!(listing.contains(" 1234/2345 "), "{listing}");
}
