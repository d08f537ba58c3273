//! The Docker Engine API, as data: what crosses the socket in either direction, and nothing else.
//!
//! Both doors use it: the server answers with these types and the command line asks with them. Deserialising is as
//! tolerant as Go's: a missing member and `null` are the default value, an unknown member is ignored. Shapes are those
//! of [`API_VERSION`]; older ones are upgraded by the server before they become these types. Each type also says what it
//! looks like ([`shape`]).
//! Deliberately absent: routes, behaviour, validation.

#[macro_use]
mod wire;

pub mod build;
pub mod container;
pub mod error;
pub mod event;
pub mod exec;
pub mod filters;
pub mod image;
pub mod network;
pub mod path;
pub mod shape;
pub mod stream;
pub mod system;
pub mod volume;

pub use error::ErrorBody;
pub use filters::Filters;
pub use teu_oci::{Descriptor, Empty, Healthcheck, Platform, Reference, ReferenceError, size, time};

/// The newest Engine API version spoken.
pub const API_VERSION: &str = "1.56";

/// The version that our own command line speaks: the last that tells the default bridge's addresses by themselves, as
/// people's templates (`{{.NetworkSettings.IPAddress}}`) want them.
pub const CLIENT_VERSION: &str = "1.51";

/// The oldest Engine API version a client may ask for.
pub const MIN_API_VERSION: &str = "1.24";
