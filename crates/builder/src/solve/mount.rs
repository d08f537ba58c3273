//! The mounts of a RUN: caches, each an active snapshot that lasts under its id, and folders in memory.

use std::collections::HashMap;
use std::os::unix::fs::{PermissionsExt, chown};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use teu_api::container::{HostConfig, MountPoint};
use teu_oci::Digest;
use teu_store::{CACHE_MOUNT, Store};
use tokio::sync::OwnedRwLockReadGuard;
use tokio::sync::{OwnedRwLockWriteGuard, RwLock};

use super::blocking;
use super::trees::{self, Shown};
use crate::Error;
use crate::plan::{Sharing, StepMount};

/// Who uses which cache now, in this daemon.
static IN_USE: LazyLock<Mutex<HashMap<String, Arc<RwLock<()>>>>> = LazyLock::new(Mutex::default);

fn lock_of(key: &str) -> Arc<RwLock<()>> {
    IN_USE.lock().unwrap_or_else(PoisonError::into_inner).entry(key.to_owned()).or_default().clone()
}

/// As long as it lives the cache is in use.
pub(super) enum Use {
    /// With others.
    Shared { _guard: OwnedRwLockReadGuard<()> },
    /// Alone.
    Locked { _guard: OwnedRwLockWriteGuard<()> },
}

/// Gets a step's mounts ready; what is in memory goes into the host's half of the configuration.
pub(super) async fn prepare(
    store: &Store,
    mounts: &[StepMount],
    shown: &[Option<Shown>],
    host: &mut HostConfig,
) -> Result<(Vec<MountPoint>, Vec<Use>), Error> {
    let (mut points, mut uses) = (vec![], vec![]);
    for (mount, shown) in mounts.iter().zip(shown) {
        match mount {
            // These are got ready by themselves.
            StepMount::Bind { .. } | StepMount::Secret { .. } | StepMount::Ssh { .. } => {}
            StepMount::Tmpfs { target, size } => {
                let options = if size.is_empty() { String::new() } else { format!("size={size}") };
                host.tmpfs.insert(target.clone(), options);
            }
            StepMount::Cache { id, target, from, read_only, sharing, mode, owner } => {
                let begins = match (from, shown) {
                    (Some((_, source)), Some(Shown::Chain(chain))) => Some((chain.clone(), source.clone())),
                    _ => None,
                };
                // What begins as something else is another cache.
                let of = begins.as_ref().and_then(|(chain, _)| chain.as_ref());
                let id = of.map_or_else(|| id.clone(), |chain| format!("{id}:{}", chain.short()));
                let (key, guard) = acquire(&format!("{CACHE_MOUNT}{id}"), *sharing).await;
                uses.push(guard);
                let new = New { mode: *mode, owner: *owner, begins };
                let store = store.clone();
                let source = blocking(move || folder(&store, &key, &new)).await?;
                points.push(MountPoint {
                    kind: "bind".into(),
                    source: source.to_string_lossy().into_owned(),
                    destination: target.clone(),
                    rw: !read_only,
                    ..MountPoint::default()
                });
            }
        }
    }
    Ok((points, uses))
}

/// Waits until a cache may be used; one that nobody shares is the first that is free.
async fn acquire(key: &str, sharing: Sharing) -> (String, Use) {
    match sharing {
        Sharing::Shared => (key.to_owned(), Use::Shared { _guard: lock_of(key).read_owned().await }),
        Sharing::Locked => (key.to_owned(), Use::Locked { _guard: lock_of(key).write_owned().await }),
        Sharing::Private => {
            let mut number = 0;
            loop {
                let key = if number == 0 { key.to_owned() } else { format!("{key}.{number}") };
                if let Ok(guard) = lock_of(&key).try_write_owned() {
                    return (key, Use::Locked { _guard: guard });
                }
                number += 1;
            }
        }
    }
}

/// What a new cache is like.
struct New {
    mode: u32,
    owner: (u32, u32),
    /// The tree, and the part of it, that is in it at first.
    begins: Option<(Option<Digest>, String)>,
}

/// The folder of a cache, made if it is not there.
fn folder(store: &Store, key: &str, new: &New) -> Result<std::path::PathBuf, Error> {
    let made = store.snapshots().prepare_large(key, None);
    let is_new = made.is_ok();
    let overlay = match made {
        Err(teu_store::Error::Exists { .. }) => store.snapshots().overlay(key)?,
        other => other?,
    };
    let path = overlay.upper.unwrap_or_default();
    if is_new {
        let furnish = || {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(new.mode))?;
            chown(&path, Some(new.owner.0), Some(new.owner.1))
        };
        let filled = match &new.begins {
            None => furnish().map_err(Error::io("make a cache of the build")),
            Some((chain, source)) => trees::fill(store, chain.as_ref(), source, &path),
        };
        // One that is half full is worse than none.
        if let Err(error) = filled {
            store.snapshots().remove(key)?;
            return Err(error);
        }
    }
    Ok(path)
}

/// A cache that lasts.
#[derive(Clone, Debug)]
pub struct Kept {
    /// Its key.
    pub key: String,
    /// Bytes.
    pub size: u64,
    /// When something in its folder last came or went, RFC 3339.
    pub changed: String,
}

/// The caches there are.
///
/// # Errors
/// When they cannot be listed.
pub fn list(store: &Store) -> Result<Vec<Kept>, Error> {
    let snapshots = store.snapshots();
    let keys = snapshots.active()?.into_iter().filter(|key| key.starts_with(CACHE_MOUNT));
    Ok(keys
        .filter_map(|key| {
            // One that goes meanwhile was never there.
            let size = snapshots.usage(&key).ok()?.bytes;
            let upper = snapshots.overlay(&key).ok()?.upper?;
            let changed = std::fs::metadata(upper).and_then(|meta| meta.modified()).ok()?;
            let changed = jiff::Timestamp::try_from(changed).ok()?.to_string();
            Some(Kept { key, size, changed })
        })
        .collect())
}

/// Removes those of `keys` that are caches nobody uses now, and says how many bytes that is.
///
/// # Errors
/// When one cannot be removed.
pub fn remove(store: &Store, keys: &[String]) -> Result<u64, Error> {
    let mut bytes = 0;
    for kept in list(store)?.into_iter().filter(|kept| keys.contains(&kept.key)) {
        let lock = lock_of(&kept.key);
        if let Ok(_alone) = lock.try_write() {
            store.snapshots().remove(&kept.key)?;
            bytes += kept.size;
        }
    }
    Ok(bytes)
}
