//! More scopes after a 403.

use std::time::Duration;

use futures_util::future::join_all;
use http::StatusCode;
use tokio::time::sleep;
use tower_oauth2_client::{
    ErrorKind,
    mcp::{McpAuth, PreRegistered},
    store::{MemoryStore, TokenStore},
};

use crate::support::{Consents, ISSUER, REDIRECT_URI, World, query, send_by};

#[tokio::test(start_paused = true)]
async fn p03_requests_that_need_more_scopes_cause_one_step_up_with_the_union() {
    let world = World::new();
    let auth = world.auth();
    assert_eq!(send_by(&auth, &world).await.unwrap(), 200);
    world.state().needs = "write".into();
    let requests = (0..50).map(|_| send_by(&auth, &world));
    for status in join_all(requests).await {
        assert_eq!(status.unwrap(), 200);
    }
    assert_eq!(world.asked(), 2);
    let scope = query(&world.state().asked[1], "scope");
    assert_eq!(scope.as_deref(), Some("read write"));
    assert_eq!(world.count("/register"), 1);
}

#[tokio::test(start_paused = true)]
async fn first_request_may_connect_and_step_up() {
    let world = World::new();
    world.state().needs = "write".into();
    assert_eq!(send_by(&world.auth(), &world).await.unwrap(), 200);
    assert_eq!((world.asked(), world.messages()), (2, 3));
}

#[tokio::test(start_paused = true)]
async fn server_that_is_never_content_asks_a_bounded_number_of_times() {
    let world = World::new();
    let auth = world.auth();
    assert_eq!(send_by(&auth, &world).await.unwrap(), 200);
    world.state().is_insatiable = true;
    let before = world.messages();
    // Once for each request, which gets the second response.
    assert_eq!(send_by(&auth, &world).await.unwrap(), 403);
    assert_eq!((world.asked(), world.messages() - before), (2, 2));
    // And three times for all.
    for _ in 0..10 {
        let outcome = send_by(&auth, &world).await;
        assert!(outcome.is_err() || outcome.unwrap() == 403);
    }
    assert_eq!(world.asked(), 4);
    let error = send_by(&auth, &world).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    sleep(Duration::from_secs(601)).await;
    assert_eq!(send_by(&auth, &world).await.unwrap(), 403);
    assert_eq!(world.asked(), 5);
}

#[tokio::test(start_paused = true)]
async fn scopes_that_were_requested_are_not_requested_again() {
    let world = World::new();
    world.state().never_grants = Some("write".into());
    let auth = world.auth();
    assert_eq!(send_by(&auth, &world).await.unwrap(), 200);
    world.state().needs = "write".into();
    let before = world.messages();
    for _ in 0..5 {
        assert_eq!(send_by(&auth, &world).await.unwrap(), 403);
    }
    // The first request has asked the user, and was sent twice.
    assert_eq!((world.asked(), world.messages() - before), (2, 6));
}

/// The tokens in a store, without the record of the connection.
async fn stored_token_sets(store: &MemoryStore) -> usize {
    let mut count = 0;
    for name in store.tenants(None, 100).await.unwrap() {
        let grant = store.load(&name).await.unwrap().unwrap();
        if name.as_str().contains("/mcp-grant/") && grant.tokens().is_some() {
            count += 1;
        }
    }
    count
}

#[tokio::test(start_paused = true)]
async fn step_up_of_a_new_registration_revokes_the_replaced_grant() {
    for (has_endpoint, is_down) in [(true, false), (true, true), (false, false)] {
        let (world, store) = (World::new(), MemoryStore::new());
        let url = format!("{ISSUER}/revoke");
        if has_endpoint {
            world.state().metadata["revocation_endpoint"] = url.clone().into();
        }
        if is_down {
            world.state().documents.insert(url, (500, Vec::new()));
        }
        let first = world.builder().store(store.clone()).build().unwrap();
        assert_eq!(send_by(&first, &world).await.unwrap(), 200);
        // The redirect URI has another port, so that the client has to register again.
        let second = world.builder_with("http://127.0.0.1:9/callback");
        let second = second.store(store.clone()).build().unwrap();
        assert_eq!(send_by(&second, &world).await.unwrap(), 200);
        world.state().needs = "write".into();
        world.state().user = Consents::Denies;
        assert!(send_by(&second, &world).await.is_err());
        sleep(Duration::from_secs(60)).await;
        assert_eq!(world.count("/revoke"), 0, "the user has denied");
        world.state().user = Consents::Allows;
        assert_eq!(send_by(&second, &world).await.unwrap(), 200);
        assert_eq!(world.asked(), 3);
        sleep(Duration::from_secs(60)).await;
        let revocations = world.count("/revoke");
        match (has_endpoint, is_down) {
            (true, false) => assert_eq!(revocations, 2, "a refresh token and an access token"),
            (true, true) => assert!(revocations > 1),
            (false, _) => assert_eq!(revocations, 0),
        }
        assert_eq!(stored_token_sets(&store).await, 1);
        // The other process adopts the new grant.
        assert_eq!(send_by(&first, &world).await.unwrap(), 200);
        assert_eq!(world.asked(), 3);
    }
}

