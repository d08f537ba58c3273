//! `images`, `image inspect`, `history`.

use std::collections::{BTreeSet, HashMap};

use jiff::Timestamp;
use teu_api::Filters;
use teu_api::container::GraphDriver;
use teu_api::image::{HistoryItem, Inspect, Metadata, RootFs, Summary};
use teu_oci::{Digest, Reference};

use super::{Image, Images};
use crate::container::{Containers, NEVER};
use crate::error::{Error, Result};

const KNOWN: &[&str] = &["before", "dangling", "label", "label!", "reference", "since", "until"];

impl Images {
    /// The images, newest first. An image without a name is listed too: it is "dangling".
    ///
    /// # Errors
    /// When a filter is unknown or has no meaning.
    pub fn list(&self, filters: &Filters, containers: &Containers) -> Result<Vec<Summary>> {
        if let Some(unknown) = filters.unknown(KNOWN) {
            return Err(Error::bad(format!("invalid filter '{unknown}'")));
        }
        let dangling =
            filters.flag("dangling").map_err(|value| Error::bad(format!("invalid filter 'dangling={value}'")))?;
        let moments = |key: &str| {
            let names = filters.get(key).iter();
            names.map(|name| Ok(moment_of(&self.resolve(name)?))).collect::<Result<Vec<_>>>()
        };
        let until = filters.get("until").iter().map(|text| crate::prune::until(text)).collect::<Result<Vec<_>>>()?;
        let before = moments("before")?.into_iter().chain(until).min();
        let since = moments("since")?.into_iter().max();
        let used = containers.all();
        let mut rows = vec![];
        for image in self.all()? {
            let names = self.names(&image.id)?;
            let made = moment_of(&image);
            let passes = dangling.is_none_or(|wanted| wanted == names.is_empty())
                && before.is_none_or(|bound| made < bound)
                && since.is_none_or(|bound| made > bound)
                && filters.match_labels(&image.config.config.labels);
            let shown = Shown::of(&image, names, filters);
            if passes && !(filters.contains("reference") && shown.is_nothing()) {
                let users =
                    used.iter().filter(|container| container.record().image_id.as_ref() == Some(&image.id)).count();
                rows.push(row(&image, shown, users));
            }
        }
        rows.sort_by(|a, b| b.created.cmp(&a.created).then_with(|| a.repo_tags.cmp(&b.repo_tags)));
        Ok(rows)
    }

    /// Tells of each row how many bytes of the image's layers another image has too.
    ///
    /// # Errors
    /// When an image or a layer cannot be read.
    pub fn tell_shared(&self, rows: &mut [Summary]) -> Result<()> {
        let mut users: HashMap<Digest, u32> = HashMap::new();
        let images: HashMap<String, BTreeSet<Digest>> = self
            .all()?
            .into_iter()
            .map(|image| (image.id.to_string(), image.record.chains.into_iter().collect()))
            .collect();
        images.values().flatten().for_each(|chain| *users.entry(chain.clone()).or_default() += 1);
        for row in rows {
            let chains = images.get(&row.id).into_iter().flatten().filter(|chain| users.get(*chain) > Some(&1));
            let sizes = chains.map(|chain| self.inner.store.snapshots().size(chain));
            let shared = sizes.sum::<std::result::Result<u64, _>>()?;
            row.shared_size = i64::try_from(shared).unwrap_or(i64::MAX);
        }
        Ok(())
    }

    pub(super) fn all(&self) -> Result<Vec<Image>> {
        let records = self.inner.records.list()?;
        Ok(records.into_iter().filter_map(|(_, record)| self.by_id(&record.config).ok()).collect())
    }

    /// Everything about one image.
    ///
    /// # Errors
    /// When there is no such image.
    pub fn inspect(&self, wanted: &str) -> Result<Inspect> {
        let image = self.resolve(wanted)?;
        let names = self.names(&image.id)?;
        let config = &image.config;
        Ok(Inspect {
            id: image.id.to_string(),
            repo_tags: names.iter().map(Reference::familiar).collect(),
            repo_digests: image.record.repo_digests.clone(),
            parent: image.record.parent.as_ref().map(ToString::to_string).unwrap_or_default(),
            comment: config.history.last().map(|last| last.comment.clone()).unwrap_or_default(),
            created: config.created.clone().unwrap_or_default(),
            author: config.author.clone(),
            config: Some(config.config.clone()),
            architecture: config.architecture.clone(),
            variant: config.variant.clone().unwrap_or_default(),
            os: config.os.clone(),
            size: i64::try_from(image.record.size).unwrap_or(i64::MAX),
            graph_driver: GraphDriver { data: None, name: "overlay2".into() },
            root_fs: RootFs {
                kind: "layers".into(),
                layers: config.rootfs.diff_ids.iter().map(ToString::to_string).collect(),
            },
            metadata: Metadata {
                last_tag_time: if image.record.tagged.is_empty() { NEVER.into() } else { image.record.tagged.clone() },
            },
            ..Inspect::default()
        })
    }

