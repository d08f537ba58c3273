//! Further processes in a running container.

use teu_runtime::Error;
use teu_supervisor::protocol::{Event, Request, WindowSize};

use crate::harness::{Control, Task, exec};

fn container(task: &Task) -> Control {
    let mut control = task.control();
    control.run(task.request("sleep 100"));
    control
}

fn end(mut control: Control) {
    control.done(&Request::Signal { exec: None, signal: 9, all: true });
    control.exited(None);
}

#[test]
fn an_exec_has_its_own_streams_and_its_own_end() {
    let task = Task::new();
    let mut control = container(&task);
    let mut request = exec("one", "cat; echo problem >&2; exit 7");
    request.stdin = true;
    let mut attached = task.enter(request).expect("started");
    attached.write(b"typed\n");
    attached.end_input();
    assert_eq!(attached.frames(), [b"typed\n".to_vec(), b"problem\n".to_vec()]);
    assert_eq!(control.exited(Some("one")).code, 7);
    end(control);
}

#[test]
fn all_that_an_exec_wrote_comes_before_its_end() {
    let task = Task::new();
    let mut control = container(&task);
    for round in 0..20 {
        let name = format!("exec {round}");
        let mut attached = task.enter(exec(&name, "seq 1 20000")).expect("started");
        let [stdout, _] = attached.frames();
        assert!(stdout.ends_with(b"\n20000\n"), "{} bytes", stdout.len());
        assert_eq!(control.exited(Some(&name)).code, 0);
    }
    end(control);
}

#[test]
fn execs_leave_nothing_in_the_memory_that_they_are_lent() {
    let task = Task::new();
    let mut control = container(&task);
    let path = format!("/proc/{}/smaps_rollup", task.process.id());
    let private = || {
        let smaps = std::fs::read_to_string(&path).expect("smaps");
        let dirty = smaps.lines().find_map(|line| line.strip_prefix("Private_Dirty:")).expect("a number");
        dirty.trim().trim_end_matches(" kB").parse::<u64>().expect("a number")
    };
    let mut some = |rounds: usize| {
        for round in 0..rounds {
            let name = format!("exec {round}");
            let mut request = exec(&name, if round % 2 == 0 { "exit 3" } else { "exit 4" });
            request.process.env.extend((0..100).map(|number| format!("VARIABLE_{number}={}", "x".repeat(100))));
            if round % 5 == 4 {
                request.process.args[0] = "/no/such/program".into();
                let event = control.ask(&Request::Exec(Box::new(request)));
                assert!(matches!(event, Event::Failed { .. }), "{event:?}");
                continue;
            }
            control.exec(request);
            assert_eq!(control.exited(Some(&name)).code, 3 + i32::from(round % 2 == 1));
        }
        private()
    };
    let before = some(20);
    let after = some(200);
    // Each brings 12 KiB of texts.
    assert!(after < before + 200, "from {before} to {after} KiB");
    end(control);
}

#[test]
fn a_container_that_kills_whoever_enters_harms_nobody_else() {
    let task = Task::new();
    let mut control = task.control();
    control.run(task.request("while :; do kill -9 -1; done"));
    for round in 0..200 {
        let name = format!("exec {round}");
        match control.ask(&Request::Exec(Box::new(exec(&name, "sleep 100")))) {
            Event::Started { .. } => assert_eq!(control.exited(Some(&name)).code, 137),
            // Its maker has heard nothing of it.
            Event::Failed { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(matches!(control.ask(&Request::State), Event::State(state) if state.running && state.execs.is_empty()));
    end(control);
}

#[test]
fn an_exec_does_not_wait_for_what_it_leaves_in_the_background() {
    let task = Task::new();
    let mut control = container(&task);
    let mut attached = task.enter(exec("one", "sleep 100 & echo done")).expect("started");
    assert_eq!(attached.frames(), [b"done\n".to_vec(), Vec::new()]);
    assert_eq!(control.exited(Some("one")).code, 0);
    end(control);
}

#[test]
fn an_exec_with_a_terminal_has_the_size_it_was_given() {
    let task = Task::new();
    let mut control = container(&task);
    let mut request = exec("one", "tty; stty size; read line; echo got $line");
    (request.stdin, request.process.terminal) = (true, true);
    request.size = Some(WindowSize { rows: 22, cols: 66 });
    let mut attached = task.enter(request).expect("started");
    let seen = attached.until("22 66");
    assert!(seen.contains("/dev/pts/"), "{seen:?}");
    attached.write(b"it\n");
    let rest = String::from_utf8(attached.raw()).expect("text");
    assert!(rest.contains("got it"), "{rest:?}");
    assert_eq!(control.exited(Some("one")).code, 0);
    end(control);
}

#[test]
fn an_exec_of_nothing_fails_by_name_whoever_asks() {
    let task = Task::new();
    let mut control = container(&task);
    let mut request = exec("one", "");
    request.process.args = vec!["nothing".into()];
    let told = [task.enter(request.clone()).err(), Some(control.ask(&Request::Exec(Box::new(request))))];
    for event in told {
        let Some(Event::Failed { exec: Some(name), error }) = event else { panic!("{event:?}") };
        assert_eq!(name, "one");
        assert!(matches!(error, Error::NoSuchProgram { .. }), "{error:?}");
    }
    end(control);
}

#[test]
fn an_exec_can_be_signalled_and_is_listed_while_it_runs() {
    let task = Task::new();
    let mut control = container(&task);
    control.exec(exec("one", "sleep 100"));
    let Event::State(state) = control.ask(&Request::State) else { panic!("no state") };
    assert_eq!(state.execs.iter().map(|exec| exec.exec.as_str()).collect::<Vec<_>>(), ["one"]);
    control.done(&Request::Signal { exec: Some("one".into()), signal: 15, all: false });
    let status = control.exited(Some("one"));
    assert_eq!((status.code, status.signal), (143, Some(15)));
    end(control);
}

#[test]
fn the_end_of_the_container_ends_its_execs_first() {
    let task = Task::new();
    let mut control = container(&task);
    control.exec(exec("one", "sleep 100"));
    control.done(&Request::Signal { exec: None, signal: 9, all: false });
    assert_eq!(control.exited(Some("one")).code, 137);
    assert_eq!(control.exited(None).code, 137);
}

#[test]
fn every_control_connection_hears_of_starts_and_ends() {
    let task = Task::new();
    let mut other = task.control();
    assert!(matches!(other.ask(&Request::State), Event::State(_)));
    let mut control = container(&task);
    assert!(matches!(other.read(), Some(Event::Started { exec: None, .. })));
    control.exec(exec("one", "exit 4"));
    assert!(matches!(other.read(), Some(Event::Started { exec: Some(_), .. })));
    assert_eq!(other.exited(Some("one")).code, 4);
    end(control);
}
