//! Pulling: reference to manifest to config to layers, all layers at once.
//!
//! The config comes first because it says which chains the layers will make: a chain that exists is not unpacked again,
//! a blob that exists is not fetched again. Layers are unpacked without knowing what is below them, and attached in
//! order as soon as everything below is there. One `sync` at the end makes the whole image durable; the caller's record
//! is what makes it an image.

use std::io;
use std::sync::Arc;

use futures_util::stream::FuturesOrdered;
use futures_util::{FutureExt, StreamExt};
use http::header::HeaderMap;
use http::{Method, StatusCode};
use teu_oci::{Descriptor, Digest, ImageConfig, Manifest, Platform, Reference, chain_ids, media_type};
use teu_store::{Lease, Store, Unpacked};
use tokio::sync::Semaphore;

use super::auth::Scope;
use super::download::{Source, alone, blocking};
use super::exchange::{Ask, Exchange, Payload, Url};
use super::resolve;
use super::{Error, Progress, Pulled, Resolved};
use crate::sources::Hints;

/// More layers than any overlay can stack.
const MOST_LAYERS: usize = 500;

pub(super) async fn pull(
    exchange: &Arc<Exchange>,
    reference: &Reference,
    platform: &Platform,
    store: &Store,
    lease: &Lease,
    progress: Arc<dyn Progress>,
) -> Result<Pulled, Error> {
    let hints = blocking({
        let store = store.clone();
        move || Hints::of(&store)
    })
    .await?;
    let source =
        Source { exchange: exchange.clone(), reference: reference.clone(), store: store.clone(), hints, progress };
    let name = reference.tag().unwrap_or_else(|| reference.digest().map_or("", Digest::as_str));
    let target = resolve::resolve(exchange, reference).await?;
    let chosen = source.choose(&target, platform).await?;
    // Not before: until the first word a caller can still answer with a status.
    source.progress.update(name, &format!("Pulling from {}", reference.path()), 0, 0);
    let what = reference.familiar();
    let manifest = resolve::manifest(&what, &chosen.bytes)?;
    let changed = store.blobs().stat(&chosen.descriptor.digest).is_none();
    for document in [&target, &chosen] {
        source.keep(lease, document.descriptor.digest.clone(), document.bytes.clone()).await?;
    }
    let config = source.config(lease, &manifest).await?;
    let chain_ids = chains(&what, &manifest, &config)?;
    let fresh = source.layers(lease, &manifest, &config, &chain_ids).await?;
    let store = store.clone();
    blocking(move || store.sync()).await?;
    Ok(Pulled {
        target: target.descriptor,
        manifest: chosen.descriptor,
        config: manifest.config,
        layers: manifest.layers,
        diff_ids: config.rootfs.diff_ids,
        chain_ids,
        changed: changed || fresh,
    })
}

/// The chain of every layer, after a look at whether manifest and config fit each other.
pub(super) fn chains(what: &str, manifest: &Manifest, config: &ImageConfig) -> Result<Vec<Digest>, Error> {
    let diff_ids = &config.rootfs.diff_ids;
    if diff_ids.len() != manifest.layers.len() {
        let why = format!("lists {} layers and its config {}", manifest.layers.len(), diff_ids.len());
        return Err(Error::invalid(format!("manifest of {what}"), why));
    }
    if diff_ids.len() > MOST_LAYERS {
        return Err(Error::invalid(format!("manifest of {what}"), format!("has more than {MOST_LAYERS} layers")));
    }
    if let Some(strange) = manifest.layers.iter().find(|l| media_type::layer_compression(&l.media_type).is_none()) {
        return Err(Error::invalid(what, format!("layer media type {} is not supported", strange.media_type)));
    }
    Ok(chain_ids(diff_ids))
}

impl Source {
    /// The manifest for the platform.
    async fn choose(&self, target: &Resolved, platform: &Platform) -> Result<Resolved, Error> {
        if !media_type::is_index(&target.descriptor.media_type) {
            return Ok(target.clone());
        }
        let index = resolve::index(&self.reference.familiar(), &target.bytes)?;
        let entry = resolve::choose(&index, platform)?;
        resolve::listed(&self.exchange, &self.reference, entry).await
    }

    /// Keeps a small document whose digest was checked.
    async fn keep(&self, lease: &Lease, digest: Digest, bytes: Vec<u8>) -> Result<(), Error> {
        lease.hold(&digest);
        let blobs = self.store.blobs().clone();
        blocking(move || if blobs.stat(&digest).is_some() { Ok(()) } else { blobs.put_deferred(&bytes).map(drop) })
            .await
    }

    /// The image's config, from the store or the registry.
    async fn config(&self, lease: &Lease, manifest: &Manifest) -> Result<ImageConfig, Error> {
        let descriptor = &manifest.config;
        let what = descriptor.digest.as_str();
        if !media_type::is_config(&descriptor.media_type) {
            return Err(Error::invalid(what, format!("{} is no image", descriptor.media_type)));
        }
        lease.hold(&descriptor.digest);
        let (blobs, digest) = (self.store.blobs().clone(), descriptor.digest.clone());
        let kept = blocking(move || blobs.stat(&digest).map(|_| blobs.read(&digest)).transpose()).await?;
        let bytes = match kept {
            Some(bytes) => bytes,
            None => self.small_blob(descriptor).await?,
        };
        let config = serde_json::from_slice(&bytes).map_err(|error| Error::invalid(what, error.to_string()))?;
        self.keep(lease, descriptor.digest.clone(), bytes).await?;
        Ok(config)
    }

