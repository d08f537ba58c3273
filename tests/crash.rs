//! The daemon is killed, as by `kill -9`, at any moment: no container, image or log line is lost, what runs goes on,
//! and the next daemon takes it all up.

mod support;

use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use support::{Daemon, Running, ask_tcp, ask_udp, eventually, probe, processes_of, run, tree};

#[test]
fn a_log_has_no_gap_when_the_daemon_is_killed_while_it_is_written() {
    let mut daemon = Daemon::start();
    let script = "i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done; echo pause; read wait; \
        while [ $i -lt 40000 ]; do echo line $i; i=$((i+1)); done";
    daemon.ok(["run", "-d", "-i", "--name", "box", "busybox", "sh", "-c", script]);
    daemon.spawn(["logs", "-f", "box"]).until("line 1000\n");
    daemon.kill9();
    daemon.restart();
    daemon.spawn(["logs", "-f", "box"]).until("line 19999\npause\n");
    // Killed with a follower in the middle of a line, and written to while nobody is there.
    let mut attached = daemon.spawn(["attach", "box"]);
    attached.write("go on\n");
    attached.until("line 20100\n");
    daemon.kill9();
    daemon.restart();
    assert_eq!(daemon.ok(["wait", "box"]), "0");
    let mut expected: Vec<String> = (0..40_000).map(|number| format!("line {number}")).collect();
    expected.insert(20_000, "pause".into());
    let logged = daemon.ok(["logs", "box"]);
    let logged: Vec<_> = logged.lines().collect();
    assert_eq!(logged.len(), expected.len());
    assert!(logged.iter().zip(&expected).all(|(logged, expected)| logged == expected));
}

#[test]
fn every_command_works_on_a_container_that_outlived_the_daemon() {
    let mut daemon = Daemon::start();
    let script = "trap 'echo asked; exit 4' TERM; echo up; while :; do sleep 1000 & wait; done";
    let id = daemon.ok(["run", "-d", "--name", "box", "-e", "A=1", "busybox", "sh", "-c", script]);
    daemon.spawn(["logs", "-f", "box"]).until("up");
    let pid = daemon.inspect("box", "{{.State.Pid}}");
    let address = daemon.inspect("box", "{{.NetworkSettings.Networks.bridge.IPAddress}}");
    daemon.kill9();
    assert!(Path::new(&format!("/proc/{pid}")).exists());
    daemon.restart();
    assert_eq!(daemon.ok(["ps", "-q", "--no-trunc"]), id);
    assert_eq!(daemon.inspect("box", "{{.State.Status}} {{.State.Pid}}"), format!("running {pid}"));
    assert_eq!(daemon.inspect("box", "{{.NetworkSettings.Networks.bridge.IPAddress}}"), address);
    assert_eq!(daemon.ok(["logs", "box"]), "up");
    assert_eq!(daemon.ok(["exec", "box", "sh", "-c", "echo $A $$ > /x; cat /x | cut -d ' ' -f 1"]), "1");
    daemon.ok(["pause", "box"]);
    daemon.ok(["unpause", "box"]);
    // A new container gets an address of its own.
    daemon.ok(["run", "-d", "--name", "other", "busybox", "sleep", "1000"]);
    assert_ne!(daemon.inspect("other", "{{.NetworkSettings.Networks.bridge.IPAddress}}"), address);
    let waiting = daemon.spawn(["wait", "box"]);
    daemon.ok(["stop", "box"]);
    assert_eq!(waiting.finish().ok(), "4");
    assert!(daemon.ok(["logs", "box"]).ends_with("asked"));
    daemon.ok(["start", "box"]);
    daemon.ok(["rm", "-f", "box"]);
}

