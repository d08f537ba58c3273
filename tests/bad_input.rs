//! Bad input: one clear sentence, the right exit code, and nothing left behind (which every [`Daemon`] checks).

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use support::{Daemon, TEU, run};

/// What a daemon has, by name.
fn holdings(daemon: &Daemon) -> String {
    [&["ps", "-aq"][..], &["images", "-q"], &["volume", "ls", "-q"]].map(|line| daemon.ok(line)).join("|")
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
