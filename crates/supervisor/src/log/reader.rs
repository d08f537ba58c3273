//! Reading: from a number of lines before the end, or from the oldest file, to wherever the writer is now; and on from
//! there whenever more has been written.
//!
//! A file is known by its inode, not by its name: at the end of one that has been rotated away the reader looks for it
//! under its new name and goes on with the next newer one.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::Deserialize;
use teu_sys::poll::Changes;

use super::{Record, Stream, rotated};

/// How much is read at once.
const BLOCK: usize = 64 << 10;
/// The longest line that is taken for one of ours: 16 KiB, each byte as `\u00xx`, and the rest.
const MAX_LINE: usize = 256 << 10;

/// Which records are wanted.
#[derive(Debug, Clone, Default)]
pub struct Query {
    /// Only this many, counted from the end.
    pub tail: Option<usize>,
    /// Of those, none older than this.
    pub since: Option<Timestamp>,
    /// Of those, none newer than this.
    pub until: Option<Timestamp>,
}

/// A place in a container's log.
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    /// None until the log exists.
    current: Option<File>,
    /// Bytes of `current` that were read and not yet returned, from `start` on.
    pending: Vec<u8>,
    start: usize,
    finished: bool,
}

impl Reader {
    /// Opens the log at `path` where `query` begins. A log that does not exist yet is an empty one.
    ///
    /// # Errors
    /// As open(2) and read(2).
    pub fn open(path: &Path, query: &Query) -> io::Result<Reader> {
        let current = match query.tail {
            Some(lines) => tail(path, lines)?,
            None => oldest(path, query.since)?,
        };
        let (since, until) = (query.since, query.until);
        Ok(Reader { path: path.to_owned(), since, until, current, pending: Vec::new(), start: 0, finished: false })
    }

    /// The next record; none at the present end of the log, from where a later call goes on.
    ///
    /// # Errors
    /// As read(2). What is no record is skipped.
    #[expect(clippy::should_implement_trait, reason = "an iterator that ended stays ended, this one resumes")]
    pub fn next(&mut self) -> io::Result<Option<Record>> {
        while !self.finished {
            let Some(record) = self.line()? else { return Ok(None) };
            if self.until.is_some_and(|until| record.time > until) {
                self.finished = true;
            } else if self.since.is_none_or(|since| record.time >= since) {
                return Ok(Some(record));
            }
        }
        Ok(None)
    }

    /// Everything up to the query's `until` has been returned: there is nothing to wait for.
    pub fn finished(&self) -> bool {
        self.finished
    }

    /// A descriptor that becomes readable when there may be more; drain it with `take(|_| true)` and call
    /// [`Reader::next`] until it returns none. Make it before the first `next`, so that nothing falls between.
    ///
    /// # Errors
    /// As inotify_add_watch(2); `ENOENT` when the log's directory does not exist.
    pub fn changes(&self) -> io::Result<Changes> {
        Changes::of(self.path.parent().unwrap_or(Path::new("/")))
    }

    /// The next whole line that is a record.
    fn line(&mut self) -> io::Result<Option<Record>> {
        let mut searched = 0;
        loop {
            let unsearched = &self.pending[self.start + searched..];
            if let Some(at) = unsearched.iter().position(|&byte| byte == b'\n') {
                let end = self.start + searched + at;
                let record = parse(&self.pending[self.start..end]);
                self.start = end + 1;
                searched = 0;
                if record.is_some() {
                    return Ok(record);
                }
                continue;
            }
            searched = self.pending.len() - self.start;
            if searched > MAX_LINE {
                self.pending.clear();
                (self.start, searched) = (0, 0);
            }
            if !self.fill()? {
                if !self.advance()? {
                    return Ok(None);
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

    /// At the end of the present file: goes on with the next newer one; false when there is none.
    fn advance(&mut self) -> io::Result<bool> {
        let Some(current) = &self.current else {
            self.current = oldest(&self.path, self.since)?;
            return Ok(self.current.is_some());
        };
        let here = identity(current)?;
        loop {
            let Some(age) = age(&self.path, here)? else {
                // Rotated out of existence while it was read: what is oldest now comes next, if it is newer at all.
                return self.leave(oldest(&self.path, None)?);
            };
            if age == 0 {
                return Ok(false);
            }
            let Some(newer) = existing(&rotated(&self.path, age - 1))? else { return Ok(false) };
            // Another rotation between the two looks would have put a newer file under this name.
            if self::age(&self.path, here)? == Some(age) {
                return self.leave(Some(newer));
            }
        }
    }

    /// Leaves the present file for `newer`, unless more was written to it before it was rotated.
    fn leave(&mut self, newer: Option<File>) -> io::Result<bool> {
        if self.fill()? {
            return Ok(true);
        }
        self.pending.clear();
        self.start = 0;
        let found = newer.is_some();
        self.current = newer;
        Ok(found)
    }
}

fn existing(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn identity(file: &File) -> io::Result<(u64, u64)> {
    file.metadata().map(|metadata| (metadata.dev(), metadata.ino()))
}

/// How often the file `wanted` has been rotated; none when it has no name any more.
fn age(path: &Path, wanted: (u64, u64)) -> io::Result<Option<u32>> {
    for age in 0.. {
        match std::fs::metadata(rotated(path, age)) {
            Ok(found) if (found.dev(), found.ino()) == wanted => return Ok(Some(age)),
            Ok(_) => {}
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            // The newest file is missing for a moment in every rotation.
            Err(_) if age > 0 => break,
            Err(_) => {}
        }
    }
    Ok(None)
}

/// Every file of the log that exists, newest first.
fn files(path: &Path) -> io::Result<Vec<File>> {
    let mut files: Vec<File> = Vec::new();
    for age in 0.. {
        match existing(&rotated(path, age))? {
            // A rotation during this walk shows the same file twice.
            Some(file) if files.last().map(identity).transpose()? == Some(identity(&file)?) => {}
            Some(file) => files.push(file),
            None if age > 0 => break,
            None => {}
        }
    }
    Ok(files)
}

/// The oldest file that was written to after `since`, or else the newest.
fn oldest(path: &Path, since: Option<Timestamp>) -> io::Result<Option<File>> {
    let mut files = files(path)?;
    let since = since.map_or(i64::MIN, Timestamp::as_second);
    while files.len() > 1 && files.last().map(File::metadata).transpose()?.is_some_and(|m| m.mtime() < since) {
        files.pop();
    }
    Ok(files.pop())
}

/// The file in which the last `lines` lines begin, positioned there.
fn tail(path: &Path, lines: usize) -> io::Result<Option<File>> {
    let mut missing = lines;
    let mut begin = None;
    for mut file in files(path)? {
        let place = find_tail(&file, &mut missing)?;
        file.seek(SeekFrom::Start(place))?;
        begin = Some(file);
        if missing == 0 {
            break;
        }
    }
    Ok(begin)
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

fn parse(line: &[u8]) -> Option<Record> {
    #[derive(Deserialize)]
    struct Line {
        log: String,
        stream: Stream,
        time: Timestamp,
    }
    let Line { log, stream, time } = serde_json::from_slice(line).ok()?;
    Some(Record { stream, time, bytes: log.into_bytes() })
}
