//! Trees become entries: a walk in byte order that holds one descriptor for each level and no more than a directory's
//! names in memory.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use teu_sys::fs::{Dir, FileKind, Metadata, Root};

use super::whiteout::{self, OPAQUE_NAME, PREFIX, carried, is_opaque, is_whiteout};
use super::write::{Head, Writer};
use super::{ArchiveOptions, DEPTH_LIMIT, Fault};
use crate::{Error, Result};

/// Writes an overlay's directory as a layer. `with_root`: the root's own metadata is part of the layer.
pub(crate) fn write_layer(root: &Root, out: &mut dyn Write, with_root: bool) -> Result<()> {
    let mut archive = Archive { writer: Writer::new(out), links: HashMap::new(), layer: true, first_id: 0 };
    let dir = root.dir(".").map_err(|error| Error::io("/", error))?;
    if with_root {
        let metadata = dir.metadata(".").map_err(|error| Error::io("/", error))?;
        archive.entry(&dir, OsStr::new("."), b".", &metadata, 0, false)?;
    }
    archive.markers_and_children(&dir, b"", 0)?;
    archive.writer.end().map_err(Error::Sink)
}

pub(super) fn archive(root: &Root, path: &Path, out: &mut dyn Write, options: &ArchiveOptions) -> Result<()> {
    let in_path = |error| Error::io(path, error);
    let writer = Writer::new(out);
    let mut archive = Archive { writer, links: HashMap::new(), layer: false, first_id: options.first_id };
    let (dir, name) = match path.file_name() {
        Some(_) => root.parent_of(path).map_err(in_path)?,
        None => (root.dir(path).map_err(in_path)?, OsString::from(".")),
    };
    let metadata = match dir.find(&name).map_err(in_path)? {
        Some(metadata) => metadata,
        None => return Err(Error::NotFound { what: format!("file {}", path.display()) }),
    };
    let top = match (&options.rename, name.as_bytes()) {
        (Some(top), _) => top.as_bytes(),
        (None, b".") => b"",
        (None, name) => name,
    };
    if top.is_empty() && metadata.is_dir() {
        let dir = dir.open_dir(&name).map_err(in_path)?;
        archive.markers_and_children(&dir, b"", 0)?;
    } else {
        archive.entry(&dir, &name, if top.is_empty() { name.as_bytes() } else { top }, &metadata, 0, true)?;
    }
    archive.writer.end().map_err(Error::Sink)
}

struct Archive<'w> {
    writer: Writer<'w>,
    /// Where the first name of a file with several is in the archive.
    links: HashMap<(u64, u64), Vec<u8>>,
    layer: bool,
    first_id: u32,
}

