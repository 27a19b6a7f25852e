//! Saved before it is used, if there is anything else to use.

use std::time::Duration;

use tower_oauth2_client::{ErrorKind, cache::TokenCache, token::Generation};

use crate::support::{DAY, HandClock, Source, Store, Turn};

async fn begun() -> (Source, Store, TokenCache) {
    let source = Source::new(&HandClock::new());
    let store = Store::default();
    let tokens = source.cache().store(store.clone()).build().unwrap();
    tokens.token().await.unwrap();
    (source, store, tokens)
}

async fn header(tokens: &TokenCache) -> String {
    let token = tokens.token().await.unwrap();
    token.header_value().to_str().unwrap().to_owned()
}

async fn generation(store: &Store) -> Generation {
    store.held().await.unwrap().generation
}

#[tokio::test(start_paused = true)]
async fn p10_a_new_token_is_not_used_before_it_is_saved_while_an_older_one_can_serve() {
    let (source, store, tokens) = begun().await;
    store.fail_saves(true);
    let error = tokens.refresh_now().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Store);
    for _ in 0..100 {
        assert_eq!(header(&tokens).await, "Bearer a1");
        tokio::time::sleep(Duration::from_secs(60)).await;
    }
    assert_eq!(
        source.exchanges(),
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
    let (source, store, tokens) = begun().await;
    store.fail_saves(true);
    source.then(Turn::Give(2 * DAY));
    let _ = tokens.refresh_now().await;
    // The old token's end is the new one's beginning, saved or not.
    tokio::time::sleep(DAY - Duration::from_secs(30)).await;
    assert_eq!(header(&tokens).await, "Bearer a1");
    tokio::time::sleep(Duration::from_secs(31)).await;
    assert_eq!(header(&tokens).await, "Bearer a2");
    assert_eq!(generation(&store).await, Generation::FIRST);
    assert_eq!(source.exchanges(), 2);
    store.fail_saves(false);
    tokio::time::sleep(Duration::from_secs(11)).await;
    assert_eq!(generation(&store).await, Generation::FIRST.next());
}

#[tokio::test(start_paused = true)]
async fn p14_without_an_older_token_the_unsaved_one_serves_at_once() {
    let source = Source::new(&HandClock::new());
    let store = Store::default();
    store.fail_saves(true);
    let tokens = source.cache().store(store.clone()).build().unwrap();
    assert_eq!(header(&tokens).await, "Bearer a1");
    assert_eq!(source.exchanges(), 1);
    assert!(store.held().await.is_none());
    store.fail_saves(false);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(generation(&store).await, Generation::FIRST);
}

#[tokio::test(start_paused = true)]
async fn p14_a_store_that_cannot_be_read_is_found_out_before_the_refresh_token_is_spent() {
    let (source, store, tokens) = begun().await;
    store.fail_loads(true);
    assert_eq!(
        tokens.refresh_now().await.unwrap_err().kind(),
        ErrorKind::Store
    );
    assert_eq!(source.exchanges(), 1);
    assert_eq!(header(&tokens).await, "Bearer a1");
}

#[tokio::test(start_paused = true)]
async fn a_save_that_happened_but_was_not_heard_of_counts() {
    let (source, store, tokens) = begun().await;
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
    assert_eq!((source.exchanges(), store.saves()), (2, 3));
}

#[tokio::test(start_paused = true)]
async fn saving_goes_on_for_a_while_after_the_last_handle() {
    let (source, store, tokens) = begun().await;
    store.fail_saves(true);
    let _ = tokens.refresh_now().await;
    drop(tokens);
    tokio::time::sleep(Duration::from_secs(5)).await;
    store.fail_saves(false);
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(generation(&store).await, Generation::FIRST.next());

    let tokens = source.cache().store(store.clone()).build().unwrap();
    source.then(Turn::Give(DAY));
    store.fail_saves(true);
    let _ = tokens.refresh_now().await;
    drop(tokens);
    tokio::time::sleep(Duration::from_secs(120)).await;
    let saves = store.saves();
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert_eq!(store.saves(), saves, "but not for ever");
}
