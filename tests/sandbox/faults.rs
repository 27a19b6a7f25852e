//! Each fault, through the service in virtual time. `socket` tests the faults of connections.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Request, StatusCode};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Full};
use tokio::time::{Instant, timeout};
use tower::ServiceExt;
use tower_oauth2_client::sandbox::{ConnectionLost, Endpoint, Fault, Sandbox, SandboxBody};

use crate::support::{
    Tokens, assert_invalid_grant, code, company, connect, encoded, exchange_code, get, refresh,
    send,
};

type Outcome = Result<http::Response<SandboxBody>, ConnectionLost>;

/// Refreshes and returns the outcome.
async fn try_refresh(sandbox: &Sandbox, token: &str) -> Outcome {
    let body = encoded(&[
        ("client_id", sandbox.client_id()),
        ("client_secret", sandbox.client_secret()),
        ("grant_type", "refresh_token"),
        ("refresh_token", token),
    ]);
    let request = Request::post("/oauth/token")
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(Full::from(body))
        .unwrap();
    sandbox.service().oneshot(request).await
}

fn rotations(sandbox: &Sandbox) -> u64 {
    sandbox.counters().refreshes
}

async fn connected() -> (Sandbox, Tokens) {
    let sandbox = Sandbox::builder().build();
    let tokens = connect(&sandbox).await;
    (sandbox, tokens)
}

#[tokio::test(start_paused = true)]
async fn a_delay_before_processing_does_not_rotate_meanwhile() {
    let (sandbox, tokens) = connected().await;
    let delay = Duration::from_secs(40);
    sandbox.inject(Endpoint::Token, Fault::delay(delay));
    let start = Instant::now();
    let pending = timeout(delay / 2, try_refresh(&sandbox, &tokens.refresh));
    assert!(pending.await.is_err());
    assert_eq!(rotations(&sandbox), 0);

    sandbox.inject(Endpoint::Token, Fault::delay(delay));
    let response = try_refresh(&sandbox, &tokens.refresh).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(start.elapsed(), delay / 2 + delay);
}

#[tokio::test(start_paused = true)]
async fn a_delay_after_processing_has_rotated_meanwhile() {
    let (sandbox, tokens) = connected().await;
    let delay = Duration::from_secs(40);
    sandbox.inject(Endpoint::Token, Fault::delay(delay).after_processing());
    let pending = timeout(delay / 2, try_refresh(&sandbox, &tokens.refresh));
    assert!(pending.await.is_err());
    assert_eq!(rotations(&sandbox), 1);
}

#[tokio::test(start_paused = true)]
async fn a_drop_before_processing_does_not_rotate() {
    let (sandbox, tokens) = connected().await;
    sandbox.inject(Endpoint::Token, Fault::drop_connection());
    let lost = try_refresh(&sandbox, &tokens.refresh).await.unwrap_err();
    assert!(!lost.is_reset());
    assert_eq!(rotations(&sandbox), 0);
    assert_eq!(
        refresh(&sandbox, &tokens.refresh).await.status,
        StatusCode::OK
    );
}

#[tokio::test(start_paused = true)]
async fn a_drop_after_processing_rotates_and_loses_the_response() {
    let (sandbox, tokens) = connected().await;
    sandbox.inject(Endpoint::Token, Fault::drop_connection().after_processing());
    try_refresh(&sandbox, &tokens.refresh).await.unwrap_err();
    assert_eq!(rotations(&sandbox), 1);
    assert_invalid_grant(&refresh(&sandbox, &tokens.refresh).await);
}

#[tokio::test(start_paused = true)]
async fn a_reset_happens_before_or_after_processing() {
    let (sandbox, tokens) = connected().await;
    sandbox.inject(Endpoint::Token, Fault::reset());
    sandbox.inject(Endpoint::Token, Fault::reset().after_processing());
    for rotated in [0, 1] {
        let lost = try_refresh(&sandbox, &tokens.refresh).await.unwrap_err();
        assert!(lost.is_reset());
        assert_eq!(rotations(&sandbox), rotated);
    }
}

