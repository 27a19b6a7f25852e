//! Pushed authorization requests (RFC 9126).

use std::time::Duration;

use http::StatusCode;
use tower_oauth2_client::sandbox::{ClientRegistration, PushedAuthorization, Sandbox};

use crate::support::{
    Response, Tokens, assert_refused, encoded, exchange_code, form, get, parameter, sandbox_with,
    send,
};

fn sandbox(pushed: PushedAuthorization) -> Sandbox {
    sandbox_with(|behavior| behavior.pushed_authorization = pushed)
}

async fn push(sandbox: &Sandbox, more: &[(&str, &str)]) -> Response {
    let mut fields = vec![
        ("response_type", "code"),
        ("client_id", sandbox.client_id()),
        ("client_secret", sandbox.client_secret()),
        ("redirect_uri", sandbox.redirect_uri()),
        ("state", "s1"),
    ];
    fields.extend_from_slice(more);
    send(sandbox, form("/oauth/par", &fields)).await
}

async fn pushed(sandbox: &Sandbox) -> String {
    let response = push(sandbox, &[]).await;
    assert_eq!(response.status, StatusCode::CREATED, "{response:?}");
    assert_eq!(response.json()["expires_in"], 90);
    assert_eq!(response.header("cache-control"), Some("no-store"));
    response.text("request_uri")
}

fn url(client_id: &str, request_uri: &str) -> String {
    let fields = [("client_id", client_id), ("request_uri", request_uri)];
    format!("/oauth/authorize?{}", encoded(&fields))
}

#[tokio::test(start_paused = true)]
async fn a_pushed_request_is_decided_once() {
    for behavior in [PushedAuthorization::Accepted, PushedAuthorization::Required] {
        let sandbox = sandbox(behavior);
        let url = url(sandbox.client_id(), &pushed(&sandbox).await);
        let callback = sandbox.consent(&url).await.unwrap();
        assert_eq!(parameter(&callback, "state").as_deref(), Some("s1"));
        let code = parameter(&callback, "code").unwrap();
        let _ = Tokens::from(&exchange_code(&sandbox, &code).await);
        assert!(sandbox.consent(&url).await.is_err());
        assert_eq!(sandbox.counters().authorization_requests_pushed, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_uri_is_bound_to_its_client_and_expires() {
    let sandbox = Sandbox::builder()
        .client(ClientRegistration::new("other", "other-secret"))
        .behavior(|behavior| behavior.pushed_authorization = PushedAuthorization::Accepted)
        .build();
    let request_uri = pushed(&sandbox).await;
    assert!(sandbox.consent(&url("other", &request_uri)).await.is_err());
    let more = format!("{}&state=s2", url(sandbox.client_id(), &request_uri));
    assert!(sandbox.consent(&more).await.is_err());
    let unknown = url(sandbox.client_id(), "urn:ietf:params:oauth:request_uri:x");
    assert!(sandbox.consent(&unknown).await.is_err());
    sandbox.advance(Duration::from_secs(89));
    let good = url(sandbox.client_id(), &request_uri);
    sandbox.consent(&good).await.unwrap();
    let late = url(sandbox.client_id(), &pushed(&sandbox).await);
    sandbox.advance(Duration::from_secs(90));
    assert!(sandbox.consent(&late).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_wrong_push_is_refused() {
    let sandbox = sandbox(PushedAuthorization::Accepted);
    for (more, error) in [
        (("request_uri", "urn:a:b"), "invalid_request"),
        (("scope", "unknown"), "invalid_scope"),
        (("state", "s2"), "invalid_request"),
        (("code_challenge", "short"), "invalid_request"),
        (("client_assertion", "a.b.c"), "invalid_request"),
    ] {
        assert_refused(&push(&sandbox, &[more]).await, 400, error);
    }
    let fields = [("client_id", sandbox.client_id())];
    let response = send(&sandbox, form("/oauth/par", &fields)).await;
    assert_refused(&response, 401, "invalid_client");
}

#[tokio::test(start_paused = true)]
async fn requests_that_were_not_pushed_are_refused_if_that_is_required() {
    let sandbox = sandbox(PushedAuthorization::Required);
    let fields = [
        ("response_type", "code"),
        ("client_id", sandbox.client_id()),
        ("redirect_uri", sandbox.redirect_uri()),
    ];
    let plain = format!("/oauth/authorize?{}", encoded(&fields));
    let callback = sandbox.consent(&plain).await.unwrap();
    assert_eq!(
        parameter(&callback, "error").as_deref(),
        Some("invalid_request")
    );
}

#[tokio::test(start_paused = true)]
async fn the_endpoint_exists_only_if_it_is_enabled() {
    let off = sandbox(PushedAuthorization::Off);
    assert_eq!(push(&off, &[]).await.status, StatusCode::NOT_FOUND);
    let on = sandbox(PushedAuthorization::Accepted);
    let response = get(&on, "/oauth/par", "x").await;
    assert_eq!(response.status, StatusCode::METHOD_NOT_ALLOWED);
}
