//! Credentials of the calling process: ids, groups and the five capability sets, as bit sets.
//!
//! Everything here acts on the calling thread alone, so it is for single-threaded processes. An order that works:
//! bounding set, ids (keeping capabilities), the three process sets, ambient set.

#![allow(unsafe_code)]

use std::io;
use std::sync::OnceLock;

/// The names of capabilities(7), by number.
const NAMES: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// The bit of a capability, by its name with `CAP_`.
pub fn capability(name: &str) -> Option<u64> {
    NAMES.iter().position(|known| *known == name).map(|number| 1 << number)
}

/// The names of the capabilities in `set`, lowest number first.
pub fn capability_names(set: u64) -> Vec<&'static str> {
    NAMES.iter().enumerate().filter(|(number, _)| set & (1 << number) != 0).map(|(_, name)| *name).collect()
}

/// The capabilities that this kernel knows and this process' bounding set held when it was asked first.
pub fn bounding() -> u64 {
    static KNOWN: OnceLock<u64> = OnceLock::new();
    let all = || (0..64).filter(|number| bounded(*number) == Some(true)).fold(0, |set, number| set | 1 << number);
    *KNOWN.get_or_init(all)
}

/// Whether a capability is in the bounding set; none when the kernel does not know it.
fn bounded(number: u64) -> Option<bool> {
    // SAFETY: PR_CAPBSET_READ takes a number and touches no memory.
    match unsafe { libc::prctl(libc::PR_CAPBSET_READ, number, 0, 0, 0) } {
        1 => Some(true),
        0 => Some(false),
        _ => None,
    }
}

/// Takes everything but `keep` out of the bounding set, for good.
///
/// # Errors
/// As prctl(2); `EPERM` without `CAP_SETPCAP`.
pub fn limit_bounding(keep: u64) -> io::Result<()> {
    for number in 0..64_u64 {
        if keep & (1 << number) != 0 {
            continue;
        }
        // SAFETY: PR_CAPBSET_DROP takes a number and touches no memory.
        let Err(error) = check(unsafe { libc::prctl(libc::PR_CAPBSET_DROP, number, 0, 0, 0) }.into()) else { continue };
        match bounded(number) {
            Some(true) => return Err(error),
            Some(false) => {}
            None => break,
        }
    }
    Ok(())
}

/// Sets supplementary groups, then group ids, then user ids (real, effective, saved), keeping the permitted set.
///
/// # Errors
/// As setgroups(2), setresgid(2), setresuid(2).
pub fn set_ids(uid: u32, gid: u32, groups: &[u32]) -> io::Result<()> {
    // SAFETY: each call takes numbers, but for setgroups, which reads `groups.len()` ids.
    unsafe {
        check(libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()))?;
        check(libc::syscall(libc::SYS_setresgid, gid, gid, gid))?;
        check(libc::prctl(libc::PR_SET_KEEPCAPS, 1, 0, 0, 0).into())?;
        check(libc::syscall(libc::SYS_setresuid, uid, uid, uid))
    }
}

/// Sets group ids, then user ids (real, effective, saved), and leaves the groups alone.
///
/// # Errors
/// As setresgid(2), setresuid(2).
pub fn set_ids_only(uid: u32, gid: u32) -> io::Result<()> {
    // SAFETY: each call takes numbers.
    unsafe {
        check(libc::syscall(libc::SYS_setresgid, gid, gid, gid))?;
        check(libc::prctl(libc::PR_SET_KEEPCAPS, 1, 0, 0, 0).into())?;
        check(libc::syscall(libc::SYS_setresuid, uid, uid, uid))
    }
}

