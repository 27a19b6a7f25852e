//! The authorization endpoint: which requests are redirected, and where.

use http::{Request, StatusCode};
use http_body_util::Full;
use tower_oauth2_client::sandbox::{ClientRegistration, Consent, Sandbox};

use crate::support::{
    assert_refused, authorization_url, code, encoded, exchange_code, get, parameter, refresh,
    sandbox_with, send,
};

#[tokio::test(start_paused = true)]
async fn an_unregistered_redirect_uri_is_never_used() {
    let sandbox = Sandbox::builder().build();
    let good = ("redirect_uri", "http://127.0.0.1:8000/callback");
    for fields in [
        vec![],
        vec![("client_id", "unknown"), good],
        vec![("client_id", ""), good],
        vec![
            ("client_id", "sandbox-client"),
            ("redirect_uri", "https://evil.example/"),
        ],
        vec![
            ("client_id", "sandbox-client"),
            ("redirect_uri", "http://127.0.0.1:8000/callback/"),
        ],
        vec![
            ("client_id", "sandbox-client"),
            ("redirect_uri", "http://127.0.0.1:8000/callback?a"),
        ],
        vec![("client_id", "sandbox-client"), good, good],
        vec![
            ("client_id", "sandbox-client"),
            ("client_id", "sandbox-client"),
            good,
        ],
    ] {
        let uri = format!("/oauth/authorize?response_type=code&{}", encoded(&fields));
        let response = send(&sandbox, Request::get(&uri).body(Full::default()).unwrap()).await;
        assert_eq!(response.status, StatusCode::BAD_REQUEST, "{uri}");
        assert_eq!(response.header("location"), None);
        assert_eq!(
            response.header("content-type"),
            Some("text/html; charset=utf-8")
        );
        let error = sandbox.consent(&uri).await.unwrap_err();
        assert_eq!(error.status(), Some(StatusCode::BAD_REQUEST));
    }
}

#[tokio::test(start_paused = true)]
async fn other_errors_are_reported_to_the_client() {
    let sandbox = Sandbox::builder()
        .scopes(["payroll:read", "member.detail:read"])
        .build();
    let short = "a".repeat(42);
    let long = "a".repeat(43);
    for (fields, error) in [
        (vec![], "invalid_request"),
        (vec![("response_type", "")], "invalid_request"),
        (
            vec![("response_type", "token")],
            "unsupported_response_type",
        ),
        (
            vec![("response_type", "code"), ("scope", "paystub:read")],
            "invalid_scope",
        ),
        (
            vec![("response_type", "code"), ("scope", " ")],
            "invalid_scope",
        ),
        (
            vec![("response_type", "code"), ("scope", "payroll:read <b>")],
            "invalid_scope",
        ),
        (
            vec![("response_type", "code"), ("response_type", "code")],
            "invalid_request",
        ),
        (
            vec![("response_type", "code"), ("x", "1"), ("x", "1")],
            "invalid_request",
        ),
        (
            vec![("response_type", "code"), ("code_challenge_method", "S256")],
            "invalid_request",
        ),
        (
            vec![("response_type", "code"), ("code_challenge", &short)],
            "invalid_request",
        ),
        (
            vec![
                ("response_type", "code"),
                ("code_challenge", &long),
                ("code_challenge_method", "MD5"),
            ],
            "invalid_request",
        ),
    ] {
        let mut all = vec![("client_id", "sandbox-client"), ("state", "a state&")];
        all.extend(fields);
        let callback = sandbox
            .consent(&format!("/oauth/authorize?{}", encoded(&all)))
            .await
            .unwrap();
        assert!(
            callback.starts_with("http://127.0.0.1:8000/callback?error="),
            "{callback}"
        );
        assert_eq!(
            parameter(&callback, "error").as_deref(),
            Some(error),
            "{all:?}"
        );
        assert_eq!(parameter(&callback, "state").as_deref(), Some("a state&"));
        assert_eq!(parameter(&callback, "code"), None);
    }
}

#[tokio::test(start_paused = true)]
async fn a_repeated_state_is_not_returned() {
    let sandbox = Sandbox::builder().build();
    let url = authorization_url(&sandbox, &[("state", "a"), ("state", "b")]);
    let callback = sandbox.consent(&url).await.unwrap();
    assert_eq!(
        parameter(&callback, "error").as_deref(),
        Some("invalid_request")
    );
    assert_eq!(parameter(&callback, "state"), None);
}

