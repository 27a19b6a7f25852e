//! The status page and its actions.

use std::time::Duration;

use http::{Request, StatusCode};
use http_body_util::Full;
use tower_oauth2_client::sandbox::{Endpoint, Fault, Sandbox, TokenHash};

use crate::support::{assert_invalid_grant, company, connect, form, get, refresh, send};

async fn page(sandbox: &Sandbox) -> String {
    let response = get(sandbox, "/sandbox", "").await;
    assert_eq!(response.status, StatusCode::OK);
    String::from_utf8(response.body.to_vec()).unwrap()
}

async fn perform(sandbox: &Sandbox, fields: &[(&str, &str)]) -> StatusCode {
    send(sandbox, form("/sandbox/action", fields)).await.status
}

#[tokio::test(start_paused = true)]
async fn the_page_is_served_only_if_enabled() {
    let sandbox = Sandbox::builder().build();
    for path in ["/sandbox", "/sandbox/action"] {
        assert_eq!(get(&sandbox, path, "").await.status, StatusCode::NOT_FOUND);
    }
}

#[tokio::test(start_paused = true)]
async fn the_page_shows_tokens_by_their_hash() {
    let sandbox = Sandbox::builder().status_page(true).build();
    let tokens = connect(&sandbox).await;
    let page = page(&sandbox).await;
    for token in [&tokens.access, &tokens.refresh] {
        assert!(page.contains(&format!("{} live for", TokenHash::of(token))));
    }
}

#[tokio::test(start_paused = true)]
async fn each_action_has_its_effect() {
    let sandbox = Sandbox::builder().status_page(true).build();
    let tokens = connect(&sandbox).await;
    let inject = [
        ("action", "inject"),
        ("endpoint", "Company"),
        ("fault", "0"),
        ("times", "2"),
    ];
    assert_eq!(perform(&sandbox, &inject).await, StatusCode::SEE_OTHER);
    assert!(
        page(&sandbox)
            .await
            .contains("<td>status 401 before processing</td><td>2</td>")
    );
    assert_eq!(
        company(&sandbox, &tokens.access).await,
        StatusCode::UNAUTHORIZED
    );
    assert_eq!(
        perform(&sandbox, &[("action", "clear")]).await,
        StatusCode::SEE_OTHER
    );
    assert_eq!(company(&sandbox, &tokens.access).await, StatusCode::OK);

    let before = sandbox.now();
    assert_eq!(
        perform(&sandbox, &[("action", "advance"), ("hours", "2")]).await,
        StatusCode::SEE_OTHER
    );
    assert_eq!(
        sandbox.now().duration_since(before).unwrap().as_secs(),
        7200
    );
    for action in ["expire", "revoke"] {
        let tokens = connect(&sandbox).await;
        assert_eq!(
            perform(&sandbox, &[("action", action)]).await,
            StatusCode::SEE_OTHER
        );
        assert_eq!(
            company(&sandbox, &tokens.access).await,
            StatusCode::UNAUTHORIZED
        );
        assert_eq!(
            refresh(&sandbox, &tokens.refresh).await.status,
            StatusCode::OK
        );
    }
    assert_eq!(
        perform(&sandbox, &[("action", "revoke-grants")]).await,
        StatusCode::SEE_OTHER
    );
    assert_invalid_grant(&refresh(&sandbox, &tokens.refresh).await);
}

#[tokio::test(start_paused = true)]
async fn invalid_and_cross_site_actions_are_refused() {
    let sandbox = Sandbox::builder().status_page(true).build();
    for fields in [
        &[][..],
        &[("action", "x")],
        &[("action", "advance")],
        &[("action", "advance"), ("hours", "-1")],
        &[("action", "inject"), ("endpoint", "x"), ("fault", "0")],
        &[("action", "inject"), ("endpoint", "Token"), ("fault", "99")],
        &[
            ("action", "inject"),
            ("endpoint", "Token"),
            ("fault", "0"),
            ("times", "0"),
        ],
    ] {
        assert_eq!(
            perform(&sandbox, fields).await,
            StatusCode::BAD_REQUEST,
            "{fields:?}"
        );
    }
    let mut request = form("/sandbox/action", &[("action", "revoke-grants")]);
    request
        .headers_mut()
        .insert("sec-fetch-site", "cross-site".parse().unwrap());
    assert_eq!(send(&sandbox, request).await.status, StatusCode::FORBIDDEN);
    let request = Request::post("/sandbox").body(Full::default()).unwrap();
    assert_eq!(
        send(&sandbox, request).await.status,
        StatusCode::METHOD_NOT_ALLOWED
    );
}

#[tokio::test(start_paused = true)]
async fn the_page_shows_requests_in_flight() {
    let sandbox = Sandbox::builder().status_page(true).build();
    sandbox.inject(Endpoint::Company, Fault::delay(Duration::from_secs(60)));
    let request = company(&sandbox, "");
    let later = async {
        tokio::time::sleep(Duration::from_secs(30)).await;
        page(&sandbox).await
    };
    let (_, page) = tokio::join!(request, later);
    assert!(
        page.contains("<td>GET</td><td>/v1/company</td><td>30 s</td>"),
        "{page}"
    );
}

#[tokio::test(start_paused = true)]
async fn the_page_can_reload_itself() {
    let sandbox = Sandbox::builder().status_page(true).build();
    let refresh = "<meta http-equiv=\"refresh\"";
    assert!(!page(&sandbox).await.contains(refresh));
    let reloading = get(&sandbox, "/sandbox?follow", "").await;
    assert!(String::from_utf8_lossy(&reloading.body).contains(refresh));
}

#[tokio::test(start_paused = true)]
async fn queued_faults_are_bounded() {
    let sandbox = Sandbox::builder().status_page(true).build();
    let inject = |endpoint| [("action", "inject"), ("endpoint", endpoint), ("fault", "0")];
    for number in 0..100 {
        let status = perform(&sandbox, &inject("Token")).await;
        assert_eq!(status, StatusCode::SEE_OTHER, "{number}");
    }
    let surplus = perform(&sandbox, &inject("Token")).await;
    assert_eq!(surplus, StatusCode::BAD_REQUEST);
    // The limit is of one endpoint, and is lifted with the faults.
    let other = perform(&sandbox, &inject("Company")).await;
    assert_eq!(other, StatusCode::SEE_OTHER);
    assert_eq!(
        perform(&sandbox, &[("action", "clear")]).await,
        StatusCode::SEE_OTHER
    );
    let again = perform(&sandbox, &inject("Token")).await;
    assert_eq!(again, StatusCode::SEE_OTHER);
}
