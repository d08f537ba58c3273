//! `$NOTIFY_SOCKET`: a container that says `READY=1`, as sd_notify(3) has it, is heard by who started the runtime.
//!
//! The container gets a socket of its own in a directory of its own; what it says there is passed on when it begins with
//! `READY=`, with the process to watch, and then the runtime's part is over.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use teu_oci::runtime::{Mount, Spec};
use teu_sys::poll::Interests;

use super::{Failure, state};
use crate::sync;

/// Where the container finds it.
const INSIDE: &str = "/run/notify";

/// The two sockets.
pub(super) struct Notify {
    host: PathBuf,
    directory: PathBuf,
}

impl Notify {
    /// Of a container whose state is in `directory`, if somebody listens.
    pub(super) fn of(directory: &Path) -> Option<Notify> {
        let host = std::env::var_os("NOTIFY_SOCKET").filter(|path| !path.is_empty())?;
        Some(Notify { host: host.into(), directory: directory.join("notify") })
    }

    /// The same, and the spec gets what shows it to the container.
    pub(super) fn plan(directory: &Path, spec: &mut Spec) -> Option<Notify> {
        let notify = Notify::of(directory)?;
        let options = ["bind", "nosuid", "noexec", "nodev", "ro"].map(str::to_owned).to_vec();
        let destination = INSIDE.to_owned();
        spec.mounts.push(Mount { destination, source: Some(notify.directory.clone()), options, ..Mount::default() });
        if let Some(process) = &mut spec.process {
            process.env.push(format!("NOTIFY_SOCKET={INSIDE}/notify.sock"));
        }
        Some(notify)
    }

    pub(super) fn make_directory(&self) -> Result<(), Failure> {
        std::fs::create_dir(&self.directory)
            .map_err(|error| Failure::new(format!("make {}: {error}", self.directory.display())))
    }

    /// Opens the container's socket.
    pub(super) fn listen(&self) -> Result<UnixDatagram, Failure> {
        let path = self.directory.join("notify.sock");
        let bind = || -> io::Result<UnixDatagram> {
            let socket = state::with_short_path(&path, |path| UnixDatagram::bind(path))?;
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o777))?;
            Ok(socket)
        };
        bind().map_err(|error| Failure::new(format!("make {}: {error}", path.display())))
    }

    /// Waits for the container to be ready, or to end, and passes the word on.
    pub(super) fn relay(&self, socket: &UnixDatagram, pid: i32, pidfd: BorrowedFd<'_>) -> Result<(), Failure> {
        let mut buffer = [0; 4096];
        loop {
            let mut interests = Interests::new();
            let heard = interests.add(socket.as_fd(), true, false);
            let ended = interests.add(pidfd, true, false);
            interests.wait(None)?;
            if interests.readable(heard) {
                let length = socket.recv(&mut buffer)?;
                let text = String::from_utf8_lossy(&buffer[..length]);
                if let Some(line) = text.lines().find(|line| line.starts_with("READY=")) {
                    return self.pass_on(line, pid).map_err(|error| Failure::new(format!("notify the host: {error}")));
                }
            } else if interests.readable(ended) {
                return Ok(());
            }
        }
    }

    fn pass_on(&self, ready: &str, pid: i32) -> io::Result<()> {
        let client = UnixDatagram::unbound()?;
        client.connect(&self.host)?;
        client.send(format!("{ready}\n").as_bytes())?;
        client.send(format!("MAINPID={pid}\n").as_bytes())?;
        // The service manager closes its copy when it has seen all that came before.
        let (reader, writer) = io::pipe()?;
        sync::send(client.as_fd(), b"BARRIER=1", &[writer.as_fd()])?;
        drop(writer);
        let mut interests = Interests::new();
        interests.add(reader.as_fd(), true, false);
        interests.wait(Some(std::time::Duration::from_secs(30)))?;
        Ok(())
    }
}
