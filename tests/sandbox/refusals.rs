//! Invalid requests, most of them to the token endpoint, and the errors that they get.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{Method, Request, StatusCode};
use http_body_util::Full;
use tower::ServiceExt;
use tower_oauth2_client::sandbox::{ClientAuthentication, Endpoint, Fault, Sandbox};

use crate::support::{
    assert_invalid_grant, assert_refused, code, connect, encoded, exchange_code, post_form,
    refresh, sandbox_with, send, token_request,
};

const FORM: &str = "application/x-www-form-urlencoded";

#[tokio::test(start_paused = true)]
async fn each_invalid_token_request_gets_its_error() {
    let sandbox = Sandbox::builder().build();
    let client = "client_id=sandbox-client&client_secret=sandbox-client-secret";
    for line in [
        "401 invalid_client          ",
        "401 invalid_client          grant_type=refresh_token&refresh_token=x",
        "401 invalid_client          client_id=sandbox-client",
        "401 invalid_client          client_id=sandbox-client&client_secret=",
        "401 invalid_client          client_secret=sandbox-client-secret",
        "401 invalid_client          client_id=sandbox-client&client_secret=wrong",
        "401 invalid_client          client_id=unknown&client_secret=sandbox-client-secret",
        "400 invalid_request         CLIENT",
        "400 invalid_request         CLIENT&grant_type=",
        "400 unsupported_grant_type  CLIENT&grant_type=password",
        "400 unsupported_grant_type  CLIENT&grant_type=client_credentials",
        "400 invalid_request         CLIENT&grant_type=refresh_token",
        "400 invalid_request         CLIENT&grant_type=refresh_token&refresh_token=",
        "400 invalid_grant           CLIENT&grant_type=refresh_token&refresh_token=x",
        "400 invalid_request         CLIENT&grant_type=authorization_code",
        "400 invalid_request         CLIENT&grant_type=authorization_code&code=",
        "400 invalid_grant           CLIENT&grant_type=authorization_code&code=x",
        "400 invalid_request         CLIENT&CLIENT&grant_type=refresh_token&refresh_token=x",
        "400 invalid_request         CLIENT&grant_type=refresh_token&refresh_token=x&refresh_token=x",
        "400 invalid_request         CLIENT&grant_type=refresh_token&grant_type=",
    ] {
        let mut words = line.split_whitespace();
        let status = words.next().unwrap().parse().unwrap();
        let error = words.next().unwrap();
        let body = words.next().unwrap_or_default().replace("CLIENT", client);
        let response = post_form(&sandbox, "/oauth/token", &body).await;
        assert_refused(&response, status, error);
    }
    let counters = sandbox.counters();
    assert_eq!(
        (counters.tokens_issued, counters.token_requests_refused),
        (0, 20)
    );
}

