//! `/build`: a context comes in, messages go out; and the build cache.

use std::collections::BTreeMap;

use axum::Extension;
use axum::extract::{Request, State};
use axum::response::IntoResponse;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, Method, StatusCode, header};
use serde_json::Value;
use teu_api::build::{BUILD_SECRETS, BuildCache, BuildOutput, BuildPiece, PruneReport};
use teu_api::container::HostConfig;
use teu_api::stream::JsonMessage;
use teu_api::system::{AuthConfig, REGISTRY_CONFIG};
use teu_builder::Progress;
use teu_builder::usage::{self, Room};
use teu_builder::{Context, Entitlements, Options, Output, Secrets, build, export};
use teu_buildkit::{Build, Buildkit, Source};
use teu_engine::{Engine, PruneMode, Stream};
use tokio::sync::mpsc;

use super::images::decoded;
use super::{Doors, blocking, ok, prune_mode, to_value};
use crate::body::Reader;
use crate::failure::{Answer, Failure};
use crate::json_lines;
use crate::query::Query;

/// What Docker's builder can and this one cannot (yet): better said than left out silently.
const UNSUPPORTED: [&str; 2] = ["isolation", "securityopt"];

/// What the name of a build begins with whose archive is brought.
const UPLOAD: &str = "upload-request:";

pub(super) fn doors() -> Doors {
    Doors::default().open("ImageBuild", run).open("BuildPrune", prune).open("BuildPrunePreview", prune)
}

async fn run(
    State(engine): State<Engine>,
    Extension(front): Extension<Buildkit>,
    query: Query,
    headers: HeaderMap,
    request: Request,
) -> Answer {
    if let Some(build) = query.text("buildid").and_then(|id| id.strip_prefix(UPLOAD)) {
        let body = Box::new(Reader::new(request.into_body()));
        return front.upload(build, body).await.map_err(Failure::bad).map(IntoResponse::into_response);
    }
    if query.text("version") == Some("2") {
        return by_session(engine, front, &query, &headers, request).await;
    }
    let options = options(&query, &headers)?;
    let quiet = query.flag("q");
    let body = Reader::new(request.into_body());
    let (remote, output) = (query.text("remote").map(str::to_owned), output(&query)?);
    let contexts: BTreeMap<String, String> = query.json::<Option<_>>("contexts")?.unwrap_or_default();
    json_lines::respond(|out| async move {
        let mut options = options;
        options.contexts = front.contexts(contexts, &options).await.map_err(Failure::bad)?;
        let store = engine.store().clone();
        let context = match remote {
            Some(url) => Context::at(&engine, &url, &options).await.map_err(Failure::from)?,
            None => blocking(move || Context::receive(&store, body)).await?,
        };
        let progress = Progress::new(out.clone(), quiet);
        match output {
            None => build(&engine, context, options, progress).await.map(drop).map_err(Failure::from),
            Some(output) => {
                let pieces = export(&engine, context, options, output, progress).await.map_err(Failure::from)?;
                tell(pieces, out).await
            }
        }
    })
    .await
}

/// What becomes of the result, if it is not an image of the engine's.
fn output(query: &Query) -> Answer<Option<Output>> {
    let all: Vec<BuildOutput> = query.json::<Option<_>>("outputs")?.unwrap_or_default();
    match all.as_slice() {
        [] => Ok(None),
        [one] => match one.kind.as_str() {
            "tar" => Ok(Some(Output::Tree)),
            "docker" | "oci" => Ok(Some(Output::Archive)),
            other => Err(unsupported(&format!("an output of type \"{other}\""))),
        },
        _ => Err(unsupported("more than one output")),
    }
}

/// Puts an archive into the progress stream.
async fn tell(mut pieces: Stream, out: mpsc::Sender<JsonMessage>) -> Answer<()> {
    while let Some(piece) = pieces.recv().await {
        let broken = |error: std::io::Error| Failure::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string());
        let piece = BuildPiece { output: STANDARD.encode(piece.map_err(broken)?) };
        if out.send(JsonMessage::aux(to_value(piece))).await.is_err() {
            break;
        }
    }
    Ok(())
}

