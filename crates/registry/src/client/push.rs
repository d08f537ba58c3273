//! Pushing: make the blobs that are missing here, bring all of them there, then the manifest.
//!
//! A locally built layer has no blob: its manifest lists the plain tar by diff ID, and the tree is the only copy. For a
//! push it is written as a tar and compressed, once; [`crate::sources`] remembers the result. The manifest that is
//! pushed lists the compressed blobs, so it is another document than the local one.

use std::io::Write;
use std::sync::Arc;

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, TryStreamExt};
use teu_oci::media_type::{self, Compression};
use teu_oci::{Descriptor, Digest, ImageConfig, Manifest, Reference};
use teu_store::{Lease, Store};
use tokio::sync::{OwnedMutexGuard, Semaphore};

use super::download::{alone, blocking};
use super::exchange::Exchange;
use super::target::Target;
use super::upload::{Arrived, Destination};
use super::{Error, LayerSource, Progress, compress, pull, resolve};
use crate::sources::{Hints, Packed};

/// Layers as the store's snapshots have them.
pub struct StoreLayers {
    store: Store,
}

impl StoreLayers {
    /// The layers of `store`.
    #[must_use]
    pub fn new(store: &Store) -> Self {
        Self { store: store.clone() }
    }
}

impl LayerSource for StoreLayers {
    fn write_tar(&self, chain: &Digest, out: &mut dyn Write) -> Result<Digest, teu_store::Error> {
        self.store.snapshots().write_diff(chain, out)
    }
}

pub(super) async fn push(
    exchange: &Arc<Exchange>,
    reference: &Reference,
    manifest: &Descriptor,
    store: &Store,
    lease: &Lease,
    layers: Arc<dyn LayerSource>,
    progress: Arc<dyn Progress>,
) -> Result<Descriptor, Error> {
    let hints = blocking({
        let store = store.clone();
        move || Hints::of(&store)
    })
    .await?;
    let target = Target { exchange: exchange.clone(), reference: reference.clone() };
    let destination = Destination { target, store: store.clone(), hints, progress };
    let refers = format!("The push refers to repository [{}]", reference.repository());
    destination.progress.update("", &refers, 0, 0);
    let push = Push { destination, layers, lease };
    let name = reference.tag().map(str::to_string);
    let pushed = if media_type::is_index(&manifest.media_type) {
        push.index(manifest, name.as_deref()).await?
    } else {
        push.image(manifest, name.as_deref()).await?
    };
    let name = name.unwrap_or_else(|| pushed.digest.to_string());
    let last = format!("{name}: digest: {} size: {}", pushed.digest, pushed.size);
    push.destination.progress.update("", &last, 0, 0);
    Ok(pushed)
}

struct Push<'a> {
    destination: Destination,
    layers: Arc<dyn LayerSource>,
    lease: &'a Lease,
}

