//! Sessions: connections on which client and daemon change places. The client opens `/session`, and from then on it is
//! the one who answers: calls go out from here for files, credentials, secrets and agents.
//!
//! ```text
//! client ── POST /session, Upgrade: h2c ──▶ daemon
//! client ◀── FileSync.DiffCopy, Auth.Credentials, Secrets.GetSecret, SSH.ForwardAgent … ── daemon
//! ```

use std::collections::HashSet;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::Stream;
use http::HeaderMap;
use http::uri::PathAndQuery;
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper_util::rt::TokioExecutor;
use prost::Message;
use tonic::client::Grpc;
use tonic_prost::ProstCodec;

use crate::waiting::Waiting;

/// How much may be on its way in one call, and on all of a connection, in bytes. What is told of a file is a frame of some
/// 50 bytes, and the half of the second number is what the sum of `256 - length` over all frames that wait may be before the
/// connection is taken for an attack (`h2`, RFC 9113 section 10.5): a call's window must be able to fill with such frames.
pub(crate) const WINDOWS: (u32, u32) = (4 << 20, 256 << 20);
/// The largest message that is taken, in bytes.
const LARGEST: usize = 32 << 20;

/// The header that says which session it is.
pub const ID: &str = "x-docker-expose-session-uuid";
/// The headers that say what its client serves.
const METHOD: &str = "x-docker-expose-session-grpc-method";
/// The header by which a client says that its folders are those of an earlier session.
const SHARED: &str = "x-docker-expose-session-sharedkey";

/// The sessions that are open.
#[derive(Default)]
pub(crate) struct Sessions(Waiting<Session>);

impl Sessions {
    /// Serves a session until its client leaves.
    pub(crate) async fn hold<I>(&self, headers: &HeaderMap, io: I)
    where
        I: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
    {
        let Some(id) = headers.get(ID).and_then(|id| id.to_str().ok()).map(str::to_owned) else { return };
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder.initial_stream_window_size(WINDOWS.0).initial_connection_window_size(WINDOWS.1);
        let (sender, connection) = match builder.handshake(io).await {
            Ok(both) => both,
            Err(error) => return tracing::debug!(%error, "a session did not begin"),
        };
        let methods = headers.get_all(METHOD).iter().filter_map(|name| name.to_str().ok());
        let methods = methods.map(str::to_ascii_lowercase).collect();
        let shared = headers.get(SHARED).and_then(|key| key.to_str().ok()).filter(|key| !key.is_empty());
        let session = Session { channel: Channel(sender), methods: Arc::new(methods), shared: shared.map(Into::into) };
        if !self.0.put(&id, session) {
            return tracing::debug!(id, "a session of that id is open");
        }
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a session ended");
        }
        self.0.lock().remove(&id);
    }

    /// Whether one of that id is open.
    pub(crate) fn has(&self, id: &str) -> bool {
        self.0.lock().contains_key(id)
    }

    /// The session of that id, when it is there, or comes soon.
    pub(crate) async fn get(&self, id: &str) -> Result<Session, tonic::Status> {
        let found = self.0.find(|all| all.get(id).cloned()).await;
        found.ok_or_else(|| tonic::Status::not_found(format!("no active session for {id}: context deadline exceeded")))
    }
}

/// A client that answers.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    channel: Channel,
    methods: Arc<HashSet<String>>,
    shared: Option<Arc<str>>,
}

impl Session {
    /// Under which name a folder of the client's is known from session to session, if it is.
    pub(crate) fn folder(&self, name: &str) -> Option<String> {
        self.shared.as_ref().map(|key| format!("{key} {name}"))
    }

    /// Whether the client serves a method: `/package.Service/Method`.
    pub(crate) fn serves(&self, method: &str) -> bool {
        self.methods.contains(&method.to_ascii_lowercase())
    }

