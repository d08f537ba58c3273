//! File trees that cannot be escaped from.
//!
//! [`Root`] is a directory that paths are resolved in as if it were `/`: symbolic links, absolute ones included, and
//! `..` stay inside, whatever a process in the tree does meanwhile (`openat2` with `RESOLVE_IN_ROOT`, no magic links).
//! [`Dir`] is one directory held by its descriptor; its methods take a single name, never a path, and never follow a
//! link in it. What is created, changed or removed goes through a `Dir`: resolve the parent once, then act on the name.
//!
//! Invariant: no function here takes a path that is resolved in the caller's own root, except [`Root::open`].

mod dir;
mod metadata;
mod remove;
mod walk;

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

pub use dir::{Dir, Entry, set_file_mtime};
pub use metadata::{FileKind, Metadata, Time};

/// A resolution that meets a rename anywhere on the machine while it is in a `..` is asked to try again.
const RESOLVE_TRIES: u32 = 128;

/// A directory that acts as `/` for every path given to it.
#[derive(Debug)]
pub struct Root {
    fd: OwnedFd,
}

impl Root {
    /// Opens the directory at `path`, a path of the host.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self { fd: rustix::fs::open(path, flags, Mode::empty())? })
    }

    /// Takes a directory already open (`O_PATH` suffices), such as a detached mount.
    #[must_use]
    pub fn from_fd(fd: OwnedFd) -> Self {
        Self { fd }
    }

    /// A second handle of the same directory.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { fd: self.fd.try_clone()? })
    }

    /// Opens `path` with `flags` of the caller's choice; the last component is followed unless they say otherwise.
    /// `O_CLOEXEC` is added.
    pub fn open_with(&self, path: impl AsRef<Path>, flags: OFlags, mode: u32) -> io::Result<OwnedFd> {
        let path = path.as_ref();
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let creates = flags.intersects(OFlags::CREATE | OFlags::TMPFILE.difference(OFlags::DIRECTORY));
        let mode = if creates { Mode::from_raw_mode(mode & 0o7777) } else { Mode::empty() };
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        for _ in 0..RESOLVE_TRIES {
            match rustix::fs::openat2(&self.fd, path, flags | OFlags::CLOEXEC, mode, resolve) {
                Err(Errno::AGAIN | Errno::INTR) => {}
                other => return Ok(other?),
            }
        }
        Err(Errno::AGAIN.into())
    }

    /// A descriptor that only names what is at `path` (`O_PATH`), links followed: a mount's target, say.
    pub fn open_path(&self, path: impl AsRef<Path>) -> io::Result<OwnedFd> {
        self.open_with(path, OFlags::PATH, 0)
    }

    /// Opens a regular file for reading, links followed. Anything else (a FIFO, a device) is refused, not waited for.
    pub fn open_file(&self, path: impl AsRef<Path>) -> io::Result<File> {
        dir::regular(self.open_with(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY, 0)?)
    }

    /// Opens a directory, links followed.
    pub fn dir(&self, path: impl AsRef<Path>) -> io::Result<Dir> {
        Ok(Dir::from_fd(self.open_with(path, OFlags::RDONLY | OFlags::DIRECTORY, 0)?))
    }

    /// What is at `path`, links followed.
    pub fn metadata(&self, path: impl AsRef<Path>) -> io::Result<Metadata> {
        Metadata::of(self.open_path(path)?)
    }

    /// What is at `path`; a link in the last component is not followed.
    pub fn symlink_metadata(&self, path: impl AsRef<Path>) -> io::Result<Metadata> {
        Metadata::of(self.open_with(path, OFlags::PATH | OFlags::NOFOLLOW, 0)?)
    }

    /// The target of the link at `path`.
    pub fn read_link(&self, path: impl AsRef<Path>) -> io::Result<PathBuf> {
        let link = self.open_with(path, OFlags::PATH | OFlags::NOFOLLOW, 0)?;
        dir::link_target(&link, "")
    }

    /// The directory that the last component of `path` is in, and that component, not followed.
    ///
    /// `InvalidInput` for a path that has no last name: `/`, or one that ends in `..`.
    pub fn parent_of(&self, path: impl AsRef<Path>) -> io::Result<(Dir, OsString)> {
        let (parent, name) = split(path.as_ref())?;
        Ok((self.dir(parent)?, name.to_os_string()))
    }

    /// Makes the directory at `path` and those above it as far as they are missing, with `mode`; a link on the way is
    /// followed, even one whose target does not exist yet.
    pub fn create_dir_all(&self, path: impl AsRef<Path>, mode: u32) -> io::Result<Dir> {
        self.create_dir_all_with(path, mode, &mut |_, _, _| Ok(()))
    }

    /// The same, telling of each directory made: the one it is in, its name, and its path from the root.
    pub fn create_dir_all_with(
        &self,
        path: impl AsRef<Path>,
        mode: u32,
        made: &mut dyn FnMut(&Dir, &OsStr, &Path) -> io::Result<()>,
    ) -> io::Result<Dir> {
        match self.dir(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let mut walk = walk::Walk::new(self, path.as_ref())?;
                walk.run(&mut |dir, name, at| {
                    match dir.create_dir(name, mode) {
                        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
                        other => other?,
                    }
                    made(dir, name, at)
                })?;
                walk.into_dir()
            }
            other => other,
        }
    }

    /// The path of the directory at `path` from the root, without links and `..`. By the time it is used it may be
    /// another one: for messages and keys, not for access.
    pub fn real_path(&self, path: impl AsRef<Path>) -> io::Result<PathBuf> {
        let mut walk = walk::Walk::new(self, path.as_ref())?;
        walk.run(&mut |_, _, _| Err(Errno::NOENT.into()))?;
        Ok(walk.path())
    }

    /// Where `path` leads, from the root, without links and `..`, to whatever is there, or as far as something is there.
    /// By the time it is used it may be something else: for messages, not for access.
    pub fn resolve(&self, path: impl AsRef<Path>) -> io::Result<PathBuf> {
        walk::Walk::new(self, path.as_ref())?.run_to_end()
    }

    /// Removes what is at `path`, with all below it; a link in the last component is removed itself. Fine when there
    /// is nothing.
    pub fn remove_all(&self, path: impl AsRef<Path>) -> io::Result<()> {
        match self.parent_of(path) {
            Ok((dir, name)) => dir.remove_all(&name),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Splits off the last component, which must be a name.
fn split(path: &Path) -> io::Result<(&Path, &OsStr)> {
    match path.components().next_back() {
        Some(Component::Normal(name)) => Ok((path.parent().unwrap_or(Path::new("")), name)),
        _ => Err(Errno::INVAL.into()),
    }
}

#[cfg(test)]
mod tests;
