//! The first connection.

use std::{convert::Infallible, time::Duration};

use futures_util::future::join_all;
use http::{Request, StatusCode};
use http_body_util::Full;
use tokio::time::{Instant, sleep, timeout};
use tower::{Layer, ServiceBuilder, ServiceExt};
use tower_oauth2_client::{
    ErrorKind, OAuthErrorCode,
    bearer::ReplayLimit,
    mcp::{McpAuth, McpAuthBuilder, PreRegistered},
    oauth::OAuthClient,
    provider::{Provider, RequestKind},
};

use crate::support::{Consents, ENDPOINT, ISSUER, REDIRECT_URI, World, query, send, send_by};

#[tokio::test(start_paused = true)]
async fn p03_hundred_requests_cause_one_connection() {
    let world = World::new();
    let auth = world.auth();
    let mcp = auth.layer(world.clone());
    let requests = (0..100).map(|number| {
        let mcp = mcp.clone();
        async move {
            // Some arrive while the user is asked.
            sleep(Duration::from_millis(number * 150)).await;
            send(mcp, &format!("message {number}")).await
        }
    });
    for status in join_all(requests).await {
        assert_eq!(status.unwrap(), 200);
    }
    assert_eq!(world.asked(), 1);
    assert_eq!(world.count("/register"), 1);
    assert_eq!(world.count("/token"), 1);
    assert_eq!(world.count("oauth-authorization-server"), 1);
    assert_eq!(
        query(&world.state().asked[0], "scope").as_deref(),
        Some("read")
    );
}

