//! Writing the driver `local`'s files. A block goes to the disk as it was read, between a header and a trailer, in one
//! system call; full files are compressed by a child of ours, which takes its own time on another processor.

use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::compress::Compressor;
use super::lines::Pieces;
use super::segment::{self, FILE_HEADER, Header, INDEX_ENTRY, INDEXED, Kind};
use super::{Stream, nanoseconds};
use crate::protocol::LogFile;

/// The newest file of a log, being written.
#[derive(Debug)]
pub(crate) struct LocalWriter {
    dir: PathBuf,
    number: u64,
    file: File,
    /// Made when there is something to point at: the log of most containers is shorter.
    index: Option<File>,
    size: u64,
    /// Where the index' last entry points.
    indexed: u64,
    newest: i64,
    max_size: u64,
    max_files: u64,
    compressor: Option<Compressor>,
    compress: bool,
}

impl LocalWriter {
    /// Opens the log in the directory `config.path`, behind the last whole record that is there.
    pub(crate) fn open(config: &LogFile) -> io::Result<LocalWriter> {
        let dir = config.path.clone();
        std::fs::create_dir_all(&dir)?;
        let newest = segment::files(&dir)?.into_iter().rfind(|(_, kind)| *kind != Kind::Index);
        let (number, is_new) = match newest {
            Some((number, Kind::Log)) => (number, false),
            Some((number, _)) => (number + 1, true),
            None => (1, true),
        };
        let file = open_file(&dir, number, Kind::Log)?;
        let mut writer = LocalWriter {
            dir,
            number,
            file,
            index: None,
            size: 0,
            indexed: 0,
            newest: i64::MIN,
            max_size: config.max_size,
            max_files: config.max_files.max(1).into(),
            compressor: None,
            compress: config.compress,
        };
        if is_new || !writer.recover()? {
            writer.begin()?;
        }
        writer.discard_old();
        Ok(writer)
    }

    /// Goes to the end of the last whole record; false when the file is none of ours.
    fn recover(&mut self) -> io::Result<bool> {
        let Some(newest_before) = segment::read_file_header(&self.file)? else { return Ok(false) };
        let end = self.file.metadata()?.len();
        let index = match OpenOptions::new().read(true).append(true).open(self.path_of_index()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            other => Some(other?),
        };
        let entries =
            index.as_ref().map_or(Ok(0), |index| index.metadata().map(|meta| meta.len()))? / INDEX_ENTRY as u64;
        (self.newest, self.indexed) = (newest_before, FILE_HEADER);
        let mut kept = 0;
        // Entries may have reached the disk before their records did.
        for entry in (0..entries).rev() {
            let Some(index) = &index else { break };
            let mut bytes = [0; INDEX_ENTRY];
            index.read_exact_at(&mut bytes, entry * INDEX_ENTRY as u64)?;
            let (newest, offset) = (segment::i64_at(&bytes, 0), segment::u64_at(&bytes, 8));
            if segment::header_at(&self.file, offset, end)?.is_some() {
                (self.newest, self.indexed, kept) = (newest, offset, entry + 1);
                break;
            }
        }
        let mut offset = self.indexed;
        while let Some(header) = segment::header_at(&self.file, offset, end)? {
            self.newest = self.newest.max(header.time);
            offset += header.total();
        }
        self.file.set_len(offset)?;
        if let Some(index) = &index {
            index.set_len(kept * INDEX_ENTRY as u64)?;
        }
        (self.size, self.index) = (offset, index);
        Ok(true)
    }

    /// Begins an empty file.
    fn begin(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        // Of another file of that number, which was none of ours.
        let _ = std::fs::remove_file(self.path_of_index());
        self.index = None;
        self.file.write_all(&segment::file_header(self.number, self.newest))?;
        (self.size, self.indexed) = (FILE_HEADER, FILE_HEADER);
        Ok(())
    }

    /// Writes a block that was read at `time`.
    pub(crate) fn block(&mut self, stream: Stream, block: &[u8], time: Timestamp) {
        for part in block.chunks(segment::MAX_PAYLOAD) {
            self.record(stream, part, time);
        }
    }

    fn record(&mut self, stream: Stream, payload: &[u8], time: Timestamp) {
        let pieces = u32::try_from(Pieces(payload).count()).unwrap_or(u32::MAX);
        let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        let header = Header { length, pieces, time: nanoseconds(time), stream };
        if self.max_size > 0 && self.size + header.total() > self.max_size && self.size > FILE_HEADER {
            self.rotate();
        }
        if self.size >= self.indexed + INDEXED {
            // Without an entry a search is longer, no more.
            let _ = self.point();
            self.indexed = self.size;
        }
        let trailer = u32::try_from(header.total()).unwrap_or(0).to_le_bytes();
        match write_all(&mut self.file, [&header.encode(), payload, &trailer]) {
            Ok(()) => {
                self.size += header.total();
                self.newest = self.newest.max(header.time);
            }
            // Half a record must not stay; if even this is refused, readers stop before it.
            Err(_) => drop(self.file.set_len(self.size)),
        }
    }

    /// Notes in the index where the next record begins.
    fn point(&mut self) -> io::Result<()> {
        let index = match &mut self.index {
            Some(index) => index,
            none => none.insert(open_file(&self.dir, self.number, Kind::Index)?),
        };
        index.write_all(&[self.newest.to_le_bytes(), self.size.to_le_bytes()].concat())
    }

    fn path_of_index(&self) -> PathBuf {
        segment::path(&self.dir, self.number, Kind::Index)
    }

    /// Goes on in a new file. If none can be made the present one grows.
    fn rotate(&mut self) {
        let Ok(file) = open_file(&self.dir, self.number + 1, Kind::Log) else { return };
        self.file = file;
        self.number += 1;
        // What cannot be written now cannot be written later; the reader takes an empty file for one.
        let _ = self.begin();
        self.discard_old();
        if self.compress && self.max_files > 1 && self.compressor.as_mut().is_none_or(Compressor::finished) {
            self.compressor = Compressor::local(&self.dir, self.number).ok();
        }
    }

    /// Removes files that are more than are kept.
    fn discard_old(&self) {
        for (number, kind) in segment::files(&self.dir).unwrap_or_default() {
            if number + self.max_files <= self.number {
                let _ = std::fs::remove_file(segment::path(&self.dir, number, kind));
            }
        }
    }
}

/// Writes parts as if they were one, at once as far as the kernel takes them.
fn write_all(file: &mut File, parts: [&[u8]; 3]) -> io::Result<()> {
    let mut slices = parts.map(IoSlice::new);
    let mut rest = &mut slices[..];
    while !rest.is_empty() {
        match file.write_vectored(rest) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => IoSlice::advance_slices(&mut rest, written),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn open_file(dir: &Path, number: u64, kind: Kind) -> io::Result<File> {
    let path = segment::path(dir, number, kind);
    OpenOptions::new().read(true).append(true).create(true).mode(0o640).open(path)
}
