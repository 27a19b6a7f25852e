//! The pages of an authorization request, and the effect of their forms.

use http::{Request, StatusCode};
use http_body_util::Full;
use tower_oauth2_client::sandbox::{Consent, Endpoint, Fault, Sandbox};

use crate::support::{authorization_url, exchange_code, form, get, parameter, sandbox_with, send};

/// The consent id in the form of a page.
fn consent_id(page: &[u8]) -> String {
    let page = std::str::from_utf8(page).unwrap();
    let (_, rest) = page
        .split_once("name=\"consent\" value=\"")
        .expect("a form");
    rest.split_once('"').unwrap().0.to_owned()
}

fn login_fields(consent: &str) -> [(&str, &str); 3] {
    [("consent", consent), ("email", "a"), ("password", "b")]
}

async fn open(sandbox: &Sandbox, more: &[(&str, &str)]) -> String {
    let url = authorization_url(sandbox, more);
    let path = url.strip_prefix("http://localhost").unwrap();
    let response = send(sandbox, Request::get(path).body(Full::default()).unwrap()).await;
    assert_eq!(response.status, StatusCode::OK);
    consent_id(&response.body)
}

#[tokio::test(start_paused = true)]
async fn sensitive_scopes_are_granted_only_if_ticked() {
    let sandbox = sandbox_with(|behavior| behavior.consent = Consent::Page);
    let scope = "member.basic:read member.dob:read";
    for (tick, granted) in [
        (None, "member.basic:read"),
        (Some(("sensitive", "yes")), scope),
    ] {
        let consent = open(&sandbox, &[("scope", scope)]).await;
        let mut fields = login_fields(&consent).to_vec();
        let page = send(&sandbox, form("/oauth/login", &fields)).await;
        assert!(String::from_utf8_lossy(&page.body).contains("type=\"checkbox\""));
        fields.push(("decision", "allow"));
        fields.extend(tick);
        let response = send(&sandbox, form("/oauth/consent", &fields)).await;
        assert_eq!(response.status, StatusCode::SEE_OTHER);
        let code = parameter(response.header("location").unwrap(), "code").unwrap();
        assert_eq!(exchange_code(&sandbox, &code).await.text("scope"), granted);
    }
}