#[tokio::test(start_paused = true)]
async fn a_hang_lasts_until_the_caller_cancels() {
    let (sandbox, tokens) = connected().await;
    let day = Duration::from_secs(24 * 3600);
    for (fault, rotated) in [(Fault::hang(), 0), (Fault::hang().after_processing(), 1)] {
        sandbox.inject(Endpoint::Token, fault);
        assert!(
            timeout(day, try_refresh(&sandbox, &tokens.refresh))
                .await
                .is_err()
        );
        assert_eq!(rotations(&sandbox), rotated);
        assert_eq!(sandbox.counters().in_flight, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_truncated_body_fails_after_its_first_half() {
    let (sandbox, tokens) = connected().await;
    sandbox.inject(Endpoint::Token, Fault::truncate());
    let response = try_refresh(&sandbox, &tokens.refresh).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let mut body = response.into_body();
    let half = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert!(half.starts_with(b"{\""));
    let lost = body.frame().await.unwrap().unwrap_err();
    assert!(!lost.is_reset());
    assert!(body.frame().await.is_none());
    assert_eq!(rotations(&sandbox), 1);
}

#[tokio::test(start_paused = true)]
async fn a_slow_body_arrives_byte_by_byte() {
    let (sandbox, tokens) = connected().await;
    let wait = Duration::from_secs(1);
    sandbox.inject(Endpoint::Company, Fault::slow(wait));
    let start = Instant::now();
    let response = get(&sandbox, "/v1/company", &tokens.access).await;
    assert_eq!(response.text("display_name"), "Sandbox Bakery");
    let bytes = u32::try_from(response.body.len()).unwrap();
    assert_eq!(start.elapsed(), wait * bytes);
}

#[tokio::test(start_paused = true)]
async fn garbage_is_neither_json_nor_utf_8() {
    let (sandbox, tokens) = connected().await;
    sandbox.inject(Endpoint::Token, Fault::garbage());
    let response = refresh(&sandbox, &tokens.refresh).await;
    assert_eq!(response.status, StatusCode::OK);
    assert_eq!(response.header("content-type"), Some("application/json"));
    assert!(std::str::from_utf8(&response.body).is_err());
    assert_eq!(rotations(&sandbox), 0);
}

#[tokio::test(start_paused = true)]
async fn a_huge_response_is_valid_but_long() {
    let (sandbox, tokens) = connected().await;
    sandbox.inject(Endpoint::Token, Fault::huge(2_000_001));
    let response = refresh(&sandbox, &tokens.refresh).await;
    assert!(response.body[..2_000_001].iter().all(|byte| *byte == b' '));
    assert_eq!(response.body[2_000_001], b'{');
    assert!(!response.text("access_token").is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_fault_can_send_any_status_body_and_headers() {
    let (sandbox, tokens) = connected().await;
    let html = HeaderValue::from_static("text/html");
    let location = HeaderValue::from_static("https://evil.example/");
    for fault in [
        Fault::status(StatusCode::BAD_GATEWAY)
            .header(CONTENT_TYPE, html)
            .body("<h1>502</h1>"),
        Fault::status(StatusCode::TOO_MANY_REQUESTS).retry_after("120"),
        Fault::status(StatusCode::FOUND).header(http::header::LOCATION, location),
        Fault::status(StatusCode::OK).body("{}"),
        Fault::status(StatusCode::NO_CONTENT),
        Fault::status(StatusCode::BAD_REQUEST).body(r#"{"error":"invalid_grant"}"#),
        Fault::status(StatusCode::IM_A_TEAPOT).after_processing(),
    ] {
        sandbox.inject(Endpoint::Token, fault);
    }
    let mut responses = Vec::new();
    for _ in 0..6 {
        let response = refresh(&sandbox, &tokens.refresh).await;
        let header = ["content-type", "retry-after", "location"];
        let header = header
            .iter()
            .find_map(|name| response.header(name))
            .unwrap_or_default();
        let body = String::from_utf8(response.body.to_vec()).unwrap();
        responses.push((response.status.as_u16(), header.to_owned(), body));
    }
    let expected = [
        (502, "text/html", "<h1>502</h1>"),
        (429, "120", ""),
        (302, "https://evil.example/", ""),
        (200, "", "{}"),
        (204, "", ""),
        (400, "", r#"{"error":"invalid_grant"}"#),
    ]
    .map(|(status, header, body)| (status, header.to_owned(), body.to_owned()));
    assert_eq!(responses, expected);
    assert_eq!(rotations(&sandbox), 0);
    assert_eq!(
        refresh(&sandbox, &tokens.refresh).await.status,
        StatusCode::IM_A_TEAPOT
    );
    assert_eq!(rotations(&sandbox), 1);
}

#[tokio::test(start_paused = true)]
async fn retry_after_can_be_a_date_or_nonsense() {
    let (sandbox, _) = connected().await;
    for value in [
        "0",
        "-1",
        "31536000",
        "Fri, 02 Jan 2026 03:04:05 GMT",
        "soon",
        "",
    ] {
        let fault = Fault::status(StatusCode::SERVICE_UNAVAILABLE).retry_after(value);
        sandbox.inject(Endpoint::Company, fault);
        let response = get(&sandbox, "/v1/company", "").await;
        assert_eq!(response.header("retry-after"), Some(value));
    }
}

#[tokio::test(start_paused = true)]
async fn a_fault_affects_its_endpoint_as_often_as_set() {
    let (sandbox, tokens) = connected().await;
    let fault = Fault::status(StatusCode::UNAUTHORIZED);
    sandbox.inject(Endpoint::Company, fault.skip(1).times(2));
    let mut statuses = Vec::new();
    for _ in 0..4 {
        assert_eq!(
            get(&sandbox, "/v1/members", &tokens.access).await.status,
            StatusCode::OK
        );
        statuses.push(company(&sandbox, &tokens.access).await.as_u16());
    }
    assert_eq!(statuses, [200, 401, 401, 200]);
    let counters = sandbox.counters();
    assert_eq!((counters.faults_triggered, counters.unauthorized), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn cleared_faults_have_no_effect() {
    let sandbox = Sandbox::builder()
        .fault(Endpoint::Company, Fault::reset().always())
        .build();
    let tokens = connect(&sandbox).await;
    for _ in 0..3 {
        let request = Request::get("/v1/company")
            .body(Full::<Bytes>::default())
            .unwrap();
        assert!(sandbox.service().oneshot(request).await.is_err());
    }
    sandbox.clear_faults();
    assert_eq!(company(&sandbox, &tokens.access).await, StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn faults_affect_only_their_own_endpoint() {
    let teapot = StatusCode::IM_A_TEAPOT;
    let (sandbox, _) = connected().await;
    for (endpoint, method, path) in [
        (Endpoint::Authorize, "GET", "/oauth/authorize"),
        (Endpoint::Authorize, "POST", "/oauth/consent"),
        (Endpoint::Token, "POST", "/oauth/token"),
        (Endpoint::PushedAuthorization, "POST", "/oauth/par"),
        (Endpoint::Revoke, "POST", "/v1/oauth/revoke"),
        (
            Endpoint::Metadata,
            "GET",
            "/.well-known/oauth-authorization-server",
        ),
        (
            Endpoint::Metadata,
            "GET",
            "/.well-known/openid-configuration/a",
        ),
        (
            Endpoint::Metadata,
            "GET",
            "/a/.well-known/openid-configuration",
        ),
        (Endpoint::Company, "GET", "/v1/company"),
        (Endpoint::Members, "GET", "/v1/members"),
        (Endpoint::Members, "GET", "/v1/members/x"),
        (Endpoint::Deductions, "POST", "/v1/deductions"),
    ] {
        for other in Endpoint::ALL {
            sandbox.clear_faults();
            sandbox.inject(other, Fault::status(teapot));
            let request = Request::builder().method(method).uri(path);
            let response = send(&sandbox, request.body(Full::default()).unwrap()).await;
            assert_eq!(
                response.status == teapot,
                other == endpoint,
                "{path} {other:?}"
            );
        }
    }
}

/// A body that never ends. A response proves that it was not read.
struct Endless;

impl Body for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Pending
    }
}

#[tokio::test(start_paused = true)]
async fn a_401_is_sent_before_the_body_is_read() {
    let sandbox = Sandbox::builder().build();
    let request = Request::post("/v1/deductions")
        .header(AUTHORIZATION, "Bearer unknown")
        .body(Endless)
        .unwrap();
    let start = Instant::now();
    let response = sandbox.service().oneshot(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_code_exchange_can_be_repeated_after_a_fault() {
    let sandbox = Sandbox::builder().build();
    sandbox.inject(
        Endpoint::Token,
        Fault::status(StatusCode::SERVICE_UNAVAILABLE),
    );
    let code = code(&sandbox, &[]).await;
    assert_eq!(
        exchange_code(&sandbox, &code).await.status,
        StatusCode::SERVICE_UNAVAILABLE
    );
    assert_eq!(exchange_code(&sandbox, &code).await.status, StatusCode::OK);
}
