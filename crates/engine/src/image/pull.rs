//! `pull`: the registry client fetches and unpacks, the record and the tag make it an image.

use std::sync::Arc;

use teu_api::image::Distribution;
use teu_api::stream::JsonMessage;
use teu_api::system::AuthConfig;
use teu_oci::{Index, Manifest, Platform, Reference, media_type};
use teu_registry::client::{Auth, Client, Config, Error as RegistryError, Fetched, Progress};
use tokio::sync::mpsc;

use super::{DOCKER_HUB, Image, ImageRecord, Images};
use crate::error::{Error, Kind, Result};

/// Passes progress on as Docker's messages. A slow listener misses counts, never words, and holds nobody up.
pub(super) struct Messages(mpsc::UnboundedSender<JsonMessage>);

/// Counts beyond this many unread messages are left out.
const UNREAD: usize = 64;

impl Messages {
    pub(super) fn to(out: &mpsc::Sender<JsonMessage>) -> Arc<Self> {
        let (send, mut queue) = mpsc::unbounded_channel();
        let out = out.clone();
        tokio::spawn(async move {
            while let Some(message) = queue.recv().await {
                let counted = |message: &JsonMessage| {
                    message.progress_detail.as_ref().is_some_and(|detail| detail.total.is_some())
                };
                if !(counted(&message) && queue.len() > UNREAD) && out.send(message).await.is_err() {
                    return;
                }
            }
        });
        Arc::new(Self(send))
    }

    /// A message in its place among the others.
    pub(super) fn say(&self, message: JsonMessage) {
        let _ = self.0.send(message);
    }
}

impl Progress for Messages {
    fn update(&self, id: &str, status: &str, current: u64, total: u64) {
        let message =
            if id.is_empty() { JsonMessage::status(status) } else { JsonMessage::progress(id, status, current, total) };
        self.say(message);
    }
}

impl Images {
    /// A client for so many blobs at once, with those credentials.
    pub(super) fn client(&self, domain: &str, auth: Option<AuthConfig>, concurrency: usize) -> Client {
        let auth = auth.filter(|auth| auth != &AuthConfig::default()).map(|auth| Auth {
            registry: domain.into(),
            username: auth.username,
            password: auth.password,
            identity_token: auth.identity_token,
            registry_token: auth.registry_token,
        });
        Client::new(Config { auth, ..self.registries().config(concurrency) })
    }

    /// Who may have an image of that name: the mirrors of Docker Hub if it is one of its, then the registry itself.
    fn clients(&self, reference: &Reference, auth: Option<AuthConfig>) -> Vec<Client> {
        let registries = self.registries();
        let mirrors = if reference.domain() == DOCKER_HUB { registries.mirrors.clone() } else { vec![] };
        let plain = Config { insecure: vec![], ..registries.config(registries.downloads) };
        let mirror = |url| Client::new(Config { mirror: Some(url), ..plain.clone() });
        mirrors.into_iter().map(mirror).chain([self.client(reference.domain(), auth, registries.downloads)]).collect()
    }

    /// Fetches what is at a URL of HTTP or HTTPS into an empty file, by the daemon's proxies.
    ///
    /// # Errors
    /// When it is not there, or nobody answers.
    pub async fn fetch(&self, url: &str, file: &Arc<std::fs::File>) -> Result<Fetched> {
        let fetched = self.client("", None, 1).fetch(url, file).await;
        fetched.map_err(|error| Error { kind: kind(&error), message: error.to_string(), source: Some(Box::new(error)) })
    }