    /// Fetches a blob that fits into memory, and checks it.
    async fn small_blob(&self, descriptor: &Descriptor) -> Result<Vec<u8>, Error> {
        let what = descriptor.digest.as_str();
        let origin = self.exchange.registry(self.reference.domain()).await?;
        let ask = Ask {
            what,
            method: Method::GET,
            url: Url { origin, target: format!("/v2/{}/blobs/{what}", self.reference.path()) },
            scope: &Scope::pull(self.reference.domain(), self.reference.path()),
            headers: HeaderMap::new(),
            payload: Payload::Nothing,
            accept: &[StatusCode::OK],
        };
        let answer = self.exchange.ask(ask).await?;
        let bytes = self.exchange.read(what, answer, resolve::LARGEST_MANIFEST).await?;
        let actual = Digest::sha256(&bytes);
        if actual != descriptor.digest {
            return Err(Error::DigestMismatch { what: what.into(), expected: descriptor.digest.clone(), actual });
        }
        Ok(bytes.into())
    }

    /// Fetches and unpacks what is missing; whether anything was.
    async fn layers(
        &self,
        lease: &Lease,
        manifest: &Manifest,
        config: &ImageConfig,
        chains: &[Digest],
    ) -> Result<bool, Error> {
        let layers = manifest.layers.iter().zip(&config.rootfs.diff_ids).zip(chains);
        let layers: Vec<Layer<'_>> =
            layers.map(|((descriptor, diff_id), chain)| Layer { descriptor, diff_id, chain }).collect();
        for layer in &layers {
            lease.hold(&layer.descriptor.digest);
            lease.hold(layer.chain);
            self.say(layer.descriptor, "Pulling fs layer");
        }
        let turns = Semaphore::new(self.exchange.config.concurrency.max(1));
        let mut arriving = FuturesOrdered::new();
        for layer in &layers {
            // All are under way from the start, as far as `turns` lets them; they are taken in order, lowest first.
            // Boxed, because a reference taken across `await` in a plain closure is not `Send` for every lifetime.
            arriving.push_back(self.layer(layer, &turns).boxed());
        }
        let mut changed = false;
        for (index, layer) in layers.iter().enumerate() {
            let Some(arrived) = arriving.next().await.transpose()? else { break };
            changed |= !matches!(arrived, Arrived::Before);
            match arrived {
                Arrived::Before => self.say(layer.descriptor, "Already exists"),
                Arrived::Blob => self.say(layer.descriptor, "Pull complete"),
                Arrived::Unpacked(unpacked) => {
                    let parent = index.checked_sub(1).map(|below| chains[below].clone());
                    attach(unpacked, parent, layer.chain).await?;
                    self.say(layer.descriptor, "Pull complete");
                }
            }
        }
        Ok(changed)
    }

    /// Brings one layer here: its blob into the store, its tree beside the others, in no chain yet.
    async fn layer(&self, layer: &Layer<'_>, turns: &Semaphore) -> Result<Arrived, Error> {
        let descriptor = layer.descriptor;
        if turns.available_permits() == 0 {
            self.say(descriptor, "Waiting");
        }
        let _turn = turns.acquire().await.map_err(|error| Error::io("wait for a turn", io::Error::other(error)))?;
        let _alone = alone(&self.store, descriptor.digest.as_str()).await;
        let here = self.store.blobs().stat(&descriptor.digest) == Some(descriptor.size);
        let unpacked_before = self.store.snapshots().exists(layer.chain);
        let unpacked = match (here, unpacked_before) {
            (true, true) => return Ok(Arrived::Before),
            (true, false) => Some(self.unpack_kept(descriptor).await?),
            (false, _) => self.fetch(descriptor, !unpacked_before).await?,
        };
        self.hints.remember(&descriptor.digest, &self.reference);
        let Some(unpacked) = unpacked else { return Ok(Arrived::Blob) };
        if unpacked.diff_id() != layer.diff_id {
            return Err(Error::DigestMismatch {
                what: format!("layer {}", descriptor.digest),
                expected: layer.diff_id.clone(),
                actual: unpacked.diff_id().clone(),
            });
        }
        Ok(Arrived::Unpacked(unpacked))
    }

    fn say(&self, descriptor: &Descriptor, status: &str) {
        self.progress.update(descriptor.digest.short(), status, 0, 0);
    }
}

/// One layer's way through a pull.
struct Layer<'a> {
    descriptor: &'a Descriptor,
    diff_id: &'a Digest,
    chain: &'a Digest,
}

/// How a layer came to be here.
enum Arrived {
    /// It was, blob and chain.
    Before,
    /// The chain was, the blob is now.
    Blob,
    /// Both are new, or the chain is.
    Unpacked(Unpacked),
}

async fn attach(unpacked: Unpacked, parent: Option<Digest>, chain: &Digest) -> Result<(), Error> {
    let attached = blocking(move || unpacked.attach(parent.as_ref())).await?;
    if attached != *chain {
        return Err(Error::DigestMismatch {
            what: "chain of layers".into(),
            expected: chain.clone(),
            actual: attached,
        });
    }
    Ok(())
}
