//! BuildKit's protocol, in front of the builder: what `docker build` with buildx, `docker compose build` and `docker buildx
//! bake` speak.
//!
//! ```text
//! client ── /session ──▶  the daemon asks: files, credentials, secrets, agents        (session, files, requester)
//! client ── /grpc ─────▶  Control.Solve ─ LLBBridge.Solve ─▶ builder ─ LLBBridge.Return ─▶ image | tree | tar   (job)
//!                         Control.Status ◀─ steps, their progress and output          (board)
//! ```
//!
//! The frontend is teu's own: a build is described by the attributes of `dockerfile.v0` ([`attributes`]), whatever image
//! `# syntax` names.
//!
//! Deliberately absent: the low-level language (LLB), so frontends that run as containers; caches that are imported and exported;
//! attestations; several platforms in one build; the history of builds.

mod attributes;
mod board;
mod classic;
mod earlier;
mod export;
mod files;
mod job;
mod reference;
mod requester;
mod service;
mod session;
mod solve;
mod usage;
mod waiting;
mod wire;

pub use classic::{Build, Source};
pub use session::ID as SESSION_ID;

use std::sync::Arc;

use http::HeaderMap;
use teu_engine::Engine;

/// The front of one daemon.
#[derive(Clone)]
pub struct Buildkit(Arc<Inner>);

struct Inner {
    engine: Engine,
    sessions: session::Sessions,
    jobs: job::Jobs,
    uploads: classic::Uploads,
    earlier: earlier::Earlier,
}

impl Buildkit {
    /// A front of an engine.
    #[must_use]
    pub fn new(engine: Engine) -> Self {
        Self(Arc::new(Inner {
            engine,
            sessions: session::Sessions::default(),
            jobs: job::Jobs::default(),
            uploads: classic::Uploads::default(),
            earlier: earlier::Earlier::default(),
        }))
    }

    /// Holds a client's session, which `headers` describe, until the client leaves.
    pub async fn session<I>(&self, headers: &HeaderMap, io: I)
    where
        I: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
    {
        self.0.sessions.hold(headers, io).await;
    }

    /// Whether a session of the id that `headers` name is open.
    #[must_use]
    pub fn has_session(&self, headers: &HeaderMap) -> bool {
        headers.get(session::ID).and_then(|id| id.to_str().ok()).is_some_and(|id| self.0.sessions.has(id))
    }

    /// Forgets what clients have sent, and returns when that is gone from the disk.
    pub async fn forget(&self) {
        self.0.earlier.clear().await;
    }

    /// Serves a client's calls until it leaves.
    pub async fn serve<I>(&self, io: I)
    where
        I: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
    {
        service::serve(self.clone(), io).await;
    }
}
