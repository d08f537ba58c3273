//! A build step: a task without a container record. The same spec, supervisor and network as any container; no log, no
//! name, and nothing of it is left when the future that runs it ends or is dropped.

use std::fmt;
use std::fs;
use std::future::Future;
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use teu_api::container::{Config, HostConfig, ImageOptions, Mount, MountPoint};
use teu_api::stream::{Decoder, StreamKind};
use teu_runtime::Rootfs;
use teu_supervisor::protocol::{CreateRequest, Event, LogConfig, Request, Wanted};
use teu_sys::mount::Overlay;
use tokio::io::{AsyncReadExt, BufReader};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};

use super::etc;
use super::launch::explain;
use super::mounts::MountRecord;
use super::mounts::spec::Attachment;
use super::names::random_id;
use super::spec::{self, Inputs};
use super::user::Accounts;
use super::{Containers, Record};
use crate::error::{Error, Result};
use crate::network::namespace_of;
use crate::task::{Fresh, News, Task};

/// What to run, on which tree.
#[derive(Clone, Debug)]
pub struct StepSpec {
    /// The tree; the upper directory takes what is written.
    pub overlay: Overlay,
    /// Program and arguments.
    pub args: Vec<String>,
    /// Environment.
    pub env: Vec<String>,
    /// Working directory.
    pub cwd: String,
    /// `user[:group]`.
    pub user: String,
    /// Network mode, limits, hosts: as for a container.
    pub host: HostConfig,
    /// Binds that the step sees and that leave nothing in the tree but their mount points.
    pub mounts: Vec<MountPoint>,
    /// Trees that it sees in the same way.
    pub trees: Vec<StepTree>,
    /// Files that are there for it alone, on the host where nothing outlasts a reboot.
    pub files: Vec<StepFile>,
}

/// A file that a step sees.
#[derive(Clone)]
pub struct StepFile {
    /// Where.
    pub destination: String,
    /// What is in it.
    pub content: Vec<u8>,
    /// Its permission bits.
    pub mode: u32,
    /// Its owner.
    pub owner: (u32, u32),
}

impl fmt::Debug for StepFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StepFile").field("destination", &self.destination).finish_non_exhaustive()
    }
}

impl StepFile {
    fn write(&self, path: &Path) -> std::io::Result<()> {
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(&self.content)?;
        fchown(&file, Some(self.owner.0), Some(self.owner.1))?;
        file.set_permissions(fs::Permissions::from_mode(self.mode))
    }

    fn attachment(&self, path: &Path) -> Attachment {
        Attachment {
            record: MountRecord::plain(MountPoint {
                kind: "bind".into(),
                source: path.to_string_lossy().into_owned(),
                destination: self.destination.clone(),
                rw: false,
                ..MountPoint::default()
            }),
            ..Attachment::default()
        }
    }
}

/// A tree that a step sees besides its own.
#[derive(Clone, Debug)]
pub struct StepTree {
    /// Where.
    pub destination: String,
    /// The tree; without an upper directory it is read only.
    pub overlay: Overlay,
    /// The part of it that is mounted, relative; empty is all.
    pub subpath: String,
}

impl StepTree {
    fn attachment(self) -> Attachment {
        let point = MountPoint { kind: "image".into(), destination: self.destination, ..MountPoint::default() };
        let image_options = Some(ImageOptions { subpath: self.subpath });
        let asked = Mount { image_options, ..Mount::default() };
        Attachment {
            record: MountRecord { point, asked, image: None },
            layers: self.overlay.lowers,
            upper: self.overlay.upper.zip(self.overlay.work),
            ..Attachment::default()
        }
    }
}

/// What a step writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StepOutput {
    /// To its standard output.
    Stdout(Bytes),
    /// To its standard error.
    Stderr(Bytes),
}

impl Containers {
    /// Runs a step to its end and returns its exit code. Dropping the future kills it.
    ///
    /// # Errors
    /// When its program cannot be executed.
    pub async fn run_step(&self, step: StepSpec, output: mpsc::Sender<StepOutput>) -> Result<i32> {
        let containers = self.clone();
        let (_alive, cancelled) = oneshot::channel::<()>();
        let alive = self.context.steps.clone().read_owned().await;
        let run = tokio::spawn(async move {
            let _alive = alive;
            let id = random_id()?;
            let result = containers.step(&id, step, output, cancelled).await;
            let _ = fs::remove_dir_all(containers.context.etc_dir(&id));
            let _ = fs::remove_dir_all(containers.context.pool.task_dir(&id));
            result
        });
        run.await.map_err(|error| Error::internal(error.to_string()))?
    }

