//! `/exec`: a further process in a running container.

use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::Response;
use teu_api::exec::{ExecCreate, ExecCreateResponse, ExecStart};
use teu_engine::{Engine, Kind};

use super::containers::size;
use super::{Doors, created, ok};
use crate::body::{Json, OptionalJson};
use crate::detach::Keys;
use crate::failure::{Answer, Failure};
use crate::hijack::{Hijack, Wants, last_words};
use crate::query::Query;

pub(super) fn doors() -> Doors {
    Doors::default()
        .open("ContainerExec", create)
        .open("ExecStart", start)
        .open("ExecResize", resize)
        .open("ExecInspect", inspect)
}

async fn create(State(engine): State<Engine>, Path(id): Path<String>, Json(request): Json<ExecCreate>) -> Answer {
    Keys::parse(&request.detach_keys)?;
    created(ExecCreateResponse { id: engine.containers.exec_create(&engine.containers.find(&id)?, request)? })
}

async fn start(
    State(engine): State<Engine>,
    Path(id): Path<String>,
    hijack: Hijack,
    OptionalJson(request): OptionalJson<ExecStart>,
) -> Answer {
    let request = request.unwrap_or_default();
    let exec = engine.containers.exec(&id)?;
    if request.console_size.is_some() && !request.tty {
        return Err(Failure::bad("console size is only supported when TTY is enabled"));
    }
    let size = request.console_size.map(|[rows, columns]| (cells(rows), cells(columns)));
    let keys = exec.tty().then(|| Keys::parse(exec.detach_keys())).transpose()?;
    let wants = Wants { input: exec.open_stdin(), raw: request.tty, keys };
    match exec.start(request.detach, size).await {
        Ok(Some(attachment)) => Ok(hijack.connect(attachment, wants, Body::empty())),
        Ok(None) => Ok(Response::default()),
        // A program that cannot be run is told where its output would be; its exit code is in `inspect`.
        Err(error) if !request.detach && !matches!(error.kind, Kind::NotFound | Kind::Conflict) => {
            let words = last_words(format!("{}\r\n", error.message), wants.raw);
            Ok(hijack.connect(words, wants, Body::empty()))
        }
        Err(error) => Err(error.into()),
    }
}

fn cells(number: u32) -> u16 {
    u16::try_from(number).unwrap_or(u16::MAX)
}

async fn resize(State(engine): State<Engine>, Path(id): Path<String>, query: Query) -> Answer {
    let (rows, columns) = size(&query)?;
    engine.containers.exec(&id)?.resize(rows, columns).await?;
    Ok(Response::default())
}

async fn inspect(State(engine): State<Engine>, Path(id): Path<String>) -> Answer {
    ok(engine.containers.exec(&id)?.inspect())
}
