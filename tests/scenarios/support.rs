//! The start of each scenario: a customer that has consented, and a partner that calls the API on
//! their behalf.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use tokio::{task::JoinHandle, time::timeout};
use tower::{Layer, Service, ServiceExt};
use tower_oauth2_client::{
    ErrorKind,
    bearer::{BearerAuth, BearerAuthLayer},
    cache::{TokenCache, TokenCacheBuilder, TokenState},
    clock::Clock,
    oauth::OAuthClient,
    provider,
    sandbox::{
        ConnectionLost, Endpoint, EventKind, Fault, GrantType, Sandbox, SandboxBuilder,
        SandboxService, TokenHash,
    },
    store::TokenStore,
    telemetry::GrantListener,
    token::{GrantState, ReauthorizationReason, TenantId, TokenSet},
};

pub(crate) use crate::shared::{DAY, HOUR, MINUTE, ManualClock, Store, connect};

pub(crate) const SECOND: Duration = Duration::from_secs(1);

pub(crate) type Body = Full<Bytes>;

#[derive(Clone)]
pub(crate) struct Partner {
    pub(crate) sandbox: Sandbox,
    pub(crate) clock: ManualClock,
    pub(crate) oauth: OAuthClient,
    pub(crate) store: Store,
    pub(crate) events: Events,
    pub(crate) tokens: TokenCache,
    api: BearerAuth<SandboxService, Full<Bytes>>,
}

/// A customer has consented, at a sandbox with all defaults.
pub(crate) async fn connected() -> Partner {
    connected_at(|sandbox| sandbox).await
}

/// A customer has consented, at a sandbox with these settings.
pub(crate) async fn connected_at(set: impl FnOnce(SandboxBuilder) -> SandboxBuilder) -> Partner {
    connected_with(set, |cache| cache).await
}

/// A customer has consented, at a sandbox and with a cache that have these settings.
pub(crate) async fn connected_with(
    set_sandbox: impl FnOnce(SandboxBuilder) -> SandboxBuilder,
    set_cache: impl FnOnce(TokenCacheBuilder) -> TokenCacheBuilder,
) -> Partner {
    let clock = ManualClock::new();
    let sandbox = set_sandbox(Sandbox::builder().clock_starts_at(clock.wall())).build();
    let oauth = oauth_over(&sandbox, &clock, sandbox.service());
    let partner = Partner::of(sandbox, clock, oauth, Store::default(), set_cache);
    partner.connect().await;
    partner
}

/// A client of the sandbox whose requests go through `http`.
pub(crate) fn oauth_over<S, R>(sandbox: &Sandbox, clock: &ManualClock, http: S) -> OAuthClient
where
    S: Service<Request<Body>, Response = Response<R>, Error = ConnectionLost>
        + Clone
        + Send
        + Sync
        + 'static,
    S::Future: Send + 'static,
    R: http_body::Body<Data = Bytes, Error = ConnectionLost> + Send + 'static,
{
    let provider = provider::justworks().on_origin(&sandbox.url()).unwrap();
    OAuthClient::builder(provider, sandbox.client_id())
        .client_secret(sandbox.client_secret())
        .redirect_uri(sandbox.redirect_uri())
        .clock(clock.clone())
        .jitter_seed(7)
        .response_timeout(10 * SECOND)
        .build(http)
        .unwrap()
}

pub(crate) fn cache_over(
    oauth: &OAuthClient,
    store: impl TokenStore,
    clock: &ManualClock,
) -> TokenCacheBuilder {
    TokenCache::builder(oauth.clone())
        .store(store)
        .clock(clock.clone())
        .jitter_seed(7)
}

impl Partner {
    /// One process of the partner, with the store that an earlier one has left.
    pub(crate) fn of(
        sandbox: Sandbox,
        clock: ManualClock,
        oauth: OAuthClient,
        store: Store,
        set: impl FnOnce(TokenCacheBuilder) -> TokenCacheBuilder,
    ) -> Self {
        let events = Events::default();
        let cache = cache_over(&oauth, store.clone(), &clock).listener(events.clone());
        let tokens = set(cache).build().unwrap();
        let api = BearerAuthLayer::new(tokens.clone()).layer(sandbox.service());
        Self {
            sandbox,
            clock,
            oauth,
            store,
            events,
            tokens,
            api,
        }
    }

