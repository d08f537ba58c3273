//! Containers: the index of them, and the handle through which one is used.
//!
//! Each container has one task that owns its record (the `driver`). What it publishes is read without asking it, so
//! `ps` and `inspect` never wait for a container; signals, attach and resize go straight to the supervisor.

mod archive;
mod baseline;
mod check;
mod checkpoints;
mod commit;
mod create;
mod devices;
mod driver;
mod etc;
mod exec;
mod health;
mod inspect;
mod launch;
pub mod lifecycle;
mod links;
mod list;
pub(crate) mod logging;
mod logs;
mod mounts;
pub(crate) mod names;
mod networking;
pub mod record;
pub(crate) mod spec;
mod stats;
mod step;
mod stop;
mod storage;
mod top;
mod tree;
pub(crate) mod user;
mod users;

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use teu_api::container::{WaitError, WaitResponse};
use teu_supervisor::protocol::{ExitStatus, Request, Wanted};
use tokio::io::BufReader;
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot, watch};

use crate::Context;
use crate::error::{Error, Kind, Result};
use crate::task::Task;

pub use archive::PutOptions;
pub use checkpoints::CheckpointOptions;
pub use commit::CommitOptions;
pub(crate) use commit::named;
pub(crate) use etc::FILES as ETC_FILES;
pub use exec::Exec;
use exec::Execs;
pub(crate) use inspect::NEVER;
pub use lifecycle::Phase;
pub use list::ListQuery;
pub use logs::LogsOptions;
pub use mounts::{ImageMount, MountRecord};
pub use record::Record;
pub use step::{StepFile, StepOutput, StepSpec, StepTree};

/// How often a forced removal puts down again what somebody starts at the same time.
const REMOVALS: usize = 8;

/// All containers. Cheap to clone.
#[derive(Clone)]
pub struct Containers {
    pub(crate) context: Arc<Context>,
    index: Arc<RwLock<Index>>,
}

#[derive(Default)]
struct Index {
    by_id: BTreeMap<String, Container>,
    by_name: HashMap<String, String>,
    execs: Execs,
}

/// One container. Cheap to clone; it may be gone by the time it is used.
#[derive(Clone)]
pub struct Container {
    shared: Arc<Shared>,
}

struct Shared {
    id: String,
    context: Arc<Context>,
    published: watch::Sender<Published>,
    commands: mpsc::UnboundedSender<driver::Command>,
    live: Mutex<Live>,
    tree: tree::Gate,
    /// How many streams of its first process are on their way to clients.
    deliveries: watch::Sender<usize>,
}

/// What everybody may read.
#[derive(Clone)]
struct Published {
    record: Arc<Record>,
    gone: bool,
}

/// What exists only while a supervisor does.
#[derive(Default)]
struct Live {
    task: Option<Task>,
    waiting: Vec<Pending>,
    execs: Vec<String>,
}

/// An attach that came before the start.
struct Pending {
    options: AttachOptions,
    connected: oneshot::Sender<BufReader<UnixStream>>,
}

/// What a client wants of an attach stream.
#[derive(Clone, Copy, Debug, Default)]
pub struct AttachOptions {
    /// What comes from now on.
    pub stream: bool,
    /// What was written before.
    pub logs: bool,
    /// The client's bytes become input.
    pub stdin: bool,
    /// The standard output (or terminal).
    pub stdout: bool,
    /// The standard error.
    pub stderr: bool,
}

impl AttachOptions {
    /// What of it concerns the supervisor.
    fn wanted(self) -> Wanted {
        Wanted { stdin: self.stdin, stdout: self.stdout, stderr: self.stderr }
    }
}

/// A stream to and from a process: Docker's bytes in both directions.
pub struct Attachment {
    /// Raw bytes of a terminal instead of frames.
    pub tty: bool,
    /// What was written before, as it would have come.
    pub history: Option<mpsc::Receiver<bytes::Bytes>>,
    /// The stream; for a container that is not started yet it comes with the start, and never if that fails.
    pub stream: Option<oneshot::Receiver<BufReader<UnixStream>>>,
    /// The end of the process, where everybody can see it: whoever has read the stream to its end waits for this before
    /// saying so, because a client asks for the exit code next.
    pub ended: Option<Ended>,
    /// To be told when the client lets go by its keys.
    pub detach: Option<Detach>,
    /// To be let go of when the client has been given all that the container wrote: its end is told to others then.
    pub delivery: Option<Delivery>,
}

/// A stream of a container's output on its way to a client.
pub struct Delivery(Container);

