//! Entries become files.
//!
//! Two ways in share all of it: [`extract`], where names are names, and [`apply_layer`], where whiteouts become what an
//! overlay understands and where what depends on the layers below (directories that the archive does not mention, hard
//! links to files that it does not contain) is noted for later, because those layers may not be there yet.
//!
//! Invariant: everything goes through the [`Root`]; a name is created, changed or removed in a directory that is held
//! open, and is never followed there.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::{File, Permissions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use rustix::io::Errno;
use teu_sys::fs::{Dir, FileKind, Metadata, Root, Time, set_file_mtime};

use super::read::{Entry, Kind, Reader};
use super::whiteout::{self, Meaning, OPAQUE, carried, is_whiteout};
use super::{ExtractOptions, Fault};
use crate::{Error, Result};

/// Bytes of paths remembered at most: an archive can name more directories than it has bytes.
const REMEMBERED: usize = 64 << 20;

/// Files at least this large are looked through for zeros that need not be written.
const SPARSE: u64 = 1 << 20;

/// What [`apply_layer`] leaves to be done when the layers below are known.
#[derive(Debug, Default)]
pub(crate) struct Applied {
    /// Directories that were made without an entry of their own; the empty path is the root.
    pub(crate) implicit: BTreeSet<PathBuf>,
    /// Hard links to what is not in the layer, in their order.
    pub(crate) pending: Vec<PendingLink>,
    /// Bytes in regular files.
    pub(crate) content_size: u64,
}

/// A hard link whose target is not in the layer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct PendingLink {
    pub(crate) path: PathBuf,
    pub(crate) target: PathBuf,
}

/// Unpacks a layer into an empty directory.
pub(crate) fn apply_layer<R: Read>(root: &Root, reader: &mut Reader<R>) -> Result<Applied> {
    let options = ExtractOptions::default();
    let mut extraction = Extraction::new(root, Path::new(""), &options, true);
    extraction.applied.implicit.insert(PathBuf::new());
    extraction.run(reader)?;
    Ok(extraction.applied)
}

/// Extracts an archive into a directory that may have anything in it.
pub(super) fn extract<R: Read>(root: &Root, at: &Path, reader: &mut Reader<R>, options: &ExtractOptions) -> Result<()> {
    let mut extraction = Extraction::new(root, at, options, false);
    extraction.directory(at).map_err(|error| Error::io(at, error))?;
    extraction.run(reader)
}

struct Extraction<'a> {
    root: &'a Root,
    at: &'a Path,
    options: &'a ExtractOptions,
    layer: bool,
    applied: Applied,
    /// The directory that the last entry was in: most entries have the same as the one before.
    current: Option<(PathBuf, Rc<Dir>)>,
    /// Times of directories, set at the end because what is put into them changes them.
    times: Vec<(PathBuf, Time)>,
    remembered: usize,
}

impl<'a> Extraction<'a> {
    fn new(root: &'a Root, at: &'a Path, options: &'a ExtractOptions, layer: bool) -> Self {
        let (applied, times) = (Applied::default(), Vec::new());
        Self { root, at, options, layer, applied, current: None, times, remembered: 0 }
    }

    fn run<R: Read>(&mut self, reader: &mut Reader<R>) -> Result<()> {
        while let Some(mut entry) = reader.next()? {
            if let Some(rename) = &self.options.rename {
                entry.path = rename.apply(&entry.path);
                if let Kind::HardLink(target) = &mut entry.kind {
                    *target = rename.apply(target);
                }
            }
            self.entry(&entry, reader)?;
        }
        for (path, time) in std::mem::take(&mut self.times).into_iter().rev() {
            match self.locate(&path).and_then(|(dir, name)| dir.set_mtime(&name, time)) {
                // A later entry took its place.
                Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {}
                other => other.map_err(|error| Error::io(&path, error))?,
            }
        }
        Ok(())
    }

