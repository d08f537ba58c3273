//! `push`: the registry client uploads; layers that were made here are packed on the way, once.

use std::sync::Arc;

use teu_api::stream::JsonMessage;
use teu_api::system::AuthConfig;
use teu_oci::Reference;
use teu_registry::client::StoreLayers;
use tokio::sync::mpsc;

use super::pull::{Messages, translate};
use super::{ImageRecord, Images};
use crate::error::{Error, Result};

impl Images {
    /// Uploads an image under one of its names.
    ///
    /// # Errors
    /// When there is no image of that name, or the registry refuses it.
    pub async fn push(
        &self,
        name: &str,
        tag: Option<&str>,
        auth: Option<AuthConfig>,
        out: mpsc::Sender<JsonMessage>,
    ) -> Result<()> {
        let reference = crate::container::named(name, tag)?;
        let familiar = reference.familiar();
        let image = self.resolve(&reference.to_string()).map_err(|_| {
            Error::not_found(format!(
                "An image does not exist locally with the tag: {}",
                reference.familiar_repository()
            ))
        })?;
        let store = &self.inner.store;
        let lease = store.lease("push");
        let layers = Arc::new(StoreLayers::new(store));
        let progress = Messages::to(&out);
        let client = self.client(reference.domain(), auth, self.registries().uploads);
        let pushed = client.push(&reference, &image.record.manifest, store, &lease, layers, progress.clone()).await;
        let pushed = pushed.map_err(|error| translate(error, &reference))?;
        let (digest, size) = (pushed.digest.clone(), pushed.size);
        self.know(&image.record, &reference, digest.as_str())?;
        let tag = reference.tag().unwrap_or_default();
        let aux = serde_json::json!({"Tag": tag, "Digest": digest, "Size": size});
        progress.say(JsonMessage::aux(aux));
        self.emit("push", &image.id, &familiar);
        Ok(())
    }

    /// Notes under which digest the registry knows the image now.
    fn know(&self, record: &ImageRecord, reference: &Reference, digest: &str) -> Result<()> {
        let known = format!("{}@{digest}", reference.familiar_repository());
        let mut record = record.clone();
        if !record.repo_digests.contains(&known) {
            record.repo_digests.push(known);
            self.inner.records.put(record.config.hex(), &record)?;
        }
        Ok(())
    }
}
