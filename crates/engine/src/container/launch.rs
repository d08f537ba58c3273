//! Starting a container: spec, supervisor, create, network, attach, start. The main job of the engine, as one story.
//!
//! The program is executed only after the network is plugged in and every waiting client is attached, so nothing that it
//! writes is lost and its ports are there when it looks.

use std::fs::File;
use std::os::unix::fs::MetadataExt;

use teu_api::container::{HostConfig, UpdateRequest};
use teu_runtime::{Error as RuntimeError, Rootfs};
use teu_supervisor::protocol::{CreateRequest, Event, LogConfig, Request, WindowSize};

use super::driver::Driver;
use super::spec::{self, Inputs};
use super::user::Accounts;
use super::{Pending, Phase, etc};
use crate::Context;
use crate::error::{Error, Kind, Result};
use crate::network::namespace_of;
use crate::task::{Fresh, Task};

/// Why a program does not run, and the exit code that says so.
pub(super) struct Failure {
    pub(super) code: i32,
    pub(super) error: Error,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { code: 128, error }
    }
}

impl Driver {
    /// Runs the program and returns its process.
    pub(super) async fn launch(&mut self) -> std::result::Result<i32, Failure> {
        let context = self.containers.context.clone();
        // Also when it fails half-way: what was mounted by then is let go of with the rest.
        self.mounted = true;
        let log = super::logging::plan(&context, &self.record).await?;
        let request = self.prepare(&context, log)?;
        let Fresh { task, news } = context.pool.take(&self.record.id).await?;
        let result = self.bring_up(&context, &task, request).await;
        context.pool.refill();
        match result {
            Ok(pid) => {
                self.news = Some(news);
                Ok(pid)
            }
            Err(failure) => {
                task.discard().await;
                self.detach_quietly();
                Err(failure)
            }
        }
    }

    /// Everything that needs no process yet.
    fn prepare(&self, context: &Context, log: LogConfig) -> Result<CreateRequest> {
        let record = &self.record;
        let snapshots = context.store.snapshots();
        // Once mounted as `volatile`, a work directory cannot be mounted again.
        let again = record.host.auto_remove && !record.state.started_at.is_empty();
        let mut overlay = if again { snapshots.renew(&record.id)? } else { snapshots.overlay(&record.id)? };
        // What an auto-removed container wrote is never looked at again, so nothing has to reach the disk.
        overlay.volatile = record.host.auto_remove;
        context.ahead.give_mount_points(&mut overlay);
        let accounts = Accounts::of_overlay(&overlay);
        let identity = accounts.identify(&record.config.user, &record.host.group_add)?;
        let etc = context.etc_dir(&record.id);
        let joined = self.joined_namespace()?;
        if joined.is_none() {
            etc::write(context, record, &etc, &self.links()?)?;
        }
        let network = joined.as_ref().map(|(_, pid)| *pid);
        let etc = joined.map_or(etc, |(other, _)| context.etc_dir(&other));
        let mounts = tokio::task::block_in_place(|| context.attach_mounts(record))?;
        let mut env = self.link_environment()?;
        // What the container sets itself comes later, and counts.
        env.extend(record.config.env.iter().cloned());
        let inputs = Inputs {
            id: &record.id,
            host: &record.host,
            args: record.words(),
            env: &env,
            cwd: &record.config.working_dir,
            user: identity.user,
            home: &identity.home,
            terminal: record.config.tty,
            hostname: &record.config.hostname,
            domainname: &record.config.domainname,
            mounts: &mounts,
            etc: Some(&etc),
            tmpfs: super::mounts::tmpfs::all(&record.host)?,
            devices: super::devices::nodes(&record.host)?,
            joined: spec::Joined {
                pid: self.joined("PID", &record.host.pid_mode)?,
                network,
                ipc: self.joined("IPC", &record.host.ipc_mode)?,
            },
            users: record.users,
        };
        let mut spec = spec::generate(&inputs)?;
        crate::cdi::give(&context.config.cdi_spec_dirs, &record.host.device_requests, &mut spec)?;
        let [rows, cols] = record.host.console_size.map(|cells| u16::try_from(cells).unwrap_or(0));
        Ok(CreateRequest {
            id: record.id.clone(),
            spec,
            rootfs: Rootfs::Overlay(overlay),
            log,
            init: record.host.init == Some(true),
            stdin: record.config.open_stdin,
            stdin_once: record.config.stdin_once,
            size: (rows > 0 && cols > 0).then_some(WindowSize { rows, cols }),
            checkpoint: self.checkpoint.clone(),
        })
    }

