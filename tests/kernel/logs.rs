//! Log drivers: what is kept, what is sent elsewhere, and that nothing is lost or waited for.

use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::time::{Duration, Instant};

use super::support::{Daemon, eventually, processes_of};

/// The most memory that a process has had, in KiB.
fn peak(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
    line.split_whitespace().next().and_then(|number| number.parse().ok()).expect("a number")
}

#[test]
fn a_container_logs_to_the_local_driver_unless_told_otherwise() {
    let mut daemon = Daemon::start();
    assert_eq!(daemon.ok(["info", "-f", "{{.LoggingDriver}}"]), "local");
    let script = "echo out; echo err >&2; printf 'no end'";
    daemon.ok(["run", "-d", "--name", "box", "busybox", "sh", "-c", script]);
    daemon.ok(["wait", "box"]);
    assert_eq!(daemon.inspect("box", "{{.HostConfig.LogConfig.Type}}|{{.LogPath}}"), "local|");
    let read = |daemon: &Daemon| {
        let ran = daemon.teu(["logs", "box"]).ends_with(0);
        (ran.out, ran.err)
    };
    let expected = ("out\nno end".to_owned(), "err\n".to_owned());
    assert_eq!(read(&daemon), expected);
    daemon.kill9();
    daemon.restart();
    assert_eq!(read(&daemon), expected);
    // The next run is written behind the first.
    daemon.ok(["start", "-a", "box"]);
    assert_eq!(read(&daemon).0, "out\nno endout\nno end");
    assert_eq!(daemon.ok(["logs", "-n", "1", "box"]), "no end");
}

