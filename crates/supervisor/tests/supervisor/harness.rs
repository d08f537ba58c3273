//! A supervisor with a task directory, a root file system and a cgroup of its own; all of it goes with the test.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::json;
use teu_oci::runtime::{Process, Spec};
use teu_runtime::Rootfs;
use teu_supervisor::log::{Query, Reader, Stream};
use teu_supervisor::protocol::{
    CreateRequest, Event, ExecRequest, ExitStatus, LogConfig, LogFile, LogFormat, Request, Wanted,
};

/// Longer than anything here takes; a test that waits so long has failed.
const TOO_LONG: Duration = Duration::from_secs(30);

/// A supervisor and all that belongs to it.
pub(crate) struct Task {
    pub(crate) dir: PathBuf,
    root: tempfile::TempDir,
    pub(crate) process: Child,
    pub(crate) id: String,
}

impl Task {
    pub(crate) fn new() -> Task {
        Task::spawn(&[])
    }

    pub(crate) fn warm() -> Task {
        Task::spawn(&["--warm"])
    }

    fn spawn(options: &[&str]) -> Task {
        let root = tempfile::tempdir().expect("directory");
        let dir = root.path().join("task");
        std::fs::create_dir(&dir).expect("task directory");
        let rootfs = root.path().join("rootfs");
        for name in ["bin", "proc", "sys", "dev", "tmp", "etc"] {
            std::fs::create_dir_all(rootfs.join(name)).expect("directory");
        }
        let busybox = rootfs.join("bin/busybox");
        std::fs::copy("/bin/busybox", busybox).expect("/bin/busybox; apt-get install busybox-static");
        for name in ["sh", "cat", "echo", "sleep", "stty", "tty", "head", "tail", "true", "id", "kill", "seq", "yes"] {
            std::os::unix::fs::symlink("busybox", rootfs.join("bin").join(name)).expect("link");
        }
        let listener = UnixListener::bind(dir.join("socket")).expect("socket");
        let process = Command::new(env!("CARGO_BIN_EXE_teu-supervise-try"))
            .arg(&dir)
            .args(options)
            .stdin(Stdio::from(OwnedFd::from(listener)))
            .spawn()
            .expect("a supervisor");
        let id = format!("teu-supervisor-{}-{}", std::process::id(), process.id());
        Task { dir, root, process, id }
    }

