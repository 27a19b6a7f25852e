//! `GET /start`, and what is refused when the router is made.

use axum::body::Body;
use http::{Method, Request, StatusCode};
use tower::ServiceExt;
use tower_oauth2_client::{
    ErrorKind, connect::ConnectRouter, oauth::OAuthClient, provider, sandbox::Sandbox,
    store::MemoryStore, tenants::Tenants,
};

use crate::{
    shared::ManualClock,
    support::{Browser, Partner, Replica, Setting, Shelf, keys, parameter, replica, sandbox},
};

#[tokio::test(start_paused = true)]
async fn the_browser_is_sent_off_with_a_cookie_that_no_other_host_can_set() {
    let replica = replica();
    let mut browser = Browser::of("acme");
    let answer = browser.get(&replica, "/connect/start").await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER);
    let url = answer.location();
    assert!(
        url.starts_with(&format!("{}/oauth/authorize?", replica.sandbox.url()))
            || url.contains("/oauth/authorize?")
    );
    let state = parameter(url, "state");
    let [cookie] = answer.cookies()[..] else {
        panic!("{answer:?}")
    };
    let (pair, attributes) = cookie.split_once("; ").unwrap();
    assert_eq!(
        attributes,
        "Max-Age=600; Path=/; Secure; HttpOnly; SameSite=Lax"
    );
    assert!(pair.starts_with("__Host-connect-"), "{pair}");
    assert!(!pair.contains(&state) && !pair.contains("acme"));
    assert!(cookie.len() < 1_024, "{}", cookie.len());
    // Neither the store nor the memory knows of it.
    assert_eq!(replica.tenants.resident_count(), 0);
    assert_eq!((replica.store.saves(), replica.store.all_claims()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn each_start_is_a_flow_of_its_own() {
    let replica = replica();
    let mut browser = Browser::of("acme");
    let one = browser.start(&replica).await;
    let other = browser.start(&replica).await;
    assert_ne!(parameter(&one, "state"), parameter(&other, "state"));
    assert_eq!(browser.jar.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn pkce_is_used_where_the_provider_has_it() {
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
    let mut replica = Replica::new(&sandbox, &clock, Shelf::default(), Setting::default());
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
    // The sandbox holds the exchange to the challenge, so the verifier has come along.
    browser.connect(&replica).await;
    assert_eq!(replica.codes_exchanged(), 1);
}

#[tokio::test(start_paused = true)]
async fn who_has_no_session_gets_the_programs_answer() {
    let replica = replica();
    let mut browser = Browser::default();
    let answer = browser.get(&replica, "/connect/start").await;
    assert_eq!(
        (answer.status, &*answer.text),
        (StatusCode::UNAUTHORIZED, "log in")
    );
    assert!(browser.jar.is_empty());
}

#[tokio::test(start_paused = true)]
async fn start_takes_get_alone() {
    let replica = replica();
    let mut browser = Browser::of("acme");
    for method in [Method::HEAD, Method::POST, Method::PUT, Method::OPTIONS] {
        let request = browser.request(method, "/connect/start");
        let answer = browser.send(&replica, request).await;
        assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(answer.headers["allow"], "GET");
        assert!(browser.jar.is_empty());
    }
}

fn built(redirect_uri: Option<&str>) -> Result<(), ErrorKind> {
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
async fn the_redirect_uri_must_lead_to_the_router() {
    for bad in [
        None,
        Some("https://partner.example.com/"),
        Some("https://partner.example.com"),
        Some("https://partner.example.com/oauth"),
        Some("https://partner.example.com/callback/"),
        Some("https://partner.example.com/oauth_callback"),
        Some("https://partner.example.com/?x=/callback"),
    ] {
        assert_eq!(built(bad), Err(ErrorKind::Configuration), "{bad:?}");
    }
    for good in [
        "https://partner.example.com/callback",
        "https://partner.example.com/a/b/callback?x=y",
        "http://127.0.0.1:3000/connect/callback",
    ] {
        assert_eq!(built(Some(good)), Ok(()), "{good}");
    }
}
