//! Where and when a process runs: scheduler, processors, I/O priority, memory nodes, execution domain, session keyring.
//!
//! Everything here acts on the calling thread; numbers are the kernel's.

#![allow(unsafe_code)]

use std::ffi::CStr;
use std::io;

/// `struct sched_attr`, sched_setattr(2).
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Attributes {
    size: u32,
    /// `SCHED_*`.
    pub policy: u32,
    /// `SCHED_FLAG_*`.
    pub flags: u64,
    /// For the policies that share time.
    pub nice: i32,
    /// For the policies that do not.
    pub priority: u32,
    /// For deadlines, nanoseconds.
    pub runtime: u64,
    /// For deadlines, nanoseconds.
    pub deadline: u64,
    /// For deadlines, nanoseconds.
    pub period: u64,
}

/// Sets how the caller is scheduled.
///
/// # Errors
/// As sched_setattr(2).
pub fn set(attributes: Attributes) -> io::Result<()> {
    let attributes = Attributes { size: u32::try_from(size_of::<Attributes>()).unwrap_or(48), ..attributes };
    // SAFETY: the kernel reads `size` bytes of the struct, which has the layout of its first version.
    check(unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) })
}

/// Lets the caller run on `processors` only.
///
/// # Errors
/// As sched_setaffinity(2); `EINVAL` when none of them is there.
pub fn set_processors(processors: &[u32]) -> io::Result<()> {
    let mut words = vec![0_u64; 128];
    for &number in processors {
        let word = words.get_mut(number as usize / 64).ok_or(io::Error::from_raw_os_error(libc::EINVAL))?;
        *word |= 1 << (number % 64);
    }
    // SAFETY: the kernel reads as many bytes of the mask as it is told.
    check(unsafe { libc::syscall(libc::SYS_sched_setaffinity, 0, words.len() * 8, words.as_ptr()) })
}

/// Lets the caller run on every processor that its cgroup allows.
///
/// # Errors
/// As sched_setaffinity(2).
pub fn set_all_processors() -> io::Result<()> {
    let words = [u64::MAX; 128];
    // SAFETY: the kernel reads as many bytes of the mask as it is told.
    check(unsafe { libc::syscall(libc::SYS_sched_setaffinity, 0, size_of_val(&words), words.as_ptr()) })
}

/// Sets the caller's I/O priority: `class << 13 | priority`.
///
/// # Errors
/// As ioprio_set(2).
pub fn set_io_priority(value: i32) -> io::Result<()> {
    const PROCESS: i32 = 1;
    // SAFETY: the call takes numbers.
    check(unsafe { libc::syscall(libc::SYS_ioprio_set, PROCESS, 0, value) })
}

/// Sets from which `nodes` the caller's memory comes; `mode` is `MPOL_*` with its flags.
///
/// # Errors
/// As set_mempolicy(2).
pub fn set_memory_policy(mode: u32, nodes: &[u32]) -> io::Result<()> {
    let mut words = [0_u64; 16];
    for &number in nodes {
        let word = words.get_mut(number as usize / 64).ok_or(io::Error::from_raw_os_error(libc::EINVAL))?;
        *word |= 1 << (number % 64);
    }
    let (mask, bits) = if nodes.is_empty() { (std::ptr::null(), 0) } else { (words.as_ptr(), words.len() * 64) };
    // SAFETY: the kernel reads `bits` bits of the mask.
    check(unsafe { libc::syscall(libc::SYS_set_mempolicy, mode, mask, bits) })
}

/// Sets the caller's execution domain, personality(2).
///
/// # Errors
/// As personality(2).
pub fn set_personality(domain: u64) -> io::Result<()> {
    // SAFETY: the call takes a number.
    check(unsafe { libc::syscall(libc::SYS_personality, domain) })
}

/// Gives the caller a session keyring of its own, keyrings(7).
///
/// # Errors
/// As keyctl(2): `EDQUOT` when the user has too many, `ENOSYS` on a kernel without keys.
pub fn new_session_keyring(name: &CStr) -> io::Result<()> {
    const JOIN_SESSION_KEYRING: i32 = 1;
    // SAFETY: the name ends with a null byte.
    check(unsafe { libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, name.as_ptr()) })
}

fn check(result: i64) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_struct_has_the_size_of_its_first_version() {
        assert_eq!(size_of::<Attributes>(), 48);
    }

    #[test]
    fn a_processor_that_is_not_there_is_refused() {
        assert_eq!(set_processors(&[]).expect_err("refused").raw_os_error(), Some(libc::EINVAL));
    }
}
