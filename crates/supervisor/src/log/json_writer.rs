//! Writing the driver `json-file`'s lines, Docker's format, rotated by size.
//!
//! Buffers are small and empty when nothing is pending.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::compress::Compressor;
use super::lines::Pieces;
use super::{Stream, rotated, rotated_compressed};
use crate::protocol::LogFile;

/// Encoded bytes that are collected before they are written.
const BATCH: usize = 64 << 10;

/// The newest file of a log, being written.
#[derive(Debug)]
pub(crate) struct JsonWriter {
    path: PathBuf,
    file: File,
    size: u64,
    max_size: u64,
    max_files: u32,
    compress: bool,
    compressor: Option<Compressor>,
    /// What stands between stream and time in every line: `"attrs":{…},`, or nothing.
    attributes: Vec<u8>,
    encoded: Vec<u8>,
}

impl JsonWriter {
    /// Opens the log, at the end of what is there.
    pub(crate) fn open(config: &LogFile) -> io::Result<JsonWriter> {
        let path = config.path.clone();
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
        let attributes = if config.attributes.is_empty() {
            Vec::new()
        } else {
            [b"\"attrs\":", &serde_json::to_vec(&config.attributes)?[..], b","].concat()
        };
        let LogFile { max_size, max_files, compress, .. } = *config;
        let max_files = max_files.max(1);
        Ok(JsonWriter {
            path,
            file,
            size,
            max_size,
            max_files,
            compress,
            compressor: None,
            attributes,
            encoded: Vec::new(),
        })
    }

    /// Takes a block that was read at `time`; [`JsonWriter::flush`] writes it.
    pub(crate) fn block(&mut self, stream: Stream, block: &[u8], time: &str) {
        for piece in Pieces(block) {
            self.record(stream, piece, time);
        }
    }

    fn record(&mut self, stream: Stream, bytes: &[u8], time: &str) {
        let start = self.encoded.len();
        let name: &[u8] =
            if stream == Stream::Stdout { b"\",\"stream\":\"stdout\"," } else { b"\",\"stream\":\"stderr\"," };
        self.encoded.extend_from_slice(b"{\"log\":\"");
        encode(bytes, &mut self.encoded);
        self.encoded.extend_from_slice(name);
        self.encoded.extend_from_slice(&self.attributes);
        self.encoded.extend_from_slice(b"\"time\":\"");
        self.encoded.extend_from_slice(time.as_bytes());
        self.encoded.extend_from_slice(b"\"}\n");
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

    /// Writes what was taken.
    pub(crate) fn flush(&mut self) {
        if self.encoded.is_empty() {
            return;
        }
        match self.file.write_all(&self.encoded) {
            Ok(()) => self.size += self.encoded.len() as u64,
            // Half a line must not stay; if even this is refused, the reader skips what it cannot parse.
            Err(_) => drop(self.file.set_len(self.size)),
        }
        self.encoded.clear();
        self.encoded.shrink_to(BATCH);
    }

    /// Lets go of memory until there is more.
    pub(crate) fn rest(&mut self) {
        self.encoded.shrink_to(0);
    }

    /// Ages every file by one and begins a new one. A step that is refused leaves the log growing where it is.
    fn rotate(&mut self) {
        // Its file is about to be called otherwise. Docker waits too.
        if let Some(compressor) = self.compressor.take() {
            compressor.wait();
        }
        if self.max_files > 1 {
            let forms = [rotated, rotated_compressed];
            for name in forms {
                let _ = std::fs::remove_file(name(&self.path, self.max_files - 1));
            }
            for age in (0..self.max_files - 1).rev() {
                for name in forms {
                    let _ = std::fs::rename(name(&self.path, age), name(&self.path, age + 1));
                }
            }
            if self.compress {
                self.compressor = Compressor::gzip(&rotated(&self.path, 1)).ok();
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

/// A time as it stands in a line.
pub(crate) fn render(time: Timestamp) -> String {
    time.to_string()
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).append(true).create(true).mode(0o640).open(path)
}

/// Appends `bytes` as the inside of a JSON string.
fn encode(bytes: &[u8], out: &mut Vec<u8>) {
    for chunk in bytes.utf8_chunks() {
        let mut rest = chunk.valid().as_bytes();
        while let Some(at) = rest.iter().position(|&byte| byte < 0x20 || byte == b'"' || byte == b'\\') {
            out.extend_from_slice(&rest[..at]);
            escape(rest[at], out);
            rest = &rest[at + 1..];
        }
        out.extend_from_slice(rest);
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{FFFD}".as_bytes());
        }
    }
}

fn escape(byte: u8, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    match byte {
        b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
        b'\n' => out.extend_from_slice(b"\\n"),
        b'\r' => out.extend_from_slice(b"\\r"),
        b'\t' => out.extend_from_slice(b"\\t"),
        _ => {
            out.extend_from_slice(b"\\u00");
            out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
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
}
