//! Writing: lines found in what is read from pipes, encoded, rotated by size.
//!
//! A log never stops its container: what cannot be written (a full disk) is lost, and the file stays a sequence of
//! whole lines. Buffers are small and empty when nothing is pending.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::{Stream, rotated};
use crate::protocol::LogConfig;

/// The longest line that is one record.
const MAX_RECORD: usize = 16 << 10;
/// Encoded bytes that are collected before they are written.
const BATCH: usize = 64 << 10;

/// The log of one container.
#[derive(Debug)]
pub struct Writer {
    path: PathBuf,
    file: File,
    size: u64,
    max_size: u64,
    max_files: u32,
    /// Beginnings of lines, of stdout and of stderr.
    unfinished: [Vec<u8>; 2],
    encoded: Vec<u8>,
}

impl Writer {
    /// Opens the log, at the end of what is there; none when `config` keeps nothing.
    ///
    /// # Errors
    /// As open(2).
    pub fn open(config: &LogConfig) -> io::Result<Option<Writer>> {
        let Some(path) = config.path.clone() else { return Ok(None) };
        let mut file = open(&path)?;
        let mut size = file.metadata()?.len();
        if size > 0 {
            // A crash may have left half a line: end it, so that the next one can be read.
            let mut last = [0];
            file.seek(SeekFrom::Start(size - 1))?;
            file.read_exact(&mut last)?;
            if last != *b"\n" {
                file.write_all(b"\n")?;
                size += 1;
            }
        }
        let LogConfig { max_size, max_files, .. } = *config;
        Ok(Some(Writer { path, file, size, max_size, max_files, unfinished: Default::default(), encoded: Vec::new() }))
    }

    /// Takes what was read from `stream`: whole lines are written, the beginning of one is kept for later.
    pub fn append(&mut self, stream: Stream, bytes: &[u8], time: Timestamp) {
        let time = time.to_string();
        let mut unfinished = std::mem::take(&mut self.unfinished[stream as usize]);
        for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
            let mut piece = piece;
            while unfinished.len() + piece.len() > MAX_RECORD {
                let (now, later) = piece.split_at(MAX_RECORD.saturating_sub(unfinished.len()));
                unfinished.extend(now);
                piece = later;
                let whole = whole_characters(&unfinished);
                self.record(stream, &unfinished[..whole], &time);
                unfinished.drain(..whole);
            }
            if !piece.ends_with(b"\n") {
                unfinished.extend(piece);
            } else if unfinished.is_empty() {
                self.record(stream, piece, &time);
            } else {
                unfinished.extend(piece);
                self.record(stream, &unfinished, &time);
                unfinished.clear();
            }
        }
        if unfinished.is_empty() {
            unfinished = Vec::new();
        }
        self.unfinished[stream as usize] = unfinished;
        self.flush();
    }

    /// Writes what was kept of `stream`: it has ended without a newline.
    pub fn end(&mut self, stream: Stream, time: Timestamp) {
        let unfinished = std::mem::take(&mut self.unfinished[stream as usize]);
        if !unfinished.is_empty() {
            self.record(stream, &unfinished, &time.to_string());
            self.flush();
        }
    }

    fn record(&mut self, stream: Stream, bytes: &[u8], time: &str) {
        let start = self.encoded.len();
        let name = if stream == Stream::Stdout { "stdout" } else { "stderr" };
        self.encoded.extend(b"{\"log\":\"");
        encode(bytes, &mut self.encoded);
        self.encoded
            .extend([b"\",\"stream\":\"", name.as_bytes(), b"\",\"time\":\"", time.as_bytes(), b"\"}\n"].concat());
        let total = self.size + self.encoded.len() as u64;
        if self.max_size > 0 && total > self.max_size && self.size + start as u64 > 0 {
            let last = self.encoded.split_off(start);
            self.flush();
            self.rotate();
            self.encoded = last;
        } else if self.encoded.len() >= BATCH {
            self.flush();
        }
    }

    fn flush(&mut self) {
        if self.encoded.is_empty() {
            return;
        }
        match self.file.write_all(&self.encoded) {
            Ok(()) => self.size += self.encoded.len() as u64,
            // Half a line must not stay; if even this is refused, the reader skips what it cannot parse.
            Err(_) => drop(self.file.set_len(self.size)),
        }
        self.encoded.clear();
        self.encoded.shrink_to(4096);
    }

    /// Ages every file by one and begins a new one. A step that is refused leaves the log growing where it is.
    fn rotate(&mut self) {
        if self.max_files > 1 {
            for age in (0..self.max_files - 1).rev() {
                let _ = std::fs::rename(rotated(&self.path, age), rotated(&self.path, age + 1));
            }
        } else {
            // Removed, not emptied: a reader in the middle of it can finish.
            let _ = std::fs::remove_file(&self.path);
        }
        if let Ok(file) = open(&self.path) {
            self.size = file.metadata().map_or(0, |metadata| metadata.len());
            self.file = file;
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).append(true).create(true).mode(0o640).open(path)
}

/// How many of `bytes` can be cut off without cutting a character.
fn whole_characters(bytes: &[u8]) -> usize {
    let tail = bytes.len().saturating_sub(3);
    let starts = |at: &usize| bytes[*at] >= 0xC0;
    match (tail..bytes.len()).rev().find(starts) {
        Some(at) if std::str::from_utf8(&bytes[at..]).is_err_and(|e| e.error_len().is_none()) && at > 0 => at,
        _ => bytes.len(),
    }
}

/// Appends `bytes` as the inside of a JSON string.
fn encode(bytes: &[u8], out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    for chunk in bytes.utf8_chunks() {
        for &byte in chunk.valid().as_bytes() {
            match byte {
                b'"' | b'\\' => out.extend([b'\\', byte]),
                b'\n' => out.extend(b"\\n"),
                b'\r' => out.extend(b"\\r"),
                b'\t' => out.extend(b"\\t"),
                0..0x20 => {
                    out.extend(b"\\u00");
                    out.extend([HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
                }
                _ => out.push(byte),
            }
        }
        if !chunk.invalid().is_empty() {
            out.extend("\u{FFFD}".as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_quotes_and_bytes_that_are_no_text_become_json() {
        let mut out = b"\"".to_vec();
        encode(b"a\"b\\c\n\t\x1b[0m \xff \xc3\xa9", &mut out);
        out.push(b'"');
        let text: String = serde_json::from_slice(&out).expect("json");
        assert_eq!(text, "a\"b\\c\n\t\x1b[0m \u{FFFD} é");
    }

    #[test]
    fn a_character_is_never_cut_in_two() {
        assert_eq!(whole_characters("aé".as_bytes()), 3);
        assert_eq!(whole_characters(&"aé".as_bytes()[..2]), 1);
        assert_eq!(whole_characters(&"a€".as_bytes()[..3]), 1);
        assert_eq!(whole_characters(&"a😀".as_bytes()[..4]), 1);
        assert_eq!(whole_characters(b"a\xff"), 2);
        assert_eq!(whole_characters(b"plain"), 5);
    }
}