#[tokio::test(start_paused = true)]
async fn the_content_type_of_a_form_is_required() {
    let sandbox = Sandbox::builder().build();
    let body = "client_id=sandbox-client&client_secret=sandbox-client-secret&token=x";
    for path in ["/oauth/token", "/v1/oauth/revoke"] {
        for content_type in [None, Some("application/json"), Some("text/plain"), Some("")] {
            let mut request = Request::post(path);
            if let Some(content_type) = content_type {
                request = request.header(CONTENT_TYPE, content_type);
            }
            let response = send(&sandbox, request.body(body.into()).unwrap()).await;
            assert_refused(&response, 400, "invalid_request");
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
        let response = post_form(&sandbox, path, &large).await;
        assert_eq!(response.status, StatusCode::PAYLOAD_TOO_LARGE, "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_405_lists_the_allowed_methods() {
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
            let response = send(&sandbox, request.body(Full::default()).unwrap()).await;
            assert_eq!(
                response.status,
                StatusCode::METHOD_NOT_ALLOWED,
                "{method} {path}"
            );
            assert_eq!(response.header("allow"), Some(allowed));
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
        let response = send(&sandbox, Request::get(path).body(Full::default()).unwrap()).await;
        assert_eq!(response.status, StatusCode::NOT_FOUND, "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_refresh_can_narrow_the_scope_but_not_widen_it() {
    let sandbox = Sandbox::builder().build();
    let code = code(&sandbox, &[("scope", "member.detail:read payroll:read")]).await;
    let token = exchange_code(&sandbox, &code).await.text("refresh_token");
    let fields = |scope| {
        [
            ("grant_type", "refresh_token"),
            ("refresh_token", &token[..]),
            ("scope", scope),
        ]
    };
    for wider in ["paystub:read", "payroll:read paystub:read", "nonsense"] {
        assert_refused(
            &token_request(&sandbox, &fields(wider)).await,
            400,
            "invalid_scope",
        );
    }
    let response = token_request(&sandbox, &fields("member.basic:read")).await;
    assert_eq!(response.text("scope"), "member.basic:read");
    // The scope of the grant is unchanged.
    let response = refresh(&sandbox, &response.text("refresh_token")).await;
    assert_eq!(response.text("scope"), "member.detail:read payroll:read");
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
async fn basic_authentication_is_refused_and_not_offered() {
    let sandbox = Sandbox::builder().build();
    let token = connect(&sandbox).await.refresh;
    let body = encoded(&[("grant_type", "refresh_token"), ("refresh_token", &token)]);
    let request = basic(body, "sandbox-client:sandbox-client-secret");
    let response = send(&sandbox, request).await;
    assert_refused(&response, 401, "invalid_client");
    assert_eq!(response.header("www-authenticate"), None);
}

#[tokio::test(start_paused = true)]
async fn basic_authentication_can_be_accepted() {
    let sandbox = Sandbox::builder()
        .client_secret("a:b c%")
        .behavior(|behavior| behavior.client_authentication = ClientAuthentication::BodyOrBasic)
        .build();
    let token = connect(&sandbox).await.refresh;
    let body = || encoded(&[("grant_type", "refresh_token"), ("refresh_token", &token)]);
    for wrong in ["sandbox-client:x", "sandbox-client", ":", ""] {
        let response = send(&sandbox, basic(body(), wrong)).await;
        assert_refused(&response, 401, "invalid_client");
    }
    let twice = format!("{}&client_id=sandbox-client&client_secret=x", body());
    let right = "sandbox-client:a%3Ab+c%25";
    assert_refused(
        &send(&sandbox, basic(twice, right)).await,
        400,
        "invalid_request",
    );
    let other = format!("{}&client_id=other", body());
    assert_refused(
        &send(&sandbox, basic(other, right)).await,
        401,
        "invalid_client",
    );
    let same = format!("{}&client_id=sandbox-client", body());
    let response = send(&sandbox, basic(same, right)).await;
    assert_eq!(response.status, StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn an_incomplete_form_is_refused() {
    let sandbox = Sandbox::builder().build();
    // The body of a truncated response serves as an incomplete request body.
    sandbox.inject(Endpoint::Company, Fault::truncate());
    let broken = Request::get("/v1/company")
        .body(Full::<Bytes>::default())
        .unwrap();
    let broken = sandbox.service().oneshot(broken).await.unwrap().into_body();
    let request = Request::post("/oauth/token")
        .header(CONTENT_TYPE, FORM)
        .body(broken)
        .unwrap();
    let response = sandbox.service().oneshot(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
}

#[tokio::test(start_paused = true)]
async fn basic_credentials_with_separators_are_not_truncated() {
    let sandbox = Sandbox::builder()
        .client_secret("a&b=c d+%")
        .behavior(|behavior| behavior.client_authentication = ClientAuthentication::BodyOrBasic)
        .build();
    let body = || encoded(&[("grant_type", "refresh_token"), ("refresh_token", "x")]);
    for wrong in [
        "sandbox-client:a",
        "sandbox-client:a%26b%3Dc+d%2B%25&more=1",
        "sandbox-client:a%26b%3Dc+d%2B%25=1",
        "sandbox-client&x:a%26b%3Dc+d%2B%25",
        "sandbox-client=x:a%26b%3Dc+d%2B%25",
        "sandbox-client:&a%26b%3Dc+d%2B%25",
    ] {
        let response = send(&sandbox, basic(body(), wrong)).await;
        assert_refused(&response, 401, "invalid_client");
        let challenge = Some(r#"Basic realm="justworks""#);
        assert_eq!(response.header("www-authenticate"), challenge, "{wrong}");
    }
    for right in [
        "sandbox-client:a%26b%3Dc+d%2B%25",
        "sandbox-client:a&b=c+d%2B%25",
    ] {
        let response = send(&sandbox, basic(body(), right)).await;
        assert_invalid_grant(&response);
    }
}

#[tokio::test(start_paused = true)]
async fn a_401_offers_basic_if_it_is_accepted() {
    let sandbox =
        sandbox_with(|behavior| behavior.client_authentication = ClientAuthentication::BodyOrBasic);
    let response = post_form(&sandbox, "/oauth/token", "client_id=sandbox-client").await;
    assert_refused(&response, 401, "invalid_client");
    let challenge = Some(r#"Basic realm="justworks""#);
    assert_eq!(response.header("www-authenticate"), challenge);
}

#[tokio::test(start_paused = true)]
async fn two_authorization_headers_are_refused() {
    for accepted in [
        ClientAuthentication::Body,
        ClientAuthentication::BodyOrBasic,
    ] {
        let sandbox = sandbox_with(|behavior| behavior.client_authentication = accepted);
        let body = encoded(&[("grant_type", "refresh_token"), ("refresh_token", "x")]);
        let mut request = basic(body, "sandbox-client:sandbox-client-secret");
        let again = request.headers()[AUTHORIZATION].clone();
        request.headers_mut().append(AUTHORIZATION, again);
        assert_refused(&send(&sandbox, request).await, 400, "invalid_request");
    }
}
