//! A container's files as tar: `docker cp` both ways, and export.

use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderName, StatusCode, header};
use teu_api::container::PathStat;
use teu_engine::{Engine, Error, Kind, PutOptions};

use super::Id;
use crate::body::Reader;
use crate::failure::{Answer, Failure};
use crate::json_lines::fallible_body;
use crate::query::Query;
use crate::routes::Doors;

const STAT: HeaderName = HeaderName::from_static("x-docker-container-path-stat");

pub(super) fn doors() -> Doors {
    Doors::default()
        .open("ContainerArchive", read)
        .open("ContainerArchiveInfo", stat)
        .open("PutContainerArchive", write)
        .open("ContainerExport", export)
}

async fn read(State(engine): State<Engine>, Path(id): Id, query: Query) -> Answer {
    let path = path(&query)?;
    let container = engine.containers.find(&id)?;
    let (stat, pieces) = container.archive(path).await.map_err(|error| named(error, path, &id))?;
    Ok(with_stat(&stat, fallible_body(pieces)))
}

async fn stat(State(engine): State<Engine>, Path(id): Id, query: Query) -> Answer {
    let path = path(&query)?;
    let container = engine.containers.find(&id)?;
    let stat = container.stat_path(path).await.map_err(|error| named(error, path, &id))?;
    Ok(with_stat(&stat, Body::empty()))
}

fn path(query: &Query) -> Answer<&str> {
    query.text("path").ok_or_else(|| Failure::bad("bad parameter: path cannot be empty"))
}

/// A path that is not there, called as the client calls it.
fn named(error: Error, path: &str, container: &str) -> Failure {
    match error.kind {
        Kind::NotFound if error.message.is_empty() => {
            Failure::new(StatusCode::NOT_FOUND, format!("Could not find the file {path} in container {container}"))
        }
        _ => error.into(),
    }
}

fn with_stat(stat: &PathStat, body: Body) -> Response {
    let stat = STANDARD.encode(serde_json::to_vec(stat).unwrap_or_default());
    ([(STAT, stat.as_str()), (header::CONTENT_TYPE, "application/x-tar")], body).into_response()
}

async fn write(State(engine): State<Engine>, Path(id): Id, query: Query, request: Request) -> Answer {
    // Before anything is refused: a client that is cut off while it writes never reads why.
    let tar = Reader::new(request.into_body());
    let path = path(&query)?;
    let container = engine.containers.find(&id)?;
    let options =
        PutOptions { keep_directories: query.flag("noOverwriteDirNonDir"), to_user: query.flag("copyUIDGID") };
    container.put_archive(path, tar, options).await.map_err(|error| named(error, path, &id))?;
    Ok(Response::default())
}

async fn export(State(engine): State<Engine>, Path(id): Id) -> Answer {
    let pieces = engine.containers.find(&id)?.export().await?;
    Ok(([(header::CONTENT_TYPE, "application/octet-stream")], fallible_body(pieces)).into_response())
}
