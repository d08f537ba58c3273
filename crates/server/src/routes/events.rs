//! `/events`: what happened, and what happens until the client has enough.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::response::IntoResponse;
use bytes::Bytes;
use futures_util::{FutureExt, Stream, StreamExt, stream};
use http::{HeaderMap, header};
use teu_api::Filters;
use teu_api::event::Message;
use teu_engine::{Engine, Listener};
use tokio::time::Instant;

use super::Doors;
use crate::compat::{self, Version};
use crate::failure::{Answer, Failure};
use crate::json_lines::line;
use crate::query::Query;

/// What events are asked for by.
pub(crate) const FILTERS: &[&str] = &[
    "config",
    "container",
    "daemon",
    "event",
    "image",
    "label",
    "label!",
    "network",
    "node",
    "plugin",
    "scope",
    "secret",
    "service",
    "type",
    "volume",
];

pub(super) fn doors() -> Doors {
    Doors::default().open("SystemEvents", events)
}

async fn events(State(engine): State<Engine>, query: Query, version: Version, headers: HeaderMap) -> Answer {
    let filters = query.filters_among(FILTERS)?;
    let until = query.moment("until")?;
    // The beginning of time is a moment too: whoever gives it, or only an end, wants all that is remembered.
    let since = query.moment("since")?.or(query.text("since").or(query.text("until")).map(|_| 0));
    if let (Some(since), Some(until)) = (since, until)
        && until < since
    {
        let (since, until) = (query.string("since"), query.string("until"));
        return Err(Failure::bad(format!("`since` time ({since}) cannot be after `until` time ({until})")));
    }
    let (past, coming) = match since {
        Some(since) => engine.events.since(since),
        None => (Vec::new(), engine.events.subscribe()),
    };
    let past = past.into_iter().filter(move |message| until.is_none_or(|until| message.time_nano <= until));
    let kind = kind(&headers, version);
    let lines = stream::iter(past).chain(future_events(coming, until)).filter_map(move |message| {
        let wanted = matches(&filters, &message);
        async move { wanted.then(|| Ok::<Bytes, io::Error>(told(&message, version, kind))) }
    });
    Ok(([(header::CONTENT_TYPE, kind)], Body::from_stream(lines)).into_response())
}

/// The kinds of streams of JSON that a client may ask for.
const KINDS: [&str; 3] = ["application/jsonl", "application/x-ndjson", SEQUENCE];
/// Texts of JSON, each after a sign that separates it from what came before, RFC 7464.
const SEQUENCE: &str = "application/json-seq";

/// What the client asks for, or else what its version expects.
fn kind(headers: &HeaderMap, version: Version) -> &'static str {
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let mut asked = accepted.flat_map(|text| text.split(',')).map(|one| one.split(';').next().unwrap_or(one).trim());
    let usual = if compat::has_legacy_fields(version) { "application/json" } else { KINDS[0] };
    asked.find_map(|one| KINDS.into_iter().find(|kind| *kind == one)).unwrap_or(usual)
}

fn told(message: &Message, version: Version, kind: &str) -> Bytes {
    let text = if compat::has_legacy_fields(version) {
        line(message)
    } else {
        let (status, id, from) = Default::default();
        line(&Message { status, id, from, ..message.clone() })
    };
    if kind == SEQUENCE { [&[0x1e], &text[..]].concat().into() } else { text }
}

/// When a moment of the wall clock will be; now if it has been.
fn deadline(until: i64) -> Instant {
    let since_epoch = Duration::from_nanos(u64::try_from(until).unwrap_or(0));
    let moment = std::time::UNIX_EPOCH + since_epoch;
    Instant::now() + moment.duration_since(std::time::SystemTime::now()).unwrap_or_default()
}

fn future_events(coming: Listener, until: Option<i64>) -> impl Stream<Item = Arc<Message>> {
    let end = until.map(deadline);
    stream::unfold(coming, move |mut coming| async move {
        let message = match end {
            // A timer would wait for its next tick.
            Some(end) if end <= Instant::now() => coming.recv().now_or_never()??,
            Some(end) => tokio::time::timeout_at(end, coming.recv()).await.ok()??,
            None => coming.recv().await?,
        };
        until.is_none_or(|until| message.time_nano <= until).then_some((message, coming))
    })
}

fn matches(filters: &Filters, message: &Message) -> bool {
    let attribute = |name: &str| message.actor.attributes.get(name).map_or("", String::as_str);
    // `exec_create: sh -c …` is asked for as `exec_create`.
    let action = message.action.split(':').next().unwrap_or_default();
    let is_one = |kind: &str| {
        let wanted = filters.get(kind);
        let id = message.actor.id.as_str();
        let named = |text: &String| {
            text == id || text == attribute("name") || (text.len() >= 12 && id.starts_with(text.as_str()))
        };
        // A network's events name the container they are about.
        let about = kind == "container" && wanted.iter().any(|text| text == attribute("container"));
        !filters.contains(kind) || (message.kind == kind && wanted.iter().any(named)) || about
    };
    let image = || {
        let bare = |name: &str| name.rsplit_once(':').map_or(name, |(bare, _)| bare).to_owned();
        let name = if message.kind == "image" { message.actor.id.as_str() } else { attribute("image") };
        filters.get("image").iter().any(|wanted| wanted == name || *wanted == bare(name) || wanted == attribute("name"))
    };
    filters.matches("type", &message.kind)
        && (filters.matches("event", &message.action) || filters.matches("event", action))
        && filters.matches("scope", &message.scope)
        && ["container", "daemon", "network", "plugin", "volume", "service", "node", "secret", "config"]
            .iter()
            .all(|kind| is_one(kind))
        && (!filters.contains("image") || image())
        && filters.match_labels(&message.actor.attributes)
}

#[cfg(test)]
mod tests {
    use teu_api::event::Actor;

    use super::*;

    fn message(kind: &str, action: &str, id: &str, attributes: &[(&str, &str)]) -> Message {
        let attributes = attributes.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
        Message {
            kind: kind.into(),
            action: action.into(),
            actor: Actor { id: id.into(), attributes },
            scope: "local".into(),
            ..Message::default()
        }
    }

    fn wanted(filter: (&str, &str), message: &Message) -> bool {
        let mut filters = Filters::default();
        filters.add(filter.0, filter.1);
        matches(&filters, message)
    }

    #[test]
    fn filters_look_at_what_they_name() {
        let start =
            message("container", "start", "0123456789abcdef", &[("name", "web"), ("image", "nginx:1"), ("a", "b")]);
        for filter in [
            ("container", "web"),
            ("container", "0123456789ab"),
            ("event", "start"),
            ("type", "container"),
            ("image", "nginx"),
            ("image", "nginx:1"),
            ("label", "a=b"),
        ] {
            assert!(wanted(filter, &start), "{filter:?}");
        }
        for filter in [("container", "we"), ("event", "stop"), ("type", "image"), ("image", "ngin"), ("volume", "web")]
        {
            assert!(!wanted(filter, &start), "{filter:?}");
        }
        let connect = message("network", "connect", "net", &[("container", "0123456789abcdef")]);
        assert!(wanted(("container", "0123456789abcdef"), &connect));
        assert!(wanted(("event", "exec_create"), &message("container", "exec_create: sh", "x", &[])));
    }
}