/// Makes the calling thread's new files another user's and group's, and keeps its capabilities in force.
///
/// # Errors
/// As setfsuid(2), which says nothing when it is refused: then `EPERM`; as capset(2).
pub fn make_files_as(uid: u32, gid: u32) -> io::Result<()> {
    let sets = current()?;
    // SAFETY: each call takes a number; the second of each pair only asks.
    let (group, user) = unsafe {
        libc::syscall(libc::SYS_setfsgid, gid);
        libc::syscall(libc::SYS_setfsuid, uid);
        (libc::syscall(libc::SYS_setfsgid, u32::MAX), libc::syscall(libc::SYS_setfsuid, u32::MAX))
    };
    if (group, user) != (i64::from(gid), i64::from(uid)) {
        return Err(io::Error::from_raw_os_error(libc::EPERM));
    }
    // Not to be root any more took those for files out of force.
    set_capabilities(sets)
}

/// The three capability sets of the calling thread.
fn current() -> io::Result<ProcessSets> {
    let header = [VERSION_3, 0];
    let mut data = [0_u32; 6];
    // SAFETY: version 3 reads a header of two numbers and writes twice three.
    check(unsafe { libc::syscall(libc::SYS_capget, header.as_ptr(), data.as_mut_ptr()) })?;
    let whole = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
    let [effective, permitted, inheritable, effective_high, permitted_high, inheritable_high] = data;
    Ok(ProcessSets {
        effective: whole(effective, effective_high),
        permitted: whole(permitted, permitted_high),
        inheritable: whole(inheritable, inheritable_high),
    })
}

/// The version of capset(2)'s interface that has 64 bits.
const VERSION_3: u32 = 0x2008_0522;

/// The three capability sets of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessSets {
    /// In force.
    pub effective: u64,
    /// Can be raised.
    pub permitted: u64,
    /// Kept over execve of a file that inherits.
    pub inheritable: u64,
}

/// Sets the three capability sets.
///
/// # Errors
/// As capset(2).
pub fn set_capabilities(sets: ProcessSets) -> io::Result<()> {
    #[repr(C)]
    struct Header {
        version: u32,
        pid: i32,
    }
    #[repr(C)]
    struct Data {
        effective: u32,
        permitted: u32,
        inheritable: u32,
    }
    let half = |shift: u32| Data {
        effective: (sets.effective >> shift) as u32,
        permitted: (sets.permitted >> shift) as u32,
        inheritable: (sets.inheritable >> shift) as u32,
    };
    let header = Header { version: VERSION_3, pid: 0 };
    let data = [half(0), half(32)];
    // SAFETY: version 3 reads two `Data` after one `Header`, which is what it gets.
    check(unsafe { libc::syscall(libc::SYS_capset, &raw const header, data.as_ptr()) })
}

/// Makes the ambient set exactly `set`, whose members must be permitted and inheritable.
///
/// # Errors
/// As prctl(2).
pub fn set_ambient(set: u64) -> io::Result<()> {
    // SAFETY: PR_CAP_AMBIENT takes numbers and touches no memory.
    check(unsafe { libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) }.into())?;
    for number in (0..64_u64).filter(|number| set & (1 << number) != 0) {
        // SAFETY: as above.
        check(unsafe { libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_RAISE, number, 0, 0) }.into())?;
    }
    Ok(())
}

/// Promises that no execve gives a privilege that the process lacks.
///
/// # Errors
/// As prctl(2).
pub fn set_no_new_privileges() -> io::Result<()> {
    Ok(rustix::thread::set_no_new_privs(true)?)
}

fn check(result: i64) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_bits_agree_with_the_kernel_header() {
        assert_eq!(capability("CAP_CHOWN"), Some(1));
        assert_eq!(capability("CAP_SYS_ADMIN"), Some(1 << 21));
        assert_eq!(capability("CAP_SETFCAP"), Some(1 << 31));
        assert_eq!(capability("CAP_CHECKPOINT_RESTORE"), Some(1 << 40));
        assert_eq!(capability("CHOWN"), None);
        assert_eq!(capability_names(0b11), ["CAP_CHOWN", "CAP_DAC_OVERRIDE"]);
    }
}
