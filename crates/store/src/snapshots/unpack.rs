//! A layer's tar becomes a directory, in two steps: unpacked while nothing is known of the layers below, so that all
//! layers of an image can unpack at once; then attached, when they are there.
//!
//! What attaching adds is what the archive leaves to the layers below. Directories that it does not mention get the
//! metadata they have there (0755, root, the epoch, where there are none). A hard link to a file that is only there
//! brings a copy of that file up.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use teu_oci::{Digest, chain_id};
use teu_sys::fs::{Metadata, Root, Time};

use super::chain::Chain;
use super::{Layer, Snapshots};
use crate::tar::{Applied, Fault, PendingLink, is_whiteout};
use crate::tree::{Copier, CopyOptions, copy_metadata};
use crate::{Error, Lease, Result};

/// A layer on disk that has no place in a chain yet. Dropped, it is deleted.
pub struct Unpacked {
    pub(super) snapshots: Snapshots,
    /// The staging directory with `fs` in it; gone when attached.
    pub(super) dir: Option<PathBuf>,
    pub(super) applied: Applied,
    pub(super) diff_id: Digest,
    pub(super) size: u64,
}

impl Unpacked {
    /// The digest of the tar it came from.
    #[must_use]
    pub fn diff_id(&self) -> &Digest {
        &self.diff_id
    }

    /// The size of that tar in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Puts it on top of `parent` and says its chain ID. If that layer is there already, this one is dropped.
    ///
    /// The new layer is collected like any other that nothing refers to: hold its chain ID first (it is
    /// [`chain_id`] of `parent` and [`Unpacked::diff_id`]).
    pub fn attach(mut self, parent: Option<&Digest>) -> Result<Digest> {
        let chain = chain_id(parent, &self.diff_id);
        let lease = Lease::new(&self.snapshots.layout, "a layer being attached");
        lease.hold(&chain);
        parent.iter().for_each(|parent| lease.hold(parent));
        let below = Chain::open(self.snapshots.chain_dirs(parent)?)?;
        let Some(dir) = self.dir.clone() else { return Ok(chain) };
        if self.snapshots.exists(&chain) {
            return Ok(chain);
        }
        let place = dir.join("fs");
        let root = Root::open(&place).map_err(|error| Error::io(&place, error))?;
        let mut applied = std::mem::take(&mut self.applied);
        for link in &applied.pending {
            applied.content_size += resolve(&root, &below, link, &mut applied.implicit)?;
        }
        for path in &applied.implicit {
            inherit(&root, &below, path)?;
        }
        let layer = Layer {
            parent: parent.cloned(),
            diff_id: self.diff_id.clone(),
            tar_size: self.size,
            content_size: applied.content_size,
        };
        self.snapshots.install(&dir, &chain, &layer)?;
        self.dir = None;
        Ok(chain)
    }
}

impl Drop for Unpacked {
    fn drop(&mut self) {
        if let Some(dir) = self.dir.take() {
            // Nobody to tell; what stays is cleared at the next open.
            let _ = self.snapshots.layout.trash.discard(&dir);
        }
    }
}

/// Gives a directory that the archive did not mention the metadata it has below.
fn inherit(root: &Root, below: &Chain, path: &Path) -> Result<()> {
    let in_path = |error| Error::io(path, error);
    let (dir, name) = match path.file_name() {
        Some(_) => root.parent_of(path).map_err(in_path)?,
        None => (root.dir(".").map_err(in_path)?, ".".into()),
    };
    if !dir.find(&name).map_err(in_path)?.is_some_and(|metadata| metadata.is_dir()) {
        return Ok(());
    }
    match below.find(path)?.filter(|found| found.metadata.is_dir()) {
        Some(found) => copy_metadata((&found.dir, &found.name), &found.metadata, (&dir, &name)).map_err(in_path),
        None => dir.set_mtime(&name, Time::default()).map_err(in_path),
    }
}

/// Makes a hard link whose target the archive did not contain; says how many bytes were brought up for it.
fn resolve(root: &Root, below: &Chain, link: &PendingLink, implicit: &mut BTreeSet<PathBuf>) -> Result<u64> {
    let in_path = |error| Error::io(&link.path, error);
    let (dir, name) = root.parent_of(&link.path).map_err(in_path)?;
    if dir.find(&name).map_err(in_path)?.is_some_and(|metadata| !is_whiteout(&metadata)) {
        return Ok(0);
    }
    let (parent, target_name) = match (link.target.parent(), link.target.file_name()) {
        (Some(parent), Some(name)) => (parent, name),
        _ => return Err(missing(link)),
    };
    let own = root.dir(parent).ok();
    let own = match own {
        Some(dir) => dir.find(target_name).map_err(in_path)?.map(|metadata| (dir, metadata)),
        None => None,
    };
    let (target_dir, bytes) = match own {
        Some((_, metadata)) if metadata.is_dir() || is_whiteout(&metadata) => return Err(missing(link)),
        Some((dir, _)) => (dir, 0),
        None => {
            let found = below.find(&link.target)?.filter(|found| !found.metadata.is_dir());
            let found = found.ok_or_else(|| missing(link))?;
            let to = root.create_dir_all_with(parent, 0o755, &mut |_, _, made| {
                implicit.insert(made.to_path_buf());
                Ok(())
            });
            let to = to.map_err(in_path)?;
            let mut copier = Copier::new(CopyOptions::default());
            keeping_mtime(&to, || copier.copy(&found.dir, &found.name, &to, target_name))?;
            (to, copier.bytes())
        }
    };
    keeping_mtime(&dir, || {
        dir.remove_all(&name).and_then(|()| target_dir.link(target_name, &dir, &name)).map_err(in_path)
    })?;
    Ok(bytes)
}

/// Puts something into a directory whose time the archive gave.
fn keeping_mtime(dir: &teu_sys::fs::Dir, change: impl FnOnce() -> Result<()>) -> Result<()> {
    let here = OsStr::new(".");
    let Metadata { mtime, .. } = dir.metadata(here).map_err(|error| Error::io(here, error))?;
    change()?;
    dir.set_mtime(here, mtime).map_err(|error| Error::io(here, error))
}

fn missing(link: &PendingLink) -> Error {
    let entry = link.path.display().to_string();
    Error::Tar { entry, fault: Fault::Link(link.target.display().to_string()) }
}
