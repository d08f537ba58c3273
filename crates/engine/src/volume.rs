//! Volumes: folders that outlive containers, `<root>/volume-data/<name>/_data`, with a record each.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use teu_api::Filters;
use teu_api::container::VolumeOptions;
use teu_api::volume::{CreateRequest, ListResponse, PruneReport, Volume};
use teu_oci::Digest;
use teu_store::{Store, Table};
use teu_sys::fs::Root;

use crate::container::Containers;
use crate::container::names::random_id;
use crate::error::{Error, Kind, Result};
use crate::events::Events;

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
    /// Making and removing exclude each other.
    making: Mutex<()>,
}

#[derive(Clone, Serialize, Deserialize)]
struct VolumeRecord {
    created: String,
    labels: BTreeMap<String, String>,
    options: BTreeMap<String, String>,
    anonymous: bool,
}

impl teu_store::Record for VolumeRecord {
    fn refers_to(&self) -> Vec<Digest> {
        vec![]
    }
}

impl Volumes {
    pub(crate) fn open(store: &Store, events: Events) -> Result<Self> {
        let dir = store.root().join("volume-data");
        fs::create_dir_all(&dir).map_err(|error| Error::io("make", &dir, error))?;
        let table = store.table("volumes")?;
        Ok(Self { inner: Arc::new(Inner { store: store.clone(), table, dir, events, making: Mutex::new(()) }) })
    }

    /// Makes a volume, or gives the one that is there.
    ///
    /// # Errors
    /// When the name is no name, or a driver or option is asked for that teu does not have.
    pub fn create(&self, request: CreateRequest) -> Result<Volume> {
        if !matches!(request.driver.as_str(), "" | "local") {
            return Err(Error::not_found(format!(
                "error looking up volume plugin {}: plugin not found",
                request.driver
            )));
        }
        if let Some(option) = request.driver_opts.keys().next() {
            let message = format!("volume option \"{option}\" is not supported by this version of teu");
            return Err(Error::new(Kind::NotImplemented, message));
        }
        let anonymous = request.name.is_empty();
        let name = if anonymous { random_id()? } else { request.name };
        self.make(&name, anonymous, request.labels)
    }

    /// The volume a container asks for, made if it is not there.
    pub(crate) fn ensure(&self, name: &str, anonymous: bool, options: &VolumeOptions) -> Result<Volume> {
        if let Some(driver) =
            options.driver_config.as_ref().filter(|driver| !matches!(driver.name.as_str(), "" | "local"))
        {
            return Err(Error::not_found(format!("error looking up volume plugin {}: plugin not found", driver.name)));
        }
        self.make(name, anonymous, options.labels.clone())
    }

    fn make(&self, name: &str, anonymous: bool, labels: BTreeMap<String, String>) -> Result<Volume> {
        check(name)?;
        let _making = self.inner.making.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(record) = self.inner.table.get(name)? {
            return Ok(self.describe(name, &record));
        }
        let data = self.data(name);
        fs::create_dir_all(&data).map_err(|error| Error::io("make", &data, error))?;
        let record =
            VolumeRecord { created: jiff::Timestamp::now().to_string(), labels, options: BTreeMap::new(), anonymous };
        self.inner.table.put(name, &record)?;
        self.emit("create", name);
        Ok(self.describe(name, &record))
    }

    /// First use: an empty volume gets what the image has at its place, with owners and modes.
    pub(crate) fn fill(&self, name: &str, chain: Option<&Digest>, path: &str) -> Result<()> {
        let data = self.data(name);
        let wrong = |error: std::io::Error| Error::io("fill the volume", &data, error);
        if fs::read_dir(&data).map_err(wrong)?.next().is_some() {
            return Ok(());
        }
        let Some(chain) = chain else { return Ok(()) };
        let view = self.inner.store.snapshots().view(Some(chain))?;
        let tree = Root::from_fd(view.mount_detached().map_err(wrong)?);
        if !tree.metadata(path).is_ok_and(|meta| meta.is_dir()) {
            return Ok(());
        }
        crate::copy::tree(&tree, Path::new(path), &data)
    }

    fn data(&self, name: &str) -> PathBuf {
        self.inner.dir.join(name).join("_data")
    }

    fn describe(&self, name: &str, record: &VolumeRecord) -> Volume {
        Volume {
            created_at: record.created.clone(),
            driver: "local".into(),
            labels: (!record.labels.is_empty()).then(|| record.labels.clone()),
            mountpoint: self.data(name).display().to_string(),
            name: name.into(),
            options: (!record.options.is_empty()).then(|| record.options.clone()),
            scope: "local".into(),
            ..Volume::default()
        }
    }

