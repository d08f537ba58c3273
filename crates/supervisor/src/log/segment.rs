//! The format of the driver `local`: files that are written once from the beginning to the end, numbered, never renamed.
//!
//! ```text
//! 0000000007.log      being written, or full and not compressed yet
//!   "teulog1\n"  number u64  newest time before i64        24 bytes
//!   record*      length u32, pieces u32, time i64, stream u8, 3 × 0, check u32     24 bytes
//!                payload                                                             length bytes
//!                length + 28 u32                                                     4 bytes, to step back
//! 0000000007.index    every 256 KiB: newest time before i64, offset u64
//! 0000000006.zst      full: the records in frames of about 1 MiB, then a frame that zstd(1) skips:
//!   entry*       newest time before i64, offset in this file u64, offset in the log u64
//!                log's length u64, entries u32, "TEUZ"
//! ```
//!
//! Numbers are little-endian, times are nanoseconds since 1970. A payload is a block of `lines`: what was read at one
//! moment, so it has one time. Times may go back when a clock is set; "newest time before" never does, which makes it the
//! key of every search. What follows the last whole record of a `.log` was torn off by a crash and does not count.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::Stream;

/// Before the records.
pub(crate) const FILE_HEADER: u64 = 24;
/// Before each payload.
pub(crate) const HEADER: usize = 24;
/// After each payload.
pub(crate) const TRAILER: usize = 4;
/// Bytes of records between two entries of the index.
pub(crate) const INDEXED: u64 = 256 << 10;
/// Bytes of an entry of the index.
pub(crate) const INDEX_ENTRY: usize = 16;
/// A payload is never longer: what is read at once, and the longest unfinished piece.
pub(crate) const MAX_PAYLOAD: usize = 1 << 20;
/// Bytes of records in one frame, about.
pub(crate) const FRAME: usize = 1 << 20;
/// Of a frame that decoders skip, zstd's format, section "Skippable Frames".
pub(crate) const SKIPPABLE: u32 = 0x184D_2A5E;

const MAGIC: [u8; 8] = *b"teulog1\n";
const CHECK: u32 = 0x6c75_6574;
const COLD_MAGIC: [u8; 4] = *b"TEUZ";
const COLD_ENTRY: usize = 24;
const COLD_TAIL: usize = 16;

/// What stands before a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) length: u32,
    /// Lines, and pieces of long ones.
    pub(crate) pieces: u32,
    pub(crate) time: i64,
    pub(crate) stream: Stream,
}

impl Header {
    pub(crate) fn encode(&self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[0..4].copy_from_slice(&self.length.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.pieces.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.time.to_le_bytes());
        bytes[16] = self.stream as u8;
        bytes[20..24].copy_from_slice(&(self.length ^ CHECK).to_le_bytes());
        bytes
    }

    /// None for what is no header.
    pub(crate) fn decode(bytes: &[u8; HEADER]) -> Option<Header> {
        let length = u32_at(bytes, 0);
        let stream = match bytes[16] {
            0 => Stream::Stdout,
            1 => Stream::Stderr,
            _ => return None,
        };
        let sound = u32_at(bytes, 20) == length ^ CHECK && length as usize <= MAX_PAYLOAD && bytes[17..20] == [0; 3];
        sound.then(|| Header { length, pieces: u32_at(bytes, 4), time: i64_at(bytes, 8), stream })
    }

    /// Of the whole record.
    pub(crate) fn total(&self) -> u64 {
        u64::from(self.length) + (HEADER + TRAILER) as u64
    }
}

/// The beginning of a file.
pub(crate) fn file_header(number: u64, newest_before: i64) -> [u8; FILE_HEADER as usize] {
    let mut bytes = [0; FILE_HEADER as usize];
    bytes[0..8].copy_from_slice(&MAGIC);
    bytes[8..16].copy_from_slice(&number.to_le_bytes());
    bytes[16..24].copy_from_slice(&newest_before.to_le_bytes());
    bytes
}

/// The newest time before a file's first record; none when it is no file of ours.
pub(crate) fn read_file_header(file: &File) -> io::Result<Option<i64>> {
    let mut bytes = [0; FILE_HEADER as usize];
    match file.read_exact_at(&mut bytes, 0) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        other => other.map(|()| (bytes[0..8] == MAGIC).then(|| i64_at(&bytes, 16))),
    }
}

/// The record's header at `offset`, if a whole record is there.
pub(crate) fn header_at(file: &File, offset: u64, end: u64) -> io::Result<Option<Header>> {
    if offset + (HEADER + TRAILER) as u64 > end {
        return Ok(None);
    }
    let mut bytes = [0; HEADER];
    file.read_exact_at(&mut bytes, offset)?;
    Ok(Header::decode(&bytes).filter(|header| offset + header.total() <= end))
}

/// Where the record begins that ends at `end`.
pub(crate) fn step_back(file: &File, end: u64) -> io::Result<Option<(u64, Header)>> {
    if end < FILE_HEADER + (HEADER + TRAILER) as u64 {
        return Ok(None);
    }
    let mut bytes = [0; TRAILER];
    file.read_exact_at(&mut bytes, end - TRAILER as u64)?;
    let Some(start) = end.checked_sub(u64::from(u32::from_le_bytes(bytes))).filter(|start| *start >= FILE_HEADER)
    else {
        return Ok(None);
    };
    let header = header_at(file, start, end)?;
    Ok(header.filter(|header| start + header.total() == end).map(|header| (start, header)))
}

