//! `/networks`.

use axum::Router;
use axum::extract::{Path, State};
use axum::routing::{get, post};
use http::StatusCode;
use teu_api::network::{ConnectRequest, CreateRequest, DisconnectRequest, PruneReport};
use teu_engine::Engine;

use super::ok;
use crate::body::Json;
use crate::failure::{Answer, Failure};
use crate::query::Query;

pub(super) fn routes() -> Router<Engine> {
    Router::new()
        .route("/networks", get(list))
        .route("/networks/create", post(create))
        .route("/networks/prune", post(prune))
        .route("/networks/{id}", get(inspect).delete(remove))
        .route("/networks/{id}/connect", post(connect))
        .route("/networks/{id}/disconnect", post(disconnect))
}

async fn list(State(engine): State<Engine>, query: Query) -> Answer {
    ok(engine.networks.list(&query.filters()?)?)
}

async fn create(State(engine): State<Engine>, Json(request): Json<CreateRequest>) -> Answer {
    Err(engine.networks.refuse(&format!("create {}", request.name)).into())
}

/// Only networks that users made are ever pruned.
async fn prune(query: Query) -> Answer {
    query.filters_among(&["until", "label", "label!"])?;
    ok(PruneReport::default())
}

async fn inspect(State(engine): State<Engine>, Path(id): Path<String>) -> Answer {
    ok(engine.networks.inspect(&id)?)
}

async fn remove(State(engine): State<Engine>, Path(id): Path<String>) -> Answer {
    let name = engine.networks.inspect(&id)?.name;
    let sentence = format!("{name} is a pre-defined network and cannot be removed");
    Err(Failure::new(StatusCode::FORBIDDEN, sentence))
}

async fn connect(State(engine): State<Engine>, Path(id): Path<String>, Json(request): Json<ConnectRequest>) -> Answer {
    engine.containers.find(&request.container)?;
    Err(engine.networks.refuse(&format!("connect {}", engine.networks.inspect(&id)?.name)).into())
}

async fn disconnect(
    State(engine): State<Engine>,
    Path(id): Path<String>,
    Json(request): Json<DisconnectRequest>,
) -> Answer {
    engine.containers.find(&request.container)?;
    Err(engine.networks.refuse(&format!("disconnect {}", engine.networks.inspect(&id)?.name)).into())
}
