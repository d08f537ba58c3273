//! Records: small files replaced atomically.

use std::fs;
use std::io;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use teu_oci::Digest;

use crate::layout::{self, Layout};
use crate::{Error, Lease, Result, names};

const SUFFIX: &str = ".json";

/// Something worth remembering.
pub trait Record: Serialize + DeserializeOwned + 'static {
    /// Every blob and chain ID that must live as long as the record. Layers below a chain are found by the collector.
    fn refers_to(&self) -> Vec<Digest>;
}

/// The records of one kind, `<root>/<name>/<key>.json`. Clones share it. A key may be any text.
pub struct Table<T> {
    layout: Arc<Layout>,
    dir: PathBuf,
    record: PhantomData<fn() -> T>,
}

impl<T> Clone for Table<T> {
    fn clone(&self) -> Self {
        Self { layout: self.layout.clone(), dir: self.dir.clone(), record: PhantomData }
    }
}

impl<T: Record> Table<T> {
    pub(crate) fn open(layout: &Arc<Layout>, name: &str) -> Result<Self> {
        let dir = layout.root().join(name);
        layout::make_dir(&dir, 0o700)?;
        if layout.is_new_table(name) {
            for name in names::entries(&dir)?.iter().filter(|name| name.starts_with(layout::TEMPORARY)) {
                names::remove_file(&dir.join(name))?;
            }
        }
        Ok(Self { layout: layout.clone(), dir, record: PhantomData })
    }

    /// The record of that key, if there is one.
    pub fn get(&self, key: &str) -> Result<Option<T>> {
        read(&self.path(key))
    }

    /// Writes or replaces a record, durably.
    pub fn put(&self, key: &str, record: &T) -> Result<()> {
        self.write(key, record, true)
    }

    /// The same without waiting for the disk: a power failure may bring the old record back.
    pub fn put_quick(&self, key: &str, record: &T) -> Result<()> {
        self.write(key, record, false)
    }

    /// Deletes a record; `false` when there was none.
    pub fn remove(&self, key: &str) -> Result<bool> {
        let path = self.path(key);
        // Out of sight at once: to free its blocks may take the file system a while.
        let removed = self.layout.trash.discard(&path)?;
        names::remove_parents(&self.dir, &path);
        Ok(removed)
    }

    /// All keys, sorted.
    pub fn keys(&self) -> Result<Vec<String>> {
        Ok(names::list(&self.dir, SUFFIX)?.into_iter().map(|(key, _)| key).collect())
    }

    /// All records, sorted by key. One that cannot be parsed is an error; [`Table::keys`] and [`Table::get`] go
    /// around it.
    pub fn list(&self) -> Result<Vec<(String, T)>> {
        let mut records = Vec::new();
        for (key, path) in names::list(&self.dir, SUFFIX)? {
            // One removed meanwhile is not there.
            records.extend(read(&path)?.map(|record| (key, record)));
        }
        Ok(records)
    }

    /// All that the records refer to.
    pub(crate) fn roots(&self) -> Result<Vec<Digest>> {
        Ok(self.list()?.iter().flat_map(|(_, record)| record.refers_to()).collect())
    }

    fn write(&self, key: &str, record: &T, durable: bool) -> Result<()> {
        let path = self.path(key);
        // Held until the record says so itself: a collection that is running may have read the table already.
        let lease = Lease::new(&self.layout, "a record being written");
        record.refers_to().iter().for_each(|digest| lease.hold(digest));
        let text = serde_json::to_vec(record).map_err(|source| Error::Record { path: path.clone(), source })?;
        names::make_parents(&self.dir, &path)?;
        self.layout.replace(&path, &text, durable)
    }

    fn path(&self, key: &str) -> PathBuf {
        self.dir.join(names::encode(key, SUFFIX))
    }
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let text = match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(|error| Error::io(path, error))?,
    };
    serde_json::from_slice(&text).map(Some).map_err(|source| Error::Record { path: path.to_path_buf(), source })
}
