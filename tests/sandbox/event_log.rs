//! Counters and the event log.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use tower::ServiceExt;
use tower_oauth2_client::sandbox::{Endpoint, EventKind, Fault, GrantType, Sandbox, TokenHash};

use crate::support::{
    code, company, connect, exchange_code, form, get, refresh, refresh_ok, send, token_request,
};

#[tokio::test(start_paused = true)]
async fn the_log_lists_events_in_order() {
    let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_323_045);
    let sandbox = Sandbox::builder().clock_starts_at(start).build();
    let code = code(&sandbox, &[("scope", "company.basic:read")]).await;
    let first = exchange_code(&sandbox, &code).await;
    let (access, token) = (first.text("access_token"), first.text("refresh_token"));
    sandbox.advance(Duration::from_secs(1));
    let second = refresh_ok(&sandbox, &token).await;
    company(&sandbox, &access).await;
    get(&sandbox, "/v1/members", &access).await;
    refresh(&sandbox, &token).await;
    company(&sandbox, &access).await;
    get(&sandbox, "/v1/company", "").await;
    token_request(&sandbox, &[]).await;

    let [code, access, token] = [&code, &access, &token].map(|text| TokenHash::of(text));
    let [new_access, new_token] = [&second.access, &second.refresh].map(|text| TokenHash::of(text));
    let events: Vec<_> = sandbox
        .events()
        .into_iter()
        .map(|event| event.kind)
        .collect();
    let expected = [
        EventKind::ConsentGranted {
            client_id: "sandbox-client".into(),
            scope: "company.basic:read".into(),
        },
        EventKind::TokensIssued {
            grant_type: GrantType::AuthorizationCode,
            presented: code,
            grant: 1,
            access_token: access,
            refresh_token: Some(token),
        },
        EventKind::TokensIssued {
            grant_type: GrantType::RefreshToken,
            presented: token,
            grant: 1,
            access_token: new_access,
            refresh_token: Some(new_token),
        },
        EventKind::Authorized {
            endpoint: Endpoint::Company,
            token: access,
        },
        EventKind::Forbidden {
            endpoint: Endpoint::Members,
            token: access,
        },
        EventKind::RefreshTokenReused {
            presented: token,
            grant: 1,
        },
        EventKind::GrantRevoked { grant: 1 },
        EventKind::TokenRequestRefused {
            presented: Some(token),
            error: "invalid_grant",
        },
        EventKind::Unauthorized {
            endpoint: Endpoint::Company,
            token: Some(access),
        },
        EventKind::Unauthorized {
            endpoint: Endpoint::Company,
            token: Some(TokenHash::of("")),
        },
        EventKind::TokenRequestRefused {
            presented: None,
            error: "invalid_request",
        },
    ];
    assert_eq!(events, expected);
    let times: Vec<_> = sandbox.events().iter().map(|event| event.at).collect();
    assert_eq!(
        (times[0], times[2]),
        (start, start + Duration::from_secs(1))
    );

    let counters = sandbox.counters();
    assert_eq!(counters.tokens_issued, 2);
    assert_eq!((counters.code_exchanges, counters.refreshes), (1, 1));
    assert_eq!(
        (
            counters.token_requests_refused,
            counters.refresh_tokens_reused
        ),
        (2, 1)
    );
    assert_eq!(
        (
            counters.authorized,
            counters.unauthorized,
            counters.forbidden
        ),
        (1, 2, 1)
    );
    assert_eq!((counters.consents, counters.grants_revoked), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn the_highest_number_of_requests_in_flight_is_counted() {
    let sandbox = Sandbox::builder().build();
    let tokens = connect(&sandbox).await;
    assert_eq!(sandbox.counters().max_in_flight, 1);
    sandbox.inject(
        Endpoint::Company,
        Fault::delay(Duration::from_secs(1)).times(3),
    );
    let access = tokens.access.as_str();
    let requests = tokio::join!(
        company(&sandbox, access),
        company(&sandbox, access),
        company(&sandbox, access),
    );
    assert!(requests.0.is_success() && requests.1.is_success() && requests.2.is_success());
    let counters = sandbox.counters();
    assert_eq!((counters.max_in_flight, counters.in_flight), (3, 0));
}

#[tokio::test(start_paused = true)]
async fn no_secret_appears_in_events_debug_output_or_pages() {
    let sandbox = Sandbox::builder().status_page(true).build();
    let code = code(&sandbox, &[]).await;
    let first = exchange_code(&sandbox, &code).await;
    let (access, token) = (first.text("access_token"), first.text("refresh_token"));
    company(&sandbox, &access).await;
    refresh_ok(&sandbox, &token).await;
    refresh(&sandbox, &token).await;
    let revoke = [
        ("client_id", sandbox.client_id()),
        ("client_secret", sandbox.client_secret()),
        ("token", &access),
    ];
    send(&sandbox, form("/v1/oauth/revoke", &revoke)).await;
    let status = get(&sandbox, "/sandbox", "").await;
    let request = Request::get("/sandbox")
        .body(Full::<Bytes>::default())
        .unwrap();
    let body = sandbox
        .service()
        .oneshot(request)
        .await
        .unwrap()
        .into_body();
    let outputs = [
        format!("{:?}", sandbox.events()),
        format!(
            "{sandbox:?} {:?} {:?}",
            sandbox.service(),
            sandbox.behavior()
        ),
        format!("{:?}", Sandbox::builder()),
        format!("{body:?}"),
        String::from_utf8(status.body.to_vec()).unwrap(),
    ];
    for text in outputs {
        for secret in [&code, &access, &token, sandbox.client_secret()] {
            assert!(!text.contains(secret), "{text}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_log_keeps_10_000_events() {
    let sandbox = Sandbox::builder().build();
    for _ in 0..10_001 {
        get(&sandbox, "/v1/company", "").await;
    }
    assert_eq!(sandbox.events().len(), 10_000);
    assert_eq!(sandbox.counters().unauthorized, 10_001);
}
