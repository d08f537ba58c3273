//! What goes in and out: standard streams, terminals, logs, attach and exec.

use super::support::{Daemon, Running, run};

#[test]
fn standard_output_and_error_are_kept_apart() {
    let daemon = Daemon::start();
    let ran = daemon.teu(["run", "--rm", "busybox", "sh", "-c", "echo out; echo err >&2"]).ends_with(0);
    assert_eq!((ran.out.as_str(), ran.err.as_str()), ("out\n", "err\n"));
    daemon.ok(["run", "-d", "--name", "box", "busybox", "sh", "-c", "echo out; echo err >&2"]);
    daemon.ok(["wait", "box"]);
    let ran = daemon.teu(["logs", "box"]).ends_with(0);
    assert_eq!((ran.out.as_str(), ran.err.as_str()), ("out\n", "err\n"));
}

#[test]
fn standard_input_is_piped_in_and_ends() {
    let daemon = Daemon::start();
    let input = "0123456789\n".repeat(100_000);
    let ran = daemon.teu_with(["run", "--rm", "-i", "busybox", "md5sum"], input.as_bytes());
    let expected = run(std::process::Command::new("sh").args(["-c", "yes 0123456789 | head -n 100000 | md5sum"])).ok();
    assert_eq!(ran.ok(), expected);
}

#[test]
fn without_i_there_is_no_input() {
    let daemon = Daemon::start();
    assert_eq!(daemon.teu_with(["run", "--rm", "busybox", "cat"], b"unheard").ok(), "");
}

#[test]
fn ten_megabytes_of_output_come_whole_and_in_order() {
    let daemon = Daemon::start();
    let script = "seq -f %09.0f 1 1048576";
    let script = format!("{script} 2>/dev/null || seq 1000000001 1001048576");
    let expected: String = (1..=1_048_576u32).map(|number| format!("{number:09}\n")).collect();
    let other: String = (1_000_000_001u32..=1_001_048_576).map(|number| format!("{number}\n")).collect();
    daemon.ok(["run", "-d", "--name", "loud", "busybox", "sh", "-c", &script]);
    // Followed while it is written.
    let followed = daemon.teu(["logs", "-f", "loud"]).ends_with(0).out;
    assert!(followed == expected || followed == other, "{} bytes", followed.len());
    assert_eq!(daemon.ok(["wait", "loud"]), "0");
    assert!(daemon.teu(["logs", "loud"]).out == followed);
    // And attached.
    let attached = daemon.teu(["run", "--rm", "busybox", "sh", "-c", &script]).ends_with(0).out;
    assert!(attached == followed, "{} bytes", attached.len());
}

#[test]
fn logs_are_cut_by_tail_and_time() {
    let daemon = Daemon::start();
    daemon.ok(["run", "--name", "box", "busybox", "seq", "1", "100"]);
    assert_eq!(daemon.ok(["logs", "--tail", "2", "box"]), "99\n100");
    assert_eq!(daemon.ok(["logs", "-n", "0", "box"]), "");
    assert_eq!(daemon.ok(["logs", "--until", "1h", "box"]), "");
    assert_eq!(daemon.ok(["logs", "--since", "1h", "box"]).lines().count(), 100);
    let stamped = daemon.ok(["logs", "-t", "--tail", "1", "box"]);
    assert!(stamped.contains("T") && stamped.ends_with("Z 100"), "{stamped}");
}

#[test]
fn a_followed_log_goes_on_until_the_end() {
    let daemon = Daemon::start();
    daemon.ok([
        "run",
        "-d",
        "-i",
        "--name",
        "box",
        "busybox",
        "sh",
        "-c",
        "echo one; read line; echo $line; echo three",
    ]);
    let mut follower = daemon.spawn(["logs", "-f", "box"]);
    assert_eq!(follower.line(), "one");
    let mut attached = daemon.spawn(["attach", "box"]);
    attached.write("two\n");
    assert_eq!(follower.line(), "two");
    assert_eq!(follower.line(), "three");
    assert_eq!(follower.finish().ends_with(0).out, "");
    assert!(attached.finish().ends_with(0).out.ends_with("three\n"));
}

#[test]
fn attach_shows_what_comes_and_ends_with_the_containers_code() {
    let daemon = Daemon::start();
    let script = "while read line; do echo got $line; [ $line = end ] && exit 3; done";
    daemon.ok(["run", "-d", "-i", "--name", "box", "busybox", "sh", "-c", script]);
    let mut attached = daemon.spawn(["attach", "box"]);
    attached.write("a\n");
    assert_eq!(attached.line(), "got a");
    attached.write("end\n");
    assert_eq!(attached.finish().ends_with(3).out, "got end\n");
}

