//! Namespaces: the kinds as flags, leaving one and entering one.

#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// Mounts.
pub const MOUNT: u64 = libc::CLONE_NEWNS as u64;
/// Process ids.
pub const PID: u64 = libc::CLONE_NEWPID as u64;
/// Host and domain name.
pub const UTS: u64 = libc::CLONE_NEWUTS as u64;
/// System V IPC and POSIX queues.
pub const IPC: u64 = libc::CLONE_NEWIPC as u64;
/// Network.
pub const NETWORK: u64 = libc::CLONE_NEWNET as u64;
/// The view of cgroups.
pub const CGROUP: u64 = libc::CLONE_NEWCGROUP as u64;
/// Ids and capabilities.
pub const USER: u64 = libc::CLONE_NEWUSER as u64;
/// Clocks.
pub const TIME: u64 = 0x80;

/// Moves the caller into the namespaces of `kinds` that `fd` stands for: a file of `/proc/<pid>/ns`, or a pidfd.
///
/// For `PID` it is the caller's later children that move. Single-threaded callers only, as the kernel demands for
/// `MOUNT` and `USER`.
///
/// # Errors
/// As setns(2).
pub fn enter(fd: impl AsFd, kinds: u64) -> io::Result<()> {
    // SAFETY: setns reads nothing through a pointer; which namespaces a process is in breaks no invariant of Rust's.
    check(unsafe { libc::syscall(libc::SYS_setns, fd.as_fd().as_raw_fd(), kinds) })
}

/// Moves the caller into new namespaces of `kinds` (for `PID`, its later children).
///
/// # Errors
/// As unshare(2); `EINVAL` when `kinds` holds anything but kinds of namespaces.
pub fn unshare(kinds: u64) -> io::Result<()> {
    if kinds & !(MOUNT | PID | UTS | IPC | NETWORK | CGROUP | USER | TIME) != 0 {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    // SAFETY: only namespaces are unshared; in particular not the descriptor table.
    check(unsafe { libc::syscall(libc::SYS_unshare, kinds) })
}

/// Gives the calling thread a root and working directory of its own, which entering a mount namespace takes.
///
/// # Errors
/// As unshare(2).
pub fn leave_files() -> io::Result<()> {
    // SAFETY: only the root, the working directory and the umask stop being shared with other threads.
    check(unsafe { libc::syscall(libc::SYS_unshare, libc::CLONE_FS) })
}

fn check(result: i64) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
