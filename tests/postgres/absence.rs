//! A database that is away: between calls, and in the middle of them.

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

fn hasty(options: &PgConnectOptions, connections: u32) -> PgPool {
    PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(Duration::from_secs(2))
        .connect_lazy_with(options.clone())
}

async fn begun(server: &Server) -> (PgConnectOptions, PostgresStore) {
    let options = server.database().await;
    let store = PostgresStore::new(hasty(&options, 2));
    store.migrate().await.unwrap();
    (options, store)
}

/// What is called while the server is away ends, and says so.
async fn is_refused<T: std::fmt::Debug>(call: impl Future<Output = Result<T, Error>>) {
    let error = timeout(MINUTE, call).await.expect("it ends").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Store);
}

#[tokio::test]
async fn calls_fail_while_the_server_is_stopped_and_nothing_is_lost() {
    let server = Server::new();
    let (options, store) = begun(&server).await;
    let other = PostgresStore::new(hasty(&options, 2));
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
        is_refused(store.load(&acme)).await;
        is_refused(store.save(&acme, generation(1), &grant(2, "b"))).await;
        is_refused(store.acquire(&acme, &one, MINUTE)).await;
        is_refused(store.release(&acme, &one)).await;
        is_refused(store.migrate()).await;
        assert!(changed.poll().is_pending());

        server.start();
        assert_eq!(store.load(&acme).await.unwrap(), Some(grant(1, "a")));
        let held = other.acquire(&acme, &two, MINUTE).await.unwrap();
        assert_eq!(held, LeaseOutcome::HeldByAnother);
        // The listener comes back, and lets those look who waited.
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
async fn what_is_committed_survives_a_crash_in_the_middle_of_saves() {
    let server = Server::new();
    let (_, store) = begun(&server).await;
    let acme = tenant("acme");
    let mut known = 0;
    for _ in 0..3 {
        let writing = tokio::spawn(write(store.clone(), acme.clone(), known));
        tokio::time::sleep(Duration::from_millis(300)).await;
        server.kill();
        let committed = timeout(MINUTE, writing).await.unwrap().unwrap();
        assert!(committed > known, "some came through");
        server.start();
        let held = store.load(&acme).await.unwrap().unwrap();
        known = held.generation.as_u64();
        // The last one's answer may have been lost with the connection.
        assert!(
            known == committed || known == committed + 1,
            "{known} {committed}"
        );
        assert_eq!(held, grant(known, &format!("a{known}")));
    }
}

/// Saves one generation after the other until that fails, and gives the last that was committed.
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
async fn a_server_that_says_nothing_keeps_nobody_who_does_not_wait() {
    let server = Server::new();
    let (options, _) = begun(&server).await;
    let store = PostgresStore::new(hasty(&options, 1));
    let acme = tenant("acme");
    store.save(&acme, None, &grant(1, "a")).await.unwrap();
    server.freeze();
    let second = grant(2, "b");
    let save = store.save(&acme, generation(1), &second);
    timeout(Duration::from_millis(500), save).await.unwrap_err();
    server.thaw();
    let held = store.load(&acme).await.unwrap().unwrap();
    assert!(
        [grant(1, "a"), second].contains(&held),
        "whole or not at all"
    );
    let next = held.generation.as_u64() + 1;
    let saved = store
        .save(&acme, Some(held.generation), &grant(next, "c"))
        .await
        .unwrap();
    assert_eq!(saved, SaveOutcome::Committed);
}

#[tokio::test]
async fn p14_a_cache_serves_what_it_has_and_renews_once_the_server_is_back() {
    let server = Server::new();
    let (options, store) = begun(&server).await;
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
        "no refresh token is spent that could not be stored"
    );
    server.start();
    tokens.refresh_now().await.unwrap();
    assert_eq!(header(&tokens).await, "Bearer a2");
    let restarted = PostgresStore::new(hasty(&options, 1));
    let restarted = source.cache().store(restarted).build().unwrap();
    assert_eq!(header(&restarted).await, "Bearer a2");
    assert_eq!(source.refreshes(), 2);
}
