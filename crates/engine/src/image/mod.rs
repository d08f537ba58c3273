//! Images: names, records, and what `images`, `inspect`, `tag` and `rmi` do with them.
//!
//! Two tables: `images` (config digest → manifest, layers, chains) and `tags` (reference → config digest). A tag is put
//! last, so an image appears whole or not at all. An image's id is the digest of its config, as Docker's is. Layers made
//! here are listed as plain tars that exist as snapshots only; they become blobs when somebody needs their bytes.

mod list;
mod load;
mod pull;
mod push;
mod remove;
mod save;
mod search;

use std::sync::{Arc, Mutex, PoisonError, RwLock};

use serde::{Deserialize, Serialize};
use teu_oci::{Descriptor, Digest, ImageConfig, Manifest, Platform, Reference, chain_ids, media_type};
use teu_registry::client::{Config, Proxies, Retry};
use teu_store::{Lease, Store, Table};

use crate::error::{Error, Result};
use crate::events::Events;

pub use load::ImportOptions;

/// The images. Cheap to clone.
#[derive(Clone)]
pub struct Images {
    inner: Arc<Inner>,
}

/// The registry that mirrors are of.
pub(crate) const DOCKER_HUB: &str = "docker.io";

/// How registries are spoken to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Registries {
    /// Those that may be spoken to in plain HTTP.
    pub insecure: Vec<String>,
    /// Whose copies of Docker Hub's images are taken, one after the other, before it is asked itself; URLs.
    pub mirrors: Vec<String>,
    /// By way of whom they are asked.
    pub proxies: Proxies,
    /// How many blobs are fetched at once; 0 is the usual number.
    pub downloads: usize,
    /// How many are sent at once.
    pub uploads: usize,
    /// How often a request is tried; 0 is the usual number.
    pub attempts: u32,
}

impl Registries {
    /// A client's settings, for so many blobs at once.
    fn config(&self, concurrency: usize) -> Config {
        let usual = Config::default();
        Config {
            insecure: self.insecure.clone(),
            proxies: self.proxies.clone(),
            retry: if self.attempts == 0 { usual.retry } else { Retry { attempts: self.attempts, ..usual.retry } },
            concurrency: if concurrency == 0 { usual.concurrency } else { concurrency },
            ..usual
        }
    }
}

struct Inner {
    store: Store,
    records: Table<ImageRecord>,
    tags: Table<TagRecord>,
    events: Events,
    registries: RwLock<Registries>,
    /// Changes of names exclude each other.
    naming: Mutex<()>,
}

/// What is remembered of an image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ImageRecord {
    /// The digest of the config: the image's id.
    pub config: Digest,
    /// Its manifest.
    pub manifest: Descriptor,
    /// What its name meant at the registry, if that is another blob: an index.
    pub target: Option<Descriptor>,
    /// Its layers, lowest first.
    pub layers: Vec<Descriptor>,
    /// The chain of each layer.
    pub chains: Vec<Digest>,
    /// The bytes of its files.
    pub size: u64,
    /// `repository@digest` under which registries know it.
    pub repo_digests: Vec<String>,
    /// When it last got a name, RFC 3339.
    pub tagged: String,
    /// The image that a container it was committed from was of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Digest>,
}

/// What a name means.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TagRecord {
    /// The image's id.
    pub(crate) image: Digest,
}

impl teu_store::Record for ImageRecord {
    fn refers_to(&self) -> Vec<Digest> {
        let mut digests = vec![self.config.clone(), self.manifest.digest.clone()];
        digests.extend(self.target.iter().map(|target| target.digest.clone()));
        digests.extend(self.layers.iter().map(|layer| layer.digest.clone()));
        digests.extend(self.chains.iter().cloned());
        digests
    }
}

impl teu_store::Record for TagRecord {
    fn refers_to(&self) -> Vec<Digest> {
        vec![self.image.clone()]
    }
}

/// An image with its config.
#[derive(Clone, Debug)]
pub struct Image {
    /// The digest of the config.
    pub id: Digest,
    /// What is remembered of it.
    pub record: ImageRecord,
    /// The config.
    pub config: ImageConfig,
}

impl Image {
    /// The machine that it is for.
    #[must_use]
    pub fn platform(&self) -> Platform {
        platform_of(&self.config)
    }

    /// The chain of its whole tree; none for an image without layers.
    #[must_use]
    pub fn chain(&self) -> Option<&Digest> {
        self.record.chains.last()
    }
}

