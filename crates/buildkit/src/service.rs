//! The calls of `/grpc`: paths to functions.

use std::convert::Infallible;
use std::sync::Arc;

use futures_util::Stream;
use futures_util::stream::unfold;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tonic::body::Body;
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

use crate::Buildkit;
use crate::board::Reader;
use crate::job::Job;
use crate::session::WINDOWS;
use crate::usage::{prune, usage};
use crate::wire::control::{
    BuildkitVersion, DiskUsageRequest, InfoResponse, ListWorkersResponse, PruneRequest, SolveRequest, StatusRequest,
    StatusResponse, WorkerRecord,
};
use crate::wire::{BytesMessage, Empty, Platform, gateway};

/// By which build a call of the gateway is.
const BUILD: &str = "buildkit-controlapi-buildid";
/// The version of BuildKit whose protocol this is, as clients look at it to know what they may ask for.
const VERSION: &str = "v0.13.0";

/// How many calls a client may have open. Each target of bake has three, all on one connection, and some of them wait for
/// others: a client that may not make those would wait for ever.
const CALLS: u32 = 1 << 16;

/// What a client may ask of the frontend.
const FRONTEND: &[&str] = &[
    "solve.base",
    "solve.inlinereturn",
    "return",
    "returnmap",
    "importcaches",
    "proto.refarray",
    "reference.output",
    "frontend.caps",
    "gateway.solve.metadata",
    "gateway.solve.evaluate",
    "gateway.evaluate",
    "gateway.warnings",
];

/// What a client may expect of a build.
const LANGUAGE: &[&str] = &[
    "source.image",
    "source.image.resolvemode",
    "source.local",
    "source.local.unique",
    "source.local.sessionid",
    "source.local.includepatterns",
    "source.local.followpaths",
    "source.local.excludepatterns",
    "source.local.sharedkeyhint",
    "source.http",
    "source.git",
    "source.git.fullurl",
    "source.git.keepgitdir",
    "source.git.httpauth",
    "source.git.subdir",
    "source.git.checksum",
    "source.http.checksum",
    "exec.meta.base",
    "exec.meta.cgroup.parent",
    "exec.meta.network",
    "exec.meta.proxyenv",
    "exec.meta.security",
    "exec.meta.setsdefaultpath",
    "exec.meta.ulimit",
    "exec.meta.linux.resources",
    "exec.mount.bind",
    "exec.mount.cache",
    "exec.mount.cache.sharing",
    "exec.mount.selector",
    "exec.mount.tmpfs",
    "exec.mount.tmpfs.size",
    "exec.mount.secret",
    "exec.mount.ssh",
    "exec.secretenv",
    "file.base",
    "constraints",
    "platform",
    "meta.ignorecache",
    "meta.description",
    "exporter.multiple",
];

/// Serves a connection until its client leaves.
pub(crate) async fn serve<I>(front: Buildkit, io: I)
where
    I: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let answer = service_fn(move |request| {
        let front = front.clone();
        async move { Ok::<_, Infallible>(route(front, request).await) }
    });
    let mut builder = http2::Builder::new(TokioExecutor::new());
    // A session may be in a call.
    builder.initial_stream_window_size(WINDOWS.0).initial_connection_window_size(WINDOWS.1);
    builder.max_concurrent_streams(CALLS);
    if let Err(error) = builder.timer(TokioTimer::new()).serve_connection(io, answer).await {
        tracing::debug!(%error, "a client of the build protocol is gone");
    }
}

