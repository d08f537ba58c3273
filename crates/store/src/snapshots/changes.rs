//! What an active snapshot changed: its upper directory read against its parent.

use std::path::{Path, PathBuf};

use teu_sys::fs::{Dir, Root};

use super::chain::Chain;
use crate::tar::{DEPTH_LIMIT, Fault, is_opaque, is_whiteout};
use crate::{Error, Result};

/// What happened to a path, with the number that the Docker API gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ChangeKind {
    /// In both, but different (a directory: something in it is).
    Modified = 0,
    /// Only above.
    Added = 1,
    /// Only below.
    Deleted = 2,
}

/// One difference between an active snapshot and its parent.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Change {
    /// Where, beginning with `/`.
    pub path: PathBuf,
    /// What happened.
    pub kind: ChangeKind,
}

pub(super) fn changes(upper: &Path, chain: &Chain) -> Result<Vec<Change>> {
    let in_upper = |error| Error::io(upper, error);
    let dir = Root::open(upper).and_then(|root| root.dir(".")).map_err(in_upper)?;
    let mut comparison = Comparison { chain, changes: Vec::new() };
    comparison.directory(&dir, Path::new(""), true, 0)?;
    comparison.changes.sort_unstable();
    Ok(comparison.changes)
}

struct Comparison<'c> {
    chain: &'c Chain,
    changes: Vec<Change>,
}

impl Comparison<'_> {
    /// `below`: the parent has a directory here too.
    fn directory(&mut self, dir: &Dir, path: &Path, below: bool, depth: usize) -> Result<()> {
        let in_dir = |error| Error::io(path, error);
        if depth > DEPTH_LIMIT {
            return Err(Error::Tar { entry: path.display().to_string(), fault: Fault::Depth });
        }
        let entries = dir.entries().map_err(in_dir)?;
        if below && is_opaque(dir, ".").map_err(in_dir)? {
            let mut gone = self.chain.names(path)?;
            gone.retain(|name| entries.binary_search_by(|entry| entry.name.cmp(name)).is_err());
            gone.iter().for_each(|name| self.add(ChangeKind::Deleted, &path.join(name)));
        }
        for entry in entries {
            let path = path.join(&entry.name);
            let Some(metadata) = dir.find(&entry.name).map_err(in_dir)? else { continue };
            let old = if below { self.chain.find(&path)? } else { None };
            match (&old, is_whiteout(&metadata)) {
                (None, true) => continue,
                (Some(_), true) => self.add(ChangeKind::Deleted, &path),
                (Some(_), false) => self.add(ChangeKind::Modified, &path),
                (None, false) => self.add(ChangeKind::Added, &path),
            }
            if metadata.is_dir() {
                let inner = dir.open_dir(&entry.name).map_err(in_dir)?;
                self.directory(&inner, &path, old.is_some_and(|old| old.metadata.is_dir()), depth + 1)?;
            }
        }
        Ok(())
    }

    fn add(&mut self, kind: ChangeKind, path: &Path) {
        self.changes.push(Change { path: Path::new("/").join(path), kind });
    }
}
