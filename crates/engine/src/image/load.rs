//! `load` and `import`: archives in. Every file of an archive becomes a blob as it streams by, whatever its name; what
//! the archive is (an OCI image layout, Docker's format, or both) is decided at its end.

use std::collections::HashMap;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;
use teu_api::stream::JsonMessage;
use teu_oci::{
    ConfigChange, ContainerConfig, Descriptor, Digest, History, ImageConfig, Index, Manifest, Platform, Reference,
    RootFs, media_type,
};
use teu_store::Lease;
use tokio::sync::mpsc;

use super::{Image, ImageRecord, Images, NewImage};
use crate::container::names::random_id;
use crate::error::{Error, Result};
use crate::plain::plain;

const REFERENCE_NAME: &str = "org.opencontainers.image.ref.name";
const CONTAINERD_NAME: &str = "io.containerd.image.name";
/// Docker's `image save` nests indexes once; more is an attack.
const DEEPEST: u32 = 4;

/// One image of Docker's `manifest.json`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerImage {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    /// An image of no files has `null`.
    #[serde(default)]
    layers: Option<Vec<String>>,
}

/// The archive, as blobs by path.
struct Archive {
    files: HashMap<PathBuf, (Digest, u64)>,
    links: HashMap<PathBuf, PathBuf>,
}

/// One run of `load`.
struct Loading<'a> {
    lease: &'a Lease,
    /// The machine that images are wanted for, if one was named.
    platform: Option<&'a Platform>,
    out: &'a mpsc::Sender<JsonMessage>,
}

/// Whether it is about an image instead of being one: an attestation.
fn is_unknown(descriptor: &Descriptor) -> bool {
    descriptor.platform.as_ref().is_some_and(|platform| platform.os == "unknown")
}

/// What `import` makes.
#[derive(Clone, Debug, Default)]
pub struct ImportOptions {
    /// Its name.
    pub name: Option<Reference>,
    /// A word about it.
    pub message: String,
    /// Changes to its empty config.
    pub changes: Vec<ConfigChange>,
    /// For which machine; this one by default.
    pub platform: Option<String>,
}

impl Images {
    /// Loads the images of an archive, compressed or not: of those that are there for several machines the one for
    /// `platform`, or else for this machine. Blocks; call it where that is allowed.
    ///
    /// # Errors
    /// When it is no image archive, or damaged, or has nothing for `platform`; images that were whole stay.
    pub fn load(
        &self,
        input: impl Read,
        platform: Option<&Platform>,
        out: &mpsc::Sender<JsonMessage>,
    ) -> Result<Vec<Image>> {
        let lease = self.inner.store.lease("load");
        let archive = self.read_archive(plain(input)?, &lease)?;
        let mut images = vec![];
        let loading = Loading { lease: &lease, platform, out };
        match (archive.find("manifest.json"), archive.find("index.json")) {
            // Docker's list names one machine's images; the index has those of the others too.
            (Some(text), index) if platform.is_none() || index.is_none() => {
                let listed: Vec<DockerImage> = self.json(text, "manifest.json")?;
                for image in listed {
                    images.extend(self.load_docker(&archive, &image, &loading)?);
                }
            }
            (_, Some(text)) => {
                let index: Index = self.json(text, "index.json")?;
                self.load_index(&index, &[], &loading, &mut images, 0)?;
            }
            _ => return Err(Error::bad("the archive holds no image: it has neither manifest.json nor index.json")),
        }
        match platform {
            _ if !images.is_empty() => Ok(images),
            Some(platform) => Err(Error::not_found(format!("requested platform ({platform}) not found"))),
            None => Err(Error::bad("the archive holds no image")),
        }
    }

