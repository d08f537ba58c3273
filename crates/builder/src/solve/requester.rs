//! What a build asks, while it runs, of whoever wants it.

use std::fmt;

use futures_util::future::BoxFuture;
use teu_api::system::AuthConfig;
use tokio::net::UnixStream;

use crate::Error;

/// Whoever wants a build and can be asked while it runs: a client that keeps its credentials, secrets and agents to itself
/// until they are needed.
pub trait Requester: fmt::Debug + Send + Sync {
    /// Credentials for the registry of a domain, as references have it; none if there are none.
    fn credentials<'r>(&'r self, domain: &'r str) -> BoxFuture<'r, Result<Option<AuthConfig>, Error>>;

    /// A secret by its id; none if there is none.
    fn secret<'r>(&'r self, id: &'r str) -> BoxFuture<'r, Result<Option<Vec<u8>>, Error>>;

    /// Whether there is an ssh agent of that id.
    fn has_agent<'r>(&'r self, id: &'r str) -> BoxFuture<'r, Result<bool, Error>>;

    /// Connects a process with an ssh agent, until one of them has enough.
    fn agent<'r>(&'r self, id: &'r str, process: UnixStream) -> BoxFuture<'r, Result<(), Error>>;
}
