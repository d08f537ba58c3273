//! A repository that something is brought to: what can be said to its registry without a store of our own.

use std::sync::Arc;

use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, StatusCode};
use teu_oci::{Digest, Reference};

use super::Error;
use super::auth::{Scope, escape};
use super::exchange::{Ask, Exchange, Payload, Url};

/// A repository, and whom to ask.
#[derive(Clone)]
pub(super) struct Target {
    pub(super) exchange: Arc<Exchange>,
    pub(super) reference: Reference,
}

impl Target {
    pub(super) fn scope(&self) -> Scope {
        Scope::push(self.reference.domain(), self.reference.path())
    }

    pub(super) async fn url(&self, rest: &str) -> Result<Url, Error> {
        let origin = self.exchange.registry(self.reference.domain()).await?;
        Ok(Url { origin, target: format!("/v2/{}/{rest}", self.reference.path()) })
    }

    /// Whether the blob is there.
    pub(super) async fn has(&self, digest: &Digest) -> Result<bool, Error> {
        let what = digest.as_str();
        let ask = Ask {
            what,
            method: Method::HEAD,
            url: self.url(&format!("blobs/{what}")).await?,
            scope: &self.scope(),
            headers: HeaderMap::new(),
            payload: Payload::Nothing,
            accept: &[StatusCode::OK, StatusCode::NOT_FOUND],
        };
        Ok(self.exchange.ask_once(&ask).await?.status() == StatusCode::OK)
    }

    /// Begins an upload: where it goes on, or `None` if the registry has the blob now.
    pub(super) async fn post(&self, what: &str, url: Url, scope: &Scope) -> Result<Option<Url>, Error> {
        let ask = Ask {
            what,
            method: Method::POST,
            url,
            scope,
            headers: HeaderMap::new(),
            payload: Payload::Nothing,
            accept: &[StatusCode::ACCEPTED, StatusCode::CREATED],
        };
        let answer = self.exchange.ask_once(&ask).await?;
        if answer.status() == StatusCode::CREATED {
            return Ok(None);
        }
        let next = answer.header(header::LOCATION).and_then(|location| answer.url.join(location));
        next.map(Some).ok_or_else(|| Error::invalid(what, "registry did not say where to send it"))
    }

    /// Has the registry take a blob from its repository `from`; false when it would rather be sent it.
    pub(super) async fn mount(&self, digest: &Digest, from: &str) -> Result<bool, Error> {
        if self.has(digest).await? {
            return Ok(true);
        }
        let uploads = self.url("blobs/uploads/").await?;
        let url = uploads.with_query("mount", digest.as_str()).with_query("from", &escape(from));
        let open = self.post(digest.as_str(), url, &self.scope().and_pull(from)).await?;
        let Some(url) = open else { return Ok(true) };
        // What was begun instead is given up; one that cannot be ends by itself.
        let ask = Ask {
            what: digest.as_str(),
            method: Method::DELETE,
            url,
            scope: &self.scope(),
            headers: HeaderMap::new(),
            payload: Payload::Nothing,
            accept: &[StatusCode::NO_CONTENT],
        };
        let _ = self.exchange.ask_once(&ask).await;
        Ok(false)
    }

    /// Puts a manifest under a tag or its digest.
    pub(super) async fn manifest(&self, media_type: &str, bytes: Vec<u8>, name: &str) -> Result<(), Error> {
        let what = self.reference.familiar();
        let mut headers = HeaderMap::new();
        let kind = HeaderValue::try_from(media_type);
        headers.insert(header::CONTENT_TYPE, kind.map_err(|error| Error::invalid(&what, error.to_string()))?);
        let ask = Ask {
            what: &what,
            method: Method::PUT,
            url: self.url(&format!("manifests/{name}")).await?,
            scope: &self.scope(),
            headers,
            payload: Payload::Bytes(bytes.into()),
            accept: &[StatusCode::CREATED],
        };
        self.exchange.ask(ask).await.map(drop)
    }
}
