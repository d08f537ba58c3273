//! A daemon of the test's own, on private folders; nothing of it may be left when it is dropped.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::command::{Ran, Running, run, run_with};
use super::leftovers::Marks;
use super::{base_image, eventually};

/// The program under test.
pub const TEU: &str = env!("CARGO_BIN_EXE_teu");

/// A daemon, its folders, and the memory of what it made.
pub struct Daemon {
    /// Emptied by [`Drop`].
    folder: Option<TempDir>,
    process: Option<Child>,
    marks: Mutex<Marks>,
    root: PathBuf,
    flags: Vec<String>,
    /// Programs that it finds first.
    programs: Option<PathBuf>,
}

impl Daemon {
    /// A daemon that has the busybox image.
    #[track_caller]
    pub fn start() -> Self {
        let daemon = Self::bare();
        daemon.load();
        daemon
    }

    /// A daemon without any image.
    #[track_caller]
    pub fn bare() -> Self {
        Self::with(&[])
    }

    /// A daemon without any image, with more flags.
    #[track_caller]
    pub fn with(flags: &[&str]) -> Self {
        let folder = tempfile::Builder::new().prefix("teu-test-").tempdir().expect("folder");
        let marks = Marks::new(folder.path(), &folder.path().join("run")).into();
        let flags = flags.iter().map(ToString::to_string).collect();
        let root = folder.path().join("root");
        let mut daemon = Self { folder: Some(folder), process: None, marks, root, flags, programs: None };
        daemon.launch();
        daemon
    }

    /// A daemon with the busybox image that keeps what lasts in a folder of the caller's.
    #[track_caller]
    pub fn on(root: &Path) -> Self {
        let mut daemon = Self::bare();
        daemon.stop();
        daemon.root = root.into();
        daemon.launch();
        daemon.load();
        daemon
    }

    /// A daemon with the busybox image and more flags that finds the programs of `folder` first.
    #[track_caller]
    pub fn finding(folder: &Path, flags: &[&str]) -> Self {
        let mut daemon = Self::with(flags);
        daemon.stop();
        daemon.programs = Some(folder.into());
        daemon.launch();
        daemon.load();
        daemon
    }

    fn marks(&self) -> MutexGuard<'_, Marks> {
        self.marks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Loads the Debian image: made by debootstrap once, kept in the checkout's cache.
    #[track_caller]
    pub fn load_debian(&self) {
        let archive = self.folder().join("debian.tar");
        let tool = Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/base-image");
        run(Command::new(tool).arg("debian").arg(&archive)).ok();
        self.ok(["load", "-q", "-i", archive.to_str().expect("path")]);
        fs::remove_file(archive).expect("removed");
    }

    /// Loads the busybox image.
    #[track_caller]
    pub fn load(&self) {
        self.ok(["load", "-q", "-i", base_image().to_str().expect("path")]);
    }

    /// The private folder.
    pub fn folder(&self) -> &Path {
        self.folder.as_ref().expect("folder").path()
    }

    /// Where the daemon keeps what lasts.
    pub fn root(&self) -> PathBuf {
        self.root.clone()
    }

    /// Where the daemon keeps what does not.
    pub fn exec_root(&self) -> PathBuf {
        self.folder().join("run")
    }

    /// Its address, as `-H` takes it.
    pub fn host(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// Its socket.
    pub fn socket(&self) -> PathBuf {
        self.folder().join("teu.sock")
    }

    /// The bridge's name, which is the firewall table's too.
    pub fn bridge(&self) -> String {
        self.marks().bridge.clone()
    }

    /// The daemon's process.
    pub fn pid(&self) -> u32 {
        self.process.as_ref().expect("a running daemon").id()
    }

    /// Sends the daemon a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw).expect("a process id");
        kill_process(pid, signal).expect("a signal sent");
    }

    /// A command of this daemon's client, to be run.
    pub fn command<I: IntoIterator<Item: AsRef<OsStr>>>(&self, args: I) -> Command {
        let mut command = client(self.folder());
        command.env("TEU_HOST", self.host()).arg("--no-autostart").args(args);
        command
    }

