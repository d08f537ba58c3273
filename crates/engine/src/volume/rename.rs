//! Another name for a volume, also while containers use it.
//!
//! Order: the new record (which says what it was called), the folder, the containers' records, the old record. A daemon
//! that was killed in between finishes at its next start what the new record tells of.

use teu_api::volume::Volume;

use super::{VolumeRecord, Volumes, lock};
use crate::container::Containers;
use crate::error::{Error, Result};

impl Volumes {
    /// Gives the volume `name` the name `to`; the containers that refer to it follow.
    ///
    /// # Errors
    /// When there is no such volume, or the new name is taken or no name.
    pub async fn rename(&self, name: &str, to: &str, containers: &Containers) -> Result<Volume> {
        let volumes = self.clone();
        let (old, new) = (name.to_owned(), to.to_owned());
        let moved = tokio::task::spawn_blocking(move || volumes.move_over(&old, &new)).await;
        let mut record = moved.map_err(|error| Error::internal(error.to_string()))??;
        for id in self.users(to) {
            if let Ok(container) = containers.find(&id) {
                container.rename_volume(name, to).await?;
            }
        }
        self.inner.table.remove(name)?;
        record.renamed_from = None;
        self.inner.table.put(to, &record)?;
        self.emit("rename", to, &[("oldName", name)]);
        Ok(self.describe(to, &record))
    }

    /// The part on disk, and who refers to it.
    fn move_over(&self, name: &str, to: &str) -> Result<VolumeRecord> {
        if name == to {
            // Its one gate is not locked twice.
            return self.record(name).and_then(|record| self.free(to).map(|()| record));
        }
        // In the order of their names, so that two renamings cross each other without waiting for ever.
        let (first, second) = if name < to { (name, to) } else { (to, name) };
        let gates = (self.gate(first), self.gate(second));
        let (one, other) = (lock(&gates.0.mounted_for), lock(&gates.1.mounted_for));
        let (mut old, mut new) = if name < to { (one, other) } else { (other, one) };
        let record = self.record(name)?;
        self.free(to)?;
        let record = VolumeRecord { renamed_from: Some(name.to_owned()), ..record };
        self.inner.table.put(to, &record)?;
        if let Err(error) = self.move_folder(name, to) {
            self.inner.table.remove(to)?;
            return Err(error);
        }
        *new = std::mem::take(&mut *old);
        let mut state = self.state();
        if let Some(users) = state.users.remove(name) {
            state.users.insert(to.to_owned(), users);
        }
        Ok(record)
    }

    fn move_folder(&self, name: &str, to: &str) -> Result<()> {
        let (from, place) = (self.dir(name), self.dir(to));
        self.inner.store.discard(&place)?;
        std::fs::rename(&from, &place).map_err(|error| Error::io("rename", &from, error))
    }

    /// What an earlier daemon had begun: the folder follows the new record.
    pub(super) fn finish_renamings(&self) -> Result<()> {
        for to in self.inner.table.keys()? {
            // One that cannot be read is told of when it is asked for.
            let Ok(Some(record)) = self.inner.table.get(&to) else { continue };
            if let Some(name) = &record.renamed_from
                && self.dir(name).exists()
            {
                self.move_folder(name, &to)?;
            }
        }
        Ok(())
    }

    /// The new name of a volume whose renaming was not finished, for a container's record of that time.
    pub(crate) fn renamed(&self, name: &str) -> Option<String> {
        let list = self.inner.table.list().unwrap_or_default();
        list.into_iter().find(|(_, record)| record.renamed_from.as_deref() == Some(name)).map(|(to, _)| to)
    }

    /// Every container's record has been read: what was called otherwise is called so no more.
    pub(crate) fn renamings_finished(&self) -> Result<()> {
        for (to, record) in self.inner.table.list()? {
            if let Some(name) = &record.renamed_from {
                self.inner.table.remove(name)?;
                self.inner.table.put(&to, &VolumeRecord { renamed_from: None, ..record.clone() })?;
            }
        }
        Ok(())
    }
}
