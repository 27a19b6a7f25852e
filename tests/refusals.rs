//! P15, P16: refusals have the meaning that the provider's data give them, and a grant that is
//! refused without end becomes stuck.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use tower_oauth2_client::{
    Error, ErrorKind,
    cache::{TokenCache, TokenState},
    clock::Clock,
    oauth::OAuthClient,
    provider::{Provider, Refusal, RefusalMeaning},
    store::{MemoryStore, TokenStore},
    telemetry::GrantListener,
    tenants::Tenants,
    token::{
        AccessToken, Generation, Grant, GrantState, ReauthorizationReason, RefreshToken, TenantId,
        TokenSet,
    },
};

#[path = "support/mod.rs"]
mod support;

use support::{API, DAY, HOUR, MINUTE, ManualClock, SECOND, pass};

/// A token endpoint that responds to everything in the same way, until it is changed.
#[derive(Clone)]
struct Endpoint {
    clock: ManualClock,
    response: Arc<Mutex<(u16, String)>>,
    /// When which refresh token was sent.
    requests: Arc<Mutex<Vec<(Duration, String)>>>,
}

const SUCCESS: (u16, &str) = (
    200,
    r#"{"access_token":"a2","token_type":"bearer","expires_in":86400,"refresh_token":"next"}"#,
);

impl Endpoint {
    fn new(status: u16, body: &str) -> Self {
        Self {
            clock: ManualClock::new(),
            response: Arc::new(Mutex::new((status, body.to_owned()))),
            requests: Arc::default(),
        }
    }

    fn respond_with(&self, (status, body): (u16, &str)) {
        *self.response.lock().unwrap() = (status, body.to_owned());
    }

    fn requests(&self) -> usize {
        self.requests.lock().unwrap().len()
    }

    /// How often each refresh token was sent on each day.
    fn per_day(&self) -> BTreeMap<String, Vec<u32>> {
        let mut days = BTreeMap::<_, Vec<u32>>::new();
        for (at, token) in self.requests.lock().unwrap().iter() {
            let day = usize::try_from(at.as_secs() / 86_400).unwrap();
            let counts = days.entry(token.clone()).or_default();
            counts.resize(counts.len().max(day + 1), 0);
            counts[day] += 1;
        }
        days
    }

    fn client(&self, refusals: &[Refusal]) -> OAuthClient {
        let mut provider = Provider::builder("https://id.example.com/token").api_origin(API);
        for refusal in refusals {
            provider = provider.refusal(refusal.clone());
        }
        let endpoint = self.clone();
        let started = self.clock.wall();
        let http = tower::service_fn(move |request: Request<Full<Bytes>>| {
            let endpoint = endpoint.clone();
            async move {
                let body = request.into_body().collect().await.unwrap().to_bytes();
                let body = String::from_utf8(body.to_vec()).unwrap();
                let token = body.split("refresh_token=").last().unwrap().to_owned();
                let at = endpoint.clock.wall().duration_since(started).unwrap();
                endpoint.requests.lock().unwrap().push((at, token));
                let (status, body) = endpoint.response.lock().unwrap().clone();
                let response = Response::builder().status(status);
                Ok::<_, Infallible>(response.body(Full::new(Bytes::from(body))).unwrap())
            }
        });
        OAuthClient::builder(provider.build().unwrap(), "client")
            .client_secret("a-client-secret")
            .clock(self.clock.clone())
            .build(http)
            .unwrap()
    }
}

/// The reports of a cache.
#[derive(Clone, Default)]
struct Reports(Arc<Mutex<Vec<String>>>);

impl Reports {
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }

    fn push(&self, report: &str) {
        self.0.lock().unwrap().push(report.to_owned());
    }
}

impl GrantListener for Reports {
    fn reauthorization_required(&self, _: &TenantId, reason: ReauthorizationReason) {
        self.push(reason.as_str());
    }

    fn stuck(&self, _: &TenantId, error: &Error) {
        self.push(&format!("stuck: {}", error.provider_code().unwrap_or("-")));
    }

