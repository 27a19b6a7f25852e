//! Warnings about persistence settings.

use std::time::Duration;

use tower_oauth2_client::store::RedisStore;

use crate::{Server, server_and_store};

#[tokio::test]
async fn durable_server_has_no_warnings() {
    let (_server, store) = server_and_store().await;
    assert_eq!(store.check_persistence().await.unwrap(), [] as [&str; 0]);
}

#[tokio::test]
async fn each_setting_that_loses_saves_has_a_warning() {
    let (server, store) = server_and_store().await;
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
        let warnings = store.check_persistence().await.unwrap();
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].contains(word), "{warnings:?}");
        server.command::<()>(&format!("CONFIG SET {right}")).await;
    }
    let with_replicas = store.wait_for_replicas(2, Duration::from_millis(10));
    let warnings = with_replicas.check_persistence().await.unwrap();
    assert!(warnings[0].contains("0 replicas"), "{warnings:?}");
}

#[tokio::test]
async fn unknown_settings_have_a_warning() {
    let server = Server::launch().await;
    for (permissions, word) in [("-info", "INFO"), ("-config", "CONFIG")] {
        server
            .command::<()>(&format!("ACL SETUSER app on >word +@all {permissions}"))
            .await;
        let url = format!("redis://app:word@127.0.0.1:{}/", server.port());
        let store = RedisStore::connect(redis::Client::open(url).unwrap());
        let warnings = store.await.unwrap().check_persistence().await.unwrap();
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].contains(word), "{warnings:?}");
    }
}

#[tokio::test]
async fn missing_server_is_an_error() {
    let (mut server, store) = server_and_store().await;
    server.kill();
    store.check_persistence().await.unwrap_err();
}
