//! File trees: layers that never change, and active snapshots on top of them.
//!
//! A layer's directory appears by one rename, complete with its record; an active snapshot is complete when its link
//! `parent` is there, which is made last. Nothing here is ever mounted: an [`Overlay`] is data.

mod chain;
mod changes;
mod commit;
mod unpack;

use std::collections::HashMap;
use std::fs::{self, DirBuilder};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde::{Deserialize, Serialize};
use teu_oci::Digest;
use teu_sys::fs::{Dir, Root};
use teu_sys::mount::Overlay;

use crate::layout::{self, Layout};
use crate::tar::{self, DEPTH_LIMIT, Fault};
use crate::tree::copy_metadata;
use crate::{Error, Lease, Result, Spares, names};

use chain::Chain;
pub use changes::{Change, ChangeKind};
pub use unpack::Unpacked;

/// The snapshots of a store.
#[derive(Clone)]
pub struct Snapshots {
    layout: Arc<Layout>,
    /// Records of layers already read: they never change.
    known: Arc<RwLock<HashMap<Digest, Layer>>>,
    /// Directories of active snapshots to come.
    spares: Spares,
}

/// A layer, committed: immutable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layer {
    /// The chain ID of what is below.
    pub parent: Option<Digest>,
    /// The digest of the layer's uncompressed tar.
    pub diff_id: Digest,
    /// The size of that tar in bytes.
    pub tar_size: u64,
    /// The bytes in the layer's regular files.
    pub content_size: u64,
}

/// What [`Snapshots::commit`] made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The identity of the new layer on top of its parents.
    pub chain_id: Digest,
    /// The digest of its uncompressed tar.
    pub diff_id: Digest,
    /// The size of that tar in bytes: with `diff_id` it makes the descriptor of an uncompressed layer.
    pub size: u64,
    /// The bytes in its regular files.
    pub content_size: u64,
}

/// What an active snapshot holds by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes in regular files; one with several names counts once for each.
    pub bytes: u64,
    /// Files, directories and everything else.
    pub inodes: u64,
}

impl Snapshots {
    pub(crate) fn new(layout: &Arc<Layout>) -> Self {
        Self { layout: layout.clone(), known: Arc::default(), spares: Spares::new(layout, make_both) }
    }

    /// Makes an active snapshot named `key` on top of `parent` (a chain ID), or on nothing.
    ///
    /// As long as it exists its parents are kept from the collector.
    pub fn prepare(&self, key: &str, parent: Option<&Digest>) -> Result<Overlay> {
        self.prepare_by(key, parent, |dir| self.spares.place(dir))
    }

    /// The same for many files: where the disk has room for them. To look there takes a moment longer.
    pub fn prepare_large(&self, key: &str, parent: Option<&Digest>) -> Result<Overlay> {
        self.prepare_by(key, parent, |dir| if self.place_apart(dir) { Ok(()) } else { self.spares.place(dir) })
    }

    /// Makes both directories of an active snapshot in staging and gives them their place, unless it is taken.
    fn place_apart(&self, dir: &Path) -> bool {
        if dir.exists() {
            return false;
        }
        let Ok(made) = self.stage() else { return false };
        let placed = make_one(&made.join("work"), 0o700).is_ok()
            && renameat_with(CWD, &made, CWD, dir, RenameFlags::NOREPLACE).is_ok();
        if !placed {
            // What stays is cleared at the next open.
            let _ = self.layout.trash.discard(&made);
        }
        placed
    }

