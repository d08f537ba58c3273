//! From being made to being over.

use std::os::unix::fs::MetadataExt;

use teu_oci::runtime::{Memory, NamespaceKind, Resources};
use teu_runtime::Error;
use teu_supervisor::log::Stream;
use teu_supervisor::protocol::{Event, Request, State};

use crate::harness::Task;

fn state(control: &mut crate::harness::Control) -> State {
    match control.ask(&Request::State) {
        Event::State(state) => *state,
        other => panic!("no state: {other:?}"),
    }
}

#[test]
fn a_container_runs_and_its_end_is_told_and_written_down() {
    let mut task = Task::new();
    let mut control = task.control();
    let pid = control.create(task.request("echo hello; exit 7"));
    assert_eq!(std::fs::read_to_string(task.dir.join("pid")).expect("pid"), pid.to_string());
    assert!(!task.cgroups().is_empty());
    control.start();
    let status = control.exited(None);
    assert_eq!((status.code, status.signal, status.oom_killed), (7, None, false));
    assert_eq!(task.exit_json(), status);
    assert!(control.read().is_none());
    task.ended();
    assert_eq!(task.logged(Stream::Stdout), b"hello\n");
    assert!(!task.dir.join("socket").exists() && !task.dir.join("pid").exists());
    assert!(task.cgroups().is_empty(), "{:?}", task.cgroups());
}

#[test]
fn a_container_that_a_signal_ended_says_so() {
    for (signal, code) in [(15, 143), (9, 137)] {
        let task = Task::new();
        let mut control = task.control();
        let mut attached = task.attach(false);
        // The first process of a pid namespace gets only the signals it has handlers for, and SIGKILL.
        control.run(task.request("trap 'exit 143' TERM; echo ready; while :; do sleep 0.05; done"));
        attached.until("ready");
        control.done(&Request::Signal { exec: None, signal: 0, all: false });
        control.done(&Request::Signal { exec: None, signal, all: false });
        let status = control.exited(None);
        assert_eq!(status.code, code);
        assert_eq!(status.signal, (signal == 9).then_some(9));
        attached.frames();
    }
}

#[test]
fn a_program_that_does_not_exist_is_named_and_the_supervisor_ends() {
    let mut task = Task::new();
    let mut control = task.control();
    let mut request = task.request("");
    request.spec.process.as_mut().expect("process").args = vec!["/bin/nothing".into()];
    let mut event = control.ask(&Request::Create(Box::new(request)));
    if matches!(event, Event::Created { .. }) {
        event = control.ask(&Request::Start);
    }
    let Event::Failed { exec: None, error } = event else { panic!("{event:?}") };
    assert!(matches!(error, Error::NoSuchProgram { .. }), "{error:?}");
    drop(control);
    task.ended();
    assert!(!task.dir.exists() && task.cgroups().is_empty());
}

#[test]
fn the_container_goes_on_without_the_daemon_and_is_found_again() {
    let mut task = Task::new();
    let mut control = task.control();
    let mut request = task.request("read line; echo got $line; exit 3");
    request.stdin = true;
    control.run(request);
    drop(control);
    let mut control = task.control();
    let state = state(&mut control);
    assert!(state.running && state.started_at.is_some() && state.pid.is_some());
    assert_eq!(state.id.as_deref(), Some(task.id.as_str()));
    drop(control);
    task.attach(true).write(b"it\n");
    task.ended();
    assert_eq!(task.exit_json().code, 3);
    assert_eq!(task.logged(Stream::Stdout), b"got it\n");
}

#[test]
fn signals_to_the_supervisor_itself_do_not_end_it() {
    let mut task = Task::new();
    let mut control = task.control();
    control.run(task.request("sleep 100"));
    let supervisor = rustix::process::Pid::from_child(&task.process);
    for signal in [rustix::process::Signal::TERM, rustix::process::Signal::INT, rustix::process::Signal::HUP] {
        rustix::process::kill_process(supervisor, signal).expect("sent");
    }
    assert!(state(&mut control).running);
    control.done(&Request::Signal { exec: None, signal: 9, all: true });
    assert_eq!(control.exited(None).code, 137);
    task.ended();
}

#[test]
fn the_signals_it_ignores_are_not_ignored_in_the_container() {
    let task = Task::new();
    let mut control = task.control();
    let mut request = task.request("");
    request.spec.process.as_mut().expect("process").args = vec!["/bin/cat".into(), "/proc/self/status".into()];
    control.run(request);
    control.exited(None);
    let text = String::from_utf8(task.logged(Stream::Stdout)).expect("text");
    assert!(text.contains("SigIgn:\t0000000000000000"), "{text}");
    assert!(text.contains("SigBlk:\t0000000000000000"), "{text}");
}

#[test]
fn a_paused_container_says_so_refuses_execs_and_can_be_killed() {
    let task = Task::new();
    let mut control = task.control();
    control.run(task.request("sleep 100"));
    control.done(&Request::Pause);
    assert!(state(&mut control).paused);
    let event = control.ask(&Request::Exec(Box::new(crate::harness::exec("x", "true"))));
    assert!(matches!(event, Event::Failed { exec: Some(_), error: Error::Refused { .. } }), "{event:?}");
    control.done(&Request::Resume);
    assert!(!state(&mut control).paused);
    control.done(&Request::Pause);
    control.done(&Request::Signal { exec: None, signal: 9, all: false });
    assert_eq!(control.exited(None).code, 137);
}

#[test]
fn running_out_of_memory_is_told_from_being_killed() {
    let task = Task::new();
    let mut control = task.control();
    let mut request = task.request("tail /dev/zero");
    let limit = Some(16 << 20);
    let memory = Some(Memory { limit, swap: limit, ..Memory::default() });
    request.spec.linux.as_mut().expect("linux").resources = Some(Resources { memory, ..Resources::default() });
    control.run(request);
    let status = control.exited(None);
    assert!(status.oom_killed, "{status:?}");
    assert_ne!(status.code, 0);
}