    /// Fetches an image by name, and tag or digest.
    ///
    /// # Errors
    /// When the registry does not have it or cannot be reached; what had arrived is used by the next try.
    pub async fn pull(
        &self,
        repo: &str,
        tag: Option<&str>,
        platform: Option<&str>,
        auth: Option<AuthConfig>,
        out: mpsc::Sender<JsonMessage>,
    ) -> Result<Image> {
        let reference = reference(repo, tag)?;
        let platform: Platform = match platform.filter(|platform| !platform.is_empty()) {
            Some(platform) => platform.parse().map_err(Error::bad)?,
            None => Platform::host(),
        };
        let store = &self.inner.store;
        let lease = store.lease("pull");
        let progress = Messages::to(&out);
        let mut pulled = Err(Error::internal("there is no registry to ask"));
        for client in self.clients(&reference, auth) {
            let answer = client.pull(&reference, &platform, store, &lease, progress.clone()).await;
            pulled = answer.map_err(|error| translate(error, &reference));
            if pulled.is_ok() {
                break;
            }
        }
        let pulled = pulled?;
        let repo_digest = format!("{}@{}", reference.familiar_repository(), pulled.target.digest);
        let before = self.resolve(&reference.to_string()).ok().map(|image| image.id);
        let record = ImageRecord {
            config: pulled.config.digest.clone(),
            target: (pulled.target.digest != pulled.manifest.digest).then(|| pulled.target.clone()),
            manifest: pulled.manifest,
            layers: pulled.layers,
            chains: pulled.chain_ids,
            size: 0,
            repo_digests: vec![repo_digest],
            tagged: String::new(),
            parent: None,
        };
        let id = record.config.clone();
        self.record(record, std::slice::from_ref(&reference))?;
        progress.say(JsonMessage::status(format!("Digest: {}", pulled.target.digest)));
        let news = if before.as_ref() == Some(&id) { "Image is up to date for" } else { "Downloaded newer image for" };
        progress.say(JsonMessage::status(format!("Status: {news} {}", reference.familiar())));
        self.emit("pull", &id, &reference.familiar());
        self.by_id(&id)
    }
}

impl Images {
    /// What a registry has under a name, without fetching it.
    ///
    /// # Errors
    /// When the registry does not have it or cannot be reached.
    pub async fn distribution(&self, name: &str, auth: Option<AuthConfig>) -> Result<Distribution> {
        let reference: Reference = name.parse()?;
        let mut told = Err(Error::internal("there is no registry to ask"));
        for client in self.clients(&reference, auth) {
            told = described(&client, &reference).await;
            if told.is_ok() {
                break;
            }
        }
        told
    }
}

async fn described(client: &Client, reference: &Reference) -> Result<Distribution> {
    let wrong = |error| translate(error, reference);
    let found = client.resolve(reference).await.map_err(wrong)?;
    let broken =
        |error: serde_json::Error| Error::bad(format!("read the manifest of {}: {error}", reference.familiar()));
    let kind = found.descriptor.media_type.as_str();
    let platforms = if [media_type::OCI_INDEX, media_type::DOCKER_LIST].contains(&kind) {
        let index: Index = serde_json::from_slice(&found.bytes).map_err(broken)?;
        index.manifests.into_iter().filter_map(|manifest| manifest.platform).collect()
    } else {
        let manifest: Manifest = serde_json::from_slice(&found.bytes).map_err(broken)?;
        let config = client.config(reference, &manifest.config).await.map_err(wrong)?;
        vec![serde_json::from_slice(&config).map_err(broken)?]
    };
    Ok(Distribution { descriptor: Some(found.descriptor), platforms })
}

/// The client gives repository and tag (or digest) apart.
fn reference(repo: &str, tag: Option<&str>) -> Result<Reference> {
    match tag.filter(|tag| !tag.is_empty()) {
        Some(digest) if digest.contains(':') => Ok(format!("{repo}@{digest}").parse()?),
        Some(tag) => Ok(repo.parse::<Reference>()?.with_tag(tag)?),
        None => Ok(repo.parse()?),
    }
}

/// The registry's trouble as an error of the engine.
pub(super) fn translate(error: RegistryError, reference: &Reference) -> Error {
    let kind = kind(&error);
    let message = if matches!(error, RegistryError::NotFound { .. }) {
        format!("manifest for {} not found: manifest unknown: {error}", reference.familiar())
    } else {
        error.to_string()
    };
    Error { kind, message, source: Some(Box::new(error)) }
}

/// Whose fault it is: a registry that does not answer, or not as it should, is not there for us.
pub(super) fn kind(error: &RegistryError) -> Kind {
    match error {
        RegistryError::NotFound { .. } | RegistryError::NoPlatform { .. } => Kind::NotFound,
        RegistryError::Unauthorized { .. } => Kind::Unauthorized,
        RegistryError::Denied { .. } => Kind::Forbidden,
        error if error.is_theirs() => Kind::Unavailable,
        _ => Kind::Internal,
    }
}
