//! Bad input: one clear sentence, the right exit code, and nothing left behind (which every [`Daemon`] checks).

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use support::{Daemon, TEU, base_image, free_port, run, tree};

/// What a daemon has, by name.
fn holdings(daemon: &Daemon) -> String {
    [&["ps", "-aq"][..], &["images", "-q"], &["volume", "ls", "-q"]].map(|line| daemon.ok(line)).join("|")
}

#[test]
fn an_unknown_flag_or_command_is_told_with_what_was_probably_meant() {
    let daemon = Daemon::start();
    let ran = daemon.teu(["run", "--memry", "1g", "busybox"]);
    ran.refused(125, &["unknown flag: --memry\nhint: did you mean --memory?\n\nUsage:  teu run [OPTIONS] IMAGE"]);
    daemon.teu(["--hots", "x", "ps"]).refused(125, &["unknown flag: --hots", "did you mean --host?"]);
    daemon.teu(["rnu", "busybox"]).refused(1, &["rnu", "run"]);
    daemon.teu(["image", "pul"]).refused(1, &["pul", "pull"]);
    daemon.teu(["ps", "-Z"]).refused(125, &["-Z"]);
    daemon.teu(["run"]).refused(1, &["teu: 'teu run' requires at least 1 argument\n\nUsage:  teu run [OPTIONS] IMAGE"]);
    daemon.teu(["container", "stop"]).refused(1, &["teu: 'teu container stop' requires at least 1 argument\n"]);
    daemon.teu(["rename", "one"]).refused(1, &["teu: 'teu rename' requires 2 arguments\n"]);
    daemon.teu(["info", "all"]).refused(1, &["teu: 'teu info' accepts no arguments\n"]);
    daemon.teu(["run", "--cpus", "many", "x"]).refused(125, &["invalid argument \"many\" for \"--cpus\" flag"]);
    assert_eq!(daemon.ok(["ps", "-aq"]), "");
}

#[test]
fn a_bad_reference_is_refused() {
    let daemon = Daemon::start();
    for name in ["Busybox", "busybox:", "busybox@sha256:12", "-x/y", "a//b", "http://x/y", ""] {
        let words = ["invalid reference format"];
        let words = if name == "Busybox" { &["must be lowercase"][..] } else { &words[..] };
        if !name.starts_with('-') {
            daemon.teu(["run", "--rm", name]).refused(125, words);
        }
        daemon.teu(["tag", "busybox", name]).refused_build(&[]);
        daemon.teu(["pull", "--", name]).refused_build(&[]);
    }
    daemon.teu(["rmi", ""]).refused(1, &["invalid image name: value is empty"]);
    daemon.teu(["rm", ""]).refused(1, &["invalid container name or ID: value is empty"]);
    assert_eq!(daemon.ok(["images", "-q"]).lines().count(), 1);
}

#[test]
fn a_missing_object_is_named() {
    let daemon = Daemon::start();
    for command in ["start", "stop", "kill", "restart", "rm", "logs", "wait", "pause", "unpause", "diff", "port", "top"]
    {
        daemon.teu([command, "nobody"]).refused(1, &["No such container: nobody"]);
    }
    daemon.teu(["exec", "nobody", "true"]).refused(1, &["No such container: nobody"]);
    daemon.teu(["attach", "nobody"]).refused(1, &["No such container: nobody"]);
    daemon.teu(["commit", "nobody"]).refused(1, &["No such container: nobody"]);
    daemon.teu(["inspect", "nobody"]).refused(1, &["No such object: nobody"]);
    daemon.teu(["rmi", "nobody"]).refused(1, &["No such image: nobody"]);
    daemon.teu(["history", "nobody"]).refused(1, &["No such image: nobody"]);
    daemon.teu(["tag", "nobody", "x"]).refused(1, &["No such image: nobody"]);
    daemon.teu(["save", "nobody", "-o", "/dev/null"]).refused(1, &["nobody"]);
    daemon.teu(["volume", "rm", "nobody"]).refused(1, &["nobody", "no such volume"]);
    daemon.teu(["run", "--network", "nobody", "busybox"]).refused(125, &["network nobody not found"]);
}

