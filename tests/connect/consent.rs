//! A second consent, at a provider that issues a refresh token only at the first one.

use http::StatusCode;
use tokio::time::{Instant, sleep};
use tower_oauth2_client::{
    connect::{ConnectFailureKind, ConnectHandler, ConnectRouter, Consent},
    sandbox::{Endpoint, Fault, RefreshTokenField},
    token::{ConsentDecision, RefreshToken, TenantId, TokenSet},
};

use crate::support::{Browser, MINUTE, Replica, SECOND, keys, replica, tenant};

/// The access token and the refresh token that are stored for `acme`.
async fn stored(replica: &Replica) -> (String, Option<String>) {
    let grant = replica.stored("acme").await.unwrap();
    let tokens = grant.tokens().unwrap();
    let refresh_token = tokens.refresh_token().map(RefreshToken::expose);
    (
        tokens.access_token().expose().to_owned(),
        refresh_token.map(str::to_owned),
    )
}

/// `acme` is connected.
async fn connected() -> (Replica, Browser) {
    let replica = replica();
    replica
        .sandbox
        .change_behavior(|behavior| behavior.refresh_token_field = RefreshTokenField::FirstConsent);
    let mut browser = Browser::of("acme");
    browser.connect(&replica).await;
    assert!(stored(&replica).await.1.is_some());
    replica.partner.decisions.lock().unwrap().consents.clear();
    (replica, browser)
}

pub(crate) fn decide(replica: &Replica, decision: ConsentDecision) {
    replica.partner.decisions.lock().unwrap().decision = Some(decision);
}

fn seen(replica: &Replica) -> Vec<String> {
    let decisions = replica.partner.decisions.lock().unwrap();
    let tokens = decisions.consents.iter().map(Consent::tokens);
    let seen = tokens.map(|tokens| tokens.access_token().expose().to_owned());
    seen.collect()
}

#[tokio::test(start_paused = true)]
async fn p24_second_consent_without_a_refresh_token_leaves_the_connection_as_it_is() {
    let (replica, mut browser) = connected().await;
    decide(&replica, ConsentDecision::Accept);
    let before = stored(&replica).await;
    let callback = browser.consent(&replica).await;
    let response = browser.get(&replica, &callback).await;
    assert_eq!(response.status, StatusCode::CONFLICT);
    assert!(
        response.text.contains("Connection unchanged"),
        "{response:?}"
    );
    assert!(response.text.contains("still works"), "{response:?}");
    assert_eq!(
        replica.failure(),
        Some(ConnectFailureKind::RefreshTokenMissing)
    );
    assert_eq!(stored(&replica).await, before);
    assert_eq!(replica.call("acme").await, Ok(StatusCode::OK));
    // The code is used up.
    assert!(browser.jar.is_empty());
    let tokens = replica.tenants.cache(&tenant("acme")).await.unwrap();
    tokens.refresh_now().await.unwrap();

    // The page says what to do.
    browser.disconnect(&replica).await;
    browser.connect(&replica).await;
    assert!(stored(&replica).await.1.is_some());
    assert_eq!(replica.call("acme").await, Ok(StatusCode::OK));
}

#[tokio::test(start_paused = true)]
async fn p24_default_of_the_handler_is_to_leave_the_connection_as_it_is() {
    struct Defaults;
    impl ConnectHandler for Defaults {
        async fn tenant(
            &self,
            _: &http::request::Parts,
        ) -> Result<TenantId, axum::response::Response> {
            Ok(tenant("acme"))
        }
    }
    let (mut replica, mut browser) = connected().await;
    let before = stored(&replica).await;
    let oauth = replica.oauth.clone();
    let connect = ConnectRouter::new(oauth, replica.tenants.clone(), keys(), Defaults).unwrap();
    replica.app = axum::Router::new().nest("/connect", connect.router());
    let callback = browser.consent(&replica).await;
    let response = browser.get(&replica, &callback).await;
    assert_eq!(response.status, StatusCode::CONFLICT);
    assert_eq!(stored(&replica).await, before);
}

#[tokio::test(start_paused = true)]
async fn p24_handler_keeps_the_refresh_token_of_the_same_account() {
    let (replica, mut browser) = connected().await;
    decide(&replica, ConsentDecision::KeepRefreshToken);
    let before = stored(&replica).await;
    browser.connect(&replica).await;
    let after = stored(&replica).await;
    assert_eq!(after.1, before.1);
    assert_ne!(after.0, before.0);
    // The handler has seen the new token set before it was stored.
    assert_eq!(seen(&replica), [after.0]);
    let status = replica.tenants.status(&tenant("acme")).await.unwrap();
    assert!(status.has_refresh_token);
    let tokens = replica.tenants.cache(&tenant("acme")).await.unwrap();
    tokens.refresh_now().await.unwrap();
    assert_eq!(replica.call("acme").await, Ok(StatusCode::OK));
}

