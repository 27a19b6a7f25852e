//! Shared setup: tenants with a test source and a test store.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header::AUTHORIZATION};
use http_body_util::Empty;
use tower::{Layer, ServiceExt};
use tower_oauth2_client::{
    Error, ErrorKind,
    bearer::{BearerAuthLayer, ReplayBody},
    clock::Clock,
    store::{LeaseOutcome, LeaseOwner, MemoryStore, SaveOutcome, TokenStore},
    tenants::TenantsBuilder,
    token::{AccessToken, Generation, Grant, GrantState, RefreshToken, TenantId, TokenSet},
};

pub(crate) use crate::shared::{API, DAY, HOUR, MINUTE, ManualClock, Source, Store};

pub(crate) const MONTH: Duration = Duration::from_secs(30 * 86_400);

pub(crate) fn named(name: &str) -> TenantId {
    TenantId::new(name).unwrap()
}

pub(crate) fn numbered(number: u64) -> TenantId {
    named(&format!("tenant-{number:06}"))
}

/// Tenants whose refresh tokens live for a month.
pub(crate) fn tenants_over(source: &Source, store: impl TokenStore) -> TenantsBuilder {
    source.tenants().store(store).refresh_token_lifetime(MONTH)
}

/// Another process has the sweep lease, so that requests cause all refreshes of this one.
pub(crate) async fn swept_elsewhere(store: &MemoryStore) {
    let source = Source::new(&ManualClock::new());
    let elsewhere = tenants_over(&source, Elsewhere(store.clone()));
    elsewhere.build().unwrap().sweep().await.unwrap();
}

/// The store as a process sees it that acquires leases for months, and finds no grant.
struct Elsewhere(MemoryStore);

impl TokenStore for Elsewhere {
    async fn load(&self, _: &TenantId) -> Result<Option<Grant>, Error> {
        Ok(None)
    }

    async fn save(
        &self,
        _: &TenantId,
        _: Option<Generation>,
        _: &Grant,
    ) -> Result<SaveOutcome, Error> {
        Ok(SaveOutcome::Committed)
    }

    async fn acquire(
        &self,
        name: &TenantId,
        owner: &LeaseOwner,
        _: Duration,
    ) -> Result<LeaseOutcome, Error> {
        self.0.acquire(name, owner, 10 * MONTH).await
    }

    async fn release(&self, _: &TenantId, _: &LeaseOwner) -> Result<(), Error> {
        Ok(())
    }

    async fn tenants(&self, _: Option<&TenantId>, _: usize) -> Result<Vec<TenantId>, Error> {
        Ok(Vec::new())
    }
}

/// A grant whose tokens are named after the tenant.
pub(crate) fn grant_of(tenant: &TenantId, lifetime: Duration, clock: &impl Clock) -> Grant {
    Grant::new(
        Generation::FIRST,
        GrantState::Active(tokens_of(tenant, lifetime, clock)),
    )
}

pub(crate) fn tokens_of(tenant: &TenantId, lifetime: Duration, clock: &impl Clock) -> TokenSet {
    let now = clock.wall();
    let name = tenant
        .as_str()
        .replace(|c: char| !c.is_ascii_graphic(), "_");
    TokenSet::new(
        AccessToken::new(format!("a-{name}")).unwrap(),
        lifetime,
        now,
    )
    .with_refresh_token(RefreshToken::new(format!("r-{name}")), now)
}

pub(crate) async fn put(store: &MemoryStore, tenant: &TenantId, grant: &Grant) {
    store.save(tenant, None, grant).await.unwrap();
}

/// An API that records the token of each request.
#[derive(Clone, Default)]
pub(crate) struct Api(Arc<Mutex<Vec<String>>>);

impl Api {
    pub(crate) fn seen(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    /// Sends a request through a layer, and returns the token that it was sent with.
    pub(crate) async fn call(
        &self,
        layer: &BearerAuthLayer<ReplayBody<Empty<Bytes>>>,
        request: Request<Empty<Bytes>>,
    ) -> Result<String, ErrorKind> {
        let seen = Arc::clone(&self.0);
        let http = tower::service_fn(move |request: Request<ReplayBody<Empty<Bytes>>>| {
            let token = request.headers().get(AUTHORIZATION).cloned();
            let token = token.unwrap_or_else(|| HeaderValue::from_static("none"));
            seen.lock()
                .unwrap()
                .push(token.to_str().unwrap().to_owned());
            async move {
                let mut response = Response::new(Empty::<Bytes>::new());
                response.headers_mut().insert("seen", token);
                Ok::<_, Infallible>(response)
            }
        });
        match layer.layer(http).oneshot(request).await {
            Ok(response) => Ok(response.headers()["seen"].to_str().unwrap().to_owned()),
            Err(error) => Err(error.kind()),
        }
    }
}

/// An API that responds with a 401 to one token.
pub(crate) struct Rejecting(&'static str);

impl Rejecting {
    pub(crate) fn new(token: &'static str) -> Self {
        Self(token)
    }

    /// Sends a request, and returns the token of the successful attempt.
    pub(crate) async fn call(
        &self,
        layer: &BearerAuthLayer<ReplayBody<Empty<Bytes>>>,
        tenant: &TenantId,
    ) -> String {
        let refused = self.0;
        let http = tower::service_fn(
            move |request: Request<ReplayBody<Empty<Bytes>>>| async move {
                let token = request.headers()[AUTHORIZATION].clone();
                let mut response = Response::new(Empty::<Bytes>::new());
                if token == refused {
                    *response.status_mut() = StatusCode::UNAUTHORIZED;
                }
                response.headers_mut().insert("seen", token);
                Ok::<_, Infallible>(response)
            },
        );
        let response = layer
            .layer(http)
            .oneshot(request(Some(tenant)))
            .await
            .unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        response.headers()["seen"].to_str().unwrap().to_owned()
    }
}

pub(crate) fn request(tenant: Option<&TenantId>) -> Request<Empty<Bytes>> {
    let request = Request::get(format!("{API}/v1/company"));
    let request = match tenant {
        Some(tenant) => request.extension(tenant.clone()),
        None => request,
    };
    request.body(Empty::new()).unwrap()
}

pub(crate) async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}
