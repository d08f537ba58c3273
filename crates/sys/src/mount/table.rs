//! Which mounts there are, and by what they are known.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use rustix::fs::{AtFlags, StatxFlags};

/// A line of proc_pid_mountinfo(5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The mount's id.
    pub id: u64,
    /// The id of the one that it lies on.
    pub parent: u64,
    /// The file system's device, `major:minor`.
    pub device: &'a [u8],
    /// What of the file system it shows, as it is written there.
    pub root: &'a [u8],
    /// Where it is mounted, as it is written there.
    written: &'a [u8],
    /// The file system's type.
    pub kind: &'a [u8],
}

impl Entry<'_> {
    /// Where it is mounted.
    #[must_use]
    pub fn place(&self) -> PathBuf {
        unescape(self.written)
    }
}

/// The mounts in the text of proc_pid_mountinfo(5), in its order.
pub fn table(text: &[u8]) -> impl Iterator<Item = Entry<'_>> {
    text.split(|byte| *byte == b'\n').filter_map(|line| {
        let mut fields = line.split(|byte| *byte == b' ');
        let mut number = || std::str::from_utf8(fields.next()?).ok()?.parse().ok();
        let (id, parent) = (number()?, number()?);
        let (device, root, written) = (fields.next()?, fields.next()?, fields.next()?);
        let kind = fields.skip_while(|field| *field != b"-").nth(1)?;
        Some(Entry { id, parent, device, root, written, kind })
    })
}

/// A path as proc_pid_mountinfo(5) has it, with its spaces.
fn unescape(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, tail @ ..] = rest {
        let octal = |digits: &[u8]| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok();
        match (first, tail.get(..3).and_then(octal)) {
            (b'\\', Some(byte)) => {
                bytes.push(byte);
                rest = &tail[3..];
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    PathBuf::from(std::ffi::OsString::from_vec(bytes))
}

/// An id of the mount behind `fd` that no other mount gets until the machine starts again; none before Linux 6.8.
///
/// # Errors
/// As statx(2).
pub fn unique_mount_id(fd: impl AsFd) -> io::Result<Option<u64>> {
    // STATX_MNT_ID_UNIQUE, <linux/stat.h>: a kernel that does not know it gives the other kind, and says so.
    let unique = StatxFlags::from_bits_retain(0x4000);
    let stat = rustix::fs::statx(fd, "", AtFlags::EMPTY_PATH, unique)?;
    Ok((stat.stx_mask & unique.bits() != 0).then_some(stat.stx_mnt_id))
}

/// Whether a mount is in the caller's mount namespace, by its [`unique_mount_id`].
///
/// # Errors
/// As statmount(2): `ENOSYS` before Linux 6.8.
pub fn exists(unique: u64) -> io::Result<bool> {
    /// `struct mnt_id_req` of <linux/mount.h>, in its first version.
    #[repr(C)]
    struct Request {
        size: u32,
        spare: u32,
        mount: u64,
        wanted: u64,
    }
    /// `STATMOUNT_MNT_BASIC`
    const BASIC: u64 = 2;
    const STATMOUNT: libc::c_long = 457;
    let size = 24;
    let request = Request { size, spare: 0, mount: unique, wanted: BASIC };
    let mut answer = [0_u64; 64];
    // SAFETY: the kernel reads a request of the size that it names, and writes no more than the length of the answer.
    let result = unsafe {
        libc::syscall(STATMOUNT, &raw const request, answer.as_mut_ptr(), size_of_val(&answer), 0 as libc::c_ulong)
    };
    match check(result) {
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
        other => other.map(|()| true),
    }
}

pub(super) fn check(result: libc::c_long) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The id of the mount that `path`, seen from a directory, lies on, as proc_pid_mountinfo(5) has it too.
///
/// # Errors
/// As statx(2).
pub fn mount_id(directory: impl AsFd, path: &str) -> io::Result<u64> {
    let flags = if path.is_empty() { AtFlags::EMPTY_PATH } else { AtFlags::empty() };
    Ok(rustix::fs::statx(directory, path, flags, StatxFlags::MNT_ID)?.stx_mnt_id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mount_table_is_read_with_the_spaces_of_its_paths() {
        let text = br"22 1 0:20 / /a\040b\134c rw shared:3 - proc proc rw
23 22 0:20 / /a\040b\134c rw - proc proc rw
24 23 0:21 /part /plain\04 rw master:3 propagate_from:2 - tmpfs tmpfs rw

no mount at all
";
        let found: Vec<_> = table(text).collect();
        let places: Vec<_> = found.iter().map(|entry| (entry.id, entry.parent, entry.place())).collect();
        let [a, b] = [r"/a b\c", r"/plain\04"].map(PathBuf::from);
        assert_eq!(places, [(22, 1, a.clone()), (23, 22, a), (24, 23, b)]);
        assert_eq!((found[2].kind, found[2].device, found[2].root), (&b"tmpfs"[..], &b"0:21"[..], &b"/part"[..]));
        assert!(found[1].device == found[0].device);
    }
}
