//! Client assertions (RFC 7523): each wrong one is refused.

use std::time::{Duration, SystemTime};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use hmac_sha256::HMAC;
use http::header::AUTHORIZATION;
use serde_json::{Value, json};
use tower_oauth2_client::sandbox::{ClientAuthentication, Sandbox};

use crate::support::{Response, assert_refused, code, form, sandbox_with, send};

const TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

fn sandbox() -> Sandbox {
    sandbox_with(|behavior| {
        behavior.client_authentication = ClientAuthentication::ClientSecretJwt;
    })
}

fn seconds(sandbox: &Sandbox) -> u64 {
    let now = sandbox.now().duration_since(SystemTime::UNIX_EPOCH);
    now.unwrap().as_secs()
}

/// Good claims. Each has an id of its own.
fn claims(sandbox: &Sandbox) -> Value {
    let now = seconds(sandbox);
    json!({
        "iss": sandbox.client_id(),
        "sub": sandbox.client_id(),
        "aud": format!("{}/oauth/token", sandbox.url()),
        "exp": now + 60,
        "iat": now,
        "jti": fastrand::u64(..).to_string(),
    })
}

fn signed_with(secret: &str, header: &Value, claims: &Value) -> String {
    let encode = |json: &Value| BASE64_URL_SAFE_NO_PAD.encode(json.to_string());
    let input = format!("{}.{}", encode(header), encode(claims));
    let signature = HMAC::mac(input.as_bytes(), secret.as_bytes());
    format!("{input}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
}

fn signed(sandbox: &Sandbox, claims: &Value) -> String {
    let header = json!({ "alg": "HS256", "typ": "JWT" });
    signed_with(sandbox.client_secret(), &header, claims)
}

/// A code exchange with these credentials.
async fn exchange_code(sandbox: &Sandbox, credentials: &[(&str, &str)]) -> Response {
    let code = code(sandbox, &[]).await;
    let mut fields = vec![
        ("grant_type", "authorization_code"),
        ("code", code.as_str()),
        ("redirect_uri", sandbox.redirect_uri()),
    ];
    fields.extend_from_slice(credentials);
    send(sandbox, form("/oauth/token", &fields)).await
}

async fn present(sandbox: &Sandbox, assertion: &str) -> Response {
    let fields = [
        ("client_assertion_type", TYPE),
        ("client_assertion", assertion),
    ];
    exchange_code(sandbox, &fields).await
}

#[tokio::test(start_paused = true)]
async fn an_assertion_is_accepted_once() {
    let sandbox = sandbox();
    let assertion = signed(&sandbox, &claims(&sandbox));
    assert_eq!(present(&sandbox, &assertion).await.status, 200);
    let again = present(&sandbox, &assertion).await;
    assert_refused(&again, 401, "invalid_client");
    assert!(again.text("error_description").contains("jti"));
    // With another id the same claims are good.
    let assertion = signed(&sandbox, &claims(&sandbox));
    let id = sandbox.client_id().to_owned();
    let fields = [
        ("client_assertion_type", TYPE),
        ("client_assertion", assertion.as_str()),
        ("client_id", id.as_str()),
    ];
    assert_eq!(exchange_code(&sandbox, &fields).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn each_wrong_claim_is_named() {
    let sandbox = sandbox();
    let now = seconds(&sandbox);
    for (claim, value, problem) in [
        ("iss", json!("other"), "iss and sub"),
        ("sub", json!("other"), "no client"),
        (
            "aud",
            json!("https://other.example/oauth/token"),
            "another aud",
        ),
        (
            "aud",
            json!([format!("{}/oauth/token", sandbox.url())]),
            "one aud",
        ),
        ("aud", Value::Null, "one aud"),
        ("exp", json!(now), "has expired"),
        ("exp", json!(now + 3_600), "more than five minutes"),
        ("exp", json!("soon"), "one aud"),
        ("iat", json!(now + 60), "not valid yet"),
        ("iat", json!(now - 3_600), "five minutes ago"),
        ("iat", Value::Null, "one aud"),
        ("nbf", json!(now + 60), "not valid yet"),
        ("jti", json!(""), "jti"),
        ("jti", Value::Null, "one aud"),
    ] {
        let mut claims = claims(&sandbox);
        claims[claim] = value;
        let response = present(&sandbox, &signed(&sandbox, &claims)).await;
        assert_refused(&response, 401, "invalid_client");
        let description = response.text("error_description");
        assert!(description.contains(problem), "{claim}: {description}");
    }
}

#[tokio::test(start_paused = true)]
async fn each_wrong_signature_header_and_form_is_named() {
    let sandbox = sandbox();
    let good = || claims(&sandbox);
    let secret = sandbox.client_secret().to_owned();
    let with_header = |header: Value| signed_with(&secret, &header, &good());
    let unsigned = with_header(json!({ "alg": "none" }));
    let (input, _) = unsigned.rsplit_once('.').unwrap();
    for (assertion, problem) in [
        (
            signed_with("other", &json!({ "alg": "HS256" }), &good()),
            "signature",
        ),
        (with_header(json!({ "alg": "HS512" })), "HS256"),
        (with_header(json!({ "alg": "ES256" })), "HS256"),
        (format!("{input}."), "HS256"),
        (with_header(json!({ "typ": "JWT" })), "alg"),
        (
            with_header(json!({ "alg": "HS256", "typ": "dpop+jwt" })),
            "another type",
        ),
        (
            with_header(json!({ "alg": "HS256", "crit": ["x"] })),
            "critical",
        ),
        ("a.b".to_owned(), "three parts"),
        ("not a token".to_owned(), "three parts"),
    ] {
        let response = present(&sandbox, &assertion).await;
        assert_refused(&response, 401, "invalid_client");
        let description = response.text("error_description");
        assert!(description.contains(problem), "{assertion}: {description}");
    }
    let assertion = signed(&sandbox, &good());
    for (fields, problem) in [
        (
            vec![("client_assertion", assertion.as_str())],
            "client_assertion_type",
        ),
        (
            vec![
                ("client_assertion_type", "x"),
                ("client_assertion", &assertion),
            ],
            "client_assertion_type",
        ),
        (
            vec![("client_assertion_type", TYPE)],
            "client_assertion is missing",
        ),
        (
            vec![
                ("client_assertion_type", TYPE),
                ("client_assertion", &assertion),
                ("client_id", "other"),
            ],
            "not the sub",
        ),
        (
            vec![("client_id", sandbox.client_id())],
            "client_assertion are missing",
        ),
    ] {
        let response = exchange_code(&sandbox, &fields).await;
        assert_refused(&response, 401, "invalid_client");
        let description = response.text("error_description");
        assert!(description.contains(problem), "{fields:?}: {description}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_second_method_in_one_request_is_refused() {
    let sandbox = sandbox();
    for accepted in [
        ClientAuthentication::ClientSecretJwt,
        ClientAuthentication::Body,
        ClientAuthentication::Basic,
        ClientAuthentication::None,
        ClientAuthentication::TlsClientAuth,
    ] {
        sandbox.change_behavior(|behavior| behavior.client_authentication = accepted);
        let assertion = signed(&sandbox, &claims(&sandbox));
        let (id, secret) = (sandbox.client_id(), sandbox.client_secret());
        let fields = [
            ("client_assertion_type", TYPE),
            ("client_assertion", assertion.as_str()),
            ("client_id", id),
            ("client_secret", secret),
        ];
        assert_refused(
            &exchange_code(&sandbox, &fields).await,
            400,
            "invalid_request",
        );
        let mut request = form("/oauth/token", &fields[..3]);
        let basic = "Basic c2FuZGJveC1jbGllbnQ6c2FuZGJveC1jbGllbnQtc2VjcmV0";
        let headers = request.headers_mut();
        headers.insert(AUTHORIZATION, basic.parse().unwrap());
        assert_refused(&send(&sandbox, request).await, 400, "invalid_request");
        if accepted != ClientAuthentication::ClientSecretJwt {
            let response = exchange_code(&sandbox, &fields[..3]).await;
            assert_refused(&response, 401, "invalid_client");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_audience_is_the_issuer_or_that_of_the_behavior() {
    let sandbox = sandbox();
    for (issuer, audience, expected) in [
        (
            Some("https://id.example.com"),
            None,
            "https://id.example.com",
        ),
        (
            Some("https://id.example.com"),
            Some("urn:example:as"),
            "urn:example:as",
        ),
    ] {
        sandbox.change_behavior(|behavior| {
            behavior.issuer = issuer.map(str::to_owned);
            behavior.assertion_audience = audience.map(str::to_owned);
        });
        let other = signed(&sandbox, &claims(&sandbox));
        assert_refused(&present(&sandbox, &other).await, 401, "invalid_client");
        let mut claims = claims(&sandbox);
        claims["aud"] = json!(expected);
        let response = present(&sandbox, &signed(&sandbox, &claims)).await;
        assert_eq!(response.status, 200);
    }
}

#[tokio::test(start_paused = true)]
async fn an_assertion_expires_by_the_clock_of_the_sandbox() {
    let sandbox = sandbox();
    let assertion = signed(&sandbox, &claims(&sandbox));
    sandbox.advance(Duration::from_secs(61));
    let response = present(&sandbox, &assertion).await;
    assert_refused(&response, 401, "invalid_client");
    assert!(response.text("error_description").contains("expired"));
}

#[tokio::test(start_paused = true)]
async fn a_client_with_a_certificate_sends_no_secret() {
    let sandbox = sandbox_with(|behavior| {
        behavior.client_authentication = ClientAuthentication::TlsClientAuth;
    });
    let (id, secret) = (sandbox.client_id(), sandbox.client_secret());
    let with_secret = [("client_id", id), ("client_secret", secret)];
    let response = exchange_code(&sandbox, &with_secret).await;
    assert_refused(&response, 401, "invalid_client");
    let response = exchange_code(&sandbox, &[("client_id", "other")]).await;
    assert_refused(&response, 401, "invalid_client");
    assert_eq!(
        exchange_code(&sandbox, &[("client_id", id)]).await.status,
        200
    );
}
