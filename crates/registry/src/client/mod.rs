//! The client: resolves references, pulls and pushes images.
//!
//! ```text
//! pull   resolve ─ manifest ─ config ─┬─ layer ─ socket ─┬─ blob (hash, keep)
//!                                     ├─ layer           └─ inflate ─ hash ─ unpack ─┐
//!                                     └─ layer …                                    attach, lowest first
//! push   layers without a blob: tar ─ gzip in blocks ─ blob ─┐
//!        every blob: HEAD, else mount, else POST + PUT ──────┴─ manifest last
//! ```
//!
//! Rules kept here, each with a test: a digest is checked before what it names is used; credentials go to the registry
//! that was named and to the token service *it* names, never along a redirect; HTTPS that fails is an error and never
//! becomes HTTP, save for loopback hosts and those configured as insecure.

mod auth;
mod compress;
mod connect;
mod download;
mod error;
mod exchange;
mod fetch;
mod names;
mod proxy;
mod pull;
mod push;
mod resolve;
mod retry;
mod search;
mod target;
mod upload;

use std::fmt;
use std::io::Write;
use std::sync::Arc;

use teu_oci::{Descriptor, Digest, Platform, Reference};
use teu_store::{Lease, Store};

pub use error::Error;
pub use fetch::Fetched;
pub use names::lookup;
pub use proxy::Proxies;
pub use push::StoreLayers;
pub use retry::Retry;
pub use search::Found;

/// How a client behaves.
#[derive(Clone)]
pub struct Config {
    /// Registries (`host` or `host:port`) that may be spoken to in plain HTTP when HTTPS does not answer.
    /// Loopback hosts always may.
    pub insecure: Vec<String>,
    /// Whose copies of Docker Hub's images are taken instead (`https://mirror.example`); it sees no credentials.
    pub mirror: Option<String>,
    /// By way of whom registries are asked.
    pub proxies: Proxies,
    /// Who we are; nobody if `None`.
    pub auth: Option<Auth>,
    /// The `User-Agent` header.
    pub user_agent: String,
    /// When to try again, and how long to wait for a silent peer.
    pub retry: Retry,
    /// How many blobs move at once.
    pub concurrency: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            insecure: Vec::new(),
            mirror: None,
            proxies: Proxies::default(),
            auth: None,
            user_agent: concat!("teu/", env!("CARGO_PKG_VERSION")).into(),
            retry: Retry::default(),
            concurrency: 4,
        }
    }
}

/// Credentials for one registry. Deliberately without `Serialize`; its `Debug` shows no secret.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Auth {
    /// The registry they are for, as references name it (`docker.io`, `localhost:5000`). No other ever sees them.
    pub registry: String,
    /// The account.
    pub username: String,
    /// Its password or access token; empty if there is none.
    pub password: String,
    /// An OAuth2 refresh token, used instead of the password where it is not empty.
    pub identity_token: String,
    /// A bearer token to send as it is, used instead of both where it is not empty.
    pub registry_token: String,
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Auth")
            .field("registry", &self.registry)
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

/// Hears what happens to each blob, in Docker's words (`Pulling fs layer`, `Downloading`, …).
pub trait Progress: Send + Sync {
    /// `id` is a blob's short digest, or empty for a line about the whole; `total` is 0 where nothing is counted.
    fn update(&self, id: &str, status: &str, current: u64, total: u64);
}

/// Nobody listens.
impl Progress for () {
    fn update(&self, _: &str, _: &str, _: u64, _: u64) {}
}

/// Makes the plain tar of a layer that exists only as a snapshot.
pub trait LayerSource: Send + Sync {
    /// Writes the tar of the layer whose chain is `chain` to `out` and returns the digest of what it wrote, which must
    /// be the layer's diff ID. Called on a thread that may block.
    ///
    /// # Errors
    /// When there is no such layer, or writing fails.
    fn write_tar(&self, chain: &Digest, out: &mut dyn Write) -> Result<Digest, teu_store::Error>;
}

/// What a reference means at its registry.
#[derive(Clone, Debug, PartialEq)]
pub struct Resolved {
    /// The manifest or index that the reference names.
    pub descriptor: Descriptor,
    /// Its bytes, whose digest has been checked.
    pub bytes: Vec<u8>,
}