#[test]
fn what_happened_while_no_daemon_looked_is_known_to_the_next() {
    let mut daemon = Daemon::start();
    let bind = format!("{}:/meet", daemon.folder().display());
    let script = "echo up; while [ ! -e /meet/go ]; do sleep 0.01; done; echo last words; exit 33";
    let id = daemon.ok(["run", "-d", "--name", "box", "-v", &bind, "busybox", "sh", "-c", script]);
    daemon.ok(["run", "-d", "--rm", "--name", "gone", "-v", &bind, "busybox", "sh", "-c", script]);
    daemon.ok(["run", "-d", "--name", "killed", "busybox", "sleep", "1000"]);
    daemon.spawn(["logs", "-f", "box"]).until("up");
    let killed: i32 = daemon.inspect("killed", "{{.State.Pid}}").parse().expect("a number");
    daemon.kill9();
    std::fs::write(daemon.folder().join("go"), "").expect("written");
    let killed = rustix::process::Pid::from_raw(killed).expect("a process");
    rustix::process::kill_process(killed, rustix::process::Signal::KILL).expect("signal");
    eventually("they end", || {
        (processes_of(&id).is_empty() && !Path::new(&format!("/proc/{}", killed.as_raw_nonzero())).exists())
            .then_some(())
    });
    daemon.restart();
    assert_eq!(daemon.ok(["wait", "box"]), "33");
    assert_eq!(daemon.inspect("box", "{{.State.Status}} {{.State.ExitCode}}"), "exited 33");
    assert_eq!(daemon.ok(["logs", "box"]), "up\nlast words");
    assert_eq!(daemon.inspect("killed", "{{.State.Status}} {{.State.ExitCode}}"), "exited 137");
    eventually("the one with --rm is removed", || {
        (!daemon.ok(["ps", "-a", "--format", "{{.Names}}"]).contains("gone")).then_some(())
    });
    assert_eq!(daemon.teu(["start", "-a", "box"]).ends_with(33).out, "up\nlast words\n");
}

#[test]
fn published_ports_answer_while_the_daemon_is_dead_and_after() {
    let mut daemon = Daemon::start();
    let bind = format!("{}:/probe:ro", probe().display());
    daemon.ok([
        "run", "-d", "--name", "echo", "-v", &bind, "-p", "7/tcp", "-p", "7/udp", "busybox", "/probe", "echo", "7",
    ]);
    daemon.spawn(["logs", "-f", "echo"]).until("ready");
    let port = |kind: &str| {
        let told = daemon.ok(["port", "echo", kind]);
        told.rsplit(':').next().and_then(|port| port.parse::<u16>().ok()).expect("a port")
    };
    let (tcp, udp) = (port("7/tcp"), port("7/udp"));
    let answers = || {
        assert!(ask_tcp(Ipv4Addr::LOCALHOST, tcp).expect("an answer").ends_with("hello"));
        assert!(ask_udp(Ipv4Addr::LOCALHOST, udp).expect("an answer").ends_with("hello"));
    };
    answers();
    daemon.kill9();
    answers();
    daemon.restart();
    answers();
    // The ports are still this container's.
    daemon
        .teu(["run", "--rm", "-p", &format!("{tcp}:80"), "busybox", "true"])
        .refused(125, &["port is already allocated"]);
    daemon.ok(["stop", "-t", "0", "echo"]);
    ask_tcp(Ipv4Addr::LOCALHOST, tcp).expect_err("nobody there");
}

#[test]
fn a_daemon_asked_to_end_leaves_containers_running_and_finds_them_again() {
    let mut daemon = Daemon::start();
    let id = daemon.ok(["run", "-d", "--name", "box", "busybox", "sleep", "1000"]);
    daemon.stop();
    assert_eq!(processes_of(&id).len(), 1);
    daemon.restart();
    assert_eq!(daemon.ok(["exec", "box", "echo", "here"]), "here");
}

