//! The driver: the one task that owns a container's record, and the only writer of it.
//!
//! It takes one input at a time (a command, news from the supervisor, the end of a delay), asks [`lifecycle::next`] and
//! performs the effects in order. Nothing else changes a container's state.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use teu_api::container::{EndpointSettings, HealthResult, UpdateRequest};
use teu_supervisor::protocol::{ExitStatus, Request};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::health::{self, OnFailure};
use super::lifecycle::{self, Effect, Ending, Input, Phase, Refusal};
use super::{Container, Containers, Live, Published, Record, Shared};
use crate::error::{Error, Kind, Result};
use crate::task::{Fresh, News};

type Reply = oneshot::Sender<Result<()>>;

/// How long the end of a container waits for clients that do not read its output.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// What the driver can be told.
pub(super) enum Command {
    /// Run it.
    Start {
        /// By the restart policy.
        by_policy: bool,
        /// The images to go on from.
        checkpoint: Option<PathBuf>,
        /// Where the answer goes.
        reply: Option<Reply>,
    },
    /// Save its processes.
    Checkpoint {
        /// The folder of the images.
        images: PathBuf,
        /// It ends then.
        exit: bool,
        /// Where the answer goes.
        reply: Reply,
    },
    /// It is about to be ended by the user.
    StopAsked {
        /// And started right again.
        restart: bool,
        /// Where the answer goes.
        reply: Reply,
    },
    /// A health check has ended.
    Probed(HealthResult),
    /// Freeze.
    Pause(Reply),
    /// Thaw.
    Unpause(Reply),
    /// Another name.
    Rename {
        /// Checked already.
        name: String,
        /// Where the answer goes.
        reply: Reply,
    },
    /// A volume is called otherwise.
    RenameVolume {
        /// Its name so far.
        old: String,
        /// Its name from now on.
        new: String,
        /// Where the answer goes.
        reply: Reply,
    },
    /// Forget a link.
    Unlink {
        /// The name that the other container has here.
        alias: String,
        /// Where the answer goes.
        reply: Reply,
    },
    /// Other limits, another restart policy.
    Update {
        /// Which.
        request: Box<UpdateRequest>,
        /// Where the answer goes.
        reply: Reply,
    },
    /// Join a network.
    Connect {
        /// By name or id.
        network: String,
        /// How.
        settings: Box<EndpointSettings>,
        /// Where the answer goes.
        reply: Reply,
    },
    /// Leave a network.
    Disconnect {
        /// By name or id.
        network: String,
        /// Also when the network is gone.
        force: bool,
        /// Where the answer goes.
        reply: Reply,
    },
    /// Take it away.
    Remove {
        /// Its anonymous volumes too.
        volumes: bool,
        /// Where the answer goes.
        reply: Reply,
    },
}

pub(super) struct Driver {
    pub(super) containers: Containers,
    pub(super) container: Container,
    pub(super) record: Record,
    pub(super) news: Option<mpsc::UnboundedReceiver<News>>,
    remove_volumes: bool,
    /// What the next start goes on from.
    pub(super) checkpoint: Option<PathBuf>,
    /// Its volumes are mounted, or were begun to be.
    pub(super) mounted: bool,
    restart_at: Option<Instant>,
    /// The health checks of the running container.
    checks: Option<JoinHandle<()>>,
    /// How long its last run was.
    ran: Duration,
    gone: bool,
}

/// Makes the handle and starts the driver. `fresh` is the task of a container that runs already; `ended` is how one
/// ended while no daemon looked.
pub(crate) fn spawn(containers: &Containers, record: Record, fresh: Option<Fresh>, first: Option<Input>) -> Container {
    let (commands, queue) = mpsc::unbounded_channel();
    let published = watch::channel(Published { record: Arc::new(record.clone()), gone: false }).0;
    let ended = matches!(first, Some(Input::Exited(_)));
    let mounted = fresh.is_some() || ended;
    let (task, news) = fresh.map(|fresh| (fresh.task, fresh.news)).unzip();
    let live = Live { task, ..Live::default() };
    let shared = Shared {
        id: record.id.clone(),
        context: containers.context.clone(),
        published,
        commands,
        live: live.into(),
        tree: super::tree::Gate::default(),
        deliveries: watch::Sender::new(0),
    };
    let container = Container { shared: Arc::new(shared) };
    containers.insert(container.clone());
    let driver = Driver {
        containers: containers.clone(),
        container: container.clone(),
        record,
        news,
        remove_volumes: false,
        checkpoint: None,
        mounted,
        restart_at: None,
        checks: None,
        ran: Duration::ZERO,
        gone: false,
    };
    tokio::spawn(driver.run(queue, first));
    container
}

