//! Who we say we are, to whom, and to whom not.

mod support;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Query, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{StatusCode, header};
use support::{Home, impatient, new_client, reference, serve};
use teu_registry::client::{Auth, Client, Config, Error};
use teu_registry::server::{self, Account, Settings};

/// What a token service or a foreign host was sent.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<String>>>);

impl Seen {
    fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

fn authorization(request: &Request) -> String {
    let value = request.headers().get(header::AUTHORIZATION);
    value.map_or(String::new(), |value| value.to_str().unwrap().into())
}

/// Gives out `token-<scopes>` to the account me:secret, `token-anonymous` to nobody in particular.
async fn give_token(
    State(seen): State<Seen>,
    Query(query): Query<Vec<(String, String)>>,
    request: Request,
) -> Response {
    let sent = authorization(&request);
    let scopes: Vec<&str> = query.iter().filter(|(name, _)| name == "scope").map(|(_, value)| value.as_str()).collect();
    seen.0.lock().unwrap().push(format!("{sent} {}", scopes.join("+")));
    let token = match sent.strip_prefix("Basic ").map(|text| STANDARD.decode(text).unwrap()) {
        None => "anonymous".to_string(),
        Some(account) if account == b"me:secret" => scopes.join("+"),
        Some(_) => return StatusCode::UNAUTHORIZED.into_response(),
    };
    axum::Json(serde_json::json!({"token": format!("token-{token}"), "expires_in": 300})).into_response()
}

/// Lets through who has a token for what the method needs.
async fn want_token(State(tokens): State<SocketAddr>, request: Request, next: Next) -> Response {
    let needed = if matches!(request.method().as_str(), "GET" | "HEAD") { "pull" } else { "pull,push" };
    let needed = format!("repository:team/app:{needed}");
    let sent = authorization(&request);
    if sent.starts_with("Bearer token-") && (sent.contains(&needed) || sent.contains(":pull,push")) {
        return next.run(request).await;
    }
    let challenge = format!(r#"Bearer realm="http://{tokens}/token",service="test registry",scope="{needed}""#);
    (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, challenge)]).into_response()
}

async fn token_service() -> (SocketAddr, Seen) {
    let seen = Seen::default();
    let router = Router::new().fallback(give_token).with_state(seen.clone());
    (serve(router).await, seen)
}

fn with_auth(registry: &str, password: &str) -> Client {
    let auth = Auth { registry: registry.into(), username: "me".into(), password: password.into(), ..Auth::default() };
    Client::new(Config { auth: Some(auth), ..impatient() })
}

#[tokio::test]
async fn tokens_are_fetched_once_for_each_scope() {
    let (tokens, seen) = token_service().await;
    let home = Home::new();
    let guarded = server::router(home.store.clone()).unwrap().layer(middleware::from_fn_with_state(tokens, want_token));
    let address = serve(guarded).await;
    let (here, there) = (Home::new(), Home::new());
    let name = format!("{address}/team/app:v1");
    let client = with_auth(&address.to_string(), "secret");
    let manifest = here.build(&[("a", b"one"), ("b", b"two")]);
    here.push(&client, &name, &manifest, &Arc::default()).await.unwrap();
    there.pull(&client, &name, &Arc::default()).await.unwrap();
    let scopes: Vec<String> = seen.all().iter().filter_map(|line| Some(line.rsplit_once(' ')?.1.into())).collect();
    assert!(scopes.iter().any(|scope| scope.starts_with("repository:team/app:pull,push")), "{scopes:?}");
    assert!(scopes.iter().any(|scope| scope == "repository:team/app:pull"), "{scopes:?}");
    // Requests that were under way together may each have asked; none asked twice.
    assert!(scopes.len() <= 5, "{scopes:?}");

    let error = there.pull(&new_client(), &name, &Arc::default()).await.unwrap_err();
    assert!(matches!(error, Error::Unauthorized { .. }), "{error}");
    let error = there.pull(&with_auth(&address.to_string(), "wrong"), &name, &Arc::default()).await.unwrap_err();
    assert!(matches!(error, Error::Unauthorized { .. }), "{error}");
}

