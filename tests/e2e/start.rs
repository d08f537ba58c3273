//! How a daemon comes to be: started by the first command, by flag, by environment, by file; several side by side.

use std::process::Command;

use super::support::{Daemon, Running, TEU, run};

/// A client that may start a daemon on the folders of its environment, which is all it knows.
fn client(folder: &std::path::Path) -> Command {
    let mut command = Command::new(TEU);
    command.env_remove("DOCKER_HOST").env_remove("TEU_CONFIG");
    command.env("TEU_HOST", format!("unix://{}", folder.join("teu.sock").display()));
    command.env("TEU_DATA_ROOT", folder.join("root")).env("TEU_EXEC_ROOT", folder.join("run"));
    command.env("HOME", folder).env("DOCKER_CONFIG", folder.join("client"));
    command
}

#[test]
fn the_first_command_starts_the_daemon_and_several_at_once_start_one() {
    // On the folders of a daemon that was stopped.
    let mut daemon = Daemon::start();
    daemon.stop();
    let clients: Vec<_> = (0..4).map(|_| Running::spawn(client(daemon.folder()).args(["images", "-q"]))).collect();
    let told: Vec<_> = clients.into_iter().map(|client| client.finish().ok()).collect();
    assert!(told.iter().all(|id| *id == told[0] && !id.is_empty()), "{told:?}");
    assert_eq!(run(client(daemon.folder()).args(["run", "--rm", "busybox", "echo", "up"])).ok(), "up");
    daemon.take_over();
}

#[test]
fn without_a_daemon_and_without_leave_to_start_one_a_command_says_so() {
    let mut daemon = Daemon::bare();
    daemon.kill9();
    daemon.teu(["ps"]).refused(1, &["daemon", &daemon.socket().display().to_string()]);
    daemon.teu(["run", "busybox"]).refused(125, &["daemon"]);
}

#[test]
fn daemons_live_side_by_side() {
    let (one, two) = (Daemon::start(), Daemon::start());
    assert_ne!(one.bridge(), two.bridge());
    for daemon in [&one, &two] {
        daemon.ok(["run", "-d", "--name", "same", "-p", "127.0.0.1::80", "busybox", "httpd", "-f"]);
        assert_eq!(daemon.ok(["ps", "-q"]).lines().count(), 1);
    }
    let subnet = |daemon: &Daemon| daemon.inspect("same", "{{.NetworkSettings.Networks.bridge.Gateway}}");
    assert_ne!(subnet(&one), subnet(&two));
}

#[test]
fn one_data_root_is_for_one_daemon() {
    let daemon = Daemon::bare();
    let mut second = Command::new(TEU);
    second.arg("daemon").arg("--data-root").arg(daemon.root()).arg("--exec-root").arg(daemon.folder().join("run2"));
    second.args(["-H", &format!("unix://{}", daemon.folder().join("second.sock").display())]);
    let ran = run(&mut second);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.err.contains("teu daemon: ") && ran.err.contains(&daemon.root().display().to_string()), "{}", ran.err);
    assert_eq!(daemon.ok(["ps", "-q"]), "");
}

#[test]
fn the_configuration_file_is_read() {
    let folder = tempfile::tempdir().expect("folder");
    let file = folder.path().join("daemon.json");
    std::fs::write(&file, r#"{"labels": ["place=here"]}"#).expect("written");
    let daemon = Daemon::with(&["--config-file", file.to_str().expect("path")]);
    assert!(daemon.ok(["info"]).contains("place=here"));
}