impl Driver {
    async fn run(mut self, mut queue: mpsc::UnboundedReceiver<Command>, first: Option<Input>) {
        if let Some(input) = first {
            let _ = self.feed(input).await;
        }
        self.settle_checks();
        while !self.gone {
            let delay = self.restart_at;
            tokio::select! {
                biased;
                news = next_news(&mut self.news) => self.heard(news).await,
                command = queue.recv() => match command {
                    Some(command) => self.obey(command).await,
                    None => return,
                },
                () = until(delay), if delay.is_some() => {
                    self.restart_at = None;
                    let _ = self.feed(Input::Start { by_policy: true }).await;
                }
            }
        }
        queue.close();
    }

    async fn heard(&mut self, news: News) {
        self.news = None;
        let status = match news {
            News::Exited(status) => status,
            News::Gone => self.aftermath(),
        };
        // Whoever waits for the end looks at the output next, which goes another way.
        let mut deliveries = self.container.shared.deliveries.subscribe();
        let _ = tokio::time::timeout(LAST_WORDS, deliveries.wait_for(|count| *count == 0)).await;
        let ending = self.ending(status);
        self.ran = ending.ran;
        let _ = self.feed(Input::Exited(ending)).await;
    }

    /// The supervisor was killed: what it left behind decides, and what still runs is ended.
    fn aftermath(&self) -> ExitStatus {
        let dir = self.containers.context.pool.task_dir(&self.record.id);
        let status = crate::restore::exit_status(&dir);
        crate::restore::end_strays(&super::spec::cgroup_path(&self.record.host, &self.record.id));
        status
    }

    fn ending(&self, status: ExitStatus) -> Ending {
        let started = self.record.state.started_at.parse::<Timestamp>();
        let ended = status.finished_at.parse::<Timestamp>();
        let ran = match (started, ended) {
            (Ok(started), Ok(ended)) => Duration::try_from(ended.duration_since(started)).unwrap_or_default(),
            _ => Duration::ZERO,
        };
        Ending { code: status.code, oom_killed: status.oom_killed, at: status.finished_at, ran }
    }

    async fn obey(&mut self, command: Command) {
        match command {
            Command::Start { by_policy, checkpoint, reply } => {
                if self.record.state.phase == Phase::Restarting {
                    self.restart_at = None;
                }
                self.checkpoint = checkpoint;
                let result = self.feed(Input::Start { by_policy }).await;
                self.checkpoint = None;
                if let Some(reply) = reply {
                    let _ = reply.send(result);
                }
            }
            Command::StopAsked { restart, reply } => {
                self.restart_at = None;
                let _ = reply.send(self.feed(Input::StopAsked { restart }).await);
            }
            Command::Probed(result) => {
                let young = health::is_young(&self.record.config, &self.record.state.started_at, &result.start);
                let _ = self.feed(Input::Probed { result, young }).await;
            }
            Command::Pause(reply) => {
                let _ = reply.send(self.freeze(Input::Paused, &Request::Pause).await);
            }
            Command::Unpause(reply) => {
                let _ = reply.send(self.freeze(Input::Resumed, &Request::Resume).await);
            }
            Command::Checkpoint { images, exit, reply } => {
                let _ = reply.send(self.save_processes(images, exit).await);
            }
            Command::Rename { name, reply } => {
                let _ = reply.send(self.rename(name));
            }
            Command::RenameVolume { old, new, reply } => {
                self.record.rename_volume(&old, &new, &self.containers.context.volumes.data(&new));
                let _ = reply.send(self.save());
            }
            Command::Unlink { alias, reply } => {
                let _ = reply.send(self.unlink(&alias));
            }
            Command::Update { request, reply } => {
                let _ = reply.send(self.update(*request).await);
            }
            Command::Connect { network, settings, reply } => {
                let _ = reply.send(self.connect(&network, *settings).await);
            }
            Command::Disconnect { network, force, reply } => {
                let _ = reply.send(self.disconnect(&network, force).await);
            }
            Command::Remove { volumes, reply } => {
                self.remove_volumes = volumes;
                let _ = reply.send(self.feed(Input::Remove).await);
            }
        }
    }

