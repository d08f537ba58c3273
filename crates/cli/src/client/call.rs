//! One call of the API: method, path, query, body, and the ways to take its answer.

use std::fmt::Write as _;
use std::marker::PhantomData;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use serde::Serialize;
use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, SeqAccess, Visitor};
use teu_api::container::RUN_HEADER;
use teu_api::stream::RAW_STREAM;
use teu_api::{ErrorBody, Platform};

use super::{Body, Client, Hijacked, JsonLines};
use crate::failure::{Failure, Naming};

/// A call being put together.
pub(crate) struct Call<'c> {
    client: &'c Client<'c>,
    method: Method,
    path: String,
    query: String,
    headers: Vec<(&'static str, String)>,
    payload: Payload,
}

/// What a request carries.
enum Payload {
    Nothing,
    Bytes(Bytes),
    Stream(Body),
}

impl Client<'_> {
    /// A `GET`; the path is that of the API without version.
    pub(crate) fn get(&self, path: impl Into<String>) -> Call<'_> {
        self.call(Method::GET, path.into())
    }

    /// A `POST`.
    pub(crate) fn post(&self, path: impl Into<String>) -> Call<'_> {
        self.call(Method::POST, path.into())
    }

    /// A `PUT`.
    pub(crate) fn put(&self, path: impl Into<String>) -> Call<'_> {
        self.call(Method::PUT, path.into())
    }

    /// A `HEAD`.
    pub(crate) fn head(&self, path: impl Into<String>) -> Call<'_> {
        self.call(Method::HEAD, path.into())
    }

    /// A `DELETE`.
    pub(crate) fn delete(&self, path: impl Into<String>) -> Call<'_> {
        self.call(Method::DELETE, path.into())
    }

    fn call(&self, method: Method, path: String) -> Call<'_> {
        Call { client: self, method, path, query: String::new(), headers: Vec::new(), payload: Payload::Nothing }
    }
}

impl Client<'_> {
    /// Learns the newest version that both ends speak. Other calls just ask, and step down when the daemon is older.
    async fn settle_version(&self) -> Result<(), Failure> {
        let empty = Full::new(Bytes::new()).map_err(|never| match never {}).boxed();
        match self.ask(&Method::GET, "/_ping", &[], empty).await {
            Ok((response, sender)) => {
                response.into_body().collect().await.map_err(|error| broken(&error))?;
                self.keep(sender);
            }
            Err(failure) if failure.status.is_none() => return Err(failure),
            Err(failure) => drop(self.step_down(&failure)),
        }
        Ok(())
    }

    /// Sends a request; the answer's status is below 400.
    async fn ask(
        &self,
        method: &Method,
        target: &str,
        headers: &[(&'static str, String)],
        body: Body,
    ) -> Result<(Response<Incoming>, SendRequest<Body>), Failure> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("/v{}{target}", self.version()))
            .header(header::HOST, "teu")
            .header(header::USER_AGENT, concat!("teu/", env!("CARGO_PKG_VERSION")));
        for (name, value) in &self.session.headers {
            request = request.header(name, value);
        }
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let request = request.body(body).map_err(|error| Failure::new(format!("write the request: {error}")))?;
        if self.session.debug {
            crate::output::note!("debug: {method} /v{}{target}", self.version());
        }
        let mut sender = self.connection().await?;
        let response = sender.send_request(request).await.map_err(|error| broken(&error))?;
        let status = response.status();
        if status.is_client_error() || status.is_server_error() {
            let body = response.into_body().collect().await.map_err(|error| broken(&error))?.to_bytes();
            self.keep(sender);
            let message = match serde_json::from_slice::<ErrorBody>(&body) {
                Ok(error) => error.message,
                Err(_) => String::from_utf8_lossy(&body).trim().to_owned(),
            };
            return Err(Failure::daemon(status.as_u16(), &message));
        }
        Ok((response, sender))
    }
}

impl<'c> Call<'c> {
    /// Adds a parameter.
    pub(crate) fn query(mut self, key: &str, value: impl AsRef<str>) -> Self {
        self.query.push(if self.query.is_empty() { '?' } else { '&' });
        let _ = write!(self.query, "{key}={}", escape(value.as_ref()));
        self
    }

    /// Adds a parameter when there is a value.
    pub(crate) fn maybe(self, key: &str, value: Option<impl AsRef<str>>) -> Self {
        match value {
            Some(value) => self.query(key, value),
            None => self,
        }
    }

    /// Adds `key=1` when it is on.
    pub(crate) fn flag(self, key: &str, on: bool) -> Self {
        if on { self.query(key, "1") } else { self }
    }

