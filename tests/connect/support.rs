//! A web application on several replicas, and browsers.

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
    connect::{ConnectFailure, ConnectFailureKind, ConnectHandler, ConnectRouter, Consent},
    oauth::OAuthClient,
    provider::{self, IssuerCheck, ResponseMode},
    sandbox::{Sandbox, SandboxBuilder, SandboxService},
    store::{EncryptionKey, EncryptionKeys, TokenStore},
    tenants::Tenants,
    token::{ConsentDecision, TenantId},
};

pub(crate) use crate::{
    shared::{MINUTE, ManualClock},
    store::TestStore,
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

/// Finds the tenant in the header `session`, and records failures.
#[derive(Clone, Default)]
pub(crate) struct Partner {
    pub(crate) failures: Arc<Mutex<Vec<ConnectFailure>>>,
    /// Whether a callback is accepted with any session.
    pub(crate) allows_all: bool,
    pub(crate) decisions: Arc<Mutex<Decisions>>,
}

/// How the program decides about consents.
pub(crate) struct Decisions {
    /// `None` if it panics.
    pub(crate) decision: Option<ConsentDecision>,
    /// How long it takes.
    pub(crate) pause: Duration,
    /// The consents that it has seen.
    pub(crate) consents: Vec<Consent>,
}

impl Default for Decisions {
    fn default() -> Self {
        Self {
            decision: Some(ConsentDecision::default()),
            pause: Duration::ZERO,
            consents: Vec::new(),
        }
    }
}

impl ConnectHandler for Partner {
    async fn tenant(&self, request: &Parts) -> Result<TenantId, Response> {
        let session = request.headers.get("session");
        session
            .and_then(|name| TenantId::new(name.to_str().ok()?).ok())
            .ok_or_else(|| (StatusCode::UNAUTHORIZED, "log in").into_response())
    }

    async fn allows(&self, request: &Parts, tenant: &TenantId) -> Result<(), Response> {
        if self.allows_all || self.tenant(request).await? == *tenant {
            return Ok(());
        }
        Err((StatusCode::FORBIDDEN, "not yours").into_response())
    }

    async fn consented(&self, consent: &Consent) -> ConsentDecision {
        let (decision, pause) = {
            let mut decisions = self.decisions.lock().unwrap();
            decisions.consents.push(consent.clone());
            (decisions.decision, decisions.pause)
        };
        tokio::time::sleep(pause).await;
        decision.expect("scripted panic")
    }

    fn connected(&self, _: &Parts, tenant: &TenantId) -> Response {
        format!("connected {tenant}").into_response()
    }

    fn denied(&self, _: &Parts, tenant: &TenantId) -> Response {
        format!("denied {tenant}").into_response()
    }

    fn failed(&self, request: &Parts, failure: &ConnectFailure) -> Response {
        self.failures.lock().unwrap().push(failure.clone());
        failure.page(self.texts(request))
    }

    fn disconnected(&self, _: &Parts, tenant: &TenantId) -> Response {
        format!("disconnected {tenant}").into_response()
    }
}

/// One process of the web application.
#[derive(Clone)]
pub(crate) struct Replica {
    pub(crate) sandbox: Sandbox,
    pub(crate) clock: ManualClock,
    pub(crate) store: TestStore,
    pub(crate) oauth: OAuthClient,
    pub(crate) tenants: Tenants,
    pub(crate) partner: Partner,
    pub(crate) connect: ConnectRouter<Partner>,
    pub(crate) app: Router,
    api: BearerAuth<SandboxService, http_body_util::Full<Bytes>>,
}

/// The configuration of a replica.
pub(crate) struct Setup {
    pub(crate) redirect_uri: &'static str,
    pub(crate) keys: EncryptionKeys,
    pub(crate) allows_all: bool,
    pub(crate) issuer: Option<&'static str>,
    pub(crate) issuer_check: IssuerCheck,
    pub(crate) response_mode: ResponseMode,
    pub(crate) code_parameter: &'static str,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            redirect_uri: REDIRECT_URI,
            keys: keys(),
            allows_all: false,
            issuer: None,
            issuer_check: IssuerCheck::default(),
            response_mode: ResponseMode::Query,
            code_parameter: "code",
        }
    }
}

pub(crate) fn sandbox(clock: &ManualClock) -> SandboxBuilder {
    Sandbox::builder()
        .clock_starts_at(clock.wall())
        .redirect_uri(REDIRECT_URI)
}

/// A replica with the default configuration.
pub(crate) fn replica() -> Replica {
    let clock = ManualClock::new();
    let sandbox = sandbox(&clock).build();
    Replica::new(&sandbox, &clock, TestStore::default(), Setup::default())
}