/// Builds as BuildKit does, for clients that do not speak its protocol by themselves.
async fn by_session(engine: Engine, front: Buildkit, query: &Query, headers: &HeaderMap, request: Request) -> Answer {
    let body = Reader::new(request.into_body());
    let source = match query.text("remote") {
        Some("client-session") => Source::Session,
        Some("upload-request") => Source::Upload,
        Some(url) => Source::Url(url.to_owned()),
        None => {
            let store = engine.store().clone();
            Source::Here(blocking(move || Context::receive(&store, body)).await?)
        }
    };
    let outputs: Vec<BuildOutput> = query.json::<Option<_>>("outputs")?.unwrap_or_default();
    let build = Build {
        id: query.string("buildid"),
        session: query.string("session"),
        options: Options { mark_stderr: false, ..options(query, headers)? },
        source,
        outputs: outputs.into_iter().map(|output| (output.kind, output.attrs)).collect(),
        quiet: query.flag("q"),
    };
    json_lines::respond(|out| async move { front.build(build, out).await.map_err(Failure::bad) }).await
}

fn options(query: &Query, headers: &HeaderMap) -> Answer<Options> {
    if let Some(name) = UNSUPPORTED.iter().find(|name| !is_default(query.text(name))) {
        return Err(unsupported(&format!("build option \"{name}\"")));
    }
    let tags = query.all("t").iter().map(|tag| tag.parse()).collect::<Result<_, _>>();
    let arguments: BTreeMap<String, Option<String>> = query.json("buildargs")?;
    let platform = query.text("platform").map(str::parse).transpose();
    Ok(Options {
        dockerfile: query.string("dockerfile"),
        tags: tags.map_err(|error: teu_oci::ReferenceError| Failure::bad(error.to_string()))?,
        // One without a value is for the predefined ones, which the daemon has no values of its own for.
        build_args: arguments.into_iter().filter_map(|(name, value)| Some((name, value?))).collect(),
        target: query.text("target").map(Into::into),
        labels: query.json("labels")?,
        platform: platform.map_err(|error| Failure::bad(format!("parameter \"platform\": {error}")))?,
        no_cache: query.flag("nocache"),
        no_cache_stages: query
            .string("nocachefilter")
            .split(',')
            .filter(|name| !name.is_empty())
            .map(Into::into)
            .collect(),
        cache_from: query.json::<Option<_>>("cachefrom")?.unwrap_or_default(),
        squash: query.flag("squash"),
        pull: query.flag("pull"),
        credentials: decoded::<BTreeMap<String, AuthConfig>>(headers, REGISTRY_CONFIG)?.unwrap_or_default(),
        secrets: secrets(headers)?,
        allow: allowed(query)?,
        host: host(query)?,
        mark_stderr: !is_ours(headers),
        ..Options::default()
    })
}

/// What `RUN --mount=type=secret` shows, as teu's own client gives it.
fn secrets(headers: &HeaderMap) -> Answer<Secrets> {
    let given = decoded::<BTreeMap<String, String>>(headers, BUILD_SECRETS)?.unwrap_or_default();
    let read = |(id, text): (String, String)| {
        let content = STANDARD.decode(text).map_err(|_| Failure::bad(format!("the secret {id} is not in base64")))?;
        Ok((id, content))
    };
    given.into_iter().map(read).collect::<Answer<_>>().map(Secrets)
}

/// What teu's own client allows the Dockerfile to ask for.
fn allowed(query: &Query) -> Answer<Entitlements> {
    let mut all = Entitlements::default();
    for one in query.json::<Option<Vec<String>>>("allow")?.unwrap_or_default() {
        match one.as_str() {
            "network.host" => all.host_network = true,
            "security.insecure" => all.insecure = true,
            other => return Err(unsupported(&format!("to allow \"{other}\""))),
        }
    }
    Ok(all)
}

/// Whether the client is teu's own, which knows standard error by itself.
fn is_ours(headers: &HeaderMap) -> bool {
    headers.get(header::USER_AGENT).is_some_and(|agent| agent.as_bytes().starts_with(b"teu/"))
}

/// How the containers of RUN run.
fn host(query: &Query) -> Answer<HostConfig> {
    let number = |name| query.number(name).map(Option::unwrap_or_default);
    Ok(HostConfig {
        network_mode: query.string("networkmode"),
        extra_hosts: extra_hosts(query)?,
        memory: number("memory")?,
        memory_swap: number("memswap")?,
        cpu_shares: number("cpushares")?,
        cpu_period: number("cpuperiod")?,
        cpu_quota: number("cpuquota")?,
        cpuset_cpus: query.string("cpusetcpus"),
        cpuset_mems: query.string("cpusetmems"),
        shm_size: number("shmsize")?,
        cgroup_parent: query.string("cgroupparent"),
        ulimits: query.json::<Option<_>>("ulimits")?.unwrap_or_default(),
        ..HostConfig::default()
    })
}

