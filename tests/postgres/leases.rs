//! Leases.

use std::time::Duration;

use sqlx::PgPool;
use tokio::task::JoinSet;
use tower_oauth2_client::store::{
    LeaseOutcome::{Acquired, HeldByAnother},
    LeaseOwner, SaveOutcome, TokenStore,
};

use crate::{generation, grant, pool, replica, store, tenant};

const LEASE: Duration = Duration::from_secs(30);

#[tokio::test]
async fn lease_has_one_owner() {
    let (options, store) = store().await;
    let other = replica(&options);
    let (acme, one, two) = (tenant("acme"), LeaseOwner::random(), LeaseOwner::random());
    assert_eq!(store.acquire(&acme, &one, LEASE).await.unwrap(), Acquired);
    assert_eq!(
        other.acquire(&acme, &two, LEASE).await.unwrap(),
        HeldByAnother
    );
    assert_eq!(
        other.acquire(&acme, &one, LEASE).await.unwrap(),
        Acquired,
        "extended"
    );
    assert_eq!(
        other.acquire(&tenant("ACME"), &two, LEASE).await.unwrap(),
        Acquired,
        "another tenant"
    );

    other.release(&acme, &two).await.unwrap();
    assert_eq!(
        other.acquire(&acme, &two, LEASE).await.unwrap(),
        HeldByAnother,
        "only another owner has released it"
    );
    other.release(&acme, &one).await.unwrap();
    assert_eq!(other.acquire(&acme, &two, LEASE).await.unwrap(), Acquired);
    store.release(&acme, &one).await.unwrap();
    assert_eq!(
        store.acquire(&acme, &one, LEASE).await.unwrap(),
        HeldByAnother
    );
}

#[tokio::test]
async fn leases_and_grants_are_independent() {
    let (_, store) = store().await;
    let (acme, owner) = (tenant("acme"), LeaseOwner::random());
    store.release(&acme, &owner).await.unwrap();
    store.acquire(&acme, &owner, LEASE).await.unwrap();
    assert_eq!(store.load(&acme).await.unwrap(), None);
    store.save(&acme, None, &grant(1, "a")).await.unwrap();
    store.release(&acme, &owner).await.unwrap();
    assert_eq!(store.load(&acme).await.unwrap(), Some(grant(1, "a")));
}