    fn entry<R: Read>(&mut self, entry: &Entry, reader: &mut Reader<R>) -> Result<()> {
        let Some(name) = entry.path.file_name() else { return self.top(entry) };
        let meaning = if self.layer { layer_meaning(&entry.path, name) } else { Meaning::Plain };
        let parent = entry.path.parent().unwrap_or(Path::new(""));
        let in_entry = |error| Error::io(&entry.path, error);
        match meaning {
            Meaning::Ignored => Ok(()),
            Meaning::Invalid => Err(fault(entry, Fault::Name("name"))),
            Meaning::Opaque => {
                let dir = self.parent(parent).map_err(in_entry)?;
                dir.set_xattr(".", OPAQUE, b"y").map_err(in_entry)
            }
            Meaning::Removed(removed) => {
                let dir = self.parent(parent).map_err(in_entry)?;
                remove_below(&dir, removed).map_err(in_entry)
            }
            Meaning::Plain => {
                let dir = self.parent(parent).map_err(in_entry)?;
                if let Kind::Directory = entry.kind {
                    return self.make_directory(&dir, name, entry);
                }
                if self.make(&dir, name, entry, reader)? {
                    self.dress(&dir, name, entry).map_err(in_entry)?;
                }
                Ok(())
            }
        }
    }

    /// The entry for the top itself: a layer's root takes its metadata, the target of an extraction keeps its own.
    fn top(&mut self, entry: &Entry) -> Result<()> {
        if entry.kind != Kind::Directory {
            return Err(fault(entry, Fault::Root));
        }
        if !self.layer && !self.options.with_root {
            return Ok(());
        }
        let in_entry = |error| Error::io(&entry.path, error);
        let dir = self.parent(Path::new("")).map_err(in_entry)?;
        self.applied.implicit.remove(Path::new(""));
        self.dress(&dir, OsStr::new("."), entry).map_err(in_entry)?;
        self.remember(entry)
    }

    fn make_directory(&mut self, dir: &Dir, name: &OsStr, entry: &Entry) -> Result<()> {
        let in_entry = |error| Error::io(&entry.path, error);
        match dir.find(name).map_err(in_entry)? {
            Some(metadata) if metadata.is_dir() => {}
            existing => {
                let removed_below = self.layer && existing.as_ref().is_some_and(is_whiteout);
                self.make_way(dir, name, entry, existing)?;
                dir.create_dir(name, 0o700).map_err(in_entry)?;
                if removed_below {
                    dir.set_xattr(name, OPAQUE, b"y").map_err(in_entry)?;
                }
            }
        }
        self.applied.implicit.remove(&entry.path);
        self.dress(dir, name, entry).map_err(in_entry)?;
        self.remember(entry)
    }

    /// Makes anything but a directory; `false` when there is nothing to dress, a link having its target's metadata.
    fn make<R: Read>(&mut self, dir: &Dir, name: &OsStr, entry: &Entry, reader: &mut Reader<R>) -> Result<bool> {
        let in_entry = |error| Error::io(&entry.path, error);
        match &entry.kind {
            Kind::HardLink(target) => return self.link(dir, name, entry, target).map(|()| false),
            Kind::File(size) => {
                let file = self.create(dir, name, entry, || dir.create_file(name, 0o600))?;
                write_data(&file, *size, reader, &entry.path)?;
                self.applied.content_size += size;
                // The descriptor is at hand: cheaper than by name.
                if !self.options.own {
                    let (uid, gid) = self.owner(entry);
                    fchown(&file, Some(uid), Some(gid)).map_err(in_entry)?;
                }
                file.set_permissions(Permissions::from_mode(entry.mode)).map_err(in_entry)?;
                set_xattrs(dir, name, entry).map_err(in_entry)?;
                set_file_mtime(&file, entry.mtime).map_err(in_entry)?;
                return Ok(false);
            }
            Kind::Symlink(target) => self.create(dir, name, entry, || dir.symlink(target, name))?,
            Kind::Fifo => self.node(dir, name, entry, FileKind::Fifo, (0, 0))?,
            Kind::Char(rdev) => self.node(dir, name, entry, FileKind::CharDevice, *rdev)?,
            Kind::Block(rdev) => self.node(dir, name, entry, FileKind::BlockDevice, *rdev)?,
            Kind::Directory => {}
        }
        Ok(true)
    }

