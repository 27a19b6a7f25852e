//! Many customers of one partner, which share a client and so a token endpoint.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, combinators::UnsyncBoxBody};
use tokio::task::JoinSet;
use tower::{Layer, ServiceExt};
use tower_oauth2_client::{
    ErrorKind,
    bearer::{BearerAuth, BearerAuthLayer},
    cache::TokenCache,
    clock::Clock,
    oauth::OAuthClient,
    sandbox::{ConnectionLost, Sandbox, SandboxBuilder, SandboxService},
    store::MemoryStore,
    token::{AccessToken, RefreshToken, TokenSet},
};

use crate::support::{Body, ManualClock, cache_over, connect, oauth_over, pass};

/// A provider, and a partner with many customers.
pub(crate) struct Fleet {
    clock: ManualClock,
    pub(crate) sandbox: Sandbox,
    pub(crate) oauth: OAuthClient,
    pub(crate) store: MemoryStore,
}

impl Fleet {
    pub(crate) fn at(set: impl FnOnce(SandboxBuilder) -> SandboxBuilder) -> Self {
        let clock = ManualClock::new();
        let sandbox = set(Sandbox::builder().clock_starts_at(clock.wall())).build();
        let http = tower::service_fn({
            let service = sandbox.service();
            move |request| endpoint(service.clone(), request)
        });
        Self {
            oauth: oauth_over(&sandbox, &clock, http),
            clock,
            sandbox,
            store: MemoryStore::new(),
        }
    }

    /// A tenant that has not consented yet.
    pub(crate) fn tenant(&self, name: &str, number: u64) -> Tenant {
        let tokens = cache_over(&self.oauth, self.store.clone(), &self.clock);
        let tokens = tokens.tenant(name).jitter_seed(number).build().unwrap();
        Tenant {
            api: BearerAuthLayer::new(tokens.clone()).layer(self.sandbox.service()),
            tokens,
            url: self.sandbox.url(),
        }
    }

    /// Tenants that have consented one after the other.
    pub(crate) async fn tenants(&self, count: u64, pause: Duration) -> Vec<Tenant> {
        let mut tenants = Vec::new();
        for number in 0..count {
            let tenant = self.tenant(&format!("tenant-{number}"), number);
            connect(&self.sandbox, &self.oauth, &tenant.tokens).await;
            tenants.push(tenant);
            pass(pause).await;
        }
        tenants
    }

    /// A tenant whose refresh token makes the endpoint fail, and whose access token has expired.
    pub(crate) async fn failing(&self, refresh_token: &str) -> Tenant {
        let tenant = self.tenant("failing", 0);
        let now = self.clock.wall();
        let tokens = TokenSet::new(AccessToken::new("expired").unwrap(), Duration::ZERO, now);
        let tokens = tokens.with_refresh_token(RefreshToken::new(refresh_token), now);
        tenant.tokens.set_tokens(tokens).await.unwrap();
        tenant
    }
}

/// The partner's state for one customer.
#[derive(Clone)]
pub(crate) struct Tenant {
    pub(crate) tokens: TokenCache,
    api: BearerAuth<SandboxService, Body>,
    url: String,
}

impl Tenant {
    pub(crate) async fn call(&self) -> Result<StatusCode, ErrorKind> {
        let company = Request::get(format!("{}/v1/company", self.url));
        let company = company.body(Body::default()).unwrap();
        match self.api.clone().oneshot(company).await {
            Ok(response) => Ok(response.status()),
            Err(error) => Err(error.kind()),
        }
    }
}

/// Sends one call per tenant at once. Returns how many succeeded.
pub(crate) async fn all_call(tenants: &[Tenant]) -> usize {
    let mut calls = JoinSet::new();
    for tenant in tenants {
        let tenant = tenant.clone();
        calls.spawn(async move { tenant.call().await });
    }
    let outcomes = calls.join_all().await.into_iter();
    outcomes
        .filter(|outcome| *outcome == Ok(StatusCode::OK))
        .count()
}

/// Refresh tokens for which the endpoint fails, or hangs.
pub(crate) const FAILS: &str = "failing-with-status";
pub(crate) const HANGS: &str = "failing-by-hanging";

/// The sandbox's endpoint, with special behavior for two refresh tokens.
async fn endpoint(
    service: SandboxService,
    request: Request<Body>,
) -> Result<Response<UnsyncBoxBody<Bytes, ConnectionLost>>, ConnectionLost> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let text = String::from_utf8_lossy(&body);
    if text.contains(HANGS) {
        std::future::pending::<()>().await;
    }
    let fails = text.contains(FAILS);
    let mut response = service
        .oneshot(Request::from_parts(head, Body::from(body)))
        .await?;
    if fails {
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    }
    Ok(response.map(BodyExt::boxed_unsync))
}
