//! A day of 40 customers in tokio's time, from midnight to midnight.

use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::Full;
use tokio::time;
use tower::{Layer, ServiceExt};
use tower_oauth2_client::{
    bearer::{BearerAuth, BearerAuthLayer},
    cache::TokenCache,
    clock::Clock,
    oauth::OAuthClient,
    provider,
    sandbox::{Endpoint, Fault, Sandbox},
    tenants::Tenants,
    token::TenantId,
};

use super::{Outcome, failing_store::FailingStore, slow_provider::SlowProvider};

const CUSTOMERS: u32 = 40;
const MINUTES: u32 = 24 * 60;
const MINUTE: Duration = Duration::from_secs(60);
/// A Monday, in seconds since 1970.
const MIDNIGHT: Duration = Duration::from_secs(1_767_571_200);
const TYPICAL: Duration = Duration::from_millis(180);

pub(crate) struct Day {
    sandbox: Sandbox,
    provider: SlowProvider,
    store: FailingStore,
    clock: VirtualClock,
    oauth: OAuthClient,
    tenants: Tenants,
    api: BearerAuth<SlowProvider, Full<Bytes>>,
    minute: u32,
}

impl Day {
    pub(crate) fn start() -> Outcome<Self> {
        let clock = VirtualClock::start();
        let sandbox = Sandbox::builder()
            .clock_starts_at(clock.wall())
            .seed(7)
            // Of the provider of the catalogue, a token lives for a day. Here the day has more
            // refreshes.
            .behavior(|behavior| behavior.access_token_lifetime = 60 * MINUTE)
            .build();
        let provider = SlowProvider::new(sandbox.service(), TYPICAL);
        let oauth = oauth_client(&sandbox, &provider, &clock)?;
        let store = FailingStore::default();
        let tenants = Tenants::builder(oauth.clone())
            .store(store.clone())
            .origin(sandbox.url())
            .clock(clock.clone())
            .jitter_seed(7)
            .build()?;
        let api = BearerAuthLayer::new(tenants.clone()).layer(provider.clone());
        Ok(Self {
            sandbox,
            provider,
            store,
            clock,
            oauth,
            tenants,
            api,
            minute: 0,
        })
    }

    pub(crate) fn tenants(&self) -> Tenants {
        self.tenants.clone()
    }

    pub(crate) fn unix_seconds(&self) -> Outcome<u64> {
        let since = self.clock.wall().duration_since(SystemTime::UNIX_EPOCH)?;
        Ok(since.as_secs())
    }

    /// Lets the next minute pass. Returns `false` at the end of the day.
    pub(crate) async fn minute(&mut self) -> Outcome<bool> {
        if self.minute == MINUTES {
            return Ok(false);
        }
        let end = time::Instant::now() + MINUTE;
        self.incident().await?;
        for customer in 0..CUSTOMERS {
            if self.minute == customer {
                self.connect(customer).await?;
            } else if self.minute > customer && (self.minute + customer).is_multiple_of(5) {
                self.request(customer).await?;
            }
        }
        self.minute += 1;
        time::sleep_until(end).await;
        Ok(true)
    }

    /// Starts or ends what goes wrong at this minute.
    async fn incident(&self) -> Outcome {
        match (self.minute / 60, self.minute % 60) {
            // The provider forgets all access tokens.
            (3, 0) => self.sandbox.revoke_access_tokens(),
            // The token endpoint is down.
            (6, 0) => self.sandbox.inject(
                Endpoint::Token,
                Fault::status(StatusCode::SERVICE_UNAVAILABLE).always(),
            ),
            (6, 45) | (20, 40) => self.sandbox.clear_faults(),
            // Three customers disconnect the application at the provider.
            (9, 0 | 10 | 20) => self.end_a_grant().await?,
            (11, 0) => self.store.fail_saves(true),
            (11, 20) => self.store.fail_saves(false),
            // The provider is slow.
            (14, 0) => self.provider.set_typical(8 * TYPICAL),
            (15, 30) => self.provider.set_typical(TYPICAL),
            // The provider refuses to refresh one grant, which becomes stuck, and recovers.
            (17, 0 | 5 | 10 | 15 | 20) => self.refuse_a_refresh().await?,
            // The provider rejects the client secret, and the operator replaces it.
            (20, 0) => {
                let body = r#"{"error":"invalid_client"}"#;
                let fault = Fault::status(StatusCode::UNAUTHORIZED).body(body).always();
                self.sandbox.inject(Endpoint::Token, fault);
            }
            (20, 41) => self.oauth.replace_secret(self.sandbox.client_secret())?,
            _ => {}
        }
        Ok(())
    }

    /// A customer consents in a browser.
    async fn connect(&self, customer: u32) -> Outcome {
        let (url, pending) = self.oauth.authorization_url()?;
        let callback = self.sandbox.consent(&url).await?;
        let tenant = tenant(customer)?;
        self.tenants
            .complete_authorization(&tenant, &self.oauth, &pending, &callback)
            .await?;
        Ok(())
    }

    /// Sends a request for a customer. It may fail: that is what the metrics are for.
    async fn request(&self, customer: u32) -> Outcome {
        let company = Request::get(format!("{}/v1/company", self.sandbox.url()))
            .extension(tenant(customer)?)
            .body(Full::default())?;
        let _ = self.api.clone().oneshot(company).await;
        Ok(())
    }

    async fn end_a_grant(&self) -> Outcome {
        let body = r#"{"error":"invalid_grant"}"#;
        let fault = Fault::status(StatusCode::BAD_REQUEST).body(body);
        self.refresh_with(self.minute % 60 / 10, fault).await
    }

    async fn refuse_a_refresh(&self) -> Outcome {
        let body = r#"{"error":"invalid_scope"}"#;
        let fault = Fault::status(StatusCode::BAD_REQUEST).body(body);
        self.refresh_with(CUSTOMERS - 1, fault).await
    }

    /// Refreshes the grant of a customer, which fails by this fault.
    async fn refresh_with(&self, customer: u32, fault: Fault) -> Outcome {
        let cache: TokenCache = self.tenants.cache(&tenant(customer)?).await?;
        self.sandbox.inject(Endpoint::Token, fault);
        let _ = cache.refresh_now().await;
        self.sandbox.clear_faults();
        Ok(())
    }
}

fn oauth_client(
    sandbox: &Sandbox,
    provider: &SlowProvider,
    clock: &VirtualClock,
) -> Outcome<OAuthClient> {
    let justworks = provider::justworks().on_origin(&sandbox.url())?;
    let oauth = OAuthClient::builder(justworks, sandbox.client_id())
        .client_secret(sandbox.client_secret())
        .redirect_uri(sandbox.redirect_uri())
        .clock(clock.clone())
        .jitter_seed(7)
        .build::<_, Full<Bytes>, _>(provider.clone())?;
    Ok(oauth)
}

fn tenant(customer: u32) -> Outcome<TenantId> {
    Ok(TenantId::new(format!("customer-{customer}"))?)
}

/// A clock whose wall time advances with tokio's. A program that is no simulation needs none.
#[derive(Clone, Debug)]
struct VirtualClock {
    start: time::Instant,
}

impl VirtualClock {
    fn start() -> Self {
        let start = time::Instant::now();
        Self { start }
    }
}

impl Clock for VirtualClock {
    fn monotonic(&self) -> Instant {
        time::Instant::now().into_std()
    }

    fn wall(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + MIDNIGHT + self.start.elapsed()
    }
}