#[test]
fn a_json_file_has_dockers_lines_and_its_details() {
    let daemon = Daemon::start();
    let options =
        ["--log-opt", "labels=team", "--log-opt", "env-regex=^COL", "--log-opt", "tag={{.Name}}/{{.ImageName}}"];
    let run = ["run", "--name", "box", "--log-driver", "json-file", "-l", "team=blue", "-e", "COLOUR=red green"];
    daemon.ok(run.into_iter().chain(options).chain(["busybox", "echo", "hello"]));
    let path = daemon.inspect("box", "{{.LogPath}}");
    let text = fs::read_to_string(&path).expect("the log");
    let attributes = r#""attrs":{"COLOUR":"red green","tag":"box/busybox","team":"blue"}"#;
    assert!(text.starts_with(r#"{"log":"hello\n","stream":"stdout","#) && text.contains(attributes), "{text}");
    let told = daemon.ok(["logs", "--details", "box"]);
    assert_eq!(told, "COLOUR=red+green,tag=box%2Fbusybox,team=blue hello");
    let stamped = daemon.ok(["logs", "--details", "-t", "box"]);
    assert!(stamped.ends_with(&format!("Z {told}")) && stamped.starts_with("20"), "{stamped}");
}

#[test]
fn options_without_a_driver_are_the_ones_of_json_file() {
    let daemon = Daemon::start();
    daemon.ok(["create", "--name", "box", "--log-opt", "max-file=7", "busybox"]);
    assert_eq!(
        daemon.inspect("box", "{{json .HostConfig.LogConfig}}"),
        r#"{"Type":"json-file","Config":{"max-file":"7"}}"#
    );
    let refused = |line: &[&str], why: &str| {
        daemon.teu([&["create"][..], line, &["busybox"]].concat()).refused(1, &[why]);
    };
    refused(&["--log-driver", "wat"], "logger: no log driver named 'wat' is registered");
    refused(&["--log-driver", "local", "--log-opt", "tag=x"], "unknown log opt 'tag' for local log driver");
    refused(&["--log-driver", "local", "--log-opt", "mode=fast"], "logger: logging mode not supported: fast");
}

#[test]
fn the_daemon_says_what_containers_get_that_ask_for_nothing() {
    let daemon = Daemon::with(&["--log-driver", "json-file", "--log-opt", "max-size=1m", "--log-opt", "max-file=2"]);
    daemon.load();
    daemon.ok(["create", "--name", "box", "busybox"]);
    let expected = r#"{"Type":"json-file","Config":{"max-file":"2","max-size":"1m"}}"#;
    assert_eq!(daemon.inspect("box", "{{json .HostConfig.LogConfig}}"), expected);
    daemon.ok(["create", "--name", "other", "--log-driver", "local", "busybox"]);
    assert_eq!(daemon.inspect("other", "{{json .HostConfig.LogConfig}}"), r#"{"Type":"local","Config":{}}"#);
}

#[test]
fn nothing_is_kept_with_the_driver_none() {
    let daemon = Daemon::start();
    assert_eq!(daemon.ok(["run", "--name", "box", "--log-driver", "none", "busybox", "echo", "seen"]), "seen");
    daemon.teu(["logs", "box"]).refused(1, &["configured logging driver does not support reading"]);
}

#[test]
fn what_goes_to_a_syslog_can_be_read_here_too() {
    let daemon = Daemon::start();
    let socket = UdpSocket::bind("127.0.0.1:0").expect("bound");
    socket.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout");
    let address = format!("syslog-address=udp://{}", socket.local_addr().expect("address"));
    let options = ["--log-opt", &address, "--log-opt", "tag={{.Name}}", "--log-opt", "syslog-facility=local7"];
    let run = ["run", "--name", "box", "--log-driver", "syslog"];
    daemon.ok(run.into_iter().chain(options).chain(["busybox", "sh", "-c", "echo hello; echo bad >&2"]));
    let mut lines: Vec<_> = (0..2)
        .map(|_| {
            let mut buffer = [0; 300];
            let count = socket.recv(&mut buffer).expect("a message");
            String::from_utf8_lossy(&buffer[..count]).into_owned()
        })
        .collect();
    lines.sort_unstable();
    // local7 is 23: 23 × 8 + 3 and + 6.
    assert!(lines[0].starts_with("<187>") && lines[0].ends_with(": bad\n"), "{lines:?}");
    assert!(
        lines[1].starts_with("<190>") && lines[1].contains(" box[") && lines[1].ends_with(": hello\n"),
        "{lines:?}"
    );
    let read = daemon.teu(["logs", "box"]).ends_with(0);
    assert_eq!((read.out.as_str(), read.err.as_str()), ("hello\n", "bad\n"));
    let options = ["--log-opt", &address, "--log-opt", "cache-disabled=true"];
    let run = ["run", "--name", "other", "--log-driver", "syslog"];
    daemon.ok(run.into_iter().chain(options).chain(["busybox", "echo", "gone"]));
    daemon.teu(["logs", "other"]).refused(1, &["does not support reading"]);
}

#[test]
fn a_syslog_that_nobody_reaches_holds_nobody_up() {
    let daemon = Daemon::start();
    let address = TcpListener::bind("127.0.0.1:0").expect("bound").local_addr().expect("address");
    let address = format!("syslog-address=tcp://{address}");
    let begin = Instant::now();
    let run =
        ["run", "--name", "box", "--log-driver", "syslog", "--log-opt", &address, "busybox", "seq", "1", "200000"];
    let out = daemon.ok(run);
    assert_eq!(out.lines().count(), 200_000);
    assert!(begin.elapsed() < Duration::from_secs(20), "{:?}", begin.elapsed());
    assert_eq!(daemon.ok(["logs", "-n", "1", "box"]), "200000");
}

#[test]
fn much_output_comes_whole_through_followed_logs_and_attach_in_little_memory() {
    let daemon = Daemon::start();
    // 60 MB in lines, more than any buffer on the way.
    let script = "read go; seq 1 7600000";
    let options = ["--log-opt", "max-size=4m", "--log-opt", "max-file=100"];
    let run = ["run", "-d", "-i", "--name", "loud", "--log-driver", "local"];
    daemon.ok(run.into_iter().chain(options).chain(["busybox", "sh", "-c", script]));
    let before = peak(daemon.pid());
    let follower = daemon.spawn(["logs", "-f", "loud"]);
    let mut attached = daemon.spawn(["attach", "loud"]);
    attached.write("\n");
    let expected: u64 = (1..=7_600_000_u64).map(|number| u64::from(number.ilog10()) + 2).sum();
    for (what, running) in [("attach", attached), ("logs -f", follower)] {
        let out = running.finish().ends_with(0).out;
        assert_eq!(out.len() as u64, expected, "{what}");
        assert!(out.lines().enumerate().all(|(place, line)| line.parse() == Ok(place + 1)), "{what}");
    }
    let grown = peak(daemon.pid()).saturating_sub(before);
    assert!(grown < 24 << 10, "the daemon took {grown} KiB more");
    assert_eq!(daemon.ok(["logs", "-n", "2", "loud"]), "7599999\n7600000");
}

#[test]
fn a_supervisor_stays_small_while_it_logs() {
    let daemon = Daemon::start();
    let script = "seq 1 3000000; echo done; sleep 1000";
    daemon.ok(["run", "-d", "--name", "loud", "busybox", "sh", "-c", script]);
    eventually("all is logged", || (daemon.ok(["logs", "-n", "1", "loud"]) == "done").then_some(()));
    let id = daemon.inspect("loud", "{{.Id}}");
    let inside = processes_of(&id);
    let parent = |pid: u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("stat");
        let rest = stat.rsplit_once(") ").expect("a name").1.to_owned();
        rest.split(' ').nth(1).and_then(|parent| parent.parse::<u32>().ok()).expect("a parent")
    };
    let pid: u32 = daemon.inspect("loud", "{{.State.Pid}}").parse().expect("a process");
    assert!(!inside.is_empty());
    let status = fs::read_to_string(format!("/proc/{}/status", parent(pid))).expect("the supervisor");
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("memory");
    let kib: u64 = line.split_whitespace().next().and_then(|number| number.parse().ok()).expect("a number");
    assert!(kib < 2 << 10, "{kib} KiB");
}

#[test]
fn the_log_of_a_followed_run_ends_with_the_run() {
    let daemon = Daemon::start();
    daemon.ok(["run", "-d", "--name", "box", "--restart", "always", "busybox", "sh", "-c", "echo run; sleep 1"]);
    // Docker's: who follows sees one run to its end, however soon the next one begins.
    let out = daemon.teu(["logs", "-f", "box"]).ends_with(0).out;
    assert!(out.starts_with("run\n"), "{out}");
    daemon.ok(["rm", "-f", "box"]);
}
