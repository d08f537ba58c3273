//! Other engines with `teu runtime` in runc's place: Docker, containerd and podman are started for real, on folders of
//! the test's own, and asked for what their users ask for.

#[path = "../support/mod.rs"]
mod support;

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use support::{Ran, TEU, base_image, eventually, on_terminal, run};
use tempfile::TempDir;

/// An engine on folders of its own.
struct Engine {
    folder: TempDir,
    process: Option<Child>,
    /// How its client is called.
    client: Vec<String>,
}

/// System programs live in folders that not every user's PATH has.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

#[track_caller]
fn require(program: &str) {
    let found = PATH.split(':').any(|folder| Path::new(folder).join(program).exists());
    assert!(found, "{program} is missing: tools/setup test installs it");
}

impl Engine {
    #[track_caller]
    fn new() -> Engine {
        let folder = tempfile::Builder::new().prefix("teu-engine-").tempdir().expect("folder");
        symlink(TEU, folder.path().join("teu-runtime")).expect("a link");
        Engine { folder, process: None, client: Vec::new() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_string_lossy().into_owned()
    }

    #[track_caller]
    fn start(&mut self, line: &[&str]) {
        let log = File::create(self.path("log")).expect("log");
        let mut command = Command::new(line[0]);
        command.args(&line[1..]).env("PATH", PATH).stdin(Stdio::null());
        command.stdout(log.try_clone().expect("log")).stderr(log);
        self.process = Some(command.spawn().unwrap_or_else(|error| panic!("start {}: {error}", line[0])));
    }

    /// Runs a command of the client to its end.
    #[track_caller]
    fn ask(&self, args: &[&str]) -> Ran {
        let mut command = Command::new(&self.client[0]);
        command.args(&self.client[1..]).args(args).env("PATH", PATH).env("HOME", self.folder.path());
        command.env("CONTAINERS_CONF", self.path("containers.conf"));
        run(&mut command)
    }

    #[track_caller]
    fn ok(&self, args: &[&str]) -> String {
        self.ask(args).ok()
    }

    #[track_caller]
    fn docker() -> Engine {
        require("dockerd");
        let mut engine = Engine::new();
        let socket = format!("unix://{}", engine.text("socket"));
        let runtime = format!("teu={}", engine.text("teu-runtime"));
        let (data, exec, pid) = (engine.text("data"), engine.text("exec"), engine.text("pid"));
        let flags = ["--bridge", "none", "--iptables=false", "--ip-masq=false", "--default-runtime", "teu"];
        let mut line = vec!["dockerd", "--data-root", &data, "--exec-root", &exec, "--pidfile", &pid, "-H", &socket];
        line.extend(["--add-runtime", &runtime].iter().chain(&flags));
        engine.start(&line);
        engine.client = ["docker", "-H", &socket].map(str::to_owned).into();
        engine.await_answer(&["version"]);
        engine.ok(&["load", "-q", "-i", base_image().to_str().expect("a path")]);
        engine
    }

    #[track_caller]
    fn containerd() -> Engine {
        require("containerd");
        let mut engine = Engine::new();
        let (root, state, socket) = (engine.text("root"), engine.text("state"), engine.text("socket"));
        engine.start(&["containerd", "--root", &root, "--state", &state, "--address", &socket]);
        engine.client = ["ctr", "-a", &socket].map(str::to_owned).into();
        engine.await_answer(&["version"]);
        engine.ok(&["image", "import", base_image().to_str().expect("a path")]);
        engine
    }

    #[track_caller]
    fn podman() -> Engine {
        require("podman");
        let mut engine = Engine::new();
        let text = format!(
            "[engine]\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\n[engine.runtimes]\nteu = [\"{}\"]\n",
            engine.text("teu-runtime")
        );
        fs::write(engine.path("containers.conf"), text).expect("a file");
        let (root, state, other) = (engine.text("root"), engine.text("state"), engine.text("other"));
        let words = ["podman", "--root", &root, "--runroot", &state, "--tmpdir", &other, "--runtime", "teu"];
        engine.client = words.map(str::to_owned).into();
        engine.ok(&["load", "-q", "-i", base_image().to_str().expect("a path")]);
        engine
    }

    #[track_caller]
    fn await_answer(&self, args: &[&str]) {
        eventually("the engine answers", || (self.ask(args).code == 0).then_some(()));
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let own = self.folder.path().to_string_lossy().into_owned();
        if let Some(mut process) = self.process.take() {
            let _ = kill_process(Pid::from_child(&process), Signal::TERM);
            let _ = process.wait();
        }
        // What an engine mounts on the host it does not always take away.
        let table = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let mounts = table.lines().filter_map(|line| line.split(' ').nth(1)).filter(|path| path.starts_with(&own));
        for path in mounts.collect::<Vec<_>>().into_iter().rev() {
            let _ = rustix::mount::unmount(path, rustix::mount::UnmountFlags::DETACH);
        }
        if std::thread::panicking() {
            eprintln!("{}", fs::read_to_string(self.path("log")).unwrap_or_default());
            return;
        }
        // The runtime's part: none of its processes, no state, no cgroup of its own.
        let processes = fs::read_dir("/proc").into_iter().flatten().flatten().filter_map(|entry| {
            let words = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let words = String::from_utf8_lossy(&words).replace('\0', " ");
            words.contains(&format!("{own}/teu-runtime")).then_some(words)
        });
        assert_eq!(processes.collect::<Vec<_>>(), Vec::<String>::new());
    }
}

#[test]
fn docker_runs_its_containers_with_it() {
    let docker = Engine::docker();
    let plain = ["run", "--rm", "--network", "none"];
    let run = |args: &[&str]| docker.ask(&[&plain[..], args].concat());
    let ran = run(&["busybox", "sh", "-c", "id -u; echo err >&2; exit 3"]);
    assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (3, "0\n", "err\n"));
    assert_eq!(run(&["busybox", "nope"]).code, 127);
    assert_eq!(run(&["-m", "20m", "busybox", "dd", "if=/dev/zero", "of=/dev/null", "bs=100M", "count=1"]).code, 137);
    assert!(run(&["--init", "busybox", "ps"]).ok().contains("docker-init"));
    let strict = ["--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--tmpfs", "/tmp"];
    let script =
        "touch /x 2>/dev/null || echo sealed; touch /tmp/y && ls /tmp; grep -c 'NoNewPrivs:.*1' /proc/self/status";
    let ran = run(&[&strict[..], &["busybox", "sh", "-c", script]].concat());
    assert_eq!(ran.ok(), "sealed\ny\n1");
    let limits = ["-m", "64m", "--pids-limit", "50", "--cpus", "0.5"];
    docker
        .ok(&[&["run", "-d", "--network", "none", "--name", "box"][..], &limits, &["busybox", "sleep", "1000"]]
            .concat());
    assert_eq!(
        docker.ok(&["exec", "-u", "1000", "-w", "/tmp", "-e", "A=b", "box", "sh", "-c", "id -u; pwd; echo $A"]),
        "1000\n/tmp\nb"
    );
    assert_eq!(docker.ask(&["exec", "box", "sh", "-c", "exit 9"]).code, 9);
    assert!(docker.ok(&["top", "box"]).contains("sleep 1000"));
    docker.ok(&["pause", "box"]);
    assert_ne!(docker.ask(&["exec", "box", "true"]).code, 0);
    docker.ok(&["unpause", "box"]);
    docker.ok(&["update", "--memory", "80m", "--memory-swap", "160m", "box"]);
    docker.ok(&["stop", "-t", "0", "box"]);
    assert_eq!(docker.ok(&["inspect", "-f", "{{.State.ExitCode}}", "box"]), "137");
    docker.ok(&["rm", "box"]);
    let line = format!("{} run --rm -it --network none busybox tty", docker.client.join(" "));
    let shown = support::run(&mut on_terminal(docker.folder.path(), &line, &[("PATH", PATH)]));
    assert!(shown.out.contains("/dev/pts/0"), "{}", shown.out);
}

