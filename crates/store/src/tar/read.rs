//! The parser: a stream of bytes becomes a stream of entries, hashed on the way, in constant memory.
//!
//! An entry's length is decided once, extensions applied, before anything acts on it; there is no second reading of the
//! same header that could disagree.

use std::ffi::OsString;
use std::io::{self, Read};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use teu_oci::{Digest, DigestHasher};
use teu_sys::fs::Time;

use super::header::{BLOCK, Header, text};
use super::pax::Pax;
use super::{DEPTH_LIMIT, Fault, PATH_LIMIT};
use crate::{Error, Result};

/// What is read from the stream at once.
const BUFFER: usize = 1 << 18;

/// The largest extended header taken into memory.
const EXTENSION_LIMIT: u64 = 1 << 20;

/// One entry; its data, if it is a file, is read with [`Reader::chunk`].
#[derive(Debug)]
pub(crate) struct Entry {
    /// Where, relative to the top: names only, no `.`, no `..`; empty for the top itself.
    pub(crate) path: PathBuf,
    pub(crate) kind: Kind,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: Time,
    pub(crate) xattrs: Vec<(OsString, Vec<u8>)>,
}

/// What an entry is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// With its size in bytes.
    File(u64),
    /// To another entry's path.
    HardLink(PathBuf),
    /// To any text.
    Symlink(PathBuf),
    Directory,
    Char((u32, u32)),
    Block((u32, u32)),
    Fifo,
}

/// A tar stream being read.
pub(crate) struct Reader<R> {
    source: R,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    hasher: Option<DigestHasher>,
    total: u64,
    /// Of the current entry: data not read yet, and the zeros that fill its last block.
    data: u64,
    padding: u64,
    ended: bool,
}

impl<R: Read> Reader<R> {
    /// `hashing`: [`Reader::finish`] is to say the digest.
    pub(crate) fn new(source: R, hashing: bool) -> Self {
        let hasher = hashing.then(DigestHasher::new);
        Self { source, buffer: vec![0; BUFFER], start: 0, end: 0, hasher, total: 0, data: 0, padding: 0, ended: false }
    }

    /// The next entry; what is left of the last one is skipped.
    pub(crate) fn next(&mut self) -> Result<Option<Entry>> {
        while self.chunk()?.is_some() {}
        let mut pending = Extensions::default();
        while !self.ended {
            let Some(block) = self.block()? else {
                self.ended = true;
                return if pending.any { Err(pending.fault(Fault::Truncated)) } else { Ok(None) };
            };
            if block.iter().all(|byte| *byte == 0) {
                self.end_of_archive()?;
                break;
            }
            let header = Header::parse(&block).map_err(|fault| pending.fault(fault))?;
            match header.kind() {
                kind @ (b'x' | b'X' | b'g' | b'L' | b'K') => {
                    let size = header.size().map_err(|fault| pending.fault(fault))?;
                    let data = self.extension(size)?;
                    pending.add(kind, &data).map_err(|fault| pending.fault(fault))?;
                }
                // A volume's label says nothing about a file.
                b'V' => pending = Extensions::default(),
                _ => {
                    let name = pending.name(&header);
                    let entry = pending.entry(&header).map_err(|fault| fault_in(&name, fault))?;
                    if let Kind::File(size) = entry.kind {
                        self.data = size;
                        self.padding = padding(size);
                    }
                    return Ok(Some(entry));
                }
            }
        }
        if pending.any { Err(pending.fault(Fault::Truncated)) } else { Ok(None) }
    }

    /// More of the current file's data, or `None` at its end.
    pub(crate) fn chunk(&mut self) -> Result<Option<&[u8]>> {
        if self.data == 0 {
            while self.padding > 0 {
                let count = self.available(self.padding)?;
                self.padding -= count as u64;
                self.start += count;
            }
            return Ok(None);
        }
        let count = self.available(self.data)?;
        self.data -= count as u64;
        self.start += count;
        Ok(Some(&self.buffer[self.start - count..self.start]))
    }

    /// Reads the stream to its end, and says the digest (of all its bytes) and their number.
    pub(crate) fn finish(mut self) -> Result<(Digest, u64)> {
        loop {
            self.start = self.end;
            if self.fill()? == 0 {
                return Ok((self.hasher.unwrap_or_default().finish(), self.total));
            }
        }
    }

    /// How many bytes, at most `wanted`, are in the buffer; at least one.
    fn available(&mut self, wanted: u64) -> Result<usize> {
        if self.start == self.end && self.fill()? == 0 {
            return Err(fault_in(b"", Fault::Truncated));
        }
        Ok(usize::try_from(wanted).unwrap_or(usize::MAX).min(self.end - self.start))
    }