impl Replica {
    pub(crate) fn new(
        sandbox: &Sandbox,
        clock: &ManualClock,
        store: TestStore,
        setup: Setup,
    ) -> Self {
        let mut provider = provider::justworks()
            .on_origin(&sandbox.url())
            .unwrap()
            .to_builder()
            .response_mode(setup.response_mode)
            .code_parameter(setup.code_parameter);
        if let Some(issuer) = setup.issuer {
            provider = provider.issuer(issuer).issuer_check(setup.issuer_check);
        }
        let provider = provider.build().unwrap();
        let service = sandbox.service();
        let http =
            tower::service_fn(move |request: Request<Body>| service.clone().oneshot(request));
        let oauth = OAuthClient::builder(provider, sandbox.client_id())
            .client_secret(sandbox.client_secret())
            .redirect_uri(setup.redirect_uri)
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
            allows_all: setup.allows_all,
            ..Partner::default()
        };
        let connect =
            ConnectRouter::new(oauth.clone(), tenants.clone(), setup.keys, partner.clone())
                .unwrap();
        Self {
            app: Router::new().nest("/connect", connect.router()),
            api: BearerAuthLayer::new(tenants.clone()).layer(sandbox.service()),
            sandbox: sandbox.clone(),
            clock: clock.clone(),
            store,
            oauth,
            tenants,
            partner,
            connect,
        }
    }

    /// Another replica with the same store, and its own clock and configuration.
    pub(crate) fn another_with(&self, clock: &ManualClock, setup: Setup) -> Self {
        Self::new(&self.sandbox, clock, self.store.clone(), setup)
    }

    pub(crate) fn another(&self) -> Self {
        self.another_with(&self.clock, Setup::default())
    }

    /// The kind of the last failure.
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

    /// The code exchanges that succeeded.
    pub(crate) fn code_exchanges(&self) -> u64 {
        self.sandbox.counters().code_exchanges
    }

    /// The codes that were sent.
    pub(crate) fn codes_sent(&self) -> u64 {
        let counters = self.sandbox.counters();
        counters.code_exchanges + counters.token_requests_refused
    }

    pub(crate) async fn stored(&self, name: &str) -> Option<tower_oauth2_client::token::Grant> {
        self.store.load(&tenant(name)).await.unwrap()
    }
}

/// A response, as a browser sees it.
#[derive(Debug)]
pub(crate) struct BrowserResponse {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl BrowserResponse {
    pub(crate) fn location(&self) -> &str {
        self.headers[LOCATION].to_str().unwrap()
    }

    pub(crate) fn cookies(&self) -> Vec<&str> {
        let cookies = self.headers.get_all(SET_COOKIE).iter();
        cookies.map(|cookie| cookie.to_str().unwrap()).collect()
    }
}

/// A browser with cookies, and perhaps a session.
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

    pub(crate) async fn send(
        &mut self,
        replica: &Replica,
        request: Request<Body>,
    ) -> BrowserResponse {
        let response = send_to_app(&replica.app, request).await;
        for cookie in response.cookies() {
            let (pair, attributes) = cookie.split_once(';').unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            if attributes.contains("Max-Age=0;") {
                self.jar.remove(name);
            } else {
                self.jar.insert(name.to_owned(), value.to_owned());
            }
        }
        response
    }

    pub(crate) async fn get(&mut self, replica: &Replica, path: &str) -> BrowserResponse {
        let mut request = self.request(Method::GET, path);
        let site = "same-origin".parse().unwrap();
        request.headers_mut().insert("sec-fetch-site", site);
        self.send(replica, request).await
    }

    /// Starts a flow. Returns the URL at the provider.
    pub(crate) async fn start(&mut self, replica: &Replica) -> String {
        let response = self.get(replica, "/connect/start").await;
        assert_eq!(response.status, StatusCode::SEE_OTHER, "{}", response.text);
        response.location().to_owned()
    }

    /// Starts a flow and consents. Returns the path and query of the callback.
    pub(crate) async fn consent(&mut self, replica: &Replica) -> String {
        let url = self.start(replica).await;
        local(&replica.sandbox.consent(&url).await.unwrap())
    }

    /// Completes a flow.
    pub(crate) async fn connect(&mut self, replica: &Replica) {
        let session = self.session.unwrap();
        let callback = self.consent(replica).await;
        let response = self.get(replica, &callback).await;
        assert_eq!(response.text, format!("connected {session}"));
    }

    /// Sends the form of a page of the program.
    pub(crate) async fn disconnect(&mut self, replica: &Replica) -> BrowserResponse {
        let mut request = self.request(Method::POST, "/connect/disconnect");
        let site = "same-origin".parse().unwrap();
        request.headers_mut().insert("sec-fetch-site", site);
        self.send(replica, request).await
    }
}

pub(crate) async fn send_to_app(app: &Router, request: Request<Body>) -> BrowserResponse {
    let response = app.clone().oneshot(request).await.unwrap();
    let (head, body) = response.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    let response = BrowserResponse {
        status: head.status,
        headers: head.headers,
        text: String::from_utf8(bytes.to_vec()).unwrap(),
    };
    for (name, value) in [
        ("cache-control", "no-store"),
        ("referrer-policy", "no-referrer"),
        ("x-content-type-options", "nosniff"),
    ] {
        assert_eq!(response.headers[name], value, "{response:?}");
    }
    response
}

/// The path and query of a URL of the web application.
pub(crate) fn local(url: &str) -> String {
    url.strip_prefix(HOST).unwrap().to_owned()
}

/// Returns a parameter of a URL.
pub(crate) fn parameter(url: &str, name: &str) -> String {
    let (_, query) = url.split_once('?').unwrap();
    let found = form_urlencoded::parse(query.as_bytes()).find(|(other, _)| other == name);
    found.unwrap().1.into_owned()
}