#[test]
fn what_always_runs_is_started_with_the_daemon_though_it_was_stopped() {
    let mut daemon = Daemon::start();
    let names = ["one", "two", "three", "four"];
    for name in names {
        daemon.ok(["run", "-d", "--name", name, "--restart", "always", "busybox", "sleep", "1000"]);
    }
    daemon.ok(["run", "-d", "--name", "other", "--restart", "unless-stopped", "busybox", "sleep", "1000"]);
    daemon.ok(["stop", "-t", "0"].into_iter().chain(names).chain(["other"]));
    for kill in [true, false] {
        if kill {
            daemon.kill9();
        } else {
            daemon.stop();
        }
        daemon.restart();
        for name in names {
            eventually("it runs", || (daemon.inspect(name, "{{.State.Running}}") == "true").then_some(()));
        }
        assert_eq!(daemon.inspect("other", "{{.State.Status}}"), "exited");
        daemon.ok(["stop", "-t", "0"].into_iter().chain(names));
    }
}

#[test]
fn a_restart_policy_holds_across_a_crash() {
    let mut daemon = Daemon::start();
    daemon.ok(["run", "-d", "--name", "box", "--restart", "always", "busybox", "sleep", "1000"]);
    let pid = daemon.inspect("box", "{{.State.Pid}}");
    daemon.kill9();
    run(std::process::Command::new("kill").args(["-9", &pid])).ok();
    eventually("it ends", || (!Path::new(&format!("/proc/{pid}")).exists()).then_some(()));
    daemon.restart();
    eventually("it runs again", || {
        let state = daemon.inspect("box", "{{.State.Status}} {{.State.Pid}}");
        (state.starts_with("running ") && !state.ends_with(&format!(" {pid}"))).then_some(())
    });
}

/// A small generator of numbers, so that a failure can be had again by its seed.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        // xorshift64
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// Kills the daemon at `rounds` random moments of a loop of `work`, and checks after each that nothing was lost.
fn crash_during(seed: u64, rounds: u32, work: fn(&Daemon, usize), check: fn(&Daemon)) {
    let mut daemon = Daemon::start();
    let mut chance = Chance(seed);
    daemon.ok(["run", "-d", "--name", "witness", "busybox", "sleep", "100000"]);
    let witness = daemon.inspect("witness", "{{.State.Pid}}");
    let count = AtomicUsize::new(0);
    for round in 0..rounds {
        let moment = Duration::from_micros(chance.below(120_000));
        let enough = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let (shared, count, enough) = (&daemon, &count, &enough);
            scope.spawn(move || {
                while !enough.load(Ordering::Relaxed) {
                    work(shared, count.fetch_add(1, Ordering::Relaxed));
                }
            });
            // The one sleep that is the point of the test: the moment of the crash.
            std::thread::sleep(moment);
            rustix::process::kill_process(
                rustix::process::Pid::from_raw(i32::try_from(shared.pid()).expect("a pid")).expect("a pid"),
                rustix::process::Signal::KILL,
            )
            .expect("killed");
            enough.store(true, Ordering::Relaxed);
        });
        daemon.kill_now();
        daemon.restart();
        let state = daemon.inspect("witness", "{{.State.Status}} {{.State.Pid}}");
        assert_eq!(state, format!("running {witness}"), "seed {seed} round {round}");
        check(&daemon);
        assert_eq!(daemon.ok(["run", "--rm", "busybox", "echo", "fine"]), "fine", "seed {seed} round {round}");
    }
    let all = daemon.ok(["ps", "-a", "--format", "{{.Names}} {{.State}}"]);
    for line in all.lines() {
        let (name, state) = line.split_once(' ').expect("two words");
        assert!(["created", "running", "exited"].contains(&state), "{line}");
        // Whatever state it was caught in, it can be started, reached and removed.
        if name != "witness" {
            daemon.teu(["stop", "-t", "0", name]).ends_with(0);
            daemon.teu(["start", name]).ends_with(0);
            daemon.ok(["rm", "-f", name]);
        }
    }
    daemon.ok(["rm", "-f", "witness"]);
    let left =
        run(std::process::Command::new("find").arg(daemon.root().join("snapshots/active")).args(["-mindepth", "1"]))
            .ok();
    assert_eq!(left, "", "seed {seed}");
}

