//! The program in a place where nobody can write it.
//!
//! A process that enters a container can be made to show its own program there (`/proc/<pid>/exe`, CVE-2019-5736), so
//! the program goes on from a copy of its mount that is read-only and attached nowhere. Who may not say what their
//! program is execute it once more from there.

use std::ffi::{CStr, CString};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;

use rustix::fs::{Access, AtFlags, CWD, MemfdFlags, SealFlags, StatVfsMountFlags};
use teu_sys::mount::{self, Change, attribute};
use teu_sys::process;

use super::Failure;

const SELF: &CStr = c"/proc/self/exe";

/// Returns when the program is one that cannot be written.
pub(super) fn seal() -> Result<(), Failure> {
    let read_only = rustix::fs::statvfs(SELF).is_ok_and(|stat| stat.f_flag.contains(StatVfsMountFlags::RDONLY));
    if read_only || is_sealed_memory() {
        return Ok(());
    }
    let program = match read_only_copy() {
        Ok(program) if go_on_from(&program).is_ok() => return Ok(()),
        Ok(program) => program,
        // An ordinary user has no mounts to copy; what they cannot write, their containers cannot either.
        Err(_) if rustix::fs::accessat(CWD, SELF, Access::WRITE_OK, AtFlags::EACCESS).is_err() => return Ok(()),
        Err(_) => memory_copy().map_err(|error| Failure::new(format!("seal the program: {error}")))?,
    };
    let text = |word: std::ffi::OsString| CString::new(word.into_vec());
    let args = std::env::args_os().map(text).collect::<Result<Vec<_>, _>>();
    let pairs = std::env::vars_os().map(|(mut name, value)| {
        name.push("=");
        name.push(value);
        name
    });
    let env = pairs.map(text).collect::<Result<Vec<_>, _>>();
    let (Ok(args), Ok(env)) = (args, env) else { return Err(Failure::new("a null byte in an argument")) };
    let error = process::execute_file(program, &args.into(), &env.into());
    Err(Failure::new(format!("execute the sealed program: {error}")))
}

fn read_only_copy() -> std::io::Result<OwnedFd> {
    let copy = mount::clone_tree(CWD, std::path::Path::new("/proc/self/exe"), false)?;
    mount::set_attributes(&copy, false, Change { set: attribute::READ_ONLY, ..Change::default() })?;
    Ok(copy)
}

fn go_on_from(program: &OwnedFd) -> std::io::Result<()> {
    let path = format!("/proc/self/fd/{}", program.as_raw_fd());
    teu_sys::program::replace_file(&std::fs::File::open(path)?)
}

fn memory_copy() -> std::io::Result<OwnedFd> {
    let memory = rustix::fs::memfd_create("teu", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut copy = std::fs::File::from(memory);
    std::io::copy(&mut std::fs::File::open("/proc/self/exe")?, &mut copy)?;
    rustix::fs::fcntl_add_seals(&copy, SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
    Ok(copy.into())
}

fn is_sealed_memory() -> bool {
    let Ok(program) = std::fs::File::open("/proc/self/exe") else { return false };
    rustix::fs::fcntl_get_seals(&program).is_ok_and(|seals| seals.contains(SealFlags::WRITE))
}