impl Delivery {
    fn new(container: &Container) -> Self {
        container.shared.deliveries.send_modify(|count| *count += 1);
        Self(container.clone())
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        self.0.shared.deliveries.send_modify(|count| *count -= 1);
    }
}

/// Whoever lets go of a stream by its keys says so here.
pub struct Detach {
    container: Container,
    exec: Option<String>,
}

impl Detach {
    /// The client has let go.
    pub fn tell(self) {
        let (action, extra) = match self.exec {
            Some(exec) => ("exec_detach", vec![("execID", exec)]),
            None => ("detach", vec![]),
        };
        self.container.shared.context.emit_container(action, &self.container.record(), &extra);
    }
}

/// The end of a process, to be waited for.
pub struct Ended(Pin<Box<dyn Future<Output = Option<i32>> + Send>>);

impl Ended {
    /// That of an exec.
    fn of_exec(mut ended: watch::Receiver<Option<ExitStatus>>) -> Self {
        Self(Box::pin(async move { ended.wait_for(Option::is_some).await.ok()?.as_ref().map(|status| status.code) }))
    }

    /// That of the container's present run, or of the next one, once `condition` holds.
    fn when(container: &Container, condition: Condition) -> Self {
        let ended = container.wait(condition);
        Self(Box::pin(async move { i32::try_from(ended.await.ok()?.status_code).ok() }))
    }

    /// Returns the exit code when it is known; `None` when it will never be.
    pub async fn wait(self) -> Option<i32> {
        self.0.await
    }
}

/// What `wait` waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Condition {
    /// It does not run, now or later.
    #[default]
    NotRunning,
    /// It ends after this moment.
    NextExit,
    /// It is gone.
    Removed,
}

/// How thorough a removal is.
#[derive(Clone, Copy, Debug, Default)]
pub struct RemoveOptions {
    /// Kill it first if it runs.
    pub force: bool,
    /// Its anonymous volumes too.
    pub volumes: bool,
}

impl Containers {
    pub(crate) fn new(context: Arc<Context>) -> Self {
        Self { context, index: Arc::default() }
    }

    /// The container that `wanted` means: a name, an id, or the beginning of one id only.
    ///
    /// # Errors
    /// When there is none, or more than one.
    pub fn find(&self, wanted: &str) -> Result<Container> {
        let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
        let name = wanted.strip_prefix('/').unwrap_or(wanted);
        let exact = index.by_id.get(wanted).or_else(|| index.by_id.get(index.by_name.get(name)?));
        if let Some(container) = exact {
            return Ok(container.clone());
        }
        let none = || Error::not_found(format!("No such container: {wanted}"));
        if wanted.is_empty() {
            return Err(none());
        }
        if name.contains('/') {
            drop(index);
            return self.linked(name).ok_or_else(none);
        }
        let mut matches = index.by_id.range(wanted.to_string()..).take_while(|(id, _)| id.starts_with(wanted));
        match (matches.next(), matches.next()) {
            (Some((_, container)), None) => Ok(container.clone()),
            (Some(_), Some(_)) => Err(Error::bad(format!("multiple IDs found with provided prefix: {wanted}"))),
            (None, _) => Err(none()),
        }
    }

    /// The exec of that id.
    ///
    /// # Errors
    /// When there is none.
    pub fn exec(&self, id: &str) -> Result<Exec> {
        let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
        index.execs.get(id).ok_or_else(|| Error::not_found(format!("No such exec instance: {id}")))
    }

    pub(crate) fn all(&self) -> Vec<Container> {
        self.index.read().unwrap_or_else(PoisonError::into_inner).by_id.values().cloned().collect()
    }

    /// Claims a name for an id.
    fn claim(&self, name: &str, id: &str) -> Result<()> {
        let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(holder) = index.by_name.get(name) {
            return Err(Error::conflict(format!(
                "Conflict. The container name \"/{name}\" is already in use by container \"{holder}\". You have to \
                 remove (or rename) that container to be able to reuse that name."
            )));
        }
        index.by_name.insert(name.into(), id.into());
        Ok(())
    }

    fn disclaim(&self, name: &str) {
        self.index.write().unwrap_or_else(PoisonError::into_inner).by_name.remove(name);
    }

    fn insert(&self, container: Container) {
        let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        index.by_id.insert(container.shared.id.clone(), container);
    }

    fn forget(&self, id: &str, name: &str) {
        let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        index.by_id.remove(id);
        if index.by_name.get(name).is_some_and(|holder| holder == id) {
            index.by_name.remove(name);
        }
        index.execs.forget_those_of(id);
    }
}

