//! The writer: headers with PAX records only where a value does not fit, so the same tree gives the same bytes.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;

use teu_sys::fs::Time;

use super::header::{BLOCK, Fields, OCTAL_8, OCTAL_12};
use super::pax::{push_record, render_time, xattr_key};

/// What is copied at once.
const BUFFER: usize = 1 << 17;

/// An entry to write.
#[derive(Default)]
pub(crate) struct Head<'h> {
    /// With a trailing slash if it is a directory.
    pub(crate) name: &'h [u8],
    /// The type flag.
    pub(crate) kind: u8,
    pub(crate) link: &'h [u8],
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) size: u64,
    pub(crate) mtime: Time,
    pub(crate) device: (u32, u32),
    /// In order of their names.
    pub(crate) xattrs: &'h [(OsString, Vec<u8>)],
}

/// A tar stream being written. Errors are the stream's.
pub(crate) struct Writer<'w> {
    out: &'w mut dyn Write,
    buffer: Vec<u8>,
}

impl<'w> Writer<'w> {
    pub(crate) fn new(out: &'w mut dyn Write) -> Self {
        Self { out, buffer: vec![0; BUFFER] }
    }

    pub(crate) fn head(&mut self, head: &Head<'_>) -> io::Result<()> {
        let mut records = Vec::new();
        let split = split(head.name);
        if split.is_none() {
            push_record(&mut records, b"path", head.name);
        }
        if !fits(head.link) {
            push_record(&mut records, b"linkpath", head.link);
        }
        let mtime = u64::try_from(head.mtime.seconds).ok().filter(|seconds| *seconds <= OCTAL_12);
        if mtime.is_none() || head.mtime.nanoseconds != 0 {
            push_record(&mut records, b"mtime", render_time(head.mtime).as_bytes());
        }
        let mut number = |key: &[u8], value: u64, limit: u64| {
            if value > limit {
                push_record(&mut records, key, value.to_string().as_bytes());
            }
            if value > limit { 0 } else { value }
        };
        let (uid, gid) = (number(b"uid", head.uid.into(), OCTAL_8), number(b"gid", head.gid.into(), OCTAL_8));
        let size = number(b"size", head.size, OCTAL_12);
        for (attribute, value) in head.xattrs {
            push_record(&mut records, &xattr_key(attribute.as_bytes()), value);
        }
        self.extension(head.name, &records)?;
        let (prefix, name) = split.unwrap_or((b"", head.name));
        let (kind, link, mode, device) = (head.kind, head.link, head.mode, head.device);
        let fields = Fields { kind, prefix, name, link, mode, uid, gid, size, mtime: mtime.unwrap_or(0), device };
        self.out.write_all(&fields.render())
    }

    /// Exactly `size` bytes of data: what the file has lost meanwhile is zeros, what it gained is left out.
    pub(crate) fn data(&mut self, mut file: impl Read, size: u64) -> io::Result<io::Result<()>> {
        let mut left = size;
        let mut read = Ok(());
        while left > 0 {
            let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(BUFFER);
            let count = match file.read(&mut self.buffer[..wanted]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    read = Err(error);
                    break;
                }
                Ok(0) => break,
                Ok(count) => count,
            };
            self.out.write_all(&self.buffer[..count])?;
            left -= count as u64;
        }
        if read.is_ok() {
            let padding = size.next_multiple_of(BLOCK as u64) - size;
            self.zeros(left + padding)?;
        }
        Ok(read)
    }

    /// The two blocks at the end.
    pub(crate) fn end(&mut self) -> io::Result<()> {
        self.zeros(2 * BLOCK as u64)?;
        self.out.flush()
    }

    fn extension(&mut self, name: &[u8], records: &[u8]) -> io::Result<()> {
        if records.is_empty() {
            return Ok(());
        }
        let name = name.strip_suffix(b"/").unwrap_or(name);
        let last = name.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        let name = [b"PaxHeaders.0/", &last[..last.len().min(80)]].concat();
        let size = records.len() as u64;
        let fields = Fields { kind: b'x', name: &name, mode: 0o644, size, ..Fields::default() };
        self.out.write_all(&fields.render())?;
        self.out.write_all(records)?;
        self.zeros(size.next_multiple_of(BLOCK as u64) - size)
    }

    fn zeros(&mut self, count: u64) -> io::Result<()> {
        io::copy(&mut io::repeat(0).take(count), self.out).map(drop)
    }
}

/// Whether a text goes into a field of 100 bytes; readers disagree about what is not ASCII.
fn fits(text: &[u8]) -> bool {
    text.len() <= 100 && text.is_ascii()
}

/// ustar's prefix and name, cut at a slash.
fn split(name: &[u8]) -> Option<(&[u8], &[u8])> {
    if fits(name) {
        return Some((b"", name));
    }
    if !name.is_ascii() || name.len() > 256 {
        return None;
    }
    // The rest must not be empty, nor longer than its field: the first slash that leaves at most 100 bytes.
    let from = name.len().saturating_sub(101);
    let slash = from + name[from..name.len() - 1].iter().position(|byte| *byte == b'/')?;
    (slash > 0 && slash <= 155).then(|| (&name[..slash], &name[slash + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_name_is_cut_at_a_slash_if_one_is_in_the_right_place() {
        let long = [&[b'a'; 120][..], b"/", &[b'b'; 99], b"/"].concat();
        assert_eq!(split(&long).map(|(prefix, name)| (prefix.len(), name.len())), Some((120, 100)));
        assert!(split(&[b'a'; 101]).is_none());
        assert!(split(&[&[b'a'; 160][..], b"/", &[b'b'; 50]].concat()).is_none());
        assert!(split("é".as_bytes()).is_none());
    }
}