    /// The same on a terminal of its own.
    pub fn on_terminal(&self, line: &str) -> Command {
        on_terminal(self.folder(), &format!("{TEU} --no-autostart {line}"), &[("TEU_HOST", &self.host())])
    }

    /// The same on a terminal of this size.
    pub fn on_terminal_of(&self, rows: &str, columns: &str, line: &str) -> Command {
        let line = format!("stty rows {rows} cols {columns}; {TEU} --no-autostart {line}");
        on_terminal(self.folder(), &line, &[("TEU_HOST", &self.host())])
    }

    /// Runs a command of the client to its end.
    #[track_caller]
    pub fn teu<I: IntoIterator<Item: AsRef<OsStr>>>(&self, args: I) -> Ran {
        run(&mut self.command(args))
    }

    /// Runs one with input.
    #[track_caller]
    pub fn teu_with<I: IntoIterator<Item: AsRef<OsStr>>>(&self, args: I, input: &[u8]) -> Ran {
        run_with(&mut self.command(args), input)
    }

    /// Runs one that must succeed; its standard output.
    #[track_caller]
    pub fn ok<I: IntoIterator<Item: AsRef<OsStr>>>(&self, args: I) -> String {
        self.teu(args).ok()
    }

    /// Runs a shell command line in a new container that is removed at its end; its standard output.
    #[track_caller]
    pub fn sh(&self, script: &str) -> String {
        self.ok(["run", "--rm", "--network", "none", "busybox", "sh", "-c", script])
    }

    /// Starts a command of the client.
    #[track_caller]
    pub fn spawn<I: IntoIterator<Item: AsRef<OsStr>>>(&self, args: I) -> Running {
        Running::spawn(&mut self.command(args))
    }

    /// A field of `inspect`, by template.
    #[track_caller]
    pub fn inspect(&self, name: &str, template: &str) -> String {
        self.ok(["inspect", "--format", template, name])
    }

    /// Kills the daemon as the kernel would, without a chance to tidy up.
    pub fn kill9(&mut self) {
        self.notice();
        self.kill_now();
    }

    /// Kills the daemon without even asking it for what it has.
    pub fn kill_now(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// Ends the daemon as a service manager does; containers go on.
    #[track_caller]
    pub fn stop(&mut self) {
        self.notice();
        let Some(mut process) = self.process.take() else { return };
        kill_process(Pid::from_child(&process), Signal::TERM).expect("signal");
        let ended = eventually("the daemon ends", || process.try_wait().expect("wait"));
        assert!(ended.success(), "the daemon ended with {ended}:\n{}", self.log());
    }

    /// Starts the daemon that was killed or stopped.
    #[track_caller]
    pub fn restart(&mut self) {
        assert!(self.process.is_none(), "the daemon runs");
        self.launch();
    }

    /// Ends the daemon that a client has started on these folders, and starts one that belongs to the test.
    #[track_caller]
    pub fn take_over(&mut self) {
        let stream = UnixStream::connect(self.socket()).expect("a daemon");
        let other = rustix::net::sockopt::socket_peercred(&stream).expect("credentials").pid;
        kill_process(other, Signal::TERM).expect("signal");
        let proc = PathBuf::from(format!("/proc/{}/exe", other.as_raw_nonzero()));
        eventually("the started daemon ends", || fs::read_link(&proc).is_err().then_some(()));
        self.launch();
    }

    /// What the daemon has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder().join("daemon.log")).unwrap_or_default()
    }

    #[track_caller]
    fn launch(&mut self) {
        let log = File::options().create(true).append(true).open(self.folder().join("daemon.log")).expect("log");
        let mut command = client(self.folder());
        command.arg("daemon").arg("--data-root").arg(self.root()).arg("--exec-root").arg(self.exec_root());
        command.arg("-H").arg(self.host()).args(&self.flags).stdin(Stdio::null());
        command.stdout(log.try_clone().expect("log")).stderr(log);
        if let Some(programs) = &self.programs {
            let path = std::env::var_os("PATH").unwrap_or_default();
            let all = std::iter::once(programs.clone()).chain(std::env::split_paths(&path));
            command.env("PATH", std::env::join_paths(all).expect("a path"));
        }
        let mut process = command.spawn().unwrap_or_else(|error| panic!("start {TEU}: {error}"));
        let socket = self.socket();
        let up = eventually("the daemon answers", || match UnixStream::connect(&socket) {
            Ok(_) => Some(true),
            Err(_) => process.try_wait().expect("wait").map(|_| false),
        });
        assert!(up, "the daemon ended:\n{}", self.log());
        self.process = Some(process);
    }

