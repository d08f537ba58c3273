//! Request bodies: JSON with a limit, and long ones as a stream, for async callers or as a blocking [`Read`].
//!
//! Members of JSON objects are recognised whatever their case, as Docker recognises them; that is done here, for all.

use std::io::{self, Read};
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{FromRequest, Request};
use bytes::{Buf, Bytes};
use futures_util::StreamExt;
use http::{HeaderMap, header};
use serde::de::DeserializeOwned;
use serde_json::Value;
use teu_api::shape::{Shape, Shaped, name_members};
use tokio::sync::mpsc;

use crate::failure::{Answer, Failure};
use crate::json_fault;

/// How long the rest of a body that nobody wants is read.
const FAREWELL: Duration = Duration::from_secs(10);
/// As much JSON as a request may bring.
const LIMIT: usize = 4 << 20;

/// A JSON body.
pub(crate) struct Json<T>(pub(crate) T);

impl<T: DeserializeOwned + Shaped, S: Sync> FromRequest<S> for Json<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, _: &S) -> Answer<Self> {
        let bytes = json_bytes(request).await?;
        if bytes.is_empty() {
            return Err(Failure::bad("invalid JSON: got EOF while reading request body"));
        }
        parse(&bytes).map(Self)
    }
}

/// A JSON body that may be left out.
pub(crate) struct OptionalJson<T>(pub(crate) Option<T>);

impl<T: DeserializeOwned + Shaped, S: Sync> FromRequest<S> for OptionalJson<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, _: &S) -> Answer<Self> {
        let bytes = json_bytes(request).await?;
        // Clients that have nothing to say in a body send `null`.
        if bytes.is_empty() { Ok(Self(None)) } else { parse(&bytes).map(Self) }
    }
}

async fn json_bytes(request: Request) -> Answer<Bytes> {
    let (parts, body) = request.into_parts();
    let bytes = to_bytes(body, LIMIT)
        .await
        .map_err(|error| Failure::bad(format!("read the request's body (at most {LIMIT} bytes): {error}")))?;
    if !bytes.is_empty() {
        expect_json(&parts.headers)?;
    }
    Ok(bytes)
}

/// A web page can make a browser send a form, never `application/json`: this keeps such requests out.
fn expect_json(headers: &HeaderMap) -> Answer<()> {
    let found = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if found.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    Err(Failure::bad(format!("unsupported Content-Type header ({found}): must be 'application/json'")))
}

fn parse<T: DeserializeOwned + Shaped>(bytes: &[u8]) -> Answer<T> {
    let malformed = |error| match json_fault::sentence(bytes) {
        Some(sentence) if sentence == json_fault::MORE => Failure::bad(sentence),
        Some(sentence) => Failure::bad(format!("invalid JSON: {sentence}")),
        None => wrong(error),
    };
    let mut value: Value = serde_json::from_slice(bytes).map_err(malformed)?;
    named(&mut value, T::shape())?;
    T::deserialize(value).map_err(wrong)
}

/// The members by the names they have in the document.
pub(crate) fn named(value: &mut Value, shape: Shape) -> Answer<()> {
    name_members(value, shape)
        .map_err(|object| Failure::bad(format!("invalid JSON: {object} is an object, not a list")))
}

#[expect(clippy::needless_pass_by_value, reason = "the signature of map_err")]
fn wrong(error: serde_json::Error) -> Failure {
    Failure::bad(format!("invalid JSON: {error}"))
}

/// Pumps a body into a channel until it ends. When nobody listens any more the rest is read all the same, for a while: a
/// client that is cut off while it writes never reads why.
pub(crate) fn chunks(body: Body) -> mpsc::Receiver<io::Result<Bytes>> {
    let (sender, receiver) = mpsc::channel(8);
    tokio::spawn(async move {
        let mut stream = body.into_data_stream();
        while let Some(piece) = stream.next().await {
            let piece = piece.map_err(|error| io::Error::new(io::ErrorKind::UnexpectedEof, error));
            let last = piece.is_err();
            if sender.send(piece).await.is_err() {
                let rest = async { while let Some(Ok(_)) = stream.next().await {} };
                let _ = tokio::time::timeout(FAREWELL, rest).await;
                return;
            }
            if last {
                return;
            }
        }
    });
    receiver
}

/// A body as a blocking reader, for a thread where blocking is allowed.
pub(crate) struct Reader {
    receiver: mpsc::Receiver<io::Result<Bytes>>,
    current: Bytes,
}

impl Reader {
    pub(crate) fn new(body: Body) -> Self {
        Self { receiver: chunks(body), current: Bytes::new() }
    }
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.receiver.blocking_recv() {
                Some(piece) => self.current = piece?,
                None => return Ok(0),
            }
        }
        let n = self.current.len().min(buffer.len());
        self.current.copy_to_slice(&mut buffer[..n]);
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(kind: &str, body: &str) -> Request {
        Request::builder().header(header::CONTENT_TYPE, kind).body(Body::from(body.to_owned())).expect("request")
    }

    #[tokio::test]
    async fn only_json_is_taken_for_json() {
        let Json(value) =
            Json::<Vec<u32>>::from_request(request("application/json; charset=utf-8", "[1]"), &()).await.expect("json");
        assert_eq!(value, [1]);
        for (kind, body) in [("text/plain", "[1]"), ("application/json", "[1"), ("application/json", "")] {
            let refused = Json::<Vec<u32>>::from_request(request(kind, body), &()).await;
            assert_eq!(refused.err().expect("refused").status, http::StatusCode::BAD_REQUEST);
        }
    }

    #[tokio::test]
    async fn an_endless_body_is_refused() {
        let refused = Json::<String>::from_request(request("application/json", &"x".repeat(LIMIT + 1)), &()).await;
        assert!(refused.is_err());
    }

    #[tokio::test]
    async fn a_reader_gives_the_whole_body() {
        let pieces = ["one ", "", "two"].map(|piece| Ok::<_, io::Error>(Bytes::from(piece)));
        let mut reader = Reader::new(Body::from_stream(futures_util::stream::iter(pieces)));
        let text = tokio::task::spawn_blocking(move || {
            let mut text = String::new();
            reader.read_to_string(&mut text).map(|_| text)
        });
        assert_eq!(text.await.expect("joined").expect("read"), "one two");
    }
}
