//! What goes in and what comes out.

use std::io::{BufRead, BufReader, Write};
use std::net::Shutdown;
use std::process::{Command, Stdio};

use teu_supervisor::log::Stream;
use teu_supervisor::protocol::{CreateRequest, Request, WindowSize};

use crate::harness::Task;

/// 10 MB of numbered lines.
const TEN_MEGABYTES: &str = "seq 1 1400000 | head -c 10000000";

fn ten_megabytes() -> Vec<u8> {
    let mut bytes: Vec<u8> = (1..=1_400_000).flat_map(|n: u32| format!("{n}\n").into_bytes()).collect();
    bytes.truncate(10_000_000);
    bytes
}

/// A container that writes much, with a log that keeps all of it.
fn writer(task: &Task, script: &str) -> CreateRequest {
    let mut request = task.request(script);
    request.log.file.as_mut().expect("a file").max_size = 0;
    request
}

#[test]
fn ten_megabytes_arrive_complete_at_the_client_and_in_the_log() {
    let task = Task::new();
    let mut control = task.control();
    let mut attached = task.attach(false);
    control.run(writer(&task, &format!("{TEN_MEGABYTES}; echo end >&2")));
    let [stdout, stderr] = attached.frames();
    let expected = ten_megabytes();
    assert!(stdout == expected, "{} bytes", stdout.len());
    assert_eq!(stderr, b"end\n");
    assert_eq!(control.exited(None).code, 0);
    assert!(task.logged(Stream::Stdout) == expected);
    assert_eq!(task.logged(Stream::Stderr), b"end\n");
}

#[test]
fn a_slow_client_loses_nothing() {
    let task = Task::new();
    let mut control = task.control();
    let mut attached = task.attach(false);
    control.run(writer(&task, TEN_MEGABYTES));
    // Not read from until the container itself has to wait: its log stands still, far from complete.
    let full = |len: u64| len > 1 << 20;
    let mut before = 0;
    loop {
        control.ask(&Request::State);
        let now = std::fs::metadata(task.log_path()).expect("log").len();
        if full(now) && now == before {
            break;
        }
        before = now;
        std::thread::yield_now();
    }
    let [stdout, _] = attached.frames();
    assert!(stdout == ten_megabytes(), "{} bytes", stdout.len());
    assert_eq!(control.exited(None).code, 0);
}

#[test]
fn a_client_that_was_stopped_holds_up_neither_the_container_nor_its_log() {
    let task = Task::new();
    let mut control = task.control();
    let mut client = Command::new(env!("CARGO_BIN_EXE_teu-supervise-try"))
        .arg("--stop-reading")
        .arg(task.dir.join("socket"))
        .stdout(Stdio::piped())
        .spawn()
        .expect("a client");
    let mut line = String::new();
    BufReader::new(client.stdout.as_mut().expect("piped")).read_line(&mut line).expect("attached");
    control.run(writer(&task, TEN_MEGABYTES));
    assert_eq!(control.exited(None).code, 0);
    assert!(task.logged(Stream::Stdout) == ten_megabytes());
    client.kill().expect("killed");
    client.wait().expect("waited");
}

#[test]
fn input_reaches_the_container_and_its_end_ends_it_once() {
    let task = Task::new();
    let mut control = task.control();
    let mut attached = task.attach(true);
    let mut request = task.request("cat; echo over");
    (request.stdin, request.stdin_once) = (true, true);
    control.create(request);
    attached.write(b"typed early\n");
    control.start();
    assert_eq!(attached.frame(), Some((1, b"typed early\n".to_vec())));
    let mut writer = attached.writer();
    let much = vec![b'x'; 3_000_000];
    let writing = std::thread::spawn(move || {
        writer.write_all(&much).expect("written");
        writer.shutdown(Shutdown::Write).expect("shut down");
    });
    let [stdout, _] = attached.frames();
    writing.join().expect("written");
    assert_eq!(stdout.len(), 3_000_000 + b"over\n".len());
    assert!(stdout.ends_with(b"xover\n"));
    assert_eq!(control.exited(None).code, 0);
}

