//! What each request means, and its one answer.

use std::os::fd::{AsRawFd, BorrowedFd};

use teu_runtime::Error;

use crate::children::{Child, Container};
use crate::protocol::{Event, ExecState, Request, State};
use crate::revival::Waiting;
use crate::run::{Stage, Supervisor};

const SIGKILL: i32 = 9;
const ESRCH: i32 = 3;

impl Supervisor<'_> {
    /// Carries out the request of that connection.
    pub(crate) fn answer(&mut self, index: usize, request: Request) -> Event {
        match (request, &mut self.stage) {
            (Request::State, Stage::Here(container)) => Event::State(Box::new(state(container))),
            (Request::State, Stage::Over(state)) => Event::State(Box::new(state.clone())),
            (Request::State, Stage::Empty(_)) => Event::State(Box::default()),
            (Request::Create(request), Stage::Empty(zygote)) => {
                let (id, zygote) = (request.id.clone(), zygote.take());
                let asker = &mut self.connections[index];
                let mut tell = |network: BorrowedFd<'_>| {
                    let pid = std::process::id().cast_signed();
                    asker.send(&Event::Network { pid, fd: network.as_raw_fd() });
                };
                match Container::create(*request, &self.dir, zygote, self.stock, &mut tell) {
                    Ok((container, pid)) => self.created(container, pid),
                    Err(error) => self.failed(id, error),
                }
            }
            (Request::Create(_), _) => refuse("there is a container already"),
            (Request::Start, Stage::Here(container)) => {
                let waited = container.first_process();
                match container.start() {
                    Ok(pid) if waited == Some(pid) => Event::Started { exec: None, pid },
                    // Of one that was saved it is another.
                    Ok(pid) => match self.dir.write("pid", pid.to_string().as_bytes()) {
                        Ok(()) => Event::Started { exec: None, pid },
                        Err(error) => refuse(&format!("write the pid file: {error}")),
                    },
                    Err(error @ Error::Refused { .. }) if container.running() => Event::Failed { exec: None, error },
                    Err(error) => {
                        let id = container.id.clone();
                        self.failed(id, error)
                    }
                }
            }
            (Request::Exec(request), Stage::Here(container)) => {
                let exec = request.exec.clone();
                match container.exec(*request, self.stock) {
                    Ok(pid) => Event::Started { exec: Some(exec), pid },
                    Err(error) => Event::Failed { exec: Some(exec), error },
                }
            }
            (Request::Discard, Stage::Here(container)) if container.running() => refuse("container is running"),
            (Request::Discard, stage) => {
                *stage = Stage::Over(State::default());
                self.discarded = true;
                Event::Done
            }
            (Request::Publish(ports), Stage::Here(_)) => self.services.publish(&ports),
            (Request::Names(names), Stage::Here(container)) => match container.first_process() {
                Some(pid) => match self.services.serve_names(pid, *names) {
                    Ok(()) => Event::Done,
                    Err(error) => refuse(&format!("serve names: {error}")),
                },
                None => refuse("container is not running"),
            },
            (request, Stage::Here(container)) => command(container, request),
            (_, Stage::Empty(_) | Stage::Over(_)) => refuse("container is not running"),
        }
    }

    fn created(&mut self, container: Container, pid: i32) -> Event {
        self.stage = Stage::Here(Box::new(container));
        match self.dir.write("pid", pid.to_string().as_bytes()) {
            Ok(()) => Event::Created { pid },
            Err(source) => {
                let id = String::new();
                let errno = source.raw_os_error().unwrap_or_default();
                self.failed(id, Error::Step { step: "write the pid file".into(), errno })
            }
        }
    }

    /// Forgets a container that could not be made or started.
    fn failed(&mut self, id: String, error: Error) -> Event {
        self.stage = Stage::Over(State { id: Some(id), ..State::default() });
        Event::Failed { exec: None, error }
    }
}

/// Requests about a container that is there.
fn command(container: &mut Container, request: Request) -> Event {
    let result = match request {
        Request::Signal { exec: None, signal, all: true } => container.signal_all(signal),
        Request::Signal { exec, signal, .. } => match container.child(exec.as_deref()) {
            Some(child) => child.signal(signal).and_then(|()| match signal {
                SIGKILL => container.thaw_if_paused(),
                _ => Ok(()),
            }),
            None => return refuse("exec is not running"),
        },
        Request::Resize { exec, rows, cols } => match container.child(exec.as_deref()) {
            Some(child) => child.streams.resize(rows, cols),
            None => return refuse("exec is not running"),
        },
        Request::CloseStdin { exec } => match container.child(exec.as_deref()) {
            Some(child) => {
                child.streams.input.end();
                Ok(())
            }
            None => return refuse("exec is not running"),
        },
        Request::Pause if !container.running() => return refuse("container is not running"),
        Request::Pause => container.pause(true),
        Request::Resume => container.pause(false),
        Request::Checkpoint { images, leave_running } => match container.save(images, leave_running) {
            Ok(()) => Ok(()),
            Err(error) => return refuse(&error.to_string()),
        },
        Request::Update(resources) => match container.update(&resources) {
            Ok(()) => Ok(()),
            Err(error) => return refuse(&error.to_string()),
        },
        _ => return refuse("the request makes no sense now"),
    };
    match result {
        Ok(()) => Event::Done,
        Err(error) if error.raw_os_error() == Some(ESRCH) => refuse("container is not running"),
        Err(error) => refuse(&error.to_string()),
    }
}

fn refuse(message: &str) -> Event {
    Event::Refused { message: message.to_owned() }
}

/// What is known of the container.
pub(crate) fn state(container: &Container) -> State {
    let running = |(exec, child): &(String, Child)| child.pid().map(|pid| ExecState { exec: exec.clone(), pid });
    State {
        id: Some(container.id.clone()),
        pid: container.child.pid().or_else(|| container.created().map(Waiting::pid)),
        running: container.running(),
        paused: container.paused,
        started_at: container.started_at.clone(),
        exit: container.child.exit().map(|(status, _)| status.clone()),
        execs: container.execs.iter().filter_map(running).collect(),
    }
}