#[tokio::test]
async fn lease_expires_by_the_databases_clock() {
    let (options, store) = store().await;
    let pool = pool(&options, 1);
    let (acme, one, two) = (tenant("acme"), LeaseOwner::random(), LeaseOwner::random());
    store.acquire(&acme, &one, LEASE).await.unwrap();
    let left = seconds_left(&pool).await;
    assert!((20.0..=30.0).contains(&left), "{left}");

    expire(&pool).await;
    assert_eq!(
        store.acquire(&acme, &one, LEASE).await.unwrap(),
        Acquired,
        "no other owner has acquired it"
    );
    expire(&pool).await;
    assert_eq!(
        store.acquire(&acme, &two, 2 * LEASE).await.unwrap(),
        Acquired
    );
    assert_eq!(
        store.acquire(&acme, &one, LEASE).await.unwrap(),
        HeldByAnother
    );
    let left = seconds_left(&pool).await;
    assert!((50.0..=60.0).contains(&left), "the new duration: {left}");

    // A real expiry.
    let short = tenant("short");
    store
        .acquire(&short, &one, Duration::from_millis(300))
        .await
        .unwrap();
    while store.acquire(&short, &two, LEASE).await.unwrap() == HeldByAnother {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn lease_accepts_any_duration() {
    let (_, store) = store().await;
    let (acme, one, two) = (tenant("acme"), LeaseOwner::random(), LeaseOwner::random());
    assert_eq!(
        store.acquire(&acme, &one, Duration::ZERO).await.unwrap(),
        Acquired
    );
    assert_eq!(
        store.acquire(&acme, &two, Duration::MAX).await.unwrap(),
        Acquired
    );
    assert_eq!(
        store.acquire(&acme, &one, LEASE).await.unwrap(),
        HeldByAnother
    );
    assert_eq!(
        store.acquire(&acme, &two, Duration::ZERO).await.unwrap(),
        Acquired,
        "shortened"
    );
    assert_eq!(store.acquire(&acme, &one, LEASE).await.unwrap(), Acquired);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p11_one_of_concurrent_owners_acquires_the_lease() {
    let (options, store) = store().await;
    let pool = pool(&options, 1);
    let replicas = [replica(&options), replica(&options), replica(&options)];
    let acme = tenant("acme");
    for round in 0..10 {
        let mut acquiring = JoinSet::new();
        for (_, store) in (0..12).zip(replicas.iter().cycle()) {
            let (store, acme) = (store.clone(), acme.clone());
            acquiring.spawn(async move {
                let owner = LeaseOwner::random();
                (store.acquire(&acme, &owner, LEASE).await.unwrap(), owner)
            });
        }
        let outcomes = acquiring.join_all().await;
        let mut owners = outcomes.iter().filter(|(outcome, _)| *outcome == Acquired);
        let (_, owner) = owners.next().unwrap();
        assert_eq!(owners.next(), None);
        if round % 2 == 0 {
            store.release(&acme, owner).await.unwrap();
        } else {
            expire(&pool).await;
        }
    }
}

/// Another process commits while a replica waits for its lease. A statement sees the tables as they
/// were when it began, except for what it locks.
#[tokio::test]
async fn p10_grant_that_was_saved_while_the_lease_was_awaited_is_loaded() {
    let mine = || grant(2, "new").to_bytes(&tenant("acme")).to_vec();
    for (stored, save) in [
        (
            Some(grant(1, "old")),
            "UPDATE oauth_grants SET generation = 2, contents = $1",
        ),
        (
            None,
            "INSERT INTO oauth_grants (tenant, generation, contents) VALUES ('acme', 2, $1)",
        ),
    ] {
        let (options, store) = store().await;
        let (acme, one, two) = (tenant("acme"), LeaseOwner::random(), LeaseOwner::random());
        if let Some(stored) = &stored {
            store.save(&acme, None, stored).await.unwrap();
        }
        store.acquire(&acme, &one, LEASE).await.unwrap();
        let pool = pool(&options, 2);
        let mut owner = pool.begin().await.unwrap();
        // The order in which a save releases the lease.
        sqlx::query("SELECT FROM oauth_leases FOR UPDATE")
            .execute(&mut *owner)
            .await
            .unwrap();
        let acquiring = tokio::spawn(async move {
            let acme = tenant("acme");
            store.acquire_and_load(&acme, &two, LEASE).await
        });
        is_waiting(&pool).await;
        sqlx::query(save)
            .bind(mine())
            .execute(&mut *owner)
            .await
            .unwrap();
        sqlx::query("DELETE FROM oauth_leases")
            .execute(&mut *owner)
            .await
            .unwrap();
        owner.commit().await.unwrap();
        let acquired = acquiring.await.unwrap().unwrap();
        assert_eq!(acquired, (Acquired, Some(grant(2, "new"))), "{stored:?}");
    }
}

/// The stored grant that a superseded save returns is the one of another process that committed
/// while the save waited, or the save is repeated until it is.
#[tokio::test]
async fn p12_save_that_waits_for_another_returns_its_grant() {
    let (options, store) = store().await;
    let (acme, owner) = (tenant("acme"), LeaseOwner::random());
    store.save(&acme, None, &grant(1, "old")).await.unwrap();
    store.acquire_and_load(&acme, &owner, LEASE).await.unwrap();
    let pool = pool(&options, 2);
    let mut other = pool.begin().await.unwrap();
    sqlx::query("UPDATE oauth_grants SET generation = 2, contents = $1")
        .bind(grant(2, "theirs").to_bytes(&acme).to_vec())
        .execute(&mut *other)
        .await
        .unwrap();
    let saving = tokio::spawn({
        let (store, owner) = (store.clone(), owner.clone());
        async move {
            let (acme, mine) = (tenant("acme"), grant(2, "mine"));
            let save = store.save_and_release(&acme, generation(1), &mine, &owner);
            save.await
        }
    });
    is_waiting(&pool).await;
    other.commit().await.unwrap();
    assert_eq!(
        saving.await.unwrap().unwrap(),
        SaveOutcome::Superseded(Some(grant(2, "theirs")))
    );
    let two = LeaseOwner::random();
    assert_eq!(
        store.acquire(&acme, &two, LEASE).await.unwrap(),
        HeldByAnother,
        "a superseded save releases nothing"
    );
}

/// Replicas refresh one grant while an owner extends its lease over other connections: no statement
/// waits for another in a circle.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p10_extensions_do_not_deadlock_with_saves() {
    let (options, store) = store().await;
    let acme = tenant("acme");
    store.save(&acme, None, &grant(1, "a")).await.unwrap();
    let mut replicas = JoinSet::new();
    for _ in 0..3 {
        let (store, acme) = (replica(&options), acme.clone());
        replicas.spawn(async move {
            let owner = LeaseOwner::random();
            for _ in 0..60 {
                let begin = store.acquire_and_load(&acme, &owner, LEASE);
                let (outcome, stored) = begin.await.unwrap();
                if outcome == HeldByAnother {
                    continue;
                }
                let number = stored.unwrap().generation.as_u64();
                let next = grant(number + 1, "a");
                let save = store.save_and_release(&acme, generation(number), &next, &owner);
                let (saved, extended, loaded) = tokio::join!(
                    save,
                    store.acquire(&acme, &owner, LEASE),
                    store.acquire_and_load(&acme, &owner, LEASE)
                );
                assert_eq!(saved.unwrap(), SaveOutcome::Committed);
                extended.unwrap();
                loaded.unwrap();
                store.release(&acme, &owner).await.unwrap();
            }
        });
    }
    replicas.join_all().await;
    let deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";
    let pool = pool(&options, 1);
    let deadlocks: i64 = sqlx::query_scalar(deadlocks)
        .fetch_one(&pool)
        .await
        .unwrap();
    assert_eq!(deadlocks, 0);
}

/// Returns once a statement waits for a lock.
async fn is_waiting(pool: &PgPool) {
    let waiting = "SELECT count(*) FROM pg_stat_activity \
                   WHERE datname = current_database() AND wait_event_type = 'Lock'";
    loop {
        let count: i64 = sqlx::query_scalar(waiting).fetch_one(pool).await.unwrap();
        if count > 0 {
            return;
        }
        tokio::task::yield_now().await;
    }
}

async fn expire(pool: &PgPool) {
    sqlx::raw_sql("UPDATE oauth_leases SET until = clock_timestamp()")
        .execute(pool)
        .await
        .unwrap();
}

async fn seconds_left(pool: &PgPool) -> f64 {
    let left = "SELECT extract(epoch FROM until - clock_timestamp())::float8 FROM oauth_leases \
                WHERE tenant = 'acme'";
    sqlx::query_scalar(left).fetch_one(pool).await.unwrap()
}