const OTHER_REDIRECT_URI: &str = "http://127.0.0.1:9/callback";

/// A process whose user takes this long to consent to a step-up.
fn hesitant(world: &World, store: &MemoryStore, redirect_uri: &str, seconds: u64) -> McpAuth {
    let (world, builder) = (world.clone(), world.builder().store(store.clone()));
    let builder = builder.authorize(redirect_uri, move |url| {
        let world = world.clone();
        async move {
            if query(&url, "scope").is_some_and(|scope| scope.contains(' ')) {
                sleep(Duration::from_secs(seconds)).await;
            }
            world.consent(url).await
        }
    });
    builder.build().unwrap()
}

/// Two processes whose clients have different redirect URIs step up at the same time: the one with
/// the registration of the stored connection, and the one that has to register.
async fn concurrent_step_ups(seconds_of_stored: u64, seconds_of_new: u64) -> (World, usize) {
    let (world, store) = (World::new(), MemoryStore::new());
    world.state().metadata["revocation_endpoint"] = format!("{ISSUER}/revoke").into();
    let first = hesitant(&world, &store, REDIRECT_URI, seconds_of_stored);
    assert_eq!(send_by(&first, &world).await.unwrap(), 200);
    let second = hesitant(&world, &store, OTHER_REDIRECT_URI, seconds_of_new);
    assert_eq!(send_by(&second, &world).await.unwrap(), 200);
    assert_eq!(world.asked(), 1);
    world.state().needs = "write".into();
    let (one, two) = tokio::join!(send_by(&first, &world), send_by(&second, &world));
    assert_eq!(
        (one.unwrap(), two.unwrap()),
        (StatusCode::OK, StatusCode::OK)
    );
    assert_eq!((world.asked(), world.count("/register")), (3, 2));
    sleep(Duration::from_secs(60)).await;
    // Neither user is asked again.
    for auth in [&first, &second] {
        assert_eq!(send_by(auth, &world).await.unwrap(), 200);
    }
    assert_eq!(world.asked(), 3);
    let token_sets = stored_token_sets(&store).await;
    (world, token_sets)
}

#[tokio::test(start_paused = true)]
async fn grant_that_was_consented_to_again_meanwhile_is_not_revoked() {
    // Before the other grant is stored, and within the pause before the revocation.
    for (seconds_of_stored, seconds_of_new) in [(30, 120), (120, 118)] {
        let (world, token_sets) = concurrent_step_ups(seconds_of_stored, seconds_of_new).await;
        assert_eq!((world.count("/revoke"), token_sets), (0, 2));
    }
}

#[tokio::test(start_paused = true)]
async fn consent_long_after_the_replacement_is_not_revoked() {
    // The replaced grant is revoked, and then its client gets a new one.
    let (world, token_sets) = concurrent_step_ups(120, 30).await;
    assert_eq!((world.count("/revoke"), token_sets), (2, 2));
}

#[test]
fn replaced_grant_leaves_the_store_although_the_program_ends() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    let (world, store) = (World::new(), MemoryStore::new());
    runtime.block_on(async {
        world.state().metadata["revocation_endpoint"] = format!("{ISSUER}/revoke").into();
        let first = world.builder().store(store.clone()).build().unwrap();
        assert_eq!(send_by(&first, &world).await.unwrap(), 200);
        let second = world.builder_with(OTHER_REDIRECT_URI);
        let second = second.store(store.clone()).build().unwrap();
        world.state().needs = "write".into();
        assert_eq!(send_by(&second, &world).await.unwrap(), 200);
        assert_eq!(stored_token_sets(&store).await, 1);
    });
    drop(runtime);
    assert_eq!(world.count("/revoke"), 0);
}

/// A process with the former settings would have to ask its user again.
#[tokio::test(start_paused = true)]
async fn step_up_with_changed_settings_keeps_the_former_grant() {
    let (world, store) = (World::new(), MemoryStore::new());
    world.state().metadata["revocation_endpoint"] = format!("{ISSUER}/revoke").into();
    let first = world.builder().store(store.clone()).build().unwrap();
    assert_eq!(send_by(&first, &world).await.unwrap(), 200);
    world.state().needs = "write".into();
    let client = PreRegistered::new(ISSUER, "mine").client_secret("seeded");
    let second = world.builder().store(store.clone()).pre_registered(client);
    let second = second.build().unwrap();
    assert_eq!(send_by(&second, &world).await.unwrap(), 200);
    sleep(Duration::from_secs(60)).await;
    world.state().needs = "read".into();
    assert_eq!(send_by(&first, &world).await.unwrap(), 200);
    assert_eq!((world.asked(), world.count("/revoke")), (2, 0));
}
