//! Trees of files from git repositories: what their URLs mean, and how a checkout comes to be.
//!
//! ```text
//! text ─ GitUrl::context | source ─▶ GitUrl ─ resolve ─▶ Resolved { commit } ─ checkout ─▶ Checkout { folder, commit }
//!                                             ls-remote                        init, fetch, checkout, submodule update
//! ```
//!
//! The grammar is that of BuildKit (<https://docs.docker.com/build/concepts/context/#git-repositories>) and pure. The work is
//! done by the machine's own program `git`, which ends when the future that waits for it is dropped.
//!
//! A repository is somebody else's: only HTTP, HTTPS, SSH and git's own protocol are spoken, also to submodules; no hook runs;
//! nothing that is named can be taken for an option; and what a name leads to stays in the repository. Nobody is asked
//! anything, and for [`Identity::Nobody`] the settings and keys of whoever runs this process are out of sight.
//!
//! Deliberately absent: a git implementation, pushing, and a cache of repositories.

mod checkout;
mod command;
mod error;
mod url;

pub use checkout::{Checkout, Identity, Options, Resolved, checkout, checkout_resolved, resolve};
pub use error::Error;
pub use url::{GitUrl, UrlError};
