//! Outages of the database, between and during calls.

use std::time::Duration;

use sqlx::{
    PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tokio::time::timeout;
use tower_oauth2_client::{
    Error, ErrorKind,
    store::{LeaseOutcome, LeaseOwner, PostgresStore, SaveOutcome, TokenStore},
    token::TenantId,
};

use crate::{
    generation, grant,
    server::Server,
    support::{MINUTE, header},
    tenant,
};

fn impatient_pool(options: &PgConnectOptions, connections: u32) -> PgPool {
    PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(Duration::from_secs(2))
        .connect_lazy_with(options.clone())
}

async fn migrated_store(server: &Server) -> (PgConnectOptions, PostgresStore) {
    let options = server.database().await;
    let store = PostgresStore::new(impatient_pool(&options, 2));
    store.migrate().await.unwrap();
    (options, store)
}

/// A call during an outage ends with an error.
async fn fails<T: std::fmt::Debug>(call: impl Future<Output = Result<T, Error>>) {
    let error = timeout(MINUTE, call)
        .await
        .expect("the call ends")
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Store);
}

#[tokio::test]
async fn calls_fail_during_an_outage_and_nothing_is_lost() {
    let server = Server::new();
    let (options, store) = migrated_store(&server).await;
    let other = PostgresStore::new(impatient_pool(&options, 2));
    let (acme, one, two) = (tenant("acme"), LeaseOwner::random(), LeaseOwner::random());
    store.save(&acme, None, &grant(1, "a")).await.unwrap();
    store.acquire(&acme, &one, 60 * MINUTE).await.unwrap();
    other.changed(&acme).await;
    let mut changed = tokio_test::task::spawn(other.changed(&acme));
    assert!(changed.poll().is_pending());

    for crash in [false, true] {
        if crash {
            server.kill();
        } else {
            server.stop();
        }
        fails(store.load(&acme)).await;
        fails(store.save(&acme, generation(1), &grant(2, "b"))).await;
        fails(store.acquire(&acme, &one, MINUTE)).await;
        fails(store.release(&acme, &one)).await;
        fails(store.migrate()).await;
        assert!(changed.poll().is_pending());

        server.start();
        assert_eq!(store.load(&acme).await.unwrap(), Some(grant(1, "a")));
        let stored = other.acquire(&acme, &two, MINUTE).await.unwrap();
        assert_eq!(stored, LeaseOutcome::HeldByAnother);
        // The listener reconnects and wakes the waiting task.
        changed.await;
        changed = tokio_test::task::spawn(other.changed(&acme));
        assert!(changed.poll().is_pending());
    }
    store
        .save(&acme, generation(1), &grant(2, "b"))
        .await
        .unwrap();
    changed.await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p13_committed_saves_survive_a_server_crash() {
    let server = Server::new();
    let (_, store) = migrated_store(&server).await;
    let acme = tenant("acme");
    let mut known = 0;
    for _ in 0..3 {
        let writing = tokio::spawn(write(store.clone(), acme.clone(), known));
        tokio::time::sleep(Duration::from_millis(300)).await;
        server.kill();
        let committed = timeout(MINUTE, writing).await.unwrap().unwrap();
        assert!(committed > known, "some saves were committed");
        server.start();
        let stored = store.load(&acme).await.unwrap().unwrap();
        known = stored.generation.as_u64();
        // The response to the last save may be lost.
        assert!(
            known == committed || known == committed + 1,
            "{known} {committed}"
        );
        assert_eq!(stored, grant(known, &format!("a{known}")));
    }
}

/// Saves consecutive generations until a save fails. Returns the last committed generation.
async fn write(store: PostgresStore, acme: TenantId, mut last: u64) -> u64 {
    loop {
        let new = grant(last + 1, &format!("a{}", last + 1));
        match store.save(&acme, generation(last), &new).await {
            Ok(outcome) => assert_eq!(outcome, SaveOutcome::Committed),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Store);
                return last;
            }
        }
        last += 1;
    }
}

#[tokio::test]
async fn frozen_server_does_not_block_a_dropped_save() {
    let server = Server::new();
    let (options, _) = migrated_store(&server).await;
    let store = PostgresStore::new(impatient_pool(&options, 1));
    let acme = tenant("acme");
    store.save(&acme, None, &grant(1, "a")).await.unwrap();
    server.freeze();
    let second = grant(2, "b");
    let save = store.save(&acme, generation(1), &second);
    timeout(Duration::from_millis(500), save).await.unwrap_err();
    server.thaw();
    let stored = store.load(&acme).await.unwrap().unwrap();
    assert!(
        [grant(1, "a"), second].contains(&stored),
        "whole or not at all"
    );
    let next = stored.generation.as_u64() + 1;
    let saved = store
        .save(&acme, Some(stored.generation), &grant(next, "c"))
        .await
        .unwrap();
    assert_eq!(saved, SaveOutcome::Committed);
}

#[tokio::test]
async fn p14_cache_serves_its_token_during_an_outage_and_refreshes_after_it() {
    let server = Server::new();
    let (options, store) = migrated_store(&server).await;
    let source = crate::support::Source::new(&crate::support::ManualClock::new());
    let tokens = source.cache().store(store).build().unwrap();
    assert_eq!(header(&tokens).await, "Bearer a1");
    server.stop();
    assert!(
        timeout(MINUTE, tokens.refresh_now())
            .await
            .unwrap()
            .is_err()
    );
    assert_eq!(header(&tokens).await, "Bearer a1");
    assert_eq!(
        source.refreshes(),
        1,
        "no refresh token is sent while the store is down"
    );
    server.start();
    tokens.refresh_now().await.unwrap();
    assert_eq!(header(&tokens).await, "Bearer a2");
    let restarted = PostgresStore::new(impatient_pool(&options, 1));
    let restarted = source.cache().store(restarted).build().unwrap();
    assert_eq!(header(&restarted).await, "Bearer a2");
    assert_eq!(source.refreshes(), 2);
}
