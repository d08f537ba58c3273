//! `/_ping`, `/version`, `/info`, `/auth`, `/system/df`; and the paths of what teu does not have: swarm, plugins.

use std::sync::LazyLock;

use axum::Extension;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue, StatusCode, header};
use teu_api::system::{AuthConfig, AuthResponse, ping};
use teu_engine::Engine;
use teu_registry::client::{Auth, Client};

use super::{Doors, ok, to_value};
use crate::body::Json;
use crate::compat::{self, Version};
use crate::failure::{Answer, Failure};
use crate::openapi;

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
        .open("PluginList", plugin_list);
    let doors = swarm.fold(doors, |doors, id| doors.open(id, no_swarm));
    plugins.fold(doors, |doors, id| doors.open(id, no_plugins))
}

/// The OpenAPI document: it is the same as long as the program runs.
async fn document() -> Answer {
    static DOCUMENT: LazyLock<String> = LazyLock::new(|| openapi::document().to_string());
    Ok(([(header::CONTENT_TYPE, "application/json")], DOCUMENT.as_str()).into_response())
}

/// How clients that know several ways shall build: `1` as the classic builder, `2` as BuildKit.
#[derive(Clone, Copy)]
pub(super) struct Builder(pub(super) &'static str);

async fn pong(Extension(builder): Extension<Builder>) -> Response {
    with_ping_headers("OK".into_response(), builder)
}

async fn pong_head(Extension(builder): Extension<Builder>) -> Response {
    let mut response = with_ping_headers(Response::default(), builder);
    response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
    response
}

fn with_ping_headers(mut response: Response, builder: Builder) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, no-store, must-revalidate"));
    headers.insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
    headers.insert(lower(ping::BUILDER_VERSION), HeaderValue::from_static(builder.0));
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