#[test]
fn containerd_runs_its_tasks_with_it() {
    let containerd = Engine::containerd();
    let runtime = containerd.text("teu-runtime");
    let image = "docker.io/library/busybox:latest";
    let run = |args: &[&str]| containerd.ask(&[&["run", "--runc-binary", &runtime][..], args].concat());
    let ran = run(&["--rm", image, "one", "sh", "-c", "echo hello; exit 4"]);
    assert_eq!((ran.code, ran.out.as_str()), (4, "hello\n"));
    run(&["-d", image, "two", "sleep", "1000"]).ok();
    assert_eq!(containerd.ok(&["task", "exec", "--exec-id", "e", "two", "hostname", "-s"]).lines().count(), 1);
    containerd.ok(&["task", "pause", "two"]);
    assert!(containerd.ok(&["task", "ls"]).contains("PAUSED"));
    containerd.ok(&["task", "resume", "two"]);
    containerd.ok(&["task", "kill", "-s", "KILL", "two"]);
    eventually("it stops", || containerd.ok(&["task", "ls"]).contains("STOPPED").then_some(()));
    containerd.ask(&["task", "rm", "two"]);
    containerd.ok(&["container", "rm", "two"]);
}

#[test]
fn podman_runs_its_containers_with_it() {
    let podman = Engine::podman();
    let run = |args: &[&str]| podman.ask(&[&["run", "--rm", "--network", "none"][..], args].concat());
    assert_eq!(run(&["busybox", "sh", "-c", "exit 5"]).code, 5);
    assert_eq!(run(&["busybox", "nope"]).code, 127);
    let script = "id -u; tr -s ' ' </proc/self/uid_map; touch /made; stat -c %u /made";
    assert_eq!(run(&["--uidmap", "0:100000:5000", "busybox", "sh", "-c", script]).ok(), "0\n 0 100000 5000\n0");
    podman.ok(&["run", "-d", "--network", "none", "--name", "box", "-m", "64m", "busybox", "sleep", "1000"]);
    assert_eq!(podman.ok(&["exec", "-u", "1000", "box", "id", "-u"]), "1000");
    podman.ok(&["pause", "box"]);
    podman.ok(&["unpause", "box"]);
    podman.ok(&["stop", "-t", "0", "box"]);
    assert_eq!(podman.ok(&["inspect", "box", "--format", "{{.State.ExitCode}} {{.OCIRuntime}}"]), "137 teu");
    podman.ok(&["rm", "box"]);
}
