//! What a container says as it goes: attach, logs, stats, wait.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::response::IntoResponse;
use futures_util::{StreamExt, stream};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use teu_api::container::{CreateResponse, RUN_HEADER, RunResponse, Stats, WaitError, WaitResponse};
use teu_api::stream::{MULTIPLEXED_STREAM, RAW_STREAM};
use teu_engine::{AttachOptions, Attachment, Condition, Container, Engine, LogsOptions};

use super::Id;
use crate::compat::{self, Version};
use crate::detach::Keys;
use crate::failure::{Answer, Failure};
use crate::hijack::{Hijack, Wants};
use crate::json_lines::{self, line};
use crate::query::Query;
use crate::routes::{Doors, created, ok};
use crate::websocket;

/// Between two samples of a stream of stats.
const SAMPLE: Duration = Duration::from_secs(1);

pub(super) fn doors() -> Doors {
    Doors::default()
        .open("ContainerAttach", attach)
        .open("ContainerAttachWebsocket", attach_websocket)
        .open("ContainerLogs", logs)
        .open("ContainerStats", stats)
        .open("ContainerWait", wait)
}

/// Starts what was just made, and connects it with the client who wants its streams. That it was made stands, whatever
/// becomes of the start.
pub(super) async fn run(engine: &Engine, made: CreateResponse, hijack: Hijack) -> Answer {
    let CreateResponse { id, warnings } = made;
    let container = engine.containers.find(&id)?;
    let outcome = container.run(hijack.offered()).await;
    let (started, error) = (outcome.is_ok(), outcome.as_ref().err().map(|error| error.message.clone()));
    let said = RunResponse { id, warnings, started, error: error.unwrap_or_default() };
    let Ok(Some(attachment)) = outcome else { return created(said) };
    let wants = Wants { input: container.record().config.attach_stdin, raw: false, keys: None, exit: true };
    let mut response = hijack.connect(attachment, wants, Body::empty());
    let said = serde_json::to_vec(&said).ok().and_then(|text| HeaderValue::from_bytes(&text).ok());
    response.headers_mut().extend(said.map(|said| (HeaderName::from_static(RUN_HEADER), said)));
    Ok(response)
}

async fn attach(State(engine): State<Engine>, Path(id): Id, query: Query, hijack: Hijack, request: Request) -> Answer {
    let (attachment, wants) = attachment(&engine, &id, &query).await?;
    Ok(hijack.connect(attachment, wants, request.into_body()))
}

async fn attach_websocket(
    State(engine): State<Engine>,
    Path(id): Id,
    query: Query,
    headers: HeaderMap,
    hijack: Hijack,
) -> Answer {
    let (attachment, wants) = attachment(&engine, &id, &query).await?;
    websocket::connect(&headers, hijack.into_upgrade(), attachment, wants)
}

async fn attachment(engine: &Engine, id: &str, query: &Query) -> Answer<(Attachment, Wants)> {
    let options = AttachOptions {
        stream: query.flag("stream"),
        logs: query.flag("logs"),
        stdin: query.flag("stdin"),
        stdout: query.flag("stdout"),
        stderr: query.flag("stderr"),
    };
    let container = engine.containers.find(id)?;
    let keys = Keys::parse(query.text("detachKeys").unwrap_or_default())?;
    let wants = Wants {
        input: options.stdin && options.stream,
        raw: container.tty(),
        keys: container.tty().then_some(keys),
        exit: false,
    };
    Ok((container.attach(options).await?, wants))
}

async fn logs(State(engine): State<Engine>, Path(id): Id, query: Query, version: Version) -> Answer {
    let options = LogsOptions {
        follow: query.flag("follow"),
        stdout: query.flag("stdout"),
        stderr: query.flag("stderr"),
        since: query.moment("since")?,
        until: query.moment("until")?,
        tail: tail(&query),
        timestamps: query.flag("timestamps"),
        details: query.flag("details"),
    };
    if !options.stdout && !options.stderr {
        return Err(Failure::bad("Bad parameters: you must choose at least one stream"));
    }
    let container = engine.containers.find(&id)?;
    let multiplexed = !container.tty() && compat::names_multiplexed_streams(version);
    let kind = if multiplexed { MULTIPLEXED_STREAM } else { RAW_STREAM };
    let pieces = container.logs(options).await?;
    Ok(([(header::CONTENT_TYPE, kind)], json_lines::body(pieces)).into_response())
}

/// How many lines from the end; `None` is all, and so is for Docker whatever is no number, or a negative one.
fn tail(query: &Query) -> Option<usize> {
    query.text("tail").and_then(|text| text.parse().ok())
}

async fn stats(State(engine): State<Engine>, Path(id): Id, query: Query, version: Version) -> Answer {
    let container = engine.containers.find(&id)?;
    let told = move |mut sample: Stats| {
        if compat::has_legacy_fields(version) {
            sample.os_type.clear();
        }
        sample
    };
    if query.flag_or("stream", true) {
        let samples = stream::unfold((container, None), move |(container, before)| async move {
            let sample = told(next_sample(&container, before.as_ref()).await?);
            Some((Ok::<_, std::io::Error>(line(&sample)), (container, Some(sample))))
        });
        return Ok(json_lines::json(Body::from_stream(samples)));
    }
    let first = container.stats_once().await?;
    if query.flag("one-shot") || first.read == first.preread {
        return ok(told(first));
    }
    // Two samples, so that the answer's second has a past to compare with.
    tokio::time::sleep(SAMPLE).await;
    ok(told(after(&first, container.stats_once().await?)))
}

/// The sample after `before`, when it is time for it; `None` when the container is gone.
async fn next_sample(container: &Container, before: Option<&Stats>) -> Option<Stats> {
    let Some(before) = before else { return container.stats_once().await.ok() };
    tokio::time::sleep(SAMPLE).await;
    Some(after(before, container.stats_once().await.ok()?))
}

fn after(before: &Stats, sample: Stats) -> Stats {
    Stats { preread: before.read.clone(), precpu_stats: before.cpu_stats.clone(), ..sample }
}

async fn wait(State(engine): State<Engine>, Path(id): Id, query: Query) -> Answer {
    let condition = match query.text("condition") {
        None | Some("not-running") => Condition::NotRunning,
        Some("next-exit") => Condition::NextExit,
        Some("removed") => Condition::Removed,
        Some(other) => return Err(Failure::bad(format!("invalid condition: \"{other}\""))),
    };
    // Subscribed before the header goes out: who has the header may start the container and will not miss its end.
    let ended = engine.containers.find(&id)?.wait(condition);
    let answer = stream::once(async move {
        let response = ended.await.unwrap_or_else(|error| WaitResponse {
            status_code: -1,
            error: Some(WaitError { message: error.message }),
        });
        Ok::<_, std::io::Error>(line(&response))
    });
    Ok(json_lines::json(Body::from_stream(answer.boxed())))
}
