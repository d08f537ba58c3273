//! One request and its answer: which host, which scheme, with which authorization, along which redirects.
//!
//! ```text
//! ask ──> send ──> 2xx                            answer
//!   ^       ├────> 3xx  (GET, HEAD)               next hop; Authorization only if it is the registry itself
//!   │       ├────> 401  from the registry itself  authorize once, ask again
//!   └ wait ─┴────> broken, 408, 429, 5xx          a few times
//! ```

use std::collections::HashMap;
use std::fs::File;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Request, Response, StatusCode, Uri};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::Deserialize;

use super::auth::{self, Scope, Tokens};
use super::connect::{self, Origin, Pool};
use super::names::lookup;
use super::retry::Attempts;
use super::{Config, Error};
use crate::body::{self, Outgoing};

/// What `docker.io` means.
const DOCKER_HUB: (&str, &str) = ("docker.io", "registry-1.docker.io");
const MOST_REDIRECTS: usize = 8;
/// Errors are sentences: more than this of one is not read.
const LARGEST_ERROR: usize = 64 << 10;
/// A registry may have to hash all that it was sent before it answers.
const STALLS_BEFORE_ANSWER: u32 = 10;

/// A place, with the part after the host as it goes on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Url {
    pub(super) origin: Origin,
    pub(super) target: String,
}

impl Url {
    /// Where a `Location` leads, seen from here. `None` if it is none, or would leave HTTPS.
    pub(super) fn join(&self, location: &str) -> Option<Self> {
        let location = location.split('#').next().unwrap_or_default();
        if location.starts_with('/') && !location.starts_with("//") {
            return Some(Self { origin: self.origin.clone(), target: location.into() });
        }
        let next = Self::parse(location)?;
        (next.origin.secure || !self.origin.secure).then_some(next)
    }

    /// Reads an absolute `http` or `https` URL.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let uri: Uri = text.parse().ok()?;
        let secure = match uri.scheme_str()? {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        let authority = uri.authority().filter(|authority| !authority.as_str().contains('@'))?;
        let target = uri.path_and_query().map_or("/", |target| target.as_str());
        Some(Self { origin: Origin::of_authority(authority.as_str(), secure)?, target: target.into() })
    }

    /// The same place with one more query parameter, whose value needs no escaping.
    pub(super) fn with_query(&self, name: &str, value: &str) -> Self {
        let joint = if self.target.contains('?') { '&' } else { '?' };
        Self { origin: self.origin.clone(), target: format!("{}{joint}{name}={value}", self.target) }
    }
}

/// What is sent along. It can be sent again, because an answer may ask for that.
#[derive(Clone)]
pub(super) enum Payload {
    Nothing,
    Bytes(Bytes),
    /// A whole file of that length; the function hears how much of it has gone.
    File(Arc<File>, u64, Arc<dyn Fn(u64) + Send + Sync>),
}

impl Payload {
    fn length(&self) -> u64 {
        match self {
            Self::Nothing => 0,
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File(_, length, _) => *length,
        }
    }

    fn body(&self, moved: Arc<AtomicU64>) -> Outgoing {
        match self {
            Self::Nothing => body::empty(),
            Self::Bytes(bytes) => body::full(bytes.clone()),
            Self::File(file, length, sent) => {
                let sent = sent.clone();
                body::of_file(file.clone(), 0, *length, move |count| {
                    moved.store(count, Ordering::Relaxed);
                    sent(count);
                })
            }
        }
    }
}

/// A request to a registry.
#[derive(Clone)]
pub(super) struct Ask<'a> {
    /// What it is about, for errors.
    pub(super) what: &'a str,
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) scope: &'a Scope,
    pub(super) headers: HeaderMap,
    pub(super) payload: Payload,
    /// The answers that are not errors.
    pub(super) accept: &'a [StatusCode],
}

/// An answer, with the place that gave it.
pub(super) struct Answer {
    pub(super) url: Url,
    pub(super) response: Response<Incoming>,
}

impl Answer {
    pub(super) fn status(&self) -> StatusCode {
        self.response.status()
    }

    /// A header's text, if it is text.
    pub(super) fn header(&self, name: impl header::AsHeaderName) -> Option<&str> {
        self.response.headers().get(name)?.to_str().ok()
    }
}

/// All that a client shares between its requests.
pub(super) struct Exchange {
    pub(super) config: Config,
    pool: Pool,
    tokens: Tokens,
    origins: Mutex<HashMap<String, Origin>>,
}

impl Exchange {
    pub(super) fn new(config: Config) -> Self {
        Self { config, pool: Pool::default(), tokens: Tokens::default(), origins: Mutex::default() }
    }

