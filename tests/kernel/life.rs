//! From create to remove: states, exit codes, signals, names.

use rustix::process::Signal;

use super::support::{Daemon, Running, eventually, probe, processes_of};

#[test]
fn exit_codes_are_the_programs_or_125_126_127() {
    let daemon = Daemon::start();
    let code = |words: &[&str]| daemon.teu(["run", "--rm", "busybox"].iter().chain(words)).code;
    assert_eq!(code(&["true"]), 0);
    assert_eq!(code(&["false"]), 1);
    assert_eq!(code(&["sh", "-c", "exit 42"]), 42);
    assert_eq!(code(&["sh", "-c", "(sh -c 'kill -KILL $$'); exit $?"]), 137);
}

#[test]
fn a_program_that_cannot_start_leaves_no_running_container() {
    let daemon = Daemon::start();
    daemon.teu(["run", "--rm", "busybox", "no-such-program"]).refused(127, &["no-such-program", "not found"]);
    daemon.teu(["run", "--rm", "busybox", "/etc/passwd"]).refused(126, &["/etc/passwd", "permission denied"]);
    daemon.teu(["run", "--rm", "busybox", "/etc"]).refused(126, &["/etc"]);
    daemon.teu(["run", "--rm", "-w", "relative", "busybox", "true"]).refused(125, &["relative"]);
    daemon.teu(["run", "--rm", "-u", "ghost", "busybox", "true"]).refused(125, &["ghost"]);
    assert_eq!(daemon.ok(["ps", "-aq"]), "");
    // Without --rm it stays, as created, with its exit code.
    daemon.teu(["run", "--name", "box", "busybox", "no-such-program"]).ends_with(127);
    assert_eq!(daemon.inspect("box", "{{.State.Status}} {{.State.ExitCode}}"), "created 127");
}

#[test]
fn a_signal_that_ends_the_program_is_128_and_its_number() {
    let daemon = Daemon::start();
    for (signal, code) in [("KILL", 137), ("TERM", 143), ("SIGINT", 130)] {
        let script = "trap 'exit 143' TERM; trap 'exit 130' INT; echo up; while :; do sleep 1000 & wait; done";
        let id = daemon.ok(["run", "-d", "busybox", "sh", "-c", script]);
        daemon.spawn(["logs", "-f", &id]).until("up");
        daemon.ok(["kill", "-s", signal, &id]);
        assert_eq!(daemon.ok(["wait", &id]), code.to_string());
        assert_eq!(processes_of(&id), [0; 0]);
    }
    daemon.ok(["run", "-d", "--name", "plain", "busybox", "sleep", "1000"]);
    daemon.ok(["kill", "plain"]);
    assert_eq!(daemon.ok(["wait", "plain"]), "137");
    daemon.teu(["kill", "plain"]).refused(1, &["plain", "not running"]);
    daemon.teu(["kill", "-s", "NOPE", "plain"]).refused(1, &["NOPE"]);
}

#[test]
fn stop_asks_first_and_kills_after_the_timeout() {
    let daemon = Daemon::start();
    let polite = "trap 'echo bye; exit 7' TERM; echo up; while :; do sleep 1000 & wait; done";
    daemon.ok(["run", "-d", "--name", "polite", "busybox", "sh", "-c", polite]);
    daemon.spawn(["logs", "-f", "polite"]).until("up");
    assert_eq!(daemon.ok(["stop", "polite"]), "polite");
    assert_eq!(daemon.inspect("polite", "{{.State.ExitCode}}"), "7");
    assert!(daemon.ok(["logs", "polite"]).ends_with("bye"));
    // A first process without a handler never gets SIGTERM.
    daemon.ok(["run", "-d", "--name", "deaf", "busybox", "sleep", "1000"]);
    daemon.ok(["stop", "-t", "1", "deaf"]);
    assert_eq!(daemon.inspect("deaf", "{{.State.ExitCode}} {{.State.OOMKilled}}"), "137 false");
    // Stopping what is stopped is no error.
    daemon.ok(["stop", "deaf"]);
}

#[test]
fn the_stop_signal_is_the_one_that_was_chosen() {
    let daemon = Daemon::start();
    let script = "trap 'exit 11' USR1; echo up; while :; do sleep 1000 & wait; done";
    daemon.ok(["run", "-d", "--name", "box", "--stop-signal", "SIGUSR1", "busybox", "sh", "-c", script]);
    daemon.spawn(["logs", "-f", "box"]).until("up");
    daemon.ok(["stop", "box"]);
    assert_eq!(daemon.inspect("box", "{{.State.ExitCode}}"), "11");
}

