//! The task directory, by descriptor: the engine may rename it at any time (a warm supervisor's is, when it gets its
//! container).

use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags};

/// The open task directory.
#[derive(Debug)]
pub(crate) struct RunDir(OwnedFd);

impl RunDir {
    pub(crate) fn open(path: &Path) -> io::Result<RunDir> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(RunDir(rustix::fs::open(path, flags, Mode::empty())?))
    }

    /// Replaces the file `name` at once and whole. Nobody waits for the disk: what the folder tells of is processes,
    /// and those do not survive a power cut either.
    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let temporary = format!(".{name}");
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let mut file = std::fs::File::from(rustix::fs::openat(&self.0, &temporary, flags, Mode::from_raw_mode(0o600))?);
        file.write_all(bytes)?;
        Ok(rustix::fs::renameat(&self.0, &temporary, &self.0, name)?)
    }

    /// Removes the file `name`; one that is not there is no error.
    pub(crate) fn remove(&self, name: &str) {
        let _ = rustix::fs::unlinkat(&self.0, name, AtFlags::empty());
    }

    /// Where it is by now.
    pub(crate) fn path(&self) -> io::Result<PathBuf> {
        std::fs::read_link(format!("/proc/self/fd/{}", self.0.as_fd().as_raw_fd()))
    }

    /// Removes the directory itself if it is empty.
    pub(crate) fn remove_itself(&self) {
        if let Ok(path) = self.path() {
            let _ = std::fs::remove_dir(path);
        }
    }
}
