//! `/session` and `/grpc`: the connection stops being HTTP/1 and becomes the HTTP/2 of BuildKit's protocol.

use axum::Extension;
use axum::response::IntoResponse;
use http::{HeaderMap, StatusCode, header};
use hyper::upgrade::Upgraded;
use teu_buildkit::{Buildkit, SESSION_ID};

use super::Doors;
use crate::failure::{Answer, Failure};
use crate::hijack::Hijack;
use crate::sniff;

pub(super) fn doors() -> Doors {
    Doors::default().open("Session", session).open("Grpc", grpc)
}

/// A client offers what it has (credentials, files) to the builds that name its session.
async fn session(Extension(front): Extension<Buildkit>, headers: HeaderMap, hijack: Hijack) -> Answer {
    asked(&headers)?;
    if !headers.contains_key(SESSION_ID) {
        return Err(Failure::bad("a session needs an id, in X-Docker-Expose-Session-Uuid"));
    }
    if front.has_session(&headers) {
        return Err(Failure::bad("a session of that id is open"));
    }
    taken(hijack, move |connection| async move { front.session(&headers, connection).await })
}

/// A client builds.
async fn grpc(Extension(front): Extension<Buildkit>, headers: HeaderMap, hijack: Hijack) -> Answer {
    asked(&headers)?;
    taken(hijack, move |connection| async move { front.serve(connection).await })
}

/// Whether the client asks for HTTP/2 on the connection.
fn asked(headers: &HeaderMap) -> Answer<()> {
    let protocol = headers.get(header::UPGRADE).map(|value| String::from_utf8_lossy(value.as_bytes()));
    match protocol.as_deref() {
        None | Some("" | sniff::RAW) => Err(Failure::bad("no upgrade proto in request")),
        Some("h2c") => Ok(()),
        Some(other) => Err(Failure::bad(format!("protocol {other} not supported"))),
    }
}

/// Takes the connection over.
fn taken<F, T>(hijack: Hijack, serve: F) -> Answer
where
    F: FnOnce(Upgraded) -> T + Send + 'static,
    T: Future<Output = ()> + Send + 'static,
{
    let Some(upgrade) = hijack.into_upgrade() else {
        return Err(Failure::bad("this connection cannot be upgraded to h2c"));
    };
    tokio::spawn(async move {
        if let Ok(connection) = upgrade.await {
            serve(connection).await;
        }
    });
    let headers = [(header::CONNECTION, "Upgrade"), (header::UPGRADE, "h2c")];
    Ok((StatusCode::SWITCHING_PROTOCOLS, headers).into_response())
}
