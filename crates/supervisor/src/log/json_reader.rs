//! Reading the driver `json-file`'s lines: from a number of lines before the end, or from the oldest file, to wherever the writer is now; and on from
//! there whenever more has been written.
//!
//! A file is known by its identity, not by its name: at the end of one that has been rotated away the reader looks for it
//! under its new name and goes on with the next newer one. A compressed file says who it was before. Whoever keeps up
//! holds newer files open, which may be removed then before they are read.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use jiff::Timestamp;

use super::compress::{self, Identity, identity};
use super::json_line::Parsed;
use super::{Line, Query, rotated, rotated_compressed};

/// How much is read at once.
const BLOCK: usize = 64 << 10;
/// The longest line that is taken for one of ours: 16 KiB, each byte as `\u00xx`, and the rest.
const MAX_LINE: usize = 256 << 10;
/// How much of newer files is held open for a reader that is slower than the writer: an end to what a client that reads
/// nothing keeps on the disk.
const MOST_HELD: u64 = 1 << 30;
/// How many files that is at most, however small they are.
const MOST_FILES: usize = 512;

/// One file of the log.
#[derive(Debug)]
struct Part {
    /// That it has, or had before it was compressed.
    identity: Identity,
    source: Source,
}

#[derive(Debug)]
enum Source {
    Plain(File),
    Compressed(Box<MultiGzDecoder<File>>),
}

impl Part {
    /// Opens the file that was rotated `age` times, in whichever form it is.
    fn open(path: &Path, age: u32) -> io::Result<Option<Part>> {
        // It may become compressed between the two looks.
        for _ in 0..2 {
            if let Some(file) = existing(&rotated(path, age))? {
                return Ok(Some(Part { identity: identity(&file)?, source: Source::Plain(file) }));
            }
            if age == 0 {
                break;
            }
            if let Some(mut file) = existing(&rotated_compressed(path, age))? {
                let identity = match compress::original(&mut file)? {
                    Some(original) => original,
                    None => identity(&file)?,
                };
                return Ok(Some(Part { identity, source: Source::Compressed(Box::new(MultiGzDecoder::new(file))) }));
            }
        }
        Ok(None)
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.source {
            Source::Plain(file) => file.read(buffer),
            Source::Compressed(decoder) => decoder.read(buffer),
        }
    }

    /// Bytes it has now.
    fn size(&self) -> io::Result<u64> {
        match &self.source {
            Source::Plain(file) => Ok(file.metadata()?.len()),
            Source::Compressed(decoder) => Ok(decoder.get_ref().metadata()?.len()),
        }
    }

    /// When it was last written to, in seconds.
    fn modified(&self) -> io::Result<i64> {
        let metadata = match &self.source {
            Source::Plain(file) => file.metadata()?,
            Source::Compressed(decoder) => decoder.get_ref().metadata()?,
        };
        Ok(metadata.mtime())
    }

    /// Goes to where the last `missing` lines begin; returns how many lines of what follows to skip, and how many it lacks.
    fn seek_tail(&mut self, missing: usize) -> io::Result<(usize, usize)> {
        match &mut self.source {
            Source::Plain(file) => {
                let mut missing = missing;
                let place = find_tail(file, &mut missing)?;
                file.seek(SeekFrom::Start(place))?;
                Ok((0, missing))
            }
            Source::Compressed(decoder) => {
                let (mut lines, mut block) = (0, vec![0; BLOCK]);
                loop {
                    match decoder.read(&mut block)? {
                        0 => break,
                        count => lines += memchr::memchr_iter(b'\n', &block[..count]).count(),
                    }
                }
                let mut file = decoder.get_ref().try_clone()?;
                file.seek(SeekFrom::Start(0))?;
                **decoder = MultiGzDecoder::new(file);
                Ok((lines.saturating_sub(missing), missing.saturating_sub(lines)))
            }
        }
    }
}

/// A place in a container's log.
#[derive(Debug)]
pub struct JsonReader {
    path: PathBuf,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    /// None until the log exists.
    current: Option<Part>,
    /// What came after it, oldest first, as far as it was looked for.
    held: VecDeque<Part>,
    /// Bytes of `current` that were read and not yet returned, from `start` on.
    pending: Vec<u8>,
    start: usize,
    /// Lines that are not wanted.
    skip: usize,
    parsed: Parsed,
    finished: bool,
}

impl JsonReader {
    /// Opens the log at `path` where `query` begins. A log that does not exist yet is an empty one.
    ///
    /// # Errors
    /// As open(2) and read(2).
    pub fn open(path: &Path, query: &Query) -> io::Result<JsonReader> {
        let (current, skip) = match query.tail {
            Some(lines) => tail(path, lines)?,
            None => (oldest(path, query.since)?, 0),
        };
        let (since, until) = (query.since, query.until);
        let (path, parsed) = (path.to_owned(), Parsed::default());
        Ok(JsonReader {
            path,
            since,
            until,
            current,
            held: VecDeque::new(),
            pending: Vec::new(),
            start: 0,
            skip,
            parsed,
            finished: false,
        })
    }

    /// Goes to the next line; false at the present end of the log, from where a later call goes on. What is no record
    /// is skipped.
    pub(super) fn advance(&mut self) -> io::Result<bool> {
        while !self.finished {
            if !self.read_line()? {
                return Ok(false);
            }
            if self.skip > 0 {
                self.skip -= 1;
            } else if self.until.is_some_and(|until| self.parsed.time > until) {
                self.finished = true;
            } else if self.since.is_none_or(|since| self.parsed.time >= since) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The line that [`JsonReader::advance`] went to.
    pub(super) fn line(&self) -> Line<'_> {
        let Parsed { stream, time, ref bytes, ref attributes } = self.parsed;
        Line { stream, time, bytes, attributes: attributes.as_ref() }
    }

    pub(super) fn finished(&self) -> bool {
        self.finished
    }

    pub(super) fn dir(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("/"))
    }

