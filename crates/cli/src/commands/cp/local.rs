//! This machine's side of a copy: what is at its paths, and the archives of it.

use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{Buf, Bytes};
use tokio::sync::mpsc::Receiver;

use super::paths::{self, Source, Target};
use crate::failure::{Failure, Naming};

/// Links that are followed before it counts as a circle: the kernel's number.
const LINKS: usize = 40;

/// What a copy from here takes: every link on the way is followed, the last one only if that is asked for.
pub(super) fn source(path: &str, follow: bool) -> Result<Source, Failure> {
    let real = |path: &Path| path.canonicalize().or_fail(format!("lstat {}", path.display()));
    let is_file = |path: &str| fs::metadata(path.trim_end_matches('/')).is_ok_and(|meta| !meta.is_dir());
    if paths::ends_with_slash(path) && is_file(path) {
        return Err(Failure::new("not a directory"));
    }
    let resolved = if follow || paths::ends_with_slash(path) {
        real(Path::new(path))?
    } else {
        let (directory, name) = match path.rsplit_once('/') {
            Some(("", name)) => ("/", name),
            Some((directory, name)) => (directory, name),
            None => (".", path),
        };
        real(Path::new(directory))?.join(name)
    };
    let resolved = if paths::means_contents(path) { real(&resolved)? } else { resolved };
    let (resolved, called) = paths::rebased(path, &resolved.to_string_lossy());
    let meta = fs::symlink_metadata(&resolved).or_fail(format!("lstat {resolved}"))?;
    Ok(Source { path: resolved, is_directory: meta.is_dir(), called })
}

/// What a copy to here meets, links followed even to where nothing is yet.
pub(super) fn target(path: &str) -> Result<Target, Failure> {
    let mut at = path.to_owned();
    for _ in 0..LINKS {
        match fs::symlink_metadata(at.trim_end_matches('/')) {
            Ok(meta) if meta.is_symlink() => {
                let link = fs::read_link(at.trim_end_matches('/')).or_fail(format!("readlink {at}"))?;
                let (parent, _) = paths::directory_and_name(&at);
                at = Path::new(&parent).join(link).to_string_lossy().into_owned();
            }
            Ok(meta) => return Ok(Target { path: at, exists: true, is_directory: meta.is_dir() }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let (parent, _) = paths::directory_and_name(&at);
                let meta = fs::metadata(&parent).or_fail(format!("stat {parent}"))?;
                if !meta.is_dir() {
                    return Err(Failure::new("not a directory"));
                }
                return Ok(Target { path: at, ..Target::default() });
            }
            Err(error) => return Err(Failure::io(&format!("lstat {at}"), &error)),
        }
    }
    Err(Failure::new(format!("lstat {path}: too many levels of symbolic links")))
}

/// Refuses a target that is neither file nor directory, or lies nowhere.
pub(super) fn check_output(path: &str) -> Result<(), Failure> {
    let cleaned = PathBuf::from(teu_api::path::clean(path));
    if let Some(parent) = cleaned.parent().filter(|parent| !parent.as_os_str().is_empty())
        && !parent.exists()
    {
        let message = format!("invalid output path: directory \"{}\" does not exist", parent.display());
        return Err(Failure::new(message));
    }
    let Ok(meta) = fs::metadata(path) else { return Ok(()) };
    let kind = meta.file_type();
    let what = match () {
        () if kind.is_char_device() || kind.is_block_device() => "got a device",
        () if kind.is_fifo() || kind.is_socket() => "got an irregular file",
        () => return Ok(()),
    };
    let message = format!("invalid output path: \"{path}\" must be a directory or a regular file: {what}");
    Err(Failure::new(message))
}