#[test]
fn signals_to_the_client_reach_the_program() {
    let daemon = Daemon::start();
    let script = "trap 'echo caught; exit 12' TERM; echo up; while :; do sleep 1000 & wait; done";
    let mut client = daemon.spawn(["run", "--rm", "busybox", "sh", "-c", script]);
    client.until("up");
    client.signal(Signal::TERM);
    assert_eq!(client.finish().ends_with(12).out, "\ncaught\n");
}

/// Waits until a client catches signals.
fn catches(client: &Running) {
    let status = format!("/proc/{}/status", client.pid().as_raw_nonzero());
    eventually("the client catches TERM", || {
        let text = std::fs::read_to_string(&status).ok()?;
        let mask = text.lines().find_map(|line| line.strip_prefix("SigCgt:"))?;
        let mask = u64::from_str_radix(mask.trim(), 16).ok()?;
        (mask & 1 << (Signal::TERM.as_raw() - 1) != 0).then_some(())
    });
}

/// Waits until a client has asked: it sleeps, and has a connection.
fn waits_for_an_answer(client: &Running) {
    let place = format!("/proc/{}", client.pid().as_raw_nonzero());
    let is_socket = |path: std::path::PathBuf| path.to_string_lossy().starts_with("socket:");
    eventually("the client waits", || {
        let mut entries = std::fs::read_dir(format!("{place}/fd")).ok()?.flatten();
        let connected = entries.any(|entry| std::fs::read_link(entry.path()).is_ok_and(is_socket));
        let stat = std::fs::read_to_string(format!("{place}/stat")).ok()?;
        (connected && stat.contains(") S ")).then_some(())
    });
}

#[test]
fn signals_that_come_before_the_container_wait_for_it() {
    let daemon = Daemon::start();
    let asleep = |signals: &[Signal]| {
        daemon.signal(Signal::STOP);
        let client = daemon.spawn(["run", "--rm", "--init", "busybox", "sleep", "1000"]);
        catches(&client);
        signals.iter().for_each(|signal| client.signal(*signal));
        client
    };
    let client = asleep(&[Signal::TERM]);
    daemon.signal(Signal::CONT);
    client.finish().ends_with(143);
    // Who insists does not wait for a daemon that does not answer.
    let client = asleep(&[]);
    waits_for_an_answer(&client);
    [Signal::TERM, Signal::HUP, Signal::INT].iter().for_each(|signal| client.signal(*signal));
    let code = client.finish().code;
    assert!([129, 130, 143].contains(&code), "{code}");
    daemon.signal(Signal::CONT);
    eventually("what it had asked for is there", || (!daemon.ok(["ps", "-aq"]).is_empty()).then_some(()));
    daemon.ok(["rm", "-f", &daemon.ok(["ps", "-aq"])]);
}

#[test]
fn a_signal_breaks_off_a_pull() {
    let daemon = Daemon::start();
    // A registry that takes connections and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
    let image = format!("{}/never", silent.local_addr().expect("address"));
    let client = daemon.spawn(["run", &image]);
    let _connection = silent.accept().expect("asked");
    client.signal(Signal::INT);
    let ran = client.finish().ends_with(130);
    assert!(ran.err.contains("Unable to find image"), "{}", ran.err);
    assert_eq!(daemon.ok(["ps", "-aq"]), "");
}

#[test]
fn create_then_start_then_restart() {
    let daemon = Daemon::start();
    let id = daemon.ok([
        "create",
        "--name",
        "box",
        "busybox",
        "sh",
        "-c",
        "echo x >> /count; wc -l < /count; exec sleep 1000",
    ]);
    assert_eq!(daemon.inspect("box", "{{.State.Status}} {{.State.Pid}}"), "created 0");
    assert_eq!(daemon.ok(["start", "box"]), "box");
    daemon.spawn(["logs", "-f", "box"]).until("1\n");
    let pid = daemon.inspect("box", "{{.State.Pid}}");
    daemon.ok(["start", "box"]);
    assert_eq!(daemon.inspect("box", "{{.State.Pid}}"), pid);
    assert_eq!(daemon.ok(["restart", "-t", "0", "box"]), "box");
    // The write layer is the same, the process is not.
    daemon.spawn(["logs", "-f", "box"]).until("2\n");
    assert_ne!(daemon.inspect("box", "{{.State.Pid}}"), pid);
    assert_eq!(daemon.inspect("box", "{{.Id}}"), id);
}