    fn prepare_by(
        &self,
        key: &str,
        parent: Option<&Digest>,
        place: impl FnOnce(&Path) -> io::Result<()>,
    ) -> Result<Overlay> {
        let lease = Lease::new(&self.layout, "a snapshot being prepared");
        parent.iter().for_each(|parent| lease.hold(parent));
        let lowers = self.lowers(parent)?;
        let dir = self.active_path(key);
        names::make_parents(&self.layout.active(), &dir)?;
        match place(&dir) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(Error::Exists { what: format!("snapshot {key:?}") });
            }
            other => other.map_err(|error| Error::io(&dir, error))?,
        }
        match self.put_on(&dir, parent) {
            Ok(()) => Ok(overlay(&dir, lowers)),
            Err(error) => {
                self.layout.trash.discard(&dir)?;
                Err(error)
            }
        }
    }

    /// Makes directories for active snapshots to come, so that those are there sooner.
    pub fn prepare_ahead(&self) {
        self.spares.refill();
    }

    /// Limits what an active snapshot, which nothing was written to yet, may hold by itself: its directories become a
    /// project of that number.
    pub fn limit(&self, key: &str, project: u32, bytes: u64) -> Result<()> {
        let dir = self.active_dir(key)?;
        for path in [dir.join("fs"), dir.join("work"), dir] {
            let limited = fs::File::open(&path).and_then(|open| teu_sys::quota::limit(&open, project, bytes));
            limited.map_err(|error| Error::io(&path, error))?;
        }
        Ok(())
    }

    /// The directory of an active snapshot. Something may be mounted on it, which is to be furnished then.
    pub fn place(&self, key: &str) -> Result<PathBuf> {
        self.active_dir(key)
    }

    /// Makes an active snapshot's contents again on what was mounted on its directory.
    pub fn furnish_anew(&self, key: &str, parent: Option<&Digest>) -> Result<()> {
        let dir = self.active_dir(key)?;
        make_both(&dir)?;
        self.put_on(&dir, parent)
    }

    /// Takes the limit of a project away.
    pub fn unlimit(&self, project: u32) -> Result<()> {
        let dir = self.layout.active();
        let unlimited = fs::File::open(&dir).and_then(|open| teu_sys::quota::unlimit(&open, project));
        unlimited.map_err(|error| Error::io(&dir, error))
    }

    /// The overlay of an active snapshot.
    pub fn overlay(&self, key: &str) -> Result<Overlay> {
        let parent = self.active_parent(key)?;
        Ok(overlay(&self.active_dir(key)?, self.lowers(parent.as_ref())?))
    }

    /// The overlay of an active snapshot with a fresh work directory: what a `volatile` overlay needs to be mounted
    /// again. It must not be mounted now.
    pub fn renew(&self, key: &str) -> Result<Overlay> {
        let work = self.active_dir(key)?.join("work");
        self.layout.trash.discard(&work)?;
        make_one(&work, 0o700).map_err(|error| Error::io(&work, error))?;
        self.overlay(key)
    }

    /// A chain, read-only. There are always two lowers at least, as the kernel wants without an upper.
    pub fn view(&self, chain: Option<&Digest>) -> Result<Overlay> {
        let mut lowers = self.lowers(chain)?;
        lowers.push(self.layout.empty(u8::from(chain.is_none())));
        Ok(Overlay { lowers, upper: None, work: None, volatile: false })
    }

    /// Unpacks an uncompressed layer tar, hashing it to its end, without knowing what it will lie on.
    ///
    /// Any number may run at once. An error leaves nothing behind; [`Error::Stream`] is the reader's own.
    pub fn unpack(&self, tar: impl Read) -> Result<Unpacked> {
        let dir = self.stage()?;
        let place = dir.join("fs");
        let unpacked = Root::open(&place).map_err(|error| Error::io(&place, error)).and_then(|root| {
            let mut reader = tar::Reader::new(tar, true);
            let applied = tar::apply_layer(&root, &mut reader)?;
            Ok((applied, reader.finish()?))
        });
        match unpacked {
            Ok((applied, (diff_id, size))) => {
                Ok(Unpacked { snapshots: self.clone(), dir: Some(dir), applied, diff_id, size })
            }
            Err(error) => {
                self.layout.trash.discard(&dir)?;
                Err(error)
            }
        }
    }

    /// Whether the layer is there.
    #[must_use]
    pub fn exists(&self, chain: &Digest) -> bool {
        self.layer_dir(chain).is_dir()
    }

    /// The layer's record.
    pub fn layer(&self, chain: &Digest) -> Result<Layer> {
        if let Some(layer) = self.known.read().unwrap_or_else(PoisonError::into_inner).get(chain) {
            return Ok(layer.clone());
        }
        let path = self.layer_dir(chain).join("layer.json");
        let text = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(Error::NotFound { what: format!("layer {chain}") });
            }
            other => other.map_err(|error| Error::io(&path, error))?,
        };
        let layer: Layer = serde_json::from_slice(&text).map_err(|source| Error::Record { path, source })?;
        self.remember(chain, &layer);
        Ok(layer)
    }

    /// The chain ID below.
    pub fn parent(&self, chain: &Digest) -> Result<Option<Digest>> {
        self.layer(chain).map(|layer| layer.parent)
    }

    /// The bytes in the regular files of that one layer.
    pub fn size(&self, chain: &Digest) -> Result<u64> {
        self.layer(chain).map(|layer| layer.content_size)
    }

    /// How an active snapshot differs from its parent, sorted by path.
    pub fn changes(&self, key: &str) -> Result<Vec<Change>> {
        let parent = self.active_parent(key)?;
        let chain = Chain::open(self.chain_dirs(parent.as_ref())?)?;
        changes::changes(&self.active_dir(key)?.join("fs"), &chain)
    }

    /// Removes an active snapshot: the name is free at once, the files go in the background.
    pub fn remove(&self, key: &str) -> Result<()> {
        let dir = self.active_dir(key)?;
        self.layout.trash.discard(&dir)?;
        names::remove_parents(&self.layout.active(), &dir);
        Ok(())
    }

    /// The keys of the active snapshots, sorted.
    pub fn active(&self) -> Result<Vec<String>> {
        Ok(names::list(&self.layout.active(), "")?.into_iter().map(|(key, _)| key).collect())
    }

    /// The chain ID that an active snapshot lies on.
    pub fn active_parent(&self, key: &str) -> Result<Option<Digest>> {
        let link = self.active_path(key).join("parent");
        let target = match fs::read_link(&link) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(no_snapshot(key)),
            other => other.map_err(|error| Error::io(&link, error))?,
        };
        let hex = target.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        Ok(format!("sha256:{hex}").parse().ok())
    }

    /// What an active snapshot holds by itself.
    pub fn usage(&self, key: &str) -> Result<Usage> {
        usage(&self.active_dir(key)?.join("fs"))
    }

    /// The layers, by chain ID, in no order.
    pub fn layers(&self) -> Result<Vec<Digest>> {
        let names = names::entries(&self.layout.layers())?;
        Ok(names.iter().filter_map(|hex| format!("sha256:{hex}").parse().ok()).collect())
    }

    /// Makes all layers and blobs committed so far survive a power failure, in one `syncfs`.
    pub fn sync(&self) -> Result<()> {
        self.layout.unsynced.sync()
    }

    /// Takes away what a killed process left half done.
    pub(crate) fn clear_leftovers(&self) -> Result<()> {
        for name in names::entries(&self.layout.staging())? {
            self.layout.trash.discard(&self.layout.staging().join(name))?;
        }
        for (_, dir) in names::list(&self.layout.active(), "")? {
            if fs::symlink_metadata(dir.join("parent")).is_err() {
                self.layout.trash.discard(&dir)?;
            }
        }
        Ok(())
    }

    /// Removes a layer, asking nobody; `false` when there is none.
    pub(crate) fn discard_layer(&self, chain: &Digest) -> Result<bool> {
        let removed = self.layout.trash.discard(&self.layer_dir(chain));
        self.known.write().unwrap_or_else(PoisonError::into_inner).remove(chain);
        removed
    }

    /// Puts an active snapshot, whose directory has its two, on top of what is below.
    fn put_on(&self, dir: &Path, parent: Option<&Digest>) -> Result<()> {
        let upper = dir.join("fs");
        let mut target = PathBuf::from("../../empty");
        if let Some(parent) = parent {
            // The root of the merged tree is the upper's: it must look like the one below.
            let below = self.layer_dir(parent).join("fs");
            copy_root(&below, &upper).map_err(|error| Error::io(&upper, error))?;
            target = Path::new("../../layers").join(parent.hex());
        }
        let link = dir.join("parent");
        symlink(target, &link).map_err(|error| Error::io(link, error))
    }

    /// The directories of a chain, topmost first.
    fn chain_dirs(&self, chain: Option<&Digest>) -> Result<Vec<PathBuf>> {
        let mut dirs = Vec::new();
        let mut next = chain.cloned();
        while let Some(chain) = next {
            let layer = self.layer(&chain)?;
            dirs.push(self.layer_dir(&chain).join("fs"));
            next = layer.parent;
        }
        Ok(dirs)
    }

    /// The same, never none.
    fn lowers(&self, chain: Option<&Digest>) -> Result<Vec<PathBuf>> {
        let mut lowers = self.chain_dirs(chain)?;
        if lowers.is_empty() {
            lowers.push(self.layout.empty(0));
        }
        Ok(lowers)
    }

    fn layer_dir(&self, chain: &Digest) -> PathBuf {
        self.layout.layers().join(chain.hex())
    }

    fn active_path(&self, key: &str) -> PathBuf {
        self.layout.active().join(names::encode(key, ""))
    }

    fn active_dir(&self, key: &str) -> Result<PathBuf> {
        let dir = self.active_path(key);
        if dir.is_dir() { Ok(dir) } else { Err(no_snapshot(key)) }
    }

    fn remember(&self, chain: &Digest, layer: &Layer) {
        self.known.write().unwrap_or_else(PoisonError::into_inner).insert(chain.clone(), layer.clone());
    }
}