    async fn step(
        &self,
        id: &str,
        step: StepSpec,
        output: mpsc::Sender<StepOutput>,
        cancelled: oneshot::Receiver<()>,
    ) -> Result<i32> {
        let context = &self.context;
        let mut host = step.host.clone();
        context.config.defaults.fill(&mut host);
        // Steps write layers, and do it with the host's ids.
        host.userns_mode = "host".into();
        if host.network_mode.is_empty() || host.network_mode == "default" {
            host.network_mode = "bridge".into();
        }
        let config = Config { hostname: "buildkitsandbox".into(), ..Config::default() };
        let mut record =
            Record { id: id.into(), name: format!("build-{}", &id[..12]), config, host, ..Record::default() };
        context.networks.normalise(&mut record);
        let files = step.files.clone();
        let request = self.step_request(&record, step)?;
        let Fresh { task, mut news } = context.pool.take(id).await?;
        context.pool.refill();
        for (number, file) in files.iter().enumerate() {
            let path = self.file_of_step(id, number);
            if let Err(error) = file.write(&path) {
                task.discard().await;
                return Err(Error::io("write a file of a build step", &path, error));
            }
        }
        let result = match self.begin(&task, &mut record, request).await {
            Ok(stream) => finish(&task, &mut news, copy_output(stream, output), cancelled).await,
            Err(error) => {
                task.discard().await;
                Err(error)
            }
        };
        if !record.endpoints.is_empty() {
            context.networks.detach(id, &record.endpoints);
        }
        result
    }

    /// Where a file of a step is on the host: in its task's folder, which goes with it.
    fn file_of_step(&self, id: &str, number: usize) -> PathBuf {
        self.context.pool.task_dir(id).join(format!("file-{number}"))
    }

    fn step_request(&self, record: &Record, step: StepSpec) -> Result<CreateRequest> {
        let identity = Accounts::of_overlay(&step.overlay).identify(&step.user, &[])?;
        let mut overlay = step.overlay;
        self.context.ahead.give_mount_points(&mut overlay);
        let etc = self.context.etc_dir(&record.id);
        etc::write(&self.context, record, &etc, &[])?;
        let attach = |point| Attachment { record: MountRecord::plain(point), ..Attachment::default() };
        let trees = step.trees.into_iter().map(StepTree::attachment);
        let mounts = step.mounts.into_iter().map(attach).chain(trees);
        let file = |(number, file): (usize, &StepFile)| file.attachment(&self.file_of_step(&record.id, number));
        let mounts: Vec<_> = mounts.chain(step.files.iter().enumerate().map(file)).collect();
        let inputs = Inputs {
            id: &record.id,
            host: &record.host,
            args: step.args,
            env: &step.env,
            cwd: &step.cwd,
            user: identity.user,
            home: &identity.home,
            terminal: false,
            hostname: &record.config.hostname,
            domainname: "",
            mounts: &mounts,
            etc: Some(&etc),
            tmpfs: super::mounts::tmpfs::all(&record.host)?,
            devices: vec![],
            joined: spec::Joined::default(),
            users: None,
        };
        Ok(CreateRequest {
            id: record.id.clone(),
            spec: spec::generate(&inputs)?,
            rootfs: Rootfs::Overlay(overlay),
            log: LogConfig::default(),
            init: false,
            stdin: false,
            stdin_once: false,
            size: None,
            checkpoint: None,
        })
    }

    async fn begin(&self, task: &Task, record: &mut Record, request: CreateRequest) -> Result<BufReader<UnixStream>> {
        let failed = |event: Event| match event {
            Event::Failed { error, .. } => explain(&error, "failed to create task for container").error,
            other => Error::internal(format!("unexpected answer from the supervisor: {other:?}")),
        };
        let pid = match task.request(&Request::Create(Box::new(request))).await? {
            Event::Created { pid } => pid,
            other => return Err(failed(other)),
        };
        record.endpoints = tokio::task::block_in_place(|| self.context.networks.attach(record, &namespace_of(pid)?))?;
        if etc::has_names(record) {
            super::networking::serve_names(&self.context, task, record).await?;
        }
        match task.start_attached(Wanted { stdin: false, stdout: true, stderr: true }).await? {
            (Event::Started { .. }, stream) => Ok(stream),
            (other, _) => Err(failed(other)),
        }
    }
}

/// Passes on what the step writes until it ends.
async fn copy_output(mut stream: BufReader<UnixStream>, output: mpsc::Sender<StepOutput>) {
    let mut decoder = Decoder::new();
    let mut buffer = vec![0_u8; 16 << 10];
    while let Ok(length @ 1..) = stream.read(&mut buffer).await {
        let mut pieces = vec![];
        let fed = decoder.feed(&buffer[..length], |kind, bytes| {
            let bytes = Bytes::copy_from_slice(bytes);
            pieces.push(if kind == StreamKind::Stderr { StepOutput::Stderr(bytes) } else { StepOutput::Stdout(bytes) });
        });
        if fed.is_err() {
            return;
        }
        for piece in pieces {
            // A builder that no longer listens still wants the step to run on.
            let _ = output.send(piece).await;
        }
    }
}

/// Waits for the end, of the output first; a cancelled step is killed.
async fn finish(
    task: &Task,
    news: &mut mpsc::UnboundedReceiver<News>,
    copy: impl Future<Output = ()>,
    cancelled: oneshot::Receiver<()>,
) -> Result<i32> {
    tokio::select! {
        () = copy => {}
        _ = cancelled => {
            let kill = Request::Signal { exec: None, signal: crate::signals::KILL, all: true };
            let _ = task.order(&kill).await;
        }
    }
    match news.recv().await {
        Some(News::Exited(status)) => Ok(status.code),
        _ => Err(Error::internal("the build step's supervisor is gone")),
    }
}
