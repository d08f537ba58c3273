//! Execs: a further process in a running container. They live as long as the daemon and their container do.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use teu_api::container::HostConfig;
use teu_api::exec::{ExecCreate, ExecInspect, ProcessConfig};
use teu_supervisor::protocol::{Event, ExecRequest, ExitStatus, Request, Wanted, WindowSize};
use tokio::sync::{oneshot, watch};

use super::launch::explain;
use super::names::random_id;
use super::spec::{self, Inputs};
use super::user::Accounts;
use super::{Attachment, Container, Containers, Detach, Ended, Phase};
use crate::error::{Error, Result};

/// One exec. Cheap to clone.
#[derive(Clone)]
pub struct Exec {
    inner: Arc<Inner>,
}

struct Inner {
    id: String,
    container: Container,
    config: ExecCreate,
    state: Mutex<State>,
}

/// How long the result of an exec that has ended can be asked for.
const REMEMBERED: Duration = Duration::from_secs(300);

/// How often those are looked for that are remembered no more: all are looked at then.
const SWEPT: Duration = Duration::from_secs(30);

/// All that are known, by id.
#[derive(Default)]
pub(super) struct Execs {
    by_id: HashMap<String, Exec>,
    swept: Option<Instant>,
}

impl Execs {
    /// The one with this id.
    pub(super) fn get(&self, id: &str) -> Option<Exec> {
        self.by_id.get(id).filter(|exec| !exec.is_forgotten()).cloned()
    }

    fn insert(&mut self, exec: Exec) {
        if self.swept.is_none_or(|swept| swept.elapsed() >= SWEPT) {
            self.by_id.retain(|_, exec| !exec.is_forgotten());
            self.swept = Some(Instant::now());
        }
        self.by_id.insert(exec.id().into(), exec);
    }

    /// Their container is gone.
    pub(super) fn forget_those_of(&mut self, container: &str) {
        self.by_id.retain(|_, exec| exec.container_id() != container);
    }
}

#[derive(Default)]
struct State {
    started: bool,
    over: Option<Instant>,
    pid: i32,
    failed: Option<i32>,
    ended: Option<watch::Receiver<Option<ExitStatus>>>,
}

impl Containers {
    /// Prepares an exec in `container` and returns its id.
    ///
    /// # Errors
    /// When the container does not run or is paused, or no command was given.
    pub fn exec_create(&self, container: &Container, config: ExecCreate) -> Result<String> {
        running(container)?;
        if config.cmd.is_empty() {
            return Err(Error::bad("No exec command specified"));
        }
        if !config.working_dir.is_empty() && !config.working_dir.starts_with('/') {
            return Err(Error::bad(format!("the working directory '{}' is not absolute", config.working_dir)));
        }
        if !config.user.is_empty() {
            let record = container.record();
            Accounts::of_process(record.state.pid).identify(&config.user, &record.host.group_add)?;
        }
        let id = random_id()?;
        let words = config.cmd.join(" ");
        let inner = Inner { id: id.clone(), container: container.clone(), config, state: Mutex::default() };
        let exec = Exec { inner: Arc::new(inner) };
        container.live().execs.push(id.clone());
        {
            let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
            index.execs.insert(exec);
        }
        self.context.emit_container(&format!("exec_create: {words}"), &container.record(), &[("execID", id.clone())]);
        Ok(id)
    }
}

fn running(container: &Container) -> Result<()> {
    let id = container.id();
    match container.record().state.phase {
        Phase::Running => Ok(()),
        Phase::Paused => Err(Error::conflict(format!("Container {id} is paused, unpause the container before exec"))),
        Phase::Restarting => {
            Err(Error::conflict(format!("Container {id} is restarting, wait until the container is running")))
        }
        _ => Err(Error::conflict(format!("container {id} is not running"))),
    }
}

