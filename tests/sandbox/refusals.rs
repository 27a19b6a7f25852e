//! Every wrong request to the token and revocation endpoints, and what it is told.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{Method, Request, StatusCode};
use http_body_util::Full;
use tower_oauth2_client::sandbox::{App, ClientAuthentication, Pkce, Sandbox};

use crate::support::{
    Reply, authorization_url, code, company, connect, encoded, exchange, form, parameter, redeem,
    refresh, renew, send,
};

const FORM: &str = "application/x-www-form-urlencoded";

/// Asserts an answer of RFC 6749, 5.2.
#[track_caller]
fn refused(reply: &Reply, status: u16, error: &str) {
    assert_eq!(
        (reply.status.as_u16(), reply.error().as_str()),
        (status, error),
        "{reply:?}"
    );
    assert!(!reply.text("error_description").is_empty());
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    assert_eq!(reply.header("pragma"), Some("no-cache"));
    assert_eq!(reply.header("content-type"), Some("application/json"));
    assert!(reply.header("date").is_some());
}

async fn post(sandbox: &Sandbox, path: &str, body: &str) -> Reply {
    let request = Request::post(path).header(CONTENT_TYPE, FORM);
    send(sandbox, request.body(body.to_owned().into()).unwrap()).await
}

#[tokio::test(start_paused = true)]
async fn missing_repeated_empty_and_wrong_fields_are_told_apart() {
    let sandbox = Sandbox::builder().build();
    let app = "client_id=sandbox-client&client_secret=sandbox-client-secret";
    for (body, status, error) in [
        (String::new(), 401, "invalid_client"),
        (
            "grant_type=refresh_token&refresh_token=x".to_owned(),
            401,
            "invalid_client",
        ),
        ("client_id=sandbox-client".to_owned(), 401, "invalid_client"),
        (
            "client_id=sandbox-client&client_secret=".to_owned(),
            401,
            "invalid_client",
        ),
        (
            "client_secret=sandbox-client-secret".to_owned(),
            401,
            "invalid_client",
        ),
        (
            "client_id=sandbox-client&client_secret=wrong".to_owned(),
            401,
            "invalid_client",
        ),
        (
            "client_id=nobody&client_secret=sandbox-client-secret".to_owned(),
            401,
            "invalid_client",
        ),
        (app.to_owned(), 400, "invalid_request"),
        (format!("{app}&grant_type="), 400, "invalid_request"),
        (
            format!("{app}&grant_type=password"),
            400,
            "unsupported_grant_type",
        ),
        (
            format!("{app}&grant_type=client_credentials"),
            400,
            "unsupported_grant_type",
        ),
        (
            format!("{app}&grant_type=refresh_token"),
            400,
            "invalid_request",
        ),
        (
            format!("{app}&grant_type=refresh_token&refresh_token="),
            400,
            "invalid_request",
        ),
        (
            format!("{app}&grant_type=refresh_token&refresh_token=x"),
            400,
            "invalid_grant",
        ),
        (
            format!("{app}&grant_type=authorization_code"),
            400,
            "invalid_request",
        ),
        (
            format!("{app}&grant_type=authorization_code&code="),
            400,
            "invalid_request",
        ),
        (
            format!("{app}&grant_type=authorization_code&code=x"),
            400,
            "invalid_grant",
        ),
        (
            format!("{app}&{app}&grant_type=refresh_token&refresh_token=x"),
            400,
            "invalid_request",
        ),
        (
            format!("{app}&grant_type=refresh_token&refresh_token=x&refresh_token=x"),
            400,
            "invalid_request",
        ),
        (
            format!("{app}&grant_type=refresh_token&grant_type="),
            400,
            "invalid_request",
        ),
    ] {
        refused(&post(&sandbox, "/oauth/token", &body).await, status, error);
    }
    let counters = sandbox.counters();
    assert_eq!((counters.exchanges, counters.exchanges_refused), (0, 20));
}