    fn node(&mut self, dir: &Dir, name: &OsStr, entry: &Entry, kind: FileKind, rdev: (u32, u32)) -> Result<()> {
        self.create(dir, name, entry, || dir.mknod(name, kind, 0o600, rdev))
    }

    fn link(&mut self, dir: &Dir, name: &OsStr, entry: &Entry, target: &Path) -> Result<()> {
        if *target == entry.path {
            return Ok(());
        }
        let in_entry = |error| Error::io(&entry.path, error);
        let missing = || fault(entry, Fault::Link(target.display().to_string()));
        let from = match self.locate(target) {
            Ok((from, name)) => from.find(&name).map_err(in_entry)?.map(|metadata| (from, name, metadata)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(in_entry(error)),
        };
        match from {
            None if self.layer => {
                self.count(entry.path.as_os_str().len() + target.as_os_str().len(), entry)?;
                self.applied.pending.push(PendingLink { path: entry.path.clone(), target: target.to_path_buf() });
                Ok(())
            }
            None => Err(missing()),
            Some((_, _, metadata)) if metadata.is_dir() || (self.layer && is_whiteout(&metadata)) => Err(missing()),
            Some((from, old, _)) => self.create(dir, name, entry, || from.link(&old, dir, name)),
        }
    }

    /// Runs `make`, again after clearing the name if it is taken.
    fn create<T>(&mut self, dir: &Dir, name: &OsStr, entry: &Entry, make: impl Fn() -> io::Result<T>) -> Result<T> {
        match make() {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let existing = dir.find(name).map_err(|error| Error::io(&entry.path, error))?;
                self.make_way(dir, name, entry, existing)?;
                make()
            }
            other => other,
        }
        .map_err(|error| Error::io(&entry.path, error))
    }

    fn make_way(&mut self, dir: &Dir, name: &OsStr, entry: &Entry, existing: Option<Metadata>) -> Result<()> {
        let Some(existing) = existing else { return Ok(()) };
        let is_directory = entry.kind == Kind::Directory;
        if self.options.keep_directories && existing.is_dir() != is_directory {
            let place = self.at.join(&entry.path).display().to_string();
            let name = self.at.display().to_string();
            let over = if is_directory { Fault::OverFile(place, name) } else { Fault::OverDirectory(place, name) };
            return Err(fault(entry, over));
        }
        self.current = None;
        dir.remove_all(name).map_err(|error| Error::io(&entry.path, error))
    }

    /// Owner, mode, attributes and time of what was just made. The order matters: a change of owner clears the
    /// set-user-id bit and capabilities, and everything but the time changes nothing about the time.
    fn dress(&self, dir: &Dir, name: &OsStr, entry: &Entry) -> io::Result<()> {
        if !self.options.own {
            let (uid, gid) = self.owner(entry);
            dir.set_owner(name, uid, gid)?;
        }
        if !matches!(entry.kind, Kind::Symlink(_)) {
            dir.set_mode(name, entry.mode)?;
        }
        set_xattrs(dir, name, entry)?;
        dir.set_mtime(name, entry.mtime)
    }

    fn owner(&self, entry: &Entry) -> (u32, u32) {
        let (uid, gid) = self.options.owner.unwrap_or((entry.uid, entry.gid));
        // One beyond the range is in no map, and the kernel refuses it.
        (uid.wrapping_add(self.options.first_id), gid.wrapping_add(self.options.first_id))
    }

    fn remember(&mut self, entry: &Entry) -> Result<()> {
        self.count(entry.path.as_os_str().len(), entry)?;
        self.times.push((entry.path.clone(), entry.mtime));
        Ok(())
    }

