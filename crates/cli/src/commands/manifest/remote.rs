//! What is said to the registry of a manifest.

use serde::Deserialize;
use teu_api::Reference;
use teu_oci::{Digest, Manifest, media_type};
use teu_registry::client::{Auth, Client, Config, Error, Proxies, Resolved};

use super::store::{Entry, ImageManifest, Machine};
use crate::Session;
use crate::config::registry_key;
use crate::failure::Failure;
use crate::output::line;
use crate::session::variable;

/// One registry, as its user.
pub(super) struct Remote {
    client: Client,
}

/// A list, as far as it is looked at.
#[derive(Deserialize)]
struct Listed {
    manifests: Vec<Item>,
}

/// One manifest of a list.
#[derive(Deserialize)]
struct Item {
    digest: Digest,
    platform: Option<Machine>,
}

impl Remote {
    /// The registry of a name, with the credentials that `config.json` has for it.
    pub(super) fn new(session: &Session, name: &Reference, insecure: bool) -> Result<Self, Failure> {
        let domain = name.domain().to_owned();
        let kept = session.file.credentials(&registry_key(Some(&domain)))?;
        let known = !kept.username.is_empty() || !kept.identity_token.is_empty() || !kept.registry_token.is_empty();
        let auth = known.then(|| Auth {
            registry: domain.clone(),
            username: kept.username,
            password: kept.password,
            identity_token: kept.identity_token,
            registry_token: kept.registry_token,
        });
        let insecure = if insecure { vec![domain] } else { Vec::new() };
        Ok(Self {
            client: Client::new(Config {
                insecure,
                auth,
                proxies: Proxies::from_environment(variable),
                ..Config::default()
            }),
        })
    }

    async fn resolve(&self, name: &Reference) -> Result<Resolved, Failure> {
        self.client.resolve(name).await.map_err(|error| match error {
            Error::NotFound { .. } => Failure::new(format!("no such manifest: {name}")),
            other => Failure::new(other.to_string()),
        })
    }

    /// The manifest that a name means.
    pub(super) async fn manifest(&self, name: &Reference) -> Result<ImageManifest, Failure> {
        let resolved = self.resolve(name).await?;
        if media_type::is_index(&resolved.descriptor.media_type) {
            return Err(Failure::new(format!("{name} is a manifest list")));
        }
        self.described(name, resolved, None).await
    }

    /// The manifests of the list that a name means; none if it is no list.
    pub(super) async fn list(&self, name: &Reference) -> Result<Option<Vec<ImageManifest>>, Failure> {
        let resolved = self.resolve(name).await?;
        if !media_type::is_index(&resolved.descriptor.media_type) {
            return Ok(None);
        }
        let index: Listed = serde_json::from_slice(&resolved.bytes)
            .map_err(|error| Failure::new(format!("manifest list {name}: {error}")))?;
        let mut found = Vec::new();
        for Item { digest, platform } in index.manifests {
            let place = name.with_digest(digest);
            let resolved = self.resolve(&place).await?;
            found.push(self.described(&place, resolved, Some(platform.unwrap_or_default())).await?);
        }
        Ok(Some(found))
    }

    /// A manifest with the machine that it is for: the list's word for it, or its config's.
    async fn described(
        &self,
        name: &Reference,
        resolved: Resolved,
        machine: Option<Machine>,
    ) -> Result<ImageManifest, Failure> {
        let wrong = |error: serde_json::Error| Failure::new(format!("manifest of {name}: {error}"));
        let machine = match machine {
            Some(machine) => machine,
            None => {
                let manifest: Manifest = serde_json::from_slice(&resolved.bytes).map_err(wrong)?;
                let config = self.client.config(name, &manifest.config).await;
                let config = config.map_err(|error| Failure::new(error.to_string()))?;
                serde_json::from_slice(&config).map_err(wrong)?
            }
        };
        let entry = Entry {
            media_type: resolved.descriptor.media_type,
            digest: resolved.descriptor.digest.to_string(),
            size: resolved.descriptor.size,
            platform: Some(machine),
        };
        ImageManifest::new(name, entry, &resolved.bytes)
    }

    /// Brings a manifest of another repository into the list's, and says so.
    pub(super) async fn bring(&self, list: &Reference, manifest: &ImageManifest) -> Result<(), Failure> {
        let from = manifest.place()?;
        if from.path() == list.path() {
            return Ok(());
        }
        let failed = |error: Error| Failure::new(error.to_string());
        for blob in manifest.blobs() {
            if !self.client.mount(list, &blob, from.path()).await.map_err(failed)? {
                let from = from.repository();
                return Err(Failure::new(format!("error mounting {from}@{blob} to {list}")));
            }
        }
        let Entry { media_type, digest, .. } = &manifest.descriptor;
        self.client.put(list, digest, media_type, manifest.bytes()?).await.map_err(failed)?;
        line(&format!("Pushed ref {}@{digest} with digest: {digest}", list.repository()))
    }

    /// Puts the list, and tells its digest.
    pub(super) async fn put_list(&self, name: &Reference, text: String) -> Result<String, Failure> {
        let digest = Digest::sha256(text.as_bytes()).to_string();
        let oci = text.contains(media_type::OCI_INDEX);
        let kind = if oci { media_type::OCI_INDEX } else { media_type::DOCKER_LIST };
        let tag = name.tag().map_or_else(|| digest.clone(), str::to_owned);
        let put = self.client.put(name, &tag, kind, text.into_bytes()).await;
        put.map_err(|error| Failure::new(error.to_string()))?;
        Ok(digest)
    }
}
