//! What no browser of ours would send.

use axum::body::Body;
use http::{HeaderValue, Method, Request, StatusCode, header::COOKIE};
use tower::ServiceExt;
use tower_oauth2_client::connect::ConnectFailureKind;

use crate::support::{Browser, parameter, replica};

#[tokio::test(start_paused = true)]
async fn parameters_that_are_missing_repeated_or_nonsense() {
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
        let answer = browser
            .get(&replica, &format!("/connect/callback{query}"))
            .await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{query}");
        assert_eq!(replica.failure(), Some(ConnectFailureKind::NotPending));
        // The flow is not this one's to end.
        assert_eq!(browser.jar.len(), 1, "{query}");
        assert!(!answer.text.contains(&state));
    }
    for query in [
        format!("?state={state}"),
        format!("?state={state}&code="),
        format!("?state={state}&code=c1&code=c2"),
        format!("?state={state}&code=c1&error=access_denied&error=access_denied"),
    ] {
        let mut browser = browser.clone();
        let answer = browser
            .get(&replica, &format!("/connect/callback{query}"))
            .await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{query}");
        assert_eq!(replica.failure(), Some(ConnectFailureKind::Provider));
        assert!(browser.jar.is_empty(), "{query}");
    }
    assert_eq!(replica.codes_sent(), 0);
    assert_eq!(replica.store.all_claims(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_code_that_is_made_up_buys_nothing() {
    let replica = replica();
    let mut browser = Browser::of("acme");
    let state = parameter(&browser.start(&replica).await, "state");
    let path = format!("/connect/callback?code=%00%ff%0d%0aX:y%26grant_type%3Dx&state={state}");
    let answer = browser.get(&replica, &path).await;
    assert_eq!(answer.status, StatusCode::BAD_GATEWAY);
    assert_eq!(replica.failure(), Some(ConnectFailureKind::CodeExchange));
    assert!(replica.stored("acme").await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_code_of_somebody_else_is_not_taken_without_their_flow() {
    let replica = replica();
    // The attacker's own code, which a victim is to connect with.
    let mut attacker = Browser::of("evil");
    let injected = attacker.consent(&replica).await;
    let mut victim = Browser::of("acme");
    let url = victim.start(&replica).await;
    let answer = victim.get(&replica, &injected).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert_eq!(victim.jar.len(), 1);
    assert_eq!(replica.codes_sent(), 0);
    // A victim who consents to what the attacker has begun.
    let url_of_attacker = attacker.start(&replica).await;
    let callback = replica.sandbox.consent(&url_of_attacker).await.unwrap();
    let answer = victim
        .get(&replica, &crate::support::local(&callback))
        .await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert_eq!(replica.codes_sent(), 0);
    // Even with the attacker's cookies tossed into the victim's browser, the session holds.
    victim.jar.extend(attacker.jar.clone());
    let answer = victim
        .get(&replica, &crate::support::local(&callback))
        .await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    assert_eq!(replica.codes_sent(), 0);
    // And the victim's own flow goes on.
    let callback = replica.sandbox.consent(&url).await.unwrap();
    let answer = victim
        .get(&replica, &crate::support::local(&callback))
        .await;
    assert_eq!(answer.text, "connected acme");
}

#[tokio::test(start_paused = true)]
async fn cookies_by_the_thousand() {
    let replica = replica();
    let mut browser = Browser::of("acme");
    let callback = browser.consent(&replica).await;
    let (name, value) = browser.jar.first_key_value().unwrap();
    let prefix = name.rsplit_once('-').unwrap().0;
    let nonsense: Vec<_> = (0..5_000)
        .map(|number| format!("{prefix}-{number}={value}"))
        .collect();
    let nonsense = HeaderValue::from_str(&nonsense.join("; ")).unwrap();
    let mut request = browser.request(Method::GET, "/connect/start");
    request.headers_mut().insert(COOKIE, nonsense.clone());
    let answer = browser.clone().send(&replica, request).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER);
    assert!(answer.cookies().len() <= 17, "{}", answer.cookies().len());
    // Between them, the right one counts.
    let mut request = browser.request(Method::GET, &callback);
    request.headers_mut().append(COOKIE, nonsense);
    assert_eq!(browser.send(&replica, request).await.text, "connected acme");
}

#[tokio::test(start_paused = true)]
async fn a_cookies_name_does_not_come_back_as_something_else() {
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
    let answer = browser.send(&replica, request).await;
    assert_eq!(answer.cookies().len(), 1, "{answer:?}");
}

#[tokio::test(start_paused = true)]
async fn no_other_path_is_ours() {
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
    // A whole URL, as a proxy may send it, and nothing in it is followed.
    let request = Request::get("http://evil.example/connect/start?return_to=https://evil.example")
        .header("session", "acme")
        .header("host", "evil.example")
        .body(Body::empty())
        .unwrap();
    let response = replica.app.clone().oneshot(request).await.unwrap();
    let location = response.headers()["location"].to_str().unwrap();
    assert!(!location.contains("evil"), "{location}");
}

#[tokio::test(start_paused = true)]
async fn a_tenants_name_is_not_markup() {
    const NAME: &str = "<img src=x onerror=alert(1)>";
    let replica = replica();
    let mut browser = Browser::of(NAME);
    let state = parameter(&browser.start(&replica).await, "state");
    let path = format!("/connect/callback?error=server_error&state={state}");
    let answer = browser.get(&replica, &path).await;
    assert!(!answer.text.contains("img"), "{}", answer.text);
    assert_eq!(answer.headers["content-type"], "text/html; charset=utf-8");
    let policy = answer.headers["content-security-policy"].to_str().unwrap();
    assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"));
    browser.connect(&replica).await;
}
