//! A sandbox and its clients.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use hmac_sha256::HMAC;
use http::{Request, Response, StatusCode, header::CONTENT_TYPE};
use http_body_util::{BodyExt, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::{Value, json};
use tower::{Layer, ServiceExt};
use tower_oauth2_client::{
    bearer::BearerAuthLayer,
    cache::TokenCache,
    clock::{Clock, SystemClock},
    oauth::{OAuthClient, OAuthClientBuilder},
    provider::{ClientAuthentication, Provider, ProviderBuilder},
    sandbox::{Behavior, Sandbox, SandboxBuilder, TrustedIssuer},
};

pub(crate) type Body = Full<Bytes>;
pub(crate) type Http = Client<HttpConnector, Body>;

pub(crate) const ISSUER: &str = "https://workload.example";
pub(crate) const SECRET: &str = "a secret that the sandbox shares";
pub(crate) const TARGET: &str = "https://api.example.com";

/// A sandbox with all grants.
pub(crate) fn builder() -> SandboxBuilder {
    Sandbox::builder()
        .trusted_issuer(TrustedIssuer::hs256(ISSUER, SECRET))
        .behavior(|behavior: &mut Behavior| {
            behavior.client_credentials = true;
            behavior.device_authorization = true;
            behavior.token_exchange_targets = vec![TARGET.to_owned()];
        })
}

pub(crate) fn http() -> Http {
    Client::builder(TokioExecutor::new()).build_http()
}

pub(crate) fn provider(sandbox: &Sandbox) -> ProviderBuilder {
    let url = sandbox.url();
    Provider::builder(format!("{url}/oauth/token"))
        .authorization_endpoint(format!("{url}/oauth/authorize"))
        .device_authorization_endpoint(format!("{url}/oauth/device_authorization"))
        .revocation_endpoint(format!("{url}/v1/oauth/revoke"))
        .client_authentication(ClientAuthentication::RequestBody)
        .api_origin(url)
}

pub(crate) fn client(sandbox: &Sandbox) -> OAuthClientBuilder {
    OAuthClient::builder(provider(sandbox).build().unwrap(), sandbox.client_id())
        .client_secret(sandbox.client_secret())
        .redirect_uri(sandbox.redirect_uri())
        .jitter_seed(1)
}

/// A client over a socket, or without one if the sandbox has none.
pub(crate) fn oauth(sandbox: &Sandbox) -> OAuthClient {
    connected(sandbox, client(sandbox))
}

pub(crate) fn connected(sandbox: &Sandbox, client: OAuthClientBuilder) -> OAuthClient {
    if sandbox.address().is_some() {
        client.build(http()).unwrap()
    } else {
        client.build::<_, Body, _>(sandbox.service()).unwrap()
    }
}

/// Requests the company through the layer, over a socket.
pub(crate) async fn company(sandbox: &Sandbox, tokens: &TokenCache) -> StatusCode {
    let api = BearerAuthLayer::new(tokens.clone()).layer(http());
    let request = Request::get(format!("{}/v1/company", sandbox.url()));
    let response = api.oneshot(request.body(Body::default()).unwrap()).await;
    response.unwrap().status()
}

/// Sends a form to the sandbox without a socket, and returns the status and the JSON.
pub(crate) async fn post(
    sandbox: &Sandbox,
    path: &str,
    fields: &[(&str, &str)],
) -> (StatusCode, Value) {
    let body = form_urlencoded::Serializer::new(String::new())
        .extend_pairs(fields)
        .finish();
    let request = Request::post(path)
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(Body::from(body))
        .unwrap();
    let response = sandbox.service().oneshot(request).await.unwrap();
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&body).unwrap_or_default())
}

/// Claims of a valid assertion for a sandbox, with a new `jti`.
pub(crate) fn claims(sandbox: &Sandbox) -> Value {
    static NUMBER: AtomicI64 = AtomicI64::new(0);
    let now = sandbox.now().duration_since(SystemTime::UNIX_EPOCH);
    let now = now.unwrap().as_secs();
    json!({
        "iss": ISSUER,
        "sub": "robot",
        "aud": format!("{}/oauth/token", sandbox.url()),
        "iat": now,
        "exp": now + 300,
        "jti": NUMBER.fetch_add(1, Ordering::Relaxed).to_string(),
    })
}

pub(crate) fn signed(claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", part(&json!({"alg": "HS256"})), part(claims));
    let signature = URL_SAFE_NO_PAD.encode(HMAC::mac(message.as_bytes(), SECRET));
    format!("{message}.{signature}")
}

/// A clock apart from the runtime's by some seconds, in both of its times.
#[derive(Clone, Debug, Default)]
pub(crate) struct ShiftedClock(Arc<Mutex<i64>>);

impl ShiftedClock {
    /// Moves the wall clock only.
    pub(crate) fn wall_by(seconds: i64) -> Self {
        Self(Arc::new(Mutex::new(seconds)))
    }
}

impl Clock for ShiftedClock {
    fn monotonic(&self) -> Instant {
        SystemClock.monotonic()
    }

    fn wall(&self) -> SystemTime {
        let by = *self.0.lock().unwrap();
        let size = Duration::from_secs(by.unsigned_abs());
        let wall = SystemClock.wall();
        if by < 0 { wall - size } else { wall + size }
    }
}

/// A clock that a test moves forward, in both of its times.
#[derive(Clone, Debug, Default)]
pub(crate) struct MovingClock(Arc<AtomicI64>);

impl MovingClock {
    pub(crate) fn advance(&self, seconds: i64) {
        self.0.fetch_add(seconds, Ordering::SeqCst);
    }

    fn ahead(&self) -> Duration {
        Duration::from_secs(self.0.load(Ordering::SeqCst).unsigned_abs())
    }
}

impl Clock for MovingClock {
    fn monotonic(&self) -> Instant {
        SystemClock.monotonic() + self.ahead()
    }

    fn wall(&self) -> SystemTime {
        SystemClock.wall() + self.ahead()
    }
}

/// The fields of requests to a service that returns the same response to each.
pub(crate) type Recorded = Arc<Mutex<Vec<BTreeMap<String, Vec<String>>>>>;

/// A client whose requests are recorded.
pub(crate) fn recording(
    client: OAuthClientBuilder,
    status: u16,
    body: &'static str,
) -> (OAuthClient, Recorded) {
    let recorded = Recorded::default();
    let requests = Arc::clone(&recorded);
    let http = tower::service_fn(move |request: Request<Body>| {
        let requests = Arc::clone(&requests);
        async move {
            let bytes = request.into_body().collect().await.unwrap().to_bytes();
            let mut fields: BTreeMap<String, Vec<String>> = BTreeMap::new();
            for (name, value) in form_urlencoded::parse(&bytes) {
                let values = fields.entry(name.into_owned()).or_default();
                values.push(value.into_owned());
            }
            requests.lock().unwrap().push(fields);
            let mut response = Response::new(Body::from(body));
            *response.status_mut() = StatusCode::from_u16(status).unwrap();
            Ok::<_, std::convert::Infallible>(response)
        }
    });
    (client.build(http).unwrap(), recorded)
}
