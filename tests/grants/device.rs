//! Device authorization (RFC 8628).

use std::time::Duration;

use http::{Request, StatusCode, header::CONTENT_TYPE};
use http_body_util::{BodyExt, Full};
use tokio::{task::JoinSet, time::Instant};
use tower_oauth2_client::{
    Error, ErrorKind, OAuthErrorCode,
    cache::TokenCache,
    oauth::OAuthClient,
    provider::{Provider, RequestKind},
    sandbox::{ClientRegistration, Endpoint, EventKind, Fault, Sandbox},
};

use crate::support::{builder, client, company, connected, http, oauth, post, provider, recording};

const SECOND: Duration = Duration::from_secs(1);

/// When polls reached the sandbox, in seconds since `start`.
fn polls(sandbox: &Sandbox, start: std::time::SystemTime) -> Vec<u64> {
    let events = sandbox.events().into_iter();
    let polls = events.filter(|event| {
        matches!(
            event.kind,
            EventKind::TokenRequestRefused { .. }
                | EventKind::TokensIssued { .. }
                | EventKind::FaultTriggered {
                    endpoint: Endpoint::Token,
                    ..
                }
        )
    });
    polls
        .map(|event| event.at.duration_since(start).unwrap().as_secs())
        .collect()
}

fn code(error: &Error) -> Option<OAuthErrorCode> {
    assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
    error.oauth_code()
}

#[tokio::test]
async fn user_logs_in_on_another_device_over_http() {
    let sandbox = builder().behavior(|behavior| behavior.device_interval = SECOND);
    let sandbox = sandbox.start().await.unwrap();
    let oauth = oauth(&sandbox);
    let tokens = TokenCache::builder(oauth.clone()).build().unwrap();
    let device = oauth.authorize_device().await.unwrap();
    assert_eq!(
        device.verification_uri(),
        format!("{}/oauth/device", sandbox.url())
    );

    // The user opens the page, and allows.
    let page = device.verification_uri_complete().unwrap();
    let page = Request::get(page).body(Full::default()).unwrap();
    let page = http().request(page).await.unwrap();
    assert_eq!(page.status(), StatusCode::OK);
    let page = page.into_body().collect().await.unwrap().to_bytes();
    let page = String::from_utf8(page.to_vec()).unwrap();
    assert!(page.contains(&format!("value=\"{}\"", device.user_code())));
    let decision = format!(
        "decision=allow&user_code={}",
        device.user_code().to_lowercase()
    );
    let decision = Request::post(device.verification_uri())
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(Full::from(decision))
        .unwrap();
    let done = http().request(decision).await.unwrap();
    assert_eq!(done.status(), StatusCode::OK);

    let first = oauth.await_device(&device).await.unwrap();
    assert!(first.refresh_token().is_some());
    tokens.set_tokens(first).await.unwrap();
    assert_eq!(company(&sandbox, &tokens).await, StatusCode::OK);
    // The grant rotates as any other.
    tokens.refresh_now().await.unwrap();
    assert_eq!(company(&sandbox, &tokens).await, StatusCode::OK);
    let counters = sandbox.counters();
    assert_eq!((counters.device_logins, counters.refreshes), (1, 1));
    assert_eq!(counters.refresh_tokens_reused, 0);
}

#[tokio::test(start_paused = true)]
async fn p16_device_polls_at_the_interval_until_the_user_decides() {
    let sandbox = builder().build();
    let oauth = oauth(&sandbox);
    let start = sandbox.now();
    let device = oauth.authorize_device().await.unwrap();
    let user = async {
        tokio::time::sleep(12 * SECOND).await;
        assert!(sandbox.approve_device(device.user_code()));
        assert!(!sandbox.approve_device(device.user_code()));
    };
    let (tokens, ()) = tokio::join!(oauth.await_device(&device), user);
    assert!(tokens.unwrap().refresh_token().is_some());
    // The sandbox would refuse an earlier poll by `slow_down`.
    assert_eq!(polls(&sandbox, start), [5, 10, 15]);
}