    fn recovered(&self, _: &TenantId) {
        self.push("recovered");
    }
}

fn tokens(name: &str, lifetime: Duration, clock: &ManualClock) -> TokenSet {
    TokenSet::new(AccessToken::new("a1").unwrap(), lifetime, clock.wall())
        .with_refresh_token(RefreshToken::new(name), clock.wall())
}

/// A cache whose access token lives for a day.
async fn connected(
    endpoint: &Endpoint,
    refusals: &[Refusal],
) -> (TokenCache, MemoryStore, Reports) {
    let (store, reports) = (MemoryStore::new(), Reports::default());
    let cache = TokenCache::builder(endpoint.client(refusals))
        .clock(endpoint.clock.clone())
        .background_delay(Duration::ZERO)
        .store(store.clone())
        .listener(reports.clone())
        .jitter_seed(7)
        .build()
        .unwrap();
    let first = tokens("the-refresh-token", DAY, &endpoint.clock);
    cache.set_tokens(first).await.unwrap();
    (cache, store, reports)
}

/// The refusals of real providers.
fn known() -> Vec<Refusal> {
    let dead = || Refusal::new(RefusalMeaning::Dead);
    let (not_dead, transient) = (RefusalMeaning::NotDead, RefusalMeaning::Transient);
    vec![
        dead().status(400).member("status", "BAD_REFRESH_TOKEN"),
        dead().status(200).member("error", "bad_refresh_token"),
        dead().status(200).member("error", "invalid_refresh_token"),
        dead().status(200).member("error", "invalid_code"),
        dead()
            .member("error", "unauthorized_client")
            .member("error_description", "*refresh_token is invalid*"),
        dead().member("error", "interaction_required"),
        Refusal::new(transient)
            .member("error", "invalid_grant")
            .member("error_description", "*already being processed*"),
        Refusal::new(not_dead)
            .member("error", "invalid_grant")
            .member("error_description", "AADSTS9002313*"),
    ]
}

const HUBSPOT: &str =
    r#"{"status":"BAD_REFRESH_TOKEN","message":"missing or unknown refresh token"}"#;
const GITHUB: &str = r#"{"error":"bad_refresh_token","error_description":"The refresh token passed is incorrect or expired."}"#;
const SLACK: &str = r#"{"ok":false,"error":"invalid_refresh_token"}"#;
const ZOHO: &str = r#"{"error":"invalid_code"}"#;
const ATLASSIAN: &str =
    r#"{"error":"unauthorized_client","error_description":"refresh_token is invalid"}"#;
const INTERACTION: &str =
    r#"{"error":"interaction_required","error_description":"AADSTS50076: Use MFA."}"#;
const PROCESSING: &str =
    r#"{"error":"invalid_grant","error_description":"token request is already being processed"}"#;
const MALFORMED: &str = r#"{"error":"invalid_grant","error_description":"AADSTS9002313: Invalid request. Trace ID: 0f8fad5b-d9cb-469f-a165-70867728950e"}"#;

