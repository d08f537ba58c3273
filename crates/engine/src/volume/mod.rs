//! Volumes: data that outlives containers, `<root>/volumes/<name>/_data`, with a record each.
//!
//! ```text
//! create ── reference (a container is made) ── mount (it starts) ── unmount (it ends) ── release (it is removed) ── remove
//! ```
//!
//! Who refers to a volume is in memory, derived from the containers' records. A volume with a file system of its own is
//! mounted at `_data` while a container that uses it runs, whichever daemon started that; any other volume is a folder
//! and needs no mount. Everything that takes long (a file system that does not answer, a copy) happens behind the gate
//! of the one volume. Deliberately absent: drivers other than `local`.

mod adopt;
mod copies;
mod device;
pub(crate) mod driver;
mod list;
mod place;
mod rename;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use teu_api::volume::{CreateRequest, Volume};
use teu_oci::Digest;
use teu_store::{Store, Table};

use crate::container::names::random_id;
use crate::error::{Error, Kind, Result};
use crate::events::Events;
use driver::Backing;

pub use copies::CopyKind;
pub(crate) use place::{Held, Place};

/// The label of a volume that nobody named: Docker's.
pub(crate) const ANONYMOUS: &str = "com.docker.volume.anonymous";

/// The volumes. Cheap to clone.
#[derive(Clone)]
pub struct Volumes {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    table: Table<VolumeRecord>,
    dir: PathBuf,
    events: Events,
    state: Mutex<State>,
    pruning: Mutex<()>,
}

#[derive(Default)]
struct State {
    /// Containers by the volume that they refer to.
    users: BTreeMap<String, BTreeSet<String>>,
    gates: HashMap<String, Arc<Gate>>,
}

/// What one volume's users queue at.
#[derive(Default)]
struct Gate {
    /// Taken for whatever changes or mounts the volume. Holds who needs it mounted.
    mounted_for: Mutex<BTreeSet<String>>,
    /// Taken while the volume gets its first files.
    filling: Mutex<()>,
}

#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(default)]
struct VolumeRecord {
    created: String,
    labels: Option<BTreeMap<String, String>>,
    options: BTreeMap<String, String>,
    backing: Backing,
    /// The volume that this one shows as it once was; nothing may write to it.
    snapshot_of: Option<String>,
    /// The name that it had before a renaming that is under way.
    renamed_from: Option<String>,
}

impl teu_store::Record for VolumeRecord {
    fn refers_to(&self) -> Vec<Digest> {
        vec![]
    }
}

/// How a new volume is to be.
#[derive(Default)]
struct Plan {
    labels: Option<BTreeMap<String, String>>,
    options: BTreeMap<String, String>,
}

impl Volumes {
    pub(crate) fn open(store: &Store, events: Events) -> Result<Self> {
        let dir = store.root().join("volumes");
        make_dir(&dir, 0o711)?;
        let table = store.table("volume-records")?;
        let (state, pruning) = (Mutex::default(), Mutex::default());
        let inner = Inner { store: store.clone(), table, dir, events, state, pruning };
        let volumes = Self { inner: Arc::new(inner) };
        volumes.finish_renamings()?;
        volumes.adopt()?;
        Ok(volumes)
    }

    /// Makes a volume, or gives the one that is there.
    ///
    /// # Errors
    /// When the name is no name, or a driver or option is asked for that teu does not have.
    pub fn create(&self, request: CreateRequest) -> Result<Volume> {
        let (name, anonymous) = match request.name.as_str() {
            "" => (random_id()?, true),
            name => (name.to_owned(), false),
        };
        has_driver(&name, &request.driver)?;
        let mut labels = request.labels;
        if anonymous {
            labels.get_or_insert_default().insert(ANONYMOUS.into(), String::new());
        }
        let plan = Plan { labels, options: request.driver_opts.unwrap_or_default() };
        self.make(&name, &plan, None)
    }

    /// The volume that the container `user` asks for, made if it is not there; it stays until the container lets go.
    pub(crate) fn ensure(&self, user: &str, options: &teu_api::container::VolumeOptions, name: &str) -> Result<Volume> {
        let driver = options.driver_config.clone().unwrap_or_default();
        let (name, labels) = match name {
            "" => (random_id()?, Some(BTreeMap::from([(ANONYMOUS.to_owned(), String::new())]))),
            name => (name.to_owned(), None),
        };
        has_driver(&name, &driver.name)?;
        let labels = if options.labels.is_empty() {
            labels
        } else {
            Some(labels.into_iter().flatten().chain(options.labels.clone()).collect())
        };
        self.make(&name, &Plan { labels, options: driver.options }, Some(user))
    }

    fn make(&self, name: &str, plan: &Plan, user: Option<&str>) -> Result<Volume> {
        let in_create = |error: Error| Error { message: format!("create {name}: {}", error.message), ..error };
        check(name).map_err(in_create)?;
        let gate = self.gate(name);
        let _mounted = lock(&gate.mounted_for);
        let record = match self.inner.table.get(name)? {
            Some(record) => record,
            None => self.make_new(name, plan).map_err(in_create)?,
        };
        if let Some(user) = user {
            self.refer(name, user);
        }
        Ok(self.describe(name, &record))
    }

    fn make_new(&self, name: &str, plan: &Plan) -> Result<VolumeRecord> {
        let wanted = driver::read(&plan.options)?;
        let dir = self.dir(name);
        let made = self.build(&dir, &wanted);
        let backing = match made {
            Ok(backing) => backing,
            Err(error) => {
                self.inner.store.discard(&dir)?;
                return Err(error);
            }
        };
        let record = VolumeRecord {
            created: now(),
            labels: plan.labels.clone(),
            options: plan.options.clone(),
            backing,
            ..VolumeRecord::default()
        };
        if record.is_plain() {
            self.inner.table.put_quick(name, &record)?;
        } else {
            self.inner.table.put(name, &record)?;
        }
        self.emit("create", name, &[]);
        Ok(record)
    }