    /// Adds the `platform` parameter, as JSON, when there is one.
    pub(crate) fn platform(self, text: Option<&str>) -> Result<Self, Failure> {
        let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(self) };
        Ok(self.query("platform", platform_json(text)?))
    }

    /// Adds one parameter, as JSON, for each platform.
    pub(crate) fn platforms(self, key: &str, texts: &[String]) -> Result<Self, Failure> {
        texts.iter().try_fold(self, |call, text| Ok(call.query(key, platform_json(text)?)))
    }

    /// Adds the `filters` parameter when there are some.
    pub(crate) fn filters(self, filters: &teu_api::Filters) -> Self {
        if filters.is_empty() { self } else { self.query("filters", filters.to_json()) }
    }

    /// Adds a header.
    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Sends JSON.
    pub(crate) fn json<T: Serialize>(self, value: &T) -> Result<Self, Failure> {
        let text = serde_json::to_vec(value).map_err(|error| Failure::new(format!("write the request: {error}")))?;
        let mut call = self.header("content-type", "application/json");
        call.payload = Payload::Bytes(Bytes::from(text));
        Ok(call)
    }

    /// Sends a stream.
    pub(crate) fn body(mut self, body: Body) -> Self {
        self.payload = Payload::Stream(body);
        self
    }

    /// Performs it; the answer's status is below 400.
    async fn send(self) -> Result<(Response<Incoming>, SendRequest<Body>), Failure> {
        let client = self.client;
        if let Some(kind) = nameless(&self.path) {
            return Err(Failure::new(format!("invalid {kind}: value is empty")));
        }
        let Self { method, path, query, headers, payload, .. } = self;
        let target = format!("{path}{query}");
        let bytes = match payload {
            Payload::Nothing => Bytes::new(),
            Payload::Bytes(bytes) => bytes,
            // A stream can be sent once only: the daemon's version must be known before.
            Payload::Stream(body) => {
                client.settle_version().await?;
                return client.ask(&method, &target, &headers, body).await;
            }
        };
        let body = || Full::new(bytes.clone()).map_err(|never| match never {}).boxed();
        match client.ask(&method, &target, &headers, body()).await {
            Err(failure) if client.step_down(&failure) => client.ask(&method, &target, &headers, body()).await,
            other => other,
        }
    }

    /// Performs it and takes the whole answer.
    pub(crate) async fn bytes(self) -> Result<Bytes, Failure> {
        let client = self.client;
        let (response, sender) = self.send().await?;
        let body = response.into_body().collect().await.map_err(|error| broken(&error))?.to_bytes();
        client.keep(sender);
        Ok(body)
    }

    /// Performs it and reads the answer as JSON.
    pub(crate) async fn read<T: DeserializeOwned>(self) -> Result<T, Failure> {
        read_json(&self.bytes().await?)
    }

    /// Performs it and takes the items of the list that is the answer one by one.
    pub(crate) async fn each<T: DeserializeOwned>(
        self,
        take: impl FnMut(T) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let body = self.bytes().await?;
        let mut reader = serde_json::Deserializer::from_slice(&body);
        let taken = Items { take, failure: None, item: PhantomData }.deserialize(&mut reader);
        match taken.and_then(|failure| reader.end().map(|()| failure)) {
            Ok(None) => Ok(()),
            Ok(Some(failure)) => Err(failure),
            Err(error) => Err(Failure::new(format!("read the daemon's answer: {error}"))),
        }
    }

    /// Performs it and ignores the answer.
    pub(crate) async fn done(self) -> Result<(), Failure> {
        self.bytes().await.map(drop)
    }

    /// Performs it and takes the answer as lines of JSON.
    pub(crate) async fn lines<T: DeserializeOwned>(self) -> Result<JsonLines<T>, Failure> {
        Ok(JsonLines::new(self.send().await?.0.into_body()))
    }

    /// Performs it and passes the answer on as it comes.
    pub(crate) async fn copy_to(self, out: &mut dyn std::io::Write, what: &str) -> Result<(), Failure> {
        let mut body = self.send().await?.0.into_body();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| broken(&error))?;
            if let Some(data) = frame.data_ref() {
                out.write_all(data).or_fail(what)?;
            }
        }
        out.flush().or_fail(what)
    }

    /// Performs it and takes one header of the answer, and its body as it comes.
    pub(crate) async fn with_header(self, name: &str) -> Result<(Option<String>, Incoming), Failure> {
        let (response, _) = self.send().await?;
        let value = response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        Ok((value, response.into_body()))
    }

    /// Performs it and takes the answer as it comes, with whether it is a terminal's bytes rather than frames.
    pub(crate) async fn output(self) -> Result<(Incoming, bool), Failure> {
        let (response, _) = self.send().await?;
        let raw = is_raw(&response);
        Ok((response.into_body(), raw))
    }

    /// Performs it and takes over the connection.
    pub(crate) async fn hijack(self) -> Result<Hijacked, Failure> {
        take_over(self.upgrading().send().await?.0).await
    }

    /// Offers the connection; a daemon that does not take it answers in JSON.
    pub(crate) async fn offer<T: DeserializeOwned>(self) -> Result<Offered<T>, Failure> {
        let client = self.client;
        let (response, sender) = self.upgrading().send().await?;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return take_over(response).await.map(Offered::Taken);
        }
        let body = response.into_body().collect().await.map_err(|error| broken(&error))?.to_bytes();
        client.keep(sender);
        read_json(&body).map(Offered::Answered)
    }

    fn upgrading(self) -> Self {
        self.header("connection", "Upgrade").header("upgrade", "tcp")
    }
}