    /// The registry that a reference's domain means, at the scheme it speaks.
    pub(super) async fn registry(&self, domain: &str) -> Result<Origin, Error> {
        if let Some(known) = self.origins.lock().unwrap_or_else(PoisonError::into_inner).get(domain) {
            return Ok(known.clone());
        }
        let wrong = || Error::invalid(domain, "not a host name");
        if let Some(mirror) = self.config.mirror.as_deref().filter(|_| domain == DOCKER_HUB.0) {
            return Url::parse(mirror)
                .map(|url| url.origin)
                .ok_or_else(|| Error::invalid(mirror, "not a URL of a mirror"));
        }
        let authority = if domain == DOCKER_HUB.0 { DOCKER_HUB.1 } else { domain };
        let secure = Origin::of_authority(authority, true).ok_or_else(wrong)?;
        let origin = if self.may_be_plain(domain, &secure).await {
            match connect::dial(&secure, &self.config.proxies, self.config.retry.connect).await {
                Ok(sender) => {
                    self.pool.keep(&secure, sender);
                    secure
                }
                Err(error) if secure.is_loopback() || does_not_answer(&error) => {
                    Origin::of_authority(authority, false).ok_or_else(wrong)?
                }
                Err(error) => return Err(error),
            }
        } else {
            secure
        };
        self.origins.lock().unwrap_or_else(PoisonError::into_inner).insert(domain.into(), origin.clone());
        Ok(origin)
    }

    /// Whether it is of this machine, or named among those that need no TLS: by its name, or by a network it is in.
    async fn may_be_plain(&self, domain: &str, origin: &Origin) -> bool {
        let insecure = &self.config.insecure;
        if origin.is_loopback() || insecure.iter().any(|name| name == domain || *name == origin.host) {
            return true;
        }
        let networks: Vec<ipnet::IpNet> = insecure.iter().filter_map(|name| name.parse().ok()).collect();
        let addresses = if networks.is_empty() { vec![] } else { lookup(&origin.host).await.unwrap_or_default() };
        addresses.iter().any(|address| networks.iter().any(|network| network.contains(address)))
    }

    /// `GET /v2/`, with credentials where they are wanted.
    pub(super) async fn login(&self, domain: &str) -> Result<(), Error> {
        let origin = self.registry(domain).await?;
        let ask = Ask {
            what: domain,
            method: Method::GET,
            url: Url { origin, target: "/v2/".into() },
            scope: &Scope::none(domain),
            headers: HeaderMap::new(),
            payload: Payload::Nothing,
            accept: &[StatusCode::OK],
        };
        let answer = self.ask(ask).await?;
        self.read(domain, answer, LARGEST_ERROR).await.map(drop)
    }

    /// Asks until there is an answer that `accept` lists, or an error that will not pass.
    pub(super) async fn ask(&self, ask: Ask<'_>) -> Result<Answer, Error> {
        let mut attempts = Attempts::new(self.config.retry);
        loop {
            match self.ask_once(&ask).await {
                Ok(answer) => return Ok(answer),
                Err(error) => attempts.after(error).await?,
            }
        }
    }

    /// Asks once, or twice where the first answer was that we should say who we are.
    pub(super) async fn ask_once(&self, ask: &Ask<'_>) -> Result<Answer, Error> {
        let known = self.tokens.known(ask.scope);
        let mut answer = self.follow(ask, known.as_ref()).await?;
        if answer.status() == StatusCode::UNAUTHORIZED && answer.url.origin == ask.url.origin {
            self.tokens.forget(ask.scope);
            if let Some(authorization) = auth::answer(self, &answer, ask.scope).await? {
                self.tokens.remember(ask.scope, &authorization);
                answer = self.follow(ask, Some(&authorization.value)).await?;
            }
        }
        if ask.accept.contains(&answer.status()) {
            return Ok(answer);
        }
        Err(self.refusal(ask.what, answer).await)
    }

    /// Sends, and follows redirects of what may be repeated elsewhere.
    async fn follow(&self, ask: &Ask<'_>, authorization: Option<&HeaderValue>) -> Result<Answer, Error> {
        let mut url = ask.url.clone();
        for _ in 0..MOST_REDIRECTS {
            let mut headers = ask.headers.clone();
            if let Some(authorization) = authorization.filter(|_| url.origin == ask.url.origin) {
                headers.insert(header::AUTHORIZATION, authorization.clone());
            }
            let response = self.send(ask.what, &ask.method, &url, headers, &ask.payload).await?;
            let repeatable = matches!(ask.method, Method::GET | Method::HEAD);
            let answer = Answer { url, response };
            if !answer.status().is_redirection() || !repeatable {
                return Ok(answer);
            }
            let next = answer.header(header::LOCATION).and_then(|location| answer.url.join(location));
            url = next.ok_or_else(|| Error::invalid(ask.what, "redirected to where we must not go"))?;
        }
        Err(Error::invalid(ask.what, "too many redirects"))
    }