#[test]
fn a_missing_image_is_told_when_no_registry_has_it() {
    let registry = support::Registry::start();
    let daemon = Daemon::start();
    let name = format!("{}/none", registry.address());
    daemon.teu(["pull", &name]).refused(1, &["none", "not found"]);
    let ran =
        daemon.teu(["run", "--rm", "--pull", "never", "nothing:here"]).refused(125, &["No such image: nothing:here"]);
    assert_eq!(ran.out, "");
    assert_eq!(holdings(&daemon).split('|').next(), Some(""));
}

#[test]
fn a_port_in_use_is_named_and_the_container_can_be_started_later() {
    let daemon = Daemon::start();
    let taken = std::net::TcpListener::bind("0.0.0.0:0").expect("a port");
    let port = taken.local_addr().expect("address").port().to_string();
    let publish = format!("{port}:80");
    daemon.teu(["run", "--name", "box", "-p", &publish, "busybox", "true"]).refused(125, &[&port, "already"]);
    assert_eq!(daemon.inspect("box", "{{.State.Status}}"), "created");
    drop(taken);
    daemon.ok(["start", "-a", "box"]);
    // Taken by another container of ours.
    let publish = format!("{}:80", free_port());
    daemon.ok(["run", "-d", "-p", &publish, "busybox", "sleep", "1000"]);
    daemon.teu(["run", "--rm", "-p", &publish, "busybox", "true"]).refused(125, &["port is already allocated"]);
    daemon.teu(["run", "--rm", "-p", "99999:80", "busybox", "true"]).refused(125, &["invalid hostPort: 99999"]);
    daemon.teu(["run", "--rm", "-p", "80:x", "busybox", "true"]).refused(125, &["containerPort: x"]);
}

#[test]
fn a_name_taken_or_no_name_is_refused() {
    let daemon = Daemon::start();
    daemon.ok(["create", "--name", "box", "busybox"]);
    daemon.teu(["create", "--name", "box", "busybox"]).refused(1, &["\"/box\" is already in use"]);
    daemon.teu(["run", "--name", "box", "busybox"]).refused(125, &["\"/box\" is already in use"]);
    for name in ["-x", "a b", "ü", "a/b", ".."] {
        daemon.teu(["create", &format!("--name={name}"), "busybox"]).refused(1, &["Invalid container name"]);
    }
    assert_eq!(daemon.ok(["ps", "-aq"]).lines().count(), 1);
}

#[test]
fn a_bad_mount_variable_or_folder_is_refused() {
    let daemon = Daemon::start();
    let refuse = |flags: &[&str], words: &[&str]| {
        let line = ["run", "--rm"].into_iter().chain(flags.iter().copied()).chain(["busybox", "true"]);
        daemon.teu(line).refused(125, words);
    };
    refuse(&["-v", "/data:relative"], &["relative"]);
    refuse(&["-v", "/a:/b:sometimes"], &["sometimes"]);
    refuse(&["-v", "bad name:/b"], &["bad name"]);
    refuse(&["--mount", "type=bind,source=/no/such/folder,target=/x"], &["/no/such/folder"]);
    refuse(&["-w", "work"], &["work"]);
    refuse(&["-e", "=x"], &["=x"]);
    refuse(&["-u", "4294967296"], &["4294967296"]);
    refuse(&["-u", "-1"], &["-1"]);
    refuse(&["--restart", "sometimes"], &["sometimes"]);
    refuse(&["--cap-add", "FLY"], &["FLY"]);
    refuse(&["--stop-signal", "NOPE"], &["NOPE"]);
    refuse(&["--cpuset-cpus", "0-4294967295"], &["0-4294967295"]);
    assert_eq!(holdings(&daemon).split('|').next(), Some(""));
    assert_eq!(holdings(&daemon).split('|').next_back(), Some(""));
}