#[tokio::test(start_paused = true)]
async fn p15_handler_replaces_the_grant_of_another_account() {
    let (replica, mut browser) = connected().await;
    decide(&replica, ConsentDecision::Replace);
    browser.connect(&replica).await;
    assert_eq!(stored(&replica).await.1, None);
    let status = replica.tenants.status(&tenant("acme")).await.unwrap();
    assert!(!status.has_refresh_token);
    assert_eq!(replica.call("acme").await, Ok(StatusCode::OK));
}

/// The handler decided about a grant that is not stored any more.
#[tokio::test(start_paused = true)]
async fn p12_handler_decides_again_if_another_replica_changes_the_grant() {
    let (replica, mut browser) = connected().await;
    let other = replica.another();
    decide(&replica, ConsentDecision::KeepRefreshToken);
    replica.partner.decisions.lock().unwrap().pause = 5 * SECOND;
    let callback = browser.consent(&replica).await;
    let task = tokio::spawn({
        let replica = replica.clone();
        async move { browser.get(&replica, &callback).await }
    });
    sleep(2 * SECOND).await;
    let tokens = other.tenants.cache(&tenant("acme")).await.unwrap();
    tokens.refresh_now().await.unwrap();
    // A decision about the earlier grant does not count for this one.
    decide(&replica, ConsentDecision::Reject);
    let refreshed = stored(&replica).await;
    assert_eq!(task.await.unwrap().status, StatusCode::FORBIDDEN);
    let seen = seen(&replica);
    assert_eq!(seen.len(), 2);
    assert_eq!(seen[0], seen[1]);
    assert_eq!(stored(&replica).await, refreshed);
}

/// A browser that disconnects does not stop the decision.
#[tokio::test(start_paused = true)]
async fn p13_decision_outlives_the_browser() {
    let (replica, mut browser) = connected().await;
    decide(&replica, ConsentDecision::KeepRefreshToken);
    replica.partner.decisions.lock().unwrap().pause = 5 * SECOND;
    let before = stored(&replica).await;
    let callback = browser.consent(&replica).await;
    let task = tokio::spawn({
        let replica = replica.clone();
        async move { browser.get(&replica, &callback).await }
    });
    sleep(2 * SECOND).await;
    task.abort();
    replica.connect.shutdown(10 * SECOND).await.unwrap();
    let after = stored(&replica).await;
    assert_eq!(after.1, before.1);
    assert_eq!(seen(&replica), [after.0]);
}

#[tokio::test(start_paused = true)]
async fn p04_handler_that_does_not_decide_leaves_the_connection_as_it_is() {
    for panics in [false, true] {
        let (replica, mut browser) = connected().await;
        replica.partner.decisions.lock().unwrap().decision = None;
        if !panics {
            decide(&replica, ConsentDecision::Replace);
            replica.partner.decisions.lock().unwrap().pause = 10 * MINUTE;
        }
        let before = stored(&replica).await;
        let callback = browser.consent(&replica).await;
        let start = Instant::now();
        let response = browser.get(&replica, &callback).await;
        assert_eq!(response.status, StatusCode::FORBIDDEN, "{panics}");
        assert_eq!(replica.failure(), Some(ConnectFailureKind::Program));
        assert!(start.elapsed() <= 31 * SECOND);
        assert_eq!(seen(&replica).len(), 1);
        assert_eq!(stored(&replica).await, before);
        assert_eq!(replica.call("acme").await, Ok(StatusCode::OK));
    }
}

/// While the handler decides, requests use the stored grant, and it can be revoked.
#[tokio::test(start_paused = true)]
async fn p02_decision_holds_up_nothing() {
    let (replica, mut browser) = connected().await;
    decide(&replica, ConsentDecision::KeepRefreshToken);
    replica.partner.decisions.lock().unwrap().pause = 20 * SECOND;
    let callback = browser.consent(&replica).await;
    let task = tokio::spawn({
        let (mut browser, replica) = (browser.clone(), replica.clone());
        async move { browser.get(&replica, &callback).await }
    });
    sleep(SECOND).await;
    let start = Instant::now();
    assert_eq!(replica.call("acme").await, Ok(StatusCode::OK));
    let tokens = replica.tenants.cache(&tenant("acme")).await.unwrap();
    tokens.refresh_now().await.unwrap();
    browser.disconnect(&replica).await;
    assert!(start.elapsed() < 5 * SECOND);
    // The customer has disconnected after the consent.
    assert_ne!(task.await.unwrap().status, StatusCode::OK);
    let grant = replica.stored("acme").await.unwrap();
    assert_eq!(grant.tokens(), None::<&TokenSet>);
}

