//! Caches over the store.

use std::time::Duration;

use tokio::time::{sleep, timeout};
use tower_oauth2_client::{
    cache::TokenCache,
    store::TokenStore,
    token::{GrantState, TenantId},
};

use crate::{
    LIMIT, server_and_store, store,
    support::{ManualClock, Source, header},
};

fn cache(source: &Source, store: impl TokenStore) -> TokenCache {
    source.cache().store(store).build().unwrap()
}

#[tokio::test]
async fn two_replicas_share_a_grant() {
    let (server, first) = server_and_store().await;
    let source = Source::new(&ManualClock::new());
    let one = cache(&source, first.clone());
    let two = cache(&source, store(&server).await);
    assert_eq!(header(&one).await, "Bearer a1");
    assert_eq!(header(&two).await, "Bearer a1", "loaded, not refreshed");
    one.refresh_now().await.unwrap();
    // The save is announced to the other replica.
    while header(&two).await != "Bearer a2" {
        tokio::task::yield_now().await;
    }
    assert_eq!(source.refreshes(), 2);
    let stored = first
        .load(&TenantId::new("default").unwrap())
        .await
        .unwrap();
    assert!(matches!(stored.unwrap().state, GrantState::Active(_)));
}

#[tokio::test]
async fn p13_grant_survives_a_restart_of_cache_and_server() {
    let (mut server, first) = server_and_store().await;
    let source = Source::new(&ManualClock::new());
    let one = cache(&source, first);
    assert_eq!(header(&one).await, "Bearer a1");
    one.refresh_now().await.unwrap();
    drop(one);
    server.kill();
    server.start().await;
    let two = cache(&source, store(&server).await);
    assert_eq!(header(&two).await, "Bearer a2");
    assert_eq!(source.refreshes(), 2);
}

#[tokio::test]
async fn p14_missing_server_is_detected_before_the_refresh_token_is_sent() {
    let (mut server, first) = server_and_store().await;
    let source = Source::new(&ManualClock::new());
    let tokens = cache(&source, first);
    assert_eq!(header(&tokens).await, "Bearer a1");
    server.stop();
    timeout(LIMIT, tokens.refresh_now())
        .await
        .unwrap()
        .unwrap_err();
    assert_eq!(source.refreshes(), 1);
    assert_eq!(
        header(&tokens).await,
        "Bearer a1",
        "the stored token serves"
    );
    server.start().await;
    let refreshed = async {
        while tokens.refresh_now().await.is_err() {
            sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(LIMIT, refreshed).await.unwrap();
    assert_eq!(header(&tokens).await, "Bearer a2");
}

#[tokio::test]
async fn p14_save_is_retried_if_the_server_fails_during_a_refresh() {
    let (mut server, first) = server_and_store().await;
    let source = Source::new(&ManualClock::new());
    let tokens = cache(&source, first.clone());
    assert_eq!(header(&tokens).await, "Bearer a1");
    source.block();
    let refreshing = tokio::spawn({
        let tokens = tokens.clone();
        async move { tokens.refresh_now().await }
    });
    while source.refreshes() < 2 {
        sleep(Duration::from_millis(10)).await;
    }
    server.kill();
    source.unblock();
    sleep(Duration::from_millis(300)).await;
    server.start().await;
    let _ = timeout(LIMIT, refreshing).await.unwrap();
    let default = TenantId::new("default").unwrap();
    let saved = async {
        loop {
            if let Ok(Some(stored)) = first.load(&default).await
                && stored.generation.as_u64() == 2
            {
                return stored;
            }
            sleep(Duration::from_millis(50)).await;
        }
    };
    let stored = timeout(LIMIT, saved).await.unwrap();
    let tokens = stored.tokens().unwrap();
    assert_eq!(tokens.refresh_token().unwrap().expose(), "r2");
    assert_eq!(source.refreshes(), 2);
}
