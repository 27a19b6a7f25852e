//! More scopes after a 403.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::sleep;
use tower_oauth2_client::ErrorKind;

use crate::support::{World, query, send_by};

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
