//! Leases: one refresh among all caches that share a store.

use std::time::Duration;

use tokio::task::JoinSet;
use tower_oauth2_client::{
    ErrorKind,
    store::{LeaseOutcome, LeaseOwner, TokenStore},
    token::TenantId,
};

use crate::support::{
    DAY, ManualClock, SECOND, Scripted, Source, Store, cache_with_token, header, unavailable,
};

fn tenant() -> TenantId {
    TenantId::new("default").unwrap()
}

/// Another process acquires the lease for this duration.
async fn lease_of_another(store: &Store, duration: Duration) -> LeaseOwner {
    let other = LeaseOwner::random();
    let outcome = store.acquire(&tenant(), &other, duration).await;
    assert_eq!(outcome.unwrap(), LeaseOutcome::Acquired);
    other
}

#[tokio::test(start_paused = true)]
async fn p11_one_of_many_simultaneous_caches_refreshes() {
    let clock = ManualClock::new();
    let (source, store) = (Source::new(&clock), Store::default());
    let first = source.cache().store(store.clone()).build().unwrap();
    first.set_tokens(source.issue(DAY)).await.unwrap();
    let caches: Vec<_> = (0..20)
        .map(|_| source.cache().store(store.clone()).build().unwrap())
        .collect();
    for cache in &caches {
        header(cache).await;
    }
    tokio::time::sleep(2 * DAY).await;
    let before = source.refreshes();
    let mut refreshing = JoinSet::new();
    for cache in caches {
        refreshing.spawn(async move { header(&cache).await });
    }
    let headers = refreshing.join_all().await;
    assert_eq!(source.refreshes(), before + 1);
    assert!(headers.iter().all(|header| *header == headers[0]));
    let mut sent = source.sent_refresh_tokens();
    sent.sort();
    sent.dedup();
    assert_eq!(
        sent.len(),
        source.refreshes(),
        "no refresh token was sent twice"
    );
}

#[tokio::test(start_paused = true)]
async fn lease_that_is_not_released_is_an_error_and_expires() {
    let (source, store, tokens) = cache_with_token().await;
    lease_of_another(&store, 30 * SECOND).await;
    let error = tokens.refresh_now().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(source.refreshes(), 1);
    assert_eq!(header(&tokens).await, "Bearer a1", "the held token serves");
    tokio::time::sleep(15 * SECOND).await;
    tokens.refresh_now().await.unwrap();
    assert_eq!(header(&tokens).await, "Bearer a2");
}

#[tokio::test(start_paused = true)]
async fn lease_is_extended_during_a_long_refresh() {
    let source = Source::new(&ManualClock::new());
    let store = Store::default();
    let tokens = source.cache().store(store.clone());
    let tokens = tokens.lease_duration(SECOND).build().unwrap();
    tokens.token().await.unwrap();
    source.set_delay(10 * SECOND);
    let refreshing = tokio::spawn(async move { tokens.refresh_now().await });
    let other = LeaseOwner::random();
    tokio::time::sleep(2 * SECOND).await;
    for _ in 0..80 {
        tokio::time::sleep(SECOND / 10).await;
        let outcome = store.acquire(&tenant(), &other, SECOND).await.unwrap();
        assert_eq!(outcome, LeaseOutcome::HeldByAnother);
    }
    refreshing.await.unwrap().unwrap();
    let outcome = store.acquire(&tenant(), &other, SECOND).await.unwrap();
    assert_eq!(outcome, LeaseOutcome::Acquired, "and released then");
}

#[tokio::test(start_paused = true)]
async fn lease_is_released_after_a_failure() {
    let (source, store, tokens) = cache_with_token().await;
    source.then(Scripted::Fail(unavailable()));
    tokens.refresh_now().await.unwrap_err();
    let outcome = store
        .acquire(&tenant(), &LeaseOwner::random(), SECOND)
        .await;
    assert_eq!(outcome.unwrap(), LeaseOutcome::Acquired);
}

#[tokio::test(start_paused = true)]
async fn p06_waiter_for_the_lease_adopts_the_save_of_its_owner() {
    let (source, store, tokens) = cache_with_token().await;
    let other = lease_of_another(&store, 30 * SECOND).await;
    let refreshing = tokio::spawn({
        let tokens = tokens.clone();
        async move { tokens.refresh_now().await.unwrap() }
    });
    tokio::time::sleep(5 * SECOND).await;
    let mut grant = store.stored().await.unwrap();
    let held = grant.generation;
    grant.generation = held.next();
    grant.state = tower_oauth2_client::token::GrantState::Active(source.issue(DAY));
    store.save(&tenant(), Some(held), &grant).await.unwrap();
    // Even before it is released.
    assert_eq!(refreshing.await.unwrap().header_value(), "Bearer a2");
    assert_eq!(source.refreshes(), 1);
    store.release(&tenant(), &other).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn p11_suspend_beyond_the_lease_prevents_the_request() {
    let clock = ManualClock::new();
    let (source, store) = (Source::new(&clock), Store::default());
    let tokens = source.cache().store(store.clone()).build().unwrap();
    tokens.token().await.unwrap();
    store.slow_intents(5 * SECOND);
    let refreshing = tokio::spawn({
        let tokens = tokens.clone();
        async move { tokens.refresh_now().await }
    });
    tokio::time::sleep(3 * SECOND).await;
    // The machine is suspended while the intent is being saved.
    clock.shift_wall(60);
    let error = refreshing.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    assert_eq!(source.refreshes(), 1);
    store.slow_intents(Duration::ZERO);
    tokens.refresh_now().await.unwrap();
    assert_eq!(source.refreshes(), 2);
}
