//! Whole conversations over a socket pair: what crosses the wire, from the first byte to the last.

use axum::Router;
use axum::extract::Request;
use axum::routing::{get, post};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::sync::{oneshot, watch};

use crate::compat::Version;
use crate::failure::{method_not_allowed, page_not_found};
use crate::hijack::{Hijack, Wants, last_words};
use crate::listen::{InFlight, converse};

/// A router with a version, and a process that says what it hears.
fn router() -> Router {
    let echo = |hijack: Hijack, request: Request| async move {
        let (engine, mut process) = UnixStream::pair().expect("pair");
        tokio::spawn(async move {
            let (mut reader, mut writer) = process.split();
            let _ = tokio::io::copy(&mut reader, &mut writer).await;
        });
        let (ready, stream) = oneshot::channel();
        let _ = ready.send(BufReader::new(engine));
        let attachment = teu_engine::Attachment {
            tty: true,
            history: None,
            stream: Some(stream),
            ended: None,
            detach: None,
            delivery: None,
        };
        hijack.connect(attachment, Wants::all(true), request.into_body())
    };
    let fails = |hijack: Hijack, request: Request| async move {
        hijack.connect(last_words("no such program\r\n".into(), false, None), Wants::all(false), request.into_body())
    };
    Router::new()
        .route("/version", get(|version: Version| async move { version.to_string() }))
        .route("/containers/{id}/attach", post(echo))
        .route("/exec/{id}/start", post(fails))
        .fallback(page_not_found)
        .method_not_allowed_fallback(method_not_allowed)
}

/// Says `request`, closes that half, and gives back all that is said in return.
async fn said(request: &str) -> String {
    let (mut client, server) = UnixStream::pair().expect("pair");
    let (_never, ending) = watch::channel(false);
    let serving = tokio::spawn(converse(server, router(), InFlight::default(), ending));
    client.write_all(request.as_bytes()).await.expect("written");
    client.shutdown().await.expect("shut down");
    let mut text = String::new();
    client.read_to_string(&mut text).await.expect("read");
    drop(client);
    serving.await.expect("joined");
    text
}

