//! A partner's web application on several replicas, and browsers.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::{
    HeaderMap, Method, Request, StatusCode,
    header::{COOKIE, LOCATION, SET_COOKIE},
    request::Parts,
};
use http_body_util::BodyExt;
use tower::{Layer, ServiceExt};
use tower_oauth2_client::{
    ErrorKind,
    bearer::{BearerAuth, BearerAuthLayer},
    clock::Clock,
    connect::{ConnectFailure, ConnectFailureKind, ConnectHandler, ConnectRouter},
    oauth::OAuthClient,
    provider,
    sandbox::{Sandbox, SandboxBuilder, SandboxService},
    store::{EncryptionKey, EncryptionKeys, TokenStore},
    tenants::Tenants,
    token::TenantId,
};

pub(crate) use crate::{
    shared::{MINUTE, ManualClock},
    shelf::Shelf,
};

pub(crate) const SECOND: Duration = Duration::from_secs(1);
pub(crate) const HOST: &str = "https://partner.example.com";
pub(crate) const REDIRECT_URI: &str = "https://partner.example.com/connect/callback";

pub(crate) fn tenant(name: &str) -> TenantId {
    TenantId::new(name).unwrap()
}

pub(crate) fn key(id: &str, byte: u8) -> EncryptionKey {
    EncryptionKey::new(id, [byte; 32]).unwrap()
}

pub(crate) fn keys() -> EncryptionKeys {
    EncryptionKeys::new(key("k1", 1))
}

/// Knows people by a header `session`; whoever has none is sent to log in. Notes what it has to say.
#[derive(Clone, Default)]
pub(crate) struct Partner {
    pub(crate) failures: Arc<Mutex<Vec<ConnectFailure>>>,
    /// Whether whoever comes back is held to their session.
    pub(crate) trusts_all: bool,
}

impl ConnectHandler for Partner {
    async fn tenant(&self, request: &Parts) -> Result<TenantId, Response> {
        let session = request.headers.get("session");
        session
            .and_then(|name| TenantId::new(name.to_str().ok()?).ok())
            .ok_or_else(|| (StatusCode::UNAUTHORIZED, "log in").into_response())
    }

    async fn allows(&self, request: &Parts, tenant: &TenantId) -> Result<(), Response> {
        if self.trusts_all || self.tenant(request).await? == *tenant {
            return Ok(());
        }
        Err((StatusCode::FORBIDDEN, "not yours").into_response())
    }

    fn connected(&self, tenant: &TenantId) -> Response {
        format!("connected {tenant}").into_response()
    }

    fn denied(&self, tenant: &TenantId) -> Response {
        format!("denied {tenant}").into_response()
    }

    fn failed(&self, failure: &ConnectFailure) -> Response {
        self.failures.lock().unwrap().push(failure.clone());
        failure.page()
    }

    fn disconnected(&self, tenant: &TenantId) -> Response {
        format!("disconnected {tenant}").into_response()
    }
}

/// One process of the partner.
#[derive(Clone)]
pub(crate) struct Replica {
    pub(crate) sandbox: Sandbox,
    pub(crate) clock: ManualClock,
    pub(crate) store: Shelf,
    pub(crate) tenants: Tenants,
    pub(crate) partner: Partner,
    pub(crate) connect: ConnectRouter<Partner>,
    pub(crate) app: Router,
    api: BearerAuth<SandboxService, http_body_util::Full<Bytes>>,
}

/// What a replica is set up with.
pub(crate) struct Setting {
    pub(crate) redirect_uri: &'static str,
    pub(crate) keys: EncryptionKeys,
    pub(crate) trusts_all: bool,
    pub(crate) issuer: Option<&'static str>,
}

impl Default for Setting {
    fn default() -> Self {
        Self {
            redirect_uri: REDIRECT_URI,
            keys: keys(),
            trusts_all: false,
            issuer: None,
        }
    }
}

pub(crate) fn sandbox(clock: &ManualClock) -> SandboxBuilder {
    Sandbox::builder()
        .clock_starts_at(clock.wall())
        .redirect_uri(REDIRECT_URI)
}

/// The first replica, at a sandbox with all defaults.
pub(crate) fn replica() -> Replica {
    let clock = ManualClock::new();
    let sandbox = sandbox(&clock).build();
    Replica::new(&sandbox, &clock, Shelf::default(), Setting::default())
}

impl Replica {
    pub(crate) fn new(
        sandbox: &Sandbox,
        clock: &ManualClock,
        store: Shelf,
        setting: Setting,
    ) -> Self {
        let mut provider = provider::justworks().on_origin(&sandbox.url()).unwrap();
        if let Some(issuer) = setting.issuer {
            provider = provider.to_builder().issuer(issuer).build().unwrap();
        }
        let service = sandbox.service();
        let http =
            tower::service_fn(move |request: Request<Body>| service.clone().oneshot(request));
        let oauth = OAuthClient::builder(provider, sandbox.client_id())
            .client_secret(sandbox.client_secret())
            .redirect_uri(setting.redirect_uri)
            .clock(clock.clone())
            .jitter_seed(7)
            .build(http)
            .unwrap();
        let tenants = Tenants::builder(oauth.clone())
            .store(store.clone())
            .clock(clock.clone())
            .jitter_seed(7)
            .build()
            .unwrap();
        let partner = Partner {
            trusts_all: setting.trusts_all,
            ..Partner::default()
        };
        let connect =
            ConnectRouter::new(oauth, tenants.clone(), setting.keys, partner.clone()).unwrap();
        Self {
            app: Router::new().nest("/connect", connect.router()),
            api: BearerAuthLayer::new(tenants.clone()).layer(sandbox.service()),
            sandbox: sandbox.clone(),
            clock: clock.clone(),
            store,
            tenants,
            partner,
            connect,
        }
    }

