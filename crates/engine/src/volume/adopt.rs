//! A plain volume is its folder: nothing is lost when a power failure takes its record, which is made again from it. That is
//! why making one waits for no disk.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::driver::Backing;
use super::{ANONYMOUS, VolumeRecord, Volumes, check};
use crate::error::{Error, Result};

impl VolumeRecord {
    /// Its folder says all that is to be said of it.
    pub(super) fn is_plain(&self) -> bool {
        let named_by_itself = |labels: &BTreeMap<String, String>| labels.keys().all(|label| label == ANONYMOUS);
        self.labels.as_ref().is_none_or(named_by_itself)
            && self.options.is_empty()
            && self.backing == Backing::default()
    }
}

impl Volumes {
    /// Gives a record to every folder that has none, or one that was cut off.
    pub(super) fn adopt(&self) -> Result<()> {
        let dir = &self.inner.dir;
        for entry in fs::read_dir(dir).map_err(|error| Error::io("read", dir, error))? {
            let entry = entry.map_err(|error| Error::io("read", dir, error))?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            if check(&name).is_err() || !is_plain(&entry.path()) || matches!(self.inner.table.get(&name), Ok(Some(_))) {
                continue;
            }
            let record =
                VolumeRecord { created: made(&entry.path()), labels: labels(&name), ..VolumeRecord::default() };
            tracing::info!(volume = name, "a folder without a record is a volume again");
            self.inner.table.put(&name, &record)?;
        }
        Ok(())
    }
}

/// Whether a folder is what a plain volume has, and no more.
fn is_plain(dir: &Path) -> bool {
    let Ok(entries) = fs::read_dir(dir) else { return false };
    let names: Vec<_> = entries.flatten().map(|entry| entry.file_name()).collect();
    names == ["_data"] && dir.join("_data").is_dir()
}

/// When the folder was made.
fn made(dir: &Path) -> String {
    let time = fs::symlink_metadata(dir).and_then(|data| data.modified()).ok();
    let time = time.and_then(|time| jiff::Timestamp::try_from(time).ok());
    let seconds = time.and_then(|time| jiff::Timestamp::from_second(time.as_second()).ok());
    seconds.unwrap_or_else(jiff::Timestamp::now).to_string()
}

/// A volume that nobody named has a name that nobody would give.
fn labels(name: &str) -> Option<BTreeMap<String, String>> {
    let random = name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    random.then(|| BTreeMap::from([(ANONYMOUS.to_owned(), String::new())]))
}
