//! Path resolution step by step, for what `openat2` cannot do: making directories on the way, and telling the real path.
//!
//! The walk holds every directory from the root down to where it is, so `..` goes back to a directory that was reached
//! from inside. Each step opens one name without following it; a link's target is put in front of what remains.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Component, Path, PathBuf};

use rustix::io::Errno;

use super::{Dir, Root};

/// As many links as the kernel follows in one path.
const LINKS: u32 = 40;

pub(super) struct Walk {
    /// Where the walk began, and below it each directory with its name.
    top: Dir,
    stack: Vec<(Dir, OsString)>,
    /// What remains, last component first.
    remaining: Vec<OsString>,
    links: u32,
}

/// Called for a directory that is missing; afterwards it is there, or this fails.
type Missing<'m> = &'m mut dyn FnMut(&Dir, &OsStr, &Path) -> io::Result<()>;

/// A name that is no directory, and what was said of it.
struct Stop {
    name: OsString,
    errno: Option<Errno>,
    error: io::Error,
}

impl Walk {
    pub(super) fn new(root: &Root, path: &Path) -> io::Result<Self> {
        let mut walk = Self { top: root.dir(".")?, stack: Vec::new(), remaining: Vec::new(), links: 0 };
        walk.push(path);
        Ok(walk)
    }

    pub(super) fn run(&mut self, missing: Missing<'_>) -> io::Result<()> {
        while let Some(stop) = self.advance() {
            match stop.errno {
                Some(Errno::NOTDIR | Errno::LOOP) => self.follow(&stop.name)?,
                Some(Errno::NOENT) => {
                    missing(self.here(), &stop.name, &self.path().join(&stop.name))?;
                    self.enter_new(stop.name)?;
                }
                _ => return Err(stop.error),
            }
        }
        Ok(())
    }

    /// Goes as far as there are directories. What then remains has no links to follow: a file's name, or what is missing.
    pub(super) fn run_to_end(&mut self) -> io::Result<PathBuf> {
        while let Some(stop) = self.advance() {
            match stop.errno {
                Some(Errno::NOTDIR | Errno::LOOP) if self.is_link(&stop.name) => self.follow(&stop.name)?,
                Some(Errno::NOTDIR | Errno::LOOP | Errno::NOENT | Errno::ACCESS) => {
                    self.remaining.push(stop.name);
                    break;
                }
                _ => return Err(stop.error),
            }
        }
        let mut path = self.path();
        while let Some(name) = self.remaining.pop() {
            if name == ".." {
                path.pop();
            } else {
                path.push(name);
            }
        }
        Ok(path)
    }

    /// Goes on through directories to the end, or to a name that is none.
    fn advance(&mut self) -> Option<Stop> {
        while let Some(name) = self.remaining.pop() {
            if name == ".." {
                self.stack.pop();
                continue;
            }
            match self.here().open_dir(&name) {
                Ok(dir) => self.stack.push((dir, name)),
                Err(error) => return Some(Stop { errno: Errno::from_io_error(&error), name, error }),
            }
        }
        None
    }

    fn is_link(&self, name: &OsStr) -> bool {
        self.here().metadata(name).is_ok_and(|metadata| metadata.is_symlink())
    }

    /// Where the walk is, from the root, without a leading slash.
    pub(super) fn path(&self) -> PathBuf {
        self.stack.iter().map(|(_, name)| name).collect()
    }

    pub(super) fn into_dir(mut self) -> io::Result<Dir> {
        Ok(self.stack.pop().map_or(self.top, |(dir, _)| dir))
    }

    fn here(&self) -> &Dir {
        self.stack.last().map_or(&self.top, |(dir, _)| dir)
    }

    /// Another process may have put a link where a directory was to be made: that is followed like any other.
    fn enter_new(&mut self, name: OsString) -> io::Result<()> {
        match self.here().open_dir(&name) {
            Ok(dir) => {
                self.stack.push((dir, name));
                Ok(())
            }
            Err(error) => match Errno::from_io_error(&error) {
                Some(Errno::NOTDIR | Errno::LOOP) => self.follow(&name),
                _ => Err(error),
            },
        }
    }

    fn follow(&mut self, name: &OsStr) -> io::Result<()> {
        let target = match self.here().read_link(name) {
            Err(error) if Errno::from_io_error(&error) == Some(Errno::INVAL) => return Err(Errno::NOTDIR.into()),
            other => other?,
        };
        self.links += 1;
        if self.links > LINKS {
            return Err(Errno::LOOP.into());
        }
        if target.is_absolute() {
            self.stack.clear();
        }
        self.push(&target);
        Ok(())
    }

    fn push(&mut self, path: &Path) {
        let names = path.components().rev().filter_map(|component| match component {
            Component::Normal(name) => Some(name.to_os_string()),
            Component::ParentDir => Some(OsString::from("..")),
            _ => None,
        });
        self.remaining.extend(names);
    }
}
