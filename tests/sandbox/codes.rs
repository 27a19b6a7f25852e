//! Authorization codes: good once, for a while, for one client.

use http::StatusCode;
use tower_oauth2_client::sandbox::{ClientRegistration, Pkce, Sandbox};

use crate::support::{
    Reply, authorization_url, code, company, connect, exchange, form, parameter, redeem, refused,
    renew, send,
};

#[tokio::test(start_paused = true)]
async fn a_code_used_twice_is_refused_and_ends_what_came_of_it() {
    let sandbox = Sandbox::builder().build();
    let code = code(&sandbox, &[]).await;
    let access = redeem(&sandbox, &code).await.text("access_token");
    refused(&redeem(&sandbox, &code).await, 400, "invalid_grant");
    assert_eq!(company(&sandbox, &access).await, StatusCode::UNAUTHORIZED);
    assert_eq!(sandbox.counters().grants_revoked, 1);
}

#[tokio::test(start_paused = true)]
async fn a_code_used_twice_may_do_no_harm() {
    let sandbox = Sandbox::builder()
        .behavior(|behavior| behavior.code_reuse_revokes = false)
        .build();
    let code = code(&sandbox, &[]).await;
    let access = redeem(&sandbox, &code).await.text("access_token");
    refused(&redeem(&sandbox, &code).await, 400, "invalid_grant");
    assert_eq!(company(&sandbox, &access).await, StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn a_code_expires() {
    let sandbox = Sandbox::builder().build();
    let code = code(&sandbox, &[]).await;
    sandbox.advance(std::time::Duration::from_secs(600));
    refused(&redeem(&sandbox, &code).await, 400, "invalid_grant");
}

#[tokio::test(start_paused = true)]
async fn a_code_is_bound_to_its_redirect_uri() {
    let sandbox = Sandbox::builder().build();
    let code = code(&sandbox, &[]).await;
    let mut fields = vec![("grant_type", "authorization_code"), ("code", &code)];
    refused(&exchange(&sandbox, &fields).await, 400, "invalid_request");
    fields.push(("redirect_uri", "http://127.0.0.1:8000/callback/"));
    refused(&exchange(&sandbox, &fields).await, 400, "invalid_grant");
    // Neither attempt used the code up.
    assert_eq!(redeem(&sandbox, &code).await.status, StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn a_redirect_uri_that_was_not_sent_need_not_be_repeated() {
    let sandbox = Sandbox::builder().build();
    let url = "/oauth/authorize?response_type=code&client_id=sandbox-client";
    let callback = sandbox.consent(url).await.unwrap();
    let code = parameter(&callback, "code").unwrap();
    let fields = [
        ("grant_type", "authorization_code"),
        ("code", code.as_str()),
    ];
    assert_eq!(exchange(&sandbox, &fields).await.status, StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn codes_and_tokens_are_of_no_use_to_another_app() {
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
        refused(
            &send(&sandbox, form(path, &fields)).await,
            400,
            "invalid_grant",
        );
    }
    assert_eq!(company(&sandbox, &tokens.access).await, StatusCode::OK);
    assert_eq!(redeem(&sandbox, &code).await.status, StatusCode::OK);
    renew(&sandbox, &tokens.refresh).await;
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

async fn redeem_with(sandbox: &Sandbox, code: &str, verifier: Option<&str>) -> Reply {
    let mut fields = vec![
        ("grant_type", "authorization_code"),
        ("code", code),
        ("redirect_uri", sandbox.redirect_uri()),
    ];
    fields.extend(verifier.map(|verifier| ("code_verifier", verifier)));
    exchange(sandbox, &fields).await
}

#[tokio::test(start_paused = true)]
async fn a_challenge_is_verified_if_it_was_sent() {
    let sandbox = Sandbox::builder().build();
    let plain = [("code_challenge", VERIFIER)];
    for challenge in [&S256[..], &plain[..]] {
        let code = code(&sandbox, challenge).await;
        refused(
            &redeem_with(&sandbox, &code, None).await,
            400,
            "invalid_grant",
        );
        refused(
            &redeem_with(&sandbox, &code, Some("wrong")).await,
            400,
            "invalid_grant",
        );
        assert_eq!(
            redeem_with(&sandbox, &code, Some(VERIFIER)).await.status,
            StatusCode::OK
        );
    }
    let code = code(&sandbox, &[]).await;
    refused(
        &redeem_with(&sandbox, &code, Some(VERIFIER)).await,
        400,
        "invalid_grant",
    );
}

#[tokio::test(start_paused = true)]
async fn pkce_may_be_ignored_or_required() {
    let sandbox = Sandbox::builder()
        .behavior(|behavior| behavior.pkce = Pkce::Ignored)
        .build();
    let ignored = code(&sandbox, &S256).await;
    assert_eq!(
        redeem_with(&sandbox, &ignored, Some("wrong")).await.status,
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
        redeem_with(&sandbox, &required, Some(VERIFIER))
            .await
            .status,
        StatusCode::OK
    );
}
