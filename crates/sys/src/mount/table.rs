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
    /// What it was made of, as it is written there: anything, for a file system that is made of nothing.
    pub source: &'a [u8],
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
        let mut rest = fields.skip_while(|field| *field != b"-").skip(1);
        Some(Entry { id, parent, device, root, written, kind: rest.next()?, source: rest.next()? })
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
24 23 0:21 /part /plain\04 rw master:3 propagate_from:2 - tmpfs mine rw

no mount at all
";
        let found: Vec<_> = table(text).collect();
        let places: Vec<_> = found.iter().map(|entry| (entry.id, entry.parent, entry.place())).collect();
        let [a, b] = [r"/a b\c", r"/plain\04"].map(PathBuf::from);
        assert_eq!(places, [(22, 1, a.clone()), (23, 22, a), (24, 23, b)]);
        let last = found[2];
        let told = [last.kind, last.source, last.device, last.root].map(String::from_utf8_lossy);
        assert_eq!(told, ["tmpfs", "mine", "0:21", "/part"]);
    }
}
