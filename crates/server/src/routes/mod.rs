//! Which path is whose: one file per kind of object.
//!
//! Requests that change something are finished even when the client does not wait for the answer: a half-made container
//! would help nobody. Long ones (pull, push, build, load) are bound to their answer's stream and end with it.

mod build;
mod buildkit;
mod containers;
mod events;
mod exec;
mod images;
mod networks;
mod system;
mod usage;
mod volumes;

use axum::extract::Request;
use axum::handler::Handler;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, on};
use axum::{Extension, Json, Router};
use http::{HeaderValue, Method, StatusCode};
use serde::Serialize;
use teu_api::system::ping;
use teu_buildkit::Buildkit;
use teu_engine::{Engine, PruneMode};

use crate::failure::{Answer, Failure, method_not_allowed, page_not_found};
use crate::openapi::{self, Verb};

pub(crate) use events::FILTERS as EVENT_FILTERS;

/// What a prune does: `GET` changes nothing, as ever.
fn prune_mode(method: &Method) -> PruneMode {
    if method == Method::POST { PruneMode::Remove } else { PruneMode::Tell }
}

/// All paths, without their version prefix; `buildkit` is whether clients that know both shall build as BuildKit does.
pub(crate) fn router(engine: Engine, front: Buildkit, buildkit: bool) -> Router {
    let experimental = engine.is_experimental();
    let tell = move |mut response: Response| async move {
        if experimental {
            response.headers_mut().insert(ping::EXPERIMENTAL, HeaderValue::from_static("true"));
        }
        response
    };
    doors()
        .router
        .fallback(page_not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(middleware::from_fn(finish))
        .layer(middleware::map_response(tell))
        .layer(Extension(system::Builder(if buildkit { "2" } else { "1" })))
        .layer(Extension(front))
        .with_state(engine)
}

fn doors() -> Doors {
    containers::doors()
        .and(exec::doors())
        .and(images::doors())
        .and(build::doors())
        .and(buildkit::doors())
        .and(networks::doors())
        .and(volumes::doors())
        .and(events::doors())
        .and(system::doors())
}

/// Routes, each of which is an operation of [`crate::openapi`].
#[derive(Default)]
struct Doors {
    router: Router<Engine>,
    opened: Vec<&'static str>,
}

impl Doors {
    /// Opens the operation of that id; a test looks for ids that are none.
    fn open<H, T>(mut self, id: &'static str, handler: H) -> Self
    where
        H: Handler<T, Engine>,
        T: 'static,
    {
        if let Some(operation) = openapi::find(id) {
            self.router = self.router.route(operation.path, on(method(operation.verb), handler));
        }
        self.opened.push(id);
        self
    }

    /// Another path by which Docker's engine answers the same.
    fn also<H, T>(mut self, path: &str, verb: Verb, handler: H) -> Self
    where
        H: Handler<T, Engine>,
        T: 'static,
    {
        self.router = self.router.route(path, on(method(verb), handler));
        self
    }

    fn and(mut self, others: Self) -> Self {
        self.router = self.router.merge(others.router);
        self.opened.extend(others.opened);
        self
    }
}

fn method(verb: Verb) -> MethodFilter {
    match verb {
        Verb::Get => MethodFilter::GET,
        Verb::Head => MethodFilter::HEAD,
        Verb::Post => MethodFilter::POST,
        Verb::Put => MethodFilter::PUT,
        Verb::Delete => MethodFilter::DELETE,
    }
}

async fn finish(request: Request, next: Next) -> Response {
    let reads = request.method() == Method::GET || request.method() == Method::HEAD;
    if reads || is_long(request.uri().path()) {
        return next.run(request).await;
    }
    let path = request.uri().path().to_owned();
    match tokio::spawn(next.run(request)).await {
        Ok(response) => response,
        Err(error) => {
            tracing::error!(%error, path, "a request was cut off inside");
            Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "the request was cut off inside").into_response()
        }
    }
}

/// Whether the work lasts as long as somebody listens.
fn is_long(path: &str) -> bool {
    matches!(path, "/build" | "/images/create" | "/images/load") || path.ends_with("/push")
}

/// Runs what blocks, on a thread where that is allowed.
async fn blocking<T, E>(work: impl FnOnce() -> Result<T, E> + Send + 'static) -> Answer<T>
where
    T: Send + 'static,
    E: Into<Failure> + Send + 'static,
{
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result.map_err(Into::into),
        Err(error) => {
            tracing::error!(%error, "work was cut off inside");
            Err(Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "the work was cut off inside"))
        }
    }
}

/// JSON that is still to be changed.
fn to_value(value: impl Serialize) -> serde_json::Value {
    serde_json::to_value(value).unwrap_or_default()
}

/// 200 with JSON.
fn ok(value: impl Serialize) -> Answer {
    Ok(Json(value).into_response())
}

/// 201 with JSON.
fn created(value: impl Serialize) -> Answer {
    Ok((StatusCode::CREATED, Json(value)).into_response())
}

/// 204.
fn done() -> Answer {
    Ok(StatusCode::NO_CONTENT.into_response())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_door_is_in_the_document_and_every_documented_door_is_open() {
        let opened = doors().opened;
        let documented: Vec<&str> = openapi::operations().map(|operation| operation.id).collect();
        let set = |ids: &[&'static str]| ids.iter().copied().collect::<BTreeSet<_>>();
        assert_eq!(set(&opened), set(&documented));
        assert_eq!((opened.len(), documented.len()), (set(&opened).len(), set(&documented).len()), "an id twice");
    }
}