impl Exec {
    /// 64 hexadecimal digits.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.inner.id
    }

    /// The container it runs in.
    #[must_use]
    pub fn container_id(&self) -> &str {
        self.inner.container.id()
    }

    /// Whether it has a terminal.
    #[must_use]
    pub fn tty(&self) -> bool {
        self.inner.config.tty
    }

    /// Whether its standard input is wanted.
    #[must_use]
    pub fn open_stdin(&self) -> bool {
        self.inner.config.attach_stdin
    }

    /// The keys that let go of its terminal, as they were given.
    #[must_use]
    pub fn detach_keys(&self) -> &str {
        &self.inner.config.detach_keys
    }

    fn is_forgotten(&self) -> bool {
        self.state().over.is_some_and(|over| over.elapsed() > REMEMBERED)
    }

    /// It will not run any more: the container no longer lists it.
    fn over(&self) {
        self.state().over.get_or_insert_with(Instant::now);
        self.inner.container.live().execs.retain(|id| id != self.id());
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts it; a stream unless `detach`.
    ///
    /// # Errors
    /// When it was started before, or its program cannot be executed.
    pub async fn start(&self, detach: bool, size: Option<(u16, u16)>) -> Result<Option<Attachment>> {
        running(&self.inner.container)?;
        {
            let mut state = self.state();
            if std::mem::replace(&mut state.started, true) {
                return Err(Error::conflict(format!("Error: Exec command {} is already running", self.id())));
            }
        }
        let result = self.run(detach, size).await;
        if let Err(error) = &result {
            let code =
                if error.message.contains("not found") || error.message.contains("no such file") { 127 } else { 126 };
            self.state().failed.get_or_insert(code);
            self.over();
        }
        result
    }

    async fn run(&self, detach: bool, size: Option<(u16, u16)>) -> Result<Option<Attachment>> {
        let container = &self.inner.container;
        let config = &self.inner.config;
        let task = container.task()?;
        let process = self.process(container.record().state.pid)?;
        let ended = task.watch_exec(self.id());
        let (stdin, stdout, stderr) = (config.attach_stdin, config.attach_stdout, config.attach_stderr);
        let request = ExecRequest {
            exec: self.id().into(),
            process,
            stdin: stdin && !detach,
            size: size.map(|(rows, cols)| WindowSize { rows, cols }),
            streams: (!detach).then_some(Wanted { stdin, stdout, stderr }),
        };
        let (answer, stream) = if detach {
            (task.ask(&Request::Exec(Box::new(request))).await?, None)
        } else {
            let (answer, stream) = task.enter(request).await?;
            (answer, Some(stream))
        };
        match answer {
            Event::Started { pid, .. } => {
                let mut state = self.state();
                state.pid = pid;
                state.ended = Some(ended.clone());
            }
            Event::Failed { error, .. } => {
                let failure = explain(&error, "OCI runtime exec failed: exec failed");
                self.state().failed = Some(failure.code);
                return Err(failure.error);
            }
            Event::Refused { message } => return Err(Error::conflict(message)),
            other => return Err(Error::internal(format!("unexpected answer from the supervisor: {other:?}"))),
        }
        self.announce(ended.clone());
        Ok(stream.map(|stream| {
            let (ready, attached) = oneshot::channel();
            let _ = ready.send(stream);
            let detach = Some(Detach { container: container.clone(), exec: Some(self.id().to_string()) });
            Attachment {
                tty: config.tty,
                history: None,
                stream: Some(attached),
                ended: Some(Ended::of_exec(ended)),
                detach,
                delivery: None,
            }
        }))
    }

    /// Tells of the start now and of the end when it comes.
    fn announce(&self, mut ended: watch::Receiver<Option<ExitStatus>>) {
        let exec = self.clone();
        let words = exec.inner.config.cmd.join(" ");
        let emit = move |exec: &Self, action: &str, code: Option<i32>| {
            let mut extra = vec![("execID", exec.id().to_string())];
            extra.extend(code.map(|code| ("exitCode", code.to_string())));
            let container = &exec.inner.container;
            container.shared.context.emit_container(action, &container.record(), &extra);
        };
        emit(&exec, &format!("exec_start: {words}"), None);
        tokio::spawn(async move {
            let code = ended.wait_for(Option::is_some).await.ok().and_then(|status| status.as_ref().map(|s| s.code));
            exec.over();
            emit(&exec, "exec_die", code);
        });
    }

    fn process(&self, pid: i32) -> Result<teu_oci::runtime::Process> {
        let record = self.inner.container.record();
        let config = &self.inner.config;
        let user = if config.user.is_empty() { &record.config.user } else { &config.user };
        let identity = Accounts::of_process(pid).identify(user, &record.host.group_add)?;
        let mut env: Vec<String> = record.config.env.clone();
        for entry in &config.env {
            let key = entry.split('=').next();
            env.retain(|other| other.split('=').next() != key);
            env.push(entry.clone());
        }
        let host = HostConfig {
            privileged: config.privileged || record.host.privileged,
            console_size: config.console_size.unwrap_or_default(),
            ..record.host.clone()
        };
        let inputs = Inputs {
            id: &record.id,
            host: &host,
            args: config.cmd.clone(),
            env: &env,
            cwd: if config.working_dir.is_empty() { &record.config.working_dir } else { &config.working_dir },
            user: identity.user,
            home: &identity.home,
            terminal: config.tty,
            hostname: &record.config.hostname,
            domainname: "",
            mounts: &[],
            etc: None,
            tmpfs: std::collections::BTreeMap::new(),
            devices: vec![],
            joined: spec::Joined::default(),
            users: None,
        };
        spec::process_of(&inputs)
    }

    /// Ends it.
    pub(super) async fn kill(&self) -> Result<()> {
        let exec = Some(self.id().to_string());
        let request = Request::Signal { exec, signal: crate::signals::KILL, all: false };
        self.inner.container.task()?.order(&request).await
    }

    /// What it returned, once it has ended.
    #[must_use]
    pub fn exit_code(&self) -> Option<i32> {
        let state = self.state();
        state.failed.or(state.ended.as_ref().and_then(|watch| watch.borrow().as_ref().map(|status| status.code)))
    }

    /// Sets its terminal's size.
    ///
    /// # Errors
    /// When it does not run.
    pub async fn resize(&self, rows: u16, cols: u16) -> Result<()> {
        let exec = Some(self.id().to_string());
        self.inner.container.task()?.order(&Request::Resize { exec, rows, cols }).await
    }

    /// What is known of it.
    #[must_use]
    pub fn inspect(&self) -> ExecInspect {
        let state = self.state();
        let config = &self.inner.config;
        let ended = state.ended.as_ref().and_then(|watch| watch.borrow().as_ref().map(|status| status.code));
        let code = state.failed.or(ended);
        let (program, arguments) =
            config.cmd.split_first().map_or((String::new(), vec![]), |(first, rest)| (first.clone(), rest.to_vec()));
        ExecInspect {
            id: self.id().into(),
            running: state.started && code.is_none() && state.pid != 0,
            exit_code: code.map(i64::from),
            process_config: ProcessConfig {
                tty: config.tty,
                entrypoint: program,
                arguments,
                privileged: config.privileged,
                user: config.user.clone(),
            },
            open_stdin: config.attach_stdin,
            open_stderr: config.attach_stderr,
            open_stdout: config.attach_stdout,
            can_remove: code.is_some(),
            container_id: self.container_id().into(),
            detach_keys: config.detach_keys.clone(),
            pid: i64::from(state.pid),
        }
    }
}