    /// One volume.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn inspect(&self, name: &str) -> Result<Volume> {
        Ok(self.describe(name, &self.record(name)?))
    }

    fn record(&self, name: &str) -> Result<VolumeRecord> {
        let none = || Error::not_found(format!("get {name}: no such volume"));
        if check(name).is_err() {
            return Err(none());
        }
        self.inner.table.get(name)?.ok_or_else(none)
    }

    /// The volumes that pass `filters`.
    ///
    /// # Errors
    /// When a filter is unknown.
    pub fn list(&self, filters: &Filters, containers: &Containers) -> Result<ListResponse> {
        if let Some(unknown) = filters.unknown(&["dangling", "driver", "label", "label!", "name"]) {
            return Err(Error::bad(format!("invalid filter '{unknown}'")));
        }
        let dangling =
            filters.flag("dangling").map_err(|value| Error::bad(format!("invalid filter 'dangling={value}'")))?;
        let mut volumes = vec![];
        for (name, record) in self.inner.table.list()? {
            let named = !filters.contains("name") || filters.get("name").iter().any(|part| name.contains(part));
            let used = !users(containers, &name).is_empty();
            if named
                && filters.matches("driver", "local")
                && filters.match_labels(&record.labels)
                && dangling.is_none_or(|dangling| dangling != used)
            {
                volumes.push(self.describe(&name, &record));
            }
        }
        Ok(ListResponse { volumes, warnings: None })
    }

    /// Removes a volume that no container uses.
    ///
    /// # Errors
    /// When there is none (unless `force`), or it is in use.
    pub fn remove(&self, name: &str, force: bool, containers: &Containers) -> Result<()> {
        if let Err(error) = self.record(name) {
            return if force { Ok(()) } else { Err(error) };
        }
        let users = users(containers, name);
        if !users.is_empty() {
            return Err(Error::conflict(format!("remove {name}: volume is in use - [{}]", users.join(", "))));
        }
        self.remove_quietly(name)
    }

    pub(crate) fn remove_quietly(&self, name: &str) -> Result<()> {
        let _making = self.inner.making.lock().unwrap_or_else(PoisonError::into_inner);
        let dir = self.inner.dir.join(name);
        // Out of the way at once, so that a new volume of that name does not see old files.
        let trash = self.inner.dir.join(format!(".removed-{}", random_id()?));
        if fs::rename(&dir, &trash).is_ok() {
            fs::remove_dir_all(&trash).map_err(|error| Error::io("remove", &trash, error))?;
        }
        if self.inner.table.remove(name)? {
            self.emit("destroy", name);
        }
        Ok(())
    }

    /// Removes those that no container uses: anonymous ones, or with the filter `all` every one.
    ///
    /// # Errors
    /// When a filter is unknown.
    pub fn prune(&self, filters: &Filters, containers: &Containers) -> Result<PruneReport> {
        if let Some(unknown) = filters.unknown(&["all", "label", "label!"]) {
            return Err(Error::bad(format!("invalid filter '{unknown}'")));
        }
        let all = filters.flag("all").map_err(|value| Error::bad(format!("invalid filter 'all={value}'")))?;
        let mut report = PruneReport::default();
        for (name, record) in self.inner.table.list()? {
            let chosen = (record.anonymous || all == Some(true)) && filters.match_labels(&record.labels);
            if chosen && users(containers, &name).is_empty() {
                let bytes = crate::copy::size(&self.data(&name));
                self.remove_quietly(&name)?;
                report.volumes_deleted.push(name);
                report.space_reclaimed += bytes;
            }
        }
        Ok(report)
    }

    fn emit(&self, action: &str, name: &str) {
        self.inner.events.emit("volume", action, name, BTreeMap::from([("driver".into(), "local".into())]));
    }
}

fn users(containers: &Containers, name: &str) -> Vec<String> {
    let uses = |record: &crate::container::Record| {
        record.mounts.iter().any(|mount| mount.kind == "volume" && mount.name == name)
    };
    containers
        .all()
        .iter()
        .map(crate::container::Container::record)
        .filter(|record| uses(record))
        .map(|record| record.id.clone())
        .collect()
}

fn check(name: &str) -> Result<()> {
    let mut bytes = name.bytes();
    let sound = bytes.next().is_some_and(|b| b.is_ascii_alphanumeric())
        && name.len() > 1
        && name.len() <= 255
        && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'));
    if sound {
        return Ok(());
    }
    Err(Error::bad(format!(
        "create {name}: \"{name}\" includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" \
         are allowed. If you intended to pass a host directory, use absolute path"
    )))
}
