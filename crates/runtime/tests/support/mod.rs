//! A small image, a spec like an engine's, and the helper program that runs it in a process with one thread.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

/// The shell and tools of the image.
const BUSYBOX: &str = "/bin/busybox";
/// Names under which the image has it.
const TOOLS: [&str; 16] = [
    "sh", "true", "cat", "id", "ls", "sleep", "mount", "ps", "hostname", "readlink", "stat", "grep", "touch", "dd",
    "head", "tty",
];
/// What the containers of these tests may do.
pub(crate) const CAPABILITIES: [&str; 3] = ["CAP_CHOWN", "CAP_KILL", "CAP_SETUID"];

/// A container to be run, with a directory of its own.
pub(crate) struct Bench {
    directory: TempDir,
    id: String,
    /// The spec; change it before running.
    pub(crate) spec: Value,
    /// What is done with the container besides waiting for its end.
    pub(crate) steps: Vec<Value>,
    /// Whether it grows out of a zygote.
    pub(crate) zygote: bool,
}

/// What came out.
pub(crate) struct Outcome {
    /// What the container wrote to its stdout and stderr, or terminal.
    pub(crate) output: String,
    /// A value for each step: the start, the steps asked for, the exit.
    pub(crate) results: Vec<Value>,
}

impl Bench {
    /// A container that runs a program of the image.
    pub(crate) fn new(args: &[&str]) -> Bench {
        let directory = tempfile::tempdir().expect("a directory");
        let bin = directory.path().join("image/bin");
        for made in [&bin, &directory.path().join("upper"), &directory.path().join("work")] {
            std::fs::create_dir_all(made).expect("a directory");
        }
        assert!(Path::new(BUSYBOX).exists(), "{BUSYBOX} is missing: run `apt-get install -y busybox-static`");
        std::fs::copy(BUSYBOX, bin.join("busybox")).expect("a copy of busybox");
        for tool in TOOLS {
            std::os::unix::fs::symlink("busybox", bin.join(tool)).expect("a link");
        }
        let name = directory.path().file_name().expect("a name").to_string_lossy();
        let id = format!("test-{}", name.trim_start_matches('.'));
        let spec = spec(&id, args);
        Bench { directory, id, spec, steps: Vec::new(), zygote: false }
    }

    /// A shell script.
    pub(crate) fn shell(script: &str) -> Bench {
        Bench::new(&["sh", "-c", script])
    }

    /// The image, to put more into.
    pub(crate) fn image(&self) -> PathBuf {
        self.directory.path().join("image")
    }

    /// Where what the container wrote into its root is found.
    pub(crate) fn upper(&self) -> PathBuf {
        self.directory.path().join("upper")
    }

    /// A directory of the host that is not the image.
    pub(crate) fn outside(&self, name: &str) -> PathBuf {
        let path = self.directory.path().join(name);
        std::fs::create_dir_all(&path).expect("a directory");
        path
    }

    /// Adds a mount to the spec.
    pub(crate) fn mount(&mut self, mount: Value) {
        self.spec["mounts"].as_array_mut().expect("mounts").push(mount);
    }

    /// Runs it, and asserts that nothing is left behind.
    pub(crate) fn run(&self) -> Outcome {
        let path = |name: &str| self.directory.path().join(name);
        let rootfs = json!({ "overlay": {
            "lowers": [path("image")], "upper": path("upper"), "work": path("work"), "volatile": false,
        }});
        let script = json!({
            "id": self.id, "spec": self.spec, "rootfs": rootfs, "zygote": self.zygote, "steps": self.steps,
        });
        std::fs::write(path("script"), script.to_string()).expect("a script");
        let before = host_mounts();
        // One pipe for both, so that the order is kept.
        let (mut reader, writer) = std::io::pipe().expect("a pipe");
        let mut command = Command::new(env!("CARGO_BIN_EXE_teu-runtime-try"));
        command.args([path("script"), path("results")]).stdin(Stdio::null());
        command.stdout(writer.try_clone().expect("a copy")).stderr(writer);
        let mut child = command.spawn().expect("the helper");
        drop(command);
        let mut output = String::new();
        reader.read_to_string(&mut output).expect("output");
        assert!(child.wait().expect("an exit").success(), "the helper failed: {output}");
        let results = std::fs::read(path("results")).expect("results");
        assert_eq!(self.cgroups(), Vec::<PathBuf>::new(), "cgroups are left behind");
        assert_eq!(host_mounts().iter().filter(|mount| !before.contains(mount)).count(), 0, "mounts are left behind");
        Outcome { output, results: serde_json::from_slice(&results).expect("results") }
    }

