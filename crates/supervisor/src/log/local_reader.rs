//! Reading the driver `local`'s files: from a number of lines before the end, or from a moment on, to wherever the writer
//! is now; and on from there whenever more has been written.
//!
//! A file is known by its number. Its end is the end of its last whole record, and it is over when the next one is there.
//! Who follows opens the next ones as they appear, so that a writer who is quicker does not remove them unread.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::lines::Pieces;
use super::segment::{self, FILE_HEADER, Frame, HEADER, Header, INDEX_ENTRY, Kind};
use super::{Line, Query, Stream, nanoseconds};

/// How much is read at once.
const WINDOW: usize = 256 << 10;
/// How many newer files are held open for a reader that is slower than the writer: 1 GiB and more of what they usually
/// are, and an end to what a client that reads nothing keeps on the disk.
const MOST_HELD: usize = 40;
/// What one frame may become: itself, and a record that began just before its end.
const MAX_FRAME: usize = segment::FRAME + segment::MAX_PAYLOAD + (64 << 10);

/// Where the records of one file come from.
#[derive(Debug)]
enum Source {
    Plain(File),
    Compressed { file: File, frames: Vec<Frame>, end: u64, next: usize },
}

/// A file being read.
#[derive(Debug)]
struct Segment {
    number: u64,
    source: Source,
    /// Of a plain file: behind what is in the buffer.
    offset: u64,
}

impl Segment {
    /// Opens the file of that number in whichever form it is; none if it is gone.
    fn open(dir: &Path, number: u64) -> io::Result<Option<Segment>> {
        // It may become compressed between the two looks.
        for kind in [Kind::Log, Kind::Compressed, Kind::Log, Kind::Compressed] {
            let file = match File::open(segment::path(dir, number, kind)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                other => other?,
            };
            let source = match kind {
                Kind::Compressed => match segment::read_cold_index(&file)? {
                    Some((frames, end, _)) => Source::Compressed { file, frames, end, next: 0 },
                    None => continue,
                },
                _ => Source::Plain(file),
            };
            return Ok(Some(Segment { number, source, offset: FILE_HEADER }));
        }
        Ok(None)
    }

    /// The newest time before the file's first record.
    fn newest_before(&self) -> io::Result<i64> {
        match &self.source {
            Source::Plain(file) => Ok(segment::read_file_header(file)?.unwrap_or(i64::MIN)),
            Source::Compressed { frames, .. } => Ok(frames.first().map_or(i64::MIN, |frame| frame.newest_before)),
        }
    }

    /// Goes to the last place before which everything is older than `since`.
    fn seek_time(&mut self, dir: &Path, since: i64) -> io::Result<()> {
        match &mut self.source {
            Source::Plain(file) => {
                let index = segment::path(dir, self.number, Kind::Index);
                let end = file.metadata()?.len();
                let offset = match File::open(index) {
                    Ok(index) => search_index(&index, since)?,
                    Err(_) => None,
                };
                // An entry that points at nothing was written before its records; the beginning is always right.
                if let Some(offset) = offset
                    && segment::header_at(file, offset, end)?.is_some()
                {
                    self.offset = offset;
                }
            }
            Source::Compressed { frames, next, .. } => {
                *next = frames.partition_point(|frame| frame.newest_before < since).saturating_sub(1);
            }
        }
        Ok(())
    }

    /// Goes to the record in which the last `missing` pieces begin. Returns how many pieces of that to skip, and how many
    /// the file lacks.
    fn seek_tail(&mut self, mut missing: usize) -> io::Result<(usize, usize)> {
        let take = |missing: usize, pieces: usize| (pieces.saturating_sub(missing), missing.saturating_sub(pieces));
        match &mut self.source {
            Source::Plain(file) => {
                let mut end = last_record_end(file)?;
                while missing > 0
                    && let Some((start, header)) = segment::step_back(file, end)?
                {
                    let (skip, left) = take(missing, header.pieces as usize);
                    (end, missing) = (start, left);
                    if skip > 0 {
                        self.offset = end;
                        return Ok((skip, 0));
                    }
                }
                self.offset = end;
                Ok((0, missing))
            }
            Source::Compressed { file, frames, end, next } => {
                let mut buffer = Vec::new();
                for place in (0..frames.len()).rev() {
                    decompress(file, frames, *end, place, &mut buffer)?;
                    let pieces = headers(&buffer).map(|header| header.pieces as usize).sum();
                    let (skip, left) = take(missing, pieces);
                    (*next, missing) = (place, left);
                    if missing == 0 {
                        return Ok((skip, 0));
                    }
                }
                *next = 0;
                Ok((0, missing))
            }
        }
    }