/// One frame of a compressed file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) newest_before: i64,
    /// In the compressed file.
    pub(crate) offset: u64,
    /// In the log.
    pub(crate) start: u64,
}

/// The end of a compressed file: the index of its frames, as a frame of its own.
pub(crate) fn cold_index(frames: &[Frame], length: u64) -> Vec<u8> {
    let size = frames.len() * COLD_ENTRY + COLD_TAIL;
    let mut bytes = Vec::with_capacity(8 + size);
    bytes.extend(SKIPPABLE.to_le_bytes());
    bytes.extend(u32::try_from(size).unwrap_or(u32::MAX).to_le_bytes());
    for frame in frames {
        bytes.extend(frame.newest_before.to_le_bytes());
        bytes.extend(frame.offset.to_le_bytes());
        bytes.extend(frame.start.to_le_bytes());
    }
    bytes.extend(length.to_le_bytes());
    bytes.extend(u32::try_from(frames.len()).unwrap_or(u32::MAX).to_le_bytes());
    bytes.extend(COLD_MAGIC);
    bytes
}

/// The frames of a compressed file, where the last one ends, and the log's length; none when it is no file of ours.
pub(crate) fn read_cold_index(file: &File) -> io::Result<Option<(Vec<Frame>, u64, u64)>> {
    let end = file.metadata()?.len();
    let mut tail = [0; COLD_TAIL];
    if end < COLD_TAIL as u64 {
        return Ok(None);
    }
    file.read_exact_at(&mut tail, end - COLD_TAIL as u64)?;
    let count = u32_at(&tail, 8) as usize;
    let size = (count * COLD_ENTRY + COLD_TAIL + 8) as u64;
    if tail[12..16] != COLD_MAGIC || size > end {
        return Ok(None);
    }
    let mut entries = vec![0; count * COLD_ENTRY];
    file.read_exact_at(&mut entries, end - size + 8)?;
    let frame =
        |entry: &[u8]| Frame { newest_before: i64_at(entry, 0), offset: u64_at(entry, 8), start: u64_at(entry, 16) };
    let frames: Vec<Frame> = entries.chunks_exact(COLD_ENTRY).map(frame).collect();
    let ordered =
        frames.windows(2).all(|pair| pair[0].offset < pair[1].offset) && frames.iter().all(|f| f.offset < end);
    Ok(ordered.then(|| (frames, end - size, u64_at(&tail, 0))))
}

/// A file of the driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Log,
    Index,
    Compressed,
}

/// Its path.
pub(crate) fn path(dir: &Path, number: u64, kind: Kind) -> PathBuf {
    let suffix = match kind {
        Kind::Log => "log",
        Kind::Index => "index",
        Kind::Compressed => "zst",
    };
    dir.join(format!("{number:010}.{suffix}"))
}

/// The files there are, by number.
pub(crate) fn files(dir: &Path) -> io::Result<Vec<(u64, Kind)>> {
    let mut files = Vec::new();
    let entries = match std::fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(files),
        other => other?,
    };
    for entry in entries {
        let name = entry?.file_name();
        let Some((number, suffix)) = name.to_str().and_then(|name| name.split_once('.')) else { continue };
        let kind = match suffix {
            "log" => Kind::Log,
            "index" => Kind::Index,
            "zst" => Kind::Compressed,
            _ => continue,
        };
        if let Ok(number) = number.parse() {
            files.push((number, kind));
        }
    }
    files.sort_unstable();
    Ok(files)
}

/// The numbers of the files that have records, oldest first.
///
/// A listing may miss a file that becomes compressed meanwhile: its old name is gone when the listing gets there, and its
/// new one is behind (readdir(3): what is added or removed after opendir(3) may or may not be returned). That happens to a
/// file once, so one of two listings has it.
pub(crate) fn numbers(dir: &Path) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for _ in 0..2 {
        numbers.extend(files(dir)?.into_iter().filter(|(_, kind)| *kind != Kind::Index).map(|(number, _)| number));
    }
    numbers.sort_unstable();
    numbers.dedup();
    Ok(numbers)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_le_bytes)
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_le_bytes)
}

pub(crate) fn i64_at(bytes: &[u8], at: usize) -> i64 {
    bytes.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).map_or(0, i64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_as_it_was_written_and_nothing_else_is_taken_for_one() {
        let header = Header { length: 7, pieces: 2, time: -5, stream: Stream::Stderr };
        let mut bytes = header.encode();
        assert_eq!(Header::decode(&bytes), Some(header));
        bytes[0] ^= 1;
        assert_eq!(Header::decode(&bytes), None);
        assert_eq!(Header::decode(&[0; HEADER]), None);
    }

    #[test]
    fn the_index_of_a_compressed_file_is_found_from_its_end() {
        let dir = tempfile::tempdir().expect("directory");
        let frames = [
            Frame { newest_before: i64::MIN, offset: 0, start: 24 },
            Frame { newest_before: 9, offset: 5, start: 2000 },
        ];
        let mut bytes = b"frames....".to_vec();
        bytes.extend(cold_index(&frames, 3000));
        std::fs::write(dir.path().join("f"), &bytes).expect("written");
        let found = read_cold_index(&File::open(dir.path().join("f")).expect("opened")).expect("read");
        assert_eq!(found, Some((frames.to_vec(), 10, 3000)));
        std::fs::write(dir.path().join("f"), &bytes[..bytes.len() - 1]).expect("written");
        assert_eq!(read_cold_index(&File::open(dir.path().join("f")).expect("opened")).expect("read"), None);
    }
}
