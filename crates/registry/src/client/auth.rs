//! Saying who we are: Basic, and bearer tokens from the token service that a registry names.
//!
//! Credentials belong to one registry ([`super::Auth::registry`]). They go to it, and to the token service named in its
//! own `WWW-Authenticate`, which must be as well protected as the registry itself. An answer of any other host (the end
//! of a redirect, a foreign layer's URL) is never a reason to send anything.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, StatusCode};
use serde::Deserialize;

use super::exchange::{Answer, Exchange, Payload, Url};
use super::{Auth, Error};

/// Tokens that do not say how long they live, live this long.
const USUAL_LIFE: Duration = Duration::from_secs(60);
/// A token this near to its end is not used any more.
const MARGIN: Duration = Duration::from_secs(10);
const LARGEST_TOKEN: usize = 1 << 20;

/// What a request may need permission for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Scope {
    domain: String,
    /// As the token specification writes them, `repository:library/busybox:pull`.
    wants: Vec<String>,
}

impl Scope {
    pub(super) fn none(domain: &str) -> Self {
        Self { domain: domain.into(), wants: Vec::new() }
    }

    pub(super) fn pull(domain: &str, path: &str) -> Self {
        Self { domain: domain.into(), wants: vec![format!("repository:{path}:pull")] }
    }

    pub(super) fn push(domain: &str, path: &str) -> Self {
        Self { domain: domain.into(), wants: vec![format!("repository:{path}:pull,push")] }
    }

    /// The same, and reading another repository.
    pub(super) fn and_pull(&self, path: &str) -> Self {
        let mut scope = self.clone();
        scope.wants.push(format!("repository:{path}:pull"));
        scope
    }
}

/// An `Authorization` and how long it holds.
pub(super) struct Authorization {
    pub(super) value: HeaderValue,
    until: Option<Instant>,
}

/// What was given out, by scope.
#[derive(Default)]
pub(super) struct Tokens {
    known: Mutex<HashMap<Scope, (HeaderValue, Option<Instant>)>>,
}

impl Tokens {
    pub(super) fn known(&self, scope: &Scope) -> Option<HeaderValue> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let (value, until) = known.get(scope)?;
        until.is_none_or(|until| Instant::now() < until).then(|| value.clone())
    }

    pub(super) fn remember(&self, scope: &Scope, authorization: &Authorization) {
        let kept = (authorization.value.clone(), authorization.until);
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(scope.clone(), kept);
    }

    pub(super) fn forget(&self, scope: &Scope) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).remove(scope);
    }
}

/// What to say to a registry that answered 401; `None` if we have nothing that it asked for.
pub(super) async fn answer(
    exchange: &Exchange,
    refused: &Answer,
    scope: &Scope,
) -> Result<Option<Authorization>, Error> {
    let auth = exchange.config.auth.as_ref().filter(|auth| auth.registry == scope.domain);
    let challenges = refused.response.headers().get_all(header::WWW_AUTHENTICATE);
    let challenges: Vec<Challenge> =
        challenges.iter().filter_map(|value| value.to_str().ok()).flat_map(parse).collect();
    if let Some(auth) = auth.filter(|auth| !auth.registry_token.is_empty()) {
        return Ok(Some(Authorization { value: bearer(&auth.registry_token)?, until: None }));
    }
    if let Some(challenge) = challenges.iter().find(|challenge| challenge.scheme == "bearer") {
        return Ok(Some(fetch_token(exchange, challenge, refused, scope, auth).await?));
    }
    let basic = challenges.iter().any(|challenge| challenge.scheme == "basic");
    match auth.filter(|auth| basic && !auth.username.is_empty()) {
        Some(auth) => Ok(Some(Authorization { value: basic_of(auth)?, until: None })),
        None => Ok(None),
    }
}

async fn fetch_token(
    exchange: &Exchange,
    challenge: &Challenge,
    refused: &Answer,
    scope: &Scope,
    auth: Option<&Auth>,
) -> Result<Authorization, Error> {
    let what = scope.domain.as_str();
    let realm = challenge.get("realm").and_then(Url::parse);
    let realm = realm.filter(|realm| realm.origin.secure || !refused.url.origin.secure);
    let realm = realm.ok_or_else(|| Error::invalid(what, "names a token service that must not be trusted"))?;
    let mut wants: Vec<&str> = scope.wants.iter().map(String::as_str).collect();
    let asked = challenge.get("scope").unwrap_or_default();
    wants.extend(asked.split(' ').filter(|want| !want.is_empty() && !scope.wants.iter().any(|have| have == want)));
    let service = challenge.get("service");
    let refresh = auth.filter(|auth| !auth.identity_token.is_empty());
    let answer = match refresh {
        Some(auth) => ask_by_post(exchange, what, &realm, service, &wants, auth).await?,
        None => ask_by_get(exchange, what, &realm, service, &wants, auth).await?,
    };
    if answer.status() != StatusCode::OK {
        return Err(exchange.refusal(what, answer).await);
    }
    let bytes = exchange.read(what, answer, LARGEST_TOKEN).await?;
    let token: Token =
        serde_json::from_slice(&bytes).map_err(|error| Error::invalid(format!("{what}: token"), error.to_string()))?;
    let value = token.token.or(token.access_token).filter(|text| !text.is_empty());
    let value = value.ok_or_else(|| Error::invalid(what, "token service gave no token"))?;
    let life = token.expires_in.map_or(USUAL_LIFE, |seconds| Duration::from_secs(seconds).max(USUAL_LIFE));
    let until = Instant::now().checked_add(life.saturating_sub(MARGIN));
    Ok(Authorization { value: bearer(&value)?, until })
}

