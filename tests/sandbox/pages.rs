//! The pages a person is shown, and what their forms decide.

use http::{Request, StatusCode};
use http_body_util::Full;
use tower_oauth2_client::sandbox::{Consent, Endpoint, Fault, Sandbox};

use crate::support::{authorization_url, form, get, parameter, redeem, send};

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
    let sandbox = Sandbox::builder()
        .behavior(|behavior| behavior.consent = Consent::Page)
        .build();
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
    let sandbox = Sandbox::builder()
        .behavior(|behavior| behavior.consent = Consent::Page)
        .build();
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
    let sandbox = Sandbox::builder()
        .behavior(|behavior| behavior.consent = Consent::Page)
        .build();
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
    let sandbox = Sandbox::builder()
        .behavior(|behavior| behavior.consent = Consent::Page)
        .build();
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
        .behavior(|behavior| behavior.consent = Consent::Page)
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

#[tokio::test(start_paused = true)]
async fn an_answer_with_a_code_is_neither_stored_nor_referred_to() {
    let sandbox = Sandbox::builder().build();
    let reply = get(&sandbox, &authorization_url(&sandbox, &[]), "").await;
    assert_eq!(reply.status, StatusCode::FOUND);
    sandbox.change_behavior(|behavior| behavior.consent = Consent::Page);
    let consent = open(&sandbox, &[]).await;
    let login = [
        ("consent", consent.as_str()),
        ("email", "a"),
        ("password", "b"),
    ];
    send(&sandbox, form("/oauth/login", &login)).await;
    let decision = [("consent", consent.as_str()), ("decision", "allow")];
    let decided = send(&sandbox, form("/oauth/consent", &decision)).await;
    assert_eq!(decided.status, StatusCode::SEE_OTHER);
    for reply in [reply, decided] {
        assert!(reply.header("location").unwrap().contains("code="));
        assert_eq!(reply.header("cache-control"), Some("no-store"));
        assert_eq!(reply.header("referrer-policy"), Some("no-referrer"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_repeated_field_of_a_page_is_refused_and_decides_nothing() {
    let sandbox = Sandbox::builder()
        .behavior(|behavior| behavior.consent = Consent::Page)
        .build();
    let consent = open(&sandbox, &[]).await;
    let consent = consent.as_str();
    let login = [("consent", consent), ("email", "a"), ("password", "b")];
    let more = [&login[..], &[("email", "c")]].concat();
    let reply = send(&sandbox, form("/oauth/login", &more)).await;
    assert_eq!(reply.status, StatusCode::BAD_REQUEST);
    send(&sandbox, form("/oauth/login", &login)).await;
    let both = [
        ("consent", consent),
        ("decision", "deny"),
        ("decision", "allow"),
    ];
    let reply = send(&sandbox, form("/oauth/consent", &both)).await;
    assert_eq!(reply.status, StatusCode::BAD_REQUEST);
    assert_eq!(
        (sandbox.counters().consents, sandbox.counters().denials),
        (0, 0)
    );
    let reply = send(&sandbox, form("/oauth/consent", &both[..2])).await;
    assert_eq!(reply.status, StatusCode::SEE_OTHER);
}
