//! Forged and malformed requests.

use axum::body::Body;
use http::{HeaderValue, Method, Request, StatusCode, header::COOKIE};
use tower::ServiceExt;
use tower_oauth2_client::connect::ConnectFailureKind;

use crate::support::{Browser, parameter, replica};

#[tokio::test(start_paused = true)]
async fn missing_repeated_or_malformed_parameters_are_rejected() {
    let replica = replica();
    let mut browser = Browser::of("acme");
    let state = parameter(&browser.start(&replica).await, "state");
    let long = "x".repeat(20_000);
    for query in [
        String::new(),
        "?".into(),
        "?code=c1".into(),
        "?state=&code=c1".into(),
        format!("?code=c1&state={state}&state={state}"),
        format!("?code=c1&state={state}&state=other"),
        format!("?code=c1&State={state}"),
        format!("?code=c1&state={state}%00"),
        format!("?code=c1&state={state}%"),
        format!("?code=c1&state=%ff%fe{state}"),
        format!("?code=c1;state={state}"),
        format!("?code={long}&state={state}"),
        format!("?{}&code=c1&state={state}", "a&".repeat(10_000)),
    ] {
        let response = browser
            .get(&replica, &format!("/connect/callback{query}"))
            .await;
        assert_eq!(response.status, StatusCode::BAD_REQUEST, "{query}");
        assert_eq!(replica.failure(), Some(ConnectFailureKind::NotPending));
        // The pending flow is unchanged.
        assert_eq!(browser.jar.len(), 1, "{query}");
        assert!(!response.text.contains(&state));
    }
    for query in [
        format!("?state={state}"),
        format!("?state={state}&code="),
        format!("?state={state}&code=c1&code=c2"),
        format!("?state={state}&code=c1&error=access_denied&error=access_denied"),
    ] {
        let mut browser = browser.clone();
        let response = browser
            .get(&replica, &format!("/connect/callback{query}"))
            .await;
        assert_eq!(response.status, StatusCode::BAD_REQUEST, "{query}");
        assert_eq!(replica.failure(), Some(ConnectFailureKind::Provider));
        assert!(browser.jar.is_empty(), "{query}");
    }
    assert_eq!(replica.codes_sent(), 0);
    assert_eq!(replica.store.all_callback_leases(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_forged_code_is_refused() {
    let replica = replica();
    let mut browser = Browser::of("acme");
    let state = parameter(&browser.start(&replica).await, "state");
    let path = format!("/connect/callback?code=%00%ff%0d%0aX:y%26grant_type%3Dx&state={state}");
    let response = browser.get(&replica, &path).await;
    assert_eq!(response.status, StatusCode::BAD_GATEWAY);
    assert_eq!(replica.failure(), Some(ConnectFailureKind::CodeExchange));
    assert!(replica.stored("acme").await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_code_of_an_attacker_is_rejected_without_its_flow() {
    let replica = replica();
    // The attacker wants the victim to connect the account of the attacker.
    let mut attacker = Browser::of("evil");
    let injected = attacker.consent(&replica).await;
    let mut victim = Browser::of("acme");
    let url = victim.start(&replica).await;
    let response = victim.get(&replica, &injected).await;
    assert_eq!(response.status, StatusCode::BAD_REQUEST);
    assert_eq!(victim.jar.len(), 1);
    assert_eq!(replica.codes_sent(), 0);
    // The victim consents to a flow that the attacker has started.
    let url_of_attacker = attacker.start(&replica).await;
    let callback = replica.sandbox.consent(&url_of_attacker).await.unwrap();
    let response = victim
        .get(&replica, &crate::support::local(&callback))
        .await;
    assert_eq!(response.status, StatusCode::BAD_REQUEST);
    assert_eq!(replica.codes_sent(), 0);
    // Even if the cookies of the attacker get into the browser of the victim, the session is
    // checked.
    victim.jar.extend(attacker.jar.clone());
    let response = victim
        .get(&replica, &crate::support::local(&callback))
        .await;
    assert_eq!(response.status, StatusCode::FORBIDDEN);
    assert_eq!(replica.codes_sent(), 0);
    // The own flow of the victim still works.
    let callback = replica.sandbox.consent(&url).await.unwrap();
    let response = victim
        .get(&replica, &crate::support::local(&callback))
        .await;
    assert_eq!(response.text, "connected acme");
}

#[tokio::test(start_paused = true)]
async fn thousands_of_forged_cookies_are_ignored() {
    let replica = replica();
    let mut browser = Browser::of("acme");
    let callback = browser.consent(&replica).await;
    let (name, value) = browser.jar.first_key_value().unwrap();
    let prefix = name.rsplit_once('-').unwrap().0;
    let forged: Vec<_> = (0..5_000)
        .map(|number| format!("{prefix}-{number}={value}"))
        .collect();
    let forged = HeaderValue::from_str(&forged.join("; ")).unwrap();
    let mut request = browser.request(Method::GET, "/connect/start");
    request.headers_mut().insert(COOKIE, forged.clone());
    let site = HeaderValue::from_static("same-origin");
    request.headers_mut().insert("sec-fetch-site", site);
    let response = browser.clone().send(&replica, request).await;
    assert_eq!(response.status, StatusCode::SEE_OTHER);
    assert!(
        response.cookies().len() <= 17,
        "{}",
        response.cookies().len()
    );
    // The cookie of the flow is found among them.
    let mut request = browser.request(Method::GET, &callback);
    request.headers_mut().append(COOKIE, forged);
    assert_eq!(browser.send(&replica, request).await.text, "connected acme");
}

#[tokio::test(start_paused = true)]
async fn a_cookie_with_an_invalid_name_is_not_removed() {
    let replica = replica();
    let mut browser = Browser::of("acme");
    browser.start(&replica).await;
    let prefix = {
        let name = browser.jar.keys().next().unwrap();
        name.rsplit_once('-').unwrap().0.to_owned()
    };
    let mut request = browser.request(Method::GET, "/connect/start");
    let cookie = format!("{prefix}-a,b=1; {prefix}-<b>=1; {prefix}-\"x\"=2; {prefix}-a b=3");
    let cookie = HeaderValue::from_str(&cookie).unwrap();
    request.headers_mut().insert(COOKIE, cookie);
    let site = HeaderValue::from_static("same-origin");
    request.headers_mut().insert("sec-fetch-site", site);
    let response = browser.send(&replica, request).await;
    assert_eq!(response.cookies().len(), 1, "{response:?}");
}

#[tokio::test(start_paused = true)]
async fn other_paths_are_not_found() {
    let replica = replica();
    let browser = Browser::of("acme");
    for path in [
        "/connect",
        "/connect/",
        "/connect/callback/",
        "/connect//callback",
        "/connect/callback%2F",
        "/connect/%63allback",
        "/connect/Callback",
        "/connect/callback;x",
        "/connect/start/..",
        "/callback",
        "/connect/disconnect/x",
    ] {
        let request = browser.request(Method::GET, path);
        let response = replica.app.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::NOT_FOUND, "{path}");
    }
    // An absolute URL, as a proxy may send it. No part of it is used in a redirect.
    let request = Request::get("http://evil.example/connect/start?return_to=https://evil.example")
        .header("session", "acme")
        .header("host", "evil.example")
        .header("sec-fetch-site", "none")
        .body(Body::empty())
        .unwrap();
    let response = replica.app.clone().oneshot(request).await.unwrap();
    let location = response.headers()["location"].to_str().unwrap();
    assert!(!location.contains("evil"), "{location}");
}

#[tokio::test(start_paused = true)]
async fn a_tenant_name_with_markup_is_not_shown() {
    const NAME: &str = "<img src=x onerror=alert(1)>";
    let replica = replica();
    let mut browser = Browser::of(NAME);
    let state = parameter(&browser.start(&replica).await, "state");
    let path = format!("/connect/callback?error=server_error&state={state}");
    let response = browser.get(&replica, &path).await;
    assert!(!response.text.contains("img"), "{}", response.text);
    assert_eq!(response.headers["content-type"], "text/html; charset=utf-8");
    let policy = response.headers["content-security-policy"]
        .to_str()
        .unwrap();
    assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"));
    browser.connect(&replica).await;
}