#[tokio::test]
async fn credentials_are_for_the_registry_that_they_name() {
    let (tokens, seen) = token_service().await;
    let guarded = Router::new().layer(middleware::from_fn_with_state(tokens, want_token));
    let address = serve(guarded).await;
    let client = with_auth("registry.example.test", "secret");
    let error = client.resolve(&reference(&format!("{address}/team/app:v1"))).await.unwrap_err();
    assert!(matches!(error, Error::Unauthorized { .. }), "{error}");
    assert!(seen.all().iter().all(|line| !line.contains("Basic")), "{:?}", seen.all());
}

#[tokio::test]
async fn basic_credentials_open_a_registry_of_ours() {
    let home = Home::new();
    let settings = Settings { account: Some(Account::new("me", "secret")), ..Settings::default() };
    let address = serve(server::router_with(home.store.clone(), settings).unwrap()).await;
    let here = Home::new();
    let name = format!("{address}/team/app:v1");
    let manifest = here.build(&[("a", b"one")]);
    let client = with_auth(&address.to_string(), "secret");
    here.push(&client, &name, &manifest, &Arc::default()).await.unwrap();
    client.login(&address.to_string()).await.unwrap();
    for stranger in [new_client(), with_auth(&address.to_string(), "wrong")] {
        let error = stranger.login(&address.to_string()).await.unwrap_err();
        assert!(matches!(error, Error::Unauthorized { .. }), "{error}");
        assert!(here.pull(&stranger, &name, &Arc::default()).await.is_err());
    }
}

/// Sends every reader of a blob elsewhere.
async fn send_away(State(elsewhere): State<SocketAddr>, request: Request, next: Next) -> Response {
    if request.method() == "GET" && request.uri().path().contains("/blobs/sha256:") {
        let location = format!("http://{elsewhere}{}", request.uri().path());
        return (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, location)]).into_response();
    }
    next.run(request).await
}

async fn record(State(seen): State<Seen>, request: Request, next: Next) -> Response {
    seen.0.lock().unwrap().push(authorization(&request));
    next.run(request).await
}

#[tokio::test]
async fn a_redirect_is_followed_without_credentials() {
    let home = Home::new();
    let seen = Seen::default();
    let open = server::router(home.store.clone()).unwrap();
    let elsewhere = serve(open.layer(middleware::from_fn_with_state(seen.clone(), record))).await;
    let settings = Settings { account: Some(Account::new("me", "secret")), ..Settings::default() };
    let guarded = server::router_with(home.store.clone(), settings).unwrap();
    let address = serve(guarded.layer(middleware::from_fn_with_state(elsewhere, send_away))).await;
    let (here, there) = (Home::new(), Home::new());
    let name = format!("{address}/team/app:v1");
    let manifest = here.build(&[("a", b"one")]);
    let client = with_auth(&address.to_string(), "secret");
    here.push(&client, &name, &manifest, &Arc::default()).await.unwrap();
    // The second router learnt nothing of the push: it reads the records when it is made.
    let error = there.pull(&client, &name, &Arc::default()).await.unwrap_err();
    assert!(matches!(error, Error::NotFound { .. }), "{error}");
    assert!(!seen.all().is_empty() && seen.all().iter().all(String::is_empty), "{:?}", seen.all());
}

#[tokio::test]
async fn a_401_at_the_end_of_a_redirect_gets_no_credentials() {
    let (tokens, given) = token_service().await;
    let seen = Seen::default();
    let greedy = Router::new().layer(middleware::from_fn_with_state(tokens, want_token));
    let elsewhere = serve(greedy.layer(middleware::from_fn_with_state(seen.clone(), record))).await;
    let home = Home::new();
    let router = server::router(home.store.clone()).unwrap();
    let address = serve(router.layer(middleware::from_fn_with_state(elsewhere, send_away))).await;
    let (here, there) = (Home::new(), Home::new());
    let name = format!("{address}/team/app:v1");
    let manifest = here.build(&[("a", b"one")]);
    let client = with_auth(&address.to_string(), "secret");
    here.push(&client, &name, &manifest, &Arc::default()).await.unwrap();
    assert!(there.pull(&client, &name, &Arc::default()).await.is_err());
    assert!(given.all().is_empty(), "its token service was asked");
    assert!(!seen.all().is_empty() && seen.all().iter().all(String::is_empty));
}
