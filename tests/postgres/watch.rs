//! What one replica changes, another hears of.

use std::time::Duration;

use sqlx::{
    PgPool,
    postgres::{PgConnectOptions, PgListener},
};
use tokio_test::task;
use tower_oauth2_client::store::{LeaseOwner, PostgresStore, TokenStore};

use crate::{generation, grant, pool, replica, store, support::MINUTE, tenant};

/// Once it listens, all who wait are woken.
async fn listens(store: &PostgresStore) {
    store.changed(&tenant("anybody")).await;
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
async fn saves_and_releases_wake_those_who_wait_for_the_tenant() {
    let (options, store) = store().await;
    let other = replica(&options);
    let (acme, umbrella, owner) = (tenant("acme"), tenant("umbrella"), LeaseOwner::random());
    listens(&other).await;

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
        "of another tenant, nothing is told"
    );
    store.save(&umbrella, None, &grant(1, "u")).await.unwrap();
    waiting.await;
}

#[tokio::test]
async fn what_happens_before_it_listens_is_not_missed() {
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
async fn one_connection_listens_for_all_clones_and_ends_with_the_last() {
    let (options, store) = store().await;
    let pool = pool(&options, 1);
    let clone = store.clone();
    listens(&store).await;
    listens_again(&clone, &store).await;
    assert_eq!(listeners(&pool).await, 1);
    drop(store);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(listeners(&pool).await, 1);
    drop(clone);
    until_listeners_are(&options, 0).await;
}

/// That the one is woken by what the other does.
async fn listens_again(one: &PostgresStore, other: &PostgresStore) {
    let acme = tenant("again");
    let mut changed = task::spawn(one.changed(&acme));
    assert!(changed.poll().is_pending());
    let held = other.load(&acme).await.unwrap().map(|held| held.generation);
    let next = held.map_or(1, |held| held.as_u64() + 1);
    other.save(&acme, held, &grant(next, "a")).await.unwrap();
    changed.await;
}

#[tokio::test]
async fn it_ends_with_the_pool_too() {
    let (options, _) = store().await;
    let pool = pool(&options, 2);
    let store = PostgresStore::new(pool.clone());
    listens(&store).await;
    pool.close().await;
    until_listeners_are(&options, 0).await;
    let acme = tenant("acme");
    let mut changed = task::spawn(store.changed(&acme));
    assert!(changed.poll().is_pending());
    assert!(store.load(&acme).await.is_err());
}

#[tokio::test]
async fn a_lost_connection_is_replaced_and_those_who_wait_look_again() {
    let (options, store) = store().await;
    let other = replica(&options);
    listens(&other).await;
    let acme = tenant("acme");
    let mut changed = task::spawn(other.changed(&acme));
    assert!(changed.poll().is_pending());
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
               WHERE datname = current_database() AND query LIKE 'LISTEN %'";
    sqlx::query(end).execute(&pool(&options, 1)).await.unwrap();
    changed.await;
    listens_again(&other, &store).await;
}

#[tokio::test]
async fn a_pool_of_one_connection_is_enough() {
    let (options, _) = store().await;
    let store = PostgresStore::new(pool(&options, 1));
    let (acme, owner) = (tenant("acme"), LeaseOwner::random());
    listens(&store).await;
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
async fn a_notification_names_nobody_and_comes_with_the_commit() {
    let (options, store) = store().await;
    let pool = pool(&options, 2);
    let mut listener = PgListener::connect_with(&pool).await.unwrap();
    listener.listen("tower_oauth2_client").await.unwrap();
    let (acme, owner) = (tenant("acme"), LeaseOwner::random());
    // Nothing of what is not done.
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
    for _ in 0..2 {
        let notification = listener.recv().await.unwrap();
        let payload = notification.payload();
        assert_eq!(payload.len(), 16);
        assert!(payload.bytes().all(|byte| byte.is_ascii_hexdigit()));
    }
    assert!(listener.next_buffered().is_none());
    // Others may send there too.
    sqlx::query("SELECT pg_notify('tower_oauth2_client', 'acme')")
        .execute(&pool)
        .await
        .unwrap();
    assert_eq!(listener.recv().await.unwrap().payload(), "acme");
}

#[test]
fn a_store_outlives_the_runtime_that_it_listened_in() {
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
    };
    let first = runtime();
    let (options, store) = first.block_on(async {
        let (options, store) = store().await;
        listens(&store).await;
        (options, store)
    });
    drop(first);
    // Its pool belongs to the first runtime; what listens is begun anew.
    let mut outside = task::spawn(async {
        let acme = tenant("acme");
        store.changed(&acme).await;
    });
    assert!(outside.poll().is_pending());
    drop(outside);
    runtime().block_on(async {
        listens(&store).await;
        until_listeners_are(&options, 1).await;
    });
    drop(store);
}
