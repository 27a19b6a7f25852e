//! `POST /disconnect`: who may, and what comes of it.

use http::{Method, StatusCode};
use tower_oauth2_client::{
    connect::ConnectFailureKind,
    sandbox::{Endpoint, Fault},
};

use crate::support::{Browser, replica};

#[tokio::test(start_paused = true)]
async fn the_grant_ends_here_and_at_the_provider() {
    let replica = replica();
    let mut browser = Browser::of("acme");
    browser.connect(&replica).await;
    let answer = browser.disconnect(&replica).await;
    assert_eq!(answer.text, "disconnected acme");
    assert!(replica.call("acme").await.is_err());
    assert!(replica.sandbox.counters().revocations >= 1);
    assert!(replica.stored("acme").await.unwrap().tokens().is_none());
    // Again, to be sure.
    let answer = browser.disconnect(&replica).await;
    assert_eq!(answer.text, "disconnected acme");
}

#[tokio::test(start_paused = true)]
async fn who_was_never_connected_is_disconnected() {
    let replica = replica();
    let answer = Browser::of("acme").disconnect(&replica).await;
    assert_eq!(answer.text, "disconnected acme");
    assert_eq!(replica.failures(), 0);
}

#[tokio::test(start_paused = true)]
async fn another_site_disconnects_nobody() {
    let replica = replica();
    let mut browser = Browser::of("acme");
    browser.connect(&replica).await;
    for headers in [
        &[("sec-fetch-site", "cross-site")][..],
        &[("sec-fetch-site", "same-site")],
        &[("origin", "https://evil.example")],
        &[("origin", "null")],
        &[],
    ] {
        let mut request = browser.request(Method::POST, "/connect/disconnect");
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        let answer = browser.send(&replica, request).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN);
        assert_eq!(replica.failure(), Some(ConnectFailureKind::CrossSite));
    }
    for method in [Method::GET, Method::HEAD, Method::DELETE] {
        let mut request = browser.request(method, "/connect/disconnect");
        let site = "same-origin".parse().unwrap();
        request.headers_mut().insert("sec-fetch-site", site);
        let answer = browser.send(&replica, request).await;
        assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(answer.headers["allow"], "POST");
    }
    assert_eq!(replica.call("acme").await, Ok(StatusCode::OK));
    // An older browser, from a page of our own.
    let mut request = browser.request(Method::POST, "/connect/disconnect");
    let origin = crate::support::HOST.parse().unwrap();
    request.headers_mut().insert("origin", origin);
    let answer = browser.send(&replica, request).await;
    assert_eq!(answer.text, "disconnected acme");
}

#[tokio::test(start_paused = true)]
async fn who_has_no_session_disconnects_nobody() {
    let replica = replica();
    let mut browser = Browser::of("acme");
    browser.connect(&replica).await;
    let answer = Browser::default().disconnect(&replica).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    assert_eq!(replica.call("acme").await, Ok(StatusCode::OK));
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_cannot_be_told_is_told_of() {
    let replica = replica();
    let mut browser = Browser::of("acme");
    browser.connect(&replica).await;
    let fault = Fault::status(StatusCode::INTERNAL_SERVER_ERROR).always();
    replica.sandbox.inject(Endpoint::Revoke, fault);
    let answer = browser.disconnect(&replica).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(
        answer.text.contains("have disconnected your account"),
        "{}",
        answer.text
    );
    assert_eq!(
        replica.failure(),
        Some(ConnectFailureKind::ProviderNotNotified)
    );
    assert!(replica.call("acme").await.is_err());
    assert!(replica.stored("acme").await.unwrap().tokens().is_none());
    // Once it is back, the button tells it after all.
    replica.sandbox.clear_faults();
    let answer = browser.disconnect(&replica).await;
    assert_eq!(answer.text, "disconnected acme");
    assert!(replica.sandbox.counters().revocations >= 1);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_is_told_of() {
    let replica = replica();
    let mut browser = Browser::of("acme");
    browser.connect(&replica).await;
    replica.store.fail_saves(true);
    let answer = browser.disconnect(&replica).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(replica.failure(), Some(ConnectFailureKind::NotPersisted));
    assert!(
        answer.text.contains("could not disconnect your account"),
        "{}",
        answer.text
    );
    replica.store.fail_saves(false);
    let answer = browser.disconnect(&replica).await;
    assert_eq!(answer.text, "disconnected acme");
}
