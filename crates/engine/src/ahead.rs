//! What containers need of the disk, made before they are: room for a new file is dear where many come and go.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use teu_store::{Snapshots, Spares, Store};
use tokio::sync::Notify;

use crate::container::ETC_FILES;
use crate::error::{Error, Result};

/// How long after something was taken it is made again: the processors are better left to the container that takes it.
const BREATH: Duration = Duration::from_millis(20);

/// Folders for containers to come. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Ahead(Arc<Kinds>);

struct Kinds {
    snapshots: Snapshots,
    etc: Spares,
    logs: Spares,
    wanted: Arc<Notify>,
}

impl Ahead {
    /// None is there until the first [`Ahead::refill`].
    pub(crate) fn new(store: &Store) -> Self {
        let wanted = Arc::new(Notify::new());
        let (snapshots, etc, logs) = (store.snapshots().clone(), store.spares(furnish_etc), store.spares(furnish));
        let kinds = Arc::new(Kinds { snapshots, etc, logs, wanted: wanted.clone() });
        // It must not keep the store open.
        let weak = Arc::downgrade(&kinds);
        tokio::spawn(async move {
            loop {
                wanted.notified().await;
                tokio::time::sleep(BREATH).await;
                let Some(kinds) = weak.upgrade() else { return };
                let made = tokio::task::spawn_blocking(move || {
                    kinds.snapshots.prepare_ahead();
                    kinds.etc.refill();
                    kinds.logs.refill();
                });
                let _ = made.await;
            }
        });
        Self(kinds)
    }

    /// Makes again what was taken; soon, not now.
    pub(crate) fn refill(&self) {
        self.0.wanted.notify_one();
    }

    /// Makes the folder of a container's `hosts` and so on, unless it is there.
    pub(crate) fn make_etc(&self, dir: &Path) -> Result<()> {
        make(&self.0.etc, dir)
    }

    /// Makes the folder of a container's log, unless it is there.
    pub(crate) fn make_logs(&self, dir: &Path) -> Result<()> {
        make(&self.0.logs, dir)
    }
}

impl Drop for Kinds {
    fn drop(&mut self) {
        self.wanted.notify_one();
    }
}

fn make(spares: &Spares, dir: &Path) -> Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    let made = spares.place(dir).or_else(|error| match error.kind() {
        io::ErrorKind::NotFound => fs::create_dir_all(dir),
        io::ErrorKind::AlreadyExists if dir.is_dir() => Ok(()),
        _ => Err(error),
    });
    made.map_err(|error| Error::io("make", dir, error))
}

/// As open as the system's own: what may be read in it is for the files to say.
fn furnish(dir: &Path) -> teu_store::Result<()> {
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).map_err(|error| teu_store::Error::io(dir, error))
}

fn furnish_etc(dir: &Path) -> teu_store::Result<()> {
    furnish(dir)?;
    for name in ETC_FILES {
        let path = dir.join(name);
        fs::File::create_new(&path).map_err(|error| teu_store::Error::io(&path, error))?;
    }
    Ok(())
}
