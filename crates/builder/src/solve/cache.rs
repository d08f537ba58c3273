//! What earlier builds made: one small record for each key, which keeps the layer it names from the collector.
//!
//! A record is only a promise: a layer that is gone (after a power failure, say) is made again.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use teu_oci::Digest;
use teu_store::{Lease, Store, Table};

use crate::Error;

const TABLE: &str = "build-cache";

/// The result of a step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The layer; none when the step changed nothing.
    pub layer: Option<Layer>,
    /// When it was made, RFC 3339.
    pub created: String,
    /// What made it.
    pub created_by: String,
}

/// A layer of the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layer {
    /// Its place: what is below, and itself.
    pub chain: Digest,
    /// The digest of its uncompressed tar.
    pub diff_id: Digest,
    /// The size of that tar in bytes.
    pub size: u64,
    /// The bytes in its regular files.
    pub content_size: u64,
}

impl teu_store::Record for Record {
    fn refers_to(&self) -> Vec<Digest> {
        self.layer.iter().map(|layer| layer.chain.clone()).collect()
    }
}

/// The build cache of a store. Cheap to clone.
#[derive(Clone)]
pub struct Cache {
    store: Store,
    table: Table<Record>,
    /// Who is at work on which key: a second one waits and finds the result.
    working: Arc<Mutex<HashMap<Digest, Arc<tokio::sync::Mutex<()>>>>>,
    /// Whether results of earlier builds count.
    fresh: bool,
    /// The only layers that count of those that earlier builds made.
    only: Option<Arc<HashSet<Digest>>>,
}

impl Cache {
    /// Opens the cache.
    ///
    /// # Errors
    /// When its folder cannot be made.
    pub fn open(store: &Store) -> Result<Self, Error> {
        let table = store.table(TABLE)?;
        Ok(Self { store: store.clone(), table, working: Arc::default(), fresh: false, only: None })
    }

    /// The same cache, of which only what this build adds is read.
    pub(super) fn ignoring_earlier(self, fresh: bool) -> Self {
        Self { fresh, ..self }
    }

    /// The same cache, of which only these layers, and what this build adds, is read.
    pub(super) fn only(self, layers: Option<HashSet<Digest>>) -> Self {
        Self { only: layers.map(Arc::new), ..self }
    }

    /// Whether the result of an earlier build counts.
    fn counts(&self, record: &Record) -> bool {
        let layer = record.layer.as_ref();
        !self.fresh && self.only.as_ref().is_none_or(|only| layer.is_some_and(|layer| only.contains(&layer.chain)))
    }

    /// Every record, by key.
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn list(&self) -> Result<Vec<(String, Record)>, Error> {
        Ok(self.table.list()?)
    }

    /// Forgets the records of these keys; the layers go with the next collection.
    ///
    /// # Errors
    /// When a record cannot be removed.
    pub fn forget(&self, keys: &[String]) -> Result<(), Error> {
        Ok(keys.iter().try_for_each(|key| self.table.remove(key).map(drop))?)
    }

    /// The lock of one key, to be held while its result is looked for and made.
    pub(super) fn turn(&self, key: &Digest) -> Arc<tokio::sync::Mutex<()>> {
        self.working.lock().unwrap_or_else(PoisonError::into_inner).entry(key.clone()).or_default().clone()
    }

    /// The result of `key`, its layer held by `lease`. Of what was made before `since` only some may count.
    pub(super) fn find(&self, key: &Digest, lease: &Lease, since: &str) -> Option<Record> {
        // A record that cannot be read is one that is not there.
        let record = self.table.get(key.hex()).ok().flatten()?;
        if record.created.as_str() < since && !self.counts(&record) {
            return None;
        }
        if let Some(layer) = &record.layer {
            lease.hold(&layer.chain);
            if !self.store.snapshots().exists(&layer.chain) {
                return None;
            }
        }
        Some(record)
    }

    /// Remembers a result. That it could not be written costs time later and nothing else.
    pub(super) fn remember(&self, key: &Digest, record: &Record) {
        if let Err(error) = self.table.put_quick(key.hex(), record) {
            tracing::warn!(%error, "cannot write a record of the build cache");
        }
    }
}
