//! How many round trips a refresh takes.

use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use tower_oauth2_client::{
    cache::TokenCache,
    store::{EncryptedStore, EncryptionKey, EncryptionKeys, PostgresStore, TokenStore},
};

use crate::{
    SERVER,
    counting::RoundTrips,
    generation, grant, replica, store,
    support::{ManualClock, Source},
    tenant,
};

/// A store whose statements are counted.
async fn counted() -> (PgConnectOptions, RoundTrips, PostgresStore) {
    let (options, _) = store().await;
    let proxy = RoundTrips::to(SERVER.port()).await;
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .connect_with(options.clone().port(proxy.port()))
        .await;
    (options, proxy, PostgresStore::new(pool.unwrap()))
}

/// A cache whose refreshes have sent each of their statements before, so that it is prepared.
async fn warm(store: impl TokenStore) -> TokenCache {
    let source = Source::new(&ManualClock::new());
    source.set_delay(Duration::ZERO);
    let builder = source.cache().store(store).tenant("acme");
    let tokens = builder.min_refresh_interval(Duration::ZERO);
    let tokens = tokens.build().unwrap();
    for _ in 0..3 {
        tokens.refresh_now().await.unwrap();
    }
    tokens
}

#[tokio::test]
async fn p10_refresh_takes_three_round_trips() {
    let (_, proxy, store) = counted().await;
    let tokens = warm(store).await;
    for _ in 0..3 {
        let before = proxy.count();
        tokens.refresh_now().await.unwrap();
        assert_eq!(proxy.count() - before, 3, "lease, intent, token set");
    }
}

#[tokio::test]
async fn p10_encrypted_refresh_takes_three_round_trips() {
    let (_, proxy, store) = counted().await;
    let keys = EncryptionKeys::new(EncryptionKey::new("k1", [7; 32]).unwrap());
    let tokens = warm(EncryptedStore::new(store, keys, "client").unwrap()).await;
    let before = proxy.count();
    tokens.refresh_now().await.unwrap();
    assert_eq!(proxy.count() - before, 3);
}

/// A save that knows what is stored takes one round trip, and another one a load before.
#[tokio::test]
async fn p12_save_reads_only_what_was_not_read_before() {
    let (options, proxy, store) = counted().await;
    let acme = tenant("acme");
    for number in 1..=3 {
        let expected = generation(number - 1);
        store
            .save(&acme, expected, &grant(number, "a"))
            .await
            .unwrap();
    }
    let before = proxy.count();
    store
        .save(&acme, generation(3), &grant(4, "a"))
        .await
        .unwrap();
    assert_eq!(proxy.count() - before, 1, "it has saved what is stored");
    // Another process changes the grant, which keeps its generation.
    let other = replica(&options);
    other
        .save(&acme, generation(4), &grant(4, "b"))
        .await
        .unwrap();
    let before = proxy.count();
    store
        .save(&acme, generation(4), &grant(5, "a"))
        .await
        .unwrap();
    assert_eq!(
        proxy.count() - before,
        2,
        "the first attempt loads the grant"
    );
    assert_eq!(store.load(&acme).await.unwrap(), Some(grant(5, "a")));
}