    /// Checks that the input is possible before the supervisor acts on it.
    async fn freeze(&mut self, input: Input, request: &Request) -> Result<()> {
        lifecycle::next(&self.record.state, input.clone(), self.record.policy()).map_err(|why| self.refuse(why))?;
        let task = self.container.live().task.clone();
        let task = task.ok_or_else(|| self.refuse(Refusal::NotRunning))?;
        task.order(request).await?;
        self.feed(input).await
    }

    fn refuse(&self, why: Refusal) -> Error {
        let (id, name) = (&self.record.id, &self.record.name);
        let state = self.record.state.phase.word();
        match why {
            Refusal::Running if state == "running" => {
                Error::new(Kind::NotModified, format!("container {id} is running"))
            }
            Refusal::Running | Refusal::Paused => Error::conflict(format!("container {id} is {state}")),
            Refusal::NotRunning => Error::conflict(format!("container {id} is not running")),
            Refusal::NotPaused => Error::conflict(format!("Container {id} is not paused")),
            Refusal::Removing => Error::conflict(format!("container {name} is marked for removal")),
        }
    }

    /// One input, all its effects, and the inputs that these cause.
    pub(super) async fn feed(&mut self, input: Input) -> Result<()> {
        let removal = input == Input::Remove;
        let mut inputs = VecDeque::from([input]);
        let mut outcome = Ok(());
        let mut alone = None;
        while let Some(input) = inputs.pop_front() {
            let answer = lifecycle::next(&self.record.state, input, self.record.policy());
            let (state, effects) =
                answer.map_err(|why| if removal { self.refuse_removal() } else { self.refuse(why) })?;
            self.record.state = state;
            for effect in effects {
                if effect == Effect::Launch {
                    // Nobody puts its tree together until everybody can see that it runs, or does not.
                    alone = Some(self.container.shared.tree.start().await);
                    let (input, result) = self.launched().await;
                    inputs.push_back(input);
                    outcome = result;
                } else {
                    self.perform(&effect).await;
                }
            }
        }
        if !self.gone {
            self.publish();
        }
        drop(alone);
        self.settle_checks();
        outcome
    }

    /// Health is checked while it runs, and only then.
    fn settle_checks(&mut self) {
        let wanted = self.record.state.phase == Phase::Running && self.record.state.health.is_some();
        if wanted && self.checks.is_none() {
            let watch = health::watch(self.containers.clone(), self.container.clone());
            self.checks = Some(tokio::spawn(watch));
        } else if !wanted && let Some(checks) = self.checks.take() {
            checks.abort();
        }
    }

    /// What the user wants done with it when it is unhealthy; done as the user would do it, beside this task.
    fn heal(&self, how: OnFailure) {
        let container = self.container.clone();
        tokio::spawn(async move {
            let done = match how {
                OnFailure::None => Ok(()),
                OnFailure::Restart => container.restart(None, None).await,
                OnFailure::Stop => container.stop(None, None).await,
                OnFailure::Kill => container.kill("KILL").await,
            };
            if let Err(error) = done {
                tracing::warn!(container = container.id(), %error, "act on an unhealthy container");
            }
        });
    }

    fn refuse_removal(&self) -> Error {
        let (name, state) = (&self.record.name, self.record.state.phase.word());
        let hint = if state == "paused" {
            "unpause and then stop the container before removal or force remove"
        } else {
            "stop the container before removal or force remove"
        };
        Error::conflict(format!("cannot remove container \"{name}\": container is {state}: {hint}"))
    }

