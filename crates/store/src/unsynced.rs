//! What a power failure could still tear, so that a thousand files need one `syncfs` and no fsync of their own.
//!
//! A blob or layer that becomes visible without having been synced has a mark here: a symbolic link named
//! `blob.<algorithm>.<hex>` or `layer.<algorithm>.<hex>` whose target is the kernel's boot ID. The mark is made before
//! the rename (a journal keeps that order), and removed after a `syncfs`. A mark of another boot found at open means
//! that the thing may be torn: a blob is hashed again, a layer dropped. A killed process leaves marks of this boot:
//! the page cache has everything, nothing is suspect.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use teu_oci::Digest;

use crate::{Error, Result, names};

/// What a mark is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Blob,
    Layer,
}

/// The marks of a store.
pub(crate) struct Unsynced {
    dir: PathBuf,
    boot: String,
    /// Marks whose rename has not happened yet.
    pending: Mutex<HashSet<String>>,
}

/// Between the mark and the rename.
pub(crate) struct Mark<'u> {
    unsynced: &'u Unsynced,
    name: String,
}

impl Unsynced {
    pub(crate) fn open(dir: PathBuf) -> Result<Self> {
        let path = "/proc/sys/kernel/random/boot_id";
        let boot = fs::read_to_string(path).map_err(|error| Error::io(path, error))?.trim().to_owned();
        Ok(Self { dir, boot, pending: Mutex::default() })
    }

    /// Marks something; drop the result after the rename.
    pub(crate) fn mark(&self, kind: Kind, digest: &Digest) -> Result<Mark<'_>> {
        let kind = match kind {
            Kind::Blob => "blob",
            Kind::Layer => "layer",
        };
        let name = format!("{kind}.{}.{}", digest.algorithm(), digest.hex());
        self.pending().insert(name.clone());
        let mark = Mark { unsynced: self, name };
        let path = self.dir.join(&mark.name);
        match symlink(&self.boot, &path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(Error::io(path, error)),
            _ => Ok(mark),
        }
    }

    /// Syncs the file system and removes the marks of what was there before.
    pub(crate) fn sync(&self) -> Result<()> {
        let pending = self.pending().clone();
        let mut marks = names::entries(&self.dir)?;
        marks.retain(|name| !pending.contains(name));
        let dir = File::open(&self.dir).map_err(|error| Error::io(&self.dir, error))?;
        rustix::fs::syncfs(&dir).map_err(|error| Error::io(&self.dir, error))?;
        if marks.is_empty() {
            return Ok(());
        }
        for name in marks {
            names::remove_file(&self.dir.join(name))?;
        }
        // Without this a record could outlive the removal of a mark, and its layer be dropped at the next boot.
        rustix::fs::syncfs(&dir).map_err(|error| Error::io(&self.dir, error))
    }

    /// What an earlier boot left marked.
    pub(crate) fn suspects(&self) -> Result<Vec<(Kind, Digest)>> {
        let mut suspects = Vec::new();
        for name in names::entries(&self.dir)? {
            let target = fs::read_link(self.dir.join(&name)).unwrap_or_default();
            if target.as_os_str() != self.boot.as_str() {
                suspects.extend(parse(&name));
            }
        }
        Ok(suspects)
    }

    /// Takes a mark away: what it was about is verified, or gone.
    pub(crate) fn clear(&self, kind: Kind, digest: &Digest) -> Result<()> {
        let mark = self.mark(kind, digest)?;
        names::remove_file(&self.dir.join(&mark.name)).map(drop)
    }

    fn pending(&self) -> MutexGuard<'_, HashSet<String>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Mark<'_> {
    fn drop(&mut self) {
        self.unsynced.pending().remove(&self.name);
    }
}

fn parse(name: &str) -> Option<(Kind, Digest)> {
    let (kind, digest) = name.split_once('.')?;
    let kind = match kind {
        "blob" => Kind::Blob,
        "layer" => Kind::Layer,
        _ => return None,
    };
    Some((kind, digest.replacen('.', ":", 1).parse().ok()?))
}