#[test]
fn a_broken_archive_or_none_is_refused() {
    let daemon = Daemon::bare();
    tree(daemon.folder(), &[("text", &"this is no archive\n".repeat(100))]);
    let path = |name: &str| daemon.folder().join(name).display().to_string();
    daemon.teu(["load", "-i", &path("text")]).refused(1, &["no tar archive"]);
    daemon.teu(["load", "-i", &path("missing")]).refused(1, &["missing", "no such file"]);
    daemon.teu(["import", &path("text"), "x"]).refused(1, &["no tar archive"]);
    let half = fs::read(base_image()).expect("image");
    daemon.teu_with(["load"], &half[..half.len() / 3]).refused(1, &["it ends too early"]);
    daemon.teu_with(["import", "-", "x"], &half[..half.len() / 3]).refused(1, &["ends too early"]);
    // An archive that would write outside.
    let script = "import tarfile, io, sys\n\
        t = tarfile.open(sys.argv[1], 'w')\n\
        for name in ('../../escaped', '/escaped'):\n    i = tarfile.TarInfo(name); i.size = 1; t.addfile(i, io.BytesIO(b'x'))\n\
        i = tarfile.TarInfo('link'); i.type = tarfile.SYMTYPE; i.linkname = '/tmp'; t.addfile(i)\n\
        i = tarfile.TarInfo('link/teu-escaped'); i.size = 1; t.addfile(i, io.BytesIO(b'x'))\n";
    run(Command::new("python3").args(["-c", script, &path("hostile.tar")])).ok();
    daemon.teu(["import", &path("hostile.tar"), "hostile"]);
    assert!(!Path::new("/escaped").exists() && !Path::new("/tmp/teu-escaped").exists());
    assert!(!daemon.root().join("escaped").exists() && !daemon.root().join("snapshots/escaped").exists());
}

#[test]
fn without_root_the_daemon_says_what_it_takes() {
    let folder = tempfile::tempdir().expect("folder");
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", TEU, "daemon", "--data-root"]);
    command.arg(folder.path().join("root")).arg("--exec-root").arg(folder.path().join("run"));
    command.arg("-H").arg(format!("unix://{}", folder.path().join("s").display()));
    let copy = reachable();
    let command = with_program(&mut command, copy.path());
    run(command).refused(1, &["root"]);
}

#[test]
fn without_leave_to_use_the_socket_a_command_says_so() {
    let daemon = Daemon::start();
    let copy = reachable();
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", TEU, "-H", &daemon.host(), "ps"]);
    let command = with_program(&mut command, copy.path());
    // The folder of the test is root's own; the socket is too.
    let open = fs::Permissions::from_mode(0o711);
    fs::set_permissions(daemon.folder(), open).expect("permissions");
    run(command).refused(1, &["permission denied", &daemon.socket().display().to_string()]);
}

/// A copy of the program where every user can reach it.
fn reachable() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("folder");
    fs::hard_link(TEU, folder.path().join("teu"))
        .or_else(|_| fs::copy(TEU, folder.path().join("teu")).map(drop))
        .expect("copied");
    let open = fs::Permissions::from_mode(0o755);
    fs::set_permissions(folder.path(), open).expect("permissions");
    folder
}

/// The same command with that copy instead of the program.
fn with_program<'c>(command: &'c mut Command, folder: &Path) -> &'c mut Command {
    let copy = folder.join("teu").into_os_string();
    let words: Vec<_> =
        command.get_args().map(|word| if word == TEU { copy.clone() } else { word.to_owned() }).collect();
    let program = command.get_program().to_owned();
    *command = Command::new(program);
    for name in ["TEU_HOST", "DOCKER_HOST", "TEU_CONFIG"] {
        command.env_remove(name);
    }
    command.env("HOME", folder).args(words)
}

