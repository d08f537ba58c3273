//! An engine under measurement: a daemon on a private root, and the command line that talks to it.
//!
//! teu and Docker take the same words, so every work is written once. Docker's daemon is Debian's, with a containerd of
//! its own; it runs without its packet filter rules, so that nothing of it is left on the machine. That spares it work.
//! With its rules it runs in a network namespace, which takes them along.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::failure::{Failure, While};
use crate::memory::{self, Memory};
use crate::process::{self, Background};
use crate::report::Contender;

/// A running engine.
pub(crate) struct Engine {
    /// Whose it is.
    pub(crate) contender: Contender,
    /// What it calls itself.
    pub(crate) version: String,
    program: PathBuf,
    host: String,
    processes: Vec<Background>,
    bridge: Option<String>,
    /// The network namespace that it has for itself.
    namespace: Option<String>,
    folder: PathBuf,
}

impl Engine {
    /// Starts teu's daemon from `program` with everything of it below `folder`.
    pub(crate) fn teu(program: &Path, folder: &Path) -> Result<Self, Failure> {
        Self::start_teu(program, folder, None)
    }

    /// The same in the network namespace `namespace`, which is made and ends with it.
    pub(crate) fn teu_apart(program: &Path, folder: &Path, namespace: &str) -> Result<Self, Failure> {
        add_namespace(namespace)?;
        Self::start_teu(program, folder, Some(namespace.into()))
    }

    fn start_teu(program: &Path, folder: &Path, namespace: Option<String>) -> Result<Self, Failure> {
        fs::create_dir_all(folder)?;
        let host = format!("unix://{}", folder.join("teu.sock").display());
        let mut command = inside(namespace.as_deref(), program);
        command.arg("daemon").arg("--data-root").arg(folder.join("data")).arg("--exec-root").arg(folder.join("run"));
        command.args(["--bridge", &format!("teub{}", std::process::id()), "-H", &host]);
        let daemon = Background::start(&mut command, folder)?;
        let version = process::output(Command::new(program).arg("--version"))?;
        let mut engine = Self {
            contender: Contender::Teu,
            version,
            program: program.into(),
            host,
            processes: vec![daemon],
            bridge: None,
            namespace,
            folder: folder.into(),
        };
        engine.until_it_answers()?;
        Ok(engine)
    }

    /// Starts Docker's daemon with everything of it below `folder`, without its rules.
    pub(crate) fn docker(folder: &Path) -> Result<Self, Failure> {
        Self::start_docker(folder, Some(bridge()?), None)
    }

    /// Starts Docker's daemon with its rules, in the network namespace `namespace`, which is made and ends with it.
    pub(crate) fn docker_apart(folder: &Path, namespace: &str) -> Result<Self, Failure> {
        add_namespace(namespace)?;
        Self::start_docker(folder, None, Some(namespace.into()))
    }

    fn start_docker(folder: &Path, bridge: Option<String>, namespace: Option<String>) -> Result<Self, Failure> {
        let program = |name: &str, package: &str| {
            process::find(name).ok_or_else(|| Failure(format!("{name} is not installed: apt-get install {package}")))
        };
        let [docker, dockerd, containerd] =
            [program("docker", "docker.io")?, program("dockerd", "docker.io")?, program("containerd", "containerd")?];
        fs::create_dir_all(folder)?;
        let mut engine = Self {
            contender: Contender::Docker,
            version: String::new(),
            program: docker,
            host: format!("unix://{}", folder.join("docker.sock").display()),
            processes: Vec::new(),
            bridge,
            namespace,
            folder: folder.into(),
        };
        let containerd_socket = folder.join("containerd.sock");
        let mut containerd = start_containerd(&containerd, &containerd_socket, folder)?;
        containerd.until(|| containerd_socket.exists())?;
        // Ended first what was started last.
        engine.processes.push(start_dockerd(&dockerd, &engine, &containerd_socket)?);
        engine.processes.push(containerd);
        engine.until_it_answers()?;
        engine.version = engine.output(&["version", "--format", "Docker {{.Server.Version}}"])?;
        Ok(engine)
    }

    fn until_it_answers(&mut self) -> Result<(), Failure> {
        let (program, host) = (self.program.clone(), self.host.clone());
        let answers = || process::output(client(&program, &host).arg("version")).is_ok();
        self.processes.first_mut().map_or(Ok(()), |daemon| daemon.until(answers))
    }

    /// Where it listens.
    pub(crate) fn socket(&self) -> &Path {
        Path::new(self.host.trim_start_matches("unix://"))
    }