fn overlay(dir: &Path, lowers: Vec<PathBuf>) -> Overlay {
    Overlay { lowers, upper: Some(dir.join("fs")), work: Some(dir.join("work")), volatile: false }
}

fn no_snapshot(key: &str) -> Error {
    Error::NotFound { what: format!("snapshot {key:?}") }
}

/// Makes what every active snapshot has: the upper and the work directory.
fn make_both(dir: &Path) -> Result<()> {
    layout::make_dir(&dir.join("fs"), 0o755)?;
    let work = dir.join("work");
    make_one(&work, 0o700).map_err(|error| Error::io(&work, error))
}

fn make_one(dir: &Path, mode: u32) -> io::Result<()> {
    DirBuilder::new().mode(mode).create(dir)
}

fn copy_root(from: &Path, to: &Path) -> io::Result<()> {
    let here = ".".as_ref();
    let (from, to) = (Root::open(from)?.dir(here)?, Root::open(to)?.dir(here)?);
    copy_metadata((&from, here), &from.metadata(here)?, (&to, here))
}

fn usage(dir: &Path) -> Result<Usage> {
    let open = Root::open(dir).and_then(|root| root.dir(".")).map_err(|error| Error::io(dir, error))?;
    let mut usage = Usage::default();
    add_usage(&open, dir, 0, &mut usage)?;
    Ok(usage)
}

fn add_usage(dir: &Dir, path: &Path, depth: usize, usage: &mut Usage) -> Result<()> {
    if depth > DEPTH_LIMIT {
        return Err(Error::Tar { entry: path.display().to_string(), fault: Fault::Depth });
    }
    for entry in dir.entries().map_err(|error| Error::io(path, error))? {
        let path = path.join(&entry.name);
        let in_path = |error| Error::io(&path, error);
        let Some(metadata) = dir.find(&entry.name).map_err(in_path)? else { continue };
        usage.inodes += 1;
        if metadata.is_file() {
            usage.bytes += metadata.size;
        } else if metadata.is_dir() {
            add_usage(&dir.open_dir(&entry.name).map_err(in_path)?, &path, depth + 1, usage)?;
        }
    }
    Ok(())
}
