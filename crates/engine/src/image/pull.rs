//! `pull`: the registry client fetches and unpacks, the record and the tag make it an image.

use std::sync::Arc;

use teu_api::stream::JsonMessage;
use teu_api::system::AuthConfig;
use teu_oci::{Platform, Reference};
use teu_registry::client::{Auth, Client, Config, Error as RegistryError, Progress};
use tokio::sync::mpsc;

use super::{Image, ImageRecord, Images};
use crate::error::{Error, Kind, Result};

/// Passes progress on as Docker's messages. A full channel drops counts, never words.
pub(super) struct Messages(pub(super) mpsc::Sender<JsonMessage>);

impl Progress for Messages {
    fn update(&self, id: &str, status: &str, current: u64, total: u64) {
        let message =
            if id.is_empty() { JsonMessage::status(status) } else { JsonMessage::progress(id, status, current, total) };
        let _ = self.0.try_send(message);
    }
}

impl Images {
    pub(super) fn client(&self, reference: &Reference, auth: Option<AuthConfig>) -> Client {
        let auth = auth.filter(|auth| auth != &AuthConfig::default()).map(|auth| Auth {
            registry: reference.domain().into(),
            username: auth.username,
            password: auth.password,
            identity_token: auth.identity_token,
            registry_token: auth.registry_token,
        });
        Client::new(Config { insecure: self.inner.insecure.clone(), auth, ..Config::default() })
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
        let what =
            reference.tag().map_or_else(|| reference.digest().map(ToString::to_string), |tag| Some(tag.to_string()));
        let started = format!("Pulling from {}", familiar_path(&reference));
        let first = JsonMessage { id: what, ..JsonMessage::status(started) };
        let _ = out.send(first).await;
        let store = &self.inner.store;
        let lease = store.lease("pull");
        let progress = Arc::new(Messages(out.clone()));
        let pulled = self.client(&reference, auth).pull(&reference, &platform, store, &lease, progress).await;
        let pulled = pulled.map_err(|error| translate(error, &reference))?;
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
        };
        let id = record.config.clone();
        self.record(record, &[reference.clone()])?;
        let _ = out.send(JsonMessage::status(format!("Digest: {}", pulled.target.digest))).await;
        let news = if before.as_ref() == Some(&id) { "Image is up to date for" } else { "Downloaded newer image for" };
        let _ = out.send(JsonMessage::status(format!("Status: {news} {}", reference.familiar()))).await;
        self.emit("pull", &id, &reference.familiar());
        self.by_id(&id)
    }
}

/// The client gives repository and tag (or digest) apart.
fn reference(repo: &str, tag: Option<&str>) -> Result<Reference> {
    match tag.filter(|tag| !tag.is_empty()) {
        Some(digest) if digest.contains(':') => Ok(format!("{repo}@{digest}").parse()?),
        Some(tag) => Ok(repo.parse::<Reference>()?.with_tag(tag)?),
        None => Ok(repo.parse()?),
    }
}

fn familiar_path(reference: &Reference) -> String {
    if reference.domain() == "docker.io" { reference.path().into() } else { reference.path().to_string() }
}

/// The registry's trouble as an error of the engine.
pub(super) fn translate(error: RegistryError, reference: &Reference) -> Error {
    let kind = match &error {
        RegistryError::NotFound { .. } => Kind::NotFound,
        RegistryError::Unauthorized { .. } => Kind::Unauthorized,
        _ => Kind::Internal,
    };
    let message = if kind == Kind::NotFound {
        format!("manifest for {} not found: manifest unknown: {error}", reference.familiar())
    } else {
        error.to_string()
    };
    Error { kind, message, source: Some(Box::new(error)) }
}