impl Push<'_> {
    /// Pushes every manifest of an index by its digest, then the index, which stays as it is.
    async fn index(&self, descriptor: &Descriptor, name: Option<&str>) -> Result<Descriptor, Error> {
        let bytes = self.read(&descriptor.digest).await?;
        let index = resolve::index(descriptor.digest.as_str(), &bytes)?;
        for entry in &index.manifests {
            let pushed = self.image(entry, None).await?;
            if pushed.digest != entry.digest {
                let why = format!("lists {} whose layers are not kept as blobs", entry.digest);
                return Err(Error::invalid(descriptor.digest.as_str(), why));
            }
        }
        self.destination
            .target
            .manifest(&descriptor.media_type, bytes, name.unwrap_or(descriptor.digest.as_str()))
            .await?;
        Ok(descriptor.clone())
    }

    async fn image(&self, descriptor: &Descriptor, name: Option<&str>) -> Result<Descriptor, Error> {
        let bytes = self.read(&descriptor.digest).await?;
        let what = descriptor.digest.as_str();
        let manifest = resolve::manifest(what, &bytes)?;
        let plan = self.plan(what, &manifest).await?;
        let turns = Semaphore::new(self.destination.target.exchange.config.concurrency.max(1));
        let moving: FuturesUnordered<_> = plan
            .iter()
            .enumerate()
            .map(|(index, layer)| {
                let turns = &turns;
                async move {
                    let _turn = turns.acquire().await;
                    Ok::<_, Error>((index, self.layer(layer).await?))
                }
                .boxed()
            })
            .collect();
        let mut sent: Vec<(usize, Descriptor)> = moving.try_collect().await?;
        sent.sort_by_key(|(index, _)| *index);
        self.destination.blob(&manifest.config).await?;
        let layers: Vec<Descriptor> = sent.into_iter().map(|(_, layer)| layer).collect();
        let (pushed, bytes) = if layers == manifest.layers {
            (descriptor.clone(), bytes)
        } else {
            self.rewrite(&descriptor.media_type, Manifest { layers, ..manifest }).await?
        };
        self.destination.target.manifest(&pushed.media_type, bytes, name.unwrap_or(pushed.digest.as_str())).await?;
        Ok(pushed)
    }

    /// What has to happen to each layer.
    async fn plan(&self, what: &str, manifest: &Manifest) -> Result<Vec<Layer>, Error> {
        let blobs = self.destination.store.blobs();
        let mut known = Vec::new();
        // Only layers without a blob need the config; an artifact's config need not be one of an image.
        if manifest.layers.iter().any(|layer| blobs.stat(&layer.digest).is_none()) {
            let bytes = self.read(&manifest.config.digest).await?;
            let config: ImageConfig = serde_json::from_slice(&bytes)
                .map_err(|error| Error::invalid(manifest.config.digest.as_str(), error.to_string()))?;
            let chains = pull::chains(what, manifest, &config)?;
            known = config.rootfs.diff_ids.into_iter().zip(chains).collect();
        }
        let layer = |(index, descriptor): (usize, &Descriptor)| {
            self.lease.hold(&descriptor.digest);
            self.say(descriptor, "Preparing");
            Layer { descriptor: descriptor.clone(), made_of: known.get(index).cloned() }
        };
        Ok(manifest.layers.iter().enumerate().map(layer).collect())
    }

    /// Brings one layer there, and says as what.
    async fn layer(&self, layer: &Layer) -> Result<Descriptor, Error> {
        let here = self.destination.store.blobs().stat(&layer.descriptor.digest).is_some();
        let descriptor = match &layer.made_of {
            Some((diff_id, chain)) if !here => self.packed(&layer.descriptor, diff_id, chain).await?,
            _ => layer.descriptor.clone(),
        };
        let status = match self.destination.blob(&descriptor).await? {
            Arrived::Before => "Layer already exists".into(),
            Arrived::Mounted(from) => format!("Mounted from {from}"),
            Arrived::Sent => "Pushed".into(),
        };
        self.say(&layer.descriptor, &status);
        Ok(descriptor)
    }

    /// The compressed form of a layer that exists only as a tree.
    async fn packed(&self, plain: &Descriptor, diff_id: &Digest, chain: &Digest) -> Result<Descriptor, Error> {
        let store = &self.destination.store;
        // By what is in it: layers of several chains may be the same.
        let alone = alone(store, diff_id.as_str()).await;
        self.lease.hold(chain);
        let (hints, of) = (self.destination.hints.clone(), diff_id.clone());
        let packed = match blocking(move || hints.packed(&of)).await? {
            Some(packed) => packed,
            None => self.pack(diff_id.clone(), chain.clone(), alone).await?,
        };
        self.lease.hold(&packed.digest);
        if store.blobs().stat(&packed.digest).is_none() {
            return Err(Error::invalid(packed.digest.as_str(), "was collected while it was being pushed"));
        }
        Ok(Descriptor {
            media_type: gzip_type(&plain.media_type).into(),
            digest: packed.digest,
            size: packed.size,
            ..plain.clone()
        })
    }

    /// Packs a layer; whoever wants the same waits for the end of it, even if this push is given up meanwhile.
    async fn pack(&self, diff_id: Digest, chain: Digest, alone: OwnedMutexGuard<()>) -> Result<Packed, Error> {
        let (store, hints, layers) =
            (self.destination.store.clone(), self.destination.hints.clone(), self.layers.clone());
        let what = format!("layer {diff_id}");
        let (made, packed) = blocking(move || {
            let _alone = alone;
            let mut writer = store.blobs().writer(&format!("push-{}", diff_id.hex()))?;
            // What a push that was cut short left: the stream cannot be taken up in its middle.
            writer.restart()?;
            let made = compress::gzip(|out| layers.write_tar(&chain, out).map_err(Failed::Store), &mut writer);
            let made = match made {
                Ok(made) => made,
                Err(Failed::Store(error)) => return Err(error),
                Err(Failed::Writing(error)) => return Err(teu_store::Error::Sink(error)),
            };
            if made != diff_id {
                writer.abort()?;
                return Ok((Err((diff_id, made)), None));
            }
            let (digest, size) = writer.commit_deferred(None)?;
            let packed = Packed { digest, size };
            hints.remember_packed(&diff_id, &packed)?;
            Ok((Ok(()), Some(packed)))
        })
        .await?;
        match (made, packed) {
            (Err((expected, actual)), _) => Err(Error::DigestMismatch { what, expected, actual }),
            (Ok(()), Some(packed)) => Ok(packed),
            (Ok(()), None) => Err(Error::invalid(what, "could not be made")),
        }
    }

    /// The manifest that lists what was really pushed, kept as a blob.
    async fn rewrite(&self, media_type: &str, manifest: Manifest) -> Result<(Descriptor, Vec<u8>), Error> {
        let bytes =
            serde_json::to_vec(&manifest).map_err(|error| Error::invalid("manifest to push", error.to_string()))?;
        let digest = Digest::sha256(&bytes);
        self.lease.hold(&digest);
        let blobs = self.destination.store.blobs().clone();
        let kept = bytes.clone();
        blocking(move || blobs.put_deferred(&kept)).await?;
        Ok((Descriptor::new(media_type, digest, bytes.len() as u64), bytes))
    }

    async fn read(&self, digest: &Digest) -> Result<Vec<u8>, Error> {
        self.lease.hold(digest);
        let (blobs, digest) = (self.destination.store.blobs().clone(), digest.clone());
        blocking(move || blobs.read(&digest)).await
    }

    fn say(&self, descriptor: &Descriptor, status: &str) {
        self.destination.progress.update(descriptor.digest.short(), status, 0, 0);
    }
}

/// One layer's way through a push.
struct Layer {
    descriptor: Descriptor,
    /// Its diff ID and chain, where it may have to be made.
    made_of: Option<(Digest, Digest)>,
}

/// Why a layer could not be packed.
enum Failed {
    Store(teu_store::Error),
    Writing(std::io::Error),
}

impl From<std::io::Error> for Failed {
    fn from(error: std::io::Error) -> Self {
        Self::Writing(error)
    }
}

/// The media type of the same layer compressed with gzip.
fn gzip_type(plain: &str) -> &str {
    match (plain.starts_with("application/vnd.docker."), media_type::layer_compression(plain)) {
        (_, Some(Compression::Gzip)) => plain,
        (true, _) => media_type::DOCKER_LAYER_GZIP,
        (false, _) => media_type::OCI_LAYER_GZIP,
    }
}