#[tokio::test(start_paused = true)]
async fn p16_slow_down_slows_all_later_polls() {
    let sandbox = builder().build();
    let oauth = oauth(&sandbox);
    let start = sandbox.now();
    let slow_down = Fault::status(StatusCode::BAD_REQUEST).body(r#"{"error":"slow_down"}"#);
    sandbox.inject(Endpoint::Token, slow_down);
    let device = oauth.authorize_device().await.unwrap();
    let user = async {
        tokio::time::sleep(26 * SECOND).await;
        sandbox.approve_device(device.user_code());
    };
    let (tokens, ()) = tokio::join!(oauth.await_device(&device), user);
    tokens.unwrap();
    assert_eq!(polls(&sandbox, start)[..3], [5, 5 + 10, 5 + 20]);
}

#[tokio::test(start_paused = true)]
async fn end_of_a_device_authorization_names_its_cause() {
    let sandbox = builder().behavior(|behavior| behavior.device_code_lifetime = 60 * SECOND);
    let sandbox = sandbox.build();
    let oauth = oauth(&sandbox);

    let device = oauth.authorize_device().await.unwrap();
    assert!(sandbox.deny_device(device.user_code()));
    let error = oauth.await_device(&device).await.unwrap_err();
    assert_eq!(code(&error), Some(OAuthErrorCode::AccessDenied));
    assert!(error.to_string().contains("denied by the user"), "{error}");

    let started = Instant::now();
    let device = oauth.authorize_device().await.unwrap();
    let error = oauth.await_device(&device).await.unwrap_err();
    assert_eq!(code(&error), Some(OAuthErrorCode::ExpiredToken));
    assert!(error.to_string().contains("has expired"), "{error}");
    assert_eq!(started.elapsed().as_secs(), 55);

    // The provider says so first, because its clock is ahead.
    let device = oauth.authorize_device().await.unwrap();
    sandbox.advance(60 * SECOND);
    let error = oauth.await_device(&device).await.unwrap_err();
    assert_eq!(code(&error), Some(OAuthErrorCode::ExpiredToken));
    assert_eq!(error.status(), Some(StatusCode::BAD_REQUEST));
    assert!(!sandbox.approve_device(device.user_code()));
}

#[tokio::test(start_paused = true)]
async fn polls_that_fail_back_off_and_continue() {
    let sandbox = builder().build();
    let oauth = connected(&sandbox, client(&sandbox).response_timeout(10 * SECOND));
    let start = sandbox.now();
    let device = oauth.authorize_device().await.unwrap();
    sandbox.inject(Endpoint::Token, Fault::hang());
    sandbox.inject(Endpoint::Token, Fault::drop_connection());
    let throttled = Fault::status(StatusCode::TOO_MANY_REQUESTS).retry_after("50");
    sandbox.inject(Endpoint::Token, throttled);
    sandbox.inject(
        Endpoint::Token,
        Fault::status(StatusCode::INTERNAL_SERVER_ERROR),
    );
    assert!(sandbox.approve_device(device.user_code()));
    let tokens = oauth.await_device(&device).await.unwrap();
    assert!(tokens.refresh_token().is_some());
    // 10 seconds without a response, and then pauses of 10, 20, 50 and 60 seconds.
    let last = *polls(&sandbox, start).last().unwrap();
    assert_eq!(last, 5 + 10 + 10 + 20 + 50 + 60);
    // Five failures of a refresh would have opened the circuit breaker.
    assert!(format!("{:?}", oauth.gate()).contains("closed"));
}

#[tokio::test(start_paused = true)]
async fn lost_tokens_of_a_device_are_named() {
    let sandbox = builder().build();
    let oauth = oauth(&sandbox);
    let device = oauth.authorize_device().await.unwrap();
    sandbox.approve_device(device.user_code());
    let lost = Fault::drop_connection().after_processing();
    sandbox.inject(Endpoint::Token, lost);
    let error = oauth.await_device(&device).await.unwrap_err();
    assert_eq!(code(&error), Some(OAuthErrorCode::InvalidGrant));
    assert!(error.to_string().contains("was lost"), "{error}");
    assert!(error.to_string().contains("start a new"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn dropped_wait_for_a_device_can_continue() {
    let sandbox = builder().build();
    let oauth = oauth(&sandbox);
    let device = oauth.authorize_device().await.unwrap();
    let waited = tokio::time::timeout(7 * SECOND, oauth.await_device(&device)).await;
    assert!(waited.is_err());
    sandbox.approve_device(device.user_code());
    assert!(oauth.await_device(&device).await.is_ok());
}

/// A thousand devices poll a slow token endpoint. A code exchange and a refresh still get through.
#[tokio::test(start_paused = true)]
async fn p16_devices_do_not_block_others() {
    let sandbox = builder().build();
    let oauth = oauth(&sandbox);
    let mut devices = JoinSet::new();
    for _ in 0..1_000 {
        let oauth = oauth.clone();
        let device = oauth.authorize_device().await.unwrap();
        devices.spawn(async move { oauth.await_device(&device).await });
    }
    tokio::time::sleep(6 * SECOND).await;
    sandbox.inject(Endpoint::Token, Fault::delay(SECOND).times(30));
    tokio::time::sleep(5 * SECOND).await;
    let started = Instant::now();
    let (url, pending) = oauth.authorization_url().unwrap();
    let callback = sandbox.consent(&url).await.unwrap();
    let tokens = oauth
        .exchange_code(pending.accept(&callback).unwrap())
        .await;
    oauth.refresh(&tokens.unwrap()).await.unwrap();
    assert!(started.elapsed() <= 3 * SECOND, "{:?}", started.elapsed());
}

#[tokio::test(start_paused = true)]
async fn code_of_another_client_is_refused() {
    let sandbox = builder().client(ClientRegistration::new("other", "secret"));
    let sandbox = sandbox.build();
    let device = oauth(&sandbox).authorize_device().await.unwrap();
    sandbox.approve_device(device.user_code());
    let provider = provider(&sandbox).build().unwrap();
    let other = OAuthClient::builder(provider, "other").client_secret("secret");
    let other = connected(&sandbox, other.redirect_uri(sandbox.redirect_uri()));
    let error = other.await_device(&device).await.unwrap_err();
    assert_eq!(code(&error), Some(OAuthErrorCode::InvalidGrant));
    assert!(error.to_string().contains("another client"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn device_authorization_request_that_fails_is_named() {
    let sandbox = builder().build();
    // Without the endpoint.
    let without = Provider::builder("https://id.example.com/token").build();
    let without = OAuthClient::builder(without.unwrap(), "id").client_secret("secret");
    let error = connected(&sandbox, without).authorize_device().await;
    let error = error.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(
        error
            .to_string()
            .starts_with("device authorization endpoint: ")
    );

    let endpoint = Endpoint::DeviceAuthorization;
    let oauth = oauth(&sandbox);
    let moved = Fault::status(StatusCode::FOUND).header(
        http::header::LOCATION,
        http::HeaderValue::from_static("https://evil.example/"),
    );
    for (fault, kind) in [
        (moved, ErrorKind::InvalidResponse),
        (Fault::garbage(), ErrorKind::InvalidResponse),
        (Fault::huge(2 * 1024 * 1024), ErrorKind::InvalidResponse),
        (Fault::truncate(), ErrorKind::Unavailable),
        (Fault::drop_connection(), ErrorKind::Unavailable),
        (Fault::hang(), ErrorKind::Unavailable),
        (
            Fault::status(StatusCode::INTERNAL_SERVER_ERROR),
            ErrorKind::Unavailable,
        ),
    ] {
        sandbox.inject(endpoint, fault.clone());
        let error = oauth.authorize_device().await.unwrap_err();
        assert_eq!(error.kind(), kind, "{fault}: {error}");
    }
    // 429 and 503 are retried.
    let busy = Fault::status(StatusCode::SERVICE_UNAVAILABLE);
    sandbox.inject(endpoint, busy.times(2));
    oauth.authorize_device().await.unwrap();

    sandbox.change_behavior(|behavior| behavior.device_authorization = false);
    assert!(oauth.authorize_device().await.is_err());
}

#[tokio::test(start_paused = true)]
async fn device_requests_have_the_parameters_of_their_kind() {
    let sandbox = builder().build();
    let client = client(&sandbox)
        .scopes(["a", "b"])
        .request_parameter(RequestKind::DeviceAuthorization, "audience", "x")
        .request_parameter(RequestKind::DeviceToken, "audience", "y");
    let body = r#"{"device_code":"d","user_code":"u","verification_uri":"https://a.example/",
        "expires_in":60,"access_token":"a1","refresh_token":"r1"}"#;
    let (oauth, recorded) = recording(client, 200, body);
    let device = oauth.authorize_device().await.unwrap();
    oauth.await_device(&device).await.unwrap();
    let recorded = recorded.lock().unwrap();
    let fields = |index: usize| -> Vec<String> {
        let fields = recorded[index].iter();
        fields
            .map(|(name, values)| format!("{name}={}", values.join(",")))
            .collect()
    };
    let credentials = [
        format!("client_id={}", sandbox.client_id()),
        format!("client_secret={}", sandbox.client_secret()),
    ];
    let [id, secret] = credentials;
    assert_eq!(fields(0), ["audience=x", &id, &secret, "scope=a b"]);
    let grant_type = "grant_type=urn:ietf:params:oauth:grant-type:device_code";
    assert_eq!(
        fields(1),
        ["audience=y", &id, &secret, "device_code=d", grant_type]
    );
    let debug = format!("{device:?}");
    assert!(
        !debug.contains("\"d\"") && !debug.contains("\"u\""),
        "{debug}"
    );
}

/// The sandbox refuses a device that does not keep the rules of RFC 8628.
#[tokio::test(start_paused = true)]
async fn wrong_device_fails_at_the_sandbox() {
    let sandbox = builder().build();
    let credentials = [
        ("client_id", sandbox.client_id()),
        ("client_secret", sandbox.client_secret()),
    ];
    let start = "/oauth/device_authorization";
    let (status, _) = post(&sandbox, start, &[("client_id", sandbox.client_id())]).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    let (status, body) = post(
        &sandbox,
        start,
        &[&credentials[..], &[("scope", "unknown")]].concat(),
    )
    .await;
    assert_eq!(
        (status, body["error"].as_str()),
        (StatusCode::BAD_REQUEST, Some("invalid_scope"))
    );
    let (_, codes) = post(&sandbox, start, &credentials).await;
    let device_code = codes["device_code"].as_str().unwrap().to_owned();
    let poll = async || {
        let fields = [
            credentials[0],
            credentials[1],
            ("grant_type", "urn:ietf:params:oauth:grant-type:device_code"),
            ("device_code", &device_code),
        ];
        let (status, body) = post(&sandbox, "/oauth/token", &fields).await;
        let error = body["error"].as_str().unwrap_or_default().to_owned();
        (status.as_u16(), error)
    };
    assert_eq!(poll().await, (400, "slow_down".into()));
    tokio::time::sleep(9 * SECOND).await;
    assert_eq!(poll().await, (400, "slow_down".into()));
    tokio::time::sleep(15 * SECOND).await;
    assert_eq!(poll().await, (400, "authorization_pending".into()));
    sandbox.approve_device(codes["user_code"].as_str().unwrap());
    tokio::time::sleep(15 * SECOND).await;
    assert_eq!(poll().await, (200, String::new()));
    tokio::time::sleep(15 * SECOND).await;
    assert_eq!(poll().await, (400, "invalid_grant".into()));
}