async fn route(front: Buildkit, request: http::Request<Incoming>) -> http::Response<Body> {
    match request.uri().path() {
        "/moby.buildkit.v1.Control/Solve" => {
            unary(request, move |call: Request<SolveRequest>| front.clone().solve(call.into_inner())).await
        }
        "/moby.buildkit.v1.Control/Status" => {
            streamed(request, move |call: Request<StatusRequest>| status(front.clone(), call.into_inner())).await
        }
        "/moby.buildkit.v1.Control/ListWorkers" => {
            unary(request, move |_: Request<Empty>| {
                let record = vec![worker(&front)];
                async { Ok(ListWorkersResponse { record }) }
            })
            .await
        }
        "/moby.buildkit.v1.Control/Info" => {
            unary(request, |_: Request<Empty>| async { Ok(InfoResponse { version: Some(version()) }) }).await
        }
        "/moby.buildkit.v1.Control/Session" => tunnel(front, request).await,
        "/moby.buildkit.v1.Control/DiskUsage" => {
            unary(request, move |call: Request<DiskUsageRequest>| usage(front.clone(), call.into_inner())).await
        }
        "/moby.buildkit.v1.Control/Prune" => {
            streamed(request, move |call: Request<PruneRequest>| prune(front.clone(), call.into_inner())).await
        }
        "/moby.buildkit.v1.frontend.LLBBridge/Ping" => {
            unary(request, move |call: Request<Empty>| ping(front.clone(), call)).await
        }
        "/moby.buildkit.v1.frontend.LLBBridge/Solve" => {
            unary(request, move |call: Request<gateway::SolveRequest>| {
                let front = front.clone();
                async move {
                    let job = job(&front, &call).await?;
                    front.frontend(&job, call.into_inner()).await
                }
            })
            .await
        }
        "/moby.buildkit.v1.frontend.LLBBridge/Return" => {
            unary(request, move |call: Request<gateway::ReturnRequest>| bring_back(front.clone(), call)).await
        }
        // Everything is done when it is asked for.
        "/moby.buildkit.v1.frontend.LLBBridge/Evaluate" | "/moby.buildkit.v1.frontend.LLBBridge/Warn" => {
            unary(request, |_: Request<Empty>| async { Ok(Empty {}) }).await
        }
        // Its answer says "serving".
        "/grpc.health.v1.Health/Check" => unary(request, |_: Request<Empty>| async { Ok(Serving { status: 1 }) }).await,
        other => {
            let message = format!("{} is not supported by this version of teu", other.trim_start_matches('/'));
            Status::unimplemented(message).into_http()
        }
    }
}

/// `grpc.health.v1.HealthCheckResponse`.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
struct Serving {
    #[prost(int32, tag = "1")]
    status: i32,
}

/// One question, one answer.
async fn unary<Q, A, F, T>(request: http::Request<Incoming>, act: F) -> http::Response<Body>
where
    Q: Message + Default + 'static,
    A: Message + 'static,
    F: Fn(Request<Q>) -> T,
    T: Future<Output = Result<A, Status>> + Send + 'static,
{
    let act = tower::service_fn(|call| {
        let answer = act(call);
        Box::pin(async move { answer.await.map(Response::new) })
    });
    tonic::server::Grpc::new(ProstCodec::<A, Q>::default()).unary(act, request).await
}

/// One question, many answers.
async fn streamed<Q, A, F, T, S>(request: http::Request<Incoming>, act: F) -> http::Response<Body>
where
    Q: Message + Default + 'static,
    A: Message + 'static,
    F: Fn(Request<Q>) -> T,
    T: Future<Output = Result<S, Status>> + Send + 'static,
    S: Stream<Item = Result<A, Status>> + Send + 'static,
{
    let act = tower::service_fn(|call| {
        let answer = act(call);
        Box::pin(async move { answer.await.map(Response::new) })
    });
    tonic::server::Grpc::new(ProstCodec::<A, Q>::default()).server_streaming(act, request).await
}

