//! Searching an index for repositories: `GET /v1/search`, of the first protocol of registries and still what Docker Hub answers.
//! The distribution specification has nothing of the kind.

use http::{HeaderMap, Method, StatusCode};
use serde::Deserialize;

use super::auth::{Scope, escape};
use super::error::Error;
use super::exchange::{Ask, Exchange, Payload, Url};

/// Where Docker Hub is searched.
const INDEX: &str = "index.docker.io";
const LARGEST: usize = 4 << 20;

/// A repository that was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Found {
    /// Its name.
    pub name: String,
    /// What it is.
    pub description: Option<String>,
    /// How many like it.
    pub star_count: i64,
    /// Whether it is one of the index's own.
    pub is_official: bool,
}

#[derive(Deserialize)]
struct Results {
    #[serde(default)]
    results: Vec<Found>,
}

/// Asks the index of `domain` for at most `limit` repositories.
pub(super) async fn search(exchange: &Exchange, domain: &str, term: &str, limit: u32) -> Result<Vec<Found>, Error> {
    let host = if domain == "docker.io" { INDEX } else { domain };
    let origin = exchange.registry(host).await?;
    let ask = Ask {
        what: host,
        method: Method::GET,
        url: Url { origin, target: format!("/v1/search?q={}&n={limit}", escape(term)) },
        scope: &Scope::none(domain),
        headers: HeaderMap::new(),
        payload: Payload::Nothing,
        accept: &[StatusCode::OK],
    };
    let answer = exchange.ask(ask).await?;
    let bytes = exchange.read(host, answer, LARGEST).await?;
    let results: Results = serde_json::from_slice(&bytes)
        .map_err(|error| Error::invalid(host, format!("answered a search with no list: {error}")))?;
    Ok(results.results)
}