    pub(crate) fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(self.dir.join("socket")).expect("connected");
        stream.set_read_timeout(Some(TOO_LONG)).expect("timeout");
        stream
    }

    pub(crate) fn control(&self) -> Control {
        Control { stream: BufReader::new(self.connect()), events: VecDeque::new() }
    }

    pub(crate) fn attach(&self, stdin: bool) -> Attached {
        let mut stream = BufReader::new(self.connect());
        send(stream.get_mut(), &Request::Attach(Wanted { stdin, stdout: true, stderr: true }));
        let mut line = String::new();
        stream.read_line(&mut line).expect("an answer");
        assert_eq!(line, "\"attached\"\n");
        Attached(stream)
    }

    /// Runs an exec on a connection that becomes its streams; the answer otherwise.
    pub(crate) fn enter(&self, request: ExecRequest) -> Result<Attached, Event> {
        let mut stream = BufReader::new(self.connect());
        let wanted = Wanted { stdin: request.stdin, stdout: true, stderr: true };
        send(stream.get_mut(), &Request::Exec(Box::new(ExecRequest { streams: Some(wanted), ..request })));
        let mut line = String::new();
        stream.read_line(&mut line).expect("an answer");
        match serde_json::from_str(&line).expect("an event") {
            Event::Started { exec: Some(_), .. } => Ok(Attached(stream)),
            other => Err(other),
        }
    }

    /// A container that runs `script` in a shell.
    pub(crate) fn request(&self, script: &str) -> CreateRequest {
        let file = LogFile {
            format: LogFormat::JsonFile,
            path: self.log_path(),
            max_size: 32 << 20,
            max_files: 3,
            compress: false,
            attributes: std::collections::BTreeMap::new(),
        };
        let log = LogConfig { file: Some(file), ..LogConfig::default() };
        let rootfs = Rootfs::Directory(self.root.path().join("rootfs"));
        let (id, spec) = (self.id.clone(), self.spec(script));
        CreateRequest {
            id,
            spec,
            rootfs,
            log,
            init: false,
            stdin: false,
            stdin_once: false,
            size: None,
            checkpoint: None,
        }
    }

    fn spec(&self, script: &str) -> Spec {
        let spec = json!({
            "ociVersion": "1.3.0",
            "root": { "path": "rootfs" },
            "process": process(script),
            "mounts": [
                { "destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"] },
                { "destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"] },
                {
                    "destination": "/dev/pts", "type": "devpts", "source": "devpts",
                    "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
                },
            ],
            "linux": {
                "cgroupsPath": format!("/teu/{}", self.id),
                "namespaces": [
                    { "type": "pid" }, { "type": "mount" }, { "type": "ipc" }, { "type": "uts" }, { "type": "network" },
                ],
            },
        });
        serde_json::from_value(spec).expect("a spec")
    }

    pub(crate) fn log_path(&self) -> PathBuf {
        self.root.path().join("container.log")
    }

    /// What the log has of `stream`.
    pub(crate) fn logged(&self, stream: Stream) -> Vec<u8> {
        let mut reader = Reader::open(LogFormat::JsonFile, &self.log_path(), &Query::default()).expect("log");
        let mut text = Vec::new();
        while reader.advance().expect("record") {
            if reader.line().stream == stream {
                text.extend_from_slice(reader.line().bytes);
            }
        }
        text
    }

    pub(crate) fn exit_json(&self) -> ExitStatus {
        let text = std::fs::read(self.dir.join("exit.json")).expect("exit.json");
        serde_json::from_slice(&text).expect("a status")
    }

    /// Waits until the supervisor has ended.
    pub(crate) fn ended(&mut self) {
        assert!(self.process.wait().expect("waited").success());
    }

    /// Directories of the container's cgroup that exist.
    pub(crate) fn cgroups(&self) -> Vec<PathBuf> {
        let top = Path::new("/sys/fs/cgroup");
        let controllers = std::fs::read_dir(top).expect("cgroups").flatten().map(|entry| entry.path());
        let all = controllers.chain([top.to_owned()]).map(|path| path.join("teu").join(&self.id));
        all.filter(|path| path.exists()).collect()
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        if self.process.try_wait().is_ok_and(|status| status.is_none()) {
            // The container first: without its supervisor it would stay.
            for path in self.cgroups() {
                let processes = std::fs::read_to_string(path.join("cgroup.procs")).unwrap_or_default();
                for pid in processes.lines().filter_map(|line| rustix::process::Pid::from_raw(line.parse().ok()?)) {
                    let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
                }
            }
            let _ = self.process.kill();
            let _ = self.process.wait();
        }
        for path in self.cgroups() {
            let _ = std::fs::remove_dir(path);
        }
    }
}

/// A process that runs `script` in a shell, as runtime specs have it.
pub(crate) fn process(script: &str) -> serde_json::Value {
    json!({
        "args": ["/bin/sh", "-c", script],
        "cwd": "/",
        "env": ["PATH=/bin", "TERM=xterm"],
        "user": { "uid": 0, "gid": 0 },
    })
}

pub(crate) fn exec(exec: &str, script: &str) -> ExecRequest {
    let process: Process = serde_json::from_value(process(script)).expect("a process");
    ExecRequest { exec: exec.into(), process, stdin: false, size: None, streams: None }
}

fn send(stream: &mut UnixStream, request: &Request) {
    let mut line = serde_json::to_vec(request).expect("json");
    line.push(b'\n');
    stream.write_all(&line).expect("sent");
}

/// A control connection.
pub(crate) struct Control {
    stream: BufReader<UnixStream>,
    events: VecDeque<Event>,
}

impl Control {
    /// Makes a request and returns its answer; events that come before it are kept.
    pub(crate) fn ask(&mut self, request: &Request) -> Event {
        send(self.stream.get_mut(), request);
        loop {
            match self.read().expect("an answer") {
                event @ (Event::Exited { .. } | Event::Network { .. }) => self.events.push_back(event),
                event => return event,
            }
        }
    }

