//! The distribution protocol, both ends: [`client`] fetches images from registries and sends them there, [`server`] is a
//! registry.
//!
//! Both stand on `teu_store`: every byte that arrives goes through its `BlobWriter`, which hashes as it writes, so
//! neither end ever holds a whole blob in memory nor trusts a digest that it did not compute. What images *mean* (names,
//! records, events) is the engine's; this room only moves them.

mod body;
pub mod client;
pub mod server;
mod sources;
