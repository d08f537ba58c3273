//! Files from one tree into another, both held as roots that cannot be left.
//!
//! Directories merge into what is there; anything else replaces what is there, unless that is a directory. A destination
//! that is a link is followed, within the tree. What is made on the way belongs to `--chown`'s owner, or to root.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::io::{self, Seek, Write};
use std::path::{Path, PathBuf};

use teu_store::tar::ExtractOptions;
use teu_sys::fs::{Dir, FileKind, Metadata, Root, Time, set_file_mtime};

use super::source::{Entry, Tree, refuse};
use super::{archive, owner};
use crate::Error;
use crate::plan::CopyStep;

/// Extended attributes worth copying: what programs may do, and what users wrote.
fn is_copied(attribute: &OsStr) -> bool {
    attribute == "security.capability" || attribute.to_string_lossy().starts_with("user.")
}

/// Makes the directory at `path` with those above it, as far as they are missing, for `user`.
pub(super) fn make_directory(target: &Root, path: &str, user: &str) -> Result<(), Error> {
    let ids = match user {
        "" => (0, 0),
        user => owner::resolve(target, user).map_err(|reason| Error::Plan(crate::plan::PlanError::new(reason)))?,
    };
    create_dirs(target, Path::new(path), ids).map(drop).map_err(Error::io(format!("make the directory {path}")))
}

fn create_dirs(target: &Root, path: &Path, (uid, gid): (u32, u32)) -> io::Result<Dir> {
    target.create_dir_all_with(path, 0o755, &mut |dir, name, _| {
        dir.set_owner(name, uid, gid)?;
        dir.set_mode(name, 0o755)
    })
}

/// Puts everything that `step` brings into `target`.
pub(super) fn place(tree: &Tree<'_>, entries: &[Entry], target: &Root, step: &CopyStep) -> Result<(), Error> {
    let owner = match &step.chown {
        None => None,
        Some(text) => Some(owner::resolve(target, text).map_err(|reason| refuse(step, reason))?),
    };
    let destination = Path::new(&step.destination);
    let is_dir = target.metadata(destination).is_ok_and(|metadata| metadata.is_dir());
    let into = step.destination.ends_with('/') || is_dir;
    let mut placer = Placer { tree, target, step, owner, links: HashMap::new(), times: Vec::new(), last: None };
    for file in &step.files {
        let path = if into { destination.join(&file.name) } else { destination.into() };
        placer.inline(&path, &file.content).map_err(|error| placer.wrong(&path, &error))?;
    }
    for entry in entries {
        let named = entry.top && !entry.metadata.is_dir();
        let path = match (entry.target.as_os_str().is_empty(), named && !into) {
            (true, _) | (_, true) => destination.to_path_buf(),
            _ => destination.join(&entry.target),
        };
        placer.entry(entry, &path, destination).map_err(|error| placer.wrong(&path, &error))?;
    }
    placer.finish().map_err(Error::io(format!("set times below {}", step.destination)))
}

struct Placer<'p> {
    tree: &'p Tree<'p>,
    target: &'p Root,
    step: &'p CopyStep,
    owner: Option<(u32, u32)>,
    /// Where the first name of a file with several went, by device and inode.
    links: HashMap<(u64, u64), PathBuf>,
    /// Directories whose times are set when they are full.
    times: Vec<(PathBuf, Time)>,
    /// The directory that the last file went into.
    last: Option<(PathBuf, Dir)>,
}

