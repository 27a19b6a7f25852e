//! How many round trips a refresh takes.

use std::{sync::Arc, time::Duration};

use tower_oauth2_client::{
    cache::TokenCache,
    store::{EncryptedStore, EncryptionKey, EncryptionKeys, RedisStore, TokenStore},
};

use crate::{
    Server,
    counting::{Counting, Counts},
    support::{ManualClock, Source},
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

/// The two saves each add the name to the index of tenants meanwhile.
#[tokio::test]
async fn p10_refresh_takes_three_round_trips() {
    let server = Server::launch().await;
    let (counts, store) = counted(&server).await;
    let tokens = warm(store).await;
    for _ in 0..3 {
        let [commands, round_trips] = counts.all();
        tokens.refresh_now().await.unwrap();
        assert_eq!(counts.all(), [commands + 5, round_trips + 3]);
    }
}

#[tokio::test]
async fn p10_encrypted_refresh_takes_three_round_trips() {
    let server = Server::launch().await;
    let (counts, store) = counted(&server).await;
    let keys = EncryptionKeys::new(EncryptionKey::new("k1", [7; 32]).unwrap());
    let tokens = warm(EncryptedStore::new(store, keys, "client").unwrap()).await;
    let [commands, round_trips] = counts.all();
    tokens.refresh_now().await.unwrap();
    assert_eq!(counts.all(), [commands + 5, round_trips + 3]);
}
