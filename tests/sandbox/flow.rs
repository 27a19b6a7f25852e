//! From consent to an API request, as the Partner API documents it.

use std::time::{Duration, SystemTime};

use http::StatusCode;
use tower_oauth2_client::sandbox::{
    Behavior, Consent, Sandbox, SandboxBody, SandboxFuture, SandboxService,
};

use crate::support::{
    Tokens, assert_invalid_grant, authorization_url, code, company, connect, exchange_code, get,
    parameter, refresh, refresh_ok, sandbox_with, token_request,
};

#[tokio::test(start_paused = true)]
async fn a_consent_leads_to_tokens_that_the_api_accepts() {
    let sandbox = Sandbox::builder().build();
    let url = authorization_url(&sandbox, &[("state", "a&b=c d")]);
    let callback = sandbox.consent(&url).await.unwrap();
    assert!(callback.starts_with("http://127.0.0.1:8000/callback?"));
    assert_eq!(parameter(&callback, "state").as_deref(), Some("a&b=c d"));

    let response = exchange_code(&sandbox, &parameter(&callback, "code").unwrap()).await;
    let tokens = Tokens::from(&response);
    assert_eq!(response.text("token_type"), "Bearer");
    assert_eq!(company(&sandbox, &tokens.access).await, StatusCode::OK);

    let counters = sandbox.counters();
    assert_eq!((counters.tokens_issued, counters.code_exchanges), (1, 1));
    assert_eq!((counters.authorized, counters.in_flight), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_token_response_has_the_documented_format() {
    let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_323_045);
    let sandbox = Sandbox::builder().clock_starts_at(start).build();
    let response = exchange_code(
        &sandbox,
        &code(&sandbox, &[("scope", "payroll:read")]).await,
    )
    .await;
    assert_eq!(response.text("expires_at"), "2026-01-03T03:04:05Z");
    assert_eq!(response.text("scope"), "payroll:read");
    assert_eq!(response.json().get("expires_in"), None);
    assert_eq!(
        response.header("date"),
        Some("Fri, 02 Jan 2026 03:04:05 GMT")
    );
    assert_eq!(response.header("cache-control"), Some("no-store"));
    assert_eq!(response.header("pragma"), Some("no-cache"));
    assert_eq!(response.header("content-type"), Some("application/json"));
}

#[tokio::test(start_paused = true)]
async fn an_access_token_expires_after_24_hours_of_virtual_time() {
    let sandbox = Sandbox::builder().build();
    let tokens = connect(&sandbox).await;
    tokio::time::advance(Duration::from_secs(24 * 3600 - 1)).await;
    assert_eq!(company(&sandbox, &tokens.access).await, StatusCode::OK);
    sandbox.advance(Duration::from_secs(1));
    let response = get(&sandbox, "/v1/company", &tokens.access).await;
    assert_eq!(response.status, StatusCode::UNAUTHORIZED);
    let challenge = r#"Bearer realm="justworks", error="invalid_token""#;
    assert_eq!(response.header("www-authenticate"), Some(challenge));
    let refreshed = refresh_ok(&sandbox, &tokens.refresh).await;
    assert_eq!(company(&sandbox, &refreshed.access).await, StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn tokens_can_be_expired_and_revoked_at_any_time() {
    let sandbox = Sandbox::builder().build();
    let tokens = connect(&sandbox).await;
    sandbox.expire_access_tokens();
    assert_eq!(
        company(&sandbox, &tokens.access).await,
        StatusCode::UNAUTHORIZED
    );

    let tokens = refresh_ok(&sandbox, &tokens.refresh).await;
    assert_eq!(company(&sandbox, &tokens.access).await, StatusCode::OK);
    sandbox.revoke_access_tokens();
    assert_eq!(
        company(&sandbox, &tokens.access).await,
        StatusCode::UNAUTHORIZED
    );

    let tokens = refresh_ok(&sandbox, &tokens.refresh).await;
    sandbox.revoke_grants();
    assert_eq!(
        company(&sandbox, &tokens.access).await,
        StatusCode::UNAUTHORIZED
    );
    assert_invalid_grant(&refresh(&sandbox, &tokens.refresh).await);
}

#[tokio::test(start_paused = true)]
async fn the_simulated_user_fills_in_the_pages() {
    let sandbox = sandbox_with(|behavior| behavior.consent = Consent::Page);
    connect(&sandbox).await;
    let url = authorization_url(&sandbox, &[("state", "s")]);
    let callback = sandbox.deny(&url).await.unwrap();
    assert_eq!(
        parameter(&callback, "error").as_deref(),
        Some("access_denied")
    );
    assert_eq!(parameter(&callback, "state").as_deref(), Some("s"));
    assert_eq!(sandbox.counters().denials, 1);
}

#[tokio::test]
async fn the_socket_serves_until_the_sandbox_is_dropped() {
    let sandbox = Sandbox::start().await.unwrap();
    let address = sandbox.address().unwrap();
    assert_eq!(sandbox.url(), format!("http://{address}"));
    let tokens = connect(&sandbox).await;
    let http = reqwest::Client::new();
    let request = http.get(format!("{}/v1/company", sandbox.url()));
    let response = request.bearer_auth(&tokens.access).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let company: serde_json::Value =
        serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
    assert_eq!(company["display_name"], "Sandbox Bakery");

    drop(sandbox);
    // The listener closes when its task is next polled.
    tokio::task::yield_now().await;
    assert!(
        http.get(format!("http://{address}/v1/company"))
            .send()
            .await
            .is_err()
    );
}

#[tokio::test(start_paused = true)]
async fn a_seed_reproduces_the_tokens() {
    let first = connect(&Sandbox::builder().seed(7).build()).await;
    let second = connect(&Sandbox::builder().seed(7).build()).await;
    assert_eq!(first.access, second.access);
    let unknown = token_request(
        &Sandbox::builder().seed(8).build(),
        &[
            ("grant_type", "refresh_token"),
            ("refresh_token", &first.refresh),
        ],
    )
    .await;
    assert_eq!(unknown.error(), "invalid_grant");
}

#[test]
fn handles_and_services_are_send_and_sync() {
    fn clone_send_sync<T: Clone + Send + Sync + std::fmt::Debug + 'static>() {}
    fn send<T: Send + 'static>() {}
    clone_send_sync::<Sandbox>();
    clone_send_sync::<SandboxService>();
    clone_send_sync::<Behavior>();
    send::<SandboxFuture>();
    send::<SandboxBody>();
}
