//! Starting the daemon when none answers.
//!
//! The daemon is this very program, detached: a session of its own, standard streams at a log. Several clients may do
//! this at once; the daemon itself lets only one live, and every client waits for the socket, whoever owns it.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tokio::net::UnixStream;

use super::is_absent;
use crate::endpoint::{Host, runtime_folder};
use crate::failure::{Failure, Naming};

/// How long a daemon may take until its socket answers.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often the socket is tried.
const STEP: Duration = Duration::from_millis(5);
/// How many lines of the daemon's log a failure shows.
const TAIL: usize = 10;

/// Starts a daemon and connects to it.
pub(super) async fn start(host: &Host, socket: &Path) -> Result<UnixStream, Failure> {
    let folder = std::env::var_os("TEU_EXEC_ROOT").map_or_else(runtime_folder, PathBuf::from);
    let log = folder.join("daemon.log");
    let mut daemon = spawn(host, &folder, &log)?;
    let deadline = Instant::now() + PATIENCE;
    let mut ended = None;
    loop {
        match UnixStream::connect(socket).await {
            Ok(stream) => return Ok(stream),
            Err(error) if is_absent(&error) => {}
            Err(error) => return Err(super::unreachable(&host.address, &error)),
        }
        if ended.is_none() {
            ended = daemon.try_wait().or_fail("watch the daemon")?.map(|status| (status, Instant::now()));
        }
        // A daemon that lost the race against another one ends at once; the winner's socket is soon there.
        let gone = ended.filter(|(_, since)| since.elapsed() > Duration::from_secs(1));
        if gone.is_some() || Instant::now() > deadline {
            let how = gone.map_or("does not answer".to_owned(), |(status, _)| format!("ended ({status})"));
            return Err(failure(&how, &log));
        }
        tokio::time::sleep(STEP).await;
    }
}

fn spawn(host: &Host, folder: &Path, log: &Path) -> Result<Child, Failure> {
    let program = std::env::current_exe().or_fail("find this program")?;
    let mut command = Command::new(program);
    command.args(["daemon", "--detached"]);
    if host.named {
        command.arg("--host").arg(host.address.to_string());
    }
    let (out, err) = match open_log(folder, log) {
        Ok((out, err)) => (Stdio::from(out), Stdio::from(err)),
        Err(_) => (Stdio::null(), Stdio::null()),
    };
    command.stdin(Stdio::null()).stdout(out).stderr(err).current_dir("/");
    command.spawn().or_fail("start the daemon")
}

/// A fresh log: the one before belongs to a daemon that is gone.
fn open_log(folder: &Path, log: &Path) -> io::Result<(File, File)> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let file = OpenOptions::new().create(true).append(true).open(log)?;
    if file.metadata()?.len() > 1 << 20 {
        file.set_len(0)?;
    }
    Ok((file.try_clone()?, file))
}

fn failure(how: &str, log: &Path) -> Failure {
    let text = std::fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let tail = lines[lines.len().saturating_sub(TAIL)..].join("\n");
    let message = match tail.is_empty() {
        true => format!("start the daemon: it {how}"),
        false => format!("start the daemon: it {how}\n{tail}"),
    };
    Failure::new(message).hint("see why with 'teu daemon' in another terminal")
}
