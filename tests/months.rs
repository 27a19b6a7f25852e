//! Months in the life of one grant, over the whole stack: the sandbox without a socket, the OAuth
//! client, the cache and the layer, all in virtual time.

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

/// A customer has consented, and the first token is valid for a day.
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
    /// The result of a call, and whether it had to wait.
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

    fn refreshes(&self) -> u64 {
        self.sandbox.counters().refreshes
    }

    /// Makes the token endpoint fail in this way.
    fn fail(&self, fault: Fault) {
        self.sandbox.inject(Endpoint::Token, fault.always());
    }
}

async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}

#[tokio::test(start_paused = true)]
async fn p05_90_days_in_use_without_a_waiting_caller() {
    let partner = connected().await;
    // A refresh takes a moment, for which no caller may wait.
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
async fn p19_100_idle_days_keep_the_grant_alive() {
    let partner = connected().await;
    pass(100 * DAY).await;
    assert_eq!(partner.refreshes(), 4, "one in 20 to 22 days");
    assert_eq!(partner.call().await, Ok(StatusCode::OK));
    assert_eq!(partner.sandbox.counters().unauthorized, 0);
    let expires_at = partner.tokens.status().refresh_token_expires_at;
    assert!(expires_at >= Some(partner.clock.wall() + 8 * DAY));
}

#[tokio::test(start_paused = true)]
async fn p19_process_that_was_off_for_too_long_sends_one_request_and_reports_why() {
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

/// Each way in which an endpoint can be unavailable. The first two prove that it did not use the
/// refresh token, and the others leave that open.
fn outages() -> [Fault; 7] {
    [
        Fault::status(StatusCode::SERVICE_UNAVAILABLE).retry_after("60"),
        Fault::status(StatusCode::TOO_MANY_REQUESTS),
        Fault::status(StatusCode::INTERNAL_SERVER_ERROR),
        Fault::status(StatusCode::BAD_GATEWAY).body("<html>"),
        Fault::status(StatusCode::BAD_GATEWAY).retry_after("60"),
        Fault::status(StatusCode::REQUEST_TIMEOUT),
        Fault::hang(),
    ]
}

#[tokio::test(start_paused = true)]
async fn p05_outage_of_three_hours_does_not_affect_callers() {
    for fault in outages() {
        let partner = connected().await;
        // From before the earliest to after the latest start of a background refresh.
        pass(20 * HOUR + 50 * MINUTE).await;
        partner.fail(fault.clone());
        for _ in 0..(3 * 60) {
            pass(MINUTE).await;
            partner.call_without_waiting().await;
        }
        partner.sandbox.clear_faults();
        assert_eq!(partner.refreshes(), 0, "{fault}");
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
async fn p16_outage_of_thirty_hours_is_an_error_and_is_recovered_from() {
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
        // About seven hours of an outage: one refresh every half minute, three requests each.
        let requests = partner.sandbox.counters().faults_triggered;
        assert!(requests < 3 * 2 * 60 * 8, "{fault}: {requests} requests");
        partner.sandbox.clear_faults();
        pass(MINUTE).await;
        partner.call_without_waiting().await;
        assert_eq!(partner.refreshes(), 1, "{fault}: in the background");
        assert_eq!(partner.sandbox.counters().unauthorized, 0, "{fault}");
    }
}