/// Takes up a container that an earlier daemon made.
pub(crate) fn adopt(
    containers: &Containers,
    record: Record,
    fresh: Option<crate::task::Fresh>,
    first: Option<lifecycle::Input>,
) -> Result<Container> {
    containers.claim(&record.name, &record.id)?;
    Ok(driver::spawn(containers, record, fresh, first))
}

impl Container {
    /// 64 hexadecimal digits.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.shared.id
    }

    /// Its name, without a slash.
    #[must_use]
    pub fn name(&self) -> String {
        self.record().name.clone()
    }

    /// Whether it has a terminal.
    #[must_use]
    pub fn tty(&self) -> bool {
        self.record().config.tty
    }

    /// Its record as last published.
    #[must_use]
    pub fn record(&self) -> Arc<Record> {
        self.shared.published.borrow().record.clone()
    }

    fn live(&self) -> MutexGuard<'_, Live> {
        self.shared.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The supervisor of the running container.
    fn task(&self) -> Result<Task> {
        let running = matches!(self.record().state.phase, Phase::Running | Phase::Paused);
        let task = self.live().task.clone().filter(|_| running);
        task.ok_or_else(|| Error::conflict(format!("container {} is not running", self.id())))
    }

    async fn command(&self, make: impl FnOnce(oneshot::Sender<Result<()>>) -> driver::Command) -> Result<()> {
        let gone = || Error::not_found(format!("No such container: {}", self.id()));
        let (reply, answer) = oneshot::channel();
        self.shared.commands.send(make(reply)).map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }

    /// Starts it.
    ///
    /// # Errors
    /// [`Kind::NotModified`] when it runs already; otherwise why it could not be started.
    pub async fn start(&self) -> Result<()> {
        self.start_from(None).await
    }

    /// Starts it for who has just made it and waits for its end: of one that removes itself, until it is gone. With streams
    /// to attach and no terminal, they come too.
    ///
    /// # Errors
    /// Why it could not be started.
    pub async fn run(&self, attached: bool) -> Result<Option<Attachment>> {
        let record = self.record();
        let config = &record.config;
        let options = AttachOptions {
            stream: true,
            logs: false,
            stdin: config.attach_stdin,
            stdout: config.attach_stdout,
            stderr: config.attach_stderr,
        };
        if !attached || config.tty || !(options.stdin || options.stdout || options.stderr) {
            return self.start().await.map(|()| None);
        }
        let mut attachment = self.attach(options).await?;
        if record.host.auto_remove {
            attachment.ended = Some(Ended::when(self, Condition::Removed));
        }
        self.start().await.map(|()| Some(attachment))
    }

    async fn start_from(&self, checkpoint: Option<PathBuf>) -> Result<()> {
        self.command(|reply| driver::Command::Start { by_policy: false, checkpoint, reply: Some(reply) }).await
    }

    /// Freezes its processes.
    ///
    /// # Errors
    /// When it does not run, or is paused already.
    pub async fn pause(&self) -> Result<()> {
        self.command(driver::Command::Pause).await
    }

    /// Thaws its processes.
    ///
    /// # Errors
    /// When it is not paused.
    pub async fn unpause(&self) -> Result<()> {
        self.command(driver::Command::Unpause).await
    }

    /// Takes it away with everything of it.
    ///
    /// # Errors
    /// When it runs and that is not to be forced.
    pub async fn remove(&self, options: RemoveOptions) -> Result<()> {
        let gone = self.wait(Condition::Removed);
        let mut tries = 0;
        loop {
            if options.force && self.is_up() {
                self.put_down().await?;
            }
            match self.command(|reply| driver::Command::Remove { volumes: options.volumes, reply }).await {
                // Auto-removal came first: that is what was wanted.
                Err(error) if matches!(self.record().state.phase, Phase::Removing) && error.kind != Kind::Internal => {
                    return gone.await.map(|_| ());
                }
                // Somebody, or its own health check, has started it again meanwhile.
                Err(_) if options.force && tries < REMOVALS && self.is_up() => tries += 1,
                other => return other,
            }
        }
    }

    fn is_up(&self) -> bool {
        matches!(self.record().state.phase, Phase::Running | Phase::Paused | Phase::Restarting)
    }

    /// Ends it at once, and no policy starts it again.
    async fn put_down(&self) -> Result<()> {
        let ended = self.wait(Condition::NotRunning);
        let _ = self.command(|reply| driver::Command::StopAsked { restart: false, reply }).await;
        if self.record().state.phase == Phase::Paused {
            let _ = self.command(driver::Command::Unpause).await;
        }
        self.signal(crate::signals::KILL).await?;
        ended.await.map(|_| ())
    }

    /// Gives it another name.
    ///
    /// # Errors
    /// When the name is taken or no name.
    pub async fn rename(&self, name: &str) -> Result<()> {
        let name = names::check(name)?.to_string();
        self.command(|reply| driver::Command::Rename { name, reply }).await
    }

    /// Puts it on one more network.
    ///
    /// # Errors
    /// When it is there already, or cannot be.
    pub async fn connect(&self, network: &str, settings: teu_api::container::EndpointSettings) -> Result<()> {
        let (network, settings) = (network.to_string(), Box::new(settings));
        self.command(|reply| driver::Command::Connect { network, settings, reply }).await
    }

    /// Takes it off a network.
    ///
    /// # Errors
    /// When it is not there.
    pub async fn disconnect(&self, network: &str, force: bool) -> Result<()> {
        let network = network.to_string();
        self.command(|reply| driver::Command::Disconnect { network, force, reply }).await
    }

    /// Notes that a volume is called otherwise.
    pub(crate) async fn rename_volume(&self, old: &str, new: &str) -> Result<()> {
        let (old, new) = (old.to_owned(), new.to_owned());
        self.command(|reply| driver::Command::RenameVolume { old, new, reply }).await
    }

    /// Sets its terminal's size.
    ///
    /// # Errors
    /// When it does not run.
    pub async fn resize(&self, rows: u16, cols: u16) -> Result<()> {
        self.task()?.order(&Request::Resize { exec: None, rows, cols }).await
    }

    /// Changes limits and restart policy.
    ///
    /// # Errors
    /// When a value has no meaning.
    pub async fn update(&self, request: teu_api::container::UpdateRequest) -> Result<()> {
        self.command(|reply| driver::Command::Update { request: Box::new(request), reply }).await
    }

    /// The exit code, once `condition` holds. The wait begins with this call, not with the first poll.
    pub fn wait(&self, condition: Condition) -> impl Future<Output = Result<WaitResponse>> + Send + use<> {
        let mut published = self.shared.published.subscribe();
        let before = published.borrow().record.state.exits;
        let fulfilled = move |now: &Published| {
            let state = &now.record.state;
            match condition {
                // An end is an end, even when its policy starts it again at once.
                Condition::NotRunning => {
                    let running = matches!(state.phase, Phase::Running | Phase::Paused | Phase::Restarting);
                    now.gone || !running || state.exits > before
                }
                Condition::NextExit => now.gone || state.exits > before,
                Condition::Removed => now.gone,
            }
        };
        let shared = self.shared.clone();
        async move {
            let record = match published.wait_for(fulfilled).await {
                Ok(now) => now.record.clone(),
                Err(_) => shared.published.borrow().record.clone(),
            };
            let state = &record.state;
            let error = (!state.error.is_empty()).then(|| WaitError { message: state.error.clone() });
            Ok(WaitResponse { status_code: i64::from(state.exit_code), error })
        }
    }

    /// A stream to and from its first process, now or (if it is not started yet) when it starts.
    ///
    /// # Errors
    /// When it is paused, or its supervisor does not answer.
    pub async fn attach(&self, options: AttachOptions) -> Result<Attachment> {
        let record = self.record();
        if record.state.phase == Phase::Paused {
            return Err(Error::conflict(format!(
                "container {} is paused, unpause the container before attach",
                self.id()
            )));
        }
        let history = if options.logs {
            let wanted = LogsOptions { stdout: options.stdout, stderr: options.stderr, ..LogsOptions::default() };
            Some(self.logs(wanted).await?)
        } else {
            None
        };
        // What ends from here on counts, also while the stream is still asked for.
        let ended = options.stream.then(|| Ended::when(self, Condition::NextExit));
        let stream = if options.stream { Some(self.stream(options, record.state.phase).await?) } else { None };
        self.shared.context.emit_container("attach", &record, &[]);
        let detach = Some(Detach { container: self.clone(), exec: None });
        let delivery = stream.is_some().then(|| Delivery::new(self));
        Ok(Attachment { tty: record.config.tty, history, stream, ended, detach, delivery })
    }

    async fn stream(&self, options: AttachOptions, phase: Phase) -> Result<oneshot::Receiver<BufReader<UnixStream>>> {
        let (connected, stream) = oneshot::channel();
        let stdin = options.stdin && self.record().config.open_stdin;
        let task = self.live().task.clone();
        match task {
            Some(task) if phase == Phase::Running => {
                let _ = connected.send(task.attach(AttachOptions { stdin, ..options }.wanted()).await?);
            }
            _ => self.live().waiting.push(Pending { options: AttachOptions { stdin, ..options }, connected }),
        }
        Ok(stream)
    }
}
