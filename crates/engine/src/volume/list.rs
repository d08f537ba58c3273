//! Volumes as the API shows them, and taking away those that nobody uses.

use std::collections::BTreeMap;

use serde_json::Value;
use teu_api::Filters;
use teu_api::volume::{ListResponse, PruneReport, UsageData, Volume};

use super::driver::Backing;
use super::{ANONYMOUS, VolumeRecord, Volumes};
use crate::error::{Error, Result};
use crate::prune;

impl Volumes {
    /// One volume.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn inspect(&self, name: &str) -> Result<Volume> {
        Ok(self.describe(name, &self.record(name)?))
    }

    pub(super) fn describe(&self, name: &str, record: &VolumeRecord) -> Volume {
        Volume {
            created_at: record.created.clone(),
            driver: "local".into(),
            labels: record.labels.clone(),
            mountpoint: self.data(name).display().to_string(),
            name: name.into(),
            options: (!record.options.is_empty()).then(|| record.options.clone()),
            scope: "local".into(),
            status: status(record),
            ..Volume::default()
        }
    }

    /// The volumes that pass `filters`.
    ///
    /// # Errors
    /// When a filter is unknown.
    pub fn list(&self, filters: &Filters) -> Result<ListResponse> {
        if let Some(unknown) = filters.unknown(&["dangling", "driver", "label", "name"]) {
            return Err(Error::bad(format!("invalid filter '{unknown}'")));
        }
        let dangling =
            filters.flag("dangling").map_err(|value| Error::bad(format!("invalid filter 'dangling={value}'")))?;
        let mut volumes = vec![];
        let names = crate::pattern::Patterns::new(filters.get("name"));
        for (name, record) in self.inner.table.list()? {
            let named = names.match_any(&name);
            if named
                && filters.matches("driver", "local")
                && filters.match_labels(&record.labels.clone().unwrap_or_default())
                && dangling.is_none_or(|dangling| dangling == self.users(&name).is_empty())
            {
                volumes.push(self.describe(&name, &record));
            }
        }
        Ok(ListResponse { volumes, warnings: None })
    }

    /// Every volume with its size and the number of containers that refer to it. Walks through files.
    ///
    /// # Errors
    /// When the records cannot be read.
    pub fn usage(&self) -> Result<Vec<Volume>> {
        let with_usage = |(name, record): (String, VolumeRecord)| {
            let size = self.size(&name, &record.backing).and_then(|bytes| i64::try_from(bytes).ok()).unwrap_or(-1);
            let ref_count = i64::try_from(self.users(&name).len()).unwrap_or(i64::MAX);
            Volume { usage_data: Some(UsageData { size, ref_count }), ..self.describe(&name, &record) }
        };
        Ok(self.inner.table.list()?.into_iter().map(with_usage).collect())
    }

    /// Removes those that no container uses: anonymous ones, or with the filter `all` every one but those whose data
    /// is elsewhere.
    ///
    /// # Errors
    /// When a filter is unknown, or another prune is under way.
    pub fn prune(&self, filters: &Filters, mode: prune::Mode) -> Result<PruneReport> {
        if let Some(unknown) = filters.unknown(&["all", "label", "label!"]) {
            return Err(Error::bad(format!("invalid filter '{unknown}'")));
        }
        if filters.get("all").len() > 1 {
            let values = filters.get("all").join(" ");
            return Err(Error::bad(format!("invalid filter 'all=[{values}]': only one value is expected")));
        }
        let all = filters.flag("all").map_err(|value| {
            Error::bad(format!("invalid filter 'all': strconv.ParseBool: parsing \"{value}\": invalid syntax"))
        })?;
        let Ok(_pruning) = self.inner.pruning.try_lock() else {
            return Err(Error::conflict("a prune operation is already running"));
        };
        let mut report = PruneReport::default();
        for (name, record) in self.inner.table.list()? {
            let labels = record.labels.unwrap_or_default();
            let elsewhere = matches!(record.backing, Backing::Bind { .. } | Backing::Mounted(_));
            let chosen = !elsewhere
                && (all == Some(true) || labels.contains_key(ANONYMOUS))
                && filters.match_labels(&labels)
                && self.users(&name).is_empty();
            if !chosen {
                continue;
            }
            let bytes = self.size(&name, &record.backing).unwrap_or(0);
            let removed = if mode == prune::Mode::Tell { Ok(()) } else { self.remove_unused(&name) };
            match removed {
                Ok(()) => {
                    report.volumes_deleted.push(name);
                    report.space_reclaimed += bytes;
                }
                // Somebody has begun to use it, or it is gone.
                Err(error) => tracing::info!(%error, volume = name, "prune a volume"),
            }
        }
        if mode == prune::Mode::Tell {
            return Ok(report);
        }
        let reclaimed = report.space_reclaimed.to_string();
        self.inner.events.emit("volume", "prune", "", BTreeMap::from([("reclaimed".into(), reclaimed)]));
        Ok(report)
    }
}

/// What only teu's driver has to tell.
fn status(record: &VolumeRecord) -> Option<BTreeMap<String, Value>> {
    let mut facts = BTreeMap::new();
    let limited = match record.backing {
        Backing::Quota { bytes, .. } => Some(("project quota", bytes)),
        Backing::Image { bytes } => Some(("sized image", bytes)),
        _ => None,
    };
    if let Some((by, bytes)) = limited {
        facts.insert("LimitedBy".to_owned(), Value::from(by));
        facts.insert("SizeLimit".to_owned(), Value::from(bytes));
    }
    if let Some(source) = &record.snapshot_of {
        facts.insert("SnapshotOf".to_owned(), Value::from(source.as_str()));
    }
    (!facts.is_empty()).then_some(facts)
}
