//! Files in and out of a container: `cp` and `export`. Every path is resolved inside the container's root.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use teu_api::container::PathStat;
use teu_store::tar::{ArchiveOptions, ExtractOptions, Fault, archive, extract};
use teu_sys::credentials::make_files_as;
use teu_sys::fs::{FileKind, Metadata, Root};

use super::user::Accounts;
use super::{Container, Record};
use crate::error::{Error, Result};
use crate::pipe::{Stream, stream};
use crate::plain::plain;
use teu_api::path::clean;

/// Go's `os.ModeDir`, `ModeSymlink`, … beside the permission bits, as Docker's clients read them.
const GO_DIRECTORY: u32 = 1 << 31;
const GO_SYMLINK: u32 = 1 << 27;

/// How files are put into a container.
#[derive(Clone, Copy, Debug, Default)]
pub struct PutOptions {
    /// A directory is not replaced by something else, nor the reverse.
    pub keep_directories: bool,
    /// Everything belongs to the container's user.
    pub to_user: bool,
}

impl Container {
    /// What is at `path`, links not followed.
    ///
    /// # Errors
    /// When nothing is there.
    pub async fn stat_path(&self, path: &str) -> Result<PathStat> {
        let tree = self.tree().await?;
        let path = absolute(path);
        blocking(move || stat(tree.root(), &path)).await?.map_err(|error| self.no_such(&error))
    }

    /// The error of a path that is not there, without the path, which the caller names as it was asked for.
    fn no_such(&self, error: &io::Error) -> Error {
        match error.kind() {
            io::ErrorKind::NotFound => Error::not_found(""),
            io::ErrorKind::NotADirectory => Error::bad("a file is in the path: not a directory"),
            _ => Error::io("look up a path in container", self.id().as_ref(), io::Error::from(error.kind())),
        }
    }

    /// `path` as a tar stream.
    ///
    /// # Errors
    /// When nothing is there; what goes wrong later ends the stream with an error.
    pub async fn archive(&self, path: &str) -> Result<(PathStat, Stream)> {
        let tree = self.tree().await?;
        let path = absolute(path);
        let looked = {
            let (tree, path) = (tree.clone(), path.clone());
            blocking(move || stat(tree.root(), &path)).await?
        };
        let stat = looked.map_err(|error| self.no_such(&error))?;
        // A trailing slash or dot follows a link; the name is what was asked for.
        let follows = path.ends_with('/') || path.ends_with("/.");
        let base = if follows && stat.mode & GO_DIRECTORY != 0 {
            tree.root().resolve(&path).map_err(|error| self.no_such(&error))?
        } else {
            PathBuf::from(&path)
        };
        let options = ArchiveOptions { rename: Some(stat.name.clone().into()), first_id: tree.first_id() };
        let output = stream(move |out| {
            let base = if base.as_os_str().is_empty() { Path::new("/") } else { &base };
            archive(tree.root(), base, out, &options).map_err(io::Error::other)
        });
        self.shared.context.emit_container("archive-path", &self.record(), &[]);
        Ok((stat, output))
    }

    /// The whole file system as a tar stream, without what is mounted in it.
    ///
    /// # Errors
    /// When its layers cannot be put together.
    pub async fn export(&self) -> Result<Stream> {
        let context = &self.shared.context;
        let running = self.own_root();
        let mut layers = context.store.snapshots().overlay(self.id())?;
        // Nobody writes to the upper directory, which is the topmost layer then: nobody looks for changes in it.
        layers.lowers.splice(0..0, layers.upper.take());
        context.ahead.give_mount_points(&mut layers);
        layers.work = None;
        let output = stream(move |out: &mut dyn Write| {
            let (root, first_id) = match running {
                Some(running) => running,
                None => (Root::from_fd(layers.mount_detached()?), 0),
            };
            let options = ArchiveOptions { rename: Some(".".into()), first_id };
            archive(&root, Path::new("/"), out, &options).map_err(io::Error::other)
        });
        context.emit_container("export", &self.record(), &[]);
        Ok(output)
    }

    /// Extracts a tar into the directory `path`.
    ///
    /// # Errors
    /// When `path` is no directory, or cannot be written to, or the archive is damaged.
    pub async fn put_archive(&self, path: &str, tar: impl Read + Send + 'static, options: PutOptions) -> Result<()> {
        let record = self.record();
        let tree = self.tree().await?;
        let path = absolute(path);
        let owner = if options.to_user && !record.config.user.is_empty() {
            let identity = Accounts::of_root(tree.root()).identify(&record.config.user, &[])?;
            Some((identity.user.uid, identity.user.gid))
        } else {
            None
        };
        let (container, writer) = (self.clone(), record.clone());
        let put = move || -> Result<()> {
            let root = tree.root();
            let meta = root.metadata(&path).map_err(|error| container.no_such(&error))?;
            if !meta.is_dir() {
                return Err(Error::bad("extraction point is not a directory"));
            }
            let real = root.resolve(&path).map_err(|error| container.no_such(&error))?;
            writable(&writer, &Path::new("/").join(&real))?;
            let (PutOptions { keep_directories, .. }, first_id) = (options, tree.first_id());
            let options = ExtractOptions { keep_directories, owner, first_id, ..ExtractOptions::default() };
            let unpack = || extract(root, &Path::new("/").join(&real), plain(tar)?, &options).map_err(explain);
            if first_id == 0 { unpack() } else { as_root_of(first_id, unpack) }
        };
        blocking(put).await??;
        self.shared.context.emit_container("extract-to-dir", &record, &[]);
        Ok(())
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|error| Error::internal(error.to_string()))
}

