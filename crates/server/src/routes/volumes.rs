//! `/volumes`.

use axum::Router;
use axum::extract::{Path, State};
use axum::routing::{get, post};
use teu_api::volume::CreateRequest;
use teu_engine::Engine;

use super::{created, done, ok};
use crate::body::Json;
use crate::failure::Answer;
use crate::query::Query;

pub(super) fn routes() -> Router<Engine> {
    Router::new()
        .route("/volumes", get(list))
        .route("/volumes/create", post(create))
        .route("/volumes/prune", post(prune))
        .route("/volumes/{name}", get(inspect).delete(remove))
}

async fn list(State(engine): State<Engine>, query: Query) -> Answer {
    ok(engine.volumes.list(&query.filters()?, &engine.containers)?)
}

async fn create(State(engine): State<Engine>, Json(request): Json<CreateRequest>) -> Answer {
    created(engine.volumes.create(request)?)
}

async fn prune(State(engine): State<Engine>, query: Query) -> Answer {
    ok(engine.volumes.prune(&query.filters()?, &engine.containers)?)
}

async fn inspect(State(engine): State<Engine>, Path(name): Path<String>) -> Answer {
    ok(engine.volumes.inspect(&name)?)
}

async fn remove(State(engine): State<Engine>, Path(name): Path<String>, query: Query) -> Answer {
    engine.volumes.remove(&name, query.flag("force"), &engine.containers)?;
    done()
}
