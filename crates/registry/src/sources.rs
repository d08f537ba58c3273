//! What is remembered of layers between pulls and pushes, in two tables of the store.
//!
//! `layer-blobs`: by diff ID, the compressed blob that a push made of a layer, so that it is made once.
//! `layer-sources`: by digest of a blob, the repositories known to have it, so that a push can mount instead of send.
//! Both are hints: what they name may be gone, and neither keeps anything alive.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};

use serde::{Deserialize, Serialize};
use teu_oci::{Digest, Reference};
use teu_store::{Blobs, Error, Record, Store, Table};

/// Repositories remembered for one blob.
const MOST_SOURCES: usize = 8;

/// What a push made of a layer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Packed {
    pub(crate) digest: Digest,
    pub(crate) size: u64,
}

impl Record for Packed {
    fn refers_to(&self) -> Vec<Digest> {
        Vec::new()
    }
}

/// Who has a blob, the latest last.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Sources {
    repositories: Vec<(String, String)>,
}

impl Record for Sources {
    fn refers_to(&self) -> Vec<Digest> {
        Vec::new()
    }
}

/// Both tables of one store, shared by all who push and pull with it: a table is opened once.
pub(crate) struct Hints {
    blobs: Blobs,
    packed: Table<Packed>,
    sources: Table<Sources>,
}

impl Hints {
    pub(crate) fn of(store: &Store) -> Result<Arc<Self>, Error> {
        static OPEN: LazyLock<Mutex<HashMap<PathBuf, Weak<Hints>>>> = LazyLock::new(Mutex::default);
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(hints) = open.get(store.root()).and_then(Weak::upgrade) {
            return Ok(hints);
        }
        open.retain(|_, hints| hints.strong_count() > 0);
        let hints = Arc::new(Self {
            blobs: store.blobs().clone(),
            packed: store.table("layer-blobs")?,
            sources: store.table("layer-sources")?,
        });
        open.insert(store.root().to_path_buf(), Arc::downgrade(&hints));
        Ok(hints)
    }

    /// The compressed blob of a layer, if it was made and is still there.
    pub(crate) fn packed(&self, diff_id: &Digest) -> Result<Option<Packed>, Error> {
        let packed = self.packed.get(diff_id.as_str())?;
        Ok(packed.filter(|packed| self.blobs.stat(&packed.digest) == Some(packed.size)))
    }

    /// Remembers the compressed blob of a layer.
    pub(crate) fn remember_packed(&self, diff_id: &Digest, packed: &Packed) -> Result<(), Error> {
        self.packed.put_quick(diff_id.as_str(), packed)
    }

    /// Remembers that the repository of `reference` has a blob. A hint that could not be written is only a lost chance.
    pub(crate) fn remember(&self, digest: &Digest, reference: &Reference) {
        if let Err(error) = self.try_remember(digest, reference) {
            tracing::debug!(%error, %digest, "remember where a blob is");
        }
    }

    fn try_remember(&self, digest: &Digest, reference: &Reference) -> Result<(), Error> {
        let repository = (reference.domain().to_string(), reference.path().to_string());
        let mut sources = self.sources.get(digest.as_str())?.unwrap_or_default();
        if sources.repositories.last() == Some(&repository) {
            return Ok(());
        }
        sources.repositories.retain(|known| *known != repository);
        sources.repositories.push(repository);
        let surplus = sources.repositories.len().saturating_sub(MOST_SOURCES);
        sources.repositories.drain(..surplus);
        self.sources.put_quick(digest.as_str(), &sources)
    }

    /// The other repositories of the same registry that are known to have a blob, the latest first.
    pub(crate) fn elsewhere(&self, digest: &Digest, reference: &Reference) -> Vec<String> {
        let sources = self.sources.get(digest.as_str()).ok().flatten().unwrap_or_default();
        let other = |(domain, path): &(String, String)| domain == reference.domain() && path != reference.path();
        sources.repositories.into_iter().rev().filter(other).map(|(_, path)| path).collect()
    }
}
