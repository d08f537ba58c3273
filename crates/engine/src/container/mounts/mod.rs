//! A container's mounts: what was asked for, in any of its forms, becomes a list of [`MountRecord`]s when it is made
//! ([`resolve`]), and those become the runtime's mounts each time it starts ([`attach`], [`spec`]).
//!
//! Nothing is mounted on the host for a container: a source is a path, a name or layers, and whatever may not lead
//! out of its source is resolved beneath it by the runtime when the mount is made.

mod attach;
pub(crate) mod parse;
mod resolve;
pub(crate) mod spec;
pub(crate) mod tmpfs;

use serde::{Deserialize, Serialize};
use teu_api::container::{Mount, MountPoint};
use teu_oci::Digest;

/// One mount of a container.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MountRecord {
    /// As `inspect` shows it.
    #[serde(flatten)]
    pub point: MountPoint,
    /// As it was asked for, in the long form.
    #[serde(default)]
    pub asked: Mount,
    /// The image and its tree, for a mount of an image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageMount>,
}

/// What a mount of an image shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageMount {
    /// The image's id.
    pub id: Digest,
    /// Its tree; none for an image without layers.
    pub chain: Option<Digest>,
}

impl MountRecord {
    /// A mount that is nothing but what it shows.
    pub(crate) fn plain(point: MountPoint) -> Self {
        Self { point, ..Self::default() }
    }

    /// The volume's name.
    pub(crate) fn volume(&self) -> Option<&str> {
        (self.point.kind == "volume").then_some(self.point.name.as_str())
    }

    /// Whether its volume was made for the container alone, without a name.
    pub(crate) fn is_anonymous(&self) -> bool {
        self.point.kind == "volume" && self.asked.source.is_empty()
    }
}
