//! Leases.

use std::time::Duration;

use sqlx::PgPool;
use tokio::task::JoinSet;
use tower_oauth2_client::store::{
    LeaseOutcome::{Acquired, HeldByAnother},
    LeaseOwner, TokenStore,
};

use crate::{grant, pool, replica, store, tenant};

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

#[tokio::test]
async fn leases_that_expired_long_ago_are_deleted() {
    let (options, store) = store().await;
    let owner = LeaseOwner::random();
    for name in ["acme", "initech", "hooli"] {
        store.acquire(&tenant(name), &owner, LEASE).await.unwrap();
    }
    let pool = pool(&options, 1);
    let age = "UPDATE oauth_leases SET until = until - $1::interval WHERE tenant = $2";
    for (name, by) in [("acme", "2 hours"), ("initech", "10 minutes")] {
        let age = sqlx::query(age).bind(by).bind(name).execute(&pool).await;
        assert_eq!(age.unwrap().rows_affected(), 1);
    }
    store.delete_expired_leases().await.unwrap();
    let left: Vec<String> = sqlx::query_scalar("SELECT tenant FROM oauth_leases ORDER BY tenant")
        .fetch_all(&pool)
        .await
        .unwrap();
    assert_eq!(left, ["hooli", "initech"]);
    // Its owner can still extend it, as if it had only expired.
    let extended = store.acquire(&tenant("acme"), &owner, LEASE).await;
    assert_eq!(extended.unwrap(), Acquired);
}