    /// The next process, with this store.
    pub(crate) fn restarted_over(self, store: Store) -> Self {
        let Self {
            sandbox,
            clock,
            tokens,
            api,
            oauth,
            ..
        } = self;
        drop((tokens, api, oauth));
        let oauth = oauth_over(&sandbox, &clock, sandbox.service());
        Self::of(sandbox, clock, oauth, store, |cache| cache)
    }

    pub(crate) fn restarted(self) -> Self {
        let store = self.store.clone();
        self.restarted_over(store)
    }

    /// The customer consents, for the first time or again.
    pub(crate) async fn connect(&self) {
        connect(&self.sandbox, &self.oauth, &self.tokens).await;
    }

    /// An API call. Returns its status and body.
    pub(crate) async fn get(&self, path: &str) -> Result<(StatusCode, Bytes), ErrorKind> {
        let request = Request::get(format!("{}{path}", self.sandbox.url()));
        let request = request.body(Body::default()).unwrap();
        let response = timeout(HOUR, self.api.clone().oneshot(request));
        match response.await.expect("a call ends") {
            Ok(response) => {
                let (head, body) = response.into_parts();
                Ok((head.status, body.collect().await.unwrap().to_bytes()))
            }
            Err(error) => Err(error.kind()),
        }
    }

    pub(crate) async fn call(&self) -> Result<StatusCode, ErrorKind> {
        Ok(self.get("/v1/company").await?.0)
    }

    /// An API call in a task of its own.
    pub(crate) fn calling(&self) -> JoinHandle<Result<StatusCode, ErrorKind>> {
        let partner = self.clone();
        tokio::spawn(async move { partner.call().await })
    }

    pub(crate) async fn works(&self) {
        assert_eq!(self.call().await, Ok(StatusCode::OK));
    }

    pub(crate) async fn refresh(&self) -> Result<(), tower_oauth2_client::Error> {
        let refresh = timeout(HOUR, self.tokens.refresh_now());
        refresh.await.expect("a refresh ends").map(drop)
    }

    /// A refresh in a task of its own.
    pub(crate) fn refreshing(&self) -> JoinHandle<Result<(), tower_oauth2_client::Error>> {
        let partner = self.clone();
        tokio::spawn(async move { partner.refresh().await })
    }

    /// Makes the token endpoint fail in this way.
    pub(crate) fn fail(&self, fault: Fault) {
        self.sandbox.inject(Endpoint::Token, fault);
    }

    /// The number of refreshes that the sandbox has made.
    pub(crate) fn refreshes(&self) -> u64 {
        self.sandbox.counters().refreshes
    }

    /// The code exchanges and refreshes in their order, with their grants and token hashes.
    pub(crate) fn token_requests(&self) -> Vec<TokenRequest> {
        let events = self.sandbox.events().into_iter();
        events
            .filter_map(|event| match event.kind {
                EventKind::TokensIssued {
                    grant_type,
                    grant,
                    access_token,
                    refresh_token,
                    ..
                } => Some(TokenRequest {
                    grant_type,
                    grant,
                    access_token,
                    refresh_token,
                }),
                _ => None,
            })
            .collect()
    }

    /// The stored state of the grant.
    pub(crate) async fn stored(&self) -> GrantState {
        self.store.stored().await.unwrap().state
    }

    pub(crate) async fn stored_tokens(&self) -> TokenSet {
        self.store.stored().await.unwrap().tokens().unwrap().clone()
    }

    /// The reason for a new consent, if one is required.
    pub(crate) fn reason(&self) -> Option<ReauthorizationReason> {
        match self.tokens.status().state {
            TokenState::ReauthorizationRequired { reason, .. } => Some(reason),
            _ => None,
        }
    }
}

pub(crate) struct TokenRequest {
    pub(crate) grant_type: GrantType,
    pub(crate) grant: u64,
    pub(crate) access_token: TokenHash,
    pub(crate) refresh_token: Option<TokenHash>,
}

/// The events that call for action, one line each.
#[derive(Clone, Default)]
pub(crate) struct Events(Arc<Mutex<Vec<String>>>);

impl Events {
    pub(crate) fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    fn record(&self, line: impl Into<String>) {
        self.0.lock().unwrap().push(line.into());
    }
}

impl GrantListener for Events {
    fn reauthorization_required(&self, _: &TenantId, reason: ReauthorizationReason) {
        self.record(reason.as_str());
    }

    fn rotation_lost(&self, _: &TenantId) {
        self.record("lost");
    }
}

pub(crate) async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}
