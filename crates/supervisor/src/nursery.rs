//! Where supervisors come from: a small process that stands ready to be copied.
//!
//! A copy of a process that has started costs a tenth of starting one, and what all supervisors need (the filters in
//! [`Stock`]) is made once and shared by all copies. The daemon has one nursery and speaks to it on a socket:
//!
//! ```text
//!  p <spec, JSON>                      make the filters that containers like this one need, and keep them
//!  s <task directory>  + listener      become a supervisor, in a copy, that waits for a container
//! ```
//!
//! One datagram each, no answers: a supervisor answers for itself on its own socket. When the daemon is gone the nursery
//! ends; its supervisors go on. Deliberately absent: threads, and anything that a supervisor must not inherit.

use std::ffi::OsStr;
use std::os::fd::{AsFd, IntoRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use teu_runtime::Stock;
use teu_sys::{process, signal, socket};

const SIGCHLD: i32 = 17;
/// The longest message: a spec with its filter is some 30 KiB.
const LONGEST: usize = 128 << 10;

/// Serves the daemon until it is gone: the main function of `teu supervise --nursery`.
pub fn nursery(daemon: OwnedFd) -> u8 {
    if crate::run::let_go().is_err() || signal::ignore(SIGCHLD).is_err() {
        return 1;
    }
    let _ = rustix::thread::set_name(c"teu-nursery");
    let (mut daemon, mut stock) = (Some(daemon), Stock::default());
    let mut message = vec![0; LONGEST];
    while let Some((length, mut fds)) = daemon.as_ref().and_then(|fd| socket::receive(fd.as_fd(), &mut message).ok()) {
        match (&message[..length], fds.pop()) {
            ([], _) => break,
            ([b'p', spec @ ..], _) => {
                // Without stock every container makes its own filters.
                stock = serde_json::from_slice(spec).ok().and_then(|spec| Stock::of(&spec).ok()).unwrap_or_default();
            }
            ([b's', dir @ ..], Some(listener)) => {
                // The daemon notices when nobody answers on the socket.
                let _ = process::spawn(0, None, || become_supervisor(&mut daemon, dir, listener, &stock));
            }
            _ => {}
        }
    }
    0
}

fn become_supervisor(daemon: &mut Option<OwnedFd>, dir: &[u8], listener: OwnedFd, stock: &Stock) -> i32 {
    drop(daemon.take());
    signal::restore_defaults();
    i32::from(!crate::run::supervise(Path::new(OsStr::from_bytes(dir)), listener.into_raw_fd(), true, stock))
}
