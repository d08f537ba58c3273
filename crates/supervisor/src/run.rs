//! The poll loop: what is waited for, and what happens when it comes.
//!
//! ```text
//! Empty ── Create ──► Here ── first process reported ──► Over ── clients gone ──► end
//!   │                  └─ could not be made, or Discard ─► Over
//!   └─ everyone who might give it a container is gone ─────────────────────────► end
//! ```
//!
//! Each turn waits once for everything, acts on what is ready, and then settles: outputs of ended processes are
//! drained, exits reported, connections let go of. There is no timer unless somebody is being waited for.
//!
//! Order at the container's end: output to its end, log, attached clients, cgroup, `exit.json`, `Exited`, end.

use std::io;
use std::os::fd::{AsFd, RawFd};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use teu_runtime::{Stock, Zygote};
use teu_sys::poll::Interests;

use crate::attach::{Attach, PATIENCE, Received};
use crate::children::{Child, Container};
use crate::connection::Connection;
use crate::log::{Log, Stream};
use crate::protocol::{Event, Request, State, Wanted};
use crate::requests::state;
use crate::rundir::RunDir;
use crate::services::{self, Services};
use crate::streams::Read;

/// How long a supervisor that nobody has ever talked to waits for somebody.
const LONELY: Duration = Duration::from_secs(5);
/// How long the report of an exit waits for attached clients to read the last output.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// What is read at once.
const BUFFER: usize = 64 << 10;

/// Supervises one container and returns when it is over: the main function of `teu supervise`.
///
/// `dir` is the task directory, absolute; `listener` the number of the inherited, listening socket. A `warm` supervisor was
/// started ahead of need and prepares what it can before it is given its container.
pub fn run(dir: &Path, listener: RawFd, warm: bool) -> u8 {
    let supervised = let_go().is_ok() && supervise(dir, listener, warm, &Stock::default());
    if supervised { 0 } else { 1 }
}

/// The same in a process that has let go of its maker; false when something went wrong.
pub(crate) fn supervise(dir: &Path, listener: RawFd, warm: bool, stock: &Stock) -> bool {
    let supervised = take(listener).and_then(|listener| {
        let dir = RunDir::open(dir)?;
        // A container can be made without.
        let zygote = if warm { Zygote::prepare().ok() } else { None };
        let mut supervisor = Supervisor::new(dir, listener, zygote, stock);
        let result = supervisor.supervise();
        supervisor.leave();
        // Whoever waits for the container has been told; only the log's last words are still on their way.
        if let Some(log) = supervisor.ended_log {
            log.farewell();
        }
        result
    });
    supervised.is_ok()
}

fn take(listener: RawFd) -> io::Result<UnixListener> {
    let listener = teu_sys::socket::inherited_listener(listener)?;
    listener.set_nonblocking(true)?;
    let _ = rustix::thread::set_name(c"teu-supervise");
    for signal in [1, 2, 3, 10, 12, 13, 14, 15] {
        teu_sys::signal::ignore(signal)?;
    }
    Ok(listener)
}

/// Lets go of whoever started us: session, directory, terminal.
pub(crate) fn let_go() -> io::Result<()> {
    use rustix::fs::{Mode, OFlags};
    // Refused to a process that leads its group: then whoever started us has done it.
    let _ = rustix::process::setsid();
    rustix::process::chdir("/")?;
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)?;
    Ok(())
}

/// What there is to supervise.
pub(crate) enum Stage {
    Empty(Option<Zygote>),
    Here(Box<Container>),
    Over(State),
}

/// What became ready.
#[derive(Clone, Copy)]
enum Ready {
    Listener,
    Connection(usize),
    Attach(usize),
    Created,
    Exit(Option<usize>),
    Output(Option<usize>, usize),
    Input(Option<usize>),
    Service(services::Place),
    Log,
}

