//! Saved before it is used, if there is anything else to use.

use std::time::Duration;

use tower_oauth2_client::{ErrorKind, token::Generation};

use crate::support::{DAY, ManualClock, Scripted, Source, Store, cache_with_token, header};

async fn generation(store: &Store) -> Generation {
    store.stored().await.unwrap().generation
}

#[tokio::test(start_paused = true)]
async fn p10_a_new_token_is_not_used_before_it_is_saved_while_an_older_one_can_serve() {
    let (source, store, tokens) = cache_with_token().await;
    store.fail_saves(true);
    let error = tokens.refresh_now().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Store);
    for _ in 0..100 {
        assert_eq!(header(&tokens).await, "Bearer a1");
        tokio::time::sleep(Duration::from_secs(60)).await;
    }
    assert_eq!(
        source.refreshes(),
        2,
        "and nobody spends the old refresh token again"
    );
    store.fail_saves(false);
    tokio::time::sleep(Duration::from_secs(11)).await;
    assert_eq!(header(&tokens).await, "Bearer a2");
    assert_eq!(generation(&store).await, Generation::FIRST.next());
}

#[tokio::test(start_paused = true)]
async fn p14_a_failed_save_leaves_memory_serving_and_is_retried_until_it_succeeds() {
    let (source, store, tokens) = cache_with_token().await;
    store.fail_saves(true);
    source.then(Scripted::Tokens(2 * DAY));
    let _ = tokens.refresh_now().await;
    // The old token's end is the new one's beginning, saved or not.
    tokio::time::sleep(DAY - Duration::from_secs(30)).await;
    assert_eq!(header(&tokens).await, "Bearer a1");
    tokio::time::sleep(Duration::from_secs(31)).await;
    assert_eq!(header(&tokens).await, "Bearer a2");
    assert_eq!(generation(&store).await, Generation::FIRST);
    assert_eq!(source.refreshes(), 2);
    store.fail_saves(false);
    tokio::time::sleep(Duration::from_secs(11)).await;
    assert_eq!(generation(&store).await, Generation::FIRST.next());
}

#[tokio::test(start_paused = true)]
async fn p14_without_an_older_token_the_unsaved_one_serves_at_once() {
    let source = Source::new(&ManualClock::new());
    let store = Store::default();
    store.fail_saves(true);
    let tokens = source.cache().store(store.clone()).build().unwrap();
    assert_eq!(header(&tokens).await, "Bearer a1");
    assert_eq!(source.refreshes(), 1);
    assert!(store.stored().await.is_none());
    store.fail_saves(false);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(generation(&store).await, Generation::FIRST);
}

#[tokio::test(start_paused = true)]
async fn p14_a_store_that_cannot_be_read_is_found_out_before_the_refresh_token_is_spent() {
    let (source, store, tokens) = cache_with_token().await;
    store.fail_loads(true);
    assert_eq!(
        tokens.refresh_now().await.unwrap_err().kind(),
        ErrorKind::Store
    );
    assert_eq!(source.refreshes(), 1);
    assert_eq!(header(&tokens).await, "Bearer a1");
}

#[tokio::test(start_paused = true)]
async fn a_save_that_happened_but_was_not_heard_of_counts() {
    let (source, store, tokens) = cache_with_token().await;
    store.hang_saves(true);
    let asking = tokio::spawn({
        let tokens = tokens.clone();
        async move { tokens.refresh_now().await }
    });
    tokio::time::sleep(Duration::from_secs(5)).await;
    store.hang_saves(false);
    // The first attempt ends at its deadline, the second finds that it had succeeded.
    assert!(
        asking.await.unwrap().is_err(),
        "told of the failure while the old one can serve"
    );
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(header(&tokens).await, "Bearer a2");
    assert_eq!(generation(&store).await, Generation::FIRST.next());
    assert_eq!((source.refreshes(), store.saves()), (2, 3));
}