#[tokio::test(start_paused = true)]
async fn a_decision_requires_a_login_and_counts_once() {
    let sandbox = sandbox_with(|behavior| behavior.consent = Consent::Page);
    let consent = open(&sandbox, &[]).await;
    let decide = [("consent", consent.as_str()), ("decision", "allow")];
    let login = login_fields(&consent);
    let statuses = [
        send(&sandbox, form("/oauth/consent", &decide)).await.status,
        send(&sandbox, form("/oauth/login", &login[..2]))
            .await
            .status,
        send(&sandbox, form("/oauth/consent", &decide)).await.status,
        send(&sandbox, form("/oauth/login", &login)).await.status,
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
async fn two_consents_can_be_pending_at_once() {
    let sandbox = sandbox_with(|behavior| behavior.consent = Consent::Page);
    let first = open(&sandbox, &[]).await;
    sandbox.advance(std::time::Duration::from_secs(3599));
    let second = open(&sandbox, &[]).await;
    for consent in [first, second] {
        let login = login_fields(&consent);
        let response = send(&sandbox, form("/oauth/login", &login)).await;
        assert_eq!(response.status, StatusCode::OK);
    }
}

#[tokio::test(start_paused = true)]
async fn a_page_expires_after_an_hour() {
    let sandbox = sandbox_with(|behavior| behavior.consent = Consent::Page);
    let consent = open(&sandbox, &[]).await;
    sandbox.advance(std::time::Duration::from_secs(3600));
    let login = login_fields(&consent);
    let response = send(&sandbox, form("/oauth/login", &login)).await;
    assert_eq!(response.status, StatusCode::BAD_REQUEST);
}

#[tokio::test(start_paused = true)]
async fn pages_run_no_scripts_and_hostile_names_stay_text() {
    let sandbox = Sandbox::builder()
        .client_name("<script>alert(1)</script>")
        .scopes(["<script>"])
        .behavior(|behavior| behavior.consent = Consent::Page)
        .build();
    let consent = open(&sandbox, &[("state", "\"><script>"), ("scope", "<script>")]).await;
    let login = [
        ("consent", consent.as_str()),
        ("email", "<script>"),
        ("password", "b"),
    ];
    for fields in [&login[..2], &login[..]] {
        let response = send(&sandbox, form("/oauth/login", fields)).await;
        let page = String::from_utf8_lossy(&response.body).into_owned();
        assert!(
            !page.contains("<script") && page.contains("&lt;script&gt;"),
            "{page}"
        );
        let policy = response.header("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none';"));
    }
}

#[tokio::test(start_paused = true)]
async fn an_invalid_url_and_a_lost_response_are_consent_errors() {
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

#[tokio::test(start_paused = true)]
async fn a_redirect_with_a_code_is_not_cached_and_sends_no_referrer() {
    let sandbox = Sandbox::builder().build();
    let response = get(&sandbox, &authorization_url(&sandbox, &[]), "").await;
    assert_eq!(response.status, StatusCode::FOUND);
    sandbox.change_behavior(|behavior| behavior.consent = Consent::Page);
    let consent = open(&sandbox, &[]).await;
    let login = login_fields(&consent);
    send(&sandbox, form("/oauth/login", &login)).await;
    let decision = [("consent", consent.as_str()), ("decision", "allow")];
    let decided = send(&sandbox, form("/oauth/consent", &decision)).await;
    assert_eq!(decided.status, StatusCode::SEE_OTHER);
    for response in [response, decided] {
        assert!(response.header("location").unwrap().contains("code="));
        assert_eq!(response.header("cache-control"), Some("no-store"));
        assert_eq!(response.header("referrer-policy"), Some("no-referrer"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_repeated_field_is_refused_without_a_decision() {
    let sandbox = sandbox_with(|behavior| behavior.consent = Consent::Page);
    let consent = open(&sandbox, &[]).await;
    let consent = consent.as_str();
    let login = [("consent", consent), ("email", "a"), ("password", "b")];
    let more = [&login[..], &[("email", "c")]].concat();
    let response = send(&sandbox, form("/oauth/login", &more)).await;
    assert_eq!(response.status, StatusCode::BAD_REQUEST);
    send(&sandbox, form("/oauth/login", &login)).await;
    let both = [
        ("consent", consent),
        ("decision", "deny"),
        ("decision", "allow"),
    ];
    let response = send(&sandbox, form("/oauth/consent", &both)).await;
    assert_eq!(response.status, StatusCode::BAD_REQUEST);
    assert_eq!(
        (sandbox.counters().consents, sandbox.counters().denials),
        (0, 0)
    );
    let response = send(&sandbox, form("/oauth/consent", &both[..2])).await;
    assert_eq!(response.status, StatusCode::SEE_OTHER);
}

#[tokio::test(start_paused = true)]
async fn unanswered_consents_are_bounded() {
    let sandbox = sandbox_with(|behavior| behavior.consent = Consent::Page);
    let mut ids = Vec::new();
    for number in 0..300 {
        let state = number.to_string();
        let url = authorization_url(&sandbox, &[("state", &state)]);
        let page = get(&sandbox, &url, "").await;
        ids.push(consent_id(&page.body));
    }
    // The oldest are dropped.
    for (number, is_kept) in [(0, false), (43, false), (44, true), (299, true)] {
        let fields = [
            ("consent", &*ids[number]),
            ("email", "a"),
            ("password", "b"),
        ];
        let response = send(&sandbox, form("/oauth/login", &fields)).await;
        assert_eq!(response.status == StatusCode::OK, is_kept, "{number}");
    }
    for (length, status) in [(7_000, StatusCode::OK), (9_000, StatusCode::URI_TOO_LONG)] {
        let url = authorization_url(&sandbox, &[("state", &"s".repeat(length))]);
        assert_eq!(get(&sandbox, &url, "").await.status, status);
    }
}
