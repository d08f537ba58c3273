//! What the parent and the container's process say to each other, one datagram each, on a pair of sockets.
//!
//! ```text
//!  parent (supervisor)                                init (pid 1 of the container)
//!  cgroup
//!  clone3 ───────────────────────────────────────────▶ namespaces joined
//!  user namespace: write its maps
//!                                     Mounts ─────────▶ root, mounts, devices, masks
//!  v1: make its directories
//!                                     Mounts ─────────▶ those that show the cgroup, and what comes after
//!                   Want(what is in the root) ◀──▶ Supplied
//!  v1: write its pid to cgroup.procs
//!                                     Placed ─────────▶ cgroup namespace, limits
//!  (sets limits and compiles the filter meanwhile)
//!  hooks              ◀────────── Built, before pivot_root
//!                                     Go(pid) ────────▶ createContainer hooks
//!  without a mount namespace: see `shown`
//!                                     ◀────────── Ready (+ terminal's master side)
//!  Created
//!  …the caller plugs in the network…
//!                                     Start(filter) ──▶ startContainer hooks, identity, filter
//!  notification               ◀────────── Listener(descriptor)
//!                                     Heard ──────────▶ execve
//!                                     ◀──────────────── end of file: the program runs
//!  at any time instead                ◀────────── Failed(Error)
//! ```
//!
//! With a gate (a listening socket that has a path) the parent may leave before the start: instead of Start it says
//! Hold(filter), and whoever comes to the gate later says Start and hears the rest.
//!
//! An exec speaks the same language, without Placed, and with its filter in memory: Ready, then end of file or Failed.
//! When the parent's side closes, init ends: a container that nobody holds does not linger.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType};
use serde::{Deserialize, Serialize};
pub(crate) use teu_sys::socket::{MOST_DESCRIPTORS, receive as take, send};

use crate::Error;
use crate::credentials::Filter;
use crate::error::During;

/// What mounts are sent with.
pub(crate) const MOUNTS: &[u8] = b"m";
/// The longest message in either direction but for a filter.
const LONGEST: usize = 8192;
/// The longest filter the kernel takes, in bytes, and its header.
const LONGEST_FILTER: usize = 4096 * 8 + 5;

/// What the container's process says.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Report {
    /// It needs this mount of its plan now.
    Want(usize),
    /// The root is built and waits for hooks.
    Built,
    /// The tree is complete, and a copy of it comes along to be shown.
    Whole,
    /// Everything is in place.
    Ready,
    /// The filter is in force, and its listener has this number here.
    Listener(i32),
    /// It cannot go on.
    Failed(Error),
}

/// What the parent says to init.
#[derive(Debug)]
pub(crate) enum Order {
    /// The next mounts of the host's tree.
    Mounts(Vec<OwnedFd>),
    /// It is in its cgroups.
    Placed,
    /// The mount that it wanted, or what it takes to be shown.
    Supplied(OwnedFd),
    /// The runtime's hooks are over, or its tree is shown; the number is init's process id outside.
    Go(i32),
    /// Execute the program, under this filter.
    Start(Option<Filter>),
    /// Wait at the gate for the one who says start.
    Hold(Option<Filter>),
    /// The listener has found its reader.
    Heard,
}

/// A pair of connected sockets, close-on-exec.
pub(crate) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

/// Sends a report, perhaps with a descriptor. One that is too long loses its words, not its meaning.
pub(crate) fn report(socket: BorrowedFd<'_>, report: &Report, fd: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let mut text = serde_json::to_vec(report)?;
    if text.len() > LONGEST {
        let step = "make the container (the reason is too long to be told)".to_owned();
        text = serde_json::to_vec(&Report::Failed(Error::Step {
            step,
            errno: rustix::io::Errno::MSGSIZE.raw_os_error(),
        }))?;
    }
    if matches!(report, Report::Listener(_)) {
        // By the one call that a filter with a listener lets through.
        rustix::io::write(socket, &text)?;
        return Ok(());
    }
    send(socket, &text, fd.as_slice())
}

/// Receives a report; none at the end of file.
pub(crate) fn receive(socket: BorrowedFd<'_>) -> Result<Option<(Report, Option<OwnedFd>)>, Error> {
    let mut text = [0; LONGEST];
    let (length, mut fds) = take(socket, &mut text).during("hear from the container")?;
    if length == 0 {
        return Ok(None);
    }
    let report = serde_json::from_slice(&text[..length]).map_err(io::Error::from).during("understand the container")?;
    Ok(Some((report, fds.pop())))
}

/// Gives an order.
pub(crate) fn order(socket: BorrowedFd<'_>, order: &Order) -> io::Result<()> {
    match order {
        Order::Mounts(mounts) => crate::sources::send(mounts, socket),
        Order::Placed => send(socket, b"p", &[]),
        Order::Supplied(mount) => send(socket, b"w", &[mount.as_fd()]),
        Order::Go(pid) => {
            let [a, b, c, d] = pid.to_ne_bytes();
            send(socket, &[b'g', a, b, c, d], &[])
        }
        Order::Heard => send(socket, b"a", &[]),
        Order::Start(None) => send(socket, b"s", &[]),
        Order::Hold(None) => send(socket, b"h", &[]),
        Order::Start(Some(filter)) | Order::Hold(Some(filter)) => {
            let mut bytes = vec![if matches!(order, Order::Hold(_)) { b'F' } else { b'f' }];
            bytes.extend(filter.to_bytes());
            send(socket, &bytes, &[])
        }
    }
}

/// Waits for an order; none when the parent is gone.
pub(crate) fn obey(socket: BorrowedFd<'_>) -> io::Result<Option<Order>> {
    let mut bytes = vec![0; LONGEST_FILTER];
    let (length, mut fds) = take(socket, &mut bytes)?;
    Ok(match &bytes[..length] {
        MOUNTS => Some(Order::Mounts(fds)),
        [b'p'] => Some(Order::Placed),
        [b'w'] => fds.pop().map(Order::Supplied),
        [b'g', a, b, c, d] => Some(Order::Go(i32::from_ne_bytes([*a, *b, *c, *d]))),
        [b'a'] => Some(Order::Heard),
        [b's'] => Some(Order::Start(None)),
        [b'h'] => Some(Order::Hold(None)),
        [kind @ (b'f' | b'F'), rest @ ..] => {
            let filter = Filter::from_bytes(rest);
            Some(if *kind == b'F' { Order::Hold(filter) } else { Order::Start(filter) })
        }
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use teu_sys::seccomp::Instruction;

    use super::*;

    #[test]
    fn a_filter_arrives_as_it_was_sent() {
        let (one, two) = pair().expect("pair");
        let instruction = Instruction { code: 0x15, jt: 3, jf: 4, k: 0xdead_beef };
        let filter = Filter { instructions: vec![instruction; 600], flags: 2 };
        order(one.as_fd(), &Order::Start(Some(filter.clone()))).expect("send");
        let Some(Order::Start(Some(received))) = obey(two.as_fd()).expect("receive") else { panic!("no filter") };
        assert_eq!((received.instructions, received.flags), (filter.instructions, 2));
        drop(one);
        assert!(obey(two.as_fd()).expect("receive").is_none());
    }

    #[test]
    fn an_error_of_any_length_is_told() {
        let (one, two) = pair().expect("pair");
        let error = Error::NoSuchProgram { name: "x".repeat(100_000) };
        report(one.as_fd(), &Report::Failed(error), None).expect("send");
        let (told, fd) = receive(two.as_fd()).expect("receive").expect("a report");
        assert!(matches!(told, Report::Failed(Error::Step { .. })) && fd.is_none());
    }
}