#[tokio::test(start_paused = true)]
async fn a_body_must_say_that_it_is_a_form() {
    let sandbox = Sandbox::builder().build();
    let body = "client_id=sandbox-client&client_secret=sandbox-client-secret&token=x";
    for path in ["/oauth/token", "/v1/oauth/revoke"] {
        for content_type in [None, Some("application/json"), Some("text/plain"), Some("")] {
            let mut request = Request::post(path);
            if let Some(content_type) = content_type {
                request = request.header(CONTENT_TYPE, content_type);
            }
            let reply = send(&sandbox, request.body(body.into()).unwrap()).await;
            refused(&reply, 400, "invalid_request");
        }
    }
    let request = Request::post("/v1/oauth/revoke")
        .header(
            CONTENT_TYPE,
            "Application/X-WWW-Form-urlencoded; charset=utf-8",
        )
        .body(body.into())
        .unwrap();
    assert_eq!(send(&sandbox, request).await.status, StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn a_form_larger_than_64_kib_is_refused() {
    let sandbox = Sandbox::builder().build();
    let large = "a".repeat(64 * 1024 + 1);
    for path in [
        "/oauth/token",
        "/v1/oauth/revoke",
        "/oauth/login",
        "/oauth/consent",
    ] {
        let reply = post(&sandbox, path, &large).await;
        assert_eq!(reply.status, StatusCode::PAYLOAD_TOO_LARGE, "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_wrong_method_is_told_the_right_ones() {
    let sandbox = Sandbox::builder().build();
    for (path, allowed) in [
        ("/oauth/authorize", "GET"),
        ("/oauth/token", "POST"),
        ("/oauth/login", "POST"),
        ("/oauth/consent", "POST"),
        ("/v1/oauth/revoke", "POST"),
        ("/v1/company", "GET"),
        ("/v1/members", "GET"),
        ("/v1/members/member_1", "GET"),
        ("/v1/deductions", "GET, POST"),
    ] {
        for method in [
            Method::GET,
            Method::POST,
            Method::PUT,
            Method::DELETE,
            Method::HEAD,
        ] {
            if allowed.contains(method.as_str()) {
                continue;
            }
            let request = Request::builder().method(&method).uri(path);
            let reply = send(&sandbox, request.body(Full::default()).unwrap()).await;
            assert_eq!(
                reply.status,
                StatusCode::METHOD_NOT_ALLOWED,
                "{method} {path}"
            );
            assert_eq!(reply.header("allow"), Some(allowed));
        }
    }
    for path in [
        "/",
        "/oauth",
        "/v1/oauth/token",
        "/oauth/revoke",
        "/v1/members/",
        "/sandbox",
    ] {
        let reply = send(&sandbox, Request::get(path).body(Full::default()).unwrap()).await;
        assert_eq!(reply.status, StatusCode::NOT_FOUND, "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_code_used_twice_is_refused_and_ends_what_came_of_it() {
    let sandbox = Sandbox::builder().build();
    let code = code(&sandbox, &[]).await;
    let access = redeem(&sandbox, &code).await.text("access_token");
    refused(&redeem(&sandbox, &code).await, 400, "invalid_grant");
    assert_eq!(company(&sandbox, &access).await, StatusCode::UNAUTHORIZED);
    assert_eq!(sandbox.counters().families_killed, 1);
}

#[tokio::test(start_paused = true)]
async fn a_code_used_twice_may_do_no_harm() {
    let sandbox = Sandbox::builder().code_reuse_revokes(false).build();
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
        .app(App::new("other", "other-secret"))
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
    let sandbox = Sandbox::builder().pkce(Pkce::Ignored).build();
    let ignored = code(&sandbox, &S256).await;
    assert_eq!(
        redeem_with(&sandbox, &ignored, Some("wrong")).await.status,
        StatusCode::OK
    );

    sandbox.change(|behavior| behavior.pkce = Pkce::Required);
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

#[tokio::test(start_paused = true)]
async fn a_refresh_may_narrow_the_scope_and_not_widen_it() {
    let sandbox = Sandbox::builder().build();
    let code = code(&sandbox, &[("scope", "member.detail:read payroll:read")]).await;
    let token = redeem(&sandbox, &code).await.text("refresh_token");
    let fields = |scope| {
        [
            ("grant_type", "refresh_token"),
            ("refresh_token", &token[..]),
            ("scope", scope),
        ]
    };
    for wider in ["paystub:read", "payroll:read paystub:read", "nonsense"] {
        refused(
            &exchange(&sandbox, &fields(wider)).await,
            400,
            "invalid_scope",
        );
    }
    let reply = exchange(&sandbox, &fields("member.basic:read")).await;
    assert_eq!(reply.text("scope"), "member.basic:read");
    // The grant itself is not narrower for it.
    let reply = refresh(&sandbox, &reply.text("refresh_token")).await;
    assert_eq!(reply.text("scope"), "member.detail:read payroll:read");
}

fn basic(body: String, credentials: &str) -> Request<Full<Bytes>> {
    Request::post("/oauth/token")
        .header(CONTENT_TYPE, FORM)
        .header(
            AUTHORIZATION,
            format!("Basic {}", STANDARD.encode(credentials)),
        )
        .body(body.into())
        .unwrap()
}

#[tokio::test(start_paused = true)]
async fn basic_authentication_is_refused_by_name() {
    let sandbox = Sandbox::builder().build();
    let token = connect(&sandbox).await.refresh;
    let body = encoded(&[("grant_type", "refresh_token"), ("refresh_token", &token)]);
    let request = basic(body, "sandbox-client:sandbox-client-secret");
    let reply = send(&sandbox, request).await;
    refused(&reply, 401, "invalid_client");
    assert_eq!(
        reply.header("www-authenticate"),
        Some(r#"Basic realm="justworks""#)
    );
}

#[tokio::test(start_paused = true)]
async fn basic_authentication_may_be_accepted() {
    let sandbox = Sandbox::builder()
        .client_secret("a:b c%")
        .client_authentication(ClientAuthentication::BodyOrBasic)
        .build();
    let token = connect(&sandbox).await.refresh;
    let body = || encoded(&[("grant_type", "refresh_token"), ("refresh_token", &token)]);
    for wrong in ["sandbox-client:x", "sandbox-client", ":", ""] {
        let reply = send(&sandbox, basic(body(), wrong)).await;
        refused(&reply, 401, "invalid_client");
    }
    let twice = format!("{}&client_id=sandbox-client&client_secret=x", body());
    let right = "sandbox-client:a%3Ab+c%25";
    refused(
        &send(&sandbox, basic(twice, right)).await,
        400,
        "invalid_request",
    );
    let reply = send(&sandbox, basic(body(), right)).await;
    assert_eq!(reply.status, StatusCode::OK);
}

async fn revoke(sandbox: &Sandbox, fields: &[(&str, &str)]) -> Reply {
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
    // RFC 7009, 2.1: neither a wrong nor an unknown hint matters.
    for hint in ["refresh_token", "nonsense"] {
        let fields = [("token", tokens.access.as_str()), ("token_type_hint", hint)];
        let reply = revoke(&sandbox, &fields).await;
        assert_eq!((reply.status, reply.body.len()), (StatusCode::OK, 0));
    }
    assert_eq!(
        company(&sandbox, &tokens.access).await,
        StatusCode::UNAUTHORIZED
    );
    renew(&sandbox, &tokens.refresh).await;
}

#[tokio::test(start_paused = true)]
async fn revoking_a_refresh_token_ends_its_grant() {
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
    refused(
        &refresh(&sandbox, &tokens.refresh).await,
        400,
        "invalid_grant",
    );
    // RFC 7009, 2.2: a client cannot do anything about a token that is gone already.
    assert_eq!(
        revoke(&sandbox, &[("token", &tokens.refresh)]).await.status,
        StatusCode::OK
    );
}

#[tokio::test(start_paused = true)]
async fn revoking_a_refresh_token_may_leave_the_access_token() {
    let sandbox = Sandbox::builder().revocation_cascades(false).build();
    let tokens = connect(&sandbox).await;
    revoke(&sandbox, &[("token", &tokens.refresh)]).await;
    assert_eq!(company(&sandbox, &tokens.access).await, StatusCode::OK);
    refused(
        &refresh(&sandbox, &tokens.refresh).await,
        400,
        "invalid_grant",
    );
}

#[tokio::test(start_paused = true)]
async fn revoking_an_unknown_token_succeeds_unless_told_otherwise() {
    let sandbox = Sandbox::builder().build();
    assert_eq!(
        revoke(&sandbox, &[("token", "unknown")]).await.status,
        StatusCode::OK
    );
    sandbox.change(|behavior| behavior.unknown_revocation_succeeds = false);
    refused(
        &revoke(&sandbox, &[("token", "unknown")]).await,
        400,
        "invalid_request",
    );
    assert_eq!(sandbox.counters().revocations, 1);
}

#[tokio::test(start_paused = true)]
async fn wrong_revocations_are_told_apart() {
    let sandbox = Sandbox::builder().build();
    refused(&revoke(&sandbox, &[]).await, 400, "invalid_request");
    refused(
        &revoke(&sandbox, &[("token", "")]).await,
        400,
        "invalid_request",
    );
    refused(
        &revoke(&sandbox, &[("token", "x"), ("token", "x")]).await,
        400,
        "invalid_request",
    );
    refused(
        &post(&sandbox, "/v1/oauth/revoke", "token=x").await,
        401,
        "invalid_client",
    );
}