    /// How an image was made, newest step first.
    ///
    /// # Errors
    /// When there is no such image.
    pub fn history(&self, wanted: &str) -> Result<Vec<HistoryItem>> {
        let image = self.resolve(wanted)?;
        let mut chains = image.record.chains.iter();
        let mut items = vec![];
        for step in &image.config.history {
            let chain = if step.empty_layer { None } else { chains.next() };
            let size = chain.map_or(Ok(0), |chain| self.inner.store.snapshots().size(chain))?;
            items.push(HistoryItem {
                id: "<missing>".into(),
                created: moment(step.created.as_deref()).as_second(),
                created_by: step.created_by.clone(),
                tags: None,
                size: i64::try_from(size).unwrap_or(i64::MAX),
                comment: step.comment.clone(),
            });
        }
        if let Some(newest) = items.last_mut() {
            newest.id = image.id.to_string();
            let names = self.names(&image.id)?;
            newest.tags = (!names.is_empty()).then(|| names.iter().map(Reference::familiar).collect());
        }
        items.reverse();
        Ok(items)
    }
}

/// The names of an image that the `reference` filter leaves.
struct Shown {
    tags: Vec<Reference>,
    digests: Vec<String>,
}

impl Shown {
    fn of(image: &Image, mut tags: Vec<Reference>, filters: &Filters) -> Self {
        let mut digests = image.record.repo_digests.clone();
        if filters.contains("reference") {
            let wanted = |name: &Reference| filters.get("reference").iter().any(|pattern| matches(pattern, name));
            tags.retain(wanted);
            digests.retain(|name| name.parse().is_ok_and(|name| wanted(&name)));
        }
        Self { tags, digests }
    }

    fn is_nothing(&self) -> bool {
        self.tags.is_empty() && self.digests.is_empty()
    }
}

fn row(image: &Image, shown: Shown, users: usize) -> Summary {
    Summary {
        id: image.id.to_string(),
        repo_tags: shown.tags.iter().map(Reference::familiar).collect(),
        repo_digests: shown.digests,
        created: moment_of(image).as_second(),
        size: i64::try_from(image.record.size).unwrap_or(i64::MAX),
        shared_size: -1,
        labels: (!image.config.config.labels.is_empty()).then(|| image.config.config.labels.clone()),
        containers: i64::try_from(users).unwrap_or(-1),
        ..Summary::default()
    }
}

fn moment_of(image: &Image) -> Timestamp {
    moment(image.config.created.as_deref())
}

fn moment(text: Option<&str>) -> Timestamp {
    text.and_then(|text| text.parse().ok()).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// `busybox`, `busybox:1.*`, `*/app`: shell patterns on the repository or on the whole name.
fn matches(pattern: &str, name: &Reference) -> bool {
    glob(pattern.as_bytes(), name.familiar().as_bytes())
        || glob(pattern.as_bytes(), name.familiar_repository().as_bytes())
}

/// `*` and `?`, neither of which matches a slash.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern.split_first(), text.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), _) => {
            glob(rest, text) || text.split_first().is_some_and(|(first, tail)| *first != b'/' && glob(pattern, tail))
        }
        (Some((b'?', rest)), Some((first, tail))) => *first != b'/' && glob(rest, tail),
        (Some((wanted, rest)), Some((first, tail))) => wanted == first && glob(rest, tail),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reference_filters_are_shell_patterns() {
        let name: Reference = "a/app:v1".parse().unwrap();
        for pattern in ["a/app", "*/app", "a/*:v1", "a/app:v?"] {
            assert!(matches(pattern, &name), "{pattern}");
        }
        for pattern in ["app", "*", "a/app:v2", "a"] {
            assert!(!matches(pattern, &name), "{pattern}");
        }
    }
}
