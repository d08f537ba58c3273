//! A Dockerfile becomes an image.
//!
//! ```text
//! text ─ dockerfile::parse ─▶ Dockerfile ─ plan::plan ─▶ Plan ─ build ─▶ image
//! ```
//!
//! The language ([`dockerfile`]) and the plan ([`plan`]) are pure: no file, image or clock. [`build`] carries the plan
//! out through the engine's own doors, like any of its users: a step is a task or a copy between two snapshots, its
//! result a layer in the store, and the image a record of the engine's. No tarball crosses from builder to engine.
//!
//! Deliberately absent: HTTP, the wire format of requests, and a second way to run a process.

pub mod dockerfile;
mod error;
pub mod plan;
pub mod progress;
pub mod solve;
pub mod usage;

pub use error::Error;
pub use progress::Progress;
pub use solve::{
    Built, Cache, Context, Entitlements, Named, Options, Output, Requester, Secrets, Solved, build, export, solve,
};
pub use teu_git::GitUrl;