/// The bytes of the regular files at and below a path, as far as they can be seen.
pub(super) fn content_size(path: &Path) -> u64 {
    let Ok(meta) = fs::symlink_metadata(path) else { return 0 };
    if !meta.is_dir() {
        return if meta.is_file() { meta.len() } else { 0 };
    }
    let (mut total, mut folders) = (0, vec![path.to_path_buf()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => folders.push(entry.path()),
                Ok(kind) if kind.is_file() => total += entry.metadata().map_or(0, |meta| meta.len()),
                _ => {}
            }
        }
    }
    total
}

/// An answer's body, for a thread that reads.
pub(crate) struct Pieces {
    receiver: Receiver<io::Result<Bytes>>,
    current: Bytes,
}

impl Pieces {
    /// Reads what arrives there.
    pub(crate) fn new(receiver: Receiver<io::Result<Bytes>>) -> Self {
        Self { receiver, current: Bytes::new() }
    }
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.receiver.blocking_recv() {
                Some(piece) => self.current = piece?,
                None => return Ok(0),
            }
        }
        let count = self.current.len().min(buffer.len());
        self.current.copy_to_slice(&mut buffer[..count]);
        Ok(count)
    }
}

/// Counts what passes through it.
pub(super) struct Counted<W> {
    inner: W,
    total: Arc<AtomicU64>,
}

impl<W> Counted<W> {
    /// Adds to `total`.
    pub(super) fn new(inner: W, total: Arc<AtomicU64>) -> Self {
        Self { inner, total }
    }

    /// What it passes them to.
    pub(super) fn inner(&self) -> &W {
        &self.inner
    }
}

impl<W: io::Write> io::Write for Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.total.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("teu-cp-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        path.canonicalize().unwrap()
    }

    #[test]
    fn links_of_a_source_are_followed_where_that_is_asked_for() {
        let at = folder("source");
        fs::create_dir(at.join("dir")).unwrap();
        fs::write(at.join("file"), "").unwrap();
        std::os::unix::fs::symlink("dir", at.join("to-dir")).unwrap();
        std::os::unix::fs::symlink("file", at.join("to-file")).unwrap();
        let text = |name: &str| format!("{}/{name}", at.display());
        for (path, follow, found, is_directory, called) in [
            ("file", false, "file", false, None),
            ("to-file", false, "to-file", false, None),
            ("to-file", true, "file", false, Some("to-file")),
            ("to-dir", false, "to-dir", false, None),
            ("to-dir/", false, "dir/", true, Some("to-dir")),
            ("to-dir/.", false, "dir/.", true, None),
            ("dir/", false, "dir/", true, None),
        ] {
            let called = called.map(str::to_owned);
            let expected = Source { path: text(found), is_directory, called };
            assert_eq!(source(&text(path), follow).unwrap(), expected, "{path}");
        }
        assert!(source(&text("file/"), false).is_err());
        assert!(source(&text("nothing"), false).is_err());
        fs::remove_dir_all(at).unwrap();
    }

    #[test]
    fn a_target_is_looked_for_through_links() {
        let at = folder("target");
        fs::create_dir(at.join("dir")).unwrap();
        std::os::unix::fs::symlink("dir", at.join("to-dir")).unwrap();
        std::os::unix::fs::symlink("dir/new", at.join("to-new")).unwrap();
        std::os::unix::fs::symlink("round", at.join("round")).unwrap();
        let text = |name: &str| format!("{}/{name}", at.display());
        let found = |name: &str| target(&text(name)).unwrap();
        assert_eq!(found("to-dir"), Target { path: text("dir"), exists: true, is_directory: true });
        assert_eq!(found("to-new"), Target { path: text("dir/new"), ..Target::default() });
        assert_eq!(found("new"), Target { path: text("new"), ..Target::default() });
        assert!(target(&text("round")).is_err() && target(&text("no/where")).is_err());
        assert!(check_output(&text("no/where")).unwrap_err().message.contains("does not exist"));
        assert!(check_output("/dev/null").unwrap_err().message.contains("got a device"));
        check_output(&text("dir")).unwrap();
        fs::remove_dir_all(at).unwrap();
    }
}
