//! JWTs as grants (RFC 7523 section 2.1).

use std::{
    error::Error as _,
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use http::StatusCode;
use serde_json::json;
use tower_oauth2_client::{
    Error, ErrorKind, OAuthErrorCode,
    cache::{AssertionSource, JwtBearer, TokenCache, TokenSource, TokenState},
    provider::RequestKind,
    sandbox::{Endpoint, Fault, Sandbox},
    token::Assertion,
};

use crate::support::{
    MovingClock, ShiftedClock, builder, claims, client, company, connected, oauth, post, recording,
    signed,
};

/// Signs an assertion for each token request, by the sandbox's clock.
struct Signing(Sandbox, Arc<AtomicU64>);

impl AssertionSource for Signing {
    async fn assertion(&self) -> Result<Assertion, Box<dyn std::error::Error + Send + Sync>> {
        self.1.fetch_add(1, Ordering::SeqCst);
        Ok(Assertion::new(signed(&claims(&self.0))))
    }
}

fn signing(sandbox: &Sandbox) -> (JwtBearer<Signing>, Arc<AtomicU64>) {
    let made = Arc::<AtomicU64>::default();
    let source = Signing(sandbox.clone(), Arc::clone(&made));
    (JwtBearer::new(oauth(sandbox), source), made)
}

#[tokio::test]
async fn workload_calls_the_api_over_http() {
    let sandbox = builder().start().await.unwrap();
    let (source, made) = signing(&sandbox);
    let clock = MovingClock::default();
    let tokens = TokenCache::builder(source)
        .clock(clock.clone())
        .build()
        .unwrap();
    assert_eq!(company(&sandbox, &tokens).await, StatusCode::OK);
    // A 401 causes one refresh, with a new assertion, and a retry.
    // An API may not know a newer token yet.
    clock.advance(10);
    sandbox.revoke_access_tokens();
    assert_eq!(company(&sandbox, &tokens).await, StatusCode::OK);
    let counters = sandbox.counters();
    assert_eq!((counters.assertions, counters.unauthorized), (2, 1));
    assert_eq!(counters.token_requests_refused, 0);
    assert_eq!(made.load(Ordering::SeqCst), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p03_two_threads_cause_one_token_request() {
    let sandbox = builder().start().await.unwrap();
    let (source, made) = signing(&sandbox);
    let tokens = TokenCache::builder(source).build().unwrap();
    let calls: Vec<_> = (0..2)
        .map(|_| {
            let tokens = tokens.clone();
            tokio::spawn(async move { tokens.token().await.map(drop) })
        })
        .collect();
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert_eq!(made.load(Ordering::SeqCst), 1);
    assert_eq!(sandbox.counters().assertions, 1);
}

#[tokio::test(start_paused = true)]
async fn client_authentication_is_optional() {
    let sandbox = builder().build();
    let (source, _) = signing(&sandbox);
    let source = source.without_client_authentication();
    let tokens = TokenCache::builder(source).build().unwrap();
    tokens.token().await.unwrap();

    let client = client(&sandbox)
        .scopes(["company.basic:read"])
        .request_parameter(RequestKind::JwtBearer, "audience", "x");
    let (oauth, recorded) = recording(client, 200, r#"{"access_token":"a1"}"#);
    oauth.jwt_bearer(&Assertion::new("j1")).await.unwrap();
    // A file often ends with a line break.
    let source = || async { Ok::<_, io::Error>("j2\n") };
    let source = JwtBearer::new(oauth, source).without_client_authentication();
    source.fetch(None).await.unwrap();
    let recorded = recorded.lock().unwrap();
    let names = |index: usize| recorded[index].keys().cloned().collect::<Vec<_>>();
    let common = ["assertion", "audience", "grant_type", "scope"];
    assert_eq!(names(1), common);
    assert_eq!(
        names(0),
        [
            "assertion",
            "audience",
            "client_id",
            "client_secret",
            "grant_type",
            "scope"
        ]
    );
    assert_eq!(recorded[0]["assertion"], ["j1"]);
    assert_eq!(recorded[1]["assertion"], ["j2"]);
    assert_eq!(
        recorded[1]["grant_type"],
        ["urn:ietf:params:oauth:grant-type:jwt-bearer"]
    );
}

/// A source that fails, or never returns, is another cause than a refused assertion.
#[tokio::test(start_paused = true)]
async fn error_says_whether_the_source_or_the_provider_failed() {
    let sandbox = builder().build();
    let failing = || async { Err::<String, _>(io::Error::other("no key")) };
    let source = JwtBearer::new(oauth(&sandbox), failing);
    let error = source.fetch(None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(
        error.to_string().starts_with("assertion source failed"),
        "{error}"
    );
    assert_eq!(error.source().unwrap().to_string(), "no key");
    assert!(!error.is_response_lost());

    let hanging = || std::future::pending::<Result<String, io::Error>>();
    let source = JwtBearer::new(oauth(&sandbox), hanging);
    let started = tokio::time::Instant::now();
    let error = source.fetch(None).await.unwrap_err();
    assert_eq!(started.elapsed(), Duration::from_secs(10));
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(
        error
            .to_string()
            .starts_with("assertion source returned nothing"),
        "{error}"
    );
    assert_eq!(sandbox.counters().requests, 0);

    let mut wrong = claims(&sandbox);
    wrong["aud"] = json!("https://other.example/token");
    let wrong = signed(&wrong);
    let text = wrong.clone();
    let source = move || {
        let text = text.clone();
        async move { Ok::<_, io::Error>(text) }
    };
    let source = JwtBearer::new(oauth(&sandbox), source);
    let error = source.fetch(None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert_eq!(error.oauth_code(), Some(OAuthErrorCode::InvalidGrant));
    assert!(!error.is_invalid_grant(), "no grant ends");
    let message = error.to_string();
    assert!(
        message.contains("the assertion was used or has expired"),
        "{message}"
    );
    assert!(!message.contains("clock"), "{message}");
    let shown = format!("{error:?}");
    assert_eq!(
        error.provider_message(),
        Some("aud is neither the token endpoint nor the issuer")
    );
    assert!(!shown.contains(&wrong[..40]), "{shown}");
}

#[tokio::test(start_paused = true)]
async fn error_says_how_far_the_clock_is_off() {
    let sandbox = builder().build();
    for (shift, expected) in [(-600, "s behind"), (90, "s ahead of"), (20, "")] {
        let clock = ShiftedClock::wall_by(shift);
        let oauth = connected(&sandbox, client(&sandbox).clock(clock));
        let mut claims = claims(&sandbox);
        for name in ["iat", "exp"] {
            claims[name] = json!(claims[name].as_i64().unwrap() + shift);
        }
        let error = oauth.jwt_bearer(&Assertion::new(signed(&claims))).await;
        let error = error.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        assert_eq!(error.contains("clock is"), !expected.is_empty(), "{error}");
        // A `Date` has whole seconds.
        let size: Option<i64> = error.split(' ').find_map(|word| word.parse().ok());
        let is_close = |size: i64| (size - shift.abs()).abs() <= 1;
        assert!(size.is_none_or(is_close), "{error}");
    }
}

/// A refused assertion is no end of a grant, and causes no storm of requests.
#[tokio::test(start_paused = true)]
async fn p15_p16_refused_assertion_ends_nothing_and_backs_off() {
    let sandbox = builder().build();
    let (source, made) = signing(&sandbox);
    let tokens = TokenCache::builder(source).jitter_seed(1).build().unwrap();
    tokens.token().await.unwrap();
    let refused = Fault::status(StatusCode::BAD_REQUEST).body(r#"{"error":"invalid_grant"}"#);
    sandbox.inject(Endpoint::Token, refused.times(1_000));
    tokens.invalidate();
    let before = made.load(Ordering::SeqCst);
    for _ in 0..600 {
        let error = tokens.token().await.unwrap_err();
        assert!(!error.is_consent_required(), "{error}");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let attempts = made.load(Ordering::SeqCst) - before;
    assert!((10..150).contains(&attempts), "{attempts}");
    let state = tokens.status().state;
    assert!(!matches!(state, TokenState::ReauthorizationRequired { .. }));
    // The key is registered. No consent is needed.
    sandbox.clear_faults();
    tokio::time::sleep(Duration::from_secs(60)).await;
    tokens.token().await.unwrap();
}

/// A slow assertion source takes no permit from the others.
#[tokio::test(start_paused = true)]
async fn p16_slow_assertion_sources_hold_no_permit() {
    let sandbox = builder().build();
    let oauth = oauth(&sandbox);
    for _ in 0..10 {
        let hanging = || std::future::pending::<Result<String, io::Error>>();
        let source = JwtBearer::new(oauth.clone(), hanging);
        tokio::spawn(async move { source.fetch(None).await.map(drop) });
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let started = tokio::time::Instant::now();
    oauth.client_credentials().await.unwrap();
    assert_eq!(started.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn p25_identity_differs_from_those_of_other_grants() {
    let sandbox = builder().build();
    let (source, _) = signing(&sandbox);
    let identity = source.identity().unwrap();
    let own = oauth(&sandbox).identity();
    assert_eq!(identity, own.clone().with_grant_kind("jwt_bearer"));
    assert_ne!(identity, own);
    assert_ne!(identity, own.with_client_credentials());
}

#[tokio::test(start_paused = true)]
async fn panic_of_an_assertion_source_fails_the_refresh() {
    let sandbox = builder().build();
    let panicking = || async {
        // A signer that reads a number where there is none.
        let number: u64 = std::future::ready("none").await.parse().expect("a number");
        Ok::<_, io::Error>(number.to_string())
    };
    let source = JwtBearer::new(oauth(&sandbox), panicking);
    let error: Error = source.fetch(None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Interrupted);
}

/// The sandbox refuses an assertion that is used twice, and a client that is wrong.
#[tokio::test(start_paused = true)]
async fn wrong_assertion_fails_at_the_sandbox() {
    let sandbox = builder().build();
    let assertion = signed(&claims(&sandbox));
    let grant_type = "urn:ietf:params:oauth:grant-type:jwt-bearer";
    let fields = [
        ("grant_type", grant_type),
        ("assertion", assertion.as_str()),
    ];
    let (status, _) = post(&sandbox, "/oauth/token", &fields).await;
    assert_eq!(status, StatusCode::OK);
    let (status, body) = post(&sandbox, "/oauth/token", &fields).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert_eq!(body["error_description"], "the assertion was already used");
    let fresh = signed(&claims(&sandbox));
    let wrong = [
        ("grant_type", grant_type),
        ("assertion", &fresh),
        ("client_id", sandbox.client_id()),
        ("client_secret", "wrong"),
    ];
    let (status, body) = post(&sandbox, "/oauth/token", &wrong).await;
    assert_eq!(
        (status, &body["error"]),
        (StatusCode::UNAUTHORIZED, &json!("invalid_client"))
    );
    let (_, body) = post(&sandbox, "/oauth/token", &[("grant_type", grant_type)]).await;
    assert_eq!(body["error"], "invalid_request");
    // Off by default.
    let plain = Sandbox::builder().build();
    let (_, body) = post(&plain, "/oauth/token", &fields).await;
    assert_eq!(body["error"], "unsupported_grant_type");
}