/// One list in JSON, or one parameter for each: clients differ.
fn extra_hosts(query: &Query) -> Answer<Vec<String>> {
    let hosts = query.all("extrahosts");
    if hosts.first().is_some_and(|first| first.starts_with('[') || first == "null") {
        return Ok(query.json::<Option<_>>("extrahosts")?.unwrap_or_default());
    }
    Ok(hosts)
}

/// Whether a parameter says nothing: clients send all they know, with the values that mean none.
fn is_default(text: Option<&str>) -> bool {
    let Some(text) = text else { return true };
    match serde_json::from_str(text) {
        Ok(Value::Null | Value::Bool(false)) => true,
        Ok(Value::Number(number)) => number.as_f64() == Some(0.0),
        Ok(Value::Array(list)) => list.is_empty(),
        Ok(Value::Object(map)) => map.is_empty(),
        _ => text == "default",
    }
}

fn unsupported(what: &str) -> Failure {
    Failure::new(StatusCode::NOT_IMPLEMENTED, format!("{what} is not supported by this version of teu"))
}

/// Records of the cache have no labels, but who prunes everything at once asks all by the same ones.
const PRUNE_FILTERS: &[&str] =
    &["description", "id", "inuse", "label", "label!", "private", "shared", "type", "unused-for", "until"];

/// `GET` says what `POST` would remove.
async fn prune(
    State(engine): State<Engine>,
    Extension(front): Extension<Buildkit>,
    method: Method,
    query: Query,
) -> Answer {
    let mode = prune_mode(&method);
    let filters = query.filters_among(PRUNE_FILTERS)?;
    let number = |name: &str| query.number::<i64>(name).map(|number| number.unwrap_or_default().max(0));
    let wanted = Room {
        reserved: number("keep-storage")?.max(number("reserved-space")?),
        most: number("max-used-space")?,
        least_free: number("min-free-space")?,
    };
    if mode == PruneMode::Remove {
        front.forget().await;
    }
    let report = blocking(move || {
        let (chosen, space_reclaimed) = usage::prune(engine.store(), &filters, wanted, mode == PruneMode::Remove)?;
        let caches_deleted = chosen.into_iter().map(|row| row.id).collect();
        Ok::<_, teu_builder::Error>(PruneReport { caches_deleted, space_reclaimed })
    });
    ok(report.await?)
}

/// The build cache as `system df` shows it.
pub(super) fn cache_rows(engine: &Engine) -> Answer<Vec<BuildCache>> {
    usage::rows(engine.store()).map_err(Failure::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(query: &str) -> Answer<Options> {
        options(&Query::parse(&format!("/build?{query}").parse().expect("uri")).expect("query"), &HeaderMap::new())
    }

    #[test]
    fn what_the_stock_client_sends_is_taken() {
        let options = read(
            "buildargs=%7B%22A%22%3A%221%22%2C%22B%22%3Anull%7D&cachefrom=%5B%5D&cgroupparent=&cpuperiod=0&cpuquota=0\
             &cpusetcpus=&cpusetmems=&cpushares=0&dockerfile=Dockerfile&labels=%7B%7D&memory=0&memswap=0\
             &networkmode=default&rm=1&shmsize=0&t=a%3A1&t=b&target=&ulimits=null&version=1",
        )
        .expect("options");
        assert_eq!(options.tags.len(), 2);
        assert_eq!(options.build_args, BTreeMap::from([("A".into(), "1".into())]));
        assert!(options.target.is_none() && !options.no_cache);
    }

    #[test]
    fn what_cannot_be_done_is_said() {
        for query in ["isolation=hyperv", "securityopt=x"] {
            assert_eq!(read(query).expect_err("refused").status, StatusCode::NOT_IMPLEMENTED, "{query}");
        }
        for query in ["t=UPPER%3A%3A", "buildargs=x", "memory=much", "platform=a%2Fb%2Fc%2Fd%2Fe"] {
            assert_eq!(read(query).expect_err("refused").status, StatusCode::BAD_REQUEST, "{query}");
        }
    }

    #[test]
    fn the_result_may_come_with_the_answer() {
        let of = |kind: &str| {
            let uri =
                http::Uri::builder().path_and_query(format!("/build?outputs=%5B%7B%22Type%22:%22{kind}%22%7D%5D"));
            output(&Query::parse(&uri.build().expect("uri")).expect("query"))
        };
        assert!(matches!(of("tar"), Ok(Some(Output::Tree))) && matches!(of("oci"), Ok(Some(Output::Archive))));
        assert_eq!(of("registry").expect_err("refused").status, StatusCode::NOT_IMPLEMENTED);
    }
}