/// An image that is now in the store, held by the lease that was given.
#[derive(Clone, Debug, PartialEq)]
pub struct Pulled {
    /// What the reference names: an index or a manifest, kept as a blob.
    pub target: Descriptor,
    /// The manifest for the wanted platform; the same as `target` if that is no index.
    pub manifest: Descriptor,
    /// The config blob.
    pub config: Descriptor,
    /// The layers as the manifest lists them, lowest first.
    pub layers: Vec<Descriptor>,
    /// The digests of the layers' plain tars.
    pub diff_ids: Vec<Digest>,
    /// The chain of each layer; the last is the image's whole tree.
    pub chain_ids: Vec<Digest>,
    /// Whether anything was new: Docker's "Downloaded newer image" against "Image is up to date".
    pub changed: bool,
}

/// A client. Cloning shares connections and tokens.
#[derive(Clone)]
pub struct Client {
    inner: Arc<exchange::Exchange>,
}

impl Client {
    /// A client that has not spoken to anyone yet.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self { inner: Arc::new(exchange::Exchange::new(config)) }
    }

    /// Asks what `reference` means, without fetching more than its manifest or index.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn resolve(&self, reference: &Reference) -> Result<Resolved, Error> {
        resolve::resolve(&self.inner, reference).await
    }

    /// Fetches an image's config.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn config(&self, reference: &Reference, config: &Descriptor) -> Result<bytes::Bytes, Error> {
        resolve::config(&self.inner, reference, config).await
    }

    /// Fetches the image for `platform` and unpacks its layers; what exists already is not fetched again.
    ///
    /// # Errors
    /// See [`Error`]. What had arrived stays, so that the next attempt goes on from there.
    pub async fn pull(
        &self,
        reference: &Reference,
        platform: &Platform,
        store: &Store,
        lease: &Lease,
        progress: Arc<dyn Progress>,
    ) -> Result<Pulled, Error> {
        pull::pull(&self.inner, reference, platform, store, lease, progress).await
    }

    /// Sends the image of `manifest` to where `reference` says. Layers without a blob are made by `layers` and
    /// compressed, once; the manifest that was pushed is the answer, and differs from `manifest` if there were any.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn push(
        &self,
        reference: &Reference,
        manifest: &Descriptor,
        store: &Store,
        lease: &Lease,
        layers: Arc<dyn LayerSource>,
        progress: Arc<dyn Progress>,
    ) -> Result<Descriptor, Error> {
        push::push(&self.inner, reference, manifest, store, lease, layers, progress).await
    }

    /// Puts a document (a manifest or an index) to where `reference` says, under `name`: a tag or its digest. What it lists
    /// is there already.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn put(&self, reference: &Reference, name: &str, media_type: &str, bytes: Vec<u8>) -> Result<(), Error> {
        self.target(reference).manifest(media_type, bytes, name).await
    }

    /// Has the registry take a blob of its repository `from` into `reference`'s; false when it would rather be sent it.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn mount(&self, reference: &Reference, digest: &Digest, from: &str) -> Result<bool, Error> {
        self.target(reference).mount(digest, from).await
    }

    fn target(&self, reference: &Reference) -> target::Target {
        target::Target { exchange: self.inner.clone(), reference: reference.clone() }
    }

    /// Searches the index of a registry for at most `limit` repositories.
    ///
    /// # Errors
    /// See [`Error`]; most registries but Docker Hub have no index, and say that there is no such page.
    pub async fn search(&self, domain: &str, term: &str, limit: u32) -> Result<Vec<Found>, Error> {
        search::search(&self.inner, domain, term, limit).await
    }

    /// Fetches what is at a URL of HTTP or HTTPS into an empty file.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn fetch(&self, url: &str, file: &Arc<std::fs::File>) -> Result<Fetched, Error> {
        fetch::fetch(&self.inner, url, file).await
    }

    /// Checks the credentials against a registry (`docker login`).
    ///
    /// # Errors
    /// [`Error::Unauthorized`] if it does not take them.
    pub async fn login(&self, domain: &str) -> Result<(), Error> {
        self.inner.login(domain).await
    }
}
