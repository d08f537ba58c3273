//! The nouns of the OCI specifications, as data.
//!
//! Image spec 1.1 (descriptor, manifest, index, config), distribution references, runtime spec 1.3. Docker's own media
//! types are the same shapes under other names and live here too, and how sizes
//! and times are written in all of them. Deliberately absent: I/O of any kind.

mod change;
mod config;
mod descriptor;
mod digest;
mod manifest;
pub mod media_type;
mod platform;
mod reference;
pub mod runtime;
pub mod size;
pub mod time;

pub use change::{ChangeError, ConfigChange};
pub use config::{ContainerConfig, Empty, Healthcheck, History, ImageConfig, RootFs};
pub use descriptor::Descriptor;
pub use digest::{Digest, DigestError, DigestHasher, chain_id, chain_ids};
pub use manifest::{Index, Manifest};
pub use platform::Platform;
pub use reference::{Reference, ReferenceError, split_domain};
