//! P21: no error of a store, and no event, contains the name of a tenant.

use std::{error::Error as _, fs};

use tower_oauth2_client::{
    Error,
    store::{EncryptedStore, EncryptionKey, EncryptionKeys, FileStore, MemoryStore, TokenStore},
    token::{Generation, Grant, GrantState, TenantId},
};

#[path = "support/mod.rs"]
mod support;

use support::{DAY, ManualClock, Source, log::Log, token_set};

const NAME: &str = "zebra-17";

fn tenant() -> TenantId {
    TenantId::new(NAME).unwrap()
}

fn grant() -> Grant {
    let tokens = token_set(1, DAY, std::time::SystemTime::UNIX_EPOCH);
    Grant::new(Generation::FIRST, GrantState::Active(tokens))
}

fn keys(id: &str) -> EncryptionKeys {
    EncryptionKeys::new(EncryptionKey::generate(id).unwrap())
}

/// The message does not contain the name, and one of the sources does.
#[track_caller]
fn check(error: &Error) {
    assert!(!error.to_string().contains(NAME), "{error}");
    let sources = std::iter::successors(error.source(), |&source| source.source());
    let names = sources.filter(|source| source.to_string().contains(NAME));
    assert_eq!(names.count(), 1, "{error:?}");
}

/// Fails every operation on a stored grant that cannot be read, by the store and by a cache.
async fn fail(store: impl TokenStore + Clone) {
    check(&store.load(&tenant()).await.unwrap_err());
    let expected = Some(Generation::FIRST);
    let saved = store.save(&tenant(), expected, &grant()).await;
    check(&saved.unwrap_err());

    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
        .with_writer(log.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let tokens = Source::new(&ManualClock::new()).cache().store(store);
    let tokens = tokens.tenant(NAME).build().unwrap();
    for error in [
        tokens.token().await.unwrap_err(),
        tokens.refresh_now().await.unwrap_err(),
        tokens.revoke().await.unwrap_err(),
    ] {
        assert!(!error.to_string().contains(NAME), "{error}");
    }
    support::pass(support::HOUR).await;
    let log = log.text();
    assert!(log.contains("tower_oauth2_client"), "events are recorded");
    assert!(!log.contains(NAME), "{log}");
}

#[tokio::test(start_paused = true)]
async fn p21_encrypted_store_names_the_tenant_in_the_source_only() {
    let inner = MemoryStore::new();
    let store = EncryptedStore::new(inner.clone(), keys("k1"), "client").unwrap();
    inner.save(&tenant(), None, &grant()).await.unwrap();
    // In plain text.
    fail(store.clone()).await;

    let other = MemoryStore::new();
    let writer = EncryptedStore::new(other.clone(), keys("k1"), "client").unwrap();
    writer.save(&tenant(), None, &grant()).await.unwrap();
    // Under a key of the same id, a missing key, and another client.
    for keys in [keys("k1"), keys("k2")] {
        fail(EncryptedStore::new(other.clone(), keys, "client").unwrap()).await;
    }

    // Moved from another tenant.
    let moved = MemoryStore::new();
    let row = other.load(&tenant()).await.unwrap().unwrap();
    let damaged = Grant::new(Generation::FIRST.next(), row.state);
    moved.save(&tenant(), None, &damaged).await.unwrap();
    let error = EncryptedStore::new(moved, keys("k1"), "client").unwrap();
    check(&error.load(&tenant()).await.unwrap_err());
}

#[tokio::test]
async fn p21_file_store_names_the_tenant_in_the_source_only() {
    let directory = tempfile::tempdir().unwrap();
    let store = FileStore::open(directory.path()).unwrap();
    store.save(&tenant(), None, &grant()).await.unwrap();
    for entry in fs::read_dir(directory.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|it| it == "json") {
            for contents in ["", "{", "zebra-17", r#"{"format":"x","tenant":"zebra-17"}"#] {
                fs::write(&path, contents).unwrap();
                check(&store.load(&tenant()).await.unwrap_err());
                let (tenant, expected) = (tenant(), Some(Generation::FIRST));
                let saved = store.save(&tenant, expected, &grant()).await;
                check(&saved.unwrap_err());
            }
        }
    }
}
