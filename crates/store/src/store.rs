//! The front door: opening a store and what it is made of.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use teu_oci::Digest;

use crate::layout::{Layout, OWN};
use crate::unsynced::Kind;
use crate::{Blobs, Collected, Error, Lease, Record, Result, Snapshots, Spares, Table, collect, names};

/// Says what the records of one table refer to.
pub(crate) type Lister = Box<dyn Fn() -> Result<Vec<Digest>> + Send>;

/// Everything that is on disk under one root. Clones share it.
#[derive(Clone)]
pub struct Store {
    layout: Arc<Layout>,
    blobs: Blobs,
    snapshots: Snapshots,
    /// Also held while a collection runs: one at a time, and no table appears during it.
    tables: Arc<Mutex<BTreeMap<String, Lister>>>,
}

impl Store {
    /// Opens the store at `root`, making what is missing and clearing away what a killed process left.
    ///
    /// Fails with [`Error::InUse`] while another process (or this one) has it open.
    pub fn open(root: &Path) -> Result<Self> {
        let layout = Arc::new(Layout::open(root)?);
        let store =
            Self { blobs: Blobs::new(&layout), snapshots: Snapshots::new(&layout), layout, tables: Arc::default() };
        store.blobs.clear_leftovers()?;
        store.snapshots.clear_leftovers()?;
        for name in names::entries(&store.layout.spare())? {
            store.layout.trash.discard(&store.layout.spare().join(name))?;
        }
        for (kind, digest) in store.layout.unsynced.suspects()? {
            match kind {
                Kind::Blob => store.blobs.verify_or_remove(&digest)?,
                Kind::Layer => store.snapshots.discard_layer(&digest).map(drop)?,
            }
            store.layout.unsynced.clear(kind, &digest)?;
        }
        Ok(store)
    }

    /// The directory of the store.
    #[must_use]
    pub fn root(&self) -> &Path {
        self.layout.root()
    }

    /// The content-addressed bytes.
    #[must_use]
    pub fn blobs(&self) -> &Blobs {
        &self.blobs
    }

    /// The file trees.
    #[must_use]
    pub fn snapshots(&self) -> &Snapshots {
        &self.snapshots
    }

    /// The records under `<root>/<name>`; from here on the collector asks them what they refer to.
    ///
    /// A table that this process has not opened is not forgotten: every digest that occurs in its files counts.
    pub fn table<T: Record>(&self, name: &str) -> Result<Table<T>> {
        if OWN.contains(&name) || name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
            return Err(Error::InUse { what: format!("table name {name:?}") });
        }
        let table = Table::<T>::open(&self.layout, name)?;
        let lister = table.clone();
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        tables.insert(name.to_owned(), Box::new(move || lister.roots()));
        Ok(table)
    }

    /// A new lease, holding nothing yet; `why` is for people.
    #[must_use]
    pub fn lease(&self, why: &str) -> Lease {
        Lease::new(&self.layout, why)
    }

    /// Deletes every blob and layer that no record, lease or active snapshot reaches.
    ///
    /// What is made while it runs stays. What was made before must be held by a lease or named by a record.
    pub fn collect(&self) -> Result<Collected> {
        self.run_collection(false)
    }

    /// What [`Store::collect`] would delete now.
    pub fn collectable(&self) -> Result<Collected> {
        self.run_collection(true)
    }

    /// Makes all that was committed so far survive a power failure (one `syncfs`). Call before the record is put.
    pub fn sync(&self) -> Result<()> {
        self.layout.unsynced.sync()
    }

    /// Takes a file or folder below the root out of the way at once and deletes it in the background; `false` when there
    /// was nothing. What is mounted below it is not entered.
    pub fn discard(&self, path: &Path) -> Result<bool> {
        self.layout.trash.discard(path)
    }

    /// Folders of a kind of their own, made ahead of need.
    #[must_use]
    pub fn spares(&self, furnish: fn(&Path) -> Result<()>) -> Spares {
        Spares::new(&self.layout, furnish)
    }

    /// Waits until everything removed so far is gone from the disk.
    pub fn empty_trash(&self) -> Result<()> {
        self.layout.trash.settle()
    }

    fn run_collection(&self, dry: bool) -> Result<Collected> {
        let tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        collect::run(&self.layout, &self.blobs, &self.snapshots, &tables, dry)
    }
}