    /// The container's cgroups that exist.
    fn cgroups(&self) -> Vec<PathBuf> {
        existing_cgroups(&format!("/teu/{}", self.id))
    }
}

/// Where a cgroup exists, of all hierarchies.
pub(crate) fn existing_cgroups(path: &str) -> Vec<PathBuf> {
    let table = std::fs::read_to_string("/proc/self/mountinfo").expect("the mount table");
    let trees = table.lines().filter(|line| line.contains(" - cgroup")).filter_map(|line| line.split(' ').nth(4));
    trees.map(|tree| Path::new(tree).join(path.trim_start_matches('/'))).filter(|path| path.exists()).collect()
}

impl Outcome {
    /// How the container ended.
    pub(crate) fn exit(&self) -> &Value {
        self.results.last().expect("an exit")
    }

    /// The error that came instead of a container.
    pub(crate) fn error(&self) -> &Value {
        &self.results[0]["error"]
    }

    /// The value of a line of the output that begins with `key:`.
    pub(crate) fn field(&self, key: &str) -> &str {
        let line = self.output.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        line.unwrap_or_else(|| panic!("no {key} in {}", self.output)).trim()
    }
}

/// Mounts of the host that containers of these tests could leave.
fn host_mounts() -> Vec<String> {
    let table = std::fs::read_to_string("/proc/self/mountinfo").expect("the mount table");
    table.lines().filter(|line| line.contains("/image") || line.contains("teu")).map(str::to_owned).collect()
}

/// A process of the image.
pub(crate) fn process(args: &[&str]) -> Value {
    json!({
        "user": { "uid": 0, "gid": 0 }, "args": args, "env": ["PATH=/bin", "LANG=C"], "cwd": "/",
        "capabilities": { "bounding": CAPABILITIES, "effective": CAPABILITIES, "permitted": CAPABILITIES },
        "noNewPrivileges": true,
    })
}

fn spec(id: &str, args: &[&str]) -> Value {
    let mount = |destination: &str, kind: &str, options: &[&str]| json!({ "destination": destination, "type": kind, "source": kind, "options": options });
    let namespaces = ["mount", "pid", "uts", "ipc", "network", "cgroup"].map(|kind| json!({ "type": kind }));
    json!({
        "ociVersion": "1.3.0", "process": process(args), "hostname": "boxy",
        "mounts": [
            mount("/proc", "proc", &["nosuid", "noexec", "nodev"]),
            mount("/dev", "tmpfs", &["nosuid", "mode=755", "size=64k"]),
            mount("/dev/pts", "devpts", &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
            mount("/sys", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
            mount("/sys/fs/cgroup", "cgroup", &["nosuid", "noexec", "nodev", "ro"]),
            mount("/dev/shm", "tmpfs", &["nosuid", "noexec", "nodev", "mode=1777", "size=64m"]),
            mount("/dev/mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        ],
        "linux": {
            "cgroupsPath": format!("/teu/{id}"),
            "resources": { "devices": [{ "allow": false, "access": "rwm" }] },
            "namespaces": namespaces,
            "maskedPaths": ["/proc/keys", "/proc/interrupts", "/sys/firmware", "/proc/nowhere"],
            "readonlyPaths": ["/proc/sys", "/proc/bus", "/proc/nowhere"],
        },
    })
}
