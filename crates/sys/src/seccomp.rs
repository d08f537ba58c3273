//! Loading a seccomp filter: the one system call, and the shape of an instruction.
//!
//! What a filter says is not decided here.

#![allow(unsafe_code)]

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

/// One instruction of the classic BPF machine, as `struct sock_filter` has it.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instruction {
    /// Operation.
    pub code: u16,
    /// How many instructions to skip when the comparison holds.
    pub jt: u8,
    /// How many to skip when it does not.
    pub jf: u8,
    /// Operand.
    pub k: u32,
}

/// Log every action except allow (`SECCOMP_FILTER_FLAG_LOG`).
pub const FLAG_LOG: u32 = 1 << 1;
/// Leave speculative store bypass alone (`SECCOMP_FILTER_FLAG_SPEC_ALLOW`).
pub const FLAG_SPEC_ALLOW: u32 = 1 << 2;

/// A listener is made, which gets the calls that the filter passes on.
pub const FLAG_NEW_LISTENER: u32 = 1 << 3;
/// A call that waits for a listener's answer is interrupted by fatal signals only.
pub const FLAG_WAIT_KILLABLE: u32 = 1 << 5;

/// Puts the calling thread, and all that it will execute, under `filter`.
///
/// Needs `no_new_privs` or `CAP_SYS_ADMIN`. Allocates nothing, so it may run between clone and exec. With
/// [`FLAG_NEW_LISTENER`] it returns the listener, close-on-exec.
///
/// # Errors
/// As seccomp(2): `EINVAL` for a filter the kernel's checker refuses or one longer than 4096 instructions, `EACCES`
/// without the privilege.
pub fn load(filter: &[Instruction], flags: u32) -> io::Result<Option<OwnedFd>> {
    #[repr(C)]
    struct Program {
        len: libc::c_ushort,
        filter: *const Instruction,
    }
    let Ok(len) = libc::c_ushort::try_from(filter.len()) else {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    };
    let program = Program { len, filter: filter.as_ptr() };
    // SAFETY: `Program` has the layout of `struct sock_fprog` and `Instruction` that of `struct sock_filter`; both
    // live until the call returns and the kernel copies them.
    let result =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, std::ptr::from_ref(&program)) };
    match i32::try_from(result) {
        Ok(0) => Ok(None),
        // SAFETY: with that flag the kernel returns a new descriptor, which nobody else knows.
        Ok(fd) if fd > 0 && flags & FLAG_NEW_LISTENER != 0 => Ok(Some(unsafe { OwnedFd::from_raw_fd(fd) })),
        _ => Err(io::Error::last_os_error()),
    }
}