    /// The first process of the container whose namespace `mode` (`container:NAME`) joins.
    fn joined(&self, what: &str, mode: &str) -> Result<Option<i32>> {
        let Some(name) = mode.strip_prefix("container:") else { return Ok(None) };
        let cannot = |why: &str| format!("failed to join {what} namespace: cannot join container {name}: {why}");
        let other = self.containers.find(name).map_err(|error| Error::bad(cannot(&error.message)))?.record();
        match other.state.phase {
            _ if what == "IPC" && other.host.ipc_mode != "shareable" => {
                Err(Error::bad(cannot("non-shareable IPC (hint: use IpcMode:shareable for the donor container)")))
            }
            _ if other.id == self.record.id => Err(Error::bad(cannot("it is the container itself"))),
            Phase::Running | Phase::Paused => Ok(Some(other.state.pid)),
            Phase::Restarting => Err(Error::internal(cannot(&format!("container {} is restarting", other.id)))),
            _ => Err(Error::internal(cannot(&format!("container {} is not running", other.id)))),
        }
    }

    async fn bring_up(
        &mut self,
        context: &Context,
        task: &Task,
        request: CreateRequest,
    ) -> std::result::Result<i32, Failure> {
        let (answer, network) = task.create(request);
        let ahead = async {
            let netns = File::open(network.await.ok()?).ok()?;
            let plugged = self.plug(context, task, &netns).await;
            Some((netns, plugged))
        };
        let (answer, ahead) = tokio::join!(answer, ahead);
        let pid = match answer? {
            Event::Created { pid } => pid,
            other => return Err(self.failure(other)),
        };
        let netns = namespace_of(pid)?;
        match ahead {
            Some((one, plugged)) if same(&one, &netns) => plugged?,
            other => {
                if other.is_some() {
                    self.detach_quietly();
                }
                self.plug(context, task, &netns).await?;
            }
        }
        let waiting = {
            let mut live = self.container.live();
            live.task = Some(task.clone());
            std::mem::take(&mut live.waiting)
        };
        self.execute(task, waiting).await
    }

    /// Has the program executed, with everybody who waits for its streams attached: the last of them starts it, by one message.
    async fn execute(&self, task: &Task, mut waiting: Vec<Pending>) -> std::result::Result<i32, Failure> {
        let last = waiting.pop();
        for Pending { options, connected } in waiting {
            let _ = connected.send(task.attach(options.wanted()).await?);
        }
        let Some(Pending { options, connected }) = last else {
            return match task.request(&Request::Start).await? {
                Event::Started { pid, .. } => Ok(pid),
                other => Err(self.failure(other)),
            };
        };
        match task.start_attached(options.wanted()).await? {
            (Event::Started { pid, .. }, stream) => {
                let _ = connected.send(stream);
                Ok(pid)
            }
            (other, _) => Err(self.failure(other)),
        }
    }

    /// The runtime's reason in Docker's words, which its command line reads for the exit codes 126 and 127.
    fn failure(&self, answer: Event) -> Failure {
        let error = match answer {
            Event::Failed { error, .. } => error,
            Event::Refused { message } => return Error::internal(message).into(),
            other => return Error::internal(format!("unexpected answer from the supervisor: {other:?}")).into(),
        };
        explain(&error, "failed to create task for container")
    }