#[tokio::test(start_paused = true)]
async fn every_redirect_has_the_issuer_if_it_is_set() {
    let sandbox = Sandbox::builder().build();
    let url = authorization_url(&sandbox, &[("state", "s")]);
    let wrong = authorization_url(&sandbox, &[("scope", "unknown")]);
    let callback = sandbox.consent(&url).await.unwrap();
    assert_eq!(parameter(&callback, "iss"), None);
    let issuer = "https://id.example.com/?a&b";
    for consent in [Consent::Allow, Consent::Page] {
        let sandbox = Sandbox::builder().behavior(|behavior| {
            behavior.issuer = Some(issuer.to_owned());
            behavior.consent = consent;
        });
        let sandbox = sandbox.build();
        for callback in [
            sandbox.consent(&url).await,
            sandbox.deny(&url).await,
            sandbox.consent(&wrong).await,
        ] {
            let callback = callback.unwrap();
            assert_eq!(parameter(&callback, "iss").as_deref(), Some(issuer));
            assert_eq!(callback.matches("iss=").count(), 1);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_query_of_a_redirect_uri_is_kept() {
    let uri = "http://127.0.0.1:8000/callback?tenant=7";
    let sandbox = Sandbox::builder().redirect_uri(uri).build();
    let url = authorization_url(&sandbox, &[]);
    let callback = sandbox.consent(&url).await.unwrap();
    assert!(callback.starts_with(&format!("{uri}&code=")), "{callback}");
}

#[tokio::test(start_paused = true)]
async fn a_client_with_two_redirect_uris_must_name_one() {
    let uris = ["http://127.0.0.1:1/", "http://127.0.0.1:2/"];
    let client = ClientRegistration::new("two", "secret").redirect_uris(uris);
    let sandbox = Sandbox::builder().client(client).build();
    let url = "/oauth/authorize?response_type=code&client_id=two";
    assert!(sandbox.consent(url).await.is_err());
    let named = format!("{url}&{}", encoded(&[("redirect_uri", uris[1])]));
    assert!(sandbox.consent(&named).await.unwrap().starts_with(uris[1]));
}

#[tokio::test(start_paused = true)]
async fn denial_is_access_denied_in_every_mode() {
    let sandbox = Sandbox::builder().build();
    let url = authorization_url(&sandbox, &[("state", "s")]);
    for consent in [Consent::Allow, Consent::Deny, Consent::Page] {
        sandbox.change_behavior(|behavior| behavior.consent = consent);
        let callback = sandbox.deny(&url).await.unwrap();
        assert_eq!(
            parameter(&callback, "error").as_deref(),
            Some("access_denied")
        );
        assert_eq!(parameter(&callback, "state").as_deref(), Some("s"));
    }
    sandbox.change_behavior(|behavior| behavior.consent = Consent::Deny);
    let path = url.strip_prefix("http://localhost").unwrap();
    let response = send(&sandbox, Request::get(path).body(Full::default()).unwrap()).await;
    assert_eq!(response.status, StatusCode::FOUND);
    let callback = response.header("location").unwrap();
    assert_eq!(
        parameter(callback, "error").as_deref(),
        Some("access_denied")
    );
    assert_eq!(sandbox.counters().denials, 4);
}

#[tokio::test(start_paused = true)]
async fn granted_scopes_can_be_fewer_than_requested() {
    let sandbox =
        sandbox_with(|behavior| behavior.scope_limit = Some(vec!["member.detail:read".to_owned()]));
    let code = code(&sandbox, &[("scope", "member.basic:read payroll:read")]).await;
    assert_eq!(
        exchange_code(&sandbox, &code).await.text("scope"),
        "member.basic:read"
    );

    let url = authorization_url(&sandbox, &[("scope", "payroll:read")]);
    let callback = sandbox.consent(&url).await.unwrap();
    assert_eq!(
        parameter(&callback, "error").as_deref(),
        Some("access_denied")
    );
}

#[tokio::test(start_paused = true)]
async fn a_refresh_can_grant_fewer_scopes_than_the_consent() {
    let sandbox = Sandbox::builder().build();
    let code = code(&sandbox, &[("scope", "payroll:read paystub:read")]).await;
    let token = exchange_code(&sandbox, &code).await.text("refresh_token");
    let limit = |scope: &str| {
        let limit = Some(vec![scope.to_owned()]);
        sandbox.change_behavior(|behavior| behavior.scope_limit = limit);
    };
    limit("time_off:read");
    let response = refresh(&sandbox, &token).await;
    assert_refused(&response, 400, "invalid_scope");
    limit("paystub:read");
    let response = refresh(&sandbox, &token).await;
    assert_eq!(response.text("scope"), "paystub:read");
}

#[tokio::test(start_paused = true)]
async fn a_request_without_scope_gets_all_registered_scopes() {
    let sandbox = Sandbox::builder()
        .scopes(["payroll:read", "paystub:read"])
        .build();
    let code = code(&sandbox, &[]).await;
    assert_eq!(
        exchange_code(&sandbox, &code).await.text("scope"),
        "payroll:read paystub:read"
    );
}

#[tokio::test(start_paused = true)]
async fn a_redirect_uri_with_a_fragment_is_never_used() {
    let redirect_uri = "http://127.0.0.1:8000/callback#part";
    let sandbox = Sandbox::builder().redirect_uri(redirect_uri).build();
    for query in [
        "response_type=code&client_id=sandbox-client",
        "response_type=code&client_id=sandbox-client&redirect_uri=http%3A%2F%2F127.0.0.1%3A8000%2Fcallback%23part",
    ] {
        let response = get(&sandbox, &format!("/oauth/authorize?{query}"), "").await;
        assert_eq!(response.status, StatusCode::BAD_REQUEST);
        assert_eq!(response.header("location"), None);
    }
}

#[tokio::test(start_paused = true)]
async fn form_post_sends_codes_and_errors_by_a_page() {
    let sandbox = Sandbox::builder()
        .redirect_uri("https://p.example/cb?a=b&c=d")
        .build();
    sandbox.change_behavior(|behavior| behavior.issuer = Some("https://id.example".to_owned()));
    let state = "\"><script>x</script>";
    let mode = ("response_mode", "form_post");
    for (more, outcome) in [
        (&[("state", state), mode][..], "name=\"code\" value=\""),
        (
            &[("state", state), mode, ("scope", "nonsense")],
            "name=\"error\" value=\"invalid_scope\"",
        ),
    ] {
        let url = authorization_url(&sandbox, more);
        let response = send(&sandbox, Request::get(&url).body(Full::default()).unwrap()).await;
        assert_eq!(response.status, StatusCode::OK);
        assert_eq!(response.header("location"), None);
        assert_eq!(response.header("cache-control"), Some("no-store"));
        let page = std::str::from_utf8(&response.body).unwrap();
        for part in [
            "<form method=\"post\" action=\"https://p.example/cb?a=b&amp;c=d\">",
            "name=\"state\" value=\"&quot;&gt;&lt;script&gt;x&lt;/script&gt;\"",
            "name=\"iss\" value=\"https://id.example\"",
            outcome,
        ] {
            assert!(page.contains(part), "{part} in {page}");
        }
    }
    // The simulated user, with and without pages.
    for consent in [Consent::Allow, Consent::Page] {
        sandbox.change_behavior(|behavior| behavior.consent = consent);
        let url = authorization_url(&sandbox, &[("state", state), mode]);
        let callback = sandbox.consent(&url).await.unwrap();
        assert!(callback.starts_with("https://p.example/cb?a=b&c=d&code="));
        assert_eq!(parameter(&callback, "state").as_deref(), Some(state));
        let denied = sandbox.deny(&url).await.unwrap();
        assert_eq!(
            parameter(&denied, "error").as_deref(),
            Some("access_denied")
        );
    }
}

#[tokio::test(start_paused = true)]
async fn an_unknown_response_mode_is_reported_by_the_query() {
    let sandbox = Sandbox::builder().build();
    for modes in [
        &[("response_mode", "fragment")][..],
        &[("response_mode", "FORM_POST")],
        &[("response_mode", "form_post"), ("response_mode", "query")],
    ] {
        let url = authorization_url(&sandbox, modes);
        let response = send(&sandbox, Request::get(&url).body(Full::default()).unwrap()).await;
        assert_eq!(response.status, StatusCode::FOUND, "{modes:?}");
        let error = parameter(response.header("location").unwrap(), "error");
        assert_eq!(error.as_deref(), Some("invalid_request"));
    }
    let url = authorization_url(&sandbox, &[("response_mode", "query")]);
    let response = send(&sandbox, Request::get(&url).body(Full::default()).unwrap()).await;
    assert!(response.header("location").unwrap().contains("code="));
}