async fn got(path: &str) -> String {
    said(&format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")).await
}

#[tokio::test]
async fn a_version_in_the_path_is_the_one_that_handlers_see() {
    assert!(got("/v1.41/version").await.ends_with("\r\n\r\n1.41"));
    assert!(got("/version").await.ends_with(&format!("\r\n\r\n{}", teu_api::API_VERSION)));
    let refused = got("/v1.99/version").await;
    assert!(refused.starts_with("HTTP/1.1 400 Bad Request\r\n"));
    assert!(refused.contains("client version 1.99 is too new. Maximum supported API version is"));
}

#[tokio::test]
async fn every_answer_says_who_answers() {
    for path in ["/version", "/v1.99/version", "/nowhere"] {
        let text = got(path).await;
        for header in ["server: Teu/", "api-version: ", "ostype: linux", "docker-experimental: false"] {
            assert!(text.contains(header), "{path} lacks {header}");
        }
    }
}

#[tokio::test]
async fn wrong_paths_and_methods_are_errors_with_a_message() {
    let missing = got("/v1.41/nowhere").await;
    assert!(missing.starts_with("HTTP/1.1 404") && missing.ends_with("{\"message\":\"page not found\"}\n"));
    let wrong = said("POST /version HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await;
    assert!(wrong.starts_with("HTTP/1.1 405") && wrong.contains("POST is not allowed on /version"));
}

#[tokio::test]
async fn an_announced_upgrade_is_101_and_then_raw() {
    let text = said("POST /v1.51/containers/a/attach HTTP/1.1\r\nHost: x\r\nUpgrade: tcp\r\n\r\nhello").await;
    assert!(text.starts_with("HTTP/1.1 101 UPGRADED\r\n"), "{text}");
    assert!(text.contains("connection: Upgrade\r\n") && text.contains("upgrade: tcp\r\n"));
    assert!(text.contains("content-type: application/vnd.docker.raw-stream\r\n"));
    assert!(text.ends_with("\r\n\r\nhello"));
}

#[tokio::test]
async fn one_not_announced_is_200_and_then_raw() {
    let text = said("POST /containers/a/attach HTTP/1.1\r\nHost: x\r\n\r\nhello").await;
    assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
    assert!(!text.contains("upgrade: ") && !text.contains("chunked"));
    assert!(text.ends_with("\r\n\r\nhello"));
}

#[tokio::test]
async fn plain_http_has_the_input_in_its_body() {
    let text = said(
        "POST /containers/a/attach HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n\
         5\r\nhello\r\n0\r\n\r\n",
    )
    .await;
    assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
    assert!(text.contains("transfer-encoding: chunked") && text.ends_with("\r\n\r\n5\r\nhello\r\n0\r\n\r\n"));
}

#[tokio::test]
async fn frames_have_their_own_media_type_since_1_42() {
    for (version, kind) in [("1.41", "raw-stream"), ("1.42", "multiplexed-stream")] {
        let text = said(&format!("POST /v{version}/exec/a/start HTTP/1.1\r\nHost: x\r\nUpgrade: tcp\r\n\r\n")).await;
        assert!(text.contains(&format!("content-type: application/vnd.docker.{kind}\r\n")), "{text}");
        assert!(text.ends_with("\r\n\r\n\u{2}\0\0\0\0\0\0\u{11}no such program\r\n"), "{text:?}");
    }
}

#[tokio::test]
async fn a_stream_of_last_words_ends_cleanly_though_the_client_still_sends() {
    let (mut client, server) = UnixStream::pair().expect("pair");
    let (_never, ending) = watch::channel(false);
    let serving = tokio::spawn(converse(server, router(), InFlight::default(), ending));
    client.write_all(b"POST /exec/a/start HTTP/1.1\r\nHost: x\r\nUpgrade: tcp\r\n\r\n").await.expect("written");
    let mut text = String::new();
    client.read_to_string(&mut text).await.expect("read");
    assert!(text.ends_with("no such program\r\n"), "{text:?}");
    client.write_all(b"nobody reads this").await.expect("taken");
    drop(client);
    serving.await.expect("joined");
}

#[tokio::test]
async fn an_end_waits_for_answers_but_not_for_streams() {
    let (mut client, server) = UnixStream::pair().expect("pair");
    let (end, ending) = watch::channel(false);
    let in_flight = InFlight::default();
    let endless = || async {
        let silence = futures_util::stream::pending::<std::io::Result<bytes::Bytes>>();
        axum::body::Body::from_stream(silence)
    };
    let router = Router::new().route("/events", get(endless));
    let serving = tokio::spawn(converse(server, router, in_flight.clone(), ending));
    client.write_all(b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("written");
    // The header is there at once, so that the client knows that it listens.
    let mut head = [0; 15];
    client.read_exact(&mut head).await.expect("read");
    assert_eq!(&head, b"HTTP/1.1 200 OK");
    end.send_replace(true);
    in_flight.none().await;
    assert!(!serving.is_finished());
    serving.abort();
}

#[tokio::test]
async fn what_is_only_for_a_client_ends_when_it_is_gone() {
    let (mut client, server) = UnixStream::pair().expect("pair");
    let (_never, ending) = watch::channel(false);
    let (held, mut dropped) = tokio::sync::mpsc::channel::<()>(1);
    let endless = move || async move {
        let silence = futures_util::stream::pending::<std::io::Result<bytes::Bytes>>();
        axum::body::Body::from_stream(futures_util::StreamExt::inspect(silence, move |_| drop(held.clone())))
    };
    let router = Router::new().route("/events", get(endless));
    let serving = tokio::spawn(converse(server, router, InFlight::default(), ending));
    client.write_all(b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("written");
    let mut head = [0; 15];
    client.read_exact(&mut head).await.expect("read");
    drop(client);
    serving.await.expect("joined");
    assert!(dropped.recv().await.is_none());
}

#[tokio::test]
async fn http_2_is_spoken_with_whoever_begins_with_it() {
    use http_body_util::{BodyExt, Full};
    let (client, server) = UnixStream::pair().expect("pair");
    let (_never, ending) = watch::channel(false);
    tokio::spawn(converse(server, router(), InFlight::default(), ending));
    let io = hyper_util::rt::TokioIo::new(client);
    let executor = hyper_util::rt::TokioExecutor::new();
    let (mut sender, connection) = hyper::client::conn::http2::handshake(executor, io).await.expect("shaken");
    tokio::spawn(connection);
    let request = |method: &str, path: &str, body: &'static str| {
        let uri = format!("http://x{path}");
        hyper::Request::builder().method(method).uri(uri).body(Full::new(bytes::Bytes::from(body))).expect("request")
    };
    let told = sender.send_request(request("GET", "/v1.41/version", "")).await.expect("answered");
    assert_eq!(told.into_body().collect().await.expect("body").to_bytes(), "1.41");
    let echoed = sender.send_request(request("POST", "/containers/a/attach", "hello")).await.expect("answered");
    assert_eq!(echoed.into_body().collect().await.expect("body").to_bytes(), "hello");
}
