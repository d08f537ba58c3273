//! A container's files as tar: `docker cp` both ways, and export.

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderName, header};
use teu_api::container::PathStat;
use teu_engine::Engine;

use super::Id;
use crate::body::Reader;
use crate::failure::Answer;
use crate::json_lines::fallible_body;
use crate::query::Query;
use crate::routes::blocking;

const STAT: HeaderName = HeaderName::from_static("x-docker-container-path-stat");

pub(super) fn routes() -> Router<Engine> {
    Router::new()
        .route("/containers/{id}/archive", get(read).head(stat).put(write))
        .route("/containers/{id}/export", get(export))
}

async fn read(State(engine): State<Engine>, Path(id): Id, query: Query) -> Answer {
    let (stat, pieces) = engine.containers.find(&id)?.archive(query.required("path")?)?;
    Ok(with_stat(&stat, fallible_body(pieces)))
}

async fn stat(State(engine): State<Engine>, Path(id): Id, query: Query) -> Answer {
    let stat = engine.containers.find(&id)?.stat_path(query.required("path")?)?;
    Ok(with_stat(&stat, Body::empty()))
}

fn with_stat(stat: &PathStat, body: Body) -> Response {
    let stat = STANDARD.encode(serde_json::to_vec(stat).unwrap_or_default());
    ([(STAT, stat.as_str()), (header::CONTENT_TYPE, "application/x-tar")], body).into_response()
}

async fn write(State(engine): State<Engine>, Path(id): Id, query: Query, request: Request) -> Answer {
    let container = engine.containers.find(&id)?;
    let path = query.required("path")?.to_owned();
    let keep_directories = query.flag("noOverwriteDirNonDir");
    let tar = Reader::new(request.into_body());
    blocking(move || container.put_archive(&path, tar, keep_directories)).await?;
    Ok(Response::default())
}

async fn export(State(engine): State<Engine>, Path(id): Id) -> Answer {
    let pieces = engine.containers.find(&id)?.export()?;
    Ok(([(header::CONTENT_TYPE, "application/octet-stream")], fallible_body(pieces)).into_response())
}