#[test]
fn without_input_the_container_reads_the_end_at_once() {
    let task = Task::new();
    let mut control = task.control();
    control.run(task.request("cat; echo over"));
    control.exited(None);
    assert_eq!(task.logged(Stream::Stdout), b"over\n");
}

#[test]
fn input_stays_open_for_the_next_client_unless_it_ends_once() {
    let task = Task::new();
    let mut control = task.control();
    let mut request = task.request("read a; read b; echo $a $b");
    request.stdin = true;
    control.run(request);
    let mut first = task.attach(true);
    first.write(b"one\n");
    first.end_input();
    drop(first);
    task.attach(true).write(b"two\n");
    control.exited(None);
    assert_eq!(task.logged(Stream::Stdout), b"one two\n");
}

#[test]
fn a_terminal_is_one_raw_stream_with_a_size_that_changes() {
    let task = Task::new();
    let mut control = task.control();
    let mut attached = task.attach(true);
    let mut request =
        task.request("tty; stty size; trap 'stty size; exit 3' WINCH; echo ready; while :; do sleep 0.05; done");
    request.spec.process.as_mut().expect("process").terminal = true;
    (request.stdin, request.size) = (true, Some(WindowSize { rows: 33, cols: 77 }));
    control.run(request);
    let seen = attached.until("ready");
    assert!(seen.contains("/dev/pts/0") || seen.contains("/dev/console"), "{seen:?}");
    assert!(seen.contains("33 77"), "{seen:?}");
    control.done(&Request::Resize { exec: None, rows: 44, cols: 88 });
    assert!(attached.until("44 88").contains("44 88"));
    assert_eq!(control.exited(None).code, 3);
}

#[test]
fn what_is_typed_on_a_terminal_is_echoed_and_control_c_interrupts() {
    let task = Task::new();
    let mut control = task.control();
    let mut attached = task.attach(true);
    let mut request = task.request("trap 'echo caught; exit 9' INT; echo ready; while :; do sleep 0.05; done");
    request.spec.process.as_mut().expect("process").terminal = true;
    request.stdin = true;
    control.run(request);
    attached.until("ready");
    attached.write(b"typed");
    attached.until("typed");
    attached.write(b"\x03");
    let rest = String::from_utf8(attached.raw()).expect("text");
    assert!(rest.contains("caught"), "{rest:?}");
    assert_eq!(control.exited(None).code, 9);
}

#[test]
fn a_container_without_a_log_runs_all_the_same() {
    let task = Task::new();
    let mut control = task.control();
    let mut attached = task.attach(false);
    let mut request = task.request("echo hello");
    request.log.file = None;
    control.run(request);
    assert_eq!(attached.frames(), [b"hello\n".to_vec(), Vec::new()]);
    assert_eq!(control.exited(None).code, 0);
    assert!(!task.log_path().exists());
}

#[test]
fn another_user_than_root_may_open_its_own_output_by_name() {
    let task = Task::new();
    let mut control = task.control();
    let mut request = task.request("echo opened > /proc/self/fd/1");
    let user = &mut request.spec.process.as_mut().expect("process").user;
    (user.uid, user.gid) = (1000, 1000);
    control.run(request);
    assert_eq!(control.exited(None).code, 0);
    assert_eq!(task.logged(Stream::Stdout), b"opened\n");
}

#[test]
fn the_log_is_rotated_while_the_container_writes() {
    let task = Task::new();
    let mut control = task.control();
    let mut request = task.request("seq 1 20000");
    let file = request.log.file.as_mut().expect("a file");
    (file.max_size, file.max_files) = (100_000, 3);
    control.run(request);
    control.exited(None);
    assert!(task.log_path().with_extension("log.2").exists());
    let text = String::from_utf8(task.logged(Stream::Stdout)).expect("text");
    let numbers: Vec<u32> = text.lines().map(|line| line.parse().expect("a number")).collect();
    assert_eq!(numbers.last(), Some(&20000));
    assert!(numbers.len() > 2000 && numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]));
}
