//! Copies of trees within the machine: reflinks where the file system has them, all metadata, hard links kept.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};

use teu_sys::fs::{Dir, FileKind, Metadata};

use crate::tar::{DEPTH_LIMIT, Fault, OPAQUE, carried, is_opaque, is_whiteout};
use crate::{Error, Result};

/// What a copy changes on the way.
#[derive(Clone, Copy, Debug, Default)]
pub struct CopyOptions {
    /// Everything gets this owner and group instead of its own.
    pub owner: Option<(u32, u32)>,
    /// What becomes of the marks by which an overlay's directory removes what is below it.
    pub marks: Marks,
}

/// What a copy does with an overlay's removal marks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Marks {
    /// They are not looked for.
    #[default]
    Ignored,
    /// The copy is an overlay's directory too: they go with it.
    Kept,
    /// What they remove is removed from the copy, which shows what was below.
    Obeyed,
}

/// A copy of one or more trees on the same two file systems; what was one file in them is one in the copy.
pub struct Copier {
    options: CopyOptions,
    /// The first copy of a file with several names: the directory that it is in, and its name.
    links: HashMap<(u64, u64), (Dir, OsString)>,
    bytes: u64,
}

impl Copier {
    /// A copy of nothing yet.
    #[must_use]
    pub fn new(options: CopyOptions) -> Self {
        Self { options, links: HashMap::new(), bytes: 0 }
    }

    /// Bytes in the regular files copied so far.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Copies `name` in `from`, with all below it, to `new_name` in `to`. Links are copied as links. A directory is
    /// merged into one that is there; anything else is replaced. Sockets are left out.
    pub fn copy(&mut self, from: &Dir, name: impl AsRef<OsStr>, to: &Dir, new_name: impl AsRef<OsStr>) -> Result<()> {
        let (name, new_name) = (name.as_ref(), new_name.as_ref());
        let metadata = from.metadata(name).map_err(|error| Error::io(name, error))?;
        self.entry((from, name), &metadata, (to, new_name), Path::new(name), 0)
    }

    /// Copies what is in `from` into `to`, but not the metadata of `from` itself.
    pub fn copy_contents(&mut self, from: &Dir, to: &Dir) -> Result<()> {
        self.children(from, to, Path::new(""), 0)
    }

    fn entry(
        &mut self,
        from: (&Dir, &OsStr),
        metadata: &Metadata,
        to: (&Dir, &OsStr),
        path: &Path,
        depth: usize,
    ) -> Result<()> {
        let in_path = |error| Error::io(path, error);
        let (target, name) = to;
        if self.options.marks == Marks::Obeyed && is_whiteout(metadata) {
            return target.remove_all(name).map_err(in_path);
        }
        if metadata.is_dir() {
            if self.options.marks == Marks::Obeyed && is_opaque(from.0, from.1).map_err(in_path)? {
                target.remove_all(name).map_err(in_path)?;
            }
            if !target.find(name).map_err(in_path)?.is_some_and(|existing| existing.is_dir()) {
                target.remove_all(name).map_err(in_path)?;
                target.create_dir(name, 0o700).map_err(in_path)?;
            }
            let inner = target.open_dir(name).map_err(in_path)?;
            self.children(&from.0.open_dir(from.1).map_err(in_path)?, &inner, path, depth + 1)?;
            return self.dress(from, metadata, to).map_err(in_path);
        }
        if metadata.kind == FileKind::Socket {
            return Ok(());
        }
        target.remove_all(name).map_err(in_path)?;
        let identity = (metadata.dev, metadata.ino);
        if let Some((dir, first)) = self.links.get(&identity) {
            return dir.link(first, target, name).map_err(in_path);
        }
        self.make(from, metadata, to).and_then(|()| self.dress(from, metadata, to)).map_err(in_path)?;
        if metadata.nlink > 1 {
            self.links.insert(identity, (target.try_clone().map_err(in_path)?, name.to_os_string()));
        }
        Ok(())
    }

    fn children(&mut self, from: &Dir, to: &Dir, path: &Path, depth: usize) -> Result<()> {
        if depth > DEPTH_LIMIT {
            return Err(Error::Tar { entry: path.display().to_string(), fault: Fault::Depth });
        }
        for entry in from.entries().map_err(|error| Error::io(path, error))? {
            let path: PathBuf = path.join(&entry.name);
            let Some(metadata) = from.find(&entry.name).map_err(|error| Error::io(&path, error))? else { continue };
            self.entry((from, &entry.name), &metadata, (to, &entry.name), &path, depth)?;
        }
        Ok(())
    }

    fn make(&mut self, (from, old): (&Dir, &OsStr), metadata: &Metadata, (to, new): (&Dir, &OsStr)) -> io::Result<()> {
        match metadata.kind {
            FileKind::Regular => {
                let source = from.open_file(old)?;
                let copy = to.create_file(new, 0o600)?;
                if rustix::fs::ioctl_ficlone(&copy, &source).is_err() {
                    // The standard library copies within the kernel where it can.
                    io::copy(&mut &source, &mut &copy)?;
                }
                self.bytes += metadata.size;
                Ok(())
            }
            FileKind::Symlink => to.symlink(from.read_link(old)?, new),
            kind => to.mknod(new, kind, 0o600, metadata.rdev),
        }
    }

    fn dress(&self, (from, old): (&Dir, &OsStr), metadata: &Metadata, (to, new): (&Dir, &OsStr)) -> io::Result<()> {
        let (uid, gid) = self.options.owner.unwrap_or((metadata.uid, metadata.gid));
        copy_metadata((from, old), &Metadata { uid, gid, ..*metadata }, (to, new))?;
        if self.options.marks == Marks::Kept
            && metadata.is_dir()
            && let Some(value) = from.xattr(old, OPAQUE)?
        {
            to.set_xattr(new, OPAQUE, &value)?;
        }
        Ok(())
    }
}

/// Gives a file the owner, mode and time in `metadata` and the travelling attributes of another.
pub(crate) fn copy_metadata(
    (from, old): (&Dir, &OsStr),
    metadata: &Metadata,
    (to, new): (&Dir, &OsStr),
) -> io::Result<()> {
    to.set_owner(new, metadata.uid, metadata.gid)?;
    if !metadata.is_symlink() {
        to.set_mode(new, metadata.mode)?;
    }
    for attribute in from.xattrs(old)?.iter().filter(|attribute| carried(attribute)) {
        if let Some(value) = from.xattr(old, attribute)? {
            to.set_xattr(new, attribute, &value)?;
        }
    }
    to.set_mtime(new, metadata.mtime)
}