    fn read_archive(&self, input: impl Read, lease: &Lease) -> Result<Archive> {
        let mut archive = Archive { files: HashMap::new(), links: HashMap::new() };
        let mut tar = tar::Archive::new(input);
        let broken = |error: io::Error| Error::bad(format!("read the image archive: {}", fault(&error)));
        for entry in tar.entries().map_err(broken)? {
            let mut entry = entry.map_err(broken)?;
            let path = tidy(&entry.path().map_err(broken)?);
            match entry.header().entry_type() {
                tar::EntryType::Regular | tar::EntryType::Continuous => {
                    let mut writer = self.inner.store.blobs().writer(&format!("load-{}", random_id()?))?;
                    let whole = match io::copy(&mut entry, &mut writer) {
                        Ok(copied) if copied < entry.size() => Err(io::ErrorKind::UnexpectedEof.into()),
                        other => other,
                    };
                    if let Err(error) = whole {
                        writer.abort()?;
                        return Err(broken(error));
                    }
                    // A blob of a layout is named by its digest, which is checked here.
                    let named = digest_of(&path);
                    let (digest, size) = writer.commit_deferred(named.as_ref())?;
                    lease.hold(&digest);
                    archive.files.insert(path, (digest, size));
                }
                tar::EntryType::Symlink | tar::EntryType::Link => {
                    let target = entry.link_name().map_err(broken)?.unwrap_or_default().into_owned();
                    let hard = entry.header().entry_type() == tar::EntryType::Link;
                    let base = if hard { Path::new("") } else { path.parent().unwrap_or(Path::new("")) };
                    archive.links.insert(path.clone(), tidy(&base.join(target)));
                }
                _ => {}
            }
        }
        Ok(archive)
    }

    fn json<T: for<'de> Deserialize<'de>>(&self, digest: &Digest, what: &str) -> Result<T> {
        let bytes = self.inner.store.blobs().read(digest)?;
        serde_json::from_slice(&bytes).map_err(|error| Error::bad(format!("{what} of the image archive: {error}")))
    }

    fn load_docker(&self, archive: &Archive, listed: &DockerImage, loading: &Loading<'_>) -> Result<Option<Image>> {
        let missing = |path: &str| Error::bad(format!("the image archive lacks the file {path}"));
        let config_digest = archive.find(&listed.config).ok_or_else(|| missing(&listed.config))?;
        let config: ImageConfig = self.json(config_digest, "the config")?;
        if loading.platform.is_some_and(|platform| !super::platform_of(&config).serves(platform)) {
            return Ok(None);
        }
        let mut layers = vec![];
        for path in listed.layers.iter().flatten() {
            let (digest, size) = archive.file(path).ok_or_else(|| missing(path))?;
            layers.push(Descriptor::new(self.layer_type(digest)?, digest.clone(), *size));
        }
        let size = self.inner.store.blobs().stat(config_digest).unwrap_or(0);
        let config_descriptor = Descriptor::new(media_type::OCI_CONFIG, config_digest.clone(), size);
        let manifest = self
            .manifest_in(archive, config_digest)
            .unwrap_or_else(|| Manifest::new(config_descriptor, layers.clone()));
        let manifest =
            if manifest.layers.len() == layers.len() { manifest } else { Manifest::new(manifest.config, layers) };
        let names =
            listed.repo_tags.iter().flatten().map(|name| Ok(name.parse::<Reference>()?)).collect::<Result<Vec<_>>>()?;
        self.finish(&manifest, &config, &names, loading).map(Some)
    }

    /// An archive of both formats has the very manifest, which keeps the digest that registries know.
    fn manifest_in(&self, archive: &Archive, config: &Digest) -> Option<Manifest> {
        let index: Index = self.json(archive.find("index.json")?, "index.json").ok()?;
        let manifests = index.manifests.iter().filter(|descriptor| media_type::is_manifest(&descriptor.media_type));
        manifests.filter_map(|descriptor| self.json::<Manifest>(&descriptor.digest, "a manifest").ok()).find(
            |manifest| {
                manifest.config.digest == *config
                    && manifest.layers.iter().all(|layer| self.inner.store.blobs().stat(&layer.digest).is_some())
            },
        )
    }