    fn count(&mut self, bytes: usize, entry: &Entry) -> Result<()> {
        self.remembered += bytes + size_of::<PathBuf>();
        if self.remembered > REMEMBERED { Err(fault(entry, Fault::TooLong("list of directories"))) } else { Ok(()) }
    }

    /// The directory an entry is in, made if it is missing.
    fn parent(&mut self, path: &Path) -> io::Result<Rc<Dir>> {
        if let Some((current, dir)) = &self.current
            && current == path
        {
            return Ok(dir.clone());
        }
        let dir = Rc::new(self.directory(&self.at.join(path))?);
        self.current = Some((path.to_path_buf(), dir.clone()));
        Ok(dir)
    }

    fn directory(&mut self, path: &Path) -> io::Result<Dir> {
        let (layer, first) = (self.layer, self.options.first_id);
        let owner = self.options.owner.map(|(uid, gid)| (uid.wrapping_add(first), gid.wrapping_add(first)));
        let (implicit, remembered) = (&mut self.applied.implicit, &mut self.remembered);
        self.root.create_dir_all_with(path, 0o755, &mut |dir, name, at| {
            dir.set_mode(name, 0o755)?;
            if let Some((uid, gid)) = owner {
                dir.set_owner(name, uid, gid)?;
            }
            if layer {
                *remembered += at.as_os_str().len() + size_of::<PathBuf>();
                if *remembered > REMEMBERED {
                    return Err(Errno::NOMEM.into());
                }
                implicit.insert(at.to_path_buf());
            }
            Ok(())
        })
    }

    fn locate(&self, path: &Path) -> io::Result<(Dir, OsString)> {
        match path.file_name() {
            Some(_) => self.root.parent_of(self.at.join(path)),
            None => Ok((self.root.dir(self.at)?, OsString::from("."))),
        }
    }
}

/// What is in a directory of aufs's own is as meaningless as that directory.
fn layer_meaning<'n>(path: &Path, name: &'n OsStr) -> Meaning<'n> {
    let parents = path.parent().into_iter().flat_map(Path::components);
    for parent in parents {
        if whiteout::meaning(parent.as_os_str()) != Meaning::Plain {
            return Meaning::Ignored;
        }
    }
    whiteout::meaning(name)
}

/// Hides `name` of the layers below. What this layer itself has under that name stays.
fn remove_below(dir: &Dir, name: &OsStr) -> io::Result<()> {
    match dir.find(name)? {
        None => dir.mknod(name, FileKind::CharDevice, 0, (0, 0)),
        Some(metadata) if metadata.is_dir() => dir.set_xattr(name, OPAQUE, b"y"),
        Some(_) => Ok(()),
    }
}

fn set_xattrs(dir: &Dir, name: &OsStr, entry: &Entry) -> io::Result<()> {
    for (attribute, value) in entry.xattrs.iter().filter(|(attribute, _)| carried(attribute)) {
        match dir.set_xattr(name, attribute, value) {
            // Not every file system has attributes, and links and devices have none of a user's.
            Err(error) if matches!(Errno::from_io_error(&error), Some(Errno::OPNOTSUPP | Errno::PERM)) => {}
            other => other?,
        }
    }
    Ok(())
}

fn write_data<R: Read>(mut file: &File, size: u64, reader: &mut Reader<R>, path: &Path) -> Result<()> {
    let in_file = |error| Error::io(path, error);
    let mut hole = false;
    while let Some(chunk) = reader.chunk()? {
        hole = size >= SPARSE && chunk.len() >= 4096 && chunk.iter().all(|byte| *byte == 0);
        if hole {
            file.seek(SeekFrom::Current(i64::try_from(chunk.len()).unwrap_or(0))).map_err(in_file)?;
        } else {
            file.write_all(chunk).map_err(in_file)?;
        }
    }
    if hole { file.set_len(size).map_err(in_file) } else { Ok(()) }
}

fn fault(entry: &Entry, fault: Fault) -> Error {
    Error::Tar { entry: entry.path.display().to_string(), fault }
}