    /// Removes a volume that no container refers to.
    ///
    /// # Errors
    /// When there is none (unless `force`), or it is in use.
    pub fn remove(&self, name: &str, force: bool) -> Result<()> {
        match self.remove_unused(name) {
            Err(error) if force && error.kind == Kind::NotFound => Ok(()),
            other => other,
        }
    }

    fn remove_unused(&self, name: &str) -> Result<()> {
        self.record(name)?;
        let gate = self.gate(name);
        let mounted_for = lock(&gate.mounted_for);
        let mut users = self.users(name);
        let others: Vec<_> = mounted_for.iter().filter(|user| !users.contains(user)).cloned().collect();
        users.extend(others);
        if !users.is_empty() {
            return Err(Error::conflict(format!("remove {name}: volume is in use - [{}]", users.join(", "))));
        }
        let record = self.record(name)?;
        let dir = self.dir(name);
        self.unmount_at(&record, &dir)?;
        self.release_limit(&record.backing);
        // Out of the way at once: a new volume of that name sees no old files.
        self.inner.store.discard(&dir)?;
        self.inner.table.remove(name)?;
        drop(mounted_for);
        self.forget_gate(name, gate);
        self.emit("destroy", name, &[]);
        Ok(())
    }

    /// Removes a volume that was made for one container, unless another uses it by now.
    pub(crate) fn remove_anonymous(&self, name: &str) -> Result<()> {
        match self.remove_unused(name) {
            Err(error) if matches!(error.kind, Kind::Conflict | Kind::NotFound) => Ok(()),
            other => other,
        }
    }

    /// Notes that a container refers to a volume.
    pub(crate) fn refer(&self, name: &str, user: &str) {
        self.state().users.entry(name.to_owned()).or_default().insert(user.to_owned());
    }

    /// Notes that a container does not any more.
    pub(crate) fn release(&self, name: &str, user: &str) {
        let mut state = self.state();
        if let Some(users) = state.users.get_mut(name) {
            users.remove(user);
            if users.is_empty() {
                state.users.remove(name);
            }
        }
    }

    /// The containers that refer to a volume.
    pub(crate) fn users(&self, name: &str) -> Vec<String> {
        self.state().users.get(name).into_iter().flatten().cloned().collect()
    }

    /// Whether nothing may write to it.
    pub(crate) fn is_snapshot(&self, name: &str) -> Result<bool> {
        Ok(self.record(name)?.snapshot_of.is_some())
    }

    fn record(&self, name: &str) -> Result<VolumeRecord> {
        let none = || Error::not_found(format!("get {name}: no such volume"));
        if check(name).is_err() {
            return Err(none());
        }
        self.inner.table.get(name)?.ok_or_else(none)
    }

    fn dir(&self, name: &str) -> PathBuf {
        self.inner.dir.join(name)
    }

    /// Where a volume's files are when it is mounted.
    pub(crate) fn data(&self, name: &str) -> PathBuf {
        self.dir(name).join("_data")
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.inner.state)
    }

    fn gate(&self, name: &str) -> Arc<Gate> {
        self.state().gates.entry(name.to_owned()).or_default().clone()
    }

    /// Takes a gate away that nobody queues at.
    fn forget_gate(&self, name: &str, gate: Arc<Gate>) {
        let mut state = self.state();
        drop(gate);
        if state.gates.get(name).is_some_and(|gate| Arc::strong_count(gate) == 1) {
            state.gates.remove(name);
        }
    }

    pub(crate) fn emit(&self, action: &str, name: &str, extra: &[(&str, &str)]) {
        let attributes = [("driver", "local")].iter().chain(extra).map(|(key, value)| ((*key).into(), (*value).into()));
        self.inner.events.emit("volume", action, name, attributes.collect());
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// This moment as volumes show it: RFC 3339, whole seconds.
fn now() -> String {
    jiff::Timestamp::from_second(jiff::Timestamp::now().as_second()).unwrap_or_default().to_string()
}

fn make_dir(path: &Path, mode: u32) -> Result<()> {
    let made = std::fs::DirBuilder::new().recursive(true).mode(mode).create(path);
    made.map_err(|error| Error::io("make", path, error))
}

fn has_driver(name: &str, driver: &str) -> Result<()> {
    if matches!(driver, "" | "local") {
        return Ok(());
    }
    let message = format!("create {name}: error looking up volume plugin {driver}: plugin \"{driver}\" not found");
    Err(Error::not_found(message))
}

/// Whether a text can be a volume's name: Docker's rule.
fn check(name: &str) -> Result<()> {
    if name.len() == 1 {
        return Err(Error::bad("volume name is too short, names should be at least two alphanumeric characters"));
    }
    let mut bytes = name.bytes();
    let sound = bytes.next().is_some_and(|b| b.is_ascii_alphanumeric())
        && name.len() <= 255
        && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'));
    if sound {
        return Ok(());
    }
    Err(Error::bad(format!(
        "\"{name}\" includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. \
         If you intended to pass a host directory, use absolute path"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_dockers() {
        for good in ["ab", "a.b_c-d", "0a", &"a".repeat(255)] {
            assert!(check(good).is_ok(), "{good}");
        }
        for bad in ["", "a", ".a", "-a", "_a", "a/b", "../x", "a b", "ä1", &"a".repeat(256)] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }
}
