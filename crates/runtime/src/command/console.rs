//! Descriptors sent to whoever waits for them at a Unix socket: a terminal's master side, a process.

use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use super::{Failure, state};
use crate::sync;

/// Sends one descriptor, with a name beside it, to the socket at `path`.
pub(super) fn send(path: &Path, name: &[u8], fd: BorrowedFd<'_>) -> Result<(), Failure> {
    let send = || {
        let socket = state::with_short_path(path, |path| UnixStream::connect(path))?;
        sync::send(socket.as_fd(), name, &[fd])
    };
    send().map_err(|error: std::io::Error| Failure::new(format!("dial unix {}: {error}", path.display())))
}
