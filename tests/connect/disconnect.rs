//! `POST /disconnect`: which requests are accepted, and their effects.

use http::{Method, StatusCode};
use tower_oauth2_client::{
    connect::ConnectFailureKind,
    sandbox::{Endpoint, Fault},
};

use crate::support::{Browser, replica};

#[tokio::test(start_paused = true)]
async fn a_disconnect_revokes_the_grant_here_and_at_the_provider() {
    let replica = replica();
    let mut browser = Browser::of("acme");
    browser.connect(&replica).await;
    let response = browser.disconnect(&replica).await;
    assert_eq!(response.text, "disconnected acme");
    assert!(replica.call("acme").await.is_err());
    assert!(replica.sandbox.counters().revocations >= 1);
    assert!(replica.stored("acme").await.unwrap().tokens().is_none());
    // A repeated request succeeds too.
    let response = browser.disconnect(&replica).await;
    assert_eq!(response.text, "disconnected acme");
}

#[tokio::test(start_paused = true)]
async fn disconnecting_an_unknown_tenant_succeeds() {
    let replica = replica();
    let response = Browser::of("acme").disconnect(&replica).await;
    assert_eq!(response.text, "disconnected acme");
    assert_eq!(replica.failures(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_request_from_another_site_disconnects_no_tenant() {
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
        let response = browser.send(&replica, request).await;
        assert_eq!(response.status, StatusCode::FORBIDDEN);
        assert_eq!(replica.failure(), Some(ConnectFailureKind::CrossSite));
    }
    for method in [Method::GET, Method::HEAD, Method::DELETE] {
        let mut request = browser.request(method, "/connect/disconnect");
        let site = "same-origin".parse().unwrap();
        request.headers_mut().insert("sec-fetch-site", site);
        let response = browser.send(&replica, request).await;
        assert_eq!(response.status, StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(response.headers["allow"], "POST");
    }
    assert_eq!(replica.call("acme").await, Ok(StatusCode::OK));
    // An older browser, from a page of the program.
    let mut request = browser.request(Method::POST, "/connect/disconnect");
    let origin = crate::support::HOST.parse().unwrap();
    request.headers_mut().insert("origin", origin);
    let response = browser.send(&replica, request).await;
    assert_eq!(response.text, "disconnected acme");
}

#[tokio::test(start_paused = true)]
async fn a_request_without_a_session_disconnects_no_tenant() {
    let replica = replica();
    let mut browser = Browser::of("acme");
    browser.connect(&replica).await;
    let response = Browser::default().disconnect(&replica).await;
    assert_eq!(response.status, StatusCode::UNAUTHORIZED);
    assert_eq!(replica.call("acme").await, Ok(StatusCode::OK));
}

#[tokio::test(start_paused = true)]
async fn a_failed_revocation_at_the_provider_is_reported() {
    let replica = replica();
    let mut browser = Browser::of("acme");
    browser.connect(&replica).await;
    let fault = Fault::status(StatusCode::INTERNAL_SERVER_ERROR).always();
    replica.sandbox.inject(Endpoint::Revoke, fault);
    let response = browser.disconnect(&replica).await;
    assert_eq!(response.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(
        response.text.contains("have disconnected your account"),
        "{}",
        response.text
    );
    assert_eq!(
        replica.failure(),
        Some(ConnectFailureKind::ProviderNotNotified)
    );
    assert!(replica.call("acme").await.is_err());
    assert!(replica.stored("acme").await.unwrap().tokens().is_none());
    // Once the provider is back, another request notifies it.
    replica.sandbox.clear_faults();
    let response = browser.disconnect(&replica).await;
    assert_eq!(response.text, "disconnected acme");
    assert!(replica.sandbox.counters().revocations >= 1);
}

#[tokio::test(start_paused = true)]
async fn a_failed_save_of_the_revocation_is_reported() {
    let replica = replica();
    let mut browser = Browser::of("acme");
    browser.connect(&replica).await;
    replica.store.fail_saves(true);
    let response = browser.disconnect(&replica).await;
    assert_eq!(response.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(replica.failure(), Some(ConnectFailureKind::NotPersisted));
    assert!(
        response.text.contains("could not disconnect your account"),
        "{}",
        response.text
    );
    replica.store.fail_saves(false);
    let response = browser.disconnect(&replica).await;
    assert_eq!(response.text, "disconnected acme");
}
