//! One blob, from the store to the registry: not at all if it is there, by mounting if it is next door, else by sending.
//!
//! ```text
//! HEAD ── 200 ─> there
//!   └─ POST ?mount&from ── 201 ─> mounted
//!        └─ 202, or POST ── 202 ─> PUT ?digest, the whole blob with its length known
//! ```

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, StatusCode};
use teu_oci::Descriptor;
use teu_store::Store;

use super::auth::escape;
use super::download::blocking;
use super::exchange::{Ask, Payload, Url};
use super::retry::Attempts;
use super::target::Target;
use super::{Error, Progress};
use crate::sources::Hints;

/// Repositories tried as the source of a mount.
const MOST_MOUNTS: usize = 3;
const REPORT_EVERY: Duration = Duration::from_millis(100);

/// Where the blobs of one push go.
#[derive(Clone)]
pub(super) struct Destination {
    pub(super) target: Target,
    pub(super) store: Store,
    pub(super) hints: Arc<Hints>,
    pub(super) progress: Arc<dyn Progress>,
}

/// How a blob came to be at the registry.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Arrived {
    /// It was there.
    Before,
    /// The registry took it from this other repository.
    Mounted(String),
    /// It was sent.
    Sent,
}

/// What beginning an upload led to.
enum Session {
    Mounted(String),
    Open(Url),
}

impl Destination {
    /// Brings a blob there.
    pub(super) async fn blob(&self, descriptor: &Descriptor) -> Result<Arrived, Error> {
        let mut attempts = Attempts::new(self.target.exchange.config.retry);
        loop {
            match self.attempt(descriptor).await {
                Ok(arrived) => {
                    self.hints.remember(&descriptor.digest, &self.target.reference);
                    return Ok(arrived);
                }
                Err(error) => attempts.after(error).await?,
            }
        }
    }

    async fn attempt(&self, descriptor: &Descriptor) -> Result<Arrived, Error> {
        if self.target.has(&descriptor.digest).await? {
            return Ok(Arrived::Before);
        }
        match self.begin(descriptor).await? {
            Session::Mounted(from) => Ok(Arrived::Mounted(from)),
            Session::Open(url) => {
                self.send(descriptor, &url).await?;
                Ok(Arrived::Sent)
            }
        }
    }

    async fn begin(&self, descriptor: &Descriptor) -> Result<Session, Error> {
        let uploads = self.target.url("blobs/uploads/").await?;
        let digest = descriptor.digest.as_str();
        for from in self.hints.elsewhere(&descriptor.digest, &self.target.reference).iter().take(MOST_MOUNTS) {
            let url = uploads.with_query("mount", digest).with_query("from", &escape(from));
            match self.target.post(digest, url, &self.target.scope().and_pull(from)).await {
                Ok(None) => return Ok(Session::Mounted(from.clone())),
                Ok(Some(url)) => return Ok(Session::Open(url)),
                // We may not read there, or it is gone: that is no reason not to send.
                Err(Error::Unauthorized { .. } | Error::Denied { .. } | Error::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        match self.target.post(digest, uploads, &self.target.scope()).await? {
            Some(url) => Ok(Session::Open(url)),
            None => Err(Error::invalid(digest, "was taken before it was sent")),
        }
    }

    async fn send(&self, descriptor: &Descriptor, url: &Url) -> Result<(), Error> {
        let what = descriptor.digest.as_str();
        let (blobs, digest) = (self.store.blobs().clone(), descriptor.digest.clone());
        let file = blocking(move || blobs.open(&digest)).await?;
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        let ask = Ask {
            what,
            method: Method::PUT,
            url: url.with_query("digest", what),
            scope: &self.target.scope(),
            headers,
            payload: Payload::File(Arc::new(file), descriptor.size, self.meter(descriptor)),
            accept: &[StatusCode::CREATED],
        };
        self.target.exchange.ask_once(&ask).await.map(drop)
    }

    /// Says how much of a blob has gone, not too often.
    fn meter(&self, descriptor: &Descriptor) -> Arc<dyn Fn(u64) + Send + Sync> {
        let (progress, id, total) = (self.progress.clone(), descriptor.digest.short().to_string(), descriptor.size);
        let told = Mutex::new(Instant::now());
        Arc::new(move |sent| {
            let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
            if told.elapsed() >= REPORT_EVERY {
                *told = Instant::now();
                progress.update(&id, "Pushing", sent, total);
            }
        })
    }
}