    /// One request, one answer.
    pub(super) async fn send(
        &self,
        what: &str,
        method: &Method,
        url: &Url,
        headers: HeaderMap,
        payload: &Payload,
    ) -> Result<Response<Incoming>, Error> {
        let moved = Arc::new(AtomicU64::new(0));
        let proxy = if url.origin.secure { None } else { self.config.proxies.of(&url.origin)? };
        let target = if proxy.is_some() { format!("{}{}", url.origin, url.target) } else { url.target.clone() };
        let mut request = Request::builder()
            .method(method)
            .uri(target)
            .header(header::HOST, url.origin.authority())
            .header(header::USER_AGENT, &self.config.user_agent)
            .body(payload.body(moved.clone()))
            .map_err(|error| Error::invalid(what, error.to_string()))?;
        request.headers_mut().extend(headers);
        if let Some(authorization) = proxy.and_then(|proxy| proxy.authorization) {
            request.headers_mut().insert(header::PROXY_AUTHORIZATION, authorization);
        }
        let sending = self.send_on_some_connection(what, &url.origin, request);
        tokio::pin!(sending);
        let (mut before, mut silent) = (0, 0);
        let stall = self.config.retry.stall;
        loop {
            if let Ok(response) = tokio::time::timeout(stall, &mut sending).await {
                return response;
            }
            let now = moved.load(Ordering::Relaxed);
            silent = if now == before { silent + 1 } else { 0 };
            before = now;
            let allowed = if now == payload.length() && now > 0 { STALLS_BEFORE_ANSWER } else { 1 };
            if silent >= allowed {
                return Err(Error::Stalled { what: what.into(), after: stall * silent });
            }
        }
    }

    /// A kept connection may have been closed by the peer meanwhile: what it did not take goes on the next.
    async fn send_on_some_connection(
        &self,
        what: &str,
        origin: &Origin,
        mut request: Request<Outgoing>,
    ) -> Result<Response<Incoming>, Error> {
        while let Some(mut sender) = self.pool.take(origin) {
            match sender.try_send_request(request).await {
                Ok(response) => {
                    self.pool.keep(origin, sender);
                    return Ok(response);
                }
                Err(mut error) => match error.take_message() {
                    Some(unsent) => request = unsent,
                    None => return Err(Error::Broken { what: what.into(), source: error.into_error() }),
                },
            }
        }
        let mut sender = connect::dial(origin, &self.config.proxies, self.config.retry.connect).await?;
        let broken = |source| Error::Broken { what: what.into(), source };
        let response = sender.send_request(request).await.map_err(broken)?;
        self.pool.keep(origin, sender);
        Ok(response)
    }

    /// The next piece of an answer's body; `None` at its end.
    pub(super) async fn piece(&self, what: &str, body: &mut Incoming) -> Result<Option<Bytes>, Error> {
        let stall = self.config.retry.stall;
        let stalled = |_| Error::Stalled { what: what.into(), after: stall };
        loop {
            match tokio::time::timeout(stall, body.frame()).await.map_err(stalled)? {
                None => return Ok(None),
                Some(Err(source)) => return Err(Error::Broken { what: what.into(), source }),
                Some(Ok(frame)) => {
                    if let Ok(piece) = frame.into_data() {
                        return Ok(Some(piece));
                    }
                }
            }
        }
    }

    /// All of a small body.
    pub(super) async fn read(&self, what: &str, answer: Answer, most: usize) -> Result<Bytes, Error> {
        let mut body = answer.response.into_body();
        let mut bytes = BytesMut::new();
        while let Some(piece) = self.piece(what, &mut body).await? {
            if bytes.len() + piece.len() > most {
                return Err(Error::invalid(what, format!("answer is larger than {most} bytes")));
            }
            bytes.extend_from_slice(&piece);
        }
        Ok(bytes.freeze())
    }

    /// What an unwanted answer says, as an error.
    pub(super) async fn refusal(&self, what: &str, answer: Answer) -> Error {
        let status = answer.status();
        let seconds = answer.header(header::RETRY_AFTER).and_then(|text| text.parse().ok());
        let after = seconds.map(Duration::from_secs);
        let body = self.read(what, answer, LARGEST_ERROR).await.unwrap_or_default();
        let (code, message) = Complaint::read(&body, status);
        let what = what.to_string();
        match status {
            StatusCode::UNAUTHORIZED => Error::Unauthorized { what, message },
            StatusCode::FORBIDDEN => Error::Denied { what, message },
            StatusCode::NOT_FOUND => Error::NotFound { what, message },
            StatusCode::TOO_MANY_REQUESTS => Error::TooManyRequests { what, message, after },
            _ => Error::Refused { what, status, code, message, after },
        }
    }
}

