//! What the check of a server's settings finds.

use std::time::Duration;

use tower_oauth2_client::store::RedisStore;

use crate::{Server, begun};

#[tokio::test]
async fn a_server_that_keeps_what_it_is_given() {
    let (_server, store) = begun().await;
    assert_eq!(store.check_persistence().await.unwrap(), [] as [&str; 0]);
}

#[tokio::test]
async fn each_setting_that_loses_saves_is_told() {
    let (server, store) = begun().await;
    for (wrong, word, right) in [
        ("appendfsync everysec", "everysec", "appendfsync always"),
        ("appendfsync no", "half minute", "appendfsync always"),
        ("appendonly no", "snapshot", "appendonly yes"),
        (
            "maxmemory-policy allkeys-lru",
            "allkeys-lru",
            "maxmemory-policy noeviction",
        ),
    ] {
        server.command::<()>(&format!("CONFIG SET {wrong}")).await;
        let flaws = store.check_persistence().await.unwrap();
        assert_eq!(flaws.len(), 1, "{flaws:?}");
        assert!(flaws[0].contains(word), "{flaws:?}");
        server.command::<()>(&format!("CONFIG SET {right}")).await;
    }
    let patient = store.wait_for_replicas(2, Duration::from_millis(10));
    let flaws = patient.check_persistence().await.unwrap();
    assert!(flaws[0].contains("0 replicas"), "{flaws:?}");
}

#[tokio::test]
async fn what_the_server_does_not_tell_is_told() {
    let server = Server::begin().await;
    for (rights, word) in [("-info", "INFO"), ("-config", "CONFIG")] {
        server
            .command::<()>(&format!("ACL SETUSER app on >word +@all {rights}"))
            .await;
        let url = format!("redis://app:word@127.0.0.1:{}/", server.port());
        let store = RedisStore::connect(redis::Client::open(url).unwrap());
        let flaws = store.await.unwrap().check_persistence().await.unwrap();
        assert_eq!(flaws.len(), 1, "{flaws:?}");
        assert!(flaws[0].contains(word), "{flaws:?}");
    }
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_an_error() {
    let (mut server, store) = begun().await;
    server.kill();
    store.check_persistence().await.unwrap_err();
}