#[tokio::test(start_paused = true)]
async fn p04_dropped_first_request_does_not_stop_the_connection() {
    let world = World::new();
    let auth = world.auth();
    let first = timeout(Duration::from_secs(1), send_by(&auth, &world)).await;
    assert!(first.is_err());
    sleep(Duration::from_secs(20)).await;
    assert_eq!(world.count("/token"), 1);
    assert_eq!(send_by(&auth, &world).await.unwrap(), 200);
    assert_eq!((world.asked(), world.probes()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn p04_panic_of_the_program_strands_no_request() {
    let world = World::new();
    let auth = world.auth();
    world.state().user = Consents::Panics;
    let requests = (0..10).map(|_| send_by(&auth, &world));
    for outcome in join_all(requests).await {
        assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Interrupted);
    }
    world.state().user = Consents::Allows;
    assert_eq!(send_by(&auth, &world).await.unwrap(), 200);
}

#[tokio::test(start_paused = true)]
async fn p04_consent_that_never_ends_holds_no_request_longer_than_the_timeout() {
    let world = World::new();
    let auth = world.builder().connect_timeout(Duration::from_secs(60));
    let auth = auth.build().unwrap();
    world.state().user = Consents::NeverReturns;
    let started = Instant::now();
    let error = send_by(&auth, &world).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("connect_timeout"), "{error}");
    assert!(started.elapsed() < Duration::from_secs(62));
}

#[tokio::test(start_paused = true)]
async fn p13_code_exchange_that_has_begun_is_not_cut_off_by_the_timeout() {
    let world = World::new();
    let auth = world.builder().connect_timeout(Duration::from_secs(30));
    let auth = auth.build().unwrap();
    world.state().token_latency = Duration::from_secs(50);
    let error = send_by(&auth, &world).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    // The next request waits for the same connection.
    assert_eq!(send_by(&auth, &world).await.unwrap(), 200);
    assert_eq!((world.asked(), world.count("/token")), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn p02_request_that_waits_for_the_user_holds_no_capacity() {
    let world = World::new();
    let auth = world.auth();
    let limited = ServiceBuilder::new()
        .concurrency_limit(1)
        .service(world.clone());
    let mcp = auth.layer(limited.clone());
    let request = |body: &'static str| Request::post(ENDPOINT).body(Full::from(body)).unwrap();
    let waiting = tokio::spawn(mcp.oneshot(request("one")));
    sleep(Duration::from_secs(5)).await;
    assert_eq!(world.asked(), 0, "the user is being asked");
    let other = timeout(Duration::from_secs(1), limited.oneshot(request("two"))).await;
    assert_eq!(other.unwrap().unwrap().status(), 401);
    assert_eq!(waiting.await.unwrap().unwrap().status(), 200);
}

#[tokio::test(start_paused = true)]
async fn denied_user_is_asked_again_after_a_pause_or_by_the_program() {
    let world = World::new();
    let auth = world.auth();
    world.state().user = Consents::Denies;
    for _ in 0..20 {
        let error = send_by(&auth, &world).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Callback);
        assert_eq!(error.oauth_code(), Some(OAuthErrorCode::AccessDenied));
    }
    assert_eq!(world.asked(), 1);
    assert!(auth.connect().await.is_err());
    assert_eq!(world.asked(), 2);
    world.state().user = Consents::Allows;
    sleep(Duration::from_secs(31)).await;
    assert_eq!(send_by(&auth, &world).await.unwrap(), 200);
    assert_eq!(world.asked(), 3);
    // The registration of the first attempt was used by all.
    assert_eq!(world.count("/register"), 1);
    auth.connect().await.unwrap();
    assert_eq!(world.asked(), 3);
}

#[tokio::test(start_paused = true)]
async fn p08_request_that_cannot_be_sent_again_gets_the_401_and_the_next_one_a_token() {
    let world = World::new();
    let auth = world.builder().replay_limit(10).build().unwrap();
    let mcp = auth.layer(world.clone());
    let long = "x".repeat(100);
    assert_eq!(send(mcp.clone(), &long).await.unwrap(), 401);
    assert_eq!(world.messages(), 1);
    sleep(Duration::from_secs(20)).await;
    assert_eq!(send(mcp.clone(), &long).await.unwrap(), 200);

    let world = World::new();
    let mcp = world.auth().layer(world.clone());
    let request = Request::post(ENDPOINT).extension(ReplayLimit::NEVER);
    let response = mcp.oneshot(request.body(Full::default()).unwrap()).await;
    assert_eq!(response.unwrap().status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test(start_paused = true)]
async fn p20_request_elsewhere_is_not_sent() {
    let world = World::new();
    let mcp = world.auth().layer(world.clone());
    for uri in [
        "https://mcp.example.com/other",
        "https://mcp.example.com/mcp/../other",
        "https://evil.example/mcp",
        "/mcp",
    ] {
        let request = Request::post(uri).body(Full::default()).unwrap();
        let error = mcp.clone().oneshot(request).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Request, "{uri}");
    }
    let request = Request::post(ENDPOINT).header("authorization", "Bearer mine");
    let error = mcp.oneshot(request.body(Full::default()).unwrap()).await;
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Request);
    assert!(world.state().requests.is_empty());
}

#[tokio::test(start_paused = true)]
async fn server_without_authorization_is_used_as_it_is() {
    let world = World::new();
    world
        .state()
        .documents
        .insert(ENDPOINT.into(), (202, Vec::new()));
    assert_eq!(send_by(&world.auth(), &world).await.unwrap(), 202);
    assert_eq!(world.state().requests.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn client_credentials_need_no_user() {
    let world = World::new();
    let client = PreRegistered::new(ISSUER, "robot").client_secret("seeded-secret");
    let auth = McpAuth::builder(ENDPOINT, world.clone())
        .pre_registered(client)
        .client_credentials()
        .build()
        .unwrap();
    assert_eq!(send_by(&auth, &world).await.unwrap(), 200);
    // More scopes are a new token.
    world.state().needs = "read write".into();
    assert_eq!(send_by(&auth, &world).await.unwrap(), 200);
    assert_eq!((world.asked(), world.count("/register")), (0, 0));
    assert_eq!(world.count("/token"), 2);
    // A token that ends is replaced.
    world.revoke_access_tokens();
    sleep(Duration::from_secs(60)).await;
    assert_eq!(send_by(&auth, &world).await.unwrap(), 200);
    assert_eq!(world.count("/token"), 3);
}

#[tokio::test(start_paused = true)]
async fn document_is_preferred_to_registration_and_offline_access_is_requested() {
    let world = World::new();
    {
        let mut state = world.state();
        state.metadata["client_id_metadata_document_supported"] = true.into();
        state.metadata["scopes_supported"] = serde_json::json!(["read", "offline_access"]);
    }
    let url = "https://app.example/client.json";
    let auth = world.builder().client_metadata_url(url).build().unwrap();
    // The token endpoint of this world accepts no public client.
    let error = send_by(&auth, &world).await.unwrap_err();
    assert_eq!(error.oauth_code(), Some(OAuthErrorCode::InvalidClient));
    let state = world.state();
    let asked = &state.asked[0];
    assert_eq!(query(asked, "client_id").as_deref(), Some(url));
    assert_eq!(
        query(asked, "scope").as_deref(),
        Some("read offline_access")
    );
    assert_eq!(query(asked, "prompt").as_deref(), Some("consent"));
    let request = state.requests.iter().find(|sent| sent.is_to("/token"));
    assert_eq!(request.unwrap().form("client_id").as_deref(), Some(url));
}

#[test]
fn wrong_settings_are_named() {
    let world = World::new();
    let builder = || McpAuth::builder(ENDPOINT, world.clone());
    let user = |_| async { Ok(String::new()) };
    let client = || PreRegistered::new(ISSUER, "a").client_secret("seeded");
    let managed = |builder: McpAuthBuilder, parameter: Option<&str>| {
        let provider = Provider::builder("https://login.example.com/token").build();
        let mut company = OAuthClient::builder(provider.unwrap(), "b").client_secret("seeded");
        if let Some(name) = parameter {
            company = company.request_parameter(RequestKind::TokenExchange, name, "x");
        }
        let id_tokens = || async { Ok::<_, Infallible>("seeded-id-token") };
        builder.enterprise_managed(company.build(world.clone()).unwrap(), id_tokens)
    };
    for (builder, setting) in [
        (builder(), "authorize: "),
        (
            McpAuth::builder("http://mcp.example.com/mcp", world.clone()),
            "endpoint: ",
        ),
        (builder().client_credentials(), "client credentials: "),
        (
            builder()
                .client_credentials()
                .pre_registered(client())
                .authorize(REDIRECT_URI, user),
            "client credentials: ",
        ),
        (
            managed(builder(), None),
            "enterprise-managed authorization: ",
        ),
        (
            managed(
                builder().pre_registered(client()).client_credentials(),
                None,
            ),
            "enterprise-managed authorization: ",
        ),
        (
            managed(world.builder().pre_registered(client()), None),
            "enterprise-managed authorization: ",
        ),
        (
            managed(builder().pre_registered(client()), Some("audience")),
            "enterprise-managed authorization: ",
        ),
        (
            managed(builder().pre_registered(client()), Some("resource")),
            "enterprise-managed authorization: ",
        ),
        (
            world
                .builder()
                .pre_registered(client())
                .pre_registered(client()),
            "pre-registered clients: ",
        ),
        (
            world.builder().client_metadata_url("https://app.example"),
            "client metadata URL: ",
        ),
        (
            world.builder().connect_timeout(Duration::ZERO),
            "connect timeout: ",
        ),
        (world.builder().tenant("x".repeat(200)), "tenant: "),
        (world.builder().tenant(""), "tenant: "),
    ] {
        assert!(!format!("{builder:?}").contains("seeded"));
        let error = builder.build().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        assert!(error.to_string().starts_with(setting), "{error}");
    }
}
