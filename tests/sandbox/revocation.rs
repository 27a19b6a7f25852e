//! The revocation endpoint.

use http::StatusCode;
use tower_oauth2_client::sandbox::Sandbox;

use crate::support::{
    Response, assert_invalid_grant, assert_refused, company, connect, form, post_form, refresh,
    refresh_ok, sandbox_with, send,
};

async fn revoke(sandbox: &Sandbox, fields: &[(&str, &str)]) -> Response {
    let mut all = vec![
        ("client_id", sandbox.client_id()),
        ("client_secret", sandbox.client_secret()),
    ];
    all.extend_from_slice(fields);
    send(sandbox, form("/v1/oauth/revoke", &all)).await
}

#[tokio::test(start_paused = true)]
async fn revoking_an_access_token_revokes_nothing_else() {
    let sandbox = Sandbox::builder().build();
    let tokens = connect(&sandbox).await;
    // RFC 7009, section 2.1: a wrong or unknown hint has no effect.
    for hint in ["refresh_token", "nonsense"] {
        let fields = [("token", tokens.access.as_str()), ("token_type_hint", hint)];
        let response = revoke(&sandbox, &fields).await;
        assert_eq!((response.status, response.body.len()), (StatusCode::OK, 0));
    }
    assert_eq!(
        company(&sandbox, &tokens.access).await,
        StatusCode::UNAUTHORIZED
    );
    refresh_ok(&sandbox, &tokens.refresh).await;
}

#[tokio::test(start_paused = true)]
async fn revoking_a_refresh_token_revokes_its_grant() {
    let sandbox = Sandbox::builder().build();
    let tokens = connect(&sandbox).await;
    assert_eq!(
        revoke(&sandbox, &[("token", &tokens.refresh)]).await.status,
        StatusCode::OK
    );
    assert_eq!(
        company(&sandbox, &tokens.access).await,
        StatusCode::UNAUTHORIZED
    );
    assert_invalid_grant(&refresh(&sandbox, &tokens.refresh).await);
    // RFC 7009, section 2.2: revoking an invalid token is not an error.
    assert_eq!(
        revoke(&sandbox, &[("token", &tokens.refresh)]).await.status,
        StatusCode::OK
    );
}

#[tokio::test(start_paused = true)]
async fn revoking_a_refresh_token_can_keep_the_access_token() {
    let sandbox = sandbox_with(|behavior| behavior.revocation_cascades = false);
    let tokens = connect(&sandbox).await;
    revoke(&sandbox, &[("token", &tokens.refresh)]).await;
    assert_eq!(company(&sandbox, &tokens.access).await, StatusCode::OK);
    assert_invalid_grant(&refresh(&sandbox, &tokens.refresh).await);
}

#[tokio::test(start_paused = true)]
async fn revoking_an_unknown_token_succeeds_by_default() {
    let sandbox = Sandbox::builder().build();
    assert_eq!(
        revoke(&sandbox, &[("token", "unknown")]).await.status,
        StatusCode::OK
    );
    sandbox.change_behavior(|behavior| behavior.unknown_revocation_succeeds = false);
    assert_refused(
        &revoke(&sandbox, &[("token", "unknown")]).await,
        400,
        "invalid_request",
    );
    assert_eq!(sandbox.counters().revocations, 1);
}

#[tokio::test(start_paused = true)]
async fn each_invalid_revocation_gets_its_error() {
    let sandbox = Sandbox::builder().build();
    assert_refused(&revoke(&sandbox, &[]).await, 400, "invalid_request");
    assert_refused(
        &revoke(&sandbox, &[("token", "")]).await,
        400,
        "invalid_request",
    );
    assert_refused(
        &revoke(&sandbox, &[("token", "x"), ("token", "x")]).await,
        400,
        "invalid_request",
    );
    assert_refused(
        &post_form(&sandbox, "/v1/oauth/revoke", "token=x").await,
        401,
        "invalid_client",
    );
}
