//! What is remembered of a container: `<root>/containers/<id>.json`, written by its driver only.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use teu_api::container::{Config, HostConfig, NetworkingConfig};
use teu_oci::Digest;

use super::health;
use super::lifecycle::{Policy, Restart, State};
use super::mounts::MountRecord;
pub use super::storage::LayerLimit;
pub use crate::network::record::{EndpointRecord, OldEndpoint, PortRecord};

/// A container, as asked for and as it last stood.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Record {
    /// 64 hexadecimal digits.
    pub id: String,
    /// Its name, without a slash.
    pub name: String,
    /// When it was made, RFC 3339.
    pub created: String,
    /// The image as the user named it.
    pub image: String,
    /// The digest of the image's config.
    pub image_id: Option<Digest>,
    /// The image's tree; none for an image without layers.
    pub chain: Option<Digest>,
    /// What runs: the request with the image's defaults filled in.
    pub config: Config,
    /// How it runs on this host.
    pub host: HostConfig,
    /// The networks asked for.
    pub networking: NetworkingConfig,
    /// Binds, volumes, images and those memory file systems that were asked for in the long form.
    pub mounts: Vec<MountRecord>,
    /// The first of the host's ids that its own user namespace has; none shares the host's.
    pub users: Option<u32>,
    /// What keeps its write layer within a limit.
    pub layer_limit: Option<LayerLimit>,
    /// It left every network it was on, and joins none when it is started.
    pub alone: bool,
    /// Its places on networks while it runs, by the network's name.
    pub endpoints: BTreeMap<String, EndpointRecord>,
    /// Its ports on the host while it runs.
    pub ports: Vec<PortRecord>,
    /// Its place as earlier versions wrote it.
    #[serde(skip_serializing)]
    pub endpoint: Option<OldEndpoint>,
    /// Everything that changes.
    pub state: State,
}

impl teu_store::Record for Record {
    fn refers_to(&self) -> Vec<Digest> {
        let images = self.mounts.iter().filter_map(|mount| mount.image.as_ref());
        let mounted = images.flat_map(|image| std::iter::once(&image.id).chain(&image.chain));
        self.chain.iter().chain(&self.image_id).chain(mounted).cloned().collect()
    }
}

impl Record {
    /// The part its life depends on.
    #[must_use]
    pub fn policy(&self) -> Policy {
        let tries = u32::try_from(self.host.restart_policy.maximum_retry_count).unwrap_or(0);
        let restart = match self.host.restart_policy.name.as_str() {
            "always" => Restart::Always,
            "unless-stopped" => Restart::UnlessStopped,
            "on-failure" => Restart::OnFailure(tries),
            _ => Restart::No,
        };
        Policy {
            restart,
            auto_remove: self.host.auto_remove,
            retries: health::command(&self.config).map(|_| health::retries(&self.config)),
            on_unhealthy: health::OnFailure::parse(&self.host.health_on_failure).unwrap_or_default(),
        }
    }

    /// Calls a volume otherwise wherever it occurs; `data` is where its files are now.
    pub(crate) fn rename_volume(&mut self, old: &str, new: &str, data: &Path) {
        let data = data.display().to_string();
        for mount in self.mounts.iter_mut().filter(|mount| mount.volume() == Some(old)) {
            new.clone_into(&mut mount.point.name);
            mount.point.source.clone_from(&data);
            if mount.asked.source == old {
                new.clone_into(&mut mount.asked.source);
            }
        }
        for bind in &mut self.host.binds {
            if let Some(rest) = bind.strip_prefix(old).filter(|rest| rest.starts_with(':')) {
                *bind = format!("{new}{rest}");
            }
        }
        for mount in self.host.mounts.iter_mut().filter(|mount| mount.kind == "volume" && mount.source == old) {
            new.clone_into(&mut mount.source);
        }
    }

    /// Entrypoint and command as one list.
    #[must_use]
    pub fn words(&self) -> Vec<String> {
        let parts = [&self.config.entrypoint, &self.config.cmd];
        parts.into_iter().flatten().flatten().cloned().collect()
    }
}
