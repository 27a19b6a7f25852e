//! A partner with one customer at a provider of the catalogue, at the provider's own addresses.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use tower::{Layer, Service, ServiceExt};
use tower_oauth2_client::{
    Error,
    bearer::{BearerAuthLayer, ReplayBody},
    cache::TokenCache,
    clock::Clock,
    oauth::OAuthClient,
    provider::{Provider, ValueSource, catalog::Entry},
    sandbox::{Persona, Sandbox},
    telemetry::GrantListener,
    token::{NamedValues, ReauthorizationReason, TenantId},
};

use crate::shared::{ManualClock, Store};

pub(crate) type Body = ReplayBody<Full<Bytes>>;

/// An HTTP client of the partner.
pub(crate) trait Http:
    Service<
        Request<Body>,
        Response = Response<Self::Received>,
        Error = Self::Failure,
        Future = Self::InFlight,
    > + Clone
    + Send
    + Sync
    + 'static
{
    type Received: http_body::Body<Data = Bytes, Error = Self::BodyFailure> + Send + Unpin + 'static;
    type BodyFailure: std::error::Error + Send + Sync + 'static;
    type Failure: std::error::Error + Send + Sync + 'static;
    type InFlight: Future<Output = Result<Response<Self::Received>, Self::Failure>> + Send + 'static;
}

impl<S, R, E> Http for S
where
    S: Service<Request<Body>, Response = Response<R>, Error = E> + Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
    R: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
    R::Error: std::error::Error + Send + Sync + 'static,
    E: std::error::Error + Send + Sync + 'static,
{
    type Received = R;
    type BodyFailure = R::Error;
    type Failure = E;
    type InFlight = S::Future;
}

pub(crate) struct Partner<H> {
    pub(crate) persona: Persona,
    pub(crate) provider: Provider,
    pub(crate) sandbox: Sandbox,
    pub(crate) clock: ManualClock,
    pub(crate) oauth: OAuthClient,
    pub(crate) store: Store,
    pub(crate) ends: Ends,
    pub(crate) tokens: TokenCache,
    http: H,
}

impl<H: Http> Partner<H> {
    /// A partner whose requests go through `http`, with a new process on an empty store.
    pub(crate) fn new(
        entry: Entry,
        sandbox: Sandbox,
        clock: ManualClock,
        http: H,
        seed: u64,
    ) -> Self {
        let persona = Persona::named(entry.name()).unwrap();
        let provider = entry.provider();
        let oauth = OAuthClient::builder(provider.clone(), sandbox.client_id())
            .client_secret(sandbox.client_secret())
            .redirect_uri(sandbox.redirect_uri())
            .scopes(persona.scopes())
            .clock(clock.clone())
            .jitter_seed(seed)
            .build(http.clone())
            .unwrap();
        let store = Store::default();
        let ends = Ends::default();
        let tokens = cache(&oauth, &store, &clock, &ends, seed);
        Self {
            persona,
            provider,
            sandbox,
            clock,
            oauth,
            store,
            ends,
            tokens,
            http,
        }
    }

    /// The values that the program passes when the customer connects.
    fn connect_values(&self) -> NamedValues {
        let values = self.provider.kept_values();
        values
            .filter(|(_, value)| value.source() == ValueSource::Connect)
            .map(|(name, _)| (name, self.persona.tenant()))
            .collect()
    }

    /// The customer consents, and the browser comes back.
    pub(crate) async fn connect(&self) -> Result<(), String> {
        let (url, pending) = self
            .oauth
            .authorization_url_with(&self.connect_values())
            .map_err(text)?;
        let callback = self.sandbox.consent(&url).await;
        let callback = callback.map_err(|error| error.to_string())?;
        self.tokens
            .complete_authorization(&self.oauth, &pending, &callback)
            .await
            .map_err(text)
    }

    /// The origin of the customer's API.
    async fn api(&self) -> Result<String, String> {
        if let Some(origin) = self.provider.api_origins().first() {
            return Ok(origin.to_string());
        }
        let values = self.tokens.values().await.map_err(text)?;
        let origins = self.provider.tenant_origins(&values).map_err(text)?;
        Ok(origins[0].to_string())
    }

    /// Calls the API on behalf of the customer, and returns the status.
    pub(crate) async fn call(&self) -> Result<StatusCode, String> {
        let url = format!("{}/v1/things", self.api().await?);
        let request = Request::get(url).body(Full::<Bytes>::default()).unwrap();
        let layer = BearerAuthLayer::<Body>::new(self.tokens.clone());
        let response = layer.layer(self.http.clone()).oneshot(request).await;
        let response = response.map_err(text)?;
        let status = response.status();
        response
            .into_body()
            .collect()
            .await
            .map_err(|error| error.to_string())?;
        Ok(status)
    }

    /// The process ends, and another one starts on the same store.
    pub(crate) fn restart(&mut self, seed: u64) {
        self.tokens = cache(&self.oauth, &self.store, &self.clock, &self.ends, seed);
    }

    /// Another process on the same store.
    pub(crate) fn replica(&self, seed: u64) -> Self {
        Self {
            persona: self.persona.clone(),
            provider: self.provider.clone(),
            sandbox: self.sandbox.clone(),
            clock: self.clock.clone(),
            oauth: self.oauth.clone(),
            store: self.store.clone(),
            ends: self.ends.clone(),
            tokens: cache(&self.oauth, &self.store, &self.clock, &self.ends, seed),
            http: self.http.clone(),
        }
    }

    /// Time passes, on all clocks.
    pub(crate) fn advance(&self, seconds: u64) {
        self.clock.advance(seconds);
        self.sandbox.advance(Duration::from_secs(seconds));
    }
}

/// A sandbox that behaves like the entry, in the time of `clock`.
pub(crate) fn sandbox_of(
    entry: Entry,
    clock: &ManualClock,
    seed: u64,
) -> tower_oauth2_client::sandbox::SandboxBuilder {
    let persona = Persona::named(entry.name()).unwrap();
    Sandbox::persona(persona)
        .clock_starts_at(clock.wall())
        .seed(seed)
}

fn cache(
    oauth: &OAuthClient,
    store: &Store,
    clock: &ManualClock,
    ends: &Ends,
    seed: u64,
) -> TokenCache {
    TokenCache::builder(oauth.clone())
        .store(store.clone())
        .clock(clock.clone())
        .listener(ends.clone())
        .jitter_seed(seed)
        .build()
        .unwrap()
}

/// An error and its causes.
#[expect(clippy::needless_pass_by_value, reason = "`map_err` passes it so")]
pub(crate) fn text(error: Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// The ends of the grant that the listener was called for.
#[derive(Clone, Default)]
pub(crate) struct Ends(Arc<Mutex<Vec<ReauthorizationReason>>>);

impl Ends {
    pub(crate) fn take(&self) -> Vec<ReauthorizationReason> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl GrantListener for Ends {
    fn reauthorization_required(&self, _: &TenantId, reason: ReauthorizationReason) {
        self.0.lock().unwrap().push(reason);
    }
}
