//! Compression of full files, by a child process: it takes no time of the loop, and no memory that stays.
//!
//! A compressed file appears when it is complete, and only then does the original go. The child ends with us: what it
//! has not finished is done after the next rotation.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use flate2::{Compression, GzBuilder};
use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::process::Signal;
use teu_sys::process::{self, Child};

use super::segment::{self, FILE_HEADER, FRAME, Frame, Kind};

/// Of zstd: fast, and for the text of logs hardly worse than more.
const LEVEL: i32 = 1;
/// A worse priority than containers have.
const NICE: i32 = 10;
/// The two letters of our field in a gzip header, RFC 1952, 2.3.1.1.
const FIELD: [u8; 2] = *b"TE";

/// The child, as long as nobody has looked whether it has ended. Dropped, it is ended.
#[derive(Debug)]
pub(crate) struct Compressor {
    child: Child,
    over: bool,
}

impl Compressor {
    /// Compresses every full file of the driver `local`: those below `current`.
    pub(crate) fn local(dir: &Path, current: u64) -> io::Result<Compressor> {
        Compressor::spawn(|| {
            let files = segment::files(dir)?.into_iter();
            for (number, _) in files.filter(|(number, kind)| *kind == Kind::Log && *number < current) {
                compress_segment(dir, number)?;
            }
            Ok(())
        })
    }

    /// Compresses a file of the driver `json-file` into `path.gz`.
    pub(crate) fn gzip(path: &Path) -> io::Result<Compressor> {
        Compressor::spawn(|| compress_gzip(path))
    }

    fn spawn(work: impl FnOnce() -> io::Result<()>) -> io::Result<Compressor> {
        let parent = rustix::process::getpid();
        let child = process::spawn(0, None, || {
            // Other descriptors are the container's and its clients': they must not be held open here.
            let alone = process::close_from(3).is_ok()
                && rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).is_ok();
            if !alone || rustix::process::getppid() != Some(parent) {
                return 1;
            }
            let _ = rustix::process::nice(NICE);
            i32::from(work().is_err())
        })?;
        Ok(Compressor { child, over: false })
    }

    /// Whether it has ended.
    pub(crate) fn finished(&mut self) -> bool {
        self.over = self.over || !matches!(process::try_wait(&self.child.pidfd), Ok(None));
        self.over
    }

    /// Waits for its end.
    pub(crate) fn wait(mut self) {
        if !self.over {
            let _ = process::wait(&self.child.pidfd);
            self.over = true;
        }
    }
}

impl Drop for Compressor {
    fn drop(&mut self) {
        if !self.finished() {
            let _ = process::send_signal(&self.child.pidfd, Signal::KILL.as_raw());
            let _ = process::wait(&self.child.pidfd);
        }
    }
}

fn compress_segment(dir: &Path, number: u64) -> io::Result<()> {
    let path = segment::path(dir, number, Kind::Log);
    let Some(source) = open(&path)? else { return Ok(()) };
    let Some(newest_before) = segment::read_file_header(&source)? else { return Ok(()) };
    let target = Draft::new(dir)?;
    let length = write_frames(&source, newest_before, &target.file)?;
    debug_assert!(length >= FILE_HEADER);
    let compressed = segment::path(dir, number, Kind::Compressed);
    target.commit(&compressed)?;
    // Whoever looks for the file finds one of the two at any time; one that became too old meanwhile does not come back.
    if let Err(error) = fs::remove_file(&path) {
        ignore_missing(fs::remove_file(compressed))?;
        return Err(error);
    }
    ignore_missing(fs::remove_file(segment::path(dir, number, Kind::Index)))
}

/// Writes the records of a file as frames and their index; returns the file's length.
fn write_frames(source: &File, newest_before: i64, target: &File) -> io::Result<u64> {
    let end = source.metadata()?.len();
    let mut out = BufWriter::with_capacity(256 << 10, target);
    let (mut frames, mut buffer) = (Vec::new(), Vec::new());
    let (mut offset, mut written, mut newest) = (FILE_HEADER, 0_u64, newest_before);
    loop {
        let (start, before) = (offset, newest);
        while offset - start < FRAME as u64
            && let Some(header) = segment::header_at(source, offset, end)?
        {
            newest = newest.max(header.time);
            offset += header.total();
        }
        if offset == start {
            break;
        }
        buffer.resize(usize::try_from(offset - start).map_err(io::Error::other)?, 0);
        source.read_exact_at(&mut buffer, start)?;
        let frame = zstd::bulk::compress(&buffer, LEVEL)?;
        out.write_all(&frame)?;
        frames.push(Frame { newest_before: before, offset: written, start });
        written += frame.len() as u64;
    }
    out.write_all(&segment::cold_index(&frames, offset))?;
    out.flush()?;
    Ok(offset)
}

fn compress_gzip(path: &Path) -> io::Result<()> {
    let Some(mut source) = open(path)? else { return Ok(()) };
    let mut name = path.as_os_str().to_os_string();
    name.push(".gz");
    let target = Draft::new(path.parent().unwrap_or(Path::new("/")))?;
    let field = identity_field(&source)?;
    let out = BufWriter::with_capacity(256 << 10, &target.file);
    let mut encoder = GzBuilder::new().extra(field).write(out, Compression::fast());
    io::copy(&mut source, &mut encoder)?;
    encoder.finish()?.flush()?;
    target.commit(&PathBuf::from(name))?;
    fs::remove_file(path)
}

/// What tells a file from every other one, whatever it is called: its inode, and when that was made, for a number that
/// is free is soon used again.
pub(crate) type Identity = (u64, u64);

/// The identity of an open file.
pub(crate) fn identity(file: &File) -> io::Result<Identity> {
    let metadata = file.metadata()?;
    let since_epoch = |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    // Where the file system does not know it, the number alone has to do.
    let born = metadata.created().map(since_epoch).unwrap_or_default();
    Ok((metadata.ino(), u64::try_from(born.as_nanos()).unwrap_or(0)))
}

/// Which file this was, for readers that are in the middle of it.
fn identity_field(file: &File) -> io::Result<Vec<u8>> {
    let (inode, born) = identity(file)?;
    Ok([&FIELD[..], &16_u16.to_le_bytes(), &inode.to_le_bytes(), &born.to_le_bytes()].concat())
}

/// The identity that a compressed file had before, and the file at its beginning again.
pub(crate) fn original(file: &mut File) -> io::Result<Option<Identity>> {
    let mut head = [0; 32];
    let mut length = 0;
    loop {
        match file.read(&mut head[length..])? {
            0 => break,
            count => length += count,
        }
        if length == head.len() {
            break;
        }
    }
    file.seek(SeekFrom::Start(0))?;
    // Ten fixed bytes, of which the fourth says that there are extra fields; their length; then ours.
    let ours = length == 32 && head[0..2] == [0x1f, 0x8b] && head[3] & 4 != 0 && head[12..14] == FIELD;
    Ok(ours.then(|| (segment::u64_at(&head, 16), segment::u64_at(&head, 24))))
}

fn open(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn ignore_missing(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// A file without a name, so that nothing is left of it if we end before it is complete.
struct Draft {
    file: File,
}

impl Draft {
    fn new(dir: &Path) -> io::Result<Draft> {
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        Ok(Draft { file: rustix::fs::open(dir, flags, Mode::from_raw_mode(0o640))?.into() })
    }

    fn commit(self, path: &Path) -> io::Result<()> {
        ignore_missing(fs::remove_file(path))?;
        let own = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        Ok(rustix::fs::linkat(CWD, own, CWD, path, AtFlags::SYMLINK_FOLLOW)?)
    }
}
