//! Notifications of changes by other replicas.

use std::time::Duration;

use sqlx::{
    PgPool,
    postgres::{PgConnectOptions, PgListener},
};
use tokio_test::task;
use tower_oauth2_client::store::{LeaseOwner, PostgresStore, TokenStore};

use crate::{generation, grant, pool, replica, store, support::MINUTE, tenant};

/// Waits until the store listens, which wakes all waiting tasks.
async fn start_listening(store: &PostgresStore) {
    store.changed(&tenant("any")).await;
}

async fn listeners(pool: &PgPool) -> i64 {
    let count = "SELECT count(*) FROM pg_stat_activity \
                 WHERE datname = current_database() AND query LIKE 'LISTEN %'";
    sqlx::query_scalar(count).fetch_one(pool).await.unwrap()
}

async fn until_listeners_are(options: &PgConnectOptions, number: i64) {
    let pool = pool(options, 1);
    while listeners(&pool).await != number {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn saves_and_releases_wake_the_tenants_waiters() {
    let (options, store) = store().await;
    let other = replica(&options);
    let (acme, umbrella, owner) = (tenant("acme"), tenant("umbrella"), LeaseOwner::random());
    start_listening(&other).await;

    let mut waiting = task::spawn(other.changed(&umbrella));
    assert!(waiting.poll().is_pending());
    for save in 0..3 {
        let mut changed = task::spawn(other.changed(&acme));
        assert!(changed.poll().is_pending());
        store
            .save(&acme, generation(save), &grant(save + 1, "a"))
            .await
            .unwrap();
        changed.await;
    }
    store.acquire(&acme, &owner, MINUTE).await.unwrap();
    let mut changed = task::spawn(other.changed(&acme));
    assert!(changed.poll().is_pending());
    store.release(&acme, &owner).await.unwrap();
    changed.await;

    assert!(
        waiting.poll().is_pending(),
        "another tenant's waiter is not woken"
    );
    store.save(&umbrella, None, &grant(1, "u")).await.unwrap();
    waiting.await;
}

#[tokio::test]
async fn changes_before_the_first_connection_are_not_missed() {
    let (options, store) = store().await;
    for number in 1..=20 {
        let other = replica(&options);
        let acme = tenant("acme");
        let mut changed = task::spawn(other.changed(&acme));
        assert!(changed.poll().is_pending());
        store
            .save(&acme, generation(number - 1), &grant(number, "a"))
            .await
            .unwrap();
        changed.await;
    }
}

#[tokio::test]
async fn clones_share_one_listening_connection_that_ends_with_the_last() {
    let (options, store) = store().await;
    let pool = pool(&options, 1);
    let clone = store.clone();
    start_listening(&store).await;
    is_notified_by(&clone, &store).await;
    assert_eq!(listeners(&pool).await, 1);
    drop(store);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(listeners(&pool).await, 1);
    drop(clone);
    until_listeners_are(&options, 0).await;
}

/// A save by one store wakes a waiter of the other.
async fn is_notified_by(one: &PostgresStore, other: &PostgresStore) {
    let acme = tenant("again");
    let mut changed = task::spawn(one.changed(&acme));
    assert!(changed.poll().is_pending());
    let stored = other
        .load(&acme)
        .await
        .unwrap()
        .map(|stored| stored.generation);
    let next = stored.map_or(1, |stored| stored.as_u64() + 1);
    other.save(&acme, stored, &grant(next, "a")).await.unwrap();
    changed.await;
}

#[tokio::test]
async fn listening_ends_when_the_pool_is_closed() {
    let (options, _) = store().await;
    let pool = pool(&options, 2);
    let store = PostgresStore::new(pool.clone());
    start_listening(&store).await;
    pool.close().await;
    until_listeners_are(&options, 0).await;
    let acme = tenant("acme");
    let mut changed = task::spawn(store.changed(&acme));
    assert!(changed.poll().is_pending());
    assert!(store.load(&acme).await.is_err());
}

#[tokio::test]
async fn lost_connection_is_replaced_and_waiters_are_woken() {
    let (options, store) = store().await;
    let other = replica(&options);
    start_listening(&other).await;
    let acme = tenant("acme");
    let mut changed = task::spawn(other.changed(&acme));
    assert!(changed.poll().is_pending());
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
               WHERE datname = current_database() AND query LIKE 'LISTEN %'";
    sqlx::query(end).execute(&pool(&options, 1)).await.unwrap();
    changed.await;
    is_notified_by(&other, &store).await;
}

#[tokio::test]
async fn pool_of_one_connection_is_enough() {
    let (options, _) = store().await;
    let store = PostgresStore::new(pool(&options, 1));
    let (acme, owner) = (tenant("acme"), LeaseOwner::random());
    start_listening(&store).await;
    let mut changed = task::spawn(store.changed(&acme));
    assert!(changed.poll().is_pending());
    store.acquire(&acme, &owner, MINUTE).await.unwrap();
    store.save(&acme, None, &grant(1, "a")).await.unwrap();
    store.migrate().await.unwrap();
    store.release(&acme, &owner).await.unwrap();
    assert_eq!(store.load(&acme).await.unwrap(), Some(grant(1, "a")));
    changed.await;
}

#[tokio::test]
async fn p21_notification_names_the_tenant_without_a_token_and_follows_the_commit() {
    let (options, store) = store().await;
    let pool = pool(&options, 2);
    let mut listener = PgListener::connect_with(&pool).await.unwrap();
    listener.listen("tower_oauth2_client").await.unwrap();
    let (acme, owner) = (tenant("acme"), LeaseOwner::random());
    // Calls that change nothing send no notification.
    store
        .save(&acme, generation(1), &grant(2, "a"))
        .await
        .unwrap();
    store.release(&acme, &owner).await.unwrap();
    store.save(&acme, None, &grant(1, "a")).await.unwrap();
    store.save(&acme, None, &grant(1, "b")).await.unwrap();
    store.acquire(&acme, &owner, MINUTE).await.unwrap();
    store.release(&acme, &LeaseOwner::random()).await.unwrap();
    store.release(&acme, &owner).await.unwrap();
    let saved = listener.recv().await.unwrap();
    let (hash, rest) = saved.payload().split_at(16);
    assert!(hash.bytes().all(|byte| byte.is_ascii_hexdigit()));
    assert_eq!(rest, " 1 acme", "the generation and the name, nothing else");
    // A released lease concerns waiting tasks only, which know the tenant.
    assert_eq!(listener.recv().await.unwrap().payload(), hash);
    assert!(listener.next_buffered().is_none());
    // Other programs may use the channel.
    sqlx::query("SELECT pg_notify('tower_oauth2_client', 'acme')")
        .execute(&pool)
        .await
        .unwrap();
    assert_eq!(listener.recv().await.unwrap().payload(), "acme");
}

#[test]
fn store_listens_again_after_its_runtime_has_ended() {
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
    };
    let first = runtime();
    let (options, store) = first.block_on(async {
        let (options, store) = store().await;
        start_listening(&store).await;
        (options, store)
    });
    drop(first);
    // The pool belongs to the first runtime. The listening task starts again.
    let mut outside = task::spawn(async {
        let acme = tenant("acme");
        store.changed(&acme).await;
    });
    assert!(outside.poll().is_pending());
    drop(outside);
    runtime().block_on(async {
        start_listening(&store).await;
        until_listeners_are(&options, 1).await;
    });
    drop(store);
}
