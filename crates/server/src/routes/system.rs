//! `/_ping`, `/version`, `/info`, `/auth`, `/system/df`; and the paths of what teu does not have: swarm, plugins.

use std::sync::LazyLock;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use hyper_util::rt::TokioIo;
use teu_api::system::{AuthConfig, AuthResponse, ping};
use teu_engine::Engine;
use teu_registry::client::{Auth, Client};

use super::{Doors, ok, to_value};
use crate::body::Json;
use crate::compat::{self, Version};
use crate::failure::{Answer, Failure};
use crate::hijack::Hijack;
use crate::openapi;
use crate::sniff;

pub(super) fn doors() -> Doors {
    let [swarm, plugins] = openapi::absent();
    let doors = Doors::default()
        .open("SystemPing", pong)
        .open("SystemPingHead", pong_head)
        .open("SystemVersion", version)
        .open("SystemInfo", info)
        .open("SystemAuth", auth)
        .open("SystemDataUsage", super::usage::disk_usage)
        .open("OpenApi", document)
        .open("PluginList", plugin_list)
        .open("Session", session)
        .open("Grpc", no_session);
    let doors = swarm.fold(doors, |doors, id| doors.open(id, no_swarm));
    plugins.fold(doors, |doors, id| doors.open(id, no_plugins))
}

/// The OpenAPI document: it is the same as long as the program runs.
async fn document() -> Answer {
    static DOCUMENT: LazyLock<String> = LazyLock::new(|| openapi::document().to_string());
    Ok(([(header::CONTENT_TYPE, "application/json")], DOCUMENT.as_str()).into_response())
}

async fn pong() -> Response {
    with_ping_headers("OK".into_response())
}

async fn pong_head() -> Response {
    let mut response = with_ping_headers(Response::default());
    response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
    response
}

fn with_ping_headers(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, no-store, must-revalidate"));
    headers.insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
    // The classic protocol: a context in, messages out.
    headers.insert(lower(ping::BUILDER_VERSION), HeaderValue::from_static("1"));
    headers.insert(lower(ping::SWARM), HeaderValue::from_static("inactive"));
    response
}

fn lower(name: &str) -> HeaderName {
    HeaderName::from_bytes(name.as_bytes()).unwrap_or(header::WARNING)
}

async fn version(State(engine): State<Engine>) -> Answer {
    ok(engine.version())
}

async fn info(State(engine): State<Engine>, version: Version) -> Answer {
    ok(compat::info(version, to_value(engine.info()?)))
}

/// Checks credentials with the registry they are for.
async fn auth(State(engine): State<Engine>, Json(auth): Json<AuthConfig>) -> Answer {
    let domain = registry(&auth.server_address).to_owned();
    let credentials = Auth {
        registry: domain.clone(),
        username: auth.username,
        password: auth.password,
        identity_token: auth.identity_token,
        registry_token: auth.registry_token,
    };
    let teu_engine::Registries { insecure, proxies, .. } = engine.images.registries();
    let client = Client::new(teu_registry::client::Config {
        insecure,
        proxies,
        auth: Some(credentials),
        ..teu_registry::client::Config::default()
    });
    client.login(&domain).await.map_err(|error| match error {
        teu_registry::client::Error::Unauthorized { .. } => Failure::new(StatusCode::UNAUTHORIZED, error.to_string()),
        error if error.is_theirs() => Failure::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
        error => Failure::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    })?;
    ok(AuthResponse { status: "Login Succeeded".into(), ..AuthResponse::default() })
}

/// `https://index.docker.io/v1/`, as clients' files have it, is the registry `docker.io`.
fn registry(address: &str) -> &str {
    let address = address.split_once("://").map_or(address, |(_, rest)| rest);
    match address.split('/').next().unwrap_or(address) {
        "" | "index.docker.io" | "registry-1.docker.io" => "docker.io",
        host => host,
    }
}

async fn plugin_list() -> Answer {
    ok(Vec::<()>::new())
}

async fn no_plugins() -> Failure {
    Failure::new(StatusCode::NOT_IMPLEMENTED, "managed plugins are not supported by teu")
}

async fn no_swarm() -> Failure {
    Failure::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to connect this node to \
         swarm and try again.",
    )
}

/// A builder's client offers what it has (credentials, files) over a connection of its own. It is taken and held; nothing
/// is asked over it, for whatever a build needs comes with its request.
async fn session(headers: HeaderMap, hijack: Hijack) -> Answer {
    let protocol = headers.get(header::UPGRADE).map(|value| String::from_utf8_lossy(value.as_bytes()));
    let upgrade = match protocol.as_deref() {
        None | Some("" | sniff::RAW) => return Err(Failure::bad("no upgrade proto in request")),
        Some("h2c") => hijack.into_upgrade(),
        Some(other) => return Err(Failure::bad(format!("protocol {other} not supported"))),
    };
    let Some(upgrade) = upgrade else {
        return Err(Failure::bad("this connection cannot be upgraded to h2c"));
    };
    tokio::spawn(async move {
        if let Ok(connection) = upgrade.await {
            let _ = tokio::io::copy(&mut TokioIo::new(connection), &mut tokio::io::sink()).await;
        }
    });
    let headers = [(header::CONNECTION, "Upgrade"), (header::UPGRADE, "h2c")];
    Ok((StatusCode::SWITCHING_PROTOCOLS, headers).into_response())
}

async fn no_session() -> Failure {
    Failure::new(StatusCode::NOT_IMPLEMENTED, "BuildKit sessions are not there yet: build with DOCKER_BUILDKIT=0")
}
