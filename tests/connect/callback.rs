//! `GET /callback`: which callbacks connect a tenant.

use std::time::{Duration, SystemTime};

use http::{Method, StatusCode};
use tower_oauth2_client::{
    ErrorKind, OAuthErrorCode,
    cache::TokenState,
    connect::ConnectFailureKind,
    provider::{IssuerCheck, ResponseMode},
    sandbox::{Endpoint, Fault},
    store::TokenStore,
    token::{ClientIdentity, Generation, Grant, GrantState},
};

use crate::{
    form_post::send_form,
    shared::ManualClock,
    support::{Browser, Replica, SECOND, Setup, TestStore, parameter, replica, sandbox, tenant},
};

#[tokio::test(start_paused = true)]
async fn a_callback_with_a_code_connects_the_tenant() {
    let replica = replica();
    let mut browser = Browser::of("acme");
    assert!(replica.call("acme").await.is_err());
    browser.connect(&replica).await;
    assert!(browser.jar.is_empty());
    assert_eq!(replica.code_exchanges(), 1);
    assert_eq!(replica.call("acme").await, Ok(StatusCode::OK));
    // No other tenant.
    assert!(replica.call("initech").await.is_err());
}

#[tokio::test(start_paused = true)]
async fn other_methods_than_get_leave_the_code_unused() {
    let replica = replica();
    let mut browser = Browser::of("acme");
    let callback = browser.consent(&replica).await;
    for method in [Method::HEAD, Method::POST, Method::OPTIONS] {
        let request = browser.request(method, &callback);
        let response = browser.send(&replica, request).await;
        assert_eq!(response.status, StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(response.headers["allow"], "GET");
    }
    assert_eq!(replica.codes_sent(), 0);
    let response = browser.get(&replica, &callback).await;
    assert_eq!(response.text, "connected acme");
}

#[tokio::test(start_paused = true)]
async fn a_callback_in_another_browser_is_rejected() {
    let replica = replica();
    let callback = Browser::of("acme").consent(&replica).await;
    // It has its own session and flow, for the same tenant.
    let mut other = Browser::of("acme");
    other.start(&replica).await;
    let response = other.get(&replica, &callback).await;
    assert_eq!(response.status, StatusCode::BAD_REQUEST);
    assert_eq!(replica.failure(), Some(ConnectFailureKind::NotPending));
    assert_eq!(replica.codes_sent(), 0);
    // Its own flow is unchanged.
    assert_eq!(other.jar.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_flow_expires_after_ten_minutes() {
    for (late, connects) in [(599 * SECOND, true), (600 * SECOND, false)] {
        let replica = replica();
        let mut browser = Browser::of("acme");
        let url = browser.start(&replica).await;
        tokio::time::sleep(late).await;
        let callback = replica.sandbox.consent(&url).await.unwrap();
        let response = browser
            .get(&replica, &crate::support::local(&callback))
            .await;
        assert_eq!(response.text == "connected acme", connects);
        assert_eq!(replica.code_exchanges(), u64::from(connects));
        // A browser would have removed the expired cookie; this one does so on request.
        assert!(browser.jar.is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_flow_from_the_future_is_rejected_beyond_the_clock_tolerance() {
    let replica = replica();
    for (back, connects) in [(30, true), (31, false)] {
        let mut browser = Browser::of("acme");
        let callback = browser.consent(&replica).await;
        replica.clock.shift_wall(-back);
        let response = browser.get(&replica, &callback).await;
        assert_eq!(response.text == "connected acme", connects, "{back}");
        replica.clock.shift_wall(back);
    }
}

#[tokio::test(start_paused = true)]
async fn a_denied_consent_leaves_the_grant_unchanged() {
    let replica = replica();
    let mut browser = Browser::of("acme");
    browser.connect(&replica).await;
    let before = replica.stored("acme").await;
    let url = browser.start(&replica).await;
    let callback = replica.sandbox.deny(&url).await.unwrap();
    let response = browser
        .get(&replica, &crate::support::local(&callback))
        .await;
    assert_eq!(response.text, "denied acme");
    assert!(browser.jar.is_empty());
    assert_eq!(replica.codes_sent(), 1);
    // The earlier grant is unchanged.
    assert_eq!(replica.stored("acme").await, before);
}

#[tokio::test(start_paused = true)]
async fn other_errors_of_the_provider_are_reported() {
    let replica = replica();
    for (error, code) in [
        ("server_error", Some(OAuthErrorCode::ServerError)),
        ("invalid_scope", Some(OAuthErrorCode::InvalidScope)),
        ("<script>", None),
        ("", None),
    ] {
        let mut browser = Browser::of("acme");
        let state = parameter(&browser.start(&replica).await, "state");
        let error = form_urlencoded::byte_serialize(error.as_bytes()).collect::<String>();
        let path =
            format!("/connect/callback?error={error}&error_description=%3Cb%3Ehi&state={state}");
        let response = browser.get(&replica, &path).await;
        assert_eq!(response.status, StatusCode::BAD_REQUEST);
        assert_eq!(replica.failure(), Some(ConnectFailureKind::Provider));
        let failure = replica
            .partner
            .failures
            .lock()
            .unwrap()
            .last()
            .cloned()
            .unwrap();
        assert_eq!(failure.error().unwrap().oauth_code(), code);
        assert_eq!(failure.tenant(), Some(&tenant("acme")));
        assert!(!response.text.contains("<b>") && !response.text.contains("script"));
        if let Some(code) = code {
            assert!(response.text.contains(code.as_str()));
        }
        assert!(browser.jar.is_empty());
    }
    assert_eq!(replica.codes_sent(), 0);
}

/// The table of RFC 9207 section 2.4, for the two response modes of a provider.
#[tokio::test(start_paused = true)]
async fn a_callback_of_another_issuer_is_rejected() {
    const ISSUER: &str = "https://id.example.com";
    let own = || Some(ISSUER.to_owned());
    let other = || Some("https://evil.example".to_owned());
    // What the provider sends, what is added on the way, and whether it connects without an issuer,
    // with one that is required, and with one that is compared if it is present.
    let rows = [
        (None, "", [true, false, true]),
        (own(), "", [true; 3]),
        (other(), "", [true, false, false]),
        (
            own(),
            "&iss=https%3A%2F%2Fid.example.com",
            [true, false, false],
        ),
        (None, "&iss=", [true, false, false]),
    ];
    let columns = [
        (None, IssuerCheck::Required),
        (Some(ISSUER), IssuerCheck::Required),
        (Some(ISSUER), IssuerCheck::IfPresent),
    ];
    for response_mode in [ResponseMode::Query, ResponseMode::FormPost] {
        for (column, (issuer, issuer_check)) in columns.into_iter().enumerate() {
            let clock = ManualClock::new();
            let sandbox = sandbox(&clock).build();
            let setup = Setup {
                issuer,
                issuer_check,
                response_mode,
                ..Setup::default()
            };
            let replica = Replica::new(&sandbox, &clock, TestStore::default(), setup);
            let mut sent = 0;
            for (iss, added, connects) in &rows {
                sandbox.change_behavior(|behavior| behavior.issuer.clone_from(iss));
                let mut browser = Browser::of("acme");
                let mut callback = browser.consent(&replica).await + added;
                if response_mode == ResponseMode::FormPost {
                    let (path, form) = callback.split_once('?').unwrap();
                    let form = send_form(&replica, form).await;
                    callback = format!("{path}{}", form.location());
                }
                let response = browser.get(&replica, &callback).await;
                let connects = connects[column];
                assert_eq!(response.text == "connected acme", connects, "{callback}");
                sent += u64::from(connects);
                assert_eq!(replica.codes_sent(), sent, "{callback}");
                assert!(browser.jar.is_empty());
                if !connects {
                    assert_eq!(replica.failure(), Some(ConnectFailureKind::Provider));
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_changed_session_leaves_the_code_unused() {
    let replica = replica();
    let mut browser = Browser::of("acme");
    let callback = browser.consent(&replica).await;
    // Another user has logged in in the meantime.
    browser.session = Some("initech");
    let response = browser.get(&replica, &callback).await;
    assert_eq!(
        (response.status, &*response.text),
        (StatusCode::FORBIDDEN, "not yours")
    );
    assert!(browser.jar.is_empty());
    assert_eq!(replica.codes_sent(), 0);
    assert_eq!(replica.store.all_callback_leases(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_failed_code_exchange_is_reported() {
    for (fault, kind, status) in [
        (
            Fault::status(StatusCode::BAD_REQUEST).body(r#"{"error":"invalid_grant"}"#),
            ConnectFailureKind::CodeExchange,
            StatusCode::BAD_GATEWAY,
        ),
        (
            Fault::status(StatusCode::INTERNAL_SERVER_ERROR),
            ConnectFailureKind::CodeExchange,
            StatusCode::SERVICE_UNAVAILABLE,
        ),
        (
            Fault::drop_connection().after_processing(),
            ConnectFailureKind::CodeExchange,
            StatusCode::SERVICE_UNAVAILABLE,
        ),
        (
            Fault::delay(Duration::from_secs(3_600)).always(),
            ConnectFailureKind::CodeExchange,
            StatusCode::SERVICE_UNAVAILABLE,
        ),
    ] {
        let replica = replica();
        let mut browser = Browser::of("acme");
        let callback = browser.consent(&replica).await;
        replica.sandbox.inject(Endpoint::Token, fault);
        let response = browser.get(&replica, &callback).await;
        assert_eq!(response.status, status, "{}", response.text);
        assert_eq!(replica.failure(), Some(kind));
        assert!(browser.jar.is_empty());
        assert!(replica.stored("acme").await.is_none());
        assert_eq!(replica.tenants.resident_count(), 0);
        // The next attempt succeeds.
        replica.sandbox.clear_faults();
        browser.connect(&replica).await;
    }
}

#[tokio::test(start_paused = true)]
async fn connecting_again_replaces_the_grant() {
    let replica = replica();
    let mut browser = Browser::of("acme");
    browser.connect(&replica).await;
    let first = replica.stored("acme").await.unwrap();
    browser.connect(&replica).await;
    let second = replica.stored("acme").await.unwrap();
    assert!(second.generation > first.generation);
    assert_ne!(
        second.tokens().unwrap().refresh_token(),
        first.tokens().unwrap().refresh_token()
    );
    assert_eq!(replica.call("acme").await, Ok(StatusCode::OK));
}

#[tokio::test(start_paused = true)]
async fn connecting_again_works_after_a_revocation_and_a_reauthorization() {
    let replica = replica();
    let mut browser = Browser::of("acme");
    browser.connect(&replica).await;
    // After a revocation by the program.
    browser.disconnect(&replica).await;
    assert!(replica.call("acme").await.is_err());
    browser.connect(&replica).await;
    assert_eq!(replica.call("acme").await, Ok(StatusCode::OK));
    // After a revocation at the provider.
    tokio::time::sleep(crate::support::MINUTE).await;
    replica.sandbox.revoke_grants();
    assert_ne!(replica.call("acme").await, Ok(StatusCode::OK));
    let status = replica.tenants.status(&tenant("acme")).await.unwrap();
    assert!(matches!(
        status.state,
        TokenState::ReauthorizationRequired { .. }
    ));
    browser.connect(&replica).await;
    assert_eq!(replica.call("acme").await, Ok(StatusCode::OK));
}

#[tokio::test(start_paused = true)]
async fn p25_a_foreign_grant_leaves_the_code_unused() {
    let replica = replica();
    let mut browser = Browser::of("acme");
    let callback = browser.consent(&replica).await;
    let since = SystemTime::UNIX_EPOCH;
    let other = ClientIdentity::new("https://other.example.com/token", "other");
    let grant = Grant::new(Generation::FIRST, GrantState::Revoked { since }).with_identity(other);
    let acme = tenant("acme");
    replica.store.save(&acme, None, &grant).await.unwrap();
    for _ in 0..2 {
        let response = browser.get(&replica, &callback).await;
        assert_eq!(response.status, StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(replica.failure(), Some(ConnectFailureKind::Program));
    }
    let failures = replica.partner.failures.lock().unwrap().clone();
    for failure in failures {
        assert_eq!(failure.error().unwrap().kind(), ErrorKind::ForeignGrant);
    }
    assert_eq!(replica.codes_sent(), 0);
    assert_eq!(replica.store.all_callback_leases(), 0);
    // The browser can repeat the callback once the operator has mended the settings.
    assert_eq!(browser.jar.len(), 1);
    assert_eq!(replica.store.load(&acme).await.unwrap(), Some(grant));
}