#[test]
fn rm_takes_what_stopped_and_refuses_what_runs() {
    let daemon = Daemon::start();
    daemon.ok(["run", "-d", "--name", "box", "busybox", "sleep", "1000"]);
    daemon.teu(["rm", "box"]).refused(1, &["box", "running"]);
    assert_eq!(daemon.ok(["rm", "-f", "box"]), "box");
    daemon.teu(["rm", "box"]).refused(1, &["No such container: box"]);
    daemon.ok(["rm", "-f", "box"]);
    assert_eq!(daemon.ok(["ps", "-aq"]), "");
}

#[test]
fn run_rm_removes_the_container_and_frees_its_name() {
    let daemon = Daemon::start();
    for _ in 0..3 {
        daemon.teu(["run", "--rm", "--name", "once", "busybox", "false"]).ends_with(1);
    }
    assert_eq!(daemon.ok(["ps", "-aq"]), "");
}

#[test]
fn a_name_is_for_one_container_and_can_be_changed() {
    let daemon = Daemon::start();
    let id = daemon.ok(["run", "-d", "--name", "old", "busybox", "sleep", "1000"]);
    daemon.teu(["run", "--name", "old", "busybox", "true"]).refused(125, &["old", "already in use", &id]);
    daemon.ok(["rename", "old", "new"]);
    assert_eq!(daemon.inspect("new", "{{.Id}} {{.Name}}"), format!("{id} /new"));
    daemon.teu(["inspect", "--type", "container", "old"]).ends_with(1);
    daemon.ok(["run", "-d", "--name", "old", "busybox", "true"]);
    daemon.teu(["rename", "new", "old"]).refused(1, &["old", "already in use"]);
    // The id, and what is unique of it, name it too.
    assert_eq!(daemon.inspect(&id[..12], "{{.Name}}"), "/new");
}

#[test]
fn wait_returns_when_it_ends_and_at_once_when_it_has() {
    let daemon = Daemon::start();
    daemon.ok(["run", "-d", "-i", "--name", "box", "busybox", "sh", "-c", "read line; exit 21"]);
    let waiting = daemon.spawn(["wait", "box"]);
    daemon.teu_with(["attach", "box"], b"go\n").ends_with(21);
    assert_eq!(waiting.finish().ok(), "21");
    assert_eq!(daemon.ok(["wait", "box"]), "21");
}

#[test]
fn ps_shows_what_runs_and_with_a_everything() {
    let daemon = Daemon::start();
    daemon.ok(["run", "-d", "--name", "on", "-p", "127.0.0.1::80", "busybox", "sleep", "1000"]);
    daemon.teu(["run", "--name", "off", "busybox", "sh", "-c", "exit 3"]).ends_with(3);
    assert_eq!(daemon.ok(["ps", "--format", "{{.Names}}"]), "on");
    assert_eq!(daemon.ok(["ps", "-a", "--format", "{{.Names}}"]), "off\non");
    let row = daemon.ok(["ps", "-a", "--filter", "name=off", "--format", "{{.Image}} {{.Command}} {{.Status}}"]);
    assert!(row.starts_with("busybox \"sh -c 'exit 3'\" Exited (3) "), "{row}");
    let row = daemon.ok(["ps", "--format", "{{.Status}} {{.Ports}}"]);
    assert!(row.starts_with("Up ") && row.contains(" 127.0.0.1:") && row.ends_with("->80/tcp"), "{row}");
}

#[test]
fn pause_freezes_and_unpause_goes_on() {
    let daemon = Daemon::start();
    daemon.ok(["run", "-d", "--name", "box", "busybox", "sh", "-c", "while :; do :; done"]);
    let ticks = || {
        let pid = daemon.inspect("box", "{{.State.Pid}}");
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("stat");
        stat.split_whitespace().nth(13).expect("utime").parse::<u64>().expect("a number")
    };
    eventually("it uses the processor", || (ticks() > 2).then_some(()));
    daemon.ok(["pause", "box"]);
    assert_eq!(daemon.inspect("box", "{{.State.Status}} {{.State.Paused}} {{.State.Running}}"), "paused true true");
    let frozen = ticks();
    // Enough time for a running loop to show: another container's whole life.
    daemon.sh("i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done");
    assert_eq!(ticks(), frozen);
    daemon.teu(["pause", "box"]).refused(1, &["paused"]);
    daemon.ok(["unpause", "box"]);
    eventually("it goes on", || (ticks() > frozen).then_some(()));
    daemon.teu(["unpause", "box"]).refused(1, &["not paused"]);
}

#[test]
fn a_paused_container_can_be_killed_and_removed() {
    let daemon = Daemon::start();
    daemon.ok(["run", "-d", "--name", "box", "busybox", "sleep", "1000"]);
    daemon.ok(["pause", "box"]);
    daemon.ok(["rm", "-f", "box"]);
    assert_eq!(daemon.ok(["ps", "-aq"]), "");
}