#[test]
fn a_created_container_can_be_discarded_without_trace() {
    let mut task = Task::new();
    let mut control = task.control();
    let pid = control.create(task.request("echo never"));
    assert!(!state(&mut control).running);
    control.done(&Request::Discard);
    task.ended();
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    assert!(!task.dir.exists() && task.cgroups().is_empty());
}

#[test]
fn a_running_container_cannot_be_discarded_nor_made_twice() {
    let task = Task::new();
    let mut control = task.control();
    control.run(task.request("sleep 100"));
    assert!(matches!(control.ask(&Request::Discard), Event::Refused { .. }));
    let again = Request::Create(Box::new(task.request("true")));
    assert!(matches!(control.ask(&again), Event::Refused { .. }));
    control.done(&Request::Signal { exec: None, signal: 9, all: true });
    control.exited(None);
}

#[test]
fn a_warm_supervisor_ends_by_itself_when_its_daemon_is_gone() {
    let mut task = Task::warm();
    let control = task.control();
    drop(control);
    task.ended();
    assert!(!task.dir.exists());
}

#[test]
fn a_warm_supervisor_takes_a_container_under_its_new_name() {
    let mut task = Task::warm();
    let mut control = task.control();
    assert_eq!(state(&mut control), State::default());
    let renamed = task.dir.with_file_name("renamed");
    std::fs::rename(&task.dir, &renamed).expect("renamed");
    task.dir = renamed;
    control.run(task.request("exit 5"));
    assert_eq!(control.exited(None).code, 5);
    task.ended();
    assert_eq!(task.exit_json().code, 5);
    assert!(!task.dir.join("socket").exists() && task.cgroups().is_empty());
}

#[test]
fn a_warm_supervisor_tells_of_the_network_namespace_before_the_container_is_made() {
    let which = |path: &std::path::Path| std::fs::metadata(path).ok().map(|found| (found.dev(), found.ino()));
    let mut task = Task::warm();
    let mut control = task.control();
    let pid = control.create(task.request("exit 5"));
    let told = control.network().expect("told before the answer");
    let namespace = which(&told).expect("held until the start");
    assert_eq!(Some(namespace), which(format!("/proc/{pid}/ns/net").as_ref()));
    assert_ne!(Some(namespace), which("/proc/self/ns/net".as_ref()));
    control.start();
    assert_eq!(which(&told).filter(|found| *found == namespace), None, "let go of at the start");
    assert_eq!(control.exited(None).code, 5);
    task.ended();
    // One that was not warm, and one that shares the host's, tell of none.
    let mut task = Task::new();
    let mut control = task.control();
    control.create(task.request("true"));
    assert_eq!(control.network(), None);
    control.done(&Request::Discard);
    task.ended();
    let mut task = Task::warm();
    let mut control = task.control();
    let mut request = task.request("true");
    let linux = request.spec.linux.as_mut().expect("linux");
    linux.namespaces.retain(|namespace| namespace.kind != NamespaceKind::Network);
    control.create(request);
    assert_eq!(control.network(), None);
    control.done(&Request::Discard);
    task.ended();
}

#[test]
fn nonsense_is_refused_and_the_connection_goes_on() {
    use std::io::{BufRead, BufReader, Write};
    let task = Task::new();
    let mut stream = BufReader::new(task.connect());
    stream.get_mut().write_all(b"what?\n{\"signal\":{\"exec\":null,\"signal\":9,\"all\":true}}\n").expect("sent");
    for expected in ["understand the request", "not running"] {
        let mut line = String::new();
        stream.read_line(&mut line).expect("an answer");
        assert!(line.contains(expected), "{line}");
    }
}

#[test]
fn an_idle_supervisor_is_small() {
    let task = Task::new();
    let mut control = task.control();
    control.run(task.request("sleep 100"));
    state(&mut control);
    let smaps = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", task.process.id())).expect("smaps");
    let field = |name: &str| smaps.lines().find_map(|line| line.strip_prefix(name)).expect("field").trim().to_owned();
    // Pages of its own; those of the program's file are shared, and dirty only while it is fresh from the linker.
    let private: u64 = field("Anonymous:").trim_end_matches(" kB").parse().expect("number");
    assert!(private < 1024, "{private} KiB");
    control.done(&Request::Signal { exec: None, signal: 9, all: true });
    control.exited(None);
}

#[test]
fn clients_in_any_state_cost_no_processor_time_while_nothing_happens() {
    let task = Task::new();
    let mut control = task.control();
    control.run(task.request("sleep 100"));
    let half_closed = [true, false].map(|stdin| {
        let attached = task.attach(stdin);
        attached.writer().shutdown(std::net::Shutdown::Write).expect("shut down");
        attached
    });
    let mut talking = task.attach(true);
    talking.write(b"to nobody\n");
    drop(task.attach(true));
    let mut ticks = || {
        control.exec(crate::harness::exec("wait", "sleep 0.5"));
        control.exited(Some("wait"));
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", task.process.id())).expect("stat");
        let (_, fields) = stat.rsplit_once(") ").expect("fields");
        let times = fields.split(' ').skip(11).take(2).map(|ticks| ticks.parse::<u32>().expect("ticks"));
        times.sum::<u32>()
    };
    let before = ticks();
    let spent = ticks() - before;
    assert!(spent < 10, "{spent} of about 50 ticks");
    drop((half_closed, talking));
    control.done(&Request::Signal { exec: None, signal: 9, all: true });
    control.exited(None);
}
