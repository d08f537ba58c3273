//! `/containers` and `/commit`.

mod archive;
mod streams;

use std::path::PathBuf;

use axum::extract::{Path, State};
use axum::response::IntoResponse;
use http::{HeaderMap, Method, StatusCode};
use serde_json::Value;
use teu_api::container::{
    CheckpointRequest, CheckpointSummary, Config, CreateRequest, Picked, Summary, UpdateRequest, UpdateResponse,
};
use teu_api::image::CommitResponse;
use teu_api::shape::{Shape, Shaped};
use teu_engine::{CheckpointOptions, CommitOptions, Engine, ListQuery, RemoveOptions};
use teu_oci::ContainerConfig;

use super::{Doors, created, done, ok, prune_mode, to_value};
use crate::body::{Json, OptionalJson, named};
use crate::compat::{self, Version};
use crate::failure::{Answer, Failure};
use crate::hijack::Hijack;
use crate::query::Query;

pub(super) fn doors() -> Doors {
    Doors::default()
        .open("ContainerList", list)
        .open("ContainerCreate", create)
        .open("ContainerPrune", prune)
        .open("ContainerPrunePreview", prune)
        .open("ContainerDelete", remove)
        .open("ContainerInspect", inspect)
        .open("ContainerTop", top)
        .open("ContainerChanges", changes)
        .open("ContainerResize", resize)
        .open("ContainerStart", start)
        .open("CheckpointCreate", checkpoint)
        .open("CheckpointList", checkpoints)
        .open("CheckpointDelete", remove_checkpoint)
        .open("ContainerStop", stop)
        .open("ContainerRestart", restart)
        .open("ContainerKill", kill)
        .open("ContainerUpdate", update)
        .open("ContainerRename", rename)
        .open("ContainerPause", pause)
        .open("ContainerUnpause", unpause)
        .open("ImageCommit", commit)
        .and(archive::doors())
        .and(streams::doors())
}

type Id = Path<String>;

async fn list(State(engine): State<Engine>, query: Query, version: Version) -> Answer {
    let limit: Option<i64> = query.number("limit")?;
    let query = ListQuery {
        all: query.flag("all"),
        limit: limit.and_then(|limit| usize::try_from(limit).ok()).filter(|limit| *limit > 0),
        size: query.flag("size"),
        filters: query.filters()?,
        fields: fields(&query)?,
    };
    let mut rows = engine.containers.list(&query).await?;
    let picked = |row| Picked { row, fields: &query.fields };
    if compat::is_usual(version) {
        rows.iter_mut().for_each(|row| row.health = None);
        return ok(rows.iter().map(picked).collect::<Vec<_>>());
    }
    ok(rows.iter().map(|row| compat::container(version, to_value(picked(row)))).collect::<Vec<_>>())
}

/// The members of rows that are asked for.
fn fields(query: &Query) -> Answer<Vec<String>> {
    let Shape::Object(row) = Summary::shape() else { return Ok(vec![]) };
    let members = (row.members)();
    let names = query.all("fields").iter().flat_map(|names| names.split(',').map(str::to_owned)).collect::<Vec<_>>();
    match names.iter().find(|name| !members.iter().any(|member| member.key == *name)) {
        Some(unknown) => Err(Failure::bad(format!("parameter \"fields\": rows have no member \"{unknown}\""))),
        None => Ok(names),
    }
}

/// With `start`, it is started at once, and the connection becomes its streams if it is offered and there are some to attach.
/// Who does not know of it gets the id as ever.
async fn create(
    State(engine): State<Engine>,
    query: Query,
    version: Version,
    hijack: Hijack,
    Json(mut body): Json<Value>,
) -> Answer {
    named(&mut body, CreateRequest::shape())?;
    let warnings = compat::create_warnings(version, &body);
    let request = serde_json::from_value::<CreateRequest>(compat::create_request(version, body)?);
    let request = request.map_err(|error| Failure::bad(format!("invalid JSON: {error}")))?;
    // A platform is asked for since 1.41.
    let platform = query.text("platform").filter(|_| version >= Version::minor(41));
    let mut made = engine.containers.create(query.text("name"), request, platform).await?;
    made.warnings.extend(warnings);
    if query.flag("start") { streams::run(&engine, made, hijack).await } else { created(made) }
}

/// `GET` says what `POST` would remove.
async fn prune(State(engine): State<Engine>, method: Method, query: Query) -> Answer {
    ok(engine.containers.prune(&query.filters()?, prune_mode(&method)).await?)
}

async fn remove(State(engine): State<Engine>, Path(id): Id, query: Query) -> Answer {
    if query.flag("link") {
        engine.containers.unlink(&id).await?;
        return done();
    }
    let options = RemoveOptions { force: query.flag("force"), volumes: query.flag("v") };
    engine.containers.find(&id)?.remove(options).await?;
    done()
}

async fn inspect(
    State(engine): State<Engine>,
    Path(id): Id,
    query: Query,
    version: Version,
    headers: HeaderMap,
) -> Answer {
    let mut container = engine.containers.find(&id)?.inspect(query.flag("size")).await?;
    engine.containers.show_links(&mut container);
    compat::name_log_driver(&headers, &mut container.host_config.log_config.kind);
    if compat::is_usual(version) {
        return ok(container);
    }
    ok(compat::container(version, to_value(container)))
}