    /// Parses the next whole line that is a record.
    fn read_line(&mut self) -> io::Result<bool> {
        let mut searched = 0;
        loop {
            let unsearched = &self.pending[self.start + searched..];
            if let Some(at) = memchr::memchr(b'\n', unsearched) {
                let end = self.start + searched + at;
                let sound = self.parsed.read(&self.pending[self.start..end]);
                self.start = end + 1;
                searched = 0;
                if sound {
                    return Ok(true);
                }
                continue;
            }
            searched = self.pending.len() - self.start;
            if searched > MAX_LINE {
                self.pending.clear();
                (self.start, searched) = (0, 0);
            }
            if !self.fill()? {
                if !self.go_on()? {
                    return Ok(false);
                }
                searched = 0;
            }
        }
    }

    /// Reads on in the present file; false at its end.
    fn fill(&mut self) -> io::Result<bool> {
        let Some(file) = &mut self.current else { return Ok(false) };
        self.pending.drain(..self.start);
        self.start = 0;
        let filled = self.pending.len();
        self.pending.resize(filled + BLOCK, 0);
        let result = file.read(&mut self.pending[filled..]);
        self.pending.truncate(filled + result.as_ref().unwrap_or(&0));
        if filled == 0 && self.pending.is_empty() {
            self.pending = Vec::new();
        }
        Ok(result? > 0)
    }

    /// Opens what has come after the files that are open.
    pub(super) fn keep_up(&mut self) -> io::Result<()> {
        let mut held = 0;
        for part in &self.held {
            held += part.size()?;
        }
        if held >= MOST_HELD || self.held.len() >= MOST_FILES {
            return Ok(());
        }
        let Some(newest) = self.held.back().or(self.current.as_ref()) else { return Ok(()) };
        // Where it was rotated out of existence, whatever there is is newer.
        let newer = parts(&self.path, Some(newest.identity))?;
        self.held.extend(newer.into_iter().rev());
        Ok(())
    }

    /// At the end of the present file: goes on with the next newer one; false when there is none.
    fn go_on(&mut self) -> io::Result<bool> {
        if self.current.is_none() {
            self.current = oldest(&self.path, self.since)?;
            return Ok(self.current.is_some());
        }
        if self.held.is_empty() {
            self.keep_up()?;
        }
        if self.held.is_empty() {
            return Ok(false);
        }
        // More may have been written before it was rotated.
        if self.fill()? {
            return Ok(true);
        }
        self.pending.clear();
        self.start = 0;
        self.current = self.held.pop_front();
        Ok(true)
    }
}

fn existing(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Every file of the log that is newer than `than`, or that exists, newest first.
fn parts(path: &Path, than: Option<Identity>) -> io::Result<Vec<Part>> {
    loop {
        if let Some(parts) = walk(path, than)? {
            return Ok(parts);
        }
    }
}

/// Goes from the newest file to older ones; none when so much was rotated meanwhile that their order is not known.
///
/// A rotation renames the oldest first, so each is met at its age or at the next one, and some age is without a file for a
/// moment. Several rotations bring one again that was met before.
fn walk(path: &Path, than: Option<Identity>) -> io::Result<Option<Vec<Part>>> {
    let (mut parts, mut missing): (Vec<Part>, _) = (Vec::new(), 0);
    for age in 0.. {
        let Some(part) = Part::open(path, age)? else {
            missing += 1;
            if missing == 2 {
                break;
            }
            continue;
        };
        missing = 0;
        if than == Some(part.identity) {
            break;
        }
        match parts.iter().position(|met| met.identity == part.identity) {
            None => parts.push(part),
            Some(at) if at + 1 == parts.len() => {}
            Some(_) => return Ok(None),
        }
    }
    Ok(Some(parts))
}

/// The oldest file that was written to after `since`, or else the newest.
fn oldest(path: &Path, since: Option<Timestamp>) -> io::Result<Option<Part>> {
    let mut parts = parts(path, None)?;
    let since = since.map_or(i64::MIN, Timestamp::as_second);
    while parts.len() > 1 && parts.last().map(Part::modified).transpose()?.is_some_and(|time| time < since) {
        parts.pop();
    }
    Ok(parts.pop())
}

/// The file in which the last `lines` lines begin, positioned there, and how many lines of it to skip.
fn tail(path: &Path, lines: usize) -> io::Result<(Option<Part>, usize)> {
    let (mut missing, mut skip) = (lines, 0);
    let mut begin = None;
    for mut part in parts(path, None)? {
        (skip, missing) = part.seek_tail(missing)?;
        begin = Some(part);
        if missing == 0 {
            break;
        }
    }
    Ok((begin, skip))
}

/// Where the last `missing` lines of `file` begin; `missing` becomes how many it lacks.
fn find_tail(file: &File, missing: &mut usize) -> io::Result<u64> {
    let mut block = vec![0; BLOCK];
    let mut end = file.metadata()?.len();
    if *missing == 0 {
        return Ok(end);
    }
    let mut last = true;
    while end > 0 {
        let size = usize::try_from(end).unwrap_or(BLOCK).min(BLOCK);
        let start = end - size as u64;
        file.read_exact_at(&mut block[..size], start)?;
        for at in (0..size).rev().filter(|&at| block[at] == b'\n') {
            // The newline at the very end closes the last line; every other one precedes a line that counts.
            if !std::mem::take(&mut last) {
                *missing -= 1;
            }
            if *missing == 0 {
                return Ok(start + at as u64 + 1);
            }
        }
        end = start;
    }
    if !last {
        *missing -= 1;
    }
    Ok(0)
}