impl Archive<'_> {
    /// Writes `name` of `dir` as `path`, with what is below it if `descend`.
    fn entry(
        &mut self,
        dir: &Dir,
        name: &OsStr,
        path: &[u8],
        metadata: &Metadata,
        depth: usize,
        descend: bool,
    ) -> Result<()> {
        let in_path = |error: io::Error| Error::io(OsStr::from_bytes(path), error);
        let xattrs = carried_xattrs(dir, name).map_err(in_path)?;
        let mut head = Head {
            name: path,
            mode: metadata.mode,
            uid: metadata.uid.checked_sub(self.first_id).unwrap_or(metadata.uid),
            gid: metadata.gid.checked_sub(self.first_id).unwrap_or(metadata.gid),
            mtime: metadata.mtime,
            xattrs: &xattrs,
            ..Head::default()
        };
        if metadata.is_dir() {
            // The top of a tree may be called "/".
            let with_slash = if path.ends_with(b"/") { path.to_vec() } else { [path, b"/"].concat() };
            self.writer.head(&Head { kind: b'5', name: &with_slash, ..head }).map_err(Error::Sink)?;
            if !descend {
                return Ok(());
            }
            let inner = dir.open_dir(name).map_err(in_path)?;
            return self.markers_and_children(&inner, &with_slash, depth + 1);
        }
        if let Some(first) = self.first_name(path, metadata) {
            return self.writer.head(&Head { kind: b'1', link: &first, xattrs: &[], ..head }).map_err(Error::Sink);
        }
        let target;
        match metadata.kind {
            FileKind::Regular => return self.file(dir, name, head),
            FileKind::Symlink => {
                target = dir.read_link(name).map_err(in_path)?;
                (head.kind, head.link, head.mode) = (b'2', target.as_os_str().as_bytes(), 0o777);
            }
            FileKind::CharDevice => (head.kind, head.device) = (b'3', metadata.rdev),
            FileKind::BlockDevice => (head.kind, head.device) = (b'4', metadata.rdev),
            FileKind::Fifo => head.kind = b'6',
            // A socket without its process is nothing.
            FileKind::Socket | FileKind::Directory => return Ok(()),
        }
        self.writer.head(&head).map_err(Error::Sink)
    }

    fn file(&mut self, dir: &Dir, name: &OsStr, mut head: Head<'_>) -> Result<()> {
        let in_path = |error: io::Error| Error::io(OsStr::from_bytes(head.name), error);
        let file = dir.open_file(name).map_err(in_path)?;
        head.size = Metadata::of(&file).map_err(in_path)?.size;
        head.kind = b'0';
        self.writer.head(&head).map_err(Error::Sink)?;
        let read = self.writer.data(&file, head.size).map_err(Error::Sink)?;
        read.map_err(|error| Error::io(OsStr::from_bytes(head.name), error))
    }

    /// What is in a directory, whose path with its slash is `prefix`.
    fn markers_and_children(&mut self, dir: &Dir, prefix: &[u8], depth: usize) -> Result<()> {
        let in_dir = |error: io::Error| Error::io(OsStr::from_bytes(prefix), error);
        let fault = |path: &[u8], fault| Error::Tar { entry: String::from_utf8_lossy(path).into_owned(), fault };
        if depth > DEPTH_LIMIT {
            return Err(fault(prefix, Fault::Depth));
        }
        if self.layer && is_opaque(dir, ".").map_err(in_dir)? {
            self.marker(&[prefix, OPAQUE_NAME].concat())?;
        }
        for entry in dir.entries().map_err(in_dir)? {
            // Removed meanwhile: a container may be running in it.
            let Some(metadata) = dir.find(&entry.name).map_err(in_dir)? else { continue };
            let name = entry.name.as_bytes();
            if self.layer && is_whiteout(&metadata) {
                self.marker(&[prefix, PREFIX, name].concat())?;
                continue;
            }
            let path = [prefix, name].concat();
            if self.layer && whiteout::meaning(&entry.name) != whiteout::Meaning::Plain {
                return Err(fault(&path, Fault::Reserved));
            }
            match self.entry(dir, &entry.name, &path, &metadata, depth, true) {
                Err(Error::Io { source, .. }) if !self.layer && source.kind() == io::ErrorKind::NotFound => {}
                other => other?,
            }
        }
        Ok(())
    }

    /// An empty file whose name is its meaning.
    fn marker(&mut self, path: &[u8]) -> Result<()> {
        self.writer.head(&Head { name: path, kind: b'0', ..Head::default() }).map_err(Error::Sink)
    }

    fn first_name(&mut self, path: &[u8], metadata: &Metadata) -> Option<Vec<u8>> {
        if metadata.nlink < 2 || metadata.kind == FileKind::Socket {
            return None;
        }
        match self.links.entry((metadata.dev, metadata.ino)) {
            std::collections::hash_map::Entry::Occupied(first) => Some(first.get().clone()),
            std::collections::hash_map::Entry::Vacant(place) => {
                place.insert(path.to_vec());
                None
            }
        }
    }
}

fn carried_xattrs(dir: &Dir, name: &OsStr) -> io::Result<Vec<(OsString, Vec<u8>)>> {
    let mut carrying = Vec::new();
    for attribute in dir.xattrs(name)?.into_iter().filter(|attribute| carried(attribute)) {
        if let Some(value) = dir.xattr(name, &attribute)? {
            carrying.push((attribute, value));
        }
    }
    Ok(carrying)
}