#[test]
fn a_terminal_is_a_terminal_with_its_size() {
    let daemon = Daemon::start();
    let line = "run --rm -it --name box busybox sh -c \"tty && stty size && echo \\$TERM\"";
    let mut command = daemon.on_terminal_of("31", "97", line);
    let told = run(&mut command).ends_with(0).out;
    // script(1) shows the end of its own input as ^@.
    let told: Vec<_> =
        told.lines().map(|line| line.trim().trim_start_matches("^@")).filter(|line| !line.is_empty()).collect();
    assert_eq!(told, ["/dev/pts/0", "31 97", "xterm"]);
}

#[test]
fn detach_keys_leave_the_container_running() {
    let daemon = Daemon::start();
    let mut session = Running::spawn(&mut daemon.on_terminal("run -it --name box busybox sh"));
    session.write("echo r''eady\n");
    session.until("ready");
    session.write("\x10\x11");
    assert_eq!(session.finish().code, 0);
    assert_eq!(daemon.inspect("box", "{{.State.Running}}"), "true");
    let mut session = Running::spawn(&mut daemon.on_terminal("attach box"));
    session.write("echo b''ack; exit 5\n");
    session.until("back");
    assert_eq!(session.finish().code, 5);
}

#[test]
fn exec_has_user_folder_variables_and_exit_code() {
    let daemon = Daemon::start();
    daemon.ok(["run", "-d", "--name", "box", "-e", "A=container", "-w", "/tmp", "busybox", "sleep", "1000"]);
    assert_eq!(daemon.ok(["exec", "box", "sh", "-c", "echo $A; pwd; id -u; echo $HOME"]), "container\n/tmp\n0\n/root");
    let script = "echo $A $B; pwd; id -un; id -gn; echo $HOME";
    let line = ["exec", "-e", "A=exec", "-e", "B=more", "-w", "/etc", "-u", "www-data", "box", "sh", "-c", script];
    assert_eq!(daemon.ok(line), "exec more\n/etc\nwww-data\nwww-data\n/var/www");
    daemon.teu(["exec", "box", "sh", "-c", "exit 42"]).ends_with(42);
    daemon.teu(["exec", "box", "sh", "-c", "kill -9 $$"]).ends_with(137);
    daemon.teu(["exec", "box", "no-such-program"]).refused(127, &["no-such-program"]);
    daemon.teu(["exec", "box", "/etc/passwd"]).refused(126, &["/etc/passwd"]);
    daemon.teu(["exec", "-u", "nobody-knows", "box", "true"]).refused(1, &["nobody-knows"]);
    assert_eq!(daemon.teu_with(["exec", "-i", "box", "cat"], b"piped").ok(), "piped");
}

#[test]
fn exec_on_a_terminal_is_a_session() {
    let daemon = Daemon::start();
    daemon.ok(["run", "-d", "--name", "box", "busybox", "sleep", "1000"]);
    let mut session = Running::spawn(&mut daemon.on_terminal_of("31", "97", "exec -it box sh"));
    session.write("tty; echo w''idth $(stty size)\n");
    session.until("/dev/pts/0");
    session.until("width ");
    // The interrupt key reaches the program, not the client.
    // It says so once it is the terminal's foreground job, which the shell makes it only after the echo.
    session.write("sh -c \"echo st''arted; exec sleep 1000\"\n");
    session.until("started");
    session.write("\x03");
    session.until("/ # ");
    session.write("echo a''live; exit 9\n");
    session.until("alive");
    assert_eq!(session.finish().code, 9);
}

#[test]
fn exec_in_the_background_outlives_the_client() {
    let daemon = Daemon::start();
    daemon.ok(["run", "-d", "--name", "box", "busybox", "sh", "-c", "mkfifo /tmp/pipe; echo up; cat /tmp/pipe"]);
    let mut follower = daemon.spawn(["logs", "-f", "box"]);
    follower.until("up");
    daemon.ok(["exec", "-d", "box", "sh", "-c", "echo from exec > /tmp/pipe"]);
    follower.until("from exec");
    assert_eq!(daemon.ok(["wait", "box"]), "0");
}

#[test]
fn exec_is_refused_when_nothing_runs_or_all_is_frozen() {
    let daemon = Daemon::start();
    daemon.ok(["run", "-d", "--name", "box", "busybox", "sleep", "1000"]);
    daemon.ok(["pause", "box"]);
    daemon.teu(["exec", "box", "true"]).refused(1, &["paused"]);
    daemon.ok(["unpause", "box"]);
    daemon.ok(["exec", "box", "true"]);
    daemon.ok(["kill", "box"]);
    daemon.ok(["wait", "box"]);
    daemon.teu(["exec", "box", "true"]).refused(1, &["is not running"]);
}