    /// Another one over the same store, with a clock and keys of its own.
    pub(crate) fn another_with(&self, clock: &ManualClock, setting: Setting) -> Self {
        Self::new(&self.sandbox, clock, self.store.clone(), setting)
    }

    pub(crate) fn another(&self) -> Self {
        self.another_with(&self.clock, Setting::default())
    }

    /// What the last failure was about.
    pub(crate) fn failure(&self) -> Option<ConnectFailureKind> {
        let failures = self.partner.failures.lock().unwrap();
        failures.last().map(ConnectFailure::kind)
    }

    pub(crate) fn failures(&self) -> usize {
        self.partner.failures.lock().unwrap().len()
    }

    /// An API call for a tenant.
    pub(crate) async fn call(&self, name: &str) -> Result<StatusCode, ErrorKind> {
        let request = Request::get(format!("{}/v1/company", self.sandbox.url()))
            .extension(tenant(name))
            .body(http_body_util::Full::<Bytes>::default())
            .unwrap();
        match self.api.clone().oneshot(request).await {
            Ok(response) => Ok(response.status()),
            Err(error) => Err(error.kind()),
        }
    }

    /// How many codes have bought tokens.
    pub(crate) fn codes_exchanged(&self) -> u64 {
        self.sandbox.counters().code_exchanges
    }

    /// How many requests for tokens by code were refused or answered.
    pub(crate) fn codes_sent(&self) -> u64 {
        let counters = self.sandbox.counters();
        counters.code_exchanges + counters.token_requests_refused
    }

    pub(crate) async fn stored(&self, name: &str) -> Option<tower_oauth2_client::token::Grant> {
        self.store.load(&tenant(name)).await.unwrap()
    }
}

/// What a browser has got.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn location(&self) -> &str {
        self.headers[LOCATION].to_str().unwrap()
    }

    pub(crate) fn cookies(&self) -> Vec<&str> {
        let cookies = self.headers.get_all(SET_COOKIE).iter();
        cookies.map(|cookie| cookie.to_str().unwrap()).collect()
    }
}

/// Somebody's browser: cookies, and perhaps a session.
#[derive(Clone, Default)]
pub(crate) struct Browser {
    pub(crate) session: Option<&'static str>,
    pub(crate) jar: BTreeMap<String, String>,
}

impl Browser {
    pub(crate) fn of(session: &'static str) -> Self {
        Self {
            session: Some(session),
            jar: BTreeMap::new(),
        }
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> Request<Body> {
        let mut request = Request::builder().method(method).uri(path);
        if let Some(session) = self.session {
            request = request.header("session", session);
        }
        let cookies: Vec<_> = self
            .jar
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        if !cookies.is_empty() {
            request = request.header(COOKIE, cookies.join("; "));
        }
        request.body(Body::empty()).unwrap()
    }

    pub(crate) async fn send(&mut self, replica: &Replica, request: Request<Body>) -> Answer {
        let answer = answered(&replica.app, request).await;
        for cookie in answer.cookies() {
            let (pair, attributes) = cookie.split_once(';').unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            if attributes.contains("Max-Age=0;") {
                self.jar.remove(name);
            } else {
                self.jar.insert(name.to_owned(), value.to_owned());
            }
        }
        answer
    }

    pub(crate) async fn get(&mut self, replica: &Replica, path: &str) -> Answer {
        let request = self.request(Method::GET, path);
        self.send(replica, request).await
    }

    /// Off to the provider. Gives the address there.
    pub(crate) async fn start(&mut self, replica: &Replica) -> String {
        let answer = self.get(replica, "/connect/start").await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text);
        answer.location().to_owned()
    }

    /// To the provider, and yes there. Gives the path and query that the browser comes back to.
    pub(crate) async fn consent(&mut self, replica: &Replica) -> String {
        let url = self.start(replica).await;
        local(&replica.sandbox.consent(&url).await.unwrap())
    }

    /// All the way.
    pub(crate) async fn connect(&mut self, replica: &Replica) {
        let session = self.session.unwrap();
        let callback = self.consent(replica).await;
        let answer = self.get(replica, &callback).await;
        assert_eq!(answer.text, format!("connected {session}"));
    }

    /// By the button.
    pub(crate) async fn disconnect(&mut self, replica: &Replica) -> Answer {
        let mut request = self.request(Method::POST, "/connect/disconnect");
        let site = "same-origin".parse().unwrap();
        request.headers_mut().insert("sec-fetch-site", site);
        self.send(replica, request).await
    }
}

pub(crate) async fn answered(app: &Router, request: Request<Body>) -> Answer {
    let response = app.clone().oneshot(request).await.unwrap();
    let (head, body) = response.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    let answer = Answer {
        status: head.status,
        headers: head.headers,
        text: String::from_utf8(bytes.to_vec()).unwrap(),
    };
    for (name, value) in [
        ("cache-control", "no-store"),
        ("referrer-policy", "no-referrer"),
        ("x-content-type-options", "nosniff"),
    ] {
        assert_eq!(answer.headers[name], value, "{answer:?}");
    }
    answer
}

/// Where a URL of the partner's leads in the partner.
pub(crate) fn local(url: &str) -> String {
    url.strip_prefix(HOST).unwrap().to_owned()
}

/// A parameter of a URL.
pub(crate) fn parameter(url: &str, name: &str) -> String {
    let (_, query) = url.split_once('?').unwrap();
    let found = form_urlencoded::parse(query.as_bytes()).find(|(found, _)| found == name);
    found.unwrap().1.into_owned()
}