    /// Refills the buffer, which must be used up.
    fn fill(&mut self) -> Result<usize> {
        let count = loop {
            match self.source.read(&mut self.buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other.map_err(Error::Stream)?,
            }
        };
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&self.buffer[..count]);
        }
        self.total += count as u64;
        (self.start, self.end) = (0, count);
        Ok(count)
    }

    /// A block, or `None` when the stream ends before it.
    fn block(&mut self) -> Result<Option<[u8; BLOCK]>> {
        let mut block = [0; BLOCK];
        let mut filled = 0;
        while filled < BLOCK {
            if self.start == self.end && self.fill()? == 0 {
                // A stream shorter than one block never was an archive.
                let short = if self.total < BLOCK as u64 { Fault::Checksum } else { Fault::Truncated };
                return if filled == 0 { Ok(None) } else { Err(fault_in(b"", short)) };
            }
            let count = (BLOCK - filled).min(self.end - self.start);
            block[filled..filled + count].copy_from_slice(&self.buffer[self.start..self.start + count]);
            filled += count;
            self.start += count;
        }
        Ok(Some(block))
    }

    fn end_of_archive(&mut self) -> Result<()> {
        self.ended = true;
        match self.block()? {
            Some(block) if block.iter().any(|byte| *byte != 0) => Err(fault_in(b"", Fault::HalfEnd)),
            _ => Ok(()),
        }
    }

    fn extension(&mut self, size: u64) -> Result<Vec<u8>> {
        if size > EXTENSION_LIMIT {
            return Err(fault_in(b"", Fault::TooLong("extended header")));
        }
        self.data = size;
        self.padding = padding(size);
        let mut data = Vec::new();
        while let Some(chunk) = self.chunk()? {
            data.extend_from_slice(chunk);
        }
        Ok(data)
    }
}

/// What extended headers said about the entry that follows them.
#[derive(Default)]
struct Extensions {
    any: bool,
    pax: Pax,
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
}

impl Extensions {
    fn add(&mut self, kind: u8, data: &[u8]) -> Result<(), Fault> {
        let long = |what| match text(data) {
            [] => Err(Fault::Name(what)),
            name if name.len() > PATH_LIMIT => Err(Fault::TooLong(what)),
            name => Ok(Some(name.to_vec())),
        };
        match kind {
            b'L' => self.name = long("name")?,
            b'K' => self.link = long("link name")?,
            // Global records (git's commit comment) must be well-formed, but say nothing about a file.
            b'g' => return Pax::default().add(data),
            _ => self.pax.add(data)?,
        }
        self.any = true;
        Ok(())
    }

    fn name(&self, header: &Header<'_>) -> Vec<u8> {
        self.pax.path.clone().or_else(|| self.name.clone()).unwrap_or_else(|| header.name())
    }

    fn entry(self, header: &Header<'_>) -> Result<Entry, Fault> {
        let name = self.name(header);
        if self.pax.sparse {
            return Err(Fault::Sparse);
        }
        // No file is longer than a signed offset can say.
        let size = self.pax.size.map_or_else(|| header.size(), Ok);
        let size =
            size.and_then(|size| if i64::try_from(size).is_ok() { Ok(size) } else { Err(Fault::Number("size")) });
        let link = self.pax.link.or(self.link).unwrap_or_else(|| header.link().to_vec());
        let kind = match header.kind() {
            b'0' | 0 | b'7' if name.ends_with(b"/") => Kind::Directory,
            b'0' | 0 | b'7' => Kind::File(size?),
            b'1' => Kind::HardLink(inside(&link, "link name")?),
            b'2' if link.is_empty() => return Err(Fault::Name("link name")),
            b'2' => Kind::Symlink(OsString::from_vec(link).into()),
            b'3' => Kind::Char(header.device()?),
            b'4' => Kind::Block(header.device()?),
            b'5' => Kind::Directory,
            b'6' => Kind::Fifo,
            b'S' => return Err(Fault::Sparse),
            other => return Err(Fault::Type(other)),
        };
        Ok(Entry {
            path: inside(&name, "name")?,
            kind,
            mode: header.mode()?,
            uid: id(self.pax.uid.map_or_else(|| header.uid(), Ok)?, "uid")?,
            gid: id(self.pax.gid.map_or_else(|| header.gid(), Ok)?, "gid")?,
            mtime: match self.pax.mtime {
                Some(time) => time,
                None => Time { seconds: header.mtime()?, nanoseconds: 0 },
            },
            xattrs: self.pax.xattrs,
        })
    }

    fn fault(&self, fault: Fault) -> Error {
        fault_in(self.pax.path.as_deref().or(self.name.as_deref()).unwrap_or_default(), fault)
    }
}

/// Makes a name relative and plain. One that climbs above the top is refused, not bent.
fn inside(name: &[u8], what: &'static str) -> Result<PathBuf, Fault> {
    if name.is_empty() {
        return Err(Fault::Name(what));
    }
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in name.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => drop(parts.pop().ok_or(Fault::Outside)?),
            part if part.len() > 255 => return Err(Fault::TooLong(what)),
            part => parts.push(part),
        }
    }
    if parts.len() > DEPTH_LIMIT {
        return Err(Fault::Depth);
    }
    Ok(OsString::from_vec(parts.join(&b'/')).into())
}

/// All ones means "leave as is" to the kernel and is nobody's id.
fn id(value: u64, name: &'static str) -> Result<u32, Fault> {
    u32::try_from(value).ok().filter(|id| *id != u32::MAX).ok_or(Fault::Number(name))
}

fn padding(size: u64) -> u64 {
    size.next_multiple_of(BLOCK as u64) - size
}

fn fault_in(entry: &[u8], fault: Fault) -> Error {
    Error::Tar { entry: String::from_utf8_lossy(entry).into_owned(), fault }
}
