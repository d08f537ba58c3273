//! What is on disk: blobs, snapshots, tables of records, leases, and the collection of what nothing refers to.
//!
//! One process opens a store at a time (a lock on `<root>/lock` says so); within it [`Store`] is cheap to clone and
//! shared between threads. Everything becomes visible by one rename, so a process killed at any instant leaves either
//! the old state or the new one, and leftovers that [`Store::open`] clears away.
//!
//! ```text
//! <root>/                 0710
//!   lock                  held while a process has the store open
//!   blobs/                a valid OCI image layout: oci-layout, index.json, sha256/<hex>
//!   uploads/<key>         partial blobs, resumable by key
//!   snapshots/
//!     layers/<hex>/       one per chain ID: fs/ and layer.json
//!     active/<key>/       a writable tree: fs/ (upper), work/, parent -> ../../layers/<hex> | ../../empty
//!     staging/            trees being unpacked or copied
//!     empty/{0,1}         lowers of those who have none
//!   spare/                folders that wait for a name
//!   unsynced/             names of what a power failure could still tear, with the boot they belong to
//!   trash/                renamed here at once, deleted in the background
//!   <table>/<key>.json    records: what is alive
//! ```
//!
//! Deliberately absent: what an image or a container is, compression, networks, async.

mod blobs;
mod collect;
mod error;
mod layout;
mod lease;
mod names;
mod snapshots;
mod spares;
mod store;
mod table;
pub mod tar;
mod trash;
pub mod tree;
mod unsynced;

pub use blobs::{BlobWriter, Blobs, Upload};
pub use collect::Collected;
pub use error::{Error, Result};
pub use lease::Lease;
pub use snapshots::{Change, ChangeKind, Committed, Layer, Snapshots, Unpacked, Usage};
pub use spares::Spares;
pub use store::Store;
pub use table::{Record, Table};

/// What the keys of active snapshots begin with that belong to no container or build step: folders that build steps keep
/// from one build to the next.
pub const CACHE_MOUNT: &str = "cache-mount:";