    /// The command line with these words.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = client(&self.program, &self.host);
        command.args(words);
        command
    }

    /// Where it listens, as clients have it.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// Runs the command line and gives what it prints.
    pub(crate) fn output(&self, words: &[&str]) -> Result<String, Failure> {
        process::output(&mut self.command(words))
    }

    /// The memory of the daemon, and of what it cannot be without.
    pub(crate) fn daemon_memory(&self) -> Result<Memory, Failure> {
        let each = self.processes.iter().map(|process| memory::of(process.id()));
        each.reduce(|sum, one| {
            let (sum, one) = (sum?, one?);
            Ok(Memory { resident: sum.resident + one.resident, private: sum.private + one.private })
        })
        .unwrap_or_else(|| Err(Failure("the engine has no process".into())))
    }

    /// A running container's first process.
    pub(crate) fn pid(&self, container: &str) -> Result<u32, Failure> {
        let text = self.output(&["inspect", container])?;
        let value: Value = serde_json::from_str(&text).while_doing("read what inspect prints")?;
        let pid = value.pointer("/0/State/Pid").and_then(Value::as_u64).and_then(|pid| u32::try_from(pid).ok());
        pid.filter(|pid| *pid > 0).ok_or_else(|| Failure(format!("{container} has no process")))
    }

    /// The memory of the process beside a running container.
    pub(crate) fn supervisor_memory(&self, container: &str) -> Result<Memory, Failure> {
        memory::of(memory::parent(self.pid(container)?)?)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if let Ok(left) = self.output(&["ps", "--all", "--quiet"]) {
            for container in left.split_whitespace() {
                let _ = self.output(&["rm", "--force", container]);
            }
        }
        while !self.processes.is_empty() {
            drop(self.processes.remove(0));
        }
        if let Some(bridge) = &self.bridge {
            let _ = process::output(Command::new("ip").args(["link", "delete", bridge]));
        }
        if let Some(namespace) = &self.namespace {
            let _ = process::output(Command::new("ip").args(["netns", "delete", namespace]));
        }
        unmount_below(&self.folder);
    }
}

fn add_namespace(name: &str) -> Result<(), Failure> {
    process::output(Command::new("ip").args(["netns", "add", name]))?;
    process::output(Command::new("ip").args(["-n", name, "link", "set", "lo", "up"])).map(drop)
}

/// A program in a network namespace. Not by `ip netns exec`, which mounts another /sys, without cgroups.
fn inside(namespace: Option<&str>, program: &Path) -> Command {
    let Some(namespace) = namespace else { return Command::new(program) };
    let mut command = Command::new("nsenter");
    command.arg(format!("--net=/run/netns/{namespace}")).arg(program);
    command
}

fn client(program: &Path, host: &str) -> Command {
    let mut command = Command::new(program);
    command.env("TEU_HOST", host).env("DOCKER_HOST", host).env("TEU_AUTOSTART", "0");
    // The builder of the daemon: BuildKit's client part is no part of Debian's package.
    command.env("DOCKER_BUILDKIT", "0");
    command
}

/// A bridge for Docker: the one it makes by itself could already be somebody's.
fn bridge() -> Result<String, Failure> {
    let name = format!("dockb{}", std::process::id());
    let ip = |words: &[&str]| process::output(Command::new("ip").args(words));
    ip(&["link", "add", &name, "type", "bridge"])?;
    ip(&["address", "add", "10.213.77.1/24", "dev", &name])?;
    ip(&["link", "set", &name, "up"])?;
    Ok(name)
}

fn start_containerd(program: &Path, socket: &Path, folder: &Path) -> Result<Background, Failure> {
    let config = folder.join("containerd.toml");
    let place = |name: &str| folder.join(name).display().to_string();
    let text = format!(
        "version = 2\nroot = \"{}\"\nstate = \"{}\"\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n\
         [grpc]\naddress = \"{}\"\n",
        place("containerd"),
        place("containerd-run"),
        socket.display()
    );
    fs::write(&config, text).while_doing(config.display())?;
    Background::start(Command::new(program).arg("--config").arg(config), folder)
}

fn start_dockerd(program: &Path, engine: &Engine, containerd: &Path) -> Result<Background, Failure> {
    let folder = &engine.folder;
    let mut command = inside(engine.namespace.as_deref(), program);
    command.arg("--config-file").arg(empty_config(folder)?);
    command.arg("--data-root").arg(folder.join("data")).arg("--exec-root").arg(folder.join("run"));
    command.arg("--pidfile").arg(folder.join("docker.pid")).arg("--containerd").arg(containerd);
    command.args(["-H", &engine.host, "--storage-driver=overlay2"]);
    if let Some(bridge) = &engine.bridge {
        command.args(["--bridge", bridge, "--iptables=false", "--ip6tables=false", "--ip-masq=false"]);
    }
    Background::start(&mut command, folder)
}

/// The machine's own configuration is not meant for this daemon.
fn empty_config(folder: &Path) -> Result<PathBuf, Failure> {
    let path = folder.join("docker.json");
    fs::write(&path, "{}\n").while_doing(path.display())?;
    Ok(path)
}

/// Docker leaves the mounts of network namespaces when it ends.
fn unmount_below(folder: &Path) {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let points = table.lines().rev().filter_map(|line| line.split(' ').nth(4)).map(Path::new);
    for point in points.filter(|point| point.starts_with(folder)) {
        let _ = rustix::mount::unmount(point, rustix::mount::UnmountFlags::DETACH);
    }
}
