//! The engine that is tested: ours, or Docker's own on private folders.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::support::{Daemon, Ran, Running, base_image, eventually, on_terminal, run, tree};

/// An engine with the busybox image, and a `docker` that talks to it.
pub(crate) enum Engine {
    Ours(Box<Daemon>),
    Theirs(Dockerd),
}

/// Docker's own daemon on private folders.
pub(crate) struct Dockerd {
    folder: tempfile::TempDir,
    process: Child,
}

impl Engine {
    #[track_caller]
    pub(crate) fn start() -> Self {
        let engine = match std::env::var("ENGINE_UNDER_TEST").as_deref() {
            Ok("theirs") => Self::Theirs(Dockerd::start()),
            Ok("ours") | Err(_) => Self::Ours(Box::new(Daemon::bare())),
            Ok(other) => panic!("ENGINE_UNDER_TEST={other}: ours or theirs"),
        };
        engine.ok(["load", "-q", "-i", base_image().to_str().expect("path")]);
        engine
    }

    /// Whether it is ours. What Docker's older engine does otherwise, or not at all on hybrid cgroups, is asked of ours alone.
    pub(crate) fn is_ours(&self) -> bool {
        matches!(self, Self::Ours(_))
    }

    pub(crate) fn folder(&self) -> &Path {
        match self {
            Self::Ours(daemon) => daemon.folder(),
            Self::Theirs(dockerd) => dockerd.folder.path(),
        }
    }

    pub(crate) fn host(&self) -> String {
        match self {
            Self::Ours(daemon) => daemon.host(),
            Self::Theirs(dockerd) => dockerd.host(),
        }
    }

    pub(crate) fn command<I: IntoIterator<Item: AsRef<OsStr>>>(&self, args: I) -> Command {
        let mut command = Command::new("docker");
        command.env("DOCKER_HOST", self.host()).env("DOCKER_CONFIG", self.folder().join("client"));
        command.env("DOCKER_BUILDKIT", "0").env_remove("DOCKER_CONTEXT").args(args);
        command
    }

    #[track_caller]
    pub(crate) fn docker<I: IntoIterator<Item: AsRef<OsStr>>>(&self, args: I) -> Ran {
        run(&mut self.command(args))
    }

    #[track_caller]
    pub(crate) fn ok<I: IntoIterator<Item: AsRef<OsStr>>>(&self, args: I) -> String {
        self.docker(args).ok()
    }

    #[track_caller]
    pub(crate) fn on_terminal(&self, line: &str) -> Running {
        let line = format!("stty rows 31 cols 97; docker {line}");
        Running::spawn(&mut on_terminal(self.folder(), &line, &[("DOCKER_HOST", &self.host())]))
    }

    /// A build context.
    pub(crate) fn context(&self, files: &[(&str, &str)]) -> PathBuf {
        let folder = self.folder().join("context");
        tree(&folder, files);
        folder
    }
}

impl Dockerd {
    #[track_caller]
    pub(crate) fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("teu-dockerd-").tempdir().expect("folder");
        let at = |name: &str| folder.path().join(name);
        let mut command = Command::new("dockerd");
        command.arg("--data-root").arg(at("root")).arg("--exec-root").arg(at("run")).arg("--pidfile").arg(at("pid"));
        command.arg("-H").arg(format!("unix://{}", at("docker.sock").display())).stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(std::fs::File::create(at("log")).expect("log"));
        let process = command.spawn().expect("dockerd; install it with: tools/setup bench");
        let dockerd = Self { folder, process };
        eventually("dockerd answers", || {
            let mut command = Command::new("docker");
            (run(command.args(["-H", &dockerd.host(), "version"])).code == 0).then_some(())
        });
        dockerd
    }

    fn host(&self) -> String {
        format!("unix://{}", self.folder.path().join("docker.sock").display())
    }
}

impl Drop for Dockerd {
    fn drop(&mut self) {
        let host = self.host();
        let all = run(Command::new("docker").args(["-H", &host, "ps", "-aq"]));
        for id in all.out.split_whitespace() {
            run(Command::new("docker").args(["-H", &host, "rm", "-f", "-v", id]));
        }
        let _ = rustix::process::kill_process(
            rustix::process::Pid::from_child(&self.process),
            rustix::process::Signal::TERM,
        );
        let _ = self.process.wait();
    }
}