/// Does something as the root of a user namespace, who alone can make files where the host's ids are in no map: on a
/// thread of its own, whose capabilities stay.
fn as_root_of(first: u32, work: impl FnOnce() -> Result<()> + Send) -> Result<()> {
    let wrong = |error: io::Error| Error::internal(format!("become the root of a container: {error}"));
    let work = || {
        make_files_as(first, first).map_err(wrong)?;
        work()
    };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().spawn_scoped(scope, work).map_err(wrong)?;
        thread.join().unwrap_or_else(|_| Err(Error::internal("the extracting thread ended early")))
    })
}

/// A path from the root, cleaned by its text alone, but with the slash or dot that it ends with.
fn absolute(path: &str) -> String {
    let cleaned = clean(&format!("/{path}"));
    let above = cleaned.trim_end_matches('/');
    match path.trim_end_matches('/') {
        here if here == "." || here.ends_with("/.") => format!("{above}/."),
        _ if path.ends_with('/') => format!("{above}/"),
        _ => cleaned,
    }
}

fn stat(root: &Root, path: &str) -> io::Result<PathStat> {
    // A trailing slash or dot asks for what a link leads to.
    let follow = path.ends_with('/') || path.ends_with("/.");
    let meta = if follow { root.metadata(path) } else { root.symlink_metadata(path) }?;
    let link = if meta.is_symlink() { format!("/{}", root.resolve(path)?.display()) } else { String::new() };
    let name = match path.trim_end_matches('/').rsplit('/').next() {
        Some("") | None => "/",
        Some(name) => name,
    };
    let time = jiff::Timestamp::new(meta.mtime.seconds, i32::try_from(meta.mtime.nanoseconds).unwrap_or(0));
    Ok(PathStat {
        name: name.into(),
        size: i64::try_from(meta.size).unwrap_or(i64::MAX),
        mode: go_mode(&meta),
        mtime: time.unwrap_or_default().to_string(),
        link_target: link,
    })
}

/// Refuses what the container itself could not write to, in Docker's words.
fn writable(record: &Record, path: &Path) -> Result<()> {
    let points = record.mounts.iter().map(|mount| &mount.point).filter(|point| path.starts_with(&point.destination));
    match points.max_by_key(|point| point.destination.len()) {
        Some(point) if point.rw => Ok(()),
        Some(_) => Err(Error::bad("mounted volume is marked read-only")),
        None if record.host.tmpfs.keys().any(|at| path.starts_with(clean(at))) => Ok(()),
        None if record.host.readonly_rootfs => Err(Error::bad("container rootfs is marked read-only")),
        None => Ok(()),
    }
}

/// An archive's fault in Docker's words, where it has some.
fn explain(error: teu_store::Error) -> Error {
    match &error {
        teu_store::Error::Tar { fault: fault @ (Fault::OverDirectory(..) | Fault::OverFile(..)), .. } => {
            Error::bad(fault.to_string())
        }
        _ => error.into(),
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

#[cfg(test)]
mod tests {
    use teu_api::container::{HostConfig, MountPoint};

    use super::*;
    use crate::container::MountRecord;

    #[test]
    fn paths_keep_the_slash_or_dot_at_their_end() {
        for (path, expected) in [
            ("a", "/a"),
            ("/a/", "/a/"),
            ("/a/.", "/a/."),
            ("/a/../b//c", "/b/c"),
            ("/", "/"),
            ("/.", "/."),
            (".", "/."),
            ("./", "/."),
            ("/a/./", "/a/."),
            ("//", "/"),
            ("../x", "/x"),
        ] {
            assert_eq!(absolute(path), expected, "{path}");
        }
    }

    #[test]
    fn what_the_container_cannot_write_to_is_refused() {
        let point = |destination: &str, rw| {
            MountRecord::plain(MountPoint { destination: destination.into(), rw, ..MountPoint::default() })
        };
        let host = HostConfig {
            readonly_rootfs: true,
            tmpfs: [("/tmp".to_owned(), String::new())].into(),
            ..HostConfig::default()
        };
        let mounts = vec![point("/ro", false), point("/ro/rw", true), point("/rw", true)];
        let mut record = Record { host, mounts, ..Record::default() };
        for (path, why) in [
            ("/ro/x", "mounted volume is marked read-only"),
            ("/", "container rootfs is marked read-only"),
            ("/row", "container rootfs is marked read-only"),
        ] {
            assert_eq!(writable(&record, Path::new(path)).unwrap_err().message, why, "{path}");
        }
        for path in ["/ro/rw", "/rw/a/b", "/tmp/x"] {
            writable(&record, Path::new(path)).expect(path);
        }
        record.host.readonly_rootfs = false;
        writable(&record, Path::new("/")).expect("writable");
    }
}
