//! What each repository has: tags, manifests, and which blobs may be read through it.
//!
//! ```text
//! registry-tags       <name>:<tag>      which manifest
//! registry-manifests  <name>@<digest>   media type, size, what it refers to, what it is about
//! registry-blobs      <name>@<digest>   a link: the blob itself is the store's, shared with everyone
//! ```
//! The records are the truth; a copy in memory answers questions. Changes come one after the other, so that both agree. A blob
//! without a link does not exist for a repository, whoever else in the store has it. Deleting unlinks; the store's
//! collection frees the space.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use teu_oci::{Descriptor, Digest};
use teu_store::{Error, Record, Store, Table};

/// A manifest in a repository.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct ManifestRecord {
    pub(super) repository: String,
    /// As others refer to it; with artifact type and annotations, as the list of referrers shows it.
    pub(super) descriptor: Descriptor,
    /// Config, layers and manifests: what must live as long as it does.
    pub(super) refers: Vec<Digest>,
    /// The manifest that it is about.
    pub(super) subject: Option<Digest>,
}

impl Record for ManifestRecord {
    fn refers_to(&self) -> Vec<Digest> {
        self.refers.iter().chain([&self.descriptor.digest]).cloned().collect()
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct TagRecord {
    repository: String,
    tag: String,
    manifest: Digest,
}

impl Record for TagRecord {
    fn refers_to(&self) -> Vec<Digest> {
        vec![self.manifest.clone()]
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct LinkRecord {
    repository: String,
    blob: Digest,
}

impl Record for LinkRecord {
    fn refers_to(&self) -> Vec<Digest> {
        vec![self.blob.clone()]
    }
}

/// One repository.
#[derive(Default)]
struct Repository {
    tags: BTreeMap<String, Digest>,
    manifests: BTreeMap<Digest, ManifestRecord>,
    blobs: BTreeSet<Digest>,
}

impl Repository {
    fn is_empty(&self) -> bool {
        self.tags.is_empty() && self.manifests.is_empty() && self.blobs.is_empty()
    }

    /// The tags of a manifest, and the blobs that only it needs; `None` if there is no such manifest.
    fn needs_only(&self, digest: &Digest) -> Option<(Vec<String>, BTreeSet<Digest>)> {
        let mut orphans: BTreeSet<Digest> = self.manifests.get(digest)?.refers.iter().cloned().collect();
        orphans.retain(|blob| self.blobs.contains(blob));
        for other in self.manifests.values().filter(|other| other.descriptor.digest != *digest) {
            orphans.retain(|blob| !other.refers.contains(blob));
        }
        let tags = self.tags.iter().filter(|(_, tagged)| *tagged == digest).map(|(tag, _)| tag.clone());
        Some((tags.collect(), orphans))
    }
}

/// All repositories.
pub(super) struct Repositories {
    tags: Table<TagRecord>,
    manifests: Table<ManifestRecord>,
    links: Table<LinkRecord>,
    known: Mutex<BTreeMap<String, Repository>>,
    /// One change at a time. Taken before `known`, which nobody holds while waiting for the disk.
    changing: Mutex<()>,
}

/// A part of a sorted list, and whether more follows.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Page {
    pub(super) entries: Vec<String>,
    pub(super) more: bool,
}

impl Page {
    /// At most `most` of `all` after `last`.
    fn of<'a>(all: impl Iterator<Item = &'a String>, most: usize) -> Self {
        let mut entries: Vec<String> = all.take(most.saturating_add(1)).cloned().collect();
        let more = entries.len() > most && most > 0;
        entries.truncate(most);
        Self { entries, more }
    }
}

fn after(last: Option<&str>) -> (Bound<&str>, Bound<&str>) {
    (last.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded)
}

impl Repositories {
    /// Reads what there is.
    pub(super) fn open(store: &Store) -> Result<Self, Error> {
        let tags = store.table("registry-tags")?;
        let manifests = store.table("registry-manifests")?;
        let links = store.table("registry-blobs")?;
        let mut known = BTreeMap::<String, Repository>::new();
        for record in records::<LinkRecord>(&links)? {
            known.entry(record.repository).or_default().blobs.insert(record.blob);
        }
        for record in records::<ManifestRecord>(&manifests)? {
            let repository = known.entry(record.repository.clone()).or_default();
            repository.manifests.insert(record.descriptor.digest.clone(), record);
        }
        for record in records::<TagRecord>(&tags)? {
            known.entry(record.repository).or_default().tags.insert(record.tag, record.manifest);
        }
        Ok(Self { tags, manifests, links, known: Mutex::new(known), changing: Mutex::default() })
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<String, Repository>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether anything is known under that name.
    pub(super) fn exists(&self, name: &str) -> bool {
        self.known().contains_key(name)
    }

    pub(super) fn has_blob(&self, name: &str, digest: &Digest) -> bool {
        self.known().get(name).is_some_and(|repository| repository.blobs.contains(digest))
    }

    /// Any repository with that blob.
    pub(super) fn any_with_blob(&self, digest: &Digest) -> bool {
        self.known().values().any(|repository| repository.blobs.contains(digest))
    }

    pub(super) fn manifest(&self, name: &str, digest: &Digest) -> Option<ManifestRecord> {
        self.known().get(name)?.manifests.get(digest).cloned()
    }

    /// What a tag means.
    pub(super) fn tagged(&self, name: &str, tag: &str) -> Option<ManifestRecord> {
        let known = self.known();
        let repository = known.get(name)?;
        repository.manifests.get(repository.tags.get(tag)?).cloned()
    }

    pub(super) fn tags(&self, name: &str, last: Option<&str>, most: usize) -> Option<Page> {
        let known = self.known();
        let tags = &known.get(name)?.tags;
        Some(Page::of(tags.range::<str, _>(after(last)).map(|(tag, _)| tag), most))
    }

    /// The repositories that have a manifest.
    pub(super) fn names(&self, last: Option<&str>, most: usize) -> Page {
        let known = self.known();
        let filled = known.range::<str, _>(after(last)).filter(|(_, repository)| !repository.manifests.is_empty());
        Page::of(filled.map(|(name, _)| name), most)
    }

    /// The manifests that are about `subject`.
    pub(super) fn referrers(&self, name: &str, subject: &Digest) -> Vec<Descriptor> {
        let known = self.known();
        let manifests = known.get(name).into_iter().flat_map(|repository| repository.manifests.values());
        manifests.filter(|record| record.subject.as_ref() == Some(subject)).map(|r| r.descriptor.clone()).collect()
    }

    /// Lets a repository have a blob. Durable from the next sync of the store on, like the blob itself.
    pub(super) fn link(&self, name: &str, blob: &Digest) -> Result<(), Error> {
        let _order = self.change();
        if self.has_blob(name, blob) {
            return Ok(());
        }
        let record = LinkRecord { repository: name.into(), blob: blob.clone() };
        self.links.put_quick(&at(name, blob), &record)?;
        self.known().entry(name.into()).or_default().blobs.insert(blob.clone());
        Ok(())
    }

    /// Takes a blob from a repository; `false` if it had none.
    pub(super) fn unlink(&self, name: &str, blob: &Digest) -> Result<bool, Error> {
        let _order = self.change();
        if !self.has_blob(name, blob) {
            return Ok(false);
        }
        self.forget(name, |repository| repository.blobs.retain(|kept| kept != blob));
        self.links.remove(&at(name, blob))?;
        Ok(true)
    }

    /// Takes a manifest in, under these tags.
    pub(super) fn put(&self, record: &ManifestRecord, tags: &[String]) -> Result<(), Error> {
        let _order = self.change();
        let name = record.repository.as_str();
        let digest = &record.descriptor.digest;
        self.manifests.put(&at(name, digest), record)?;
        for tag in tags {
            let tagged = TagRecord { repository: name.into(), tag: tag.clone(), manifest: digest.clone() };
            self.tags.put(&format!("{name}:{tag}"), &tagged)?;
        }
        let mut known = self.known();
        let repository = known.entry(name.into()).or_default();
        repository.manifests.insert(digest.clone(), record.clone());
        repository.tags.extend(tags.iter().map(|tag| (tag.clone(), digest.clone())));
        Ok(())
    }

    /// Removes a tag; `false` if there was none.
    pub(super) fn untag(&self, name: &str, tag: &str) -> Result<bool, Error> {
        let _order = self.change();
        let tagged = self.known().get(name).is_some_and(|repository| repository.tags.contains_key(tag));
        if tagged {
            self.forget(name, |repository| drop(repository.tags.remove(tag)));
            self.tags.remove(&format!("{name}:{tag}"))?;
        }
        Ok(tagged)
    }

    /// Removes a manifest, its tags, and the links of blobs that no other manifest here has; `false` if there was none.
    pub(super) fn remove(&self, name: &str, digest: &Digest) -> Result<bool, Error> {
        let _order = self.change();
        let Some((tags, orphans)) = self.known().get(name).and_then(|repository| repository.needs_only(digest)) else {
            return Ok(false);
        };
        self.forget(name, |repository| {
            repository.manifests.remove(digest);
            repository.tags.retain(|_, tagged| tagged != digest);
            repository.blobs.retain(|blob| !orphans.contains(blob));
        });
        for tag in tags {
            self.tags.remove(&format!("{name}:{tag}"))?;
        }
        self.manifests.remove(&at(name, digest))?;
        for blob in orphans {
            self.links.remove(&at(name, &blob))?;
        }
        Ok(true)
    }

    /// Takes something out of memory, and the repository with its last part.
    fn forget(&self, name: &str, what: impl FnOnce(&mut Repository)) {
        let mut known = self.known();
        if let Some(repository) = known.get_mut(name) {
            what(repository);
            if repository.is_empty() {
                known.remove(name);
            }
        }
    }
}

fn at(name: &str, digest: &Digest) -> String {
    format!("{name}@{digest}")
}

/// All records of a table that can be read. One torn by a power failure must not keep a registry from starting.
fn records<T: Record>(table: &Table<T>) -> Result<Vec<T>, Error> {
    let mut records = Vec::new();
    for key in table.keys()? {
        match table.get(&key) {
            Ok(record) => records.extend(record),
            Err(error @ Error::Record { .. }) => tracing::warn!(%error, "passing over a damaged record"),
            Err(error) => return Err(error),
        }
    }
    Ok(records)
}
