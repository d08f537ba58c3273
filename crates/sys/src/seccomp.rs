//! Loading a seccomp filter: the one system call, and the shape of an instruction.
//!
//! What a filter says is not decided here.

#![allow(unsafe_code)]

use std::io;

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

/// Puts the calling thread, and all that it will execute, under `filter`.
///
/// Needs `no_new_privs` or `CAP_SYS_ADMIN`. Allocates nothing, so it may run between clone and exec.
///
/// # Errors
/// As seccomp(2): `EINVAL` for a filter the kernel's checker refuses or one longer than 4096 instructions, `EACCES`
/// without the privilege.
pub fn load(filter: &[Instruction], flags: u32) -> io::Result<()> {
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
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
