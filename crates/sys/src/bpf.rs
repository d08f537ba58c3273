//! bpf(2), as far as a device filter of cgroup v2 needs it: load a program, attach it to a cgroup, replace it.
//!
//! What the program decides is not known here.

#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

const PROGRAM_LOAD: u32 = 5;
const PROGRAM_ATTACH: u32 = 8;
const PROGRAM_BY_ID: u32 = 13;
const PROGRAM_QUERY: u32 = 16;
const TYPE_CGROUP_DEVICE: u32 = 15;
const ATTACH_CGROUP_DEVICE: u32 = 6;
const ALLOW_MULTI: u32 = 1 << 1;
const REPLACE: u32 = 1 << 2;

/// One instruction of the extended BPF machine, `struct bpf_insn`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instruction {
    /// Operation.
    pub code: u8,
    /// Destination register in the low half, source register in the high half.
    pub registers: u8,
    /// Jump distance or memory offset.
    pub offset: i16,
    /// Operand.
    pub immediate: i32,
}

/// `union bpf_attr`, as `PROG_LOAD` reads it.
#[repr(C)]
#[derive(Default)]
struct Load {
    kind: u32,
    count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
}

/// `union bpf_attr`, as `PROG_ATTACH` reads it.
#[repr(C)]
#[derive(Default)]
struct Attach {
    target: u32,
    program: u32,
    kind: u32,
    flags: u32,
    replaced: u32,
}

/// `union bpf_attr`, as `PROG_QUERY` reads it.
#[repr(C)]
#[derive(Default)]
struct Query {
    target: u32,
    kind: u32,
    query_flags: u32,
    attach_flags: u32,
    ids: u64,
    count: u32,
    padding: u32,
}

/// `union bpf_attr`, as `PROG_GET_FD_BY_ID` reads it.
#[repr(C)]
#[derive(Default)]
struct ById {
    id: u32,
    next: u32,
    flags: u32,
}

/// Loads a device filter, a program that gets `struct bpf_cgroup_dev_ctx` and answers 1 (allow) or 0.
///
/// # Errors
/// As bpf(2); `EINVAL` or `EACCES` for a program the verifier refuses.
pub fn load_device_filter(program: &[Instruction]) -> io::Result<OwnedFd> {
    let mut request = Load {
        kind: TYPE_CGROUP_DEVICE,
        count: u32::try_from(program.len()).unwrap_or(u32::MAX),
        instructions: program.as_ptr() as u64,
        license: c"Apache".as_ptr() as u64,
        ..Load::default()
    };
    let fd = call(PROGRAM_LOAD, &mut request)?;
    // SAFETY: the kernel made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Attaches a device filter to the cgroup v2 directory `cgroup`, in the place of the one attached before, if any.
///
/// Cgroups below can only narrow it.
///
/// # Errors
/// As bpf(2).
pub fn attach_device_filter(cgroup: impl AsFd, program: impl AsFd) -> io::Result<()> {
    let target = cgroup.as_fd().as_raw_fd() as u32;
    let before = attached(target)?;
    let mut request = Attach {
        target,
        program: program.as_fd().as_raw_fd() as u32,
        kind: ATTACH_CGROUP_DEVICE,
        flags: ALLOW_MULTI,
        ..Attach::default()
    };
    if let Some(before) = &before {
        request.flags |= REPLACE;
        request.replaced = before.as_raw_fd() as u32;
    }
    call(PROGRAM_ATTACH, &mut request).map(drop)
}

fn attached(target: u32) -> io::Result<Option<OwnedFd>> {
    let mut id = 0_u32;
    let mut query =
        Query { target, kind: ATTACH_CGROUP_DEVICE, ids: (&raw mut id) as u64, count: 1, ..Query::default() };
    call(PROGRAM_QUERY, &mut query)?;
    if query.count == 0 || id == 0 {
        return Ok(None);
    }
    let fd = call(PROGRAM_BY_ID, &mut ById { id, ..ById::default() })?;
    // SAFETY: the kernel made this descriptor for us.
    Ok(Some(unsafe { OwnedFd::from_raw_fd(fd) }))
}

fn call<T>(command: u32, request: &mut T) -> io::Result<i32> {
    // SAFETY: `T` is one of the structs above, laid out as the start of `union bpf_attr` for its command; the kernel
    // takes the rest as zero. Pointers in it lead to memory that the caller holds during the call.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(request), size_of::<T>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(i32::try_from(result).unwrap_or(-1)) }
}