async fn top(State(engine): State<Engine>, Path(id): Id, query: Query) -> Answer {
    ok(engine.containers.find(&id)?.top(query.text("ps_args").unwrap_or("-ef")).await?)
}

async fn changes(State(engine): State<Engine>, Path(id): Id) -> Answer {
    ok(engine.containers.find(&id)?.changes().await?)
}

async fn resize(State(engine): State<Engine>, Path(id): Id, query: Query) -> Answer {
    let (rows, columns) = size(&query)?;
    engine.containers.find(&id)?.resize(rows, columns).await?;
    Ok(Default::default())
}

/// Height and width of a terminal.
pub(super) fn size(query: &Query) -> Answer<(u16, u16)> {
    Ok((cells(query, "h", "height")?, cells(query, "w", "width")?))
}

/// A number of lines or columns, refused in Docker's words; more than a terminal can have is as many as it can.
fn cells(query: &Query, name: &str, what: &str) -> Answer<u16> {
    let text = query.text(name).unwrap_or_default();
    match text.parse::<u32>() {
        Ok(number) => Ok(u16::try_from(number).unwrap_or(u16::MAX)),
        Err(_) => {
            let number = text.strip_prefix(['-', '+']).unwrap_or(text);
            let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
            let why = if is_number { "value out of range" } else { "invalid syntax" };
            Err(Failure::bad(format!("invalid resize {what} \"{text}\": {why}")))
        }
    }
}

async fn start(State(engine): State<Engine>, Path(id): Id, query: Query) -> Answer {
    let container = engine.containers.find(&id)?;
    match query.text("checkpoint").filter(|name| !name.is_empty()) {
        Some(name) => container.resume_from(name, folder(query.text("checkpoint-dir"))).await?,
        None => container.start().await?,
    }
    done()
}

/// A folder of checkpoints, if one is named.
fn folder(text: Option<&str>) -> Option<PathBuf> {
    text.filter(|text| !text.is_empty()).map(PathBuf::from)
}

async fn checkpoint(State(engine): State<Engine>, Path(id): Id, Json(request): Json<CheckpointRequest>) -> Answer {
    let CheckpointRequest { checkpoint_id, checkpoint_dir, exit } = request;
    let options = CheckpointOptions { name: checkpoint_id, dir: folder(Some(&checkpoint_dir)), exit };
    engine.containers.find(&id)?.checkpoint(options).await?;
    Ok(StatusCode::CREATED.into_response())
}

async fn checkpoints(State(engine): State<Engine>, Path(id): Id, query: Query) -> Answer {
    let names = engine.containers.find(&id)?.checkpoints(folder(query.text("dir")))?;
    ok(names.into_iter().map(|name| CheckpointSummary { name }).collect::<Vec<_>>())
}

async fn remove_checkpoint(
    State(engine): State<Engine>,
    Path((id, name)): Path<(String, String)>,
    query: Query,
) -> Answer {
    engine.containers.find(&id)?.remove_checkpoint(&name, folder(query.text("dir")))?;
    done()
}

async fn stop(State(engine): State<Engine>, Path(id): Id, query: Query) -> Answer {
    engine.containers.find(&id)?.stop(query.text("signal"), query.number("t")?).await?;
    done()
}

async fn restart(State(engine): State<Engine>, Path(id): Id, query: Query) -> Answer {
    engine.containers.find(&id)?.restart(query.text("signal"), query.number("t")?).await?;
    done()
}

async fn kill(State(engine): State<Engine>, Path(id): Id, query: Query) -> Answer {
    engine.containers.find(&id)?.kill(query.text("signal").unwrap_or("KILL")).await?;
    done()
}

async fn update(
    State(engine): State<Engine>,
    Path(id): Id,
    version: Version,
    Json(mut request): Json<UpdateRequest>,
) -> Answer {
    compat::update_request(version, &mut request);
    engine.containers.find(&id)?.update(request).await?;
    ok(UpdateResponse::default())
}

async fn rename(State(engine): State<Engine>, Path(id): Id, query: Query) -> Answer {
    engine.containers.find(&id)?.rename(query.required("name")?).await?;
    done()
}

async fn pause(State(engine): State<Engine>, Path(id): Id) -> Answer {
    engine.containers.find(&id)?.pause().await?;
    done()
}

async fn unpause(State(engine): State<Engine>, Path(id): Id) -> Answer {
    engine.containers.find(&id)?.unpause().await?;
    done()
}

async fn commit(State(engine): State<Engine>, query: Query, OptionalJson(config): OptionalJson<Config>) -> Answer {
    let container = engine.containers.find(query.required("container")?)?;
    let base = ContainerConfig { env: container.record().config.env.clone(), ..ContainerConfig::default() };
    let changes = query.all("changes");
    let changes = teu_builder::plan::changes(&base, changes.iter().map(String::as_str));
    let options = CommitOptions {
        repo: query.text("repo").map(Into::into),
        tag: query.text("tag").map(Into::into),
        comment: query.string("comment"),
        author: query.string("author"),
        pause: query.flag_or("pause", true),
        changes: changes.map_err(|error| Failure::bad(error.to_string()))?,
        config,
    };
    created(CommitResponse { id: container.commit(options).await? })
}
