//! Programs: running one to its end against the clock, and keeping one in the background.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::failure::{Failure, While};

/// How long a daemon may take to answer, and to end.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long what an engine does after its answer takes at most, by and large.
const REST: Duration = Duration::from_millis(100);

/// The program of that name in PATH or where system programs live.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(system).map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// Runs a command to its end and gives its standard output; its words when it fails.
pub(crate) fn output(command: &mut Command) -> Result<String, Failure> {
    let name = described(command);
    let done = command.stdin(Stdio::null()).output().while_doing(&name)?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if !done.status.success() {
        return Err(Failure(format!("{name} ended ({}): {}", done.status, text(&done.stderr))));
    }
    Ok(text(&done.stdout))
}

/// Lets the machine come to rest: what the contender before has left to be done in the background is not charged to the next.
pub(crate) fn rest() {
    std::thread::sleep(REST);
}

/// Runs a command to its end, on a machine at rest, and tells how long that took.
pub(crate) fn timed(command: &mut Command) -> Result<Duration, Failure> {
    rest();
    let begin = Instant::now();
    output(command)?;
    Ok(begin.elapsed())
}

fn described(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}

/// A program in the background, ended by its process id when dropped.
pub(crate) struct Background {
    child: Child,
    name: String,
    log: PathBuf,
}

impl Background {
    /// Starts it; what it says goes to a log in `folder`.
    pub(crate) fn start(command: &mut Command, folder: &Path) -> Result<Self, Failure> {
        let program = Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy().into_owned();
        let log = folder.join(format!("{program}.log"));
        let out = File::options().create(true).append(true).open(&log).while_doing(log.display())?;
        let err = out.try_clone()?;
        let child = command.stdin(Stdio::null()).stdout(out).stderr(err).spawn().while_doing(described(command))?;
        Ok(Self { child, name: program, log })
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until `answers` is true.
    pub(crate) fn until(&mut self, mut answers: impl FnMut() -> bool) -> Result<(), Failure> {
        let deadline = Instant::now() + PATIENCE;
        while !answers() {
            let ended = self.child.try_wait()?.map(|status| format!("ended ({status})"));
            let late = || (Instant::now() > deadline).then(|| "does not answer".to_owned());
            if let Some(how) = ended.or_else(late) {
                return Err(Failure(format!("{} {how}; the end of its log:\n{}", self.name, self.last_words())));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    fn last_words(&self) -> String {
        let text = std::fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        let pid = i32::try_from(self.id()).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid {
            let _ = kill_process(pid, Signal::TERM);
        }
        let deadline = Instant::now() + PATIENCE;
        while matches!(self.child.try_wait(), Ok(None)) {
            if Instant::now() > deadline {
                let _ = self.child.kill();
                let _ = self.child.wait();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// A TCP port of this machine that nobody listens at.
pub(crate) fn free_port() -> Result<u16, Failure> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).while_doing("find a free port")?;
    Ok(listener.local_addr()?.port())
}

/// Whether somebody listens there.
pub(crate) fn listens(port: u16) -> bool {
    TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).is_ok()
}