/// The supervisor of one container.
pub(crate) struct Supervisor<'s> {
    pub(crate) dir: RunDir,
    pub(crate) stock: &'s Stock,
    listener: UnixListener,
    pub(crate) stage: Stage,
    pub(crate) connections: Vec<Connection>,
    pub(crate) attached: Vec<Attach>,
    pub(crate) services: Services,
    buffer: Vec<u8>,
    /// Of a container that is over.
    ended_log: Option<Log>,
    /// Output was read in this turn.
    busy: bool,
    /// Somebody has talked to us.
    met: bool,
    /// We were told to give up.
    pub(crate) discarded: bool,
    born: Instant,
}

impl<'s> Supervisor<'s> {
    fn new(dir: RunDir, listener: UnixListener, zygote: Option<Zygote>, stock: &'s Stock) -> Supervisor<'s> {
        let (stage, born) = (Stage::Empty(zygote), Instant::now());
        let (connections, attached, buffer) = (Vec::new(), Vec::new(), Vec::new());
        let services = Services::default();
        let (ended_log, busy, met, discarded) = (None, false, false, false);
        Supervisor {
            dir,
            stock,
            listener,
            stage,
            connections,
            attached,
            services,
            buffer,
            ended_log,
            busy,
            met,
            discarded,
            born,
        }
    }

    fn supervise(&mut self) -> io::Result<()> {
        while !self.over() {
            for (ready, hung_up) in self.wait()? {
                self.act(ready, hung_up);
            }
            self.settle();
        }
        Ok(())
    }

    fn over(&self) -> bool {
        match self.stage {
            _ if self.discarded => true,
            Stage::Empty(_) if self.met => self.connections.is_empty(),
            Stage::Empty(_) => self.born.elapsed() >= LONELY,
            Stage::Here(_) => false,
            // A container that could not be made stays known until its maker has gone; an ended one has been reported.
            Stage::Over(ref state) if state.exit.is_none() => self.connections.is_empty(),
            Stage::Over(_) => self.attached.is_empty(),
        }
    }

    /// Waits for everything at once; says what became ready, and whether its other side is gone.
    fn wait(&mut self) -> io::Result<Vec<(Ready, bool)>> {
        // Right after output there is often more: memory is only let go of when there is not.
        let busy = std::mem::take(&mut self.busy);
        if !busy {
            self.rest();
        }
        let timeout = if busy { Some(Duration::ZERO) } else { self.timeout() };
        let (mut interests, mut meanings) = (Interests::new(), Vec::new());
        let mut add = |fd, readable, writable, meaning| {
            interests.add(fd, readable, writable);
            meanings.push(meaning);
        };
        add(self.listener.as_fd(), true, false, Ready::Listener);
        for (index, connection) in self.connections.iter().enumerate() {
            add(connection.as_fd(), true, connection.unsent(), Ready::Connection(index));
        }
        let container = match &self.stage {
            Stage::Here(container) => Some(container),
            _ => None,
        };
        for (index, attach) in self.attached.iter().enumerate() {
            let fed = container.is_some_and(|c| find(c, attach.target.as_deref()).is_some_and(fed));
            if let Some((readable, writable)) = attach.interest(fed) {
                add(attach.as_fd(), readable, writable, Ready::Attach(index));
            }
        }
        if let Some(container) = container {
            if let Some(created) = container.created() {
                add(created.pidfd(), true, false, Ready::Created);
            }
            if let Some((fd, writable)) = container.log.as_ref().and_then(Log::interest) {
                add(fd, true, writable, Ready::Log);
            }
            for (place, child) in children(container) {
                if let Some(pidfd) = child.pidfd() {
                    add(pidfd, true, false, Ready::Exit(place));
                    for (index, output) in child.streams.outputs.iter().enumerate() {
                        let full = place.is_none() && container.log.as_ref().is_some_and(Log::full);
                        if !full && !held_back(&self.attached, container, place, output.stream) {
                            add(output.as_fd(), true, false, Ready::Output(place, index));
                        }
                    }
                }
                if let Some(input) = child.streams.input.waiting() {
                    add(input, false, true, Ready::Input(place));
                }
            }
        }
        self.services
            .interests(&mut |fd, readable, writable, place| add(fd, readable, writable, Ready::Service(place)));
        interests.wait(timeout)?;
        let happened = |place: usize| interests.readable(place) || interests.writable(place);
        let ready = meanings.into_iter().enumerate().filter(|(place, _)| happened(*place));
        Ok(ready.map(|(place, meaning)| (meaning, interests.hung_up(place))).collect())
    }

    /// How long the next wait may last: for ever, unless somebody is being waited for.
    fn timeout(&self) -> Option<Duration> {
        if matches!(self.stage, Stage::Empty(_)) && !self.met {
            return Some(LONELY.saturating_sub(self.born.elapsed()));
        }
        let (ended, log) = match &self.stage {
            Stage::Here(container) => {
                let ended = children(container).any(|(_, child)| child.exit().is_some());
                (ended, container.log.as_ref().and_then(Log::timeout))
            }
            _ => (false, None),
        };
        let own = (ended || self.attached.iter().any(Attach::unsent)).then_some(PATIENCE);
        own.into_iter().chain(log).chain(self.services.timeout()).min()
    }

    fn act(&mut self, ready: Ready, hung_up: bool) {
        self.buffer.resize(BUFFER, 0);
        match ready {
            Ready::Listener => self.accept(),
            Ready::Connection(index) => self.converse(index),
            Ready::Attach(index) => self.exchange(index, hung_up),
            Ready::Created => {
                if let Stage::Here(container) = &mut self.stage {
                    container.lose();
                }
            }
            Ready::Exit(place) => {
                if let Some(child) = self.child_at(place) {
                    child.reap(place.is_none());
                }
            }
            Ready::Service(place) => self.services.act(place),
            Ready::Output(place, index) => drop(self.pass_on(place, index)),
            Ready::Input(place) => {
                if let Some(child) = self.child_at(place) {
                    child.streams.input.flush();
                }
            }
            Ready::Log => {
                if let Stage::Here(container) = &mut self.stage
                    && let Some(log) = &mut container.log
                {
                    log.hear(&mut self.buffer);
                }
            }
        }
    }

    fn accept(&mut self) {
        while let Ok((stream, _)) = self.listener.accept() {
            if let Ok(connection) = Connection::new(stream) {
                self.connections.push(connection);
                self.met = true;
                // Who connects has something to say, and may have said it.
                self.converse(self.connections.len() - 1);
            }
        }
    }

    /// Reads requests from a connection and answers them; one may make it an attach stream.
    fn converse(&mut self, index: usize) {
        let connection = &mut self.connections[index];
        connection.flush();
        connection.receive(&mut self.buffer);
        while let Some(line) = self.connections[index].line() {
            let request = match serde_json::from_slice::<Request>(&line) {
                Ok(request) => request,
                Err(error) => {
                    let message = format!("understand the request: {error}");
                    self.connections[index].send(&Event::Refused { message });
                    continue;
                }
            };
            match request {
                Request::Attach(wanted) => self.attach(index, None, wanted, &Event::Attached),
                Request::StartAttached(wanted) => self.enter(index, None, Request::Start, wanted),
                Request::Exec(request) => match request.streams {
                    Some(wanted) => self.enter(index, Some(request.exec.clone()), Request::Exec(request), wanted),
                    None => self.reply(index, Request::Exec(request)),
                },
                request => self.reply(index, request),
            }
        }
    }

    fn reply(&mut self, index: usize, request: Request) {
        self.connections[index].greeted = true;
        let answer = self.answer(index, request);
        if let Event::Started { exec, pid } = &answer {
            self.tell(&Event::Started { exec: exec.clone(), pid: *pid }, Some(index));
        }
        self.connections[index].send(&answer);
    }

    /// Runs a process, the first one or an exec, whose streams the connection becomes if it starts.
    fn enter(&mut self, index: usize, exec: Option<String>, request: Request, wanted: Wanted) {
        match self.answer(index, request) {
            started @ Event::Started { .. } => self.attach(index, exec, wanted, &started),
            failure => self.connections[index].send(&failure),
        }
    }

    /// Sends an event to everyone who understands events, but one.
    fn tell(&mut self, event: &Event, except: Option<usize>) {
        for (index, connection) in self.connections.iter_mut().enumerate() {
            if connection.greeted && Some(index) != except {
                connection.send(event);
            }
        }
    }

    fn attach(&mut self, index: usize, target: Option<String>, wanted: Wanted, greeting: &Event) {
        // It keeps its place until the turn is over, as the others do.
        let Ok((stream, early)) = self.connections[index].become_stream() else { return };
        let mut attach = Attach::new(stream, early, target, wanted);
        attach.greet(greeting);
        self.attached.push(attach);
    }

    /// Passes a client's input to its process, and on what was kept for the client.
    fn exchange(&mut self, index: usize, hung_up: bool) {
        let attach = &mut self.attached[index];
        attach.flush();
        if hung_up {
            attach.hung_up();
        }
        let child = match &mut self.stage {
            Stage::Here(container) => container.child(attach.target.as_deref()),
            _ => None,
        };
        match child {
            _ if !attach.wants_input() => drop(attach.receive(&mut self.buffer)),
            Some(child) if fed(child) => match attach.receive(&mut self.buffer) {
                Received::Bytes(n) => child.streams.input.push(&self.buffer[..n]),
                Received::End if child.ends_with_client => child.streams.input.end(),
                Received::End | Received::Nothing => {}
            },
            _ => {}
        }
    }

    /// Reads once from an output: to the log, to the clients. False when there was nothing.
    fn pass_on(&mut self, place: Option<usize>, index: usize) -> bool {
        let Stage::Here(container) = &mut self.stage else { return false };
        let container = &mut **container;
        let child = match place {
            None => &mut container.child,
            Some(place) => &mut container.execs[place].1,
        };
        let Some(output) = child.streams.outputs.get(index) else { return false };
        let (stream, raw) = (output.stream, child.streams.is_terminal());
        let log = if place.is_none() { container.log.as_mut() } else { None };
        match child.read(index, &mut self.buffer) {
            Read::Bytes(n) => {
                self.busy = true;
                if let Some(log) = log {
                    log.append(stream, &self.buffer[..n], Timestamp::now());
                }
                let target = place.map(|place| container.execs[place].0.as_str());
                for attach in self.attached.iter_mut().filter(|a| a.target.as_deref() == target) {
                    attach.send(stream, &self.buffer[..n], raw);
                }
                true
            }
            Read::Later => false,
            Read::End => {
                if let Some(log) = log {
                    log.end(stream, Timestamp::now());
                }
                true
            }
        }
    }

    fn child_at(&mut self, place: Option<usize>) -> Option<&mut Child> {
        match (&mut self.stage, place) {
            (Stage::Here(container), None) => Some(&mut container.child),
            (Stage::Here(container), Some(place)) => container.execs.get_mut(place).map(|(_, child)| child),
            _ => None,
        }
    }

    /// Brings everything up to date after a turn.
    fn settle(&mut self) {
        self.buffer.resize(BUFFER, 0);
        if let Stage::Here(container) = &mut self.stage
            && let Some(log) = container.log.as_mut().filter(|log| log.timeout().is_some_and(|left| left.is_zero()))
        {
            log.hear(&mut self.buffer);
        }
        self.drain();
        self.feed();
        self.release();
        self.report_execs();
        self.report_container();
        self.services.settle();
        self.connections.retain(|connection| !connection.closed);
    }

    /// Lets go of memory before a wait that may be long.
    fn rest(&mut self) {
        self.buffer = Vec::new();
        if let Stage::Here(container) = &mut self.stage
            && let Some(log) = &mut container.log
        {
            log.rest();
        }
    }

    /// Reads what ended processes have left behind.
    fn drain(&mut self) {
        let Stage::Here(container) = &mut self.stage else { return };
        if container.child.exit().is_some() {
            container.kill_stragglers();
        }
        let ended = children(container).filter(|(_, child)| child.exit().is_some());
        for place in ended.map(|(place, _)| place).collect::<Vec<_>>() {
            while self.pass_on(place, 0) {}
        }
    }

    /// Passes on input that came right behind an attach request.
    fn feed(&mut self) {
        let Stage::Here(container) = &mut self.stage else { return };
        for attach in self.attached.iter_mut().filter(|attach| !attach.early.is_empty()) {
            if let Some(child) = container.child(attach.target.as_deref())
                && fed(child)
            {
                child.streams.input.push(&std::mem::take(&mut attach.early));
            }
        }
    }

    /// Lets go of clients whose process has ended once they have everything, and of those who are gone or stopped.
    fn release(&mut self) {
        for attach in &mut self.attached {
            let ended = match &self.stage {
                Stage::Empty(_) => false,
                Stage::Here(container) => find(container, attach.target.as_deref()).is_some_and(Child::drained),
                Stage::Over(_) => true,
            };
            if ended {
                attach.end();
            }
            attach.check();
        }
        for attach in self.attached.extract_if(.., |attach| attach.over()) {
            attach.close(&mut self.buffer);
        }
    }

    fn report_execs(&mut self) {
        let Stage::Here(container) = &mut self.stage else { return };
        let attached = &self.attached;
        let ripe = |(exec, child): &mut (String, Child)| reportable(attached, Some(exec), child);
        let reports: Vec<_> = container.execs.extract_if(.., ripe).collect();
        for (exec, child) in reports {
            // One who has not read everything by now gets the rest, and then the end.
            self.attached.iter_mut().filter(|a| a.target.as_ref() == Some(&exec)).for_each(Attach::end);
            if let Some((status, _)) = child.exit().cloned() {
                self.tell(&Event::Exited { exec: Some(exec), status }, None);
            }
        }
    }

    fn report_container(&mut self) {
        let Stage::Here(container) = &mut self.stage else { return };
        let Some((status, since)) = container.child.exit().cloned() else { return };
        let execs_ended = container.execs.is_empty() || since.elapsed() >= LAST_WORDS;
        if !execs_ended || !reportable(&self.attached, None, &container.child) {
            return;
        }
        container.clean_up();
        // Whoever hears of the end may start the container again at once, and then the ports must be free.
        self.services.close();
        if let Ok(json) = serde_json::to_vec(&status) {
            // A full disk cannot be helped here; who asks on the socket still learns how it ended.
            let _ = self.dir.write("exit.json", &json);
        }
        let state = State { exit: Some(status.clone()), ..state(container) };
        self.ended_log = container.log.take();
        self.stage = Stage::Over(state);
        self.tell(&Event::Exited { exec: None, status }, None);
        self.release();
    }

    /// Takes our files away: whoever looks now must find how it ended, or nothing.
    fn leave(&self) {
        self.dir.remove("socket");
        self.dir.remove("pid");
        self.dir.remove("config.json");
        if matches!(&self.stage, Stage::Over(State { exit: None, .. }) | Stage::Empty(_)) {
            self.dir.remove_itself();
        }
    }
}

/// Every process with its place: none is the first one.
fn children(container: &Container) -> impl Iterator<Item = (Option<usize>, &Child)> {
    let execs = container.execs.iter().enumerate().map(|(place, (_, child))| (Some(place), child));
    std::iter::once((None, &container.child)).chain(execs)
}

/// The process that a client is attached to.
fn find<'a>(container: &'a Container, target: Option<&str>) -> Option<&'a Child> {
    match target {
        None => Some(&container.child),
        Some(exec) => container.execs.iter().find(|(other, _)| other == exec).map(|(_, child)| child),
    }
}

/// The process takes input now.
fn fed(child: &Child) -> bool {
    child.streams.input.idle()
}

/// A client is so far behind that nothing more is fetched for it.
fn held_back(attached: &[Attach], container: &Container, place: Option<usize>, stream: Stream) -> bool {
    let target = place.map(|place| container.execs[place].0.as_str());
    attached.iter().any(|attach| attach.target.as_deref() == target && attach.wants(stream) && attach.full())
}

/// The process has ended, and its clients have all of its output or have had time enough.
fn reportable(attached: &[Attach], exec: Option<&str>, child: &Child) -> bool {
    let unread = || attached.iter().any(|attach| attach.target.as_deref() == exec && attach.unsent());
    child.drained() && (!unread() || child.exit().is_some_and(|(_, since)| since.elapsed() >= LAST_WORDS))
}
