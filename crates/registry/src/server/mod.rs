//! The registry: the distribution specification 1.1 (with what its next version adds to uploads and tags) on a store.
//!
//! | Endpoint | File |
//! |---|---|
//! | `/v2/`, `_catalog`, `tags/list`, `referrers` | `tags` |
//! | `manifests/<reference>` | `manifests` |
//! | `blobs/<digest>` | `blobs` |
//! | `blobs/uploads/` | `uploads` |
//!
//! Every path goes through `path`, which knows the forms of names, before anything else sees it. What blocks (files,
//! hashes) runs on threads that may. No TLS here: the listener is the caller's choice.

mod auth;
mod blobs;
mod error;
mod manifests;
mod path;
mod repositories;
mod tags;
mod uploads;

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Query, Request, State};
use axum::response::{IntoResponse, Response};
use http::header::{self, HeaderName, HeaderValue};
use http::{Method, Uri};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use teu_store::Store;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

pub use auth::Account;
use error::{Code, Error};
use path::Endpoint;
use repositories::Repositories;

const API_VERSION: (HeaderName, HeaderValue) =
    (HeaderName::from_static("docker-distribution-api-version"), HeaderValue::from_static("registry/2.0"));
const DIGEST_HEADER: HeaderName = HeaderName::from_static("docker-content-digest");
/// How long a client may take over the head of a request.
const HEAD_PATIENCE: Duration = Duration::from_secs(30);
/// How long requests under way may go on after the registry was asked to end.
const LAST_REQUESTS: Duration = Duration::from_secs(10);
/// A pause when no connection can be accepted, as when descriptors have run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
const MOST_CONNECTIONS: usize = 1024;
/// Blobs received at once; who comes later is asked to come again.
const MOST_RECEIVING: usize = 256;
const LARGEST_READ: usize = 1 << 20;

/// How a registry behaves.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Who is let in; everybody if `None`.
    pub account: Option<Account>,
    /// How long a client may be silent in the middle of a body.
    pub stall: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self { account: None, stall: Duration::from_secs(60) }
    }
}

/// What the handlers share.
struct Registry {
    store: Store,
    repositories: Repositories,
    settings: Settings,
    /// Turns at sending us a blob: each may have some memory.
    receiving: Semaphore,
}

type Answer = Result<Response, Error>;

/// The registry of `store` as a service, open to everybody who can reach it.
///
/// # Errors
/// When the records of the repositories cannot be read.
pub fn router(store: Store) -> Result<Router, teu_store::Error> {
    router_with(store, Settings::default())
}

/// The same with other settings.
///
/// # Errors
/// When the records of the repositories cannot be read.
pub fn router_with(store: Store, settings: Settings) -> Result<Router, teu_store::Error> {
    let repositories = Repositories::open(&store)?;
    let registry = Registry { repositories, store, settings, receiving: Semaphore::new(MOST_RECEIVING) };
    Ok(Router::new().fallback(handle).with_state(Arc::new(registry)))
}

/// Serves `router` on `listener` until `shutdown` is ready, then lets the requests under way finish.
///
/// # Errors
/// When the listener fails for good.
pub async fn serve(listener: TcpListener, router: Router, shutdown: impl Future<Output = ()>) -> io::Result<()> {
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_PATIENCE).max_buf_size(LARGEST_READ);
    let graceful = GracefulShutdown::new();
    let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    tokio::pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            accepted = accept(&listener, &places) => accepted,
        };
        let (stream, place) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let _ = stream.set_nodelay(true);
        let service = TowerToHyperService::new(router.clone());
        let connection = graceful.watch(builder.serve_connection(TokioIo::new(stream), service));
        tokio::spawn(async move {
            let _place = place;
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection to the registry ended");
            }
        });
    }
    if tokio::time::timeout(LAST_REQUESTS, graceful.shutdown()).await.is_err() {
        tracing::warn!("requests were still under way when the registry ended");
    }
    Ok(())
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> io::Result<(tokio::net::TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let place = places.clone().acquire_owned().await.map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    Ok((stream, place))
}

async fn handle(State(registry): State<Arc<Registry>>, request: Request) -> Response {
    let mut response = registry.answer(request).await.unwrap_or_else(IntoResponse::into_response);
    let (name, value) = API_VERSION;
    response.headers_mut().insert(name, value);
    response
}

impl Registry {
    async fn answer(self: Arc<Self>, request: Request) -> Answer {
        if let Some(account) = &self.settings.account {
            account.check(request.headers())?;
        }
        let endpoint = Endpoint::of(request.uri())?;
        let method = request.method().clone();
        match endpoint {
            Endpoint::Base => match method {
                Method::GET | Method::HEAD => Ok(axum::Json(serde_json::json!({})).into_response()),
                _ => Err(unsupported()),
            },
            Endpoint::Catalog if method == Method::GET => self.catalog(&Parameters::of(request.uri())?),
            Endpoint::Tags { name } if method == Method::GET => self.list_tags(&name, &Parameters::of(request.uri())?),
            Endpoint::Referrers { name, digest } if method == Method::GET => {
                self.referrers(&name, &digest, &Parameters::of(request.uri())?)
            }
            Endpoint::Manifest { name, reference } => match method {
                Method::GET | Method::HEAD => self.get_manifest(name, reference, method == Method::HEAD).await,
                Method::PUT => self.put_manifest(name, reference, request).await,
                Method::DELETE => self.delete_manifest(name, reference).await,
                _ => Err(unsupported()),
            },
            Endpoint::Blob { name, digest } => match method {
                Method::GET | Method::HEAD => {
                    let range = request.headers().get(header::RANGE).cloned();
                    self.get_blob(&name, digest, range.as_ref(), method == Method::HEAD).await
                }
                Method::DELETE => self.delete_blob(name, digest).await,
                _ => Err(unsupported()),
            },
            Endpoint::Uploads { name } if method == Method::POST => self.begin_upload(name, request).await,
            Endpoint::Upload { name, id } => match method {
                Method::GET => self.upload_status(name, id).await,
                Method::PATCH => self.append(name, id, request).await,
                Method::PUT => self.finish_upload(name, id, request).await,
                Method::DELETE => self.cancel_upload(name, id).await,
                _ => Err(unsupported()),
            },
            _ => Err(unsupported()),
        }
    }

    /// Runs what blocks where it may.
    async fn blocking<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let registry = self.clone();
        let done = tokio::task::spawn_blocking(move || work(&registry)).await;
        done.map_err(|error| Error::Internal(error.to_string()))?
    }
}

fn unsupported() -> Error {
    Error::new(Code::Unsupported, "no such method here")
}

/// A response whose headers are all ours; what cannot be a header is our fault.
fn respond(status: http::StatusCode, headers: &[(HeaderName, &str)], body: Body) -> Answer {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    for (name, value) in headers {
        let value = HeaderValue::try_from(*value).map_err(|error| Error::Internal(error.to_string()))?;
        response.headers_mut().append(name, value);
    }
    Ok(response)
}

/// The query of a request.
struct Parameters(Vec<(String, String)>);

impl Parameters {
    fn of(uri: &Uri) -> Result<Self, Error> {
        let parsed = Query::<Vec<(String, String)>>::try_from_uri(uri);
        parsed.map(|Query(pairs)| Self(pairs)).map_err(|error| Error::new(Code::Unsupported, error.body_text()))
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(have, _)| have == name).map(|(_, value)| value.as_str())
    }

    fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(have, _)| have == name).map(|(_, value)| value.as_str())
    }
}
