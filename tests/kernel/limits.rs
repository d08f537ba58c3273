//! Memory, processors, processes: the limits really limit.

use std::fs;
use std::path::PathBuf;

use super::support::{Daemon, cgroup_of, eventually, probe, processes_of};

/// `file` of the container's cgroup, in whichever hierarchy has it.
fn knob(id: &str, files: &[&str]) -> Option<String> {
    let folders: Vec<PathBuf> = cgroup_of(id);
    files
        .iter()
        .flat_map(|file| folders.iter().map(move |folder| folder.join(file)))
        .find_map(|path| fs::read_to_string(path).ok())
}

/// A value of a `name value` file.
fn value(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    line.unwrap_or_else(|| panic!("no {name} in {text}"))
}

#[test]
fn who_allocates_past_the_memory_limit_is_killed_and_inspect_says_so() {
    let daemon = Daemon::start();
    let bind = format!("{}:/probe:ro", probe().display());
    let line =
        ["run", "--name", "hog", "-v", &bind, "-m", "32m", "--memory-swap", "32m", "busybox", "/probe", "hold", "64"];
    daemon.teu(line).ends_with(137);
    assert_eq!(daemon.inspect("hog", "{{.State.OOMKilled}} {{.State.ExitCode}} {{.State.Status}}"), "true 137 exited");
}

#[test]
fn who_stays_below_the_memory_limit_is_left_alone() {
    let daemon = Daemon::start();
    let bind = format!("{}:/probe:ro", probe().display());
    let line = ["run", "-d", "--name", "thrifty", "-v", &bind, "-m", "64m", "busybox", "/probe", "hold", "32"];
    let id = daemon.ok(line);
    daemon.spawn(["logs", "-f", "thrifty"]).until("held");
    assert_eq!(daemon.inspect("thrifty", "{{.State.OOMKilled}} {{.HostConfig.Memory}}"), "false 67108864");
    let limit = knob(&id, &["memory.max", "memory.limit_in_bytes"]).expect("a limit");
    assert_eq!(limit.trim(), "67108864");
}

#[test]
fn a_fork_bomb_stops_at_the_limit() {
    let daemon = Daemon::start();
    // The bomb is an exec, because its shell ends at the first fork that is refused.
    let script = "bomb() { bomb | bomb & wait; }; bomb";
    let id = daemon.ok(["run", "-d", "--name", "bomb", "--pids-limit", "20", "busybox", "sleep", "1000"]);
    daemon.ok(["exec", "-d", "bomb", "sh", "-c", script]);
    let refused = eventually("a fork is refused", || {
        let events = knob(&id, &["pids.events"])?;
        assert!(processes_of(&id).len() <= 20);
        Some(value(&events, "max")).filter(|count| *count > 0)
    });
    assert!(refused > 0);
    daemon.ok(["rm", "-f", "bomb"]);
}

#[test]
fn half_a_processor_is_what_a_busy_loop_gets() {
    let daemon = Daemon::start();
    let id = daemon.ok(["run", "-d", "--name", "busy", "--cpus", "0.5", "busybox", "sh", "-c", "while :; do :; done"]);
    // Twenty periods of 100 ms: two seconds, or more on a machine that has other things to do.
    let read = || knob(&id, &["cpu.stat"]).expect("cpu.stat");
    let held = |text: &String| value(text, "nr_periods") >= 20 && value(text, "nr_throttled") > 0;
    let text = eventually("twenty periods, and held back", || Some(read()).filter(held));
    let periods = value(&text, "nr_periods");
    // On a hybrid host the processor time is told by the version 2 tree, beside the limit's own hierarchy.
    let used =
        daemon.ok(["exec", "busy", "sh", "-c", "cut -d' ' -f14 /proc/1/stat"]).parse::<u64>().expect("ticks") * 10_000;
    // 50 ms of each period, with room for the last one. The periods are counted before and after, because a machine with
    // other things to do may take its time between two readings.
    let later = value(&read(), "nr_periods") + 1;
    assert!(used / later < 60_000, "{used} µs in {later} periods");
    assert!(used / periods > 2_000, "{used} µs in {periods} periods");
}

#[test]
fn limits_are_in_force_for_an_exec_too() {
    let daemon = Daemon::start();
    let id = daemon.ok(["run", "-d", "--name", "box", "--pids-limit", "5", "busybox", "sleep", "1000"]);
    let script = "for i in 1 2 3 4 5 6 7 8; do sleep 1000 & done; wait";
    let ran = daemon.teu(["exec", "box", "sh", "-c", script]);
    assert_ne!(ran.code, 0);
    assert!(ran.err.contains("fork"), "{}", ran.err);
    daemon.ok(["kill", "box"]);
    assert_eq!(daemon.ok(["wait", "box"]), "137");
    assert_eq!(processes_of(&id), [0; 0]);
}

#[test]
fn a_mebibyte_of_memory_is_enough_for_a_small_program() {
    let daemon = Daemon::start();
    for flags in [&["--network", "none"][..], &[], &["--init"]] {
        let line = [&["run", "--rm", "-m", "1m"], flags, &["busybox", "echo", "here"]].concat();
        assert_eq!(daemon.ok(line), "here", "{flags:?}");
    }
    daemon.ok(["run", "-d", "--name", "box", "-m", "1m", "busybox", "sleep", "1000"]);
    assert_eq!(daemon.ok(["exec", "box", "echo", "there"]), "there");
    assert_eq!(daemon.inspect("box", "{{.HostConfig.Memory}} {{.State.OOMKilled}}"), "1048576 false");
}

#[test]
fn limits_that_mean_nothing_are_refused() {
    let daemon = Daemon::start();
    daemon.teu(["run", "-m", "1023k", "busybox", "true"]).refused(125, &["1MB"]);
    daemon.teu(["run", "-m", "lots", "busybox", "true"]).refused(125, &["lots"]);
    daemon.teu(["run", "--cpus", "1000", "busybox", "true"]).refused(125, &["CPUs"]);
    assert_eq!(daemon.ok(["ps", "-aq"]), "");
}