    fn load_index(
        &self,
        index: &Index,
        outer: &[Reference],
        loading: &Loading<'_>,
        images: &mut Vec<Image>,
        depth: u32,
    ) -> Result<()> {
        if depth > DEEPEST {
            return Err(Error::bad("the image archive nests indexes too deeply"));
        }
        let host = Platform::host();
        let wanted = loading.platform.unwrap_or(&host);
        let suits =
            |descriptor: &&Descriptor| descriptor.platform.as_ref().is_none_or(|platform| platform.serves(wanted));
        let mut chosen: Vec<_> = index.manifests.iter().filter(suits).collect();
        if chosen.is_empty() && loading.platform.is_none() {
            // For another machine than this one: it can be looked at and pushed all the same.
            chosen = index.manifests.iter().filter(|descriptor| !is_unknown(descriptor)).take(1).collect();
        }
        for descriptor in chosen {
            let names = names_of(descriptor).map_or_else(|| outer.to_vec(), |name| vec![name]);
            if media_type::is_index(&descriptor.media_type) {
                let inner: Index = self.json(&descriptor.digest, "an index")?;
                self.load_index(&inner, &names, loading, images, depth + 1)?;
            } else if media_type::is_manifest(&descriptor.media_type) {
                let manifest: Manifest = self.json(&descriptor.digest, "a manifest")?;
                if !media_type::is_config(&manifest.config.media_type) {
                    continue;
                }
                let config: ImageConfig = self.json(&manifest.config.digest, "the config")?;
                if loading.platform.is_none_or(|platform| super::platform_of(&config).serves(platform)) {
                    images.push(self.finish(&manifest, &config, &names, loading)?);
                }
            }
        }
        Ok(())
    }

    /// Unpacks the layers and puts the record.
    fn finish(
        &self,
        manifest: &Manifest,
        config: &ImageConfig,
        names: &[Reference],
        loading: &Loading<'_>,
    ) -> Result<Image> {
        let Loading { lease, out, .. } = loading;
        if manifest.layers.len() != config.rootfs.diff_ids.len() {
            return Err(Error::bad(
                "the image archive is damaged: manifest and config differ in their number of layers",
            ));
        }
        let chains = super::chains(config);
        for (index, (layer, diff_id)) in manifest.layers.iter().zip(&config.rootfs.diff_ids).enumerate() {
            lease.hold(&chains[index]);
            let parent = index.checked_sub(1).map(|below| &chains[below]);
            self.unpack(layer, diff_id, parent, &chains[index])?;
        }
        let bytes = serde_json::to_vec(manifest).map_err(|error| Error::internal(error.to_string()))?;
        let digest = Digest::sha256(&bytes);
        lease.hold(&digest);
        self.inner.store.blobs().put(&bytes)?;
        let media = manifest.media_type.clone().unwrap_or_else(|| media_type::OCI_MANIFEST.into());
        let record = ImageRecord {
            config: manifest.config.digest.clone(),
            manifest: Descriptor::new(&media, digest, u64::try_from(bytes.len()).unwrap_or(0)),
            target: None,
            layers: manifest.layers.clone(),
            chains,
            size: 0,
            repo_digests: vec![],
            tagged: String::new(),
            parent: None,
        };
        let id = record.config.clone();
        self.inner.store.sync()?;
        self.record(record, names)?;
        let told: Vec<String> = if names.is_empty() {
            vec![format!("Loaded image ID: {id}\n")]
        } else {
            names.iter().map(|name| format!("Loaded image: {}\n", name.familiar())).collect()
        };
        for line in told {
            let _ = out.blocking_send(JsonMessage::output(line));
        }
        self.emit("load", &id, id.as_str());
        self.by_id(&id)
    }

    fn unpack(&self, layer: &Descriptor, diff_id: &Digest, parent: Option<&Digest>, chain: &Digest) -> Result<()> {
        let snapshots = self.inner.store.snapshots();
        if snapshots.exists(chain) {
            return Ok(());
        }
        let blob = self.inner.store.blobs().open(&layer.digest)?;
        let unpacked = snapshots.unpack(plain(blob)?)?;
        if unpacked.diff_id() != diff_id {
            let actual = unpacked.diff_id();
            return Err(Error::bad(format!(
                "layer {}: its files are {actual}, the config says {diff_id}",
                layer.digest
            )));
        }
        unpacked.attach(parent)?;
        Ok(())
    }