/// What became of a connection that was offered.
pub(crate) enum Offered<T> {
    /// It is the process' streams now.
    Taken(Hijacked),
    /// It was not taken.
    Answered(T),
}

async fn take_over(mut response: Response<Incoming>) -> Result<Hijacked, Failure> {
    let raw = is_raw(&response);
    let about = response.headers_mut().remove(RUN_HEADER);
    let upgraded = hyper::upgrade::on(response).await.map_err(|error| broken(&error))?;
    Ok(Hijacked::new(upgraded, raw, about))
}

pub(super) fn read_json<T: DeserializeOwned>(body: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(body).map_err(|error| Failure::new(format!("read the daemon's answer: {error}")))
}

fn is_raw(response: &Response<Incoming>) -> bool {
    response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes() == RAW_STREAM.as_bytes())
}

/// The connection broke before the answer was complete.
pub(super) fn broken(error: &hyper::Error) -> Failure {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(source) = cause {
        let _ = write!(text, ": {source}");
        cause = source.source();
    }
    let failure = Failure::new(format!("the connection to the daemon broke: {text}"));
    // What answers does not speak HTTP.
    if error.is_parse() {
        return failure
            .hint("a daemon that asks for certificates is spoken to with --tlsverify, or by a context that has them");
    }
    failure
}

/// A platform as those parameters carry it that mean one of several an image has.
fn platform_json(text: &str) -> Result<String, Failure> {
    let platform: Platform =
        text.parse().map_err(|_| Failure::new(format!("invalid platform \"{text}\"")).hint("write os/architecture"))?;
    Ok(serde_json::to_string(&platform).unwrap_or_default())
}

/// The kind of object that a path is about when it leaves out which one.
fn nameless(path: &str) -> Option<&'static str> {
    let (collection, rest) = path.strip_prefix('/')?.split_once('/')?;
    if !rest.is_empty() && !rest.starts_with('/') {
        return None;
    }
    match collection {
        "containers" => Some("container name or ID"),
        "images" => Some("image name"),
        "networks" => Some("network name or ID"),
        "volumes" => Some("volume name"),
        "exec" => Some("exec ID"),
        _ => None,
    }
}

/// Text as a part of a path or query.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/:@".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            let _ = write!(escaped, "%{byte:02X}");
        }
    }
    escaped
}

/// Items of a list, each taken when it is read: a long list is never there as a whole.
struct Items<T, F> {
    take: F,
    failure: Option<Failure>,
    item: PhantomData<T>,
}

impl<'de, T: DeserializeOwned, F: FnMut(T) -> Result<(), Failure>> DeserializeSeed<'de> for Items<T, F> {
    /// Why an item was not taken.
    type Value = Option<Failure>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de, T: DeserializeOwned, F: FnMut(T) -> Result<(), Failure>> Visitor<'de> for Items<T, F> {
    type Value = Option<Failure>;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<Self::Value, A::Error> {
        while let Some(item) = items.next_element()? {
            if self.failure.is_none() {
                self.failure = (self.take)(item).err();
            }
        }
        Ok(self.failure)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_without_a_name_is_told() {
        assert_eq!(nameless("/containers//start"), Some("container name or ID"));
        assert_eq!(nameless("/images/"), Some("image name"));
        assert_eq!(nameless("/images/a//b"), None);
        assert_eq!(nameless("/info"), None);
    }

    #[test]
    fn text_is_escaped_for_a_url() {
        assert_eq!(escape("a b&c=ü/{}"), "a%20b%26c%3D%C3%BC/%7B%7D");
        assert_eq!(escape("localhost:5000/x@sha256:ab"), "localhost:5000/x@sha256:ab");
    }
}
