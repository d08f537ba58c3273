//! Paths that cannot be read, and paths that cannot be written.
//!
//! A mask is an inode of a read-only tmpfs of our own (never the image's or anybody's `/dev/null`): its empty directory
//! over a directory, its empty file over anything else. The tmpfs hides under the new root and goes with the old one.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use teu_sys::fs::Root;
use teu_sys::mount::{self, Change, attribute};

use super::apply::is_directory;
use crate::Error;
use crate::error::errno;

const HARMLESS: u64 = attribute::READ_ONLY | attribute::NO_SETUID | attribute::NO_DEVICES | attribute::NO_EXEC;
/// The names of its two covers.
pub(crate) const FILE: &str = "file";
pub(crate) const DIRECTORY: &str = "directory";

/// Something to mask with.
#[derive(Debug)]
pub(crate) struct Mask(OwnedFd);

impl Mask {
    /// Makes the tmpfs, attached where only a clone of it can be reached.
    pub(crate) fn new() -> io::Result<Mask> {
        let tmpfs = Mask::filesystem()?;
        mount::attach_over_root(&tmpfs)?;
        Ok(Mask(tmpfs))
    }

    /// The tmpfs alone, attached to nothing.
    pub(crate) fn filesystem() -> io::Result<OwnedFd> {
        let options = [("source", Some("teu")), ("mode", Some("555")), ("size", Some("4k")), ("nr_inodes", Some("4"))];
        let tmpfs = mount::filesystem("tmpfs", &options, HARMLESS & !attribute::READ_ONLY)?;
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        rustix::fs::openat(&tmpfs, FILE, flags, Mode::from_raw_mode(0o444))?;
        rustix::fs::mkdirat(&tmpfs, DIRECTORY, Mode::from_raw_mode(0o555))?;
        mount::set_attributes(&tmpfs, false, Change { set: attribute::READ_ONLY, ..Change::default() })?;
        Ok(tmpfs)
    }

    /// Covers a path; one that is not there needs no cover.
    pub(crate) fn cover(&self, root: &Root, path: &str) -> Result<(), Error> {
        with_target(root, path, |target| {
            let name = if is_directory(&target)? { DIRECTORY } else { FILE };
            mount::attach(mount::clone_tree(&self.0, Path::new(name), false)?, target)
        })
    }
}

/// Makes a path, and all below it, read-only; one that is not there is nothing to write.
pub(crate) fn make_read_only(root: &Root, path: &str) -> Result<(), Error> {
    with_target(root, path, |target| {
        let tree = mount::clone_at(&target, true)?;
        mount::set_attributes(&tree, true, Change { set: attribute::READ_ONLY, ..Change::default() })?;
        mount::attach(tree, target)
    })
}

fn with_target(root: &Root, path: &str, cover: impl FnOnce(OwnedFd) -> io::Result<()>) -> Result<(), Error> {
    let result = match root.open_path(path) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(()),
        Err(error) => Err(error),
        Ok(target) => cover(target),
    };
    result.map_err(|error| Error::Mount {
        destination: path.to_owned(),
        step: "cover".to_owned(),
        errno: errno(&error),
    })
}