    async fn launched(&mut self) -> (Input, Result<()>) {
        match self.launch().await {
            Ok(pid) => (Input::Launched { pid, at: Timestamp::now().to_string() }, Ok(())),
            Err(failure) => {
                let message = failure.error.message.clone();
                (Input::LaunchFailed { code: failure.code, message }, Err(failure.error))
            }
        }
    }

    async fn perform(&mut self, effect: &Effect) {
        match effect {
            Effect::Launch => {}
            // It is so, whether it can be written down or not (a full disk): who waits for it hears of it, and the record
            // catches up with the next change, or with the supervisor's report when the daemon starts again.
            Effect::Save => {
                if let Err(error) = self.save() {
                    tracing::error!(container = self.record.id, %error, "write down how it stands");
                    self.publish();
                }
            }
            Effect::DetachNetwork => self.detach(),
            Effect::Emit(action) => self.emit(action),
            Effect::Heal(how) => self.heal(*how),
            Effect::StartAfter(delay) => self.restart_at = Some(Instant::now() + *delay),
            Effect::Remove => self.erase().await,
        }
    }

    pub(super) fn save(&mut self) -> Result<()> {
        self.containers.context.records.put_quick(&self.record.id, &self.record)?;
        self.publish();
        Ok(())
    }

    pub(super) fn publish(&self) {
        let published = Published { record: Arc::new(self.record.clone()), gone: self.gone };
        self.container.shared.published.send_replace(published);
    }

    fn emit(&self, action: &str) {
        let extra = if action == "die" {
            let code = self.record.state.exit_code.to_string();
            vec![("execDuration", self.ran.as_secs().to_string()), ("exitCode", code)]
        } else {
            vec![]
        };
        self.containers.context.emit_container(action, &self.record, &extra);
    }

    fn detach(&mut self) {
        {
            let mut live = self.container.live();
            live.task = None;
            live.waiting.clear();
            live.execs.clear();
        }
        if std::mem::take(&mut self.mounted) {
            tokio::task::block_in_place(|| self.containers.context.detach_mounts(&self.record));
        }
        self.unplug();
    }

    fn rename(&mut self, name: String) -> Result<()> {
        if name == self.record.name {
            return Err(Error::bad("Renaming a container with the same name as its current name"));
        }
        self.containers.claim(&name, &self.record.id)?;
        let old = std::mem::replace(&mut self.record.name, name);
        self.containers.disclaim(&old);
        self.containers.context.networks.rename(&mut self.record);
        self.save()?;
        self.containers.context.emit_container("rename", &self.record, &[("oldName", format!("/{old}"))]);
        Ok(())
    }

    /// Everything of the container goes; what cannot go is told in the log and does not stop the rest.
    async fn erase(&mut self) {
        let context = self.containers.context.clone();
        let volumes = self.remove_volumes || self.record.host.auto_remove;
        let id = self.record.id.clone();
        let mut troubles: Vec<Error> = vec![];
        tokio::task::block_in_place(|| {
            troubles.extend(context.remove_layer(&self.record).err());
            troubles.extend(context.records.remove(&id).err().map(Into::into));
            crate::restore::remove_files(&context, &id);
            context.release_mounts(&self.record, volumes);
        });
        for trouble in troubles.iter().filter(|trouble| trouble.kind != Kind::NotFound) {
            tracing::warn!(container = id, error = %trouble, "remove a container");
        }
        self.containers.forget(&id, &self.record.name);
        self.gone = true;
        self.emit("destroy");
        self.publish();
    }
}

async fn next_news(news: &mut Option<mpsc::UnboundedReceiver<News>>) -> News {
    match news {
        Some(receiver) => receiver.recv().await.unwrap_or(News::Gone),
        None => std::future::pending().await,
    }
}

async fn until(at: Option<Instant>) {
    if let Some(at) = at {
        tokio::time::sleep_until(at).await;
    }
}