/// The token specification's GET, with Basic where there is an account.
async fn ask_by_get(
    exchange: &Exchange,
    what: &str,
    realm: &Url,
    service: Option<&str>,
    wants: &[&str],
    auth: Option<&Auth>,
) -> Result<Answer, Error> {
    let mut url = realm.clone();
    if let Some(service) = service {
        url = url.with_query("service", &escape(service));
    }
    for want in wants {
        url = url.with_query("scope", &escape(want));
    }
    let mut headers = HeaderMap::new();
    if let Some(auth) = auth.filter(|auth| !auth.username.is_empty()) {
        url = url.with_query("account", &escape(&auth.username));
        headers.insert(header::AUTHORIZATION, basic_of(auth)?);
    }
    let response = exchange.send(what, &Method::GET, &url, headers, &Payload::Nothing).await?;
    Ok(Answer { url, response })
}

/// The OAuth2 variant, with a refresh token.
async fn ask_by_post(
    exchange: &Exchange,
    what: &str,
    realm: &Url,
    service: Option<&str>,
    wants: &[&str],
    auth: &Auth,
) -> Result<Answer, Error> {
    let form = format!(
        "grant_type=refresh_token&client_id=teu&service={}&scope={}&refresh_token={}",
        escape(service.unwrap_or_default()),
        escape(&wants.join(" ")),
        escape(&auth.identity_token),
    );
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
    let response = exchange.send(what, &Method::POST, realm, headers, &Payload::Bytes(form.into())).await?;
    Ok(Answer { url: realm.clone(), response })
}

#[derive(Deserialize)]
struct Token {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<u64>,
}

fn bearer(token: &str) -> Result<HeaderValue, Error> {
    secret(format!("Bearer {token}"))
}

fn basic_of(auth: &Auth) -> Result<HeaderValue, Error> {
    secret(format!("Basic {}", STANDARD.encode(format!("{}:{}", auth.username, auth.password))))
}

fn secret(text: String) -> Result<HeaderValue, Error> {
    let mut value =
        HeaderValue::try_from(text).map_err(|_| Error::invalid("credentials", "cannot be sent in a header"))?;
    value.set_sensitive(true);
    Ok(value)
}

/// Percent-encodes all but what never needs it.
pub(super) fn escape(text: &str) -> String {
    use std::fmt::Write;
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~:/,".contains(&byte) {
            escaped.push(byte.into());
        } else {
            let _ = write!(escaped, "%{byte:02X}");
        }
    }
    escaped
}

/// One way to say who we are that a registry offers (RFC 9110, "WWW-Authenticate").
#[derive(Debug, PartialEq, Eq)]
struct Challenge {
    /// Lower case.
    scheme: String,
    parameters: Vec<(String, String)>,
}

impl Challenge {
    fn get(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(have, _)| have == name).map(|(_, value)| value.as_str())
    }
}

/// Reads the challenges of one header. A word followed by `=` is a parameter, any other begins the next challenge.
fn parse(mut text: &str) -> Vec<Challenge> {
    let mut challenges: Vec<Challenge> = Vec::new();
    loop {
        text = text.trim_start_matches([' ', '\t', ',']);
        let end = text.find([' ', '\t', ',', '=']).unwrap_or(text.len());
        let (word, rest) = text.split_at(end);
        if word.is_empty() {
            return challenges;
        }
        match (rest.trim_start().strip_prefix('='), challenges.last_mut()) {
            (Some(rest), Some(challenge)) => {
                let (value, rest) = value(rest.trim_start());
                challenge.parameters.push((word.to_ascii_lowercase(), value));
                text = rest;
            }
            (Some(_), None) => return challenges,
            (None, _) => {
                challenges.push(Challenge { scheme: word.to_ascii_lowercase(), parameters: Vec::new() });
                text = rest;
            }
        }
    }
}

/// A token or a quoted string, and what comes after it.
fn value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([' ', '\t', ',']).unwrap_or(text.len());
        return (text[..end].into(), &text[end..]);
    };
    let mut value = String::new();
    let mut letters = quoted.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return (value, &quoted[at + 1..]),
            '\\' => value.extend(letters.next().map(|(_, letter)| letter)),
            other => value.push(other),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_read_with_their_quoting() {
        let found = parse(
            r#"Bearer realm="https://auth.test/token?a=\"b\"",service=reg.test, scope="repository:a/b:pull,push" , Basic realm="x""#,
        );
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].get("realm"), Some(r#"https://auth.test/token?a="b""#));
        assert_eq!(found[0].get("service"), Some("reg.test"));
        assert_eq!(found[0].get("scope"), Some("repository:a/b:pull,push"));
        assert_eq!(found[1].scheme, "basic");
    }

    #[test]
    fn nonsense_is_no_challenge() {
        assert!(parse("").is_empty());
        assert!(parse("=,=").is_empty());
        assert!(parse("a=b").is_empty());
        assert_eq!(parse(r#"Bearer realm="open"#)[0].get("realm"), Some("open"));
    }

    #[test]
    fn secrets_do_not_show() {
        let auth = Auth { username: "me".into(), password: "hunter2".into(), ..Auth::default() };
        assert!(!format!("{auth:?}").contains("hunter2"));
        assert!(!format!("{:?}", basic_of(&auth).unwrap()).contains("aHVudGVy"));
    }

    #[test]
    fn what_is_special_in_a_query_is_escaped() {
        assert_eq!(escape("repository:a/b:pull,push x&y"), "repository:a/b:pull,push%20x%26y");
    }
}
