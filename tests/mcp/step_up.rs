//! More scopes after a 403.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::sleep;
use tower_oauth2_client::{
    ErrorKind,
    mcp::PreRegistered,
    store::{MemoryStore, TokenStore},
};

use crate::support::{Consents, ISSUER, World, query, send_by};

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
