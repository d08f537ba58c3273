//! `/volumes`, and what only teu does with volumes, below `/teu/volumes`:
//!
//! ```text
//! POST /teu/volumes/{name}/clone?to=NAME&pause=true       201, the new volume
//! POST /teu/volumes/{name}/snapshot?to=NAME&pause=true    201, the new volume, which nothing may write to
//! POST /teu/volumes/{name}/rename?to=NAME                 200, the volume
//! GET  /teu/volumes/{name}/export                         200, a tar stream
//! POST /teu/volumes/{name}/import?force=false             200, the volume; the body is a tar stream
//! ```

use axum::extract::{Path, Request, State};
use axum::response::IntoResponse;
use http::{Method, StatusCode, header};
use teu_api::Filters;
use teu_api::volume::CreateRequest;
use teu_engine::{CopyKind, Engine};

use super::{Doors, blocking, created, done, ok, prune_mode};
use crate::body::{Json, Reader};
use crate::compat::{self, Version};
use crate::failure::{Answer, Failure};
use crate::json_lines::fallible_body;
use crate::query::Query;

pub(super) fn doors() -> Doors {
    Doors::default()
        .open("VolumeList", list)
        .open("VolumeCreate", create)
        .open("VolumePrune", prune)
        .open("VolumePrunePreview", prune)
        .open("VolumeInspect", inspect)
        .open("VolumeDelete", remove)
        .open("VolumeUpdate", update)
        .open("VolumeClone", clone)
        .open("VolumeSnapshot", snapshot)
        .open("VolumeRename", rename)
        .open("VolumeExport", export)
        .open("VolumeImport", import)
}

async fn list(State(engine): State<Engine>, query: Query) -> Answer {
    ok(engine.volumes.list(&query.filters()?)?)
}

async fn create(State(engine): State<Engine>, Json(request): Json<CreateRequest>) -> Answer {
    if request.cluster_volume_spec.is_some() {
        return Err(no_swarm("create a cluster volume"));
    }
    created(blocking(move || engine.volumes.create(request)).await?)
}

async fn prune(State(engine): State<Engine>, method: Method, query: Query, version: Version) -> Answer {
    let mut filters: Filters = query.filters()?;
    if compat::prunes_every_volume(version) {
        filters.add("all", "true");
    }
    let mode = prune_mode(&method);
    ok(blocking(move || engine.volumes.prune(&filters, mode)).await?)
}

async fn inspect(State(engine): State<Engine>, Path(name): Path<String>) -> Answer {
    ok(engine.volumes.inspect(&name)?)
}

async fn remove(State(engine): State<Engine>, Path(name): Path<String>, query: Query) -> Answer {
    let force = query.flag("force");
    blocking(move || engine.volumes.remove(&name, force)).await?;
    done()
}

async fn update() -> Answer {
    Err(no_swarm("volume update only valid for cluster volumes, but swarm is unavailable"))
}

fn no_swarm(message: &str) -> Failure {
    Failure::new(StatusCode::SERVICE_UNAVAILABLE, message)
}

async fn clone(engine: State<Engine>, name: Path<String>, query: Query) -> Answer {
    copy(engine, name, query, CopyKind::Clone).await
}

async fn snapshot(engine: State<Engine>, name: Path<String>, query: Query) -> Answer {
    copy(engine, name, query, CopyKind::Snapshot).await
}

async fn copy(State(engine): State<Engine>, Path(name): Path<String>, query: Query, kind: CopyKind) -> Answer {
    let to = if kind == CopyKind::Clone { Some(query.required("to")?) } else { query.text("to") };
    let pause = query.flag_or("pause", true);
    created(engine.volumes.copy(&name, to, kind, pause, &engine.containers).await?)
}

async fn rename(State(engine): State<Engine>, Path(name): Path<String>, query: Query) -> Answer {
    ok(engine.volumes.rename(&name, query.required("to")?, &engine.containers).await?)
}

async fn export(State(engine): State<Engine>, Path(name): Path<String>) -> Answer {
    let pieces = engine.volumes.export(&name)?;
    Ok(([(header::CONTENT_TYPE, "application/x-tar")], fallible_body(pieces)).into_response())
}

async fn import(State(engine): State<Engine>, Path(name): Path<String>, query: Query, request: Request) -> Answer {
    let force = query.flag("force");
    let tar = Reader::new(request.into_body());
    ok(blocking(move || engine.volumes.import(&name, tar, force)).await?)
}
