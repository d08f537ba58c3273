//! A writable tree on its way to become a layer: prepared, mounted, changed, committed, or gone without trace.

use teu_oci::Digest;
use teu_store::{Lease, Snapshots, Store};
use teu_sys::fs::Root;
use teu_sys::mount::Overlay;

use super::cache::Layer;
use super::name;
use crate::Error;

/// An active snapshot. Dropped without [`Work::commit`], it is removed.
pub(super) struct Work {
    snapshots: Snapshots,
    key: String,
    overlay: Overlay,
    committed: bool,
}

impl Work {
    /// A tree on top of `parent`.
    pub(super) fn begin(store: &Store, parent: Option<&Digest>) -> Result<Self, Error> {
        let key = name("step")?;
        let snapshots = store.snapshots().clone();
        let overlay = snapshots.prepare_large(&key, parent)?;
        let mut work = Self { snapshots, key, overlay, committed: false };
        // What a crash tears is made again, so nothing has to reach the disk before the image is named.
        work.overlay.volatile = true;
        Ok(work)
    }

    /// The tree as data, for a process to run in.
    pub(super) fn overlay(&self) -> &Overlay {
        &self.overlay
    }

    /// The tree, mounted for this process alone and attached nowhere. To be dropped before the commit.
    pub(super) fn mount(&self) -> Result<Root, Error> {
        self.overlay.mount_detached().map(Root::from_fd).map_err(Error::io("mount a build step's tree"))
    }

    /// Makes it a layer, held by `lease`.
    pub(super) fn commit(mut self, lease: &Lease) -> Result<Layer, Error> {
        let made = self.snapshots.commit(&self.key)?;
        self.committed = true;
        lease.hold(&made.chain_id);
        let (size, content_size) = (made.size, made.content_size);
        Ok(Layer { chain: made.chain_id, diff_id: made.diff_id, size, content_size })
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        if !self.committed
            && let Err(error) = self.snapshots.remove(&self.key)
        {
            tracing::warn!(%error, "cannot remove a build step's tree");
        }
    }
}

/// A committed tree, read-only; the empty one for no chain.
pub(super) fn view(store: &Store, chain: Option<&Digest>) -> Result<Root, Error> {
    let overlay = store.snapshots().view(chain)?;
    overlay.mount_detached().map(Root::from_fd).map_err(Error::io("mount an image's tree"))
}
