//! Months in the life of one grant, over the whole stack: the sandbox without a socket, the OAuth client, the cache and the
//! layer, all in virtual time.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::Full;
use tower::{Layer, ServiceExt};
use tower_oauth2_client::{
    ErrorKind,
    bearer::{BearerAuth, BearerAuthLayer},
    cache::{TokenCache, TokenState},
    clock::Clock,
    oauth::OAuthClient,
    provider,
    sandbox::{Endpoint, Fault, Sandbox, SandboxService},
    token::ReauthorizationReason,
};

#[path = "support/mod.rs"]
mod support;

use support::{DAY, HOUR, MINUTE, ManualClock, Store, connect};

const SECOND: Duration = Duration::from_secs(1);

struct Partner {
    sandbox: Sandbox,
    store: Store,
    oauth: OAuthClient,
    tokens: TokenCache,
    api: BearerAuth<SandboxService, Full<Bytes>>,
    clock: ManualClock,
}

/// A customer has consented, and the first token has days to live.
async fn connected() -> Partner {
    let clock = ManualClock::new();
    let sandbox = Sandbox::builder().clock_starts_at(clock.wall()).build();
    let provider = provider::justworks().on_origin(&sandbox.url()).unwrap();
    let oauth = OAuthClient::builder(provider, sandbox.client_id())
        .client_secret(sandbox.client_secret())
        .redirect_uri(sandbox.redirect_uri())
        .clock(clock.clone())
        .jitter_seed(7)
        .build::<_, Full<Bytes>, _>(sandbox.service())
        .unwrap();
    let store = Store::default();
    let tokens = cache(&oauth, &store, &clock);
    connect(&sandbox, &oauth, &tokens).await;
    let api = BearerAuthLayer::new(tokens.clone()).layer(sandbox.service());
    Partner {
        sandbox,
        store,
        oauth,
        tokens,
        api,
        clock,
    }
}

fn cache(oauth: &OAuthClient, store: &Store, clock: &ManualClock) -> TokenCache {
    TokenCache::builder(oauth.clone())
        .store(store.clone())
        .clock(clock.clone())
        .jitter_seed(7)
        .build()
        .unwrap()
}

impl Partner {
    /// What a caller gets, and whether it had to wait.
    async fn call(&self) -> Result<StatusCode, ErrorKind> {
        let company = Request::get(format!("{}/v1/company", self.sandbox.url()));
        let company = company.body(Full::<Bytes>::default()).unwrap();
        match self.api.clone().oneshot(company).await {
            Ok(response) => Ok(response.status()),
            Err(error) => Err(error.kind()),
        }
    }

    async fn call_without_waiting(&self) {
        let before = tokio::time::Instant::now();
        assert_eq!(self.call().await, Ok(StatusCode::OK));
        assert_eq!(before.elapsed(), Duration::ZERO, "a caller waited");
    }

    fn renewals(&self) -> u64 {
        self.sandbox.counters().refreshes
    }

    /// The endpoint does not answer any more, in this way.
    fn fail(&self, fault: Fault) {
        self.sandbox.inject(Endpoint::Token, fault.always());
    }
}

async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}

#[tokio::test(start_paused = true)]
async fn p05_ninety_days_in_use() {
    let partner = connected().await;
    // An exchange takes a moment, which nobody may wait for.
    let slow = Fault::delay(2 * SECOND).always();
    partner.sandbox.inject(Endpoint::Token, slow);
    for _ in 0..(90 * 24 * 6) {
        pass(10 * MINUTE).await;
        partner.call_without_waiting().await;
    }
    let counters = partner.sandbox.counters();
    assert!((90..=110).contains(&counters.refreshes), "{counters:?}");
    assert_eq!(counters.unauthorized, 0);
    assert_eq!(counters.refresh_tokens_reused, 0);
}

#[tokio::test(start_paused = true)]
async fn p19_a_hundred_idle_days() {
    let partner = connected().await;
    pass(100 * DAY).await;
    assert_eq!(partner.renewals(), 4, "one in 20 to 22 days");
    assert_eq!(partner.call().await, Ok(StatusCode::OK));
    assert_eq!(partner.sandbox.counters().unauthorized, 0);
    let expires_at = partner.tokens.status().refresh_token_expires_at;
    assert!(expires_at >= Some(partner.clock.wall() + 8 * DAY));
}

#[tokio::test(start_paused = true)]
async fn p19_a_process_that_was_off_for_too_long_asks_once_and_says_why() {
    let Partner {
        sandbox,
        store,
        oauth,
        tokens,
        api,
        clock,
    } = connected().await;
    drop((tokens, api));
    pass(31 * DAY).await;
    assert_eq!(sandbox.counters().refreshes, 0);
    let again = cache(&oauth, &store, &clock);
    let error = again.token().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ReauthorizationRequired);
    pass(10 * DAY).await;
    let TokenState::ReauthorizationRequired { reason, .. } = again.status().state else {
        panic!("{:?}", again.status());
    };
    assert_eq!(reason, ReauthorizationReason::RefreshTokenExpired);
    assert_eq!(sandbox.counters().token_requests_refused, 1);
}

/// Every way for an endpoint to be away. The last leaves open whether it has used up the refresh token.
fn outages() -> [Fault; 5] {
    [
        Fault::status(StatusCode::INTERNAL_SERVER_ERROR),
        Fault::status(StatusCode::BAD_GATEWAY).body("<html>"),
        Fault::status(StatusCode::SERVICE_UNAVAILABLE).retry_after("60"),
        Fault::status(StatusCode::TOO_MANY_REQUESTS),
        Fault::hang(),
    ]
}

#[tokio::test(start_paused = true)]
async fn p05_an_outage_of_three_hours_that_no_caller_notices() {
    for fault in outages() {
        let partner = connected().await;
        // From before the earliest to before the latest end of the window's first half, and then some.
        pass(20 * HOUR + 50 * MINUTE).await;
        partner.fail(fault.clone());
        for _ in 0..(3 * 60) {
            pass(MINUTE).await;
            partner.call_without_waiting().await;
        }
        partner.sandbox.clear_faults();
        assert_eq!(partner.renewals(), 0, "{fault}");
        for _ in 0..(24 * 60) {
            pass(MINUTE).await;
            partner.call_without_waiting().await;
        }
        let counters = partner.sandbox.counters();
        assert!((1..=2).contains(&counters.refreshes), "{fault}");
        assert_eq!(counters.unauthorized, 0, "{fault}");
    }
}

#[tokio::test(start_paused = true)]
async fn p16_an_outage_of_thirty_hours_that_callers_hear_of_and_that_ends_by_itself() {
    for fault in outages() {
        let partner = connected().await;
        pass(HOUR).await;
        partner.fail(fault.clone());
        for hour in 0..30 {
            let call = partner.call().await;
            let expected = if hour < 23 {
                Ok(StatusCode::OK)
            } else {
                Err(ErrorKind::Unavailable)
            };
            assert_eq!(call, expected, "{fault} after {hour} h");
            pass(HOUR).await;
        }
        // Some seven hours of an endpoint that is down: one exchange in half a minute, three requests each.
        let requests = partner.sandbox.counters().faults_triggered;
        assert!(requests < 3 * 2 * 60 * 8, "{fault}: {requests} requests");
        partner.sandbox.clear_faults();
        pass(MINUTE).await;
        partner.call_without_waiting().await;
        assert_eq!(partner.renewals(), 1, "{fault}: in the background");
        assert_eq!(partner.sandbox.counters().unauthorized, 0, "{fault}");
    }
}
