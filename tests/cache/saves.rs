//! Saves of new token sets, which precede their use.

use std::time::Duration;

use tower_oauth2_client::{ErrorKind, cache::TokenCache, token::Generation};

use crate::support::{
    DAY, MINUTE, ManualClock, SECOND, Scripted, Source, Store, cache_with_token, header, pass,
};

async fn generation(store: &Store) -> Generation {
    store.stored().await.unwrap().generation
}

#[tokio::test(start_paused = true)]
async fn p10_new_token_is_not_used_before_its_save_while_an_older_one_serves() {
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
        "and the old refresh token is not sent again"
    );
    store.fail_saves(false);
    tokio::time::sleep(Duration::from_secs(11)).await;
    assert_eq!(header(&tokens).await, "Bearer a2");
    assert_eq!(generation(&store).await, Generation::FIRST.next());
}

#[tokio::test(start_paused = true)]
async fn p14_failed_save_is_retried_while_memory_serves() {
    let (source, store, tokens) = cache_with_token().await;
    store.fail_saves(true);
    source.then(Scripted::Tokens(Some(2 * DAY)));
    let _ = tokens.refresh_now().await;
    // When the old token expires, the new one serves, saved or not.
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
async fn p14_unsaved_token_serves_at_once_without_an_older_one() {
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
async fn p14_failing_load_is_detected_before_the_refresh_token_is_sent() {
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
async fn save_that_committed_without_returning_counts() {
    let (source, store, tokens) = cache_with_token().await;
    store.hang_saves(true);
    let refreshing = tokio::spawn({
        let tokens = tokens.clone();
        async move { tokens.refresh_now().await }
    });
    tokio::time::sleep(Duration::from_secs(5)).await;
    store.hang_saves(false);
    // The first attempt ends at its deadline. The second one finds that it was committed.
    assert!(
        refreshing.await.unwrap().is_err(),
        "the caller gets the failure while the old token serves"
    );
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(header(&tokens).await, "Bearer a2");
    assert_eq!(generation(&store).await, Generation::FIRST.next());
    assert_eq!((source.refreshes(), store.saves()), (2, 3));
}

#[tokio::test(start_paused = true)]
async fn save_is_retried_for_a_while_after_the_last_handle() {
    let (source, store, tokens) = cache_with_token().await;
    store.fail_saves(true);
    let _ = tokens.refresh_now().await;
    drop(tokens);
    tokio::time::sleep(Duration::from_secs(5)).await;
    store.fail_saves(false);
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(generation(&store).await, Generation::FIRST.next());

    let tokens = source.cache().store(store.clone()).build().unwrap();
    source.then(Scripted::Tokens(Some(DAY)));
    store.fail_saves(true);
    let _ = tokens.refresh_now().await;
    drop(tokens);
    tokio::time::sleep(Duration::from_secs(120)).await;
    let saves = store.saves();
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert_eq!(store.saves(), saves, "but not indefinitely");
}

#[tokio::test(start_paused = true)]
async fn p14_unsaved_token_serves_after_the_held_one_expires_during_a_hanging_save() {
    let (source, store, tokens) = cache_with_token().await;
    store.fail_saves(true);
    source.then(Scripted::Tokens(Some(2 * DAY)));
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
async fn p06_401_during_a_failing_save_publishes_the_unsaved_token() {
    let (source, store, tokens) = cache_with_token().await;
    store.fail_saves(true);
    let _ = tokens.refresh_now().await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    let service = tower::service_fn(
        |request: http::Request<tower_oauth2_client::bearer::ReplayBody<String>>| async move {
            let is_old = request.headers()["authorization"] == "Bearer a1";
            let response = http::Response::builder().status(if is_old { 401 } else { 200 });
            Ok::<_, std::convert::Infallible>(response.body(String::new()).unwrap())
        },
    );
    let api = tower::Layer::layer(
        &tower_oauth2_client::bearer::BearerAuthLayer::new(tokens.clone()),
        service,
    );
    let request = http::Request::get(crate::support::API)
        .body(String::new())
        .unwrap();
    let response = tower::ServiceExt::oneshot(api, request).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(source.refreshes(), 2);
}

#[tokio::test(start_paused = true)]
async fn p18_token_that_expired_unsaved_is_not_used() {
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
async fn p14_panic_in_the_store_loses_no_tokens() {
    let (source, store, tokens) = cache_with_token().await;
    store.before_next_save(|| async { panic!("scripted panic") });
    let _ = tokens.refresh_now().await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(header(&tokens).await, "Bearer a2");
    assert_eq!(generation(&store).await, Generation::FIRST.next());
    assert_eq!(source.refreshes(), 2);
}

#[tokio::test(start_paused = true)]
async fn p15_end_that_could_not_be_saved_is_saved_later() {
    let (source, store, tokens) = cache_with_token().await;
    source.then(Scripted::Fail(tower_oauth2_client::Error::invalid_grant()));
    source.block();
    let refreshing = tokio::spawn({
        let tokens = tokens.clone();
        async move { tokens.refresh_now().await }
    });
    tokio::time::sleep(Duration::from_secs(2)).await;
    store.fail_saves(true);
    source.unblock();
    assert_eq!(
        refreshing.await.unwrap().unwrap_err().kind(),
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

/// A caller that waits for a token whose save takes five seconds.
async fn waiting_for_a_slow_save(
    store: &Store,
    tokens: &TokenCache,
) -> tokio::task::JoinHandle<Result<String, ErrorKind>> {
    tokens.invalidate();
    store.before_next_save(|| pass(5 * SECOND));
    let waiting = tokio::spawn({
        let tokens = tokens.clone();
        async move {
            let token = tokens.token().await.map_err(|error| error.kind())?;
            Ok(token.header_value().to_str().unwrap().to_owned())
        }
    });
    pass(SECOND + SECOND / 2).await;
    waiting
}

#[tokio::test(start_paused = true)]
async fn p15_slow_save_yields_no_token_of_a_revoked_grant() {
    let (_, store, tokens) = cache_with_token().await;
    let waiting = waiting_for_a_slow_save(&store, &tokens).await;
    tokens.revoke().await.unwrap();
    assert_eq!(tokens.token().await.unwrap_err().kind(), ErrorKind::Revoked);
    assert_eq!(waiting.await.unwrap(), Err(ErrorKind::Revoked));
}

#[tokio::test(start_paused = true)]
async fn p12_slow_save_yields_no_token_of_a_replaced_grant() {
    let (source, store, tokens) = cache_with_token().await;
    let waiting = waiting_for_a_slow_save(&store, &tokens).await;
    let consented = source.issue(DAY);
    tokens.set_tokens(consented).await.unwrap();
    assert_eq!(waiting.await.unwrap().unwrap(), "Bearer a3");
}

#[tokio::test(start_paused = true)]
async fn p12_failed_save_yields_no_token_of_a_replaced_grant() {
    let source = Source::new(&ManualClock::new());
    let store = Store::default();
    let tokens = source.cache().store(store.clone()).acquire_timeout(MINUTE);
    let tokens = tokens.build().unwrap();
    tokens.token().await.unwrap();
    source.set_delay(5 * SECOND);
    let waiting = tokio::spawn({
        let tokens = tokens.clone();
        async move { tokens.refresh_now().await.map_err(|error| error.kind()) }
    });
    pass(2 * SECOND).await;
    // The waiter requests a refresh of this grant once the first refresh has ended.
    let expired = source.issue(Duration::ZERO);
    tokens.set_tokens(expired).await.unwrap();
    pass(5 * SECOND).await;
    // This grant has the generation that the refresh in flight will save.
    let expired = source.issue(Duration::ZERO);
    tokens.set_tokens(expired).await.unwrap();
    store.fail_saves(true);
    // A token of the third grant, from a third refresh.
    let token = waiting.await.unwrap().unwrap();
    assert_eq!(token.header_value(), "Bearer a6");
}