    fn layer_type(&self, digest: &Digest) -> Result<&'static str> {
        let mut magic = [0_u8; 4];
        let length = self
            .inner
            .store
            .blobs()
            .open(digest)?
            .read(&mut magic)
            .map_err(|error| Error::internal(error.to_string()))?;
        Ok(match &magic[..length] {
            [0x1f, 0x8b, ..] => media_type::OCI_LAYER_GZIP,
            [0x28, 0xb5, 0x2f, 0xfd] => media_type::OCI_LAYER_ZSTD,
            _ => media_type::OCI_LAYER,
        })
    }

    /// Makes an image of a plain file system tar. Blocks.
    ///
    /// # Errors
    /// When the tar is damaged, or a change has no meaning.
    pub fn import(&self, input: impl Read, options: ImportOptions) -> Result<Image> {
        let platform = options.platform()?;
        let lease = self.inner.store.lease("import");
        let mut writer = self.inner.store.blobs().writer(&format!("import-{}", random_id()?))?;
        if let Err(error) = io::copy(&mut plain(input)?, &mut writer) {
            writer.abort()?;
            return Err(Error::bad(format!("read the archive: {error}")));
        }
        let (digest, size) = writer.commit_deferred(None)?;
        lease.hold(&digest);
        let mut blob = self.inner.store.blobs().open(&digest)?;
        blob.seek(SeekFrom::Start(0)).map_err(|error| Error::internal(error.to_string()))?;
        let unpacked = self.inner.store.snapshots().unpack(blob)?;
        lease.hold(&digest);
        unpacked.attach(None)?;
        let mut config = ContainerConfig::default();
        for change in &options.changes {
            config.apply(change)?;
        }
        let now = jiff::Timestamp::now().to_string();
        let comment = if options.message.is_empty() { "Imported from -".to_string() } else { options.message };
        let config = ImageConfig {
            created: Some(now.clone()),
            architecture: platform.architecture,
            os: platform.os,
            variant: platform.variant,
            config,
            rootfs: RootFs { diff_ids: vec![digest.clone()], ..RootFs::default() },
            history: vec![History { created: Some(now), comment, ..History::default() }],
            ..ImageConfig::default()
        };
        let layers = vec![Descriptor::new(media_type::OCI_LAYER, digest, size)];
        self.inner.store.sync()?;
        let image = self.put(NewImage { config, layers, names: options.name.into_iter().collect(), parent: None })?;
        self.emit("import", &image.id, image.id.as_str());
        Ok(image)
    }
}

impl ImportOptions {
    fn platform(&self) -> Result<Platform> {
        let Some(text) = self.platform.as_deref().filter(|text| !text.is_empty()) else { return Ok(Platform::host()) };
        let platform: Platform = text.parse().map_err(Error::bad)?;
        if platform.os != "linux" {
            return Err(Error::bad("operating system is not supported"));
        }
        Ok(platform)
    }
}

/// What is wrong with an archive; the reader's own words quote its bytes, whatever they are.
fn fault(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::Other | io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => {
            "it is no tar archive, or a broken one".into()
        }
        io::ErrorKind::UnexpectedEof => "it ends too early".into(),
        _ => error.to_string(),
    }
}

impl Archive {
    fn file(&self, path: &str) -> Option<&(Digest, u64)> {
        let mut path = tidy(Path::new(path));
        for _ in 0..8 {
            if let Some(found) = self.files.get(&path) {
                return Some(found);
            }
            path = self.links.get(&path)?.clone();
        }
        None
    }

    fn find(&self, path: &str) -> Option<&Digest> {
        self.file(path).map(|(digest, _)| digest)
    }
}

fn names_of(descriptor: &Descriptor) -> Option<Reference> {
    let name = |key: &str| descriptor.annotations.get(key)?.parse::<Reference>().ok();
    // A bare tag is no name; containerd's annotation is the whole one.
    name(CONTAINERD_NAME)
        .or_else(|| name(REFERENCE_NAME).filter(|_| descriptor.annotations[REFERENCE_NAME].contains([':', '/'])))
}

/// `blobs/sha256/<hex>` names a digest.
fn digest_of(path: &Path) -> Option<Digest> {
    let mut parts = path.components().map(|part| part.as_os_str().to_str().unwrap_or_default());
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some("blobs"), Some(algorithm), Some(hex), None) => format!("{algorithm}:{hex}").parse().ok(),
        _ => None,
    }
}

/// A path without `.`, `..` and leading slashes: only ever a key.
fn tidy(path: &Path) -> PathBuf {
    let mut tidy = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => tidy.push(name),
            Component::ParentDir => {
                tidy.pop();
            }
            _ => {}
        }
    }
    tidy
}
