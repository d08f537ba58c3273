//! Removal of whole trees, however deep: a few descriptors, a bounded stack, and no mount is entered.
//!
//! A tree deeper than [`DEPTH`] (a container can make one of a million levels) is cut: the directory down there is
//! renamed up to where the removal began and removed from there.

use std::ffi::{OsStr, OsString};
use std::io;

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::dir::{Dir, single};
use super::metadata::FileKind;

/// Levels of directories held open at once.
const DEPTH: u32 = 64;

impl Dir {
    /// Removes `name` with all below it, not following links; fine when there is nothing of that name. A mount below
    /// it is an error (`EXDEV`), not entered.
    pub fn remove_all(&self, name: impl AsRef<OsStr>) -> io::Result<()> {
        let mut removal = Removal { top: self, waiting: vec![single(name.as_ref())?.to_os_string()], moved: 0 };
        while let Some(name) = removal.waiting.pop() {
            removal.remove(self, &name, 0)?;
        }
        Ok(())
    }

    /// Removes everything in the directory, not the directory.
    pub fn clear(&self) -> io::Result<()> {
        self.entries()?.iter().try_for_each(|entry| self.remove_all(&entry.name))
    }
}

struct Removal<'d> {
    top: &'d Dir,
    waiting: Vec<OsString>,
    moved: u64,
}

impl Removal<'_> {
    fn remove(&mut self, dir: &Dir, name: &OsStr, depth: u32) -> io::Result<()> {
        match dir.remove_file(name) {
            Ok(()) => return Ok(()),
            Err(error) => match Errno::from_io_error(&error) {
                Some(Errno::NOENT) => return Ok(()),
                Some(Errno::ISDIR) => {}
                _ => return Err(error),
            },
        }
        if depth == DEPTH {
            return self.lift(dir, name);
        }
        let inner = enter(dir, name)?;
        for entry in inner.entries()? {
            if entry.kind == FileKind::Directory {
                self.remove(&inner, &entry.name, depth + 1)?;
            } else {
                ignore_missing(inner.remove_file(&entry.name))?;
            }
        }
        ignore_missing(dir.remove_dir(name))
    }

    /// Moves a directory up to the top, under a name of its own.
    fn lift(&mut self, dir: &Dir, name: &OsStr) -> io::Result<()> {
        loop {
            self.moved += 1;
            let new_name = OsString::from(format!(".removing-{}-{}", std::process::id(), self.moved));
            match dir.rename_new(name, self.top, &new_name) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Ok(()) => {
                    self.waiting.push(new_name);
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
    }
}

fn enter(dir: &Dir, name: &OsStr) -> io::Result<Dir> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS;
    Ok(Dir::from_fd(rustix::fs::openat2(dir, name, flags, Mode::empty(), resolve)?))
}

fn ignore_missing(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