    pub(crate) fn done(&mut self, request: &Request) {
        let event = self.ask(request);
        assert!(matches!(event, Event::Done), "{event:?}");
    }

    pub(crate) fn create(&mut self, request: CreateRequest) -> i32 {
        match self.ask(&Request::Create(Box::new(request))) {
            Event::Created { pid } => pid,
            other => panic!("not created: {other:?}"),
        }
    }

    /// The network namespace that was told of before the last answer.
    pub(crate) fn network(&mut self) -> Option<PathBuf> {
        match self.events.pop_front()? {
            Event::Network { pid, fd } => Some(format!("/proc/{pid}/fd/{fd}").into()),
            other => panic!("not a network: {other:?}"),
        }
    }

    pub(crate) fn start(&mut self) {
        let event = self.ask(&Request::Start);
        assert!(matches!(event, Event::Started { exec: None, .. }), "{event:?}");
    }

    pub(crate) fn run(&mut self, request: CreateRequest) {
        self.create(request);
        self.start();
    }

    pub(crate) fn exec(&mut self, request: ExecRequest) {
        let event = self.ask(&Request::Exec(Box::new(request)));
        assert!(matches!(event, Event::Started { exec: Some(_), .. }), "{event:?}");
    }

    /// Waits for the end of the container or an exec.
    pub(crate) fn exited(&mut self, wanted: Option<&str>) -> ExitStatus {
        loop {
            let event = self.events.pop_front().or_else(|| self.read()).expect("an exit");
            if let Event::Exited { exec, status } = event
                && exec.as_deref() == wanted
            {
                return status;
            }
        }
    }

    /// The next event; none at the end of the connection.
    pub(crate) fn read(&mut self) -> Option<Event> {
        let mut line = String::new();
        self.stream.read_line(&mut line).expect("a line in time");
        (!line.is_empty()).then(|| serde_json::from_str(&line).expect("an event"))
    }
}

/// An attached client.
pub(crate) struct Attached(BufReader<UnixStream>);

impl Attached {
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        self.0.get_mut().write_all(bytes).expect("written");
    }

    /// The way in, to be written to while the way out is read.
    pub(crate) fn writer(&self) -> UnixStream {
        self.0.get_ref().try_clone().expect("cloned")
    }

    pub(crate) fn end_input(&mut self) {
        self.0.get_mut().shutdown(Shutdown::Write).expect("shut down");
    }

    /// Everything raw, to the end.
    pub(crate) fn raw(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.0.read_to_end(&mut bytes).expect("read");
        bytes
    }

    /// Raw bytes until they contain `text`.
    pub(crate) fn until(&mut self, text: &str) -> String {
        let mut seen = String::new();
        while !seen.contains(text) {
            let chunk = self.0.fill_buf().unwrap_or_else(|error| panic!("no {text:?} in {seen:?}: {error}"));
            assert!(!chunk.is_empty(), "ended before {text:?}: {seen:?}");
            let n = chunk.len();
            seen.push_str(&String::from_utf8_lossy(chunk));
            self.0.consume(n);
        }
        seen
    }

    /// One frame: its stream and its bytes; none at the end.
    pub(crate) fn frame(&mut self) -> Option<(u8, Vec<u8>)> {
        if self.0.fill_buf().expect("output in time").is_empty() {
            return None;
        }
        let mut header = [0; 8];
        self.0.read_exact(&mut header).expect("a header");
        let [stream, 0, 0, 0, length @ ..] = header else { panic!("no header: {header:?}") };
        let mut bytes = vec![0; u32::from_be_bytes(length) as usize];
        self.0.read_exact(&mut bytes).expect("a frame");
        Some((stream, bytes))
    }

    /// All frames to the end: what came from stdout, and from stderr.
    pub(crate) fn frames(&mut self) -> [Vec<u8>; 2] {
        let mut outputs = [Vec::new(), Vec::new()];
        while let Some((stream, bytes)) = self.frame() {
            outputs[usize::from(stream) - 1].extend(bytes);
        }
        outputs
    }
}
