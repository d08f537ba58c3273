//! `/networks`.

use axum::extract::{Path, State};
use axum::response::IntoResponse;
use http::{Method, StatusCode};
use teu_api::network::{ConnectRequest, CreateRequest, DisconnectRequest};
use teu_engine::Engine;

use super::{Doors, blocking, created, done, ok, prune_mode};
use crate::body::Json;
use crate::compat::Version;
use crate::failure::{Answer, Failure};
use crate::openapi::Verb;
use crate::query::Query;

pub(super) fn doors() -> Doors {
    Doors::default()
        .open("NetworkList", list)
        .also("/networks/", Verb::Get, list)
        .open("NetworkCreate", create)
        .open("NetworkPrune", prune)
        .open("NetworkPrunePreview", prune)
        .open("NetworkInspect", inspect)
        .open("NetworkDelete", remove)
        .open("NetworkConnect", connect)
        .open("NetworkDisconnect", disconnect)
}

async fn list(State(engine): State<Engine>, query: Query) -> Answer {
    ok(engine.networks.list(&query.filters()?)?)
}

async fn create(State(engine): State<Engine>, version: Version, Json(mut request): Json<CreateRequest>) -> Answer {
    if version < Version::minor(48) {
        request.enable_ipv4 = None;
    }
    created(blocking(move || engine.networks.create(&request)).await?)
}

/// `GET` says what `POST` would remove.
async fn prune(State(engine): State<Engine>, method: Method, query: Query) -> Answer {
    let mode = prune_mode(&method);
    let filters = query.filters_among(&["until", "label", "label!"])?;
    let in_use = engine.containers.networks_in_use();
    ok(blocking(move || engine.networks.prune(&filters, &in_use, mode)).await?)
}

async fn inspect(State(engine): State<Engine>, Path(id): Path<String>, query: Query) -> Answer {
    let missing = || Failure::new(StatusCode::NOT_FOUND, format!("network {id} not found"));
    match query.text("scope") {
        None | Some("" | "local") => ok(engine.networks.inspect(&id)?),
        // Networks of other scopes are a swarm's.
        Some(_) => Err(missing()),
    }
}

async fn remove(State(engine): State<Engine>, Path(id): Path<String>) -> Answer {
    blocking(move || engine.networks.remove(&id)).await?;
    done()
}

async fn connect(State(engine): State<Engine>, Path(id): Path<String>, Json(request): Json<ConnectRequest>) -> Answer {
    let container = engine.containers.find(&request.container)?;
    container.connect(&id, request.endpoint_config.unwrap_or_default()).await?;
    Ok(StatusCode::OK.into_response())
}

async fn disconnect(
    State(engine): State<Engine>,
    Path(id): Path<String>,
    Json(request): Json<DisconnectRequest>,
) -> Answer {
    let container = engine.containers.find(&request.container)?;
    container.disconnect(&id, request.force).await?;
    Ok(StatusCode::OK.into_response())
}