    /// Remembers by what names the machine knows what this daemon made.
    fn notice(&self) {
        let mut ids = vec![];
        if self.process.is_some() {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock");
            let until = now.as_secs().to_string();
            let events = ["events", "--since", "0", "--until", &until, "--filter", "type=container"];
            let told = self.teu(events.into_iter().chain(["--format", "{{.Actor.ID}}"]));
            let listed = self.teu(["ps", "-aq", "--no-trunc"]);
            ids.extend(told.out.lines().chain(listed.out.lines()).map(str::to_owned));
        }
        self.marks().notice(ids);
    }

    /// Takes away every container, the daemon and the folder.
    fn end(&mut self) -> Vec<String> {
        let mut troubles = vec![];
        if self.process.is_none() {
            self.launch();
        }
        self.notice();
        let all = self.teu(["ps", "-aq", "--no-trunc"]);
        let ids: Vec<_> = all.out.split_whitespace().map(str::to_owned).collect();
        if !ids.is_empty() {
            let removed = self.teu(["rm", "-f", "-v"].into_iter().chain(ids.iter().map(String::as_str)));
            if removed.code != 0 {
                troubles.push(format!("rm -f: {}", removed.err));
            }
        }
        self.stop();
        troubles.extend(self.marks().leftovers());
        troubles.extend(kept_files(&self.root(), &self.exec_root()));
        let log = self.log();
        if log.contains("panicked at") {
            troubles.push(format!("the daemon panicked:\n{log}"));
        }
        if let Some(Err(error)) = self.folder.take().map(TempDir::close) {
            troubles.push(format!("remove the daemon's folder: {error}"));
        }
        troubles
    }
}

/// Folders that belong to containers alone, and so are empty when there is none.
fn kept_files(root: &Path, exec_root: &Path) -> Vec<String> {
    let own = ["containers", "logs", "etc", "snapshots/active", "leases", "uploads", "checkpoints"]
        .map(|name| root.join(name));
    let entries = own.into_iter().chain([exec_root.join("tasks")]).flat_map(|folder| fs::read_dir(folder).into_iter());
    entries.flatten().flatten().map(|entry| format!("file {}", entry.path().display())).collect()
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- daemon's log ---\n{}--------------------", self.log());
            // The test has failed already; what matters is that the machine is clean for the next one.
            if self.process.is_some() || self.root().exists() {
                let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.end()));
            }
            self.kill_now();
            self.marks().sweep();
            return;
        }
        let troubles = self.end();
        if !troubles.is_empty() {
            self.marks().sweep();
            panic!("left behind:\n{}", troubles.join("\n"));
        }
    }
}

/// A command of teu that knows of no daemon and of no user's settings.
pub fn client(folder: &Path) -> Command {
    let mut command = Command::new(TEU);
    for name in ["TEU_HOST", "DOCKER_HOST", "DOCKER_CONTEXT", "TEU_DATA_ROOT", "TEU_EXEC_ROOT", "TEU_CONFIG"] {
        command.env_remove(name);
    }
    command.env("HOME", folder).env("DOCKER_CONFIG", folder.join("client")).env("NO_COLOR", "1");
    command
}

/// A shell command line on a terminal of its own, by script(1).
pub fn on_terminal(folder: &Path, line: &str, variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new("script");
    command.args(["--quiet", "--return", "--flush", "--command", line, "/dev/null"]);
    command.env("HOME", folder).env("DOCKER_CONFIG", folder.join("client")).env("TERM", "xterm");
    command.envs(variables.iter().copied());
    command
}

/// Reads a file that may be large.
pub fn read(path: &Path) -> Vec<u8> {
    let mut bytes = vec![];
    File::open(path).and_then(|mut file| file.read_to_end(&mut bytes)).expect("read");
    bytes
}