/// An image to be put together from layers that are in the store.
#[derive(Clone, Debug, Default)]
pub struct NewImage {
    /// Its config; `rootfs.diff_ids` name the layers' trees.
    pub config: ImageConfig,
    /// Descriptors of the same layers.
    pub layers: Vec<Descriptor>,
    /// Names to give it.
    pub names: Vec<Reference>,
    /// The image it was made from, if it is a commit.
    pub parent: Option<Digest>,
}

impl Images {
    pub(crate) fn open(store: &Store, events: Events, registries: Registries) -> Result<Self> {
        let (records, tags) = (store.table("images")?, store.table("tags")?);
        let store = store.clone();
        Ok(Self {
            inner: Arc::new(Inner {
                store,
                records,
                tags,
                events,
                registries: registries.into(),
                naming: Mutex::new(()),
            }),
        })
    }

    /// How registries are spoken to.
    #[must_use]
    pub fn registries(&self) -> Registries {
        self.inner.registries.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn speak_to(&self, registries: Registries) {
        *self.inner.registries.write().unwrap_or_else(PoisonError::into_inner) = registries;
    }

    /// The image that `wanted` means: a name, an id, the beginning of one id only, or a name with a digest.
    ///
    /// # Errors
    /// When there is none, or more than one.
    pub fn resolve(&self, wanted: &str) -> Result<Image> {
        self.by_id(&self.id_of(wanted)?)
    }

    /// The same, if it also is for `platform`.
    ///
    /// # Errors
    /// When there is none, or it is for another platform.
    pub fn resolve_for(&self, wanted: &str, platform: Option<&str>) -> Result<Image> {
        let image = self.resolve(wanted)?;
        let Some(platform) = platform.filter(|platform| !platform.is_empty()) else { return Ok(image) };
        let platform: Platform = platform.parse().map_err(Error::bad)?;
        let own = image.platform();
        if own.serves(&platform) {
            return Ok(image);
        }
        Err(Error::not_found(format!(
            "image with reference {wanted} was found but its platform ({own}) does not match the specified platform \
             ({platform})"
        )))
    }

    fn id_of(&self, wanted: &str) -> Result<Digest> {
        if let Ok(id) = wanted.parse::<Digest>()
            && self.inner.records.get(id.hex())?.is_some()
        {
            return Ok(id);
        }
        if let Ok(reference) = wanted.parse::<Reference>()
            && let Some(id) = self.named(&reference)?
        {
            return Ok(id);
        }
        let prefix = wanted.strip_prefix("sha256:").unwrap_or(wanted);
        if !prefix.is_empty() && prefix.bytes().all(|b| b.is_ascii_hexdigit()) {
            let keys = self.inner.records.keys()?;
            let mut matches = keys.iter().filter(|key| key.starts_with(prefix));
            match (matches.next(), matches.next()) {
                (Some(key), None) => return format!("sha256:{key}").parse().map_err(|_| none(wanted)),
                (Some(_), Some(_)) => return Err(Error::bad(format!("ambiguous image reference: {wanted}"))),
                (None, _) => {}
            }
        }
        match wanted.parse::<Reference>() {
            Err(error) if !wanted.is_empty() => Err(error.into()),
            _ if wanted.is_empty() => Err(Error::bad("invalid reference format")),
            _ => Err(none(wanted)),
        }
    }

    fn named(&self, reference: &Reference) -> Result<Option<Digest>> {
        let Some(digest) = reference.digest() else {
            return Ok(self.inner.tags.get(&reference.to_string())?.map(|tag| tag.image));
        };
        let wanted = format!("{}@{digest}", reference.familiar_repository());
        let found = self.inner.records.list()?.into_iter().find(|(_, record)| record.repo_digests.contains(&wanted));
        Ok(found.map(|(_, record)| record.config))
    }

    /// The image of that id.
    ///
    /// # Errors
    /// When there is none.
    pub fn by_id(&self, id: &Digest) -> Result<Image> {
        let record = self.inner.records.get(id.hex())?.ok_or_else(|| none(id.as_str()))?;
        let bytes = self.inner.store.blobs().read(id)?;
        let config = serde_json::from_slice(&bytes)
            .map_err(|error| Error::internal(format!("read the config of image {id}: {error}")))?;
        Ok(Image { id: id.clone(), record, config })
    }

    /// Makes an image of layers that are in the store; the same config gives the same image.
    ///
    /// # Errors
    /// When a layer is missing.
    pub fn put(&self, new: NewImage) -> Result<Image> {
        let lease = self.inner.store.lease("image");
        let names = new.names.clone();
        let record = self.describe(new, &lease)?;
        let id = record.config.clone();
        self.keep(record, &names, Some("create"))?;
        self.by_id(&id)
    }

    /// Writes config and manifest, held by a lease.
    fn describe(&self, new: NewImage, lease: &Lease) -> Result<ImageRecord> {
        let store = &self.inner.store;
        let bytes = |value: Vec<u8>| {
            lease.hold(&Digest::sha256(&value));
            store.blobs().put(&value)
        };
        let json = |error: serde_json::Error| Error::internal(error.to_string());
        let (config, size) = bytes(serde_json::to_vec(&new.config).map_err(json)?)?;
        let manifest = Manifest::new(Descriptor::new(media_type::OCI_CONFIG, config.clone(), size), new.layers.clone());
        let (digest, size) = bytes(serde_json::to_vec(&manifest).map_err(json)?)?;
        Ok(ImageRecord {
            config,
            manifest: Descriptor::new(media_type::OCI_MANIFEST, digest, size),
            target: None,
            chains: chains(&new.config),
            layers: new.layers,
            size: 0,
            repo_digests: vec![],
            tagged: String::new(),
            parent: new.parent,
        })
    }

    /// Remembers an image whose blobs and layers are in the store, and names it.
    fn record(&self, record: ImageRecord, names: &[Reference]) -> Result<()> {
        self.keep(record, names, None)
    }

    /// The same; `first` is what is told of one that was not here.
    fn keep(&self, mut record: ImageRecord, names: &[Reference], first: Option<&str>) -> Result<()> {
        let _naming = self.inner.naming.lock().unwrap_or_else(PoisonError::into_inner);
        let snapshots = self.inner.store.snapshots();
        record.size = 0;
        for chain in &record.chains {
            record.size += snapshots.size(chain)?;
        }
        let key = record.config.hex().to_string();
        let before = self.inner.records.get(&key)?;
        let first = first.filter(|_| before.is_none());
        if let Some(before) = before {
            // Bytes that registries know are worth more than a description of the same image made here.
            if record.repo_digests.is_empty() {
                record.manifest = before.manifest;
                record.layers = before.layers;
                record.target = before.target;
            }
            let known = before.repo_digests.into_iter().filter(|digest| !record.repo_digests.contains(digest));
            record.repo_digests = known.chain(record.repo_digests.clone()).collect();
            record.tagged = before.tagged;
        }
        if !names.is_empty() {
            record.tagged = jiff::Timestamp::now().to_string();
        }
        self.inner.records.put(&key, &record)?;
        if let Some(action) = first {
            self.emit(action, &record.config, record.config.as_str());
        }
        for name in names.iter().filter(|name| name.tag().is_some()) {
            self.inner.tags.put(&name.to_string(), &TagRecord { image: record.config.clone() })?;
            self.emit("tag", &record.config, &name.familiar());
        }
        Ok(())
    }

    /// Gives an image another name.
    ///
    /// # Errors
    /// When there is no such image, or the name is no name.
    pub fn tag(&self, source: &str, repo: &str, tag: Option<&str>) -> Result<()> {
        let image = self.resolve(source)?;
        let name = crate::container::named(repo, tag)?;
        if name.digest().is_some() {
            return Err(Error::bad("refusing to create a tag with a digest reference"));
        }
        if name.familiar_repository() == "sha256" {
            return Err(Error::bad("refusing to create an ambiguous tag using digest algorithm as name"));
        }
        self.record(image.record, &[name])
    }

    /// The names of an image, sorted.
    fn names(&self, id: &Digest) -> Result<Vec<Reference>> {
        let tags = self.inner.tags.list()?.into_iter().filter(|(_, tag)| tag.image == *id);
        let mut names: Vec<Reference> = tags.filter_map(|(name, _)| name.parse().ok()).collect();
        names.sort();
        Ok(names)
    }

    fn emit(&self, action: &str, id: &Digest, name: &str) {
        self.inner.events.emit("image", action, id.as_str(), [("name".to_string(), name.to_string())].into());
    }
}

/// The chain of each layer of a config, lowest first.
pub(crate) fn chains(config: &ImageConfig) -> Vec<Digest> {
    chain_ids(&config.rootfs.diff_ids)
}

fn platform_of(config: &ImageConfig) -> Platform {
    Platform {
        architecture: config.architecture.clone(),
        os: config.os.clone(),
        variant: config.variant.clone(),
        os_version: None,
    }
}

fn none(wanted: &str) -> Error {
    // Docker's clients read this sentence to decide whether to pull.
    let name = wanted.parse::<Reference>().map_or_else(|_| wanted.to_string(), |reference| reference.familiar());
    Error::not_found(format!("No such image: {name}"))
}