    /// Reads on, behind what is in `buffer`; false when there is nothing more now.
    fn fill(&mut self, buffer: &mut Vec<u8>) -> io::Result<bool> {
        match &mut self.source {
            Source::Plain(file) => {
                let filled = buffer.len();
                buffer.resize(filled + WINDOW, 0);
                let result = file.read_at(&mut buffer[filled..], self.offset);
                buffer.truncate(filled + result.as_ref().unwrap_or(&0));
                let count = result?;
                self.offset += count as u64;
                Ok(count > 0)
            }
            Source::Compressed { file, frames, end, next } => {
                if *next >= frames.len() {
                    return Ok(false);
                }
                let mut frame = Vec::new();
                decompress(file, frames, *end, *next, &mut frame)?;
                *next += 1;
                if buffer.is_empty() {
                    *buffer = frame;
                } else {
                    buffer.append(&mut frame);
                }
                Ok(true)
            }
        }
    }
}

/// The place for `since` that an index of a plain file tells.
fn search_index(index: &File, since: i64) -> io::Result<Option<u64>> {
    let count = index.metadata()?.len() / INDEX_ENTRY as u64;
    let entry = |at: u64| -> io::Result<(i64, u64)> {
        let mut bytes = [0; INDEX_ENTRY];
        index.read_exact_at(&mut bytes, at * INDEX_ENTRY as u64)?;
        Ok((segment::i64_at(&bytes, 0), segment::u64_at(&bytes, 8)))
    };
    let (mut low, mut high) = (0, count);
    while low < high {
        let middle = low + (high - low) / 2;
        if entry(middle)?.0 < since { low = middle + 1 } else { high = middle }
    }
    if low == 0 { Ok(None) } else { entry(low - 1).map(|(_, offset)| Some(offset)) }
}

/// Where the last whole record ends. While the file is written, half a record may follow it.
fn last_record_end(file: &File) -> io::Result<u64> {
    let end = file.metadata()?.len();
    if end <= FILE_HEADER || segment::step_back(file, end)?.is_some() {
        return Ok(end);
    }
    let mut offset = FILE_HEADER;
    while let Some(header) = segment::header_at(file, offset, end)? {
        offset += header.total();
    }
    Ok(offset)
}

fn decompress(file: &File, frames: &[Frame], end: u64, place: usize, out: &mut Vec<u8>) -> io::Result<()> {
    let start = frames[place].offset;
    let stop = frames.get(place + 1).map_or(end, |frame| frame.offset);
    let size = usize::try_from(stop.saturating_sub(start)).map_err(io::Error::other)?;
    let mut compressed = vec![0; size.min(MAX_FRAME)];
    file.read_exact_at(&mut compressed, start)?;
    *out = zstd::bulk::decompress(&compressed, MAX_FRAME)?;
    Ok(())
}

/// The headers of whole records.
fn headers(mut bytes: &[u8]) -> impl Iterator<Item = Header> {
    std::iter::from_fn(move || {
        let header = bytes.first_chunk::<HEADER>().and_then(Header::decode)?;
        bytes = bytes.get(usize::try_from(header.total()).ok()?..)?;
        Some(header)
    })
}

/// A place in a log of the driver `local`.
#[derive(Debug)]
pub struct LocalReader {
    dir: PathBuf,
    since: i64,
    until: i64,
    /// None until the log exists.
    current: Option<Segment>,
    /// Newer ones, oldest first.
    held: VecDeque<Segment>,
    /// Records that were read.
    buffer: Vec<u8>,
    /// The line that is returned, what follows it in its record, and where the next record begins.
    line: Range<usize>,
    rest: Range<usize>,
    next: usize,
    /// Of the record being returned.
    header: Option<Header>,
    /// Lines that are not wanted.
    skip: usize,
    finished: bool,
}

impl LocalReader {
    /// Opens the log in `dir` where `query` begins. A log that does not exist yet is an empty one.
    ///
    /// # Errors
    /// As open(2) and read(2).
    pub fn open(dir: &Path, query: &Query) -> io::Result<LocalReader> {
        let mut reader = LocalReader {
            dir: dir.to_owned(),
            since: query.since.map_or(i64::MIN, nanoseconds),
            until: query.until.map_or(i64::MAX, nanoseconds),
            current: None,
            held: VecDeque::new(),
            buffer: Vec::new(),
            line: 0..0,
            rest: 0..0,
            next: 0,
            header: None,
            skip: 0,
            finished: false,
        };
        match query.tail {
            Some(lines) => reader.seek_tail(lines)?,
            None => reader.seek_time()?,
        }
        Ok(reader)
    }

