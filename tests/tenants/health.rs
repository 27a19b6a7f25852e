//! Health checks, and whether a customer has to consent.

use std::time::Duration;

use tower_oauth2_client::{
    Error,
    cache::TokenState,
    clock::Clock,
    oauth::CircuitState,
    tenants::{StateCounts, StoreHealth, Tenants},
    token::{Generation, Grant, GrantState, ReauthorizationReason},
};

use crate::{
    shared::Scripted,
    support::{
        DAY, HOUR, ManualClock, Source, Store, grant_of, named, numbered, pass, put,
        swept_elsewhere, tenants_over, tokens_of,
    },
};

const SECOND: Duration = Duration::from_secs(1);

async fn with_tenants(count: u64) -> (Tenants, Source, Store, ManualClock) {
    let clock = ManualClock::new();
    let (source, store) = (Source::new(&clock), Store::default());
    for number in 0..count {
        let tenant = numbered(number);
        put(&store.memory, &tenant, &grant_of(&tenant, DAY, &clock)).await;
    }
    swept_elsewhere(&store.memory).await;
    let tenants = tenants_over(&source, store.clone()).build().unwrap();
    (tenants, source, store, clock)
}

#[tokio::test(start_paused = true)]
async fn a_tenant_without_a_grant_is_absent_and_needs_consent() {
    let (tenants, _, store, clock) = with_tenants(1).await;
    let unknown = named("unknown");
    let status = tenants.status(&unknown).await.unwrap();
    assert_eq!(status.state, TokenState::Absent);
    assert!(tenants.needs_consent(&unknown).await.unwrap());
    assert!(!tenants.needs_consent(&numbered(0)).await.unwrap());
    let cache = tenants.cache(&numbered(0)).await.unwrap();
    assert!(!cache.needs_consent().await.unwrap());

    // Another replica ends the grant.
    let ended = Grant::new(
        Generation::FIRST,
        GrantState::ReauthorizationRequired {
            reason: ReauthorizationReason::InvalidGrant,
            since: clock.wall(),
            tokens: tokens_of(&numbered(1), DAY, &clock),
        },
    );
    put(&store.memory, &numbered(1), &ended).await;
    assert!(tenants.needs_consent(&numbered(1)).await.unwrap());

    store.fail_loads(true);
    pass(2 * SECOND).await;
    assert!(tenants.needs_consent(&named("other")).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_process_is_ready_while_its_store_is_readable() {
    let (tenants, _, store, _) = with_tenants(3).await;
    assert!(tenants.health().await.is_ready());
    store.fail_loads(true);
    // One check serves a second.
    assert!(tenants.health().await.is_ready());
    pass(2 * SECOND).await;
    let health = tenants.health().await;
    assert!(!health.is_ready());
    assert!(matches!(health.store, StoreHealth::Unreadable(_)));
    store.fail_loads(false);
    pass(2 * SECOND).await;
    assert!(tenants.health().await.is_ready());

    tenants.shutdown(SECOND).await.unwrap();
    assert!(!tenants.health().await.is_ready());
}

#[tokio::test(start_paused = true)]
async fn a_check_takes_less_than_a_second_and_is_shared() {
    let (tenants, _, store, _) = with_tenants(1).await;
    let before = store.loads();
    store.slow_next_load(HOUR);
    let started = tokio::time::Instant::now();
    let checks: Vec<_> = (0..100)
        .map(|_| {
            let tenants = tenants.clone();
            tokio::spawn(async move { tenants.health().await })
        })
        .collect();
    for check in checks {
        let health = check.await.unwrap();
        assert_eq!(health.store.as_str(), "unreachable");
    }
    assert!(started.elapsed() < SECOND);
    assert_eq!(store.loads() - before, 1);
    // The store responds again, and the check without a response ends.
    pass(15 * SECOND).await;
    assert!(tenants.health().await.is_ready());
}

#[tokio::test(start_paused = true)]
async fn residents_are_counted_by_state() {
    let (tenants, source, _, clock) = with_tenants(4).await;
    let started = clock.wall();
    let health = tenants.health().await;
    assert_eq!(health.residents, StateCounts::default());
    assert_eq!(health.oldest_refresh, None);
    for number in 0..4 {
        tenants.token(&numbered(number)).await.unwrap();
    }
    tenants.revoke(&numbered(3)).await.unwrap();
    source.then(Scripted::Fail(Error::invalid_grant()));
    let dead = tenants.cache(&numbered(2)).await.unwrap();
    assert!(dead.refresh_now().await.is_err());
    pass(HOUR / 4).await;
    tenants
        .cache(&numbered(1))
        .await
        .unwrap()
        .refresh_now()
        .await
        .unwrap();

    let health = tenants.health().await;
    assert_eq!(health.residents.fresh, 2);
    assert_eq!(health.residents.reauthorization_required, 1);
    assert_eq!(health.residents.revoked, 1);
    assert_eq!(health.oldest_refresh, Some(started));
    assert!(
        health
            .endpoint
            .is_none_or(|endpoint| endpoint.circuit == CircuitState::Closed)
    );
}

/// Its runtime ended, for example.
#[tokio::test(start_paused = true)]
async fn a_check_that_was_interrupted_does_not_count_for_later_calls() {
    let (tenants, _, store, _) = with_tenants(1).await;
    store.slow_next_load(HOUR);
    let runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = { runtime }.enable_time().build().unwrap();
    let loads = store.loads();
    let interrupted = tenants.clone();
    runtime.spawn(async move { interrupted.health().await });
    while store.loads() == loads {
        std::thread::yield_now();
    }
    tokio::task::spawn_blocking(move || drop(runtime))
        .await
        .unwrap();
    assert!(!tenants.health().await.is_ready());
    assert!(tenants.health().await.is_ready());
}
