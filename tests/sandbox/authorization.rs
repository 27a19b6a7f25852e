//! The authorization endpoint: who is sent back, and who must not be.

use http::{Request, StatusCode};
use http_body_util::Full;
use tower_oauth2_client::sandbox::{App, Consent, Endpoint, Fault, Sandbox};

use crate::support::{
    authorization_url, code, encoded, form, parameter, redeem, refresh, refused, send,
};

#[tokio::test(start_paused = true)]
async fn nobody_is_sent_to_an_address_that_is_not_registered() {
    let sandbox = Sandbox::builder().build();
    let good = ("redirect_uri", "http://127.0.0.1:8000/callback");
    for fields in [
        vec![],
        vec![("client_id", "nobody"), good],
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
        let reply = send(&sandbox, Request::get(&uri).body(Full::default()).unwrap()).await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{uri}");
        assert_eq!(reply.header("location"), None);
        assert_eq!(
            reply.header("content-type"),
            Some("text/html; charset=utf-8")
        );
        let error = sandbox.consent(&uri).await.unwrap_err();
        assert_eq!(error.status(), Some(StatusCode::BAD_REQUEST));
    }
}

#[tokio::test(start_paused = true)]
async fn the_app_is_told_of_everything_else() {
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
async fn of_two_states_none_comes_back() {
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
async fn a_redirect_uri_keeps_its_query() {
    let uri = "http://127.0.0.1:8000/callback?tenant=7";
    let sandbox = Sandbox::builder().redirect_uri(uri).build();
    let url = authorization_url(&sandbox, &[]);
    let callback = sandbox.consent(&url).await.unwrap();
    assert!(callback.starts_with(&format!("{uri}&code=")), "{callback}");
}

#[tokio::test(start_paused = true)]
async fn an_app_with_two_redirect_uris_has_to_say_which() {
    let uris = ["http://127.0.0.1:1/", "http://127.0.0.1:2/"];
    let app = App::new("two", "secret").redirect_uris(uris);
    let sandbox = Sandbox::builder().app(app).build();
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
        sandbox.change(|behavior| behavior.consent = consent);
        let callback = sandbox.deny(&url).await.unwrap();
        assert_eq!(
            parameter(&callback, "error").as_deref(),
            Some("access_denied")
        );
        assert_eq!(parameter(&callback, "state").as_deref(), Some("s"));
    }
    sandbox.change(|behavior| behavior.consent = Consent::Deny);
    let path = url.strip_prefix("http://localhost").unwrap();
    let reply = send(&sandbox, Request::get(path).body(Full::default()).unwrap()).await;
    assert_eq!(reply.status, StatusCode::FOUND);
    let callback = reply.header("location").unwrap();
    assert_eq!(
        parameter(callback, "error").as_deref(),
        Some("access_denied")
    );
    assert_eq!(sandbox.counters().denials, 4);
}

#[tokio::test(start_paused = true)]
async fn granted_scopes_may_be_fewer_than_asked_for() {
    let sandbox = Sandbox::builder()
        .scope_limit(Some(&["member.detail:read"]))
        .build();
    let code = code(&sandbox, &[("scope", "member.basic:read payroll:read")]).await;
    assert_eq!(
        redeem(&sandbox, &code).await.text("scope"),
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
async fn a_refresh_may_grant_fewer_scopes_than_the_consent_did() {
    let sandbox = Sandbox::builder().build();
    let code = code(&sandbox, &[("scope", "payroll:read paystub:read")]).await;
    let token = redeem(&sandbox, &code).await.text("refresh_token");
    let limit = |scope: &str| {
        let limit = Some(vec![scope.to_owned()]);
        sandbox.change(|behavior| behavior.scope_limit = limit);
    };
    limit("time_off:read");
    let reply = refresh(&sandbox, &token).await;
    refused(&reply, 400, "invalid_scope");
    limit("paystub:read");
    let reply = refresh(&sandbox, &token).await;
    assert_eq!(reply.text("scope"), "paystub:read");
}

#[tokio::test(start_paused = true)]
async fn an_app_that_asks_for_no_scope_gets_all_it_has_registered() {
    let sandbox = Sandbox::builder()
        .scopes(["payroll:read", "paystub:read"])
        .build();
    let code = code(&sandbox, &[]).await;
    assert_eq!(
        redeem(&sandbox, &code).await.text("scope"),
        "payroll:read paystub:read"
    );
}

/// The name of the consent in a page's form.
fn consent_in(page: &[u8]) -> String {
    let page = std::str::from_utf8(page).unwrap();
    let (_, rest) = page
        .split_once("name=\"consent\" value=\"")
        .expect("a form");
    rest.split_once('"').unwrap().0.to_owned()
}

async fn open(sandbox: &Sandbox, more: &[(&str, &str)]) -> String {
    let url = authorization_url(sandbox, more);
    let path = url.strip_prefix("http://localhost").unwrap();
    let reply = send(sandbox, Request::get(path).body(Full::default()).unwrap()).await;
    assert_eq!(reply.status, StatusCode::OK);
    consent_in(&reply.body)
}

#[tokio::test(start_paused = true)]
async fn sensitive_scopes_are_granted_only_if_ticked() {
    let sandbox = Sandbox::builder().consent(Consent::Page).build();
    let scope = "member.basic:read member.dob:read";
    for (tick, granted) in [
        (None, "member.basic:read"),
        (Some(("sensitive", "yes")), scope),
    ] {
        let consent = open(&sandbox, &[("scope", scope)]).await;
        let mut fields = vec![
            ("consent", consent.as_str()),
            ("email", "a"),
            ("password", "b"),
        ];
        let page = send(&sandbox, form("/oauth/login", &fields)).await;
        assert!(String::from_utf8_lossy(&page.body).contains("type=\"checkbox\""));
        fields.push(("decision", "allow"));
        fields.extend(tick);
        let reply = send(&sandbox, form("/oauth/consent", &fields)).await;
        assert_eq!(reply.status, StatusCode::SEE_OTHER);
        let code = parameter(reply.header("location").unwrap(), "code").unwrap();
        assert_eq!(redeem(&sandbox, &code).await.text("scope"), granted);
    }
}

#[tokio::test(start_paused = true)]
async fn a_decision_takes_a_log_in_and_counts_once() {
    let sandbox = Sandbox::builder().consent(Consent::Page).build();
    let consent = open(&sandbox, &[]).await;
    let decide = [("consent", consent.as_str()), ("decision", "allow")];
    let log_in = [
        ("consent", consent.as_str()),
        ("email", "a"),
        ("password", "b"),
    ];
    let statuses = [
        send(&sandbox, form("/oauth/consent", &decide)).await.status,
        send(&sandbox, form("/oauth/login", &log_in[..2]))
            .await
            .status,
        send(&sandbox, form("/oauth/consent", &decide)).await.status,
        send(&sandbox, form("/oauth/login", &log_in)).await.status,
        send(&sandbox, form("/oauth/consent", &decide[..1]))
            .await
            .status,
        send(&sandbox, form("/oauth/consent", &decide)).await.status,
        send(&sandbox, form("/oauth/consent", &decide)).await.status,
    ];
    assert_eq!(
        statuses.map(|status| status.as_u16()),
        [400, 400, 400, 200, 400, 303, 400]
    );
}

#[tokio::test(start_paused = true)]
async fn two_people_may_be_asked_at_once() {
    let sandbox = Sandbox::builder().consent(Consent::Page).build();
    let first = open(&sandbox, &[]).await;
    sandbox.advance(std::time::Duration::from_secs(3599));
    let second = open(&sandbox, &[]).await;
    for consent in [first, second] {
        let log_in = [
            ("consent", consent.as_str()),
            ("email", "a"),
            ("password", "b"),
        ];
        let reply = send(&sandbox, form("/oauth/login", &log_in)).await;
        assert_eq!(reply.status, StatusCode::OK);
    }
}

#[tokio::test(start_paused = true)]
async fn a_page_left_open_for_an_hour_has_to_be_asked_for_again() {
    let sandbox = Sandbox::builder().consent(Consent::Page).build();
    let consent = open(&sandbox, &[]).await;
    sandbox.advance(std::time::Duration::from_secs(3600));
    let log_in = [
        ("consent", consent.as_str()),
        ("email", "a"),
        ("password", "b"),
    ];
    let reply = send(&sandbox, form("/oauth/login", &log_in)).await;
    assert_eq!(reply.status, StatusCode::BAD_REQUEST);
}

#[tokio::test(start_paused = true)]
async fn pages_run_no_scripts_and_hostile_names_stay_text() {
    let sandbox = Sandbox::builder()
        .client_name("<script>alert(1)</script>")
        .scopes(["<script>"])
        .consent(Consent::Page)
        .build();
    let consent = open(&sandbox, &[("state", "\"><script>"), ("scope", "<script>")]).await;
    let log_in = [
        ("consent", consent.as_str()),
        ("email", "<script>"),
        ("password", "b"),
    ];
    for fields in [&log_in[..2], &log_in[..]] {
        let reply = send(&sandbox, form("/oauth/login", fields)).await;
        let page = String::from_utf8_lossy(&reply.body).into_owned();
        assert!(
            !page.contains("<script") && page.contains("&lt;script&gt;"),
            "{page}"
        );
        let policy = reply.header("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none';"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_person_is_told_of_a_url_that_is_none_and_of_an_answer_that_was_lost() {
    let sandbox = Sandbox::builder().build();
    let error = sandbox.consent("not a url").await.unwrap_err();
    assert_eq!(error.status(), None);
    sandbox.inject(Endpoint::Authorize, Fault::drop_connection());
    let error = sandbox
        .consent(&authorization_url(&sandbox, &[]))
        .await
        .unwrap_err();
    assert!(std::error::Error::source(&error).is_some());
}