    fn seek_tail(&mut self, lines: usize) -> io::Result<()> {
        let mut missing = lines;
        for number in segment::numbers(&self.dir)?.into_iter().rev() {
            let Some(mut segment) = Segment::open(&self.dir, number)? else { break };
            (self.skip, missing) = segment.seek_tail(missing)?;
            self.current = Some(segment);
            if missing == 0 {
                break;
            }
        }
        Ok(())
    }

    fn seek_time(&mut self) -> io::Result<()> {
        let numbers = segment::numbers(&self.dir)?;
        for number in numbers.iter().rev() {
            let Some(mut segment) = Segment::open(&self.dir, *number)? else { continue };
            let older = segment.newest_before()? < self.since && self.since > i64::MIN;
            if older {
                segment.seek_time(&self.dir, self.since)?;
            }
            self.current = Some(segment);
            if older {
                break;
            }
        }
        Ok(())
    }

    /// Goes to the next line; false at the present end of the log, from where a later call goes on.
    pub(super) fn advance(&mut self) -> io::Result<bool> {
        loop {
            if let Some(piece) = Pieces(&self.buffer[self.rest.clone()]).next() {
                self.line = self.rest.start..self.rest.start + piece.len();
                self.rest.start = self.line.end;
                if self.skip == 0 {
                    return Ok(true);
                }
                self.skip -= 1;
            } else if self.finished || !self.load()? {
                return Ok(false);
            }
        }
    }

    /// Makes the next record that is wanted the one being returned.
    fn load(&mut self) -> io::Result<bool> {
        self.rest = 0..0;
        loop {
            let Some(header) = self.record()? else { return Ok(false) };
            if header.time > self.until {
                self.finished = true;
                return Ok(false);
            }
            if header.time >= self.since {
                self.header = Some(header);
                return Ok(true);
            }
            self.skip = self.skip.saturating_sub(header.pieces as usize);
            self.rest = 0..0;
        }
    }

    /// Finds the next whole record.
    fn record(&mut self) -> io::Result<Option<Header>> {
        loop {
            let here = &self.buffer[self.next..];
            if let Some(bytes) = here.first_chunk::<HEADER>() {
                let Some(header) = Header::decode(bytes) else {
                    // Not ours from here on: only what comes in another file can be read.
                    self.buffer.clear();
                    self.next = 0;
                    if !self.leave()? {
                        return Ok(None);
                    }
                    continue;
                };
                let total = usize::try_from(header.total()).map_err(io::Error::other)?;
                if here.len() >= total {
                    let start = self.next + HEADER;
                    self.rest = start..start + header.length as usize;
                    self.next += total;
                    return Ok(Some(header));
                }
            }
            self.buffer.drain(..self.next);
            self.next = 0;
            let filled = match &mut self.current {
                Some(segment) => segment.fill(&mut self.buffer)?,
                None => false,
            };
            if !filled && !self.leave()? {
                if self.buffer.is_empty() {
                    self.buffer = Vec::new();
                }
                return Ok(None);
            }
        }
    }

    /// Opens what has come after the files that are open.
    pub(super) fn keep_up(&mut self) -> io::Result<()> {
        let newest = self.held.back().or(self.current.as_ref()).map_or(0, |segment| segment.number);
        for number in segment::numbers(&self.dir)?.into_iter().filter(|number| *number > newest) {
            if self.held.len() >= MOST_HELD {
                break;
            }
            // One that is gone since it was listed was removed unread, like those before the first in the list.
            self.held.extend(Segment::open(&self.dir, number)?);
        }
        Ok(())
    }

    /// At the end of the present file: goes on with the next one; false when there is none.
    fn leave(&mut self) -> io::Result<bool> {
        self.keep_up()?;
        if self.held.is_empty() {
            return Ok(false);
        }
        // More may have been written before the next file was begun.
        if let Some(segment) = &mut self.current
            && segment.fill(&mut self.buffer)?
        {
            return Ok(true);
        }
        self.buffer.clear();
        self.next = 0;
        self.current = self.held.pop_front();
        Ok(true)
    }

    /// The line that [`LocalReader::advance`] went to.
    pub(super) fn line(&self) -> Line<'_> {
        let (time, stream) = self.header.map_or((0, Stream::Stdout), |header| (header.time, header.stream));
        let bytes = self.buffer.get(self.line.clone()).unwrap_or_default();
        let time = Timestamp::from_nanosecond(time.into()).unwrap_or_default();
        Line { stream, time, bytes, attributes: None }
    }

    pub(super) fn finished(&self) -> bool {
        self.finished
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }
}