#[tokio::test(start_paused = true)]
async fn p15_dead_grant_ends_within_one_refresh() {
    for (status, body, code) in [
        (400, HUBSPOT, "BAD_REFRESH_TOKEN"),
        (200, GITHUB, "bad_refresh_token"),
        (200, SLACK, "invalid_refresh_token"),
        (200, ZOHO, "invalid_code"),
        (403, ATLASSIAN, "unauthorized_client"),
        (400, INTERACTION, "interaction_required"),
        (400, r#"{"error":"invalid_grant"}"#, "invalid_grant"),
    ] {
        let endpoint = Endpoint::new(status, body);
        let (cache, store, reports) = connected(&endpoint, &known()).await;
        let error = cache.refresh_now().await.unwrap_err();
        assert!(error.is_consent_required(), "{body}: {error:?}");
        assert!(!error.is_response_lost(), "{body}");
        assert_eq!(error.provider_code(), Some(code));
        assert_eq!(reports.take(), ["invalid_grant"], "{body}");
        let stored = store.load(cache.tenant()).await.unwrap().unwrap().state;
        assert!(matches!(stored, GrantState::ReauthorizationRequired { .. }));
        // Nothing is sent any more.
        cache.refresh_now().await.unwrap_err();
        pass(3 * DAY).await;
        cache.token().await.unwrap_err();
        assert_eq!(
            (endpoint.requests(), reports.take().len()),
            (1, 0),
            "{body}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn p15_refusal_that_is_not_dead_ends_nothing() {
    for (status, body, kind, message) in [
        (
            400,
            PROCESSING,
            ErrorKind::Unavailable,
            "token request is already being processed",
        ),
        (
            400,
            MALFORMED,
            ErrorKind::Refused,
            "AADSTS9002313: Invalid request. Trace ID: [removed]",
        ),
        // No refusal matches: this client may not use the grant type.
        (
            400,
            r#"{"error":"unauthorized_client","error_description":"no"}"#,
            ErrorKind::Refused,
            "no",
        ),
    ] {
        let endpoint = Endpoint::new(status, body);
        let (cache, store, reports) = connected(&endpoint, &known()).await;
        for attempt in 1..=3 {
            let error = cache.refresh_now().await.unwrap_err();
            assert_eq!(error.kind(), kind, "{error:?}");
            assert_eq!(error.provider_message(), Some(message));
            // No replay: the refresh token is certainly unused.
            assert_eq!(endpoint.requests(), attempt, "{body}");
            let stored = store.load(cache.tenant()).await.unwrap().unwrap().state;
            assert!(matches!(stored, GrantState::Active(_)), "{body}");
            assert_eq!(cache.token().await.unwrap().header_value(), "Bearer a1");
            pass(SECOND).await;
        }
        // Once the access token has expired, requests fail with this error.
        pass(DAY + HOUR).await;
        let error = cache.token().await.unwrap_err();
        assert_eq!(error.provider_message(), Some(message), "{body}");
        assert!(!matches!(
            cache.status().state,
            TokenState::ReauthorizationRequired { .. }
        ));
        assert!(!reports.take().contains(&"invalid_grant".to_owned()));
        endpoint.respond_with(SUCCESS);
        pass(12 * MINUTE).await;
        assert_eq!(cache.token().await.unwrap().header_value(), "Bearer a2");
    }
}

/// A request every second, with an access token that has expired.
#[tokio::test(start_paused = true)]
async fn p16_refusals_are_retried_by_their_meaning() {
    for (body, expected) in [(PROCESSING, 20..=60), (MALFORMED, 3..=3)] {
        let endpoint = Endpoint::new(400, body);
        let (cache, ..) = connected(&endpoint, &known()).await;
        pass(DAY + SECOND).await;
        let before = endpoint.requests();
        for _ in 0..12 * 60 {
            cache.token().await.unwrap_err();
            pass(SECOND).await;
        }
        let requests = endpoint.requests() - before;
        assert!(expected.contains(&requests), "{body}: {requests}");
    }
}

#[tokio::test(start_paused = true)]
async fn p16_stuck_grant_is_reported_once_and_recovers() {
    for (status, body, code) in [
        (400, r#"{"error":"TOKEN_BROKEN"}"#, "TOKEN_BROKEN"),
        (403, "<html>blocked</html>", "-"),
        (200, "<html>maintenance</html>", "-"),
        (400, r#"{"error":"invalid_scope"}"#, "invalid_scope"),
    ] {
        let endpoint = Endpoint::new(status, body);
        let (cache, _, reports) = connected(&endpoint, &[]).await;
        pass(DAY).await;
        for _ in 0..2 * 360 {
            cache.token().await.unwrap_err();
            pass(10 * SECOND).await;
        }
        assert_eq!(reports.take(), [format!("stuck: {code}")]);
        let status = cache.status();
        assert!(status.stuck_since.is_some() && status.last_error.is_some());
        // Requests fail at once, with few token requests.
        let (before, started) = (endpoint.requests(), tokio::time::Instant::now());
        for _ in 0..6 * 60 {
            cache.token().await.unwrap_err();
            pass(MINUTE).await;
        }
        assert!(started.elapsed() < 6 * HOUR + MINUTE, "{body}");
        let requests = endpoint.requests() - before;
        assert!((30..=36).contains(&requests), "{body}: {requests}");
        // The program can refresh at any time.
        cache.refresh_now().await.unwrap_err();
        assert_eq!(endpoint.requests(), before + requests + 1);
        endpoint.respond_with(SUCCESS);
        assert!(cache.token().await.is_err(), "during the pause");
        pass(12 * MINUTE).await;
        cache.token().await.unwrap();
        assert_eq!(reports.take(), ["recovered"], "{body}");
        assert_eq!(cache.status().stuck_since, None);
    }
}

#[tokio::test(start_paused = true)]
async fn p16_new_consent_ends_a_stuck_grant() {
    let endpoint = Endpoint::new(400, r#"{"error":"invalid_scope"}"#);
    let (cache, _, reports) = connected(&endpoint, &[]).await;
    for _ in 0..5 {
        cache.refresh_now().await.unwrap_err();
        pass(5 * MINUTE).await;
    }
    assert_eq!(reports.take(), ["stuck: invalid_scope"]);
    let next = tokens("another", DAY, &endpoint.clock);
    cache.set_tokens(next).await.unwrap();
    assert_eq!(reports.take(), ["recovered"]);
    assert!(cache.status().stuck_since.is_none());
}

/// The grants of idle tenants have to be kept alive, and each refresh is refused.
#[tokio::test(start_paused = true)]
async fn p19_sweeps_send_few_token_requests_for_stuck_grants() {
    for (body, capacity, replicas) in [
        (r#"{"error":"TOKEN_BROKEN"}"#, 100, 1),
        (r#"{"error":"invalid_scope"}"#, 100, 1),
        (r#"{"error":"invalid_scope"}"#, 100, 2),
        // Not all of them can be resident.
        (r#"{"error":"TOKEN_BROKEN"}"#, 2, 1),
        (r#"{"error":"invalid_scope"}"#, 2, 1),
    ] {
        let endpoint = Endpoint::new(400, body);
        let store = MemoryStore::new();
        for number in 0..5 {
            let tenant = TenantId::new(format!("tenant-{number}")).unwrap();
            let issued = endpoint.clock.wall() - 21 * DAY;
            let tokens = TokenSet::new(AccessToken::new("a1").unwrap(), HOUR, issued)
                .with_refresh_token(RefreshToken::new(format!("r{number}")), issued);
            let grant = Grant::new(Generation::FIRST, GrantState::Active(tokens));
            store.save(&tenant, None, &grant).await.unwrap();
        }
        let reports = Reports::default();
        let running: Vec<_> = (0..replicas)
            .map(|_| {
                Tenants::builder(endpoint.client(&[]))
                    .clock(endpoint.clock.clone())
                    .background_delay(Duration::ZERO)
                    .store(store.clone())
                    .listener(reports.clone())
                    .refresh_token_lifetime(30 * DAY)
                    .capacity(capacity)
                    .build()
                    .unwrap()
            })
            .collect();
        pass(2 * DAY).await;
        let per_day = endpoint.per_day();
        assert_eq!(per_day.len(), 5, "{body}");
        for (token, days) in &per_day {
            // A cache that was evicted after some failures counts from zero.
            let most = if capacity > 5 { 9 } else { 15 };
            assert!((1..=most).contains(&days[0]), "{token}: {days:?}");
            assert!((1..=5).contains(&days[1]), "{token}: {days:?}");
        }
        if capacity > 5 {
            assert_eq!(reports.take().len(), 5, "{body}");
        }
        drop(running);
    }
}