#[test]
fn a_daemon_that_is_not_there_is_told_with_its_address() {
    let folder = tempfile::tempdir().expect("folder");
    let host = format!("unix://{}", folder.path().join("none.sock").display());
    let teu = |args: &[&str]| run(Command::new(TEU).env_remove("DOCKER_HOST").env_remove("TEU_HOST").args(args));
    teu(&["--no-autostart", "-H", &host, "ps"]).refused(1, &[&host]);
    teu(&["-H", "tcp://127.0.0.1:1", "ps"]).refused(1, &["127.0.0.1:1"]);
    teu(&["-H", "ftp://x", "ps"]).refused(1, &["ftp://x"]);
    // DOCKER_HOST may be another engine's: teu starts nothing there.
    let ran = run(Command::new(TEU).env_remove("TEU_HOST").env("DOCKER_HOST", &host).arg("ps"));
    ran.refused(1, &[&host]);
    assert!(!folder.path().join("none.sock").exists());
}

#[test]
fn a_full_disk_is_told_and_what_was_begun_is_taken_back() {
    let full = Full::mount("24m");
    let daemon = Daemon::on(&full.path);
    let used = || {
        let told = run(Command::new("df").args(["--output=used", "-k"]).arg(&full.path)).ok();
        told.lines().last().and_then(|line| line.trim().parse::<u64>().ok()).expect("a number")
    };
    let before = used();
    let context = daemon.folder().join("context");
    tree(&context, &[("Dockerfile", "FROM busybox\nCOPY big /big\n")]);
    fs::write(context.join("big"), vec![7; 30 << 20]).expect("written");
    daemon.teu(["build", context.to_str().expect("path")]).refused_build(&["no space left"]);
    let dockerfile = "FROM busybox\nRUN head -c 30000000 /dev/zero > /big\n";
    daemon.teu_with(["build", "-t", "x", "-"], dockerfile.as_bytes()).refused_build(&[]);
    // A layer of the archive does not fit.
    let archive = daemon.folder().join("big.tar");
    let tar = Command::new("tar").arg("-C").arg(&context).arg("-cf").arg(&archive).arg("big").status();
    assert!(tar.expect("tar").success());
    daemon.teu(["import", archive.to_str().expect("path"), "big"]).refused(1, &["no space left"]);
    assert_eq!(daemon.ok(["images", "-q"]).lines().count(), 1);
    // A container's own writes are its own affair.
    let ran = daemon.teu(["run", "--rm", "busybox", "sh", "-c", "head -c 30000000 /dev/zero > /big"]).ends_with(1);
    assert!(ran.err.contains("head: "), "{}", ran.err);
    assert_eq!(daemon.ok(["run", "--rm", "busybox", "echo", "fine"]), "fine");
    // One that ends while nothing can be written down has ended all the same.
    let filling = "head -c 30000000 /dev/zero > /big; sleep 1000";
    daemon.ok(["run", "-d", "--name", "filling", "busybox", "sh", "-c", filling]);
    support::eventually("the disk is full", || (used() >= 24 << 10).then_some(()));
    daemon.ok(["kill", "filling"]);
    assert_eq!(daemon.ok(["wait", "filling"]), "137");
    assert_eq!(daemon.inspect("filling", "{{.State.Status}}"), "exited");
    daemon.ok(["rm", "filling"]);
    support::eventually("the space is free again", || (used() <= before + 512).then_some(()));
}

/// A small disk in memory, unmounted at the end.
struct Full {
    path: std::path::PathBuf,
    _folder: tempfile::TempDir,
}

impl Full {
    fn mount(size: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("teu-small-").tempdir().expect("folder");
        let path = folder.path().join("disk");
        fs::create_dir(&path).expect("folder");
        run(Command::new("mount").args(["-t", "tmpfs", "-o", &format!("size={size}"), "none"]).arg(&path)).ok();
        Self { path, _folder: folder }
    }
}

impl Drop for Full {
    fn drop(&mut self) {
        let unmounted = run(Command::new("umount").arg(&self.path));
        if !std::thread::panicking() {
            assert_eq!(unmounted.code, 0, "{}: something still uses the disk", unmounted.err);
        }
    }
}
