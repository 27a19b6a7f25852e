//! `GET /start`, and the configuration errors of the router.

use axum::body::Body;
use http::{Method, Request, StatusCode};
use tower::ServiceExt;
use tower_oauth2_client::{
    ErrorKind, connect::ConnectRouter, oauth::OAuthClient, provider, sandbox::Sandbox,
    store::MemoryStore, tenants::Tenants,
};

use crate::{
    shared::ManualClock,
    support::{Browser, Partner, Replica, Setup, TestStore, keys, parameter, replica, sandbox},
};

#[tokio::test(start_paused = true)]
async fn start_redirects_with_a_cookie_that_no_other_host_can_set() {
    let replica = replica();
    let mut browser = Browser::of("acme");
    let response = browser.get(&replica, "/connect/start").await;
    assert_eq!(response.status, StatusCode::SEE_OTHER);
    let url = response.location();
    assert!(
        url.starts_with(&format!("{}/oauth/authorize?", replica.sandbox.url()))
            || url.contains("/oauth/authorize?")
    );
    let state = parameter(url, "state");
    let [cookie] = response.cookies()[..] else {
        panic!("{response:?}")
    };
    let (pair, attributes) = cookie.split_once("; ").unwrap();
    assert_eq!(
        attributes,
        "Max-Age=600; Path=/; Secure; HttpOnly; SameSite=Lax"
    );
    assert!(pair.starts_with("__Host-connect-"), "{pair}");
    assert!(!pair.contains(&state) && !pair.contains("acme"));
    assert!(cookie.len() < 1_024, "{}", cookie.len());
    // Nothing is kept in the store or in memory.
    assert_eq!(replica.tenants.resident_count(), 0);
    assert_eq!(
        (replica.store.saves(), replica.store.all_callback_leases()),
        (0, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn each_start_is_a_separate_flow() {
    let replica = replica();
    let mut browser = Browser::of("acme");
    let one = browser.start(&replica).await;
    let other = browser.start(&replica).await;
    assert_ne!(parameter(&one, "state"), parameter(&other, "state"));
    assert_eq!(browser.jar.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn pkce_is_used_if_the_provider_supports_it() {
    let clock = ManualClock::new();
    let sandbox = sandbox(&clock).build();
    let service = sandbox.service();
    let http = tower::service_fn(move |request: Request<Body>| service.clone().oneshot(request));
    let provider = provider::justworks().on_origin(&sandbox.url()).unwrap();
    let oauth = OAuthClient::builder(
        provider.to_builder().pkce(true).build().unwrap(),
        sandbox.client_id(),
    )
    .client_secret(sandbox.client_secret())
    .redirect_uri(sandbox.redirect_uri())
    .build(http)
    .unwrap();
    let mut replica = Replica::new(&sandbox, &clock, TestStore::default(), Setup::default());
    let connect = ConnectRouter::new(
        oauth,
        replica.tenants.clone(),
        keys(),
        replica.partner.clone(),
    );
    replica.connect = connect.unwrap();
    replica.app = axum::Router::new().nest("/connect", replica.connect.router());

    let mut browser = Browser::of("acme");
    let url = browser.start(&replica).await;
    assert_eq!(parameter(&url, "code_challenge_method"), "S256");
    // The sandbox checks the verifier, so the cookie has preserved it.
    browser.connect(&replica).await;
    assert_eq!(replica.code_exchanges(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_request_without_a_session_gets_the_programs_response() {
    let replica = replica();
    let mut browser = Browser::default();
    let response = browser.get(&replica, "/connect/start").await;
    assert_eq!(
        (response.status, &*response.text),
        (StatusCode::UNAUTHORIZED, "log in")
    );
    assert!(browser.jar.is_empty());
}

#[tokio::test(start_paused = true)]
async fn start_accepts_only_get() {
    let replica = replica();
    let mut browser = Browser::of("acme");
    for method in [Method::HEAD, Method::PUT, Method::OPTIONS] {
        let request = browser.request(method, "/connect/start");
        let response = browser.send(&replica, request).await;
        assert_eq!(response.status, StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(response.headers["allow"], "GET, POST");
        assert!(browser.jar.is_empty());
    }
}

fn build_router(redirect_uri: Option<&str>) -> Result<(), ErrorKind> {
    let sandbox = Sandbox::builder().build();
    let service = sandbox.service();
    let http = tower::service_fn(move |request: Request<Body>| service.clone().oneshot(request));
    let provider = provider::justworks().on_origin(&sandbox.url()).unwrap();
    let mut oauth = OAuthClient::builder(provider, "id").client_secret("secret");
    if let Some(redirect_uri) = redirect_uri {
        oauth = oauth.redirect_uri(redirect_uri);
    }
    let oauth = oauth.build(http).unwrap();
    let tenants = Tenants::builder(oauth.clone())
        .store(MemoryStore::new())
        .build()
        .unwrap();
    ConnectRouter::new(oauth, tenants, keys(), Partner::default())
        .map(drop)
        .map_err(|error| {
            assert!(error.to_string().starts_with("redirect URI: "), "{error}");
            error.kind()
        })
}

#[tokio::test(start_paused = true)]
async fn a_redirect_uri_that_misses_the_router_is_a_configuration_error() {
    for bad in [
        None,
        Some("https://partner.example.com/"),
        Some("https://partner.example.com"),
        Some("https://partner.example.com/oauth"),
        Some("https://partner.example.com/callback/"),
        Some("https://partner.example.com/oauth_callback"),
        Some("https://partner.example.com/?x=/callback"),
    ] {
        assert_eq!(build_router(bad), Err(ErrorKind::Configuration), "{bad:?}");
    }
    for good in [
        "https://partner.example.com/callback",
        "https://partner.example.com/a/b/callback?x=y",
        "http://127.0.0.1:3000/connect/callback",
    ] {
        assert_eq!(build_router(Some(good)), Ok(()), "{good}");
    }
}

/// Another site can open the page, but not press its button.
#[tokio::test(start_paused = true)]
async fn p23_start_from_another_site_needs_a_click() {
    let own = "https://partner.example.com";
    let evil = "https://evil.example";
    for (method, headers, starts) in [
        (Method::GET, &[("sec-fetch-site", "same-origin")][..], true),
        (Method::GET, &[("sec-fetch-site", "none")], true),
        (Method::GET, &[("sec-fetch-site", "cross-site")], false),
        (Method::GET, &[("sec-fetch-site", "same-site")], false),
        (
            Method::GET,
            &[("sec-fetch-site", "cross-site"), ("referer", own)],
            false,
        ),
        // Older browsers.
        (
            Method::GET,
            &[("referer", "https://partner.example.com/a?b")],
            true,
        ),
        (Method::GET, &[("referer", evil)], false),
        (Method::GET, &[], false),
        (Method::POST, &[("sec-fetch-site", "same-origin")], true),
        (Method::POST, &[("origin", own)], true),
        (Method::POST, &[("origin", evil)], false),
        (Method::POST, &[("origin", "null")], false),
        (
            Method::POST,
            &[("sec-fetch-site", "cross-site"), ("origin", own)],
            false,
        ),
        (Method::POST, &[], false),
    ] {
        let replica = replica();
        let mut browser = Browser::of("acme");
        let mut request = browser.request(method.clone(), "/connect/start?customer=%3Cb%3E");
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        let response = browser.send(&replica, request).await;
        assert_eq!(
            browser.jar.len(),
            usize::from(starts),
            "{method} {headers:?}"
        );
        if starts {
            assert_eq!(response.status, StatusCode::SEE_OTHER);
            continue;
        }
        assert_eq!(response.status, StatusCode::OK);
        assert!(response.text.contains("<form method=\"post\"><button "));
        assert!(!response.text.contains("customer"));
        let policy = response.headers["content-security-policy"]
            .to_str()
            .unwrap();
        assert!(policy.contains("frame-ancestors 'none'") && policy.contains("default-src 'none'"));
    }
}

/// A browser may load pages that the customer never opens.
#[tokio::test(start_paused = true)]
async fn p11_prefetch_neither_starts_nor_ends_a_flow() {
    for (name, value) in [
        ("sec-purpose", "prefetch"),
        ("sec-purpose", "prefetch;prerender"),
        ("sec-purpose", "prefetch; anonymous-client-ip"),
        ("purpose", "prefetch"),
        ("x-moz", "prefetch"),
        ("x-purpose", "preview"),
    ] {
        let replica = replica();
        let mut browser = Browser::of("acme");
        let mut pending = Vec::new();
        for _ in 0..4 {
            pending.push(browser.consent(&replica).await);
        }
        let jar = browser.jar.clone();
        for path in ["/connect/start", &pending[0]] {
            let mut request = browser.request(Method::GET, path);
            let site = "same-origin".parse().unwrap();
            request.headers_mut().insert("sec-fetch-site", site);
            request.headers_mut().insert(name, value.parse().unwrap());
            let response = browser.send(&replica, request).await;
            assert_eq!(response.status, StatusCode::SERVICE_UNAVAILABLE, "{value}");
            assert!(response.cookies().is_empty());
        }
        assert_eq!(browser.jar, jar);
        assert_eq!(replica.codes_sent(), 0);
        for callback in pending {
            assert_eq!(
                browser.get(&replica, &callback).await.text,
                "connected acme"
            );
        }
    }
}