    /// Changes limits now and for every later start.
    pub(super) async fn update(&mut self, request: UpdateRequest) -> Result<()> {
        if self.record.host.auto_remove && !matches!(request.restart_policy.name.as_str(), "" | "no") {
            let sentence = "Restart policy cannot be updated because AutoRemove is enabled for the container";
            return Err(Error::conflict(sentence));
        }
        let before = self.record.host.clone();
        if let Err(error) = self.change(request).await {
            self.record.host = before;
            return Err(error);
        }
        self.save_record()?;
        self.publish();
        self.containers.context.emit_container("update", &self.record, &[]);
        Ok(())
    }

    /// Takes over what the request says, here and in the kernel. After an error the record is to be put back.
    async fn change(&mut self, request: UpdateRequest) -> Result<()> {
        let before = self.record.host.clone();
        merge(&mut self.record.host, &request);
        let mut resources = spec::limits(&self.record.host)?;
        super::devices::lift(&mut resources.block_io, &before)?;
        self.rebind(&request.port_bindings)?;
        super::create::recheck(&self.record.host, self.containers.context.facts.processors)?;
        let task = self.container.live().task.clone();
        if let Some(task) = task {
            task.order(&Request::Update(Box::new(resources))).await?;
        }
        if request.port_bindings.is_empty() { Ok(()) } else { self.republish().await }
    }

    pub(super) fn save_record(&self) -> Result<()> {
        Ok(self.containers.context.records.put(&self.record.id, &self.record)?)
    }
}

/// Whether both are one namespace, namespaces(7).
fn same(one: &File, other: &File) -> bool {
    let which = |file: &File| file.metadata().map(|meta| (meta.dev(), meta.ino())).ok();
    which(one).is_some() && which(one) == which(other)
}

/// A runtime error as Docker tells it, with the exit code a shell would give.
pub(super) fn explain(error: &RuntimeError, what: &str) -> Failure {
    let (code, kind) = match error {
        RuntimeError::NoSuchProgram { .. } | RuntimeError::NoInterpreter { .. } => (127, Kind::BadRequest),
        RuntimeError::NotExecutable { .. } | RuntimeError::WorkingDirectory { .. } => (126, Kind::BadRequest),
        RuntimeError::Refused { .. } => (128, Kind::BadRequest),
        _ => (128, Kind::Internal),
    };
    Failure { code, error: Error::new(kind, format!("{what}: unable to start container process: {error}")) }
}

/// Puts what an update request names into the host's half of the configuration; what it leaves out stays.
fn merge(host: &mut HostConfig, request: &UpdateRequest) {
    for (new, old) in [
        (request.cpu_shares, &mut host.cpu_shares),
        (request.memory, &mut host.memory),
        (request.memory_swap, &mut host.memory_swap),
        (request.memory_reservation, &mut host.memory_reservation),
        (request.nano_cpus, &mut host.nano_cpus),
        (request.cpu_quota, &mut host.cpu_quota),
        (request.cpu_period, &mut host.cpu_period),
        (request.cpu_realtime_period, &mut host.cpu_realtime_period),
        (request.cpu_realtime_runtime, &mut host.cpu_realtime_runtime),
    ] {
        if new != 0 {
            *old = new;
        }
    }
    for (new, old) in [(&request.cpuset_cpus, &mut host.cpuset_cpus), (&request.cpuset_mems, &mut host.cpuset_mems)] {
        if !new.is_empty() {
            old.clone_from(new);
        }
    }
    for (new, old) in [
        (&request.blkio_device_read_bps, &mut host.blkio_device_read_bps),
        (&request.blkio_device_write_bps, &mut host.blkio_device_write_bps),
        (&request.blkio_device_read_iops, &mut host.blkio_device_read_iops),
        (&request.blkio_device_write_iops, &mut host.blkio_device_write_iops),
    ] {
        if let Some(new) = new {
            old.clone_from(new);
        }
    }
    if let Some(new) = &request.blkio_weight_device {
        host.blkio_weight_device.clone_from(new);
    }
    if request.blkio_weight != 0 {
        host.blkio_weight = request.blkio_weight;
    }
    host.pids_limit = request.pids_limit.or(host.pids_limit);
    if !request.restart_policy.name.is_empty() {
        host.restart_policy = request.restart_policy.clone();
    }
}
