//! Wrong requests to the token endpoint, and what they are told.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{Method, Request, StatusCode};
use http_body_util::Full;
use tower::ServiceExt;
use tower_oauth2_client::sandbox::{ClientAuthentication, Endpoint, Fault, Sandbox};

use crate::support::{code, connect, encoded, exchange, post_form, redeem, refresh, refused, send};

const FORM: &str = "application/x-www-form-urlencoded";

#[tokio::test(start_paused = true)]
async fn missing_repeated_empty_and_wrong_fields_are_told_apart() {
    let sandbox = Sandbox::builder().build();
    let app = "client_id=sandbox-client&client_secret=sandbox-client-secret";
    for line in [
        "401 invalid_client          ",
        "401 invalid_client          grant_type=refresh_token&refresh_token=x",
        "401 invalid_client          client_id=sandbox-client",
        "401 invalid_client          client_id=sandbox-client&client_secret=",
        "401 invalid_client          client_secret=sandbox-client-secret",
        "401 invalid_client          client_id=sandbox-client&client_secret=wrong",
        "401 invalid_client          client_id=nobody&client_secret=sandbox-client-secret",
        "400 invalid_request         APP",
        "400 invalid_request         APP&grant_type=",
        "400 unsupported_grant_type  APP&grant_type=password",
        "400 unsupported_grant_type  APP&grant_type=client_credentials",
        "400 invalid_request         APP&grant_type=refresh_token",
        "400 invalid_request         APP&grant_type=refresh_token&refresh_token=",
        "400 invalid_grant           APP&grant_type=refresh_token&refresh_token=x",
        "400 invalid_request         APP&grant_type=authorization_code",
        "400 invalid_request         APP&grant_type=authorization_code&code=",
        "400 invalid_grant           APP&grant_type=authorization_code&code=x",
        "400 invalid_request         APP&APP&grant_type=refresh_token&refresh_token=x",
        "400 invalid_request         APP&grant_type=refresh_token&refresh_token=x&refresh_token=x",
        "400 invalid_request         APP&grant_type=refresh_token&grant_type=",
    ] {
        let mut words = line.split_whitespace();
        let status = words.next().unwrap().parse().unwrap();
        let error = words.next().unwrap();
        let body = words.next().unwrap_or_default().replace("APP", app);
        let reply = post_form(&sandbox, "/oauth/token", &body).await;
        refused(&reply, status, error);
    }
    let counters = sandbox.counters();
    assert_eq!(
        (counters.tokens_issued, counters.token_requests_refused),
        (0, 20)
    );
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
        let reply = post_form(&sandbox, path, &large).await;
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
async fn basic_authentication_is_refused_and_not_asked_for() {
    let sandbox = Sandbox::builder().build();
    let token = connect(&sandbox).await.refresh;
    let body = encoded(&[("grant_type", "refresh_token"), ("refresh_token", &token)]);
    let request = basic(body, "sandbox-client:sandbox-client-secret");
    let reply = send(&sandbox, request).await;
    refused(&reply, 401, "invalid_client");
    assert_eq!(reply.header("www-authenticate"), None);
}

#[tokio::test(start_paused = true)]
async fn basic_authentication_may_be_accepted() {
    let sandbox = Sandbox::builder()
        .client_secret("a:b c%")
        .behavior(|behavior| behavior.client_authentication = ClientAuthentication::BodyOrBasic)
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
    let other = format!("{}&client_id=other", body());
    refused(
        &send(&sandbox, basic(other, right)).await,
        401,
        "invalid_client",
    );
    let same = format!("{}&client_id=sandbox-client", body());
    let reply = send(&sandbox, basic(same, right)).await;
    assert_eq!(reply.status, StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn a_form_that_breaks_off_is_refused() {
    let sandbox = Sandbox::builder().build();
    // The body of a truncated answer serves as one that breaks off.
    sandbox.inject(Endpoint::Company, Fault::truncate());
    let broken = Request::get("/v1/company")
        .body(Full::<Bytes>::default())
        .unwrap();
    let broken = sandbox.service().oneshot(broken).await.unwrap().into_body();
    let request = Request::post("/oauth/token")
        .header(CONTENT_TYPE, FORM)
        .body(broken)
        .unwrap();
    let answer = sandbox.service().oneshot(request).await.unwrap();
    assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
}

#[tokio::test(start_paused = true)]
async fn no_half_of_basic_credentials_is_cut() {
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
        let reply = send(&sandbox, basic(body(), wrong)).await;
        refused(&reply, 401, "invalid_client");
        let challenge = Some(r#"Basic realm="justworks""#);
        assert_eq!(reply.header("www-authenticate"), challenge, "{wrong}");
    }
    for right in [
        "sandbox-client:a%26b%3Dc+d%2B%25",
        "sandbox-client:a&b=c+d%2B%25",
    ] {
        let reply = send(&sandbox, basic(body(), right)).await;
        refused(&reply, 400, "invalid_grant");
    }
}

#[tokio::test(start_paused = true)]
async fn a_401_names_basic_wherever_it_is_taken() {
    let sandbox = Sandbox::builder()
        .behavior(|behavior| behavior.client_authentication = ClientAuthentication::BodyOrBasic)
        .build();
    let reply = post_form(&sandbox, "/oauth/token", "client_id=sandbox-client").await;
    refused(&reply, 401, "invalid_client");
    let challenge = Some(r#"Basic realm="justworks""#);
    assert_eq!(reply.header("www-authenticate"), challenge);
}

#[tokio::test(start_paused = true)]
async fn two_authorization_headers_are_a_bad_request() {
    for accepted in [
        ClientAuthentication::Body,
        ClientAuthentication::BodyOrBasic,
    ] {
        let sandbox = Sandbox::builder()
            .behavior(|behavior| behavior.client_authentication = accepted)
            .build();
        let body = encoded(&[("grant_type", "refresh_token"), ("refresh_token", "x")]);
        let mut request = basic(body, "sandbox-client:sandbox-client-secret");
        let again = request.headers()[AUTHORIZATION].clone();
        request.headers_mut().append(AUTHORIZATION, again);
        refused(&send(&sandbox, request).await, 400, "invalid_request");
    }
}
