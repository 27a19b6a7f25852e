//! Authorization codes are valid once, for a limited time, and for one client.

use http::StatusCode;
use tower_oauth2_client::sandbox::{ClientRegistration, Pkce, Sandbox};

use crate::support::{
    Response, assert_invalid_grant, assert_refused, authorization_url, code, company, connect,
    exchange_code, form, parameter, refresh_ok, sandbox_with, send, token_request,
};

#[tokio::test(start_paused = true)]
async fn reuse_of_a_code_is_refused_and_revokes_its_tokens() {
    let sandbox = Sandbox::builder().build();
    let code = code(&sandbox, &[]).await;
    let access = exchange_code(&sandbox, &code).await.text("access_token");
    assert_invalid_grant(&exchange_code(&sandbox, &code).await);
    assert_eq!(company(&sandbox, &access).await, StatusCode::UNAUTHORIZED);
    assert_eq!(sandbox.counters().grants_revoked, 1);
}

#[tokio::test(start_paused = true)]
async fn reuse_of_a_code_can_leave_the_tokens_valid() {
    let sandbox = sandbox_with(|behavior| behavior.code_reuse_revokes = false);
    let code = code(&sandbox, &[]).await;
    let access = exchange_code(&sandbox, &code).await.text("access_token");
    assert_invalid_grant(&exchange_code(&sandbox, &code).await);
    assert_eq!(company(&sandbox, &access).await, StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn a_code_expires() {
    let sandbox = Sandbox::builder().build();
    let code = code(&sandbox, &[]).await;
    sandbox.advance(std::time::Duration::from_secs(600));
    assert_invalid_grant(&exchange_code(&sandbox, &code).await);
}

#[tokio::test(start_paused = true)]
async fn a_code_is_bound_to_its_redirect_uri() {
    let sandbox = Sandbox::builder().build();
    let code = code(&sandbox, &[]).await;
    let mut fields = vec![("grant_type", "authorization_code"), ("code", &code)];
    assert_refused(
        &token_request(&sandbox, &fields).await,
        400,
        "invalid_request",
    );
    fields.push(("redirect_uri", "http://127.0.0.1:8000/callback/"));
    assert_invalid_grant(&token_request(&sandbox, &fields).await);
    // Both attempts left the code valid.
    assert_eq!(exchange_code(&sandbox, &code).await.status, StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn a_redirect_uri_that_was_not_sent_is_not_required() {
    let sandbox = Sandbox::builder().build();
    let url = "/oauth/authorize?response_type=code&client_id=sandbox-client";
    let callback = sandbox.consent(url).await.unwrap();
    let code = parameter(&callback, "code").unwrap();
    let fields = [
        ("grant_type", "authorization_code"),
        ("code", code.as_str()),
    ];
    assert_eq!(
        token_request(&sandbox, &fields).await.status,
        StatusCode::OK
    );
}

#[tokio::test(start_paused = true)]
async fn codes_and_tokens_are_refused_to_another_client() {
    let sandbox = Sandbox::builder()
        .client(ClientRegistration::new("other", "other-secret"))
        .build();
    let other = [("client_id", "other"), ("client_secret", "other-secret")];
    let with = |fields: &[(&'static str, String)]| {
        let mut all: Vec<_> = other.iter().map(|(k, v)| (*k, (*v).to_owned())).collect();
        all.extend_from_slice(fields);
        all
    };
    let code = code(&sandbox, &[]).await;
    let tokens = connect(&sandbox).await;
    for (path, fields) in [
        (
            "/oauth/token",
            with(&[
                ("grant_type", "authorization_code".into()),
                ("code", code.clone()),
                ("redirect_uri", sandbox.redirect_uri().to_owned()),
            ]),
        ),
        (
            "/oauth/token",
            with(&[
                ("grant_type", "refresh_token".into()),
                ("refresh_token", tokens.refresh.clone()),
            ]),
        ),
        (
            "/v1/oauth/revoke",
            with(&[("token", tokens.refresh.clone())]),
        ),
        (
            "/v1/oauth/revoke",
            with(&[("token", tokens.access.clone())]),
        ),
    ] {
        let fields: Vec<_> = fields.iter().map(|(k, v)| (*k, v.as_str())).collect();
        assert_invalid_grant(&send(&sandbox, form(path, &fields)).await);
    }
    assert_eq!(company(&sandbox, &tokens.access).await, StatusCode::OK);
    assert_eq!(exchange_code(&sandbox, &code).await.status, StatusCode::OK);
    refresh_ok(&sandbox, &tokens.refresh).await;
}

const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
/// The example of RFC 7636, appendix B.
const S256: [(&str, &str); 2] = [
    (
        "code_challenge",
        "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM",
    ),
    ("code_challenge_method", "S256"),
];

async fn exchange_code_with(sandbox: &Sandbox, code: &str, verifier: Option<&str>) -> Response {
    let mut fields = vec![
        ("grant_type", "authorization_code"),
        ("code", code),
        ("redirect_uri", sandbox.redirect_uri()),
    ];
    fields.extend(verifier.map(|verifier| ("code_verifier", verifier)));
    token_request(sandbox, &fields).await
}

#[tokio::test(start_paused = true)]
async fn a_challenge_is_verified_if_present() {
    let sandbox = Sandbox::builder().build();
    let plain = [("code_challenge", VERIFIER)];
    for challenge in [&S256[..], &plain[..]] {
        let code = code(&sandbox, challenge).await;
        assert_invalid_grant(&exchange_code_with(&sandbox, &code, None).await);
        assert_invalid_grant(&exchange_code_with(&sandbox, &code, Some("wrong")).await);
        assert_eq!(
            exchange_code_with(&sandbox, &code, Some(VERIFIER))
                .await
                .status,
            StatusCode::OK
        );
    }
    let code = code(&sandbox, &[]).await;
    assert_invalid_grant(&exchange_code_with(&sandbox, &code, Some(VERIFIER)).await);
}

#[tokio::test(start_paused = true)]
async fn pkce_can_be_ignored_or_required() {
    let sandbox = sandbox_with(|behavior| behavior.pkce = Pkce::Ignored);
    let ignored = code(&sandbox, &S256).await;
    assert_eq!(
        exchange_code_with(&sandbox, &ignored, Some("wrong"))
            .await
            .status,
        StatusCode::OK
    );

    sandbox.change_behavior(|behavior| behavior.pkce = Pkce::Required);
    let plain = [("code_challenge", VERIFIER)];
    for challenge in [&[][..], &plain[..]] {
        let url = authorization_url(&sandbox, challenge);
        let callback = sandbox.consent(&url).await.unwrap();
        assert_eq!(
            parameter(&callback, "error").as_deref(),
            Some("invalid_request")
        );
    }
    let required = code(&sandbox, &S256).await;
    assert_eq!(
        exchange_code_with(&sandbox, &required, Some(VERIFIER))
            .await
            .status,
        StatusCode::OK
    );
}