/// A session in a call, for clients that can open no connection of their own: its bytes are those of the messages.
async fn tunnel(front: Buildkit, request: http::Request<Incoming>) -> http::Response<Body> {
    let act = tower::service_fn(move |call: Request<tonic::Streaming<BytesMessage>>| {
        let front = front.clone();
        Box::pin(async move {
            let headers = call.metadata().clone().into_headers();
            let (ours, theirs) = tokio::io::duplex(64 << 10);
            let (from_daemon, mut to_daemon) = tokio::io::split(theirs);
            let mut messages = call.into_inner();
            tokio::spawn(async move { front.session(&headers, TokioIo::new(ours)).await });
            tokio::spawn(async move {
                while let Ok(Some(message)) = messages.message().await {
                    if to_daemon.write_all(&message.data).await.is_err() {
                        break;
                    }
                }
                let _ = to_daemon.shutdown().await;
            });
            let outgoing = unfold(from_daemon, |mut from_daemon| async move {
                let mut data = bytes::BytesMut::with_capacity(32 << 10);
                match from_daemon.read_buf(&mut data).await {
                    Ok(1..) => Some((Ok(BytesMessage { data: data.freeze() }), from_daemon)),
                    _ => None,
                }
            });
            Ok::<_, Status>(Response::new(outgoing))
        })
    });
    tonic::server::Grpc::new(ProstCodec::<BytesMessage, BytesMessage>::default()).streaming(act, request).await
}

/// What happens in a build, until it is over.
async fn status(
    front: Buildkit,
    request: StatusRequest,
) -> Result<impl Stream<Item = Result<StatusResponse, Status>> + Send, Status> {
    let job = front.0.jobs.get(&request.reference).await?;
    let reader = job.board.read();
    Ok(unfold(reader, |reader: Option<Reader>| async {
        let reader = reader?;
        let message = reader.next().await?;
        Some((Ok(message), Some(reader)))
    }))
}

/// The build that a call of the gateway is about.
async fn job<T>(front: &Buildkit, call: &Request<T>) -> Result<Arc<Job>, Status> {
    let name = call.metadata().get(BUILD).and_then(|name| name.to_str().ok());
    let name = name.ok_or_else(|| Status::invalid_argument("the call does not say by which build it is"))?;
    front.0.jobs.get(name).await
}

async fn ping(front: Buildkit, call: Request<Empty>) -> Result<gateway::PongResponse, Status> {
    job(&front, &call).await?;
    let all = |names: &[&str]| {
        names.iter().map(|name| gateway::Capability { id: (*name).into(), enabled: true }).collect::<Vec<_>>()
    };
    Ok(gateway::PongResponse { frontend_caps: all(FRONTEND), llb_caps: all(LANGUAGE), workers: vec![worker(&front)] })
}

async fn bring_back(front: Buildkit, call: Request<gateway::ReturnRequest>) -> Result<Empty, Status> {
    let job = job(&front, &call).await?;
    let gateway::ReturnRequest { result, error } = call.into_inner();
    job.bring(match error {
        Some(error) => Err(Status::new(error.code.into(), error.message)),
        None => Ok(result.and_then(|result| result.refs).map(|refs| match refs {
            gateway::Refs::Deprecated(name) | gateway::Refs::One(gateway::Ref { id: name, .. }) => name,
        })),
    });
    Ok(Empty {})
}

fn version() -> BuildkitVersion {
    BuildkitVersion { package: "github.com/teu/teu".into(), version: VERSION.into() }
}

/// This machine, as it builds.
fn worker(front: &Buildkit) -> WorkerRecord {
    let host = teu_oci::Platform::host();
    let gateway = front
        .0
        .engine
        .host_gateway()
        .map(|address| ("org.mobyproject.buildkit.worker.moby.host-gateway-ip".to_owned(), address.to_string()));
    // By it clients know an engine that gives archives of images to them, and pushes by itself.
    let snapshotter = ("org.mobyproject.buildkit.worker.snapshotter".to_owned(), "overlay".to_owned());
    let executor = ("org.mobyproject.buildkit.worker.executor".to_owned(), "teu".to_owned());
    WorkerRecord {
        id: "teu".into(),
        labels: gateway.into_iter().chain([executor, snapshotter]).collect(),
        platforms: vec![Platform {
            architecture: host.architecture,
            os: host.os,
            variant: host.variant.unwrap_or_default(),
        }],
        version: Some(version()),
    }
}
