//! Files in and out of a container: `cp` and `export`. Every path is resolved inside the container's root.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use teu_api::container::PathStat;
use teu_store::tar::{ArchiveOptions, ExtractOptions, archive, extract};
use teu_sys::fs::{FileKind, Metadata, Root};

use super::{Container, Phase};
use crate::error::{Error, Result};
use crate::pipe::{Stream, stream};

/// Go's `os.ModeDir`, `ModeSymlink`, … beside the permission bits, as Docker's clients read them.
const GO_DIRECTORY: u32 = 1 << 31;
const GO_SYMLINK: u32 = 1 << 27;

impl Container {
    /// Its root: the running process' own, or the layers put together for the moment.
    pub(super) fn root(&self) -> Result<Root> {
        let record = self.record();
        if matches!(record.state.phase, Phase::Running | Phase::Paused) {
            let path = PathBuf::from(format!("/proc/{}/root", record.state.pid));
            let open = rustix::fs::open(&path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
            if let Ok(root) = open {
                return Ok(Root::from_fd(root));
            }
        }
        let overlay = self.shared.context.store.snapshots().renew(self.id())?;
        let mounted =
            overlay.mount_detached().map_err(|error| Error::io("mount the root of", self.id().as_ref(), error))?;
        Ok(Root::from_fd(mounted))
    }

    /// What is at `path`, links not followed.
    ///
    /// # Errors
    /// When nothing is there.
    pub fn stat_path(&self, path: &str) -> Result<PathStat> {
        let root = self.root()?;
        self.stat(&root, path)
    }

    fn stat(&self, root: &Root, path: &str) -> Result<PathStat> {
        // A trailing slash or dot asks for what a link leads to.
        let follow = path.ends_with('/') || path.ends_with("/.");
        let found = if follow { root.metadata(path) } else { root.symlink_metadata(path) };
        let meta = found.map_err(|error| self.no_such(path, &error))?;
        let link = if meta.is_symlink() { root.real_path(path).unwrap_or_default() } else { PathBuf::new() };
        let name = Path::new(path).file_name().map_or_else(|| "/".into(), |name| name.to_string_lossy().into_owned());
        Ok(PathStat {
            name,
            size: i64::try_from(meta.size).unwrap_or(i64::MAX),
            mode: go_mode(&meta),
            mtime: jiff::Timestamp::from_second(meta.mtime.seconds).map(|time| time.to_string()).unwrap_or_default(),
            link_target: link.display().to_string(),
        })
    }

    fn no_such(&self, path: &str, error: &io::Error) -> Error {
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
                Error::not_found(format!("Could not find the file {path} in container {}", self.id()))
            }
            _ => Error::io("look up", path.as_ref(), io::Error::from(error.kind())),
        }
    }

    /// `path` as a tar stream.
    ///
    /// # Errors
    /// When nothing is there; what goes wrong later ends the stream with an error.
    pub fn archive(&self, path: &str) -> Result<(PathStat, Stream)> {
        let root = self.root()?;
        let stat = self.stat(&root, path)?;
        let base = path.trim_end_matches("/.").trim_end_matches('/');
        let base = PathBuf::from(if base.is_empty() { "/" } else { base });
        let options =
            ArchiveOptions { rename: Some(if stat.name == "." { ".".into() } else { stat.name.clone().into() }) };
        let output = stream(move |out| archive(&root, &base, out, &options).map_err(io::Error::other));
        self.shared.context.emit_container("archive-path", &self.record(), &[]);
        Ok((stat, output))
    }

    /// The whole file system as a tar stream.
    ///
    /// # Errors
    /// When its root cannot be opened.
    pub fn export(&self) -> Result<Stream> {
        let root = self.root()?;
        let options = ArchiveOptions { rename: Some(".".into()) };
        let output =
            stream(move |out: &mut dyn Write| archive(&root, Path::new("/"), out, &options).map_err(io::Error::other));
        self.shared.context.emit_container("export", &self.record(), &[]);
        Ok(output)
    }

    /// Extracts a tar into the directory `path`. Blocks; call it where that is allowed.
    ///
    /// # Errors
    /// When `path` is no directory, or the archive is damaged.
    pub fn put_archive(&self, path: &str, tar: impl Read, keep_directories: bool) -> Result<()> {
        let record = self.record();
        if record.host.readonly_rootfs {
            return Err(Error::new(crate::Kind::Forbidden, "container rootfs is marked read-only"));
        }
        let root = self.root()?;
        let meta = root.metadata(path).map_err(|error| self.no_such(path, &error))?;
        if !meta.is_dir() {
            return Err(Error::bad(format!("extraction point is not a directory: {path}")));
        }
        extract(&root, Path::new(path), tar, &ExtractOptions { keep_directories, ..ExtractOptions::default() })?;
        self.shared.context.emit_container("extract-to-dir", &record, &[]);
        Ok(())
    }
}

fn go_mode(meta: &Metadata) -> u32 {
    let kind = match meta.kind {
        FileKind::Directory => GO_DIRECTORY,
        FileKind::Symlink => GO_SYMLINK,
        FileKind::Fifo => 1 << 25,
        FileKind::Socket => 1 << 24,
        FileKind::CharDevice => (1 << 26) | (1 << 21),
        FileKind::BlockDevice => 1 << 26,
        _ => 0,
    };
    let special = [(0o4000, 1 << 23), (0o2000, 1 << 22), (0o1000, 1 << 20)];
    let bits = special.iter().filter(|(bit, _)| meta.mode & bit != 0).fold(0, |all, (_, go)| all | go);
    kind | bits | (meta.mode & 0o777)
}