/// Each consent is decided about, with or without a refresh token, before it is stored.
#[tokio::test(start_paused = true)]
async fn p23_rejected_consent_changes_nothing() {
    for (connects_before, brings_refresh_token) in
        [(true, true), (true, false), (false, true), (false, false)]
    {
        let replica = replica();
        let mut browser = Browser::of("acme");
        if connects_before {
            browser.connect(&replica).await;
        }
        let before = replica.stored("acme").await;
        replica.sandbox.change_behavior(|behavior| {
            if !brings_refresh_token {
                behavior.refresh_token_field = RefreshTokenField::Never;
            }
        });
        decide(&replica, ConsentDecision::Reject);
        let callback = browser.consent(&replica).await;
        let response = browser.get(&replica, &callback).await;
        assert_eq!(response.status, StatusCode::FORBIDDEN, "{response:?}");
        assert!(response.text.contains("nothing has changed"));
        assert_eq!(replica.failure(), Some(ConnectFailureKind::Rejected));
        assert!(browser.jar.is_empty());
        assert_eq!(replica.stored("acme").await, before);
        assert_eq!(replica.call("acme").await.is_ok(), connects_before);
        // The new tokens live on until they expire.
        assert_eq!(replica.sandbox.counters().revocations, 0);
        // The customer starts again with the right account.
        decide(&replica, ConsentDecision::Accept);
        let whole = |behavior: &mut tower_oauth2_client::sandbox::Behavior| {
            behavior.refresh_token_field = RefreshTokenField::Sent;
        };
        replica.sandbox.change_behavior(whole);
        browser.connect(&replica).await;
    }
}

#[tokio::test(start_paused = true)]
async fn p23_rejected_consent_is_revoked_if_the_program_decides_so() {
    for fails in [false, true] {
        let replica = replica();
        let mut browser = Browser::of("acme");
        browser.connect(&replica).await;
        let before = replica.stored("acme").await;
        decide(&replica, ConsentDecision::RejectAndRevoke);
        if fails {
            let refusal = Fault::status(StatusCode::FORBIDDEN).always();
            replica.sandbox.inject(Endpoint::Revoke, refusal);
        }
        let callback = browser.consent(&replica).await;
        let response = browser.get(&replica, &callback).await;
        assert_eq!(response.status, StatusCode::FORBIDDEN, "{response:?}");
        assert_eq!(replica.stored("acme").await, before);
        let revoked = replica.sandbox.counters().revocations;
        assert_eq!(revoked > 0, !fails);
        assert_eq!(replica.call("acme").await, Ok(StatusCode::OK));
    }
}

#[tokio::test(start_paused = true)]
async fn p04_consent_without_a_decision_is_rejected_whatever_it_brings() {
    for panics in [false, true] {
        let replica = replica();
        let mut browser = Browser::of("acme");
        browser.connect(&replica).await;
        let before = replica.stored("acme").await;
        if panics {
            replica.partner.decisions.lock().unwrap().decision = None;
        } else {
            replica.partner.decisions.lock().unwrap().pause = 10 * MINUTE;
        }
        let callback = browser.consent(&replica).await;
        let response = browser.get(&replica, &callback).await;
        assert!(response.text.contains("Something went wrong on our side"));
        assert_eq!(replica.failure(), Some(ConnectFailureKind::Program));
        assert_eq!(replica.stored("acme").await, before);
        assert_eq!(seen(&replica).len(), 2);
    }
}

/// A store that fails does not cost the program another decision.
#[tokio::test(start_paused = true)]
async fn p14_save_that_is_retried_is_decided_about_once() {
    let replica = replica();
    let mut browser = Browser::of("acme");
    let callback = browser.consent(&replica).await;
    replica.store.fail_saves(true);
    let task = tokio::spawn({
        let (mut browser, replica) = (browser.clone(), replica.clone());
        async move { browser.get(&replica, &callback).await }
    });
    sleep(20 * SECOND).await;
    replica.store.fail_saves(false);
    assert_eq!(task.await.unwrap().text, "connected acme");
    assert_eq!(seen(&replica).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn p21_handler_sees_members_and_parameters() {
    let replica = replica();
    let mut browser = Browser::of("acme");
    let callback = browser.consent(&replica).await + "&realmId=42&scope=a&scope=b";
    let body = r#"{"access_token":"a1","refresh_token":"r1","id_token":"seeded",
        "hub_id":7,"team":{"id":"T1"},"absent":null}"#;
    let fault = Fault::status(StatusCode::OK).body(body);
    replica.sandbox.inject(Endpoint::Token, fault);
    assert_eq!(
        browser.get(&replica, &callback).await.text,
        "connected acme"
    );
    let consents = replica.partner.decisions.lock().unwrap().consents.clone();
    let [consent] = &consents[..] else {
        panic!("{consents:?}")
    };
    let members: Vec<_> = consent.members().iter().collect();
    let expected = [
        ("id_token", "seeded"),
        ("hub_id", "7"),
        ("team", r#"{"id":"T1"}"#),
    ];
    assert_eq!(members, expected);
    assert_eq!(consent.parameters().get("realmId"), Some("42"));
    assert_eq!(consent.parameters().get("scope"), None);
    for own in ["code", "state"] {
        assert!(consent.parameters().iter().all(|(name, _)| name != own));
    }
    assert!(!format!("{consent:?}").contains("seeded"));
}
