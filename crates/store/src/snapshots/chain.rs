//! What a chain of layers shows at a path, without mounting it: an overlay's lookup, as the kernel documents it.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Component, Path, PathBuf};

use teu_sys::fs::{Dir, Metadata, Root};

use crate::tar::{is_opaque, is_whiteout};
use crate::{Error, Result};

/// Layers, topmost first.
pub(crate) struct Chain {
    layers: Vec<(PathBuf, Root)>,
}

/// Where something is.
pub(crate) struct Found {
    /// The directory that it is in, in the topmost layer that has it.
    pub(crate) dir: Dir,
    /// Its name there; `.` for the root.
    pub(crate) name: OsString,
    pub(crate) metadata: Metadata,
}

/// What one layer says about a path.
enum Verdict {
    Found(Found),
    /// Not in this layer; the next one decides.
    Below,
    /// Not there, whatever the layers below have.
    Hidden,
}

impl Chain {
    pub(crate) fn open(layers: Vec<PathBuf>) -> Result<Self> {
        let open = |path: PathBuf| match Root::open(&path) {
            Ok(root) => Ok((path, root)),
            Err(error) => Err(Error::io(path, error)),
        };
        Ok(Self { layers: layers.into_iter().map(open).collect::<Result<_>>()? })
    }

    /// What is at `path`, no link followed.
    pub(crate) fn find(&self, path: &Path) -> Result<Option<Found>> {
        for (place, root) in &self.layers {
            match look(root, path).map_err(|error| Error::io(place.join(path), error))? {
                Verdict::Found(found) => return Ok(Some(found)),
                Verdict::Hidden => return Ok(None),
                Verdict::Below => {}
            }
        }
        Ok(None)
    }

    /// The names in the directory at `path`.
    pub(crate) fn names(&self, path: &Path) -> Result<Vec<OsString>> {
        let mut names: BTreeMap<OsString, bool> = BTreeMap::new();
        for (place, root) in &self.layers {
            let in_place = |error| Error::io(place.join(path), error);
            match look(root, path).map_err(in_place)? {
                Verdict::Below => continue,
                Verdict::Found(found) if found.metadata.is_dir() => {
                    let dir = found.dir.open_dir(&found.name).map_err(in_place)?;
                    for entry in dir.entries().map_err(in_place)? {
                        let there = !is_whiteout(&dir.metadata(&entry.name).map_err(in_place)?);
                        names.entry(entry.name).or_insert(there);
                    }
                    if is_opaque(&dir, ".").map_err(in_place)? || hidden_below(root, path).map_err(in_place)? {
                        break;
                    }
                }
                _ => break,
            }
        }
        Ok(names.into_iter().filter_map(|(name, there)| there.then_some(name)).collect())
    }
}

fn look(root: &Root, path: &Path) -> io::Result<Verdict> {
    let mut dir = root.dir(".")?;
    let mut names = names(path).peekable();
    let mut opaque = false;
    if names.peek().is_none() {
        let metadata = dir.metadata(".")?;
        return Ok(Verdict::Found(Found { dir, name: OsString::from("."), metadata }));
    }
    while let Some(name) = names.next() {
        opaque = opaque || is_opaque(&dir, ".")?;
        let Some(metadata) = dir.find(name)? else {
            return Ok(if opaque { Verdict::Hidden } else { Verdict::Below });
        };
        if is_whiteout(&metadata) {
            return Ok(Verdict::Hidden);
        }
        if names.peek().is_none() {
            return Ok(Verdict::Found(Found { dir, name: name.to_os_string(), metadata }));
        }
        if !metadata.is_dir() {
            return Ok(Verdict::Hidden);
        }
        dir = dir.open_dir(name)?;
    }
    Ok(Verdict::Below)
}

/// Whether a directory above `path` is opaque in this layer.
fn hidden_below(root: &Root, path: &Path) -> io::Result<bool> {
    let mut dir = root.dir(".")?;
    for name in names(path) {
        if is_opaque(&dir, ".")? {
            return Ok(true);
        }
        dir = dir.open_dir(name)?;
    }
    Ok(false)
}

fn names(path: &Path) -> impl Iterator<Item = &OsStr> {
    path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name),
        _ => None,
    })
}
