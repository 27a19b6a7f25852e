//! How many commands and round trips a refresh and a save take.

use std::{sync::Arc, time::Duration};

use tower_oauth2_client::{
    cache::TokenCache,
    store::{EncryptedStore, EncryptionKey, EncryptionKeys, RedisStore, SaveOutcome, TokenStore},
};

use crate::{
    Server, commit,
    counting::{Counting, Counts},
    generation, grant, store,
    support::{ManualClock, Source},
    tenant,
};

async fn counted(server: &Server) -> (Arc<Counts>, RedisStore<Counting>) {
    let counts = Arc::default();
    let connection = Counting::connect(&server.client(), &counts).await;
    (counts, RedisStore::new(connection))
}

/// A cache whose refreshes have sent each of their scripts before.
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

/// The round trips: load, acquire, load, save the intent, save the token set, release. The two
/// saves each add the name to the index of tenants meanwhile.
#[tokio::test]
async fn p10_refresh_takes_six_round_trips() {
    let server = Server::launch().await;
    let (counts, store) = counted(&server).await;
    let tokens = warm(store).await;
    for _ in 0..3 {
        let [commands, round_trips] = counts.all();
        tokens.refresh_now().await.unwrap();
        assert_eq!(counts.all(), [commands + 8, round_trips + 6]);
    }
}

/// Before each save, the grant is loaded and decrypted.
#[tokio::test]
async fn p10_encrypted_refresh_takes_eight_round_trips() {
    let server = Server::launch().await;
    let (counts, store) = counted(&server).await;
    let keys = EncryptionKeys::new(EncryptionKey::new("k1", [7; 32]).unwrap());
    let tokens = warm(EncryptedStore::new(store, keys, "client").unwrap()).await;
    let [commands, round_trips] = counts.all();
    tokens.refresh_now().await.unwrap();
    assert_eq!(counts.all(), [commands + 10, round_trips + 8]);
}

#[tokio::test]
async fn save_loads_only_what_was_not_seen_before() {
    let server = Server::launch().await;
    let (counts, counted) = counted(&server).await;
    let other = store(&server).await;
    let acme = tenant("acme");
    let save = async |expected, number, token: &str| {
        let [_, before] = counts.all();
        let expected = Some(generation(expected));
        let outcome = counted.save(&acme, expected, &grant(number, token)).await;
        let [_, after] = counts.all();
        (outcome.unwrap(), after - before)
    };
    let committed = SaveOutcome::Committed;
    commit(&counted, &acme, None, &grant(1, "a")).await;
    assert_eq!(save(1, 2, "b").await, (committed.clone(), 1));
    assert_eq!(save(2, 2, "c").await, (committed.clone(), 1));

    // Another process changes the grant, and keeps the generation: the outcome is the same.
    commit(&other, &acme, Some(2), &grant(2, "other")).await;
    assert_eq!(save(2, 3, "d").await, (committed.clone(), 3));
    assert_eq!(save(3, 4, "e").await, (committed.clone(), 1));

    // Another process raises the generation.
    let newer = grant(5, "newer");
    commit(&other, &acme, Some(4), &newer).await;
    let superseded = SaveOutcome::Superseded(Some(newer.clone()));
    assert_eq!(save(4, 5, "f").await, (superseded, 2));
    assert_eq!(counted.load(&acme).await.unwrap(), Some(newer));
    assert_eq!(save(5, 6, "g").await, (committed, 1), "was loaded");

    // The grant is deleted.
    server.command::<()>("FLUSHALL").await;
    assert_eq!(save(6, 7, "h").await, (SaveOutcome::Superseded(None), 2));
}

/// Before a save that waits for replicas, they are checked.
#[tokio::test]
async fn save_that_waits_for_replicas_loads_first() {
    let server = Server::launch().await;
    let (counts, counted) = counted(&server).await;
    let acme = tenant("acme");
    commit(&counted, &acme, None, &grant(1, "a")).await;
    let waiting = counted
        .clone()
        .wait_for_replicas(1, Duration::from_millis(1));
    let [commands, _] = counts.all();
    let saved = waiting
        .save(&acme, Some(generation(1)), &grant(2, "b"))
        .await;
    assert!(saved.is_err(), "there is no replica");
    let [after, _] = counts.all();
    assert_eq!(after - commands, 3, "load, WAIT, and the name");
    assert_eq!(counted.load(&acme).await.unwrap(), Some(grant(1, "a")));
}

/// A store with another prefix knows nothing of the first one's keys.
#[tokio::test]
async fn save_under_another_prefix_is_conditional() {
    let server = Server::launch().await;
    let store = store(&server).await;
    let acme = tenant("acme");
    commit(&store, &acme, None, &grant(1, "a")).await;
    let partner = store.clone().prefix("partner:").unwrap();
    let saved = partner
        .save(&acme, Some(generation(1)), &grant(2, "b"))
        .await;
    assert_eq!(saved.unwrap(), SaveOutcome::Superseded(None));
}