#[test]
fn variables_folder_entrypoint_and_command_are_as_asked() {
    let daemon = Daemon::start();
    let line =
        ["run", "--rm", "-e", "A=1", "-e", "B=two words", "-w", "/made/here", "busybox", "sh", "-c", "echo $A-$B; pwd"];
    assert_eq!(daemon.ok(line), "1-two words\n/made/here");
    let line = ["run", "--rm", "--entrypoint", "/bin/echo", "busybox", "one", "two"];
    assert_eq!(daemon.ok(line), "one two");
    assert_eq!(
        daemon.ok(["run", "--rm", "busybox", "sh", "-c", "echo $PATH"]),
        "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    );
}

#[test]
fn a_restart_policy_starts_what_failed_again() {
    let daemon = Daemon::start();
    let script = "echo x >> /count; [ $(wc -l < /count) -ge 3 ]";
    daemon.ok(["run", "-d", "--name", "box", "--restart", "on-failure:5", "busybox", "sh", "-c", script]);
    eventually("it succeeds", || {
        (daemon.inspect("box", "{{.State.Status}} {{.State.ExitCode}} {{.RestartCount}}") == "exited 0 2").then_some(())
    });
}

#[test]
fn events_tell_the_story_in_order() {
    let daemon = Daemon::start();
    let story = ["create", "attach", "start", "die", "destroy"];
    // A listener that comes late is told what happened before, and what happens after, without a gap.
    daemon.ok(["run", "--name", "box", "busybox", "true"]);
    let filters = ["--since", "0", "--filter", "container=box", "--format", "{{.Action}}"];
    let mut listener = daemon.spawn(["events"].into_iter().chain(filters));
    for action in &story[..4] {
        assert_eq!(listener.line(), *action);
    }
    daemon.ok(["rm", "box"]);
    assert_eq!(listener.line(), story[4]);
}

#[test]
fn a_container_that_removes_itself_outlives_a_restart_without_patience() {
    let daemon = Daemon::start();
    let script = "trap 'exit 0' TERM; echo up; while :; do sleep 1000 & wait; done";
    for ending in ["kill", "stop"] {
        daemon.ok(["run", "-d", "--rm", "--name", ending, "busybox", "sh", "-c", script]);
        daemon.spawn(["logs", "-f", ending]).until("up");
        // It may have ended by the signal when the kill that follows at once comes to it.
        daemon.ok(["restart", "-t", "0", ending]);
        assert_eq!(daemon.inspect(ending, "{{.State.Status}}"), "running");
        daemon.ok([ending, ending]);
        eventually("it is gone", || (daemon.teu(["inspect", ending]).code != 0).then_some(()));
    }
}

#[test]
fn who_stops_those_who_enter_does_not_hold_the_container() {
    let mut daemon = Daemon::start();
    // A stopped newcomer never executes its program, and its supervisor waits for that.
    let stop_everybody = "echo up; while :; do kill -STOP -1; done";
    let id = daemon.ok(["run", "-d", "--init", "--name", "box", "busybox", "sh", "-c", stop_everybody]);
    daemon.spawn(["logs", "-f", "box"]).until("up");
    // The init has executed no program either, but nobody waits for it.
    daemon.ok(["kill", "-s", "STOP", "box"]);
    hold_somebody(&daemon, &id).finish().refused(1, &["its process ended before it was ready"]);
    assert_eq!(daemon.inspect("box", "{{.State.Status}}"), "running");
    // A daemon that comes meanwhile reaches the supervisor too.
    let held = hold_somebody(&daemon, &id);
    daemon.kill9();
    daemon.restart();
    held.finish();
    assert_eq!(daemon.inspect("box", "{{.State.Status}}"), "running");
    let held = hold_somebody(&daemon, &id);
    daemon.ok(["kill", "box"]);
    held.finish();
    assert_eq!(daemon.ok(["wait", "box"]), "137");
}

/// A name is a process's own affair, and nothing is hidden by it.
#[test]
fn who_calls_itself_something_that_is_no_text_is_still_there() {
    let daemon = Daemon::start();
    let script = "printf '\\377) Z 1' >/proc/1/comm; echo up; while :; do kill -STOP -1; done";
    let id = daemon.ok(["run", "-d", "--name", "box", "busybox", "sh", "-c", script]);
    daemon.spawn(["logs", "-f", "box"]).until("up");
    assert!(daemon.ok(["top", "box", "-o", "pid,s,comm"]).contains("\u{fffd}) Z 1"));
    hold_somebody(&daemon, &id).finish().refused(1, &["its process ended before it was ready"]);
    daemon.ok(["kill", "box"]);
    assert_eq!(daemon.ok(["wait", "box"]), "137");
}

#[test]
fn a_program_that_cannot_be_opened_holds_the_container_for_a_while_only() {
    let daemon = Daemon::start();
    let bind = format!("{}:/probe:ro", probe().display());
    let script = "cp /bin/busybox /x/true && exec /probe lease /x/true";
    let words = ["run", "-d", "--name", "box", "-v", &bind, "--tmpfs", "/x:exec", "busybox", "sh", "-c", script];
    let id = daemon.ok(&words);
    daemon.spawn(["logs", "-f", "box"]).until("held");
    let waiting = daemon.spawn(["exec", "-d", "box", "/x/true"]);
    eventually("somebody waits for the program", || (processes_of(&id).len() == 2).then_some(()));
    // Its supervisor does not answer now.
    daemon.ok(["stop", "-t", "1", "box"]);
    assert_eq!(daemon.inspect("box", "{{.State.ExitCode}}"), "137");
    waiting.finish();
    daemon.ok(["rm", "box"]);
    daemon.ok(&words);
    daemon.spawn(["logs", "-f", "box"]).until("held");
    let waiting = daemon.spawn(["exec", "-d", "box", "/x/true"]);
    assert_eq!(daemon.ok(["exec", "box", "echo", "here"]), "here");
    waiting.finish();
}

/// Has programs executed in the container until one is stopped too early for that.
fn hold_somebody(daemon: &Daemon, id: &str) -> Running {
    let stat = |pid: i32| {
        let line = std::fs::read(format!("/proc/{pid}/stat")).unwrap_or_default();
        String::from_utf8_lossy(&line).into_owned()
    };
    let known = ["(init)", "(sh)", "(true)"];
    let is_held = |stat: &str| stat.contains(") T ") && !known.iter().any(|name| stat.contains(name));
    let held = || processes_of(id).into_iter().map(stat).any(|stat| is_held(&stat));
    eventually("somebody is held", || {
        let newcomer = daemon.spawn(["exec", "-d", "box", "true"]);
        let client = newcomer.pid().as_raw_nonzero().get();
        eventually("it is held or over", || (held() || stat(client).contains(") Z ")).then_some(()));
        held().then_some(newcomer)
    })
}

#[test]
fn a_link_is_a_further_name_that_follows_both_containers() {
    let daemon = Daemon::start();
    let run = |words: &[&str]| daemon.ok(["run", "-d"].iter().chain(words).chain(&["busybox", "sleep", "1000"]));
    let db = run(&["--name", "db"]);
    run(&["--name", "web", "--link", "db:/sql"]);
    assert_eq!(daemon.inspect("web", "{{index .HostConfig.Links 0}}"), "/db:/web/sql");
    daemon.ok(["rename", "db", "store"]);
    daemon.ok(["rename", "web", "front"]);
    assert_eq!(daemon.inspect("front", "{{index .HostConfig.Links 0}}"), "/store:/front/sql");
    assert_eq!(daemon.inspect("front/sql", "{{.Id}}"), db);
    assert_eq!(daemon.ok(["ps", "--no-trunc", "-f", "name=store", "--format", "{{.Names}}"]), "store,front/sql");
    let told = daemon.ok(["run", "--rm", "--link", "store:my-db", "-e", "MY_DB_NAME=own", "busybox", "env"]);
    assert!(told.contains("MY_DB_NAME=own"), "{told}");
    let told = daemon.ok(["run", "--rm", "--name", "third", "--link", "store:my-db", "busybox", "env"]);
    assert!(told.contains("MY_DB_NAME=/third/my-db"), "{told}");
    // Started again it finds the container, whatever that is called now.
    daemon.ok(["restart", "-t", "0", "front"]);
    assert!(daemon.ok(["exec", "front", "cat", "/etc/hosts"]).contains("sql"));
    daemon.ok(["rm", "--link", "front/sql"]);
    let hosts = daemon.ok(["exec", "front", "cat", "/etc/hosts"]);
    assert!(!hosts.contains("sql") && hosts.contains("localhost"), "{hosts}");
    assert_eq!(daemon.inspect("front", "{{len .HostConfig.Links}}"), "0");
    assert_eq!(daemon.inspect("store", "{{.State.Running}}"), "true");
    daemon.teu(["rm", "--link", "front/sql"]).refused(1, &["front/sql"]);
    daemon.teu(["create", "--link", "ghost", "busybox"]).refused(1, &["could not get container for ghost"]);
}