impl Placer<'_> {
    fn wrong(&self, path: &Path, error: &io::Error) -> Error {
        let shown = path.display();
        match error.kind() {
            io::ErrorKind::NotADirectory => refuse(self.step, format!("cannot copy to non-directory: {shown}")),
            io::ErrorKind::IsADirectory => refuse(self.step, format!("cannot replace directory {shown} with a file")),
            io::ErrorKind::StorageFull => refuse(self.step, format!("no space left on the disk: {shown}")),
            _ => refuse(self.step, format!("{shown}: {error}")),
        }
    }

    fn entry(&mut self, entry: &Entry, path: &Path, destination: &Path) -> io::Result<()> {
        if self.step.unpack && entry.top && entry.metadata.is_file() && self.unpack(entry, destination)? {
            return Ok(());
        }
        match entry.metadata.kind {
            FileKind::Directory => self.directory(entry, path),
            FileKind::Regular => self.regular(entry, path),
            kind => {
                let (dir, name) = self.clear(path)?;
                match &entry.link {
                    Some(link) => dir.symlink(link, &name)?,
                    None => dir.mknod(&name, kind, entry.metadata.mode, entry.metadata.rdev)?,
                }
                self.dress(&dir, &name, &entry.metadata)?;
                dir.set_mtime(&name, entry.metadata.mtime)
            }
        }
    }

    fn directory(&mut self, entry: &Entry, path: &Path) -> io::Result<()> {
        let there = match self.target.metadata(path) {
            Ok(metadata) if metadata.is_dir() => true,
            Ok(_) => return Err(io::ErrorKind::NotADirectory.into()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => return Err(error),
        };
        let dir = create_dirs(self.target, path, self.owner.unwrap_or((0, 0)))?;
        // A directory named itself that is there already keeps what it has; one below takes what the source has.
        if entry.top && there {
            return Ok(());
        }
        self.dress(&dir, OsStr::new("."), &entry.metadata)?;
        self.copy_attributes(entry, &dir, OsStr::new("."))?;
        self.times.push((path.into(), entry.metadata.mtime));
        Ok(())
    }

    fn regular(&mut self, entry: &Entry, path: &Path) -> io::Result<()> {
        let inode = (entry.metadata.dev, entry.metadata.ino);
        if entry.metadata.nlink > 1
            && let Some(first) = self.links.get(&inode)
        {
            let (from, old) = self.target.parent_of(first)?;
            let (dir, name) = self.clear(path)?;
            return from.link(&old, &dir, &name);
        }
        let mut source = self.tree.root.open_file(&entry.path)?;
        let (dir, name) = self.clear(path)?;
        let mut file = dir.create_file(&name, 0o600)?;
        io::copy(&mut source, &mut file)?;
        self.dress(&dir, &name, &entry.metadata)?;
        self.copy_attributes(entry, &dir, &name)?;
        set_file_mtime(&file, entry.metadata.mtime)?;
        if entry.metadata.nlink > 1 {
            self.links.insert(inode, path.into());
        }
        Ok(())
    }

    /// A file given in the Dockerfile.
    fn inline(&mut self, path: &Path, content: &str) -> io::Result<()> {
        let (dir, name) = self.clear(path)?;
        dir.create_file(&name, 0o600)?.write_all(content.as_bytes())?;
        let (uid, gid) = self.owner.unwrap_or((0, 0));
        dir.set_owner(&name, uid, gid)?;
        dir.set_mode(&name, self.mode(0o644, false))
    }

    /// Unpacks a source that is an archive into the destination.
    fn unpack(&mut self, entry: &Entry, destination: &Path) -> io::Result<bool> {
        let mut file = self.tree.root.open_file(&entry.path)?;
        if !archive::is_archive(&file, &entry.target.to_string_lossy())? {
            return Ok(false);
        }
        file.rewind()?;
        create_dirs(self.target, destination, self.owner.unwrap_or((0, 0)))?;
        let options = ExtractOptions { owner: self.owner, ..ExtractOptions::default() };
        teu_store::tar::extract(self.target, destination, archive::decompress(file)?, &options)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
        Ok(true)
    }

    /// The directory that `path` goes into, made if it is missing, and the name, free now.
    fn clear(&mut self, path: &Path) -> io::Result<(Dir, OsString)> {
        let name = path.file_name().ok_or(io::ErrorKind::IsADirectory)?;
        let parent = path.parent().unwrap_or(Path::new("/"));
        let known = self.last.as_ref().filter(|(have, _)| have == parent);
        let dir = match known {
            Some((_, dir)) => dir.try_clone()?,
            None => {
                let dir = create_dirs(self.target, parent, self.owner.unwrap_or((0, 0)))?;
                self.last = Some((parent.into(), dir.try_clone()?));
                dir
            }
        };
        match dir.find(name)? {
            Some(metadata) if metadata.is_dir() => return Err(io::ErrorKind::IsADirectory.into()),
            Some(_) => dir.remove_file(name)?,
            None => {}
        }
        Ok((dir, name.into()))
    }

    /// The mode of what had another where it comes from.
    fn mode(&self, mode: u32, is_dir: bool) -> u32 {
        self.step.chmod.as_ref().map_or(mode, |chmod| chmod.apply(mode, is_dir))
    }

    /// Owner and mode; the owner first, because changing it clears set-user-id bits.
    fn dress(&self, dir: &Dir, name: &OsStr, metadata: &Metadata) -> io::Result<()> {
        let own = if self.tree.keep_owner { (metadata.uid, metadata.gid) } else { (0, 0) };
        let (uid, gid) = self.owner.unwrap_or(own);
        dir.set_owner(name, uid, gid)?;
        match metadata.is_symlink() {
            true => Ok(()),
            false => dir.set_mode(name, self.mode(metadata.mode, metadata.is_dir())),
        }
    }

    /// Only from another stage: nothing of the kind belongs to a context.
    fn copy_attributes(&self, entry: &Entry, dir: &Dir, name: &OsStr) -> io::Result<()> {
        if !self.tree.keep_owner || entry.path.as_os_str().is_empty() {
            return Ok(());
        }
        let (from, old) = self.tree.root.parent_of(&entry.path)?;
        for attribute in from.xattrs(&old)?.iter().filter(|attribute| is_copied(attribute)) {
            if let Some(value) = from.xattr(&old, attribute)? {
                dir.set_xattr(name, attribute, &value)?;
            }
        }
        Ok(())
    }

    fn finish(self) -> io::Result<()> {
        self.times.iter().rev().try_for_each(|(path, time)| self.target.dir(path)?.set_mtime(".", *time))
    }
}

#[cfg(test)]
mod tests;
