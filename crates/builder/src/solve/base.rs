//! Where a stage starts, and what becomes of the last one: images of the engine's.

use teu_api::stream::JsonMessage;
use teu_engine::{Engine, Image, Kind};
use teu_oci::{Digest, Platform, Reference};
use tokio::sync::mpsc;

use super::export::Draft;
use super::{Solver, blocking};
use crate::Error;
use crate::plan::PlanError;

impl Solver<'_> {
    /// An image by name: one that is here, or else (or always, if the options say so) one from its registry.
    pub(super) async fn pulled(
        &self,
        name: &str,
        platform: Option<&Platform>,
        sink: Option<mpsc::Sender<JsonMessage>>,
    ) -> Result<Draft, Error> {
        let platform = platform.or(self.options.platform.as_ref()).map(ToString::to_string);
        let reference = name.parse::<Reference>().ok();
        let image = match self.engine.images.resolve_for(name, platform.as_deref()) {
            Ok(image) if !self.options.pull || reference.is_none() => image,
            Err(error) if error.kind != Kind::NotFound => return Err(error.into()),
            _ => self.pull(name, reference, platform.as_deref(), sink).await?,
        };
        self.hold(&image);
        // Held first, looked at then: it may have been removed and collected in between.
        let snapshots = self.engine.store().snapshots();
        if let Some(chain) = image.chain().filter(|chain| !snapshots.exists(chain)) {
            return Err(
                PlanError::new(format!("image {name} has lost its layer {chain}; pull or build it again")).into()
            );
        }
        Ok(Draft::of(image))
    }

    async fn pull(
        &self,
        name: &str,
        reference: Option<Reference>,
        platform: Option<&str>,
        sink: Option<mpsc::Sender<JsonMessage>>,
    ) -> Result<Image, Error> {
        let Some(reference) = reference else {
            return Err(PlanError::new(format!("no image here has the ID {name}")).into());
        };
        let suffix = reference.digest().map(ToString::to_string).or_else(|| reference.tag().map(Into::into));
        let auth = match (self.options.credentials.get(&auth_key(&reference)), &self.options.requester) {
            (Some(auth), _) => Some(auth.clone()),
            (None, Some(requester)) => requester.credentials(reference.domain()).await?,
            (None, None) => None,
        };
        let sink = sink.unwrap_or_else(|| mpsc::channel(1).0);
        let repository = reference.repository();
        Ok(self.engine.images.pull(&repository, suffix.as_deref(), platform, auth, sink).await?)
    }

    /// Keeps the image's parts while the build goes on.
    fn hold(&self, image: &Image) {
        let record = &image.record;
        let layers = record.layers.iter().map(|layer| &layer.digest);
        [&image.id, &record.manifest.digest].into_iter().chain(layers).chain(&record.chains).for_each(|digest| {
            self.lease.hold(digest);
        });
    }
}

/// Makes an image and gives it its names.
pub(super) async fn name(engine: &Engine, draft: Draft, names: Vec<Reference>) -> Result<Digest, Error> {
    let (images, store) = (engine.images.clone(), engine.store().clone());
    let id = draft.id();
    let new = draft.into_image(names);
    blocking(move || {
        let is_it = |name: &Reference| images.resolve(&name.to_string()).is_ok_and(|image| image.id == id);
        // All from the cache, and all there: nothing to write, nothing to wait for the disk for.
        if images.by_id(&id).is_ok() && new.names.iter().all(is_it) {
            return Ok(id);
        }
        // The layers first, all at once: a name must not outlive a power failure that its layers do not.
        store.sync()?;
        Ok(images.put(new)?.id)
    })
    .await
}

/// Under which name a client's file of credentials has those of a registry.
fn auth_key(reference: &Reference) -> String {
    match reference.domain() {
        "docker.io" => "https://index.docker.io/v1/".into(),
        domain => domain.into(),
    }
}
