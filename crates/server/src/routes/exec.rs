//! `/exec`: a further process in a running container.

use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::Response;
use teu_api::exec::{ExecCreate, ExecCreateResponse, ExecStart};
use teu_engine::{Engine, Exec, Kind};

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

/// With `start` and a connection to take over, the process is run at once. Who does not know of it gets the id as ever.
async fn create(
    State(engine): State<Engine>,
    Path(id): Path<String>,
    query: Query,
    hijack: Hijack,
    Json(request): Json<ExecCreate>,
) -> Answer {
    Keys::parse(&request.detach_keys)?;
    let at_once = query.flag("start") && hijack.offered() && !request.tty && !request.detach;
    let id = engine.containers.exec_create(&engine.containers.find(&id)?, request)?;
    if !at_once {
        return created(ExecCreateResponse { id });
    }
    let exec = engine.containers.exec(&id)?;
    let wants = Wants { input: exec.open_stdin(), raw: false, keys: None, exit: true };
    run(&exec, hijack, wants, None).await
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
    if request.detach {
        exec.start(true, None).await?;
        return Ok(Response::default());
    }
    let size = request.console_size.map(|[rows, columns]| (cells(rows), cells(columns)));
    let keys = exec.tty().then(|| Keys::parse(exec.detach_keys())).transpose()?;
    let wants = Wants { input: exec.open_stdin(), raw: request.tty, keys, exit: false };
    run(&exec, hijack, wants, size).await
}

/// Starts it and connects it with the client.
async fn run(exec: &Exec, hijack: Hijack, wants: Wants, size: Option<(u16, u16)>) -> Answer {
    match exec.start(false, size).await {
        Ok(Some(attachment)) => Ok(hijack.connect(attachment, wants, Body::empty())),
        Ok(None) => Ok(Response::default()),
        // A program that cannot be run is told where its output would be; its exit code is in `inspect`.
        Err(error) if !matches!(error.kind, Kind::NotFound | Kind::Conflict) => {
            let exit = exec.exit_code().filter(|_| wants.exit);
            let words = last_words(format!("{}\r\n", error.message), wants.raw, exit);
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