    /// One question, one answer.
    pub(crate) async fn ask<Q, A>(&self, method: &'static str, question: Q) -> Result<A, tonic::Status>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        let mut grpc = self.grpc();
        grpc.ready().await.map_err(|error| gone(&error))?;
        let codec = ProstCodec::<Q, A>::default();
        let answer = grpc.unary(tonic::Request::new(question), PathAndQuery::from_static(method), codec).await?;
        Ok(answer.into_inner())
    }

    /// Streams in both directions.
    pub(crate) async fn converse<Q, A, S>(
        &self,
        method: &'static str,
        request: tonic::Request<S>,
    ) -> Result<tonic::Streaming<A>, tonic::Status>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
        S: Stream<Item = Q> + Send + 'static,
    {
        let mut grpc = self.grpc();
        grpc.ready().await.map_err(|error| gone(&error))?;
        let codec = ProstCodec::<Q, A>::default();
        Ok(grpc.streaming(request, PathAndQuery::from_static(method), codec).await?.into_inner())
    }

    fn grpc(&self) -> Grpc<Channel> {
        let grpc = Grpc::with_origin(self.channel.clone(), http::Uri::from_static("http://session"));
        grpc.max_decoding_message_size(LARGEST)
    }
}

fn gone(error: &hyper::Error) -> tonic::Status {
    tonic::Status::unavailable(format!("the client's session is gone: {error}"))
}

/// The connection, as a service.
#[derive(Clone, Debug)]
struct Channel(http2::SendRequest<tonic::body::Body>);

impl tower::Service<http::Request<tonic::body::Body>> for Channel {
    type Response = http::Response<Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, hyper::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), hyper::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<tonic::body::Body>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use futures_util::stream::iter;
    use http_body_util::StreamBody;
    use hyper::body::Frame;
    use hyper::service::service_fn;
    use hyper_util::rt::TokioIo;

    use super::*;
    use crate::wire::BytesMessage;

    const MESSAGES: usize = 60_000;

    /// A client that says much in few bytes at a time.
    async fn client(io: tokio::io::DuplexStream) {
        let message = BytesMessage { data: Bytes::from_static(b"text") }.encode_to_vec();
        let head = [&[0, 0, 0, 0][..], &[u8::try_from(message.len()).expect("short")]].concat();
        let frame = Bytes::from([head, message].concat());
        let answer = service_fn(move |_| {
            let frame = frame.clone();
            async move {
                let end = [(http::HeaderName::from_static("grpc-status"), http::HeaderValue::from_static("0"))];
                let frames = (0..MESSAGES).map(move |_| Frame::data(frame.clone()));
                let frames = frames.chain([Frame::trailers(HeaderMap::from_iter(end))]);
                let frames = frames.map(Ok::<_, std::convert::Infallible>);
                let answer = http::Response::builder().header("content-type", "application/grpc");
                answer.body(StreamBody::new(iter(frames)))
            }
        });
        let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        let _ = builder.serve_connection(TokioIo::new(io), answer).await;
    }

    #[tokio::test]
    async fn a_client_may_say_more_than_is_read_at_once() {
        let (ours, theirs) = tokio::io::duplex(1 << 20);
        tokio::spawn(client(theirs));
        let sessions = Arc::new(Sessions::default());
        let headers = [(http::HeaderName::from_static(ID), http::HeaderValue::from_static("a"))];
        tokio::spawn({
            let sessions = sessions.clone();
            async move { sessions.hold(&HeaderMap::from_iter(headers), TokioIo::new(ours)).await }
        });
        let session = sessions.get("a").await.expect("open");
        let request = tonic::Request::new(iter([BytesMessage::default()]));
        let mut answers = session.converse::<BytesMessage, BytesMessage, _>("/a/b", request).await.expect("answered");
        // Meanwhile what was said waits in the connection's memory.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let mut count = 0;
        while answers.message().await.expect("a message").is_some() {
            count += 1;
        }
        assert_eq!(count, MESSAGES);
    }
}
