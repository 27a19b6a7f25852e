//! How many statements a refresh and a save send, and what a save does that sends only one.

use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use tower_oauth2_client::{
    ErrorKind,
    cache::TokenCache,
    store::{
        EncryptedStore, EncryptionKey, EncryptionKeys, PostgresStore, SaveOutcome, TokenStore,
    },
};

use crate::{
    SERVER,
    counting::RoundTrips,
    generation, grant, pool, replica, store,
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

/// A cache that has refreshed before.
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
async fn p10_refresh_sends_six_statements() {
    let (_, proxy, store) = counted().await;
    let tokens = warm(store).await;
    for _ in 0..3 {
        let before = proxy.count();
        tokens.refresh_now().await.unwrap();
        assert_eq!(
            proxy.count() - before,
            6,
            "load, acquire, load, save the intent, save the token set, release"
        );
    }
}

/// Before each save, the grant is loaded and decrypted.
#[tokio::test]
async fn p10_encrypted_refresh_sends_eight_statements() {
    let (_, proxy, store) = counted().await;
    let keys = EncryptionKeys::new(EncryptionKey::new("k1", [7; 32]).unwrap());
    let tokens = warm(EncryptedStore::new(store, keys, "client").unwrap()).await;
    let before = proxy.count();
    tokens.refresh_now().await.unwrap();
    assert_eq!(proxy.count() - before, 8);
}

#[tokio::test]
async fn save_loads_only_what_was_not_seen_before() {
    let (options, proxy, store) = counted().await;
    let acme = tenant("acme");
    let save = async |expected, number, token: &str| {
        let before = proxy.count();
        let new = grant(number, token);
        let outcome = store.save(&acme, generation(expected), &new).await.unwrap();
        (outcome, proxy.count() - before)
    };
    let committed = SaveOutcome::Committed;
    assert_eq!(save(0, 1, "a").await, (committed.clone(), 1));
    assert_eq!(save(1, 2, "b").await, (committed.clone(), 1));
    assert_eq!(save(2, 2, "c").await, (committed.clone(), 1));

    // Another process changes the contents, and keeps the generation: the outcome is the same.
    let other = replica(&options);
    other
        .save(&acme, generation(2), &grant(2, "other"))
        .await
        .unwrap();
    assert_eq!(save(2, 3, "d").await, (committed.clone(), 3));
    assert_eq!(save(3, 4, "e").await, (committed.clone(), 1));

    // Another process raises the generation.
    let newer = grant(5, "newer");
    other.save(&acme, generation(4), &newer).await.unwrap();
    let superseded = SaveOutcome::Superseded(Some(newer.clone()));
    assert_eq!(save(4, 5, "f").await, (superseded, 2));
    assert_eq!(store.load(&acme).await.unwrap(), Some(newer));
    assert_eq!(save(5, 6, "g").await, (committed.clone(), 1), "was loaded");

    // The grant is deleted.
    sqlx::query("DELETE FROM oauth_grants")
        .execute(&pool(&options, 1))
        .await
        .unwrap();
    assert_eq!(save(6, 7, "h").await, (SaveOutcome::Superseded(None), 2));
    assert_eq!(save(0, 1, "i").await, (committed, 1));
}

/// A save may have been committed although its response was lost.
#[tokio::test]
async fn save_after_one_of_unknown_outcome_receives_its_own_grant() {
    let (options, store) = store().await;
    let acme = tenant("acme");
    store.save(&acme, None, &grant(1, "a")).await.unwrap();
    // The store knows nothing of this save.
    let lost = replica(&options)
        .save(&acme, generation(1), &grant(2, "b"))
        .await;
    assert_eq!(lost.unwrap(), SaveOutcome::Committed);
    let again = store.save(&acme, generation(1), &grant(2, "b")).await;
    let stored = SaveOutcome::Superseded(Some(grant(2, "b")));
    assert_eq!(again.unwrap(), stored);
}

/// Each column of the row is compared with what was seen, in every way that the store has seen it.
#[tokio::test]
async fn p14_row_that_is_damaged_after_it_was_seen_is_not_overwritten() {
    let (options, store) = store().await;
    let pool = pool(&options, 1);
    let damages = [
        "contents = ''",
        "contents = contents || '\\x00'",
        "contents = substr(contents, 1, 40)",
        "contents = convert_to(replace(convert_from(contents, 'UTF8'), 'acme', 'other'), 'UTF8')",
        "generation = 7",
        "tenant = 'acme2', generation = 7",
    ];
    for damage in damages {
        for is_loaded in [false, true] {
            let acme = tenant("acme");
            let sql = "DELETE FROM oauth_grants";
            sqlx::query(sql).execute(&pool).await.unwrap();
            replica(&options)
                .save(&acme, None, &grant(1, "a"))
                .await
                .unwrap();
            if is_loaded {
                store.load(&acme).await.unwrap();
            } else {
                store
                    .save(&acme, generation(1), &grant(1, "a"))
                    .await
                    .unwrap();
            }
            let sql = format!("UPDATE oauth_grants SET {damage}");
            sqlx::query(&sql).execute(&pool).await.unwrap();
            let row = || {
                let row = "SELECT tenant, generation, contents FROM oauth_grants";
                sqlx::query_as::<_, (String, i64, Vec<u8>)>(row).fetch_all(&pool)
            };
            let before = row().await.unwrap();
            let outcome = store.save(&acme, generation(1), &grant(2, "b")).await;
            if damage.contains("acme2") {
                assert_eq!(outcome.unwrap(), SaveOutcome::Superseded(None));
            } else {
                assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Store, "{damage}");
            }
            assert_eq!(row().await.unwrap(), before, "{damage}");
        }
    }
}

/// A store with another schema knows nothing of the first one's rows.
#[tokio::test]
async fn save_in_another_schema_is_conditional() {
    let (_, store) = store().await;
    let acme = tenant("acme");
    store.save(&acme, None, &grant(1, "a")).await.unwrap();
    let partner = store.clone().schema("partner").unwrap();
    partner.migrate().await.unwrap();
    let saved = partner.save(&acme, generation(1), &grant(2, "b")).await;
    assert_eq!(saved.unwrap(), SaveOutcome::Superseded(None));
}
