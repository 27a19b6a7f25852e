//! Authorization requests that are pushed before the browser is redirected (RFC 9126).

use axum::body::Body;
use http::{Request, StatusCode};
use tower::ServiceExt;
use tower_oauth2_client::{
    ErrorKind,
    connect::{ConnectFailureKind, ConnectRouter},
    oauth::OAuthClient,
    provider,
    sandbox::{Endpoint, Fault, PushedAuthorization},
};

use crate::{
    shared::ManualClock,
    support::{Browser, Replica, Setup, TestStore, keys, sandbox},
};

/// A replica whose provider requires pushed authorization requests.
fn replica() -> Replica {
    let clock = ManualClock::new();
    let sandbox = sandbox(&clock)
        .behavior(|behavior| behavior.pushed_authorization = PushedAuthorization::Required)
        .build();
    let service = sandbox.service();
    let http = tower::service_fn(move |request: Request<Body>| service.clone().oneshot(request));
    let provider = provider::justworks().on_origin(&sandbox.url()).unwrap();
    let provider = provider
        .to_builder()
        .pkce(true)
        .pushed_authorization_request_endpoint(format!("{}/oauth/par", sandbox.url()))
        .require_pushed_authorization_requests(true);
    let oauth = OAuthClient::builder(provider.build().unwrap(), sandbox.client_id())
        .client_secret(sandbox.client_secret())
        .redirect_uri(sandbox.redirect_uri())
        .clock(clock.clone())
        .build(http)
        .unwrap();
    let mut replica = Replica::new(&sandbox, &clock, TestStore::default(), Setup::default());
    let connect = ConnectRouter::new(
        oauth,
        replica.tenants.clone(),
        keys(),
        replica.partner.clone(),
    );
    replica.connect = connect.unwrap();
    replica.app = axum::Router::new().nest("/connect", replica.connect.router());
    replica
}

#[tokio::test(start_paused = true)]
async fn browser_is_redirected_with_a_reference_only() {
    let replica = replica();
    let mut browser = Browser::of("acme");
    let url = browser.start(&replica).await;
    let (_, query) = url.split_once('?').unwrap();
    let names: Vec<_> = form_urlencoded::parse(query.as_bytes())
        .map(|(name, _)| name.into_owned())
        .collect();
    assert_eq!(names, ["client_id", "request_uri"]);
    browser.connect(&replica).await;
    assert_eq!(replica.code_exchanges(), 1);
    assert_eq!(replica.sandbox.counters().authorization_requests_pushed, 2);
}

#[tokio::test(start_paused = true)]
async fn request_that_cannot_be_pushed_is_a_failure_of_its_own_kind() {
    for (fault, kind, status, text) in [
        (
            Fault::status(StatusCode::BAD_REQUEST).body(r#"{"error":"invalid_request"}"#),
            ErrorKind::Refused,
            None,
            "our support",
        ),
        (
            Fault::status(StatusCode::SERVICE_UNAVAILABLE),
            ErrorKind::Unavailable,
            Some(StatusCode::SERVICE_UNAVAILABLE),
            "cannot be reached",
        ),
    ] {
        let replica = replica();
        replica
            .sandbox
            .inject(Endpoint::PushedAuthorization, fault.times(3));
        let mut browser = Browser::of("acme");
        let response = browser.get(&replica, "/connect/start").await;
        assert!(status.is_none_or(|status| response.status == status));
        assert!(response.status.as_u16() >= 500, "{response:?}");
        assert!(browser.jar.is_empty());
        let failures = replica.partner.failures.lock().unwrap();
        let failure = failures.last().unwrap();
        assert_eq!(failure.kind(), ConnectFailureKind::AuthorizationRequest);
        assert_eq!(failure.error().unwrap().kind(), kind);
        assert!(failure.to_string().contains(text), "{failure}");
    }
}