/// Whether an attempt at HTTPS failed because nobody speaks it there. A wrong certificate is no such case.
fn does_not_answer(error: &Error) -> bool {
    match error {
        Error::Connect { .. } => true,
        Error::Tls { source, .. } => {
            let tls = source.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
            match tls {
                Some(tls) => matches!(tls, rustls::Error::InvalidMessage(_)),
                None => {
                    matches!(source.kind(), std::io::ErrorKind::UnexpectedEof | std::io::ErrorKind::ConnectionReset)
                }
            }
        }
        _ => false,
    }
}

/// The error body of the distribution specification, or something like it.
#[derive(Deserialize)]
struct Complaint {
    #[serde(default)]
    errors: Vec<ComplaintItem>,
    #[serde(default, alias = "details")]
    message: Option<String>,
}

#[derive(Deserialize)]
struct ComplaintItem {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

impl Complaint {
    /// The first error's code, and all of them as Docker words them.
    fn read(body: &[u8], status: StatusCode) -> (String, String) {
        let words = || status.canonical_reason().unwrap_or("unknown status").to_ascii_lowercase();
        let Ok(complaint) = serde_json::from_slice::<Self>(body) else { return (String::new(), words()) };
        let code = complaint.errors.first().map(|error| error.code.clone()).unwrap_or_default();
        let sentence = |error: &ComplaintItem| {
            let code = error.code.to_ascii_lowercase().replace('_', " ");
            if error.message.is_empty() { code } else { format!("{code}: {}", error.message) }
        };
        let sentences: Vec<String> = complaint.errors.iter().map(sentence).collect();
        if sentences.is_empty() {
            return (code, complaint.message.unwrap_or_else(words));
        }
        (code, sentences.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_is_joined_without_leaving_https() {
        let here = Url::parse("https://registry.test/v2/x/blobs/y").unwrap();
        assert_eq!(here.join("/a?b=c#d").unwrap().target, "/a?b=c");
        assert_eq!(here.join("https://cdn.test:8443/z").unwrap().origin.port, 8443);
        assert!(here.join("http://registry.test/z").is_none());
        assert!(here.join("//cdn.test/z").is_none());
        assert!(here.join("ftp://cdn.test/z").is_none());
        assert!(here.join("https://user:password@cdn.test/z").is_none());
        let plain = Url::parse("http://localhost:5000/v2/").unwrap();
        assert!(plain.join("http://localhost:5000/z").is_some());
        assert_eq!(plain.join("/u?s=1").unwrap().with_query("digest", "d").target, "/u?s=1&digest=d");
    }

    #[test]
    fn complaints_are_worded_as_docker_words_them() {
        let body = br#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#;
        let (code, message) = Complaint::read(body, StatusCode::NOT_FOUND);
        assert_eq!((code.as_str(), message.as_str()), ("MANIFEST_UNKNOWN", "manifest unknown: manifest unknown"));
        assert_eq!(Complaint::read(b"<html>", StatusCode::BAD_GATEWAY).1, "bad gateway");
        assert_eq!(Complaint::read(br#"{"details":"bad"}"#, StatusCode::UNAUTHORIZED).1, "bad");
    }

    #[tokio::test]
    async fn other_hosts_are_spoken_to_in_https_without_asking() {
        let exchange = Exchange::new(Config::default());
        for domain in ["192.0.2.1:5000", "registry.test", "docker.io"] {
            assert!(exchange.registry(domain).await.unwrap().secure, "{domain}");
        }
        assert_eq!(exchange.registry("docker.io").await.unwrap().host, DOCKER_HUB.1);
    }

    #[test]
    fn a_wrong_certificate_never_means_that_https_does_not_answer() {
        let tls = |error: rustls::Error| {
            does_not_answer(&Error::Tls { host: "x".into(), source: std::io::Error::other(error) })
        };
        assert!(!tls(rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer)));
        assert!(!tls(rustls::Error::AlertReceived(rustls::AlertDescription::HandshakeFailure)));
        assert!(tls(rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType)));
    }

    #[tokio::test]
    async fn only_listed_and_loopback_hosts_may_be_plain() {
        let may = async |insecure: &[&str], domain: &str| {
            let insecure = insecure.iter().map(ToString::to_string).collect();
            let exchange = Exchange::new(Config { insecure, ..Config::default() });
            exchange.may_be_plain(domain, &Origin::of_authority(domain, true).unwrap()).await
        };
        let names = ["lab.test:5000", "box.test"];
        for domain in ["lab.test:5000", "box.test:81", "127.0.0.1:5000", "localhost:5000"] {
            assert!(may(&names, domain).await, "{domain}");
        }
        for domain in ["lab.test:5001", "docker.io", "sub.box.test"] {
            assert!(!may(&names, domain).await, "{domain}");
        }
        assert!(may(&["192.0.2.0/24"], "192.0.2.9:5000").await && !may(&["192.0.2.0/24"], "192.0.3.9:5000").await);
    }
}