#[tokio::test(start_paused = true)]
async fn saving_goes_on_for_a_while_after_the_last_handle() {
    let (source, store, tokens) = cache_with_token().await;
    store.fail_saves(true);
    let _ = tokens.refresh_now().await;
    drop(tokens);
    tokio::time::sleep(Duration::from_secs(5)).await;
    store.fail_saves(false);
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(generation(&store).await, Generation::FIRST.next());

    let tokens = source.cache().store(store.clone()).build().unwrap();
    source.then(Scripted::Tokens(DAY));
    store.fail_saves(true);
    let _ = tokens.refresh_now().await;
    drop(tokens);
    tokio::time::sleep(Duration::from_secs(120)).await;
    let saves = store.saves();
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert_eq!(store.saves(), saves, "but not for ever");
}

#[tokio::test(start_paused = true)]
async fn p14_memory_serves_from_the_end_of_the_held_token_though_a_save_hangs() {
    let (source, store, tokens) = cache_with_token().await;
    store.fail_saves(true);
    source.then(Scripted::Tokens(2 * DAY));
    let began = tokio::time::Instant::now();
    let _ = tokens.refresh_now().await;
    tokio::time::sleep_until(began + DAY - Duration::from_secs(12)).await;
    store.before_next_save(std::future::pending);
    tokio::time::sleep_until(began + DAY - Duration::from_millis(40)).await;
    for _ in 0..150 {
        assert!(tokens.token().await.is_ok());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(header(&tokens).await, "Bearer a2");
}

#[tokio::test(start_paused = true)]
async fn p06_a_401_meanwhile_brings_the_unsaved_token_forward() {
    let (source, store, tokens) = cache_with_token().await;
    store.fail_saves(true);
    let _ = tokens.refresh_now().await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    let service = tower::service_fn(
        |request: http::Request<tower_oauth2_client::bearer::ReplayBody<String>>| async move {
            let is_old = request.headers()["authorization"] == "Bearer a1";
            let answer = http::Response::builder().status(if is_old { 401 } else { 200 });
            Ok::<_, std::convert::Infallible>(answer.body(String::new()).unwrap())
        },
    );
    let api = tower::Layer::layer(
        &tower_oauth2_client::bearer::BearerAuthLayer::new(tokens.clone()),
        service,
    );
    let request = http::Request::get(crate::support::API)
        .body(String::new())
        .unwrap();
    let answer = tower::ServiceExt::oneshot(api, request).await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(source.refreshes(), 2);
}

#[tokio::test(start_paused = true)]
async fn p18_a_token_that_ended_unsaved_is_not_handed_out() {
    let source = Source::new(&ManualClock::new());
    let store = Store::default();
    store.fail_saves(true);
    source.set_lifetime(Duration::from_secs(60));
    let tokens = source.cache().store(store.clone()).build().unwrap();
    assert_eq!(header(&tokens).await, "Bearer a1");
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(tokens.token().await.unwrap_err().kind(), ErrorKind::Store);
    store.fail_saves(false);
    tokio::time::sleep(Duration::from_secs(12)).await;
    assert_eq!(header(&tokens).await, "Bearer a2");
}

#[tokio::test(start_paused = true)]
async fn p14_a_panic_in_the_store_loses_no_tokens() {
    let (source, store, tokens) = cache_with_token().await;
    store.before_next_save(|| async { panic!("scripted panic") });
    let _ = tokens.refresh_now().await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(header(&tokens).await, "Bearer a2");
    assert_eq!(generation(&store).await, Generation::FIRST.next());
    assert_eq!(source.refreshes(), 2);
}

#[tokio::test(start_paused = true)]
async fn p15_an_end_that_could_not_be_stored_is_stored_later() {
    let (source, store, tokens) = cache_with_token().await;
    source.then(Scripted::Fail(tower_oauth2_client::Error::invalid_grant()));
    source.block();
    let asking = tokio::spawn({
        let tokens = tokens.clone();
        async move { tokens.refresh_now().await }
    });
    tokio::time::sleep(Duration::from_secs(2)).await;
    store.fail_saves(true);
    source.unblock();
    assert_eq!(
        asking.await.unwrap().unwrap_err().kind(),
        ErrorKind::ReauthorizationRequired
    );
    store.fail_saves(false);
    tokio::time::sleep(2 * DAY).await;
    assert!(tokens.token().await.is_err());
    let state = store.stored().await.unwrap().state;
    assert!(matches!(
        state,
        tower_oauth2_client::token::GrantState::ReauthorizationRequired { .. }
    ));
    assert_eq!(source.refreshes(), 2);
}
