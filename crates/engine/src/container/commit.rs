//! Commit: a container's write layer becomes a layer, and with changes to the config an image.

use teu_api::container::Config;
use teu_oci::{ConfigChange, ContainerConfig, Descriptor, History, Reference, media_type};

use super::{Container, Phase};
use crate::error::{Kind, Result};
use crate::image::NewImage;

/// What the new image is to be like.
#[derive(Clone, Debug, Default)]
pub struct CommitOptions {
    /// Its repository; none leaves it without a name.
    pub repo: Option<String>,
    /// Its tag.
    pub tag: Option<String>,
    /// A word about it.
    pub comment: String,
    /// Who.
    pub author: String,
    /// Freeze the container meanwhile.
    pub pause: bool,
    /// What to change of the config, parsed from Dockerfile instructions.
    pub changes: Vec<ConfigChange>,
    /// Replaces the container's own config.
    pub config: Option<Config>,
}

impl Container {
    /// Makes an image of it and returns the image's id.
    ///
    /// # Errors
    /// When a change has no meaning or its files cannot be read; no image is made then.
    pub async fn commit(&self, options: CommitOptions) -> Result<String> {
        let record = self.record();
        let context = self.shared.context.clone();
        let name = match &options.repo {
            Some(repo) if !repo.is_empty() => Some(named(repo, options.tag.as_deref())?),
            _ => None,
        };
        let mut config = image_config(options.config.as_ref().unwrap_or(&record.config));
        for change in &options.changes {
            config.apply(change)?;
        }
        let lease = context.store.lease("commit");
        let frozen = options.pause && record.state.phase == Phase::Running && self.pause().await.is_ok();
        let snapshots = context.store.snapshots().clone();
        let id = record.id.clone();
        let copied = tokio::task::spawn_blocking(move || snapshots.commit_copy(&id)).await;
        if frozen {
            match self.unpause().await {
                // It ended before it was frozen, and only now is that heard of.
                Err(error) if error.kind == Kind::Conflict => {}
                other => other?,
            }
        }
        let layer = copied.map_err(|error| crate::Error::internal(error.to_string()))??;
        lease.hold(&layer.chain_id);
        let base = record.image_id.as_ref().map(|id| context.images.by_id(id)).transpose()?;
        let mut layers = base.as_ref().map(|image| image.record.layers.clone()).unwrap_or_default();
        layers.push(Descriptor::new(media_type::OCI_LAYER, layer.diff_id.clone(), layer.size));
        let mut image = base.map(|image| image.config).unwrap_or_default();
        let now = jiff::Timestamp::now().to_string();
        image.created = Some(now.clone());
        image.author.clone_from(&options.author);
        image.config = config;
        image.rootfs.diff_ids.push(layer.diff_id);
        image.history.push(History {
            created: Some(now),
            created_by: record.words().join(" "),
            author: options.author,
            comment: options.comment,
            empty_layer: false,
        });
        if image.os.is_empty() {
            let host = teu_oci::Platform::host();
            (image.os, image.architecture) = (host.os, host.architecture);
        }
        let names = name.clone().into_iter().collect();
        let parent = record.image_id.clone();
        let image = context.images.put(NewImage { config: image, layers, names, parent })?;
        drop(lease);
        let extra: Vec<(&str, String)> = vec![("comment", String::new()), ("imageID", image.id.to_string())];
        context.emit_container("commit", &record, &extra);
        Ok(image.id.to_string())
    }
}

/// `repo[:tag]`, with the tag given apart winning.
pub(crate) fn named(repo: &str, tag: Option<&str>) -> Result<Reference> {
    let reference: Reference = repo.parse()?;
    match tag.filter(|tag| !tag.is_empty()) {
        Some(tag) => Ok(reference.with_tag(tag)?),
        None => Ok(reference),
    }
}

fn image_config(config: &Config) -> ContainerConfig {
    ContainerConfig {
        user: config.user.clone(),
        exposed_ports: config.exposed_ports.clone(),
        env: config.env.clone(),
        entrypoint: config.entrypoint.clone(),
        cmd: config.cmd.clone(),
        volumes: config.volumes.clone(),
        working_dir: config.working_dir.clone(),
        labels: config.labels.clone(),
        stop_signal: (!config.stop_signal.is_empty()).then(|| config.stop_signal.clone()),
        healthcheck: config.healthcheck.clone(),
        shell: config.shell.clone(),
        on_build: config.on_build.clone().unwrap_or_default(),
        args_escaped: config.args_escaped,
    }
}