#[test]
fn a_crash_while_containers_come_and_go_loses_nothing() {
    crash_during(
        0x7465_7521,
        12,
        |daemon, number| {
            let name = format!("c{number}");
            daemon.teu(["run", "-d", "--name", &name, "busybox", "sh", "-c", "exec sleep 100000"]);
            daemon.teu(["kill", &name]);
            daemon.teu(["start", &name]);
            daemon.teu(["rm", "-f", &name]);
        },
        |daemon| {
            // What runs has a process, and what does not has none; one that was being killed is heard of a moment later.
            eventually("states are those of the processes", || {
                let listed = daemon.ok(["ps", "-a", "--no-trunc", "--format", "{{.ID}} {{.State}}"]);
                let agrees = |line: &str| {
                    let (id, state) = line.split_once(' ').expect("two words");
                    processes_of(id).is_empty() != (state == "running")
                };
                listed.lines().all(agrees).then_some(())
            });
        },
    );
}

#[test]
fn a_crash_while_commands_run_in_the_foreground_leaves_no_stray() {
    crash_during(
        0x0bad_cafe,
        10,
        |daemon, _| {
            daemon.teu(["run", "--rm", "-p", "127.0.0.1::80", "busybox", "true"]);
        },
        |daemon| {
            eventually("what had --rm is removed", || (daemon.ok(["ps", "-aq"]).lines().count() == 1).then_some(()));
        },
    );
}

#[test]
fn a_container_made_before_a_crash_is_started_and_heard_after_it() {
    let mut daemon = Daemon::start();
    daemon.ok(["create", "--name", "made", "busybox", "sh", "-c", "echo out; echo err >&2; exit 3"]);
    let id = daemon.ok(["run", "-d", "--name", "ended", "busybox", "true"]);
    eventually("the end", || (daemon.inspect("ended", "{{.State.Status}}") == "exited").then_some(()));
    daemon.kill9();
    daemon.restart();
    let ran = daemon.teu(["start", "-a", "made"]).ends_with(3);
    assert_eq!((ran.out.as_str(), ran.err.as_str()), ("out\n", "err\n"));
    daemon.teu(["start", "-a", "ended"]).ends_with(0);
    assert_eq!(processes_of(&id), [0; 0]);
}

#[test]
fn a_crash_while_images_are_built_and_removed_loses_no_image() {
    crash_during(
        0x5eed_0003,
        8,
        |daemon, number| {
            let folder = daemon.folder().join("context");
            let dockerfile =
                format!("FROM busybox\nRUN echo {number} > /number\nRUN head -c 100000 /dev/urandom > /noise\n");
            tree(&folder, &[("Dockerfile", &dockerfile)]);
            let name = format!("built:{number}");
            daemon.teu(["build", "-q", "-t", &name, folder.to_str().expect("path")]);
            if number % 2 == 0 {
                daemon.teu(["rmi", &name]);
            }
        },
        |daemon| {
            // Every image is whole, one that the crash kept from its name too.
            for line in daemon.ok(["images", "--format", "{{.ID}} {{.Repository}}:{{.Tag}}"]).lines() {
                let (id, name) = line.split_once(' ').expect("two words");
                let ran =
                    daemon.ok(["run", "--rm", "--network", "none", id, "sh", "-c", "cat /number 2>/dev/null; true"]);
                match name {
                    "<none>:<none>" => assert_ne!(ran, "", "{id}"),
                    _ => assert_eq!(ran, name.strip_prefix("built:").unwrap_or_default(), "{name}"),
                }
            }
        },
    );
}

#[test]
fn a_client_whose_daemon_dies_says_so() {
    let mut daemon = Daemon::start();
    let mut client = daemon.spawn(["run", "--name", "box", "busybox", "sh", "-c", "echo up; exec sleep 1000"]);
    client.until("up");
    daemon.kill9();
    let ran = client.finish();
    assert_ne!(ran.code, 0);
    assert!(ran.err.contains("daemon"), "{ran:?}");
    daemon.restart();
    assert_eq!(daemon.inspect("box", "{{.State.Running}}"), "true");
    let mut again = Running::spawn(&mut daemon.command(["logs", "-f", "box"]));
    assert_eq!(again.line(), "up");
}
