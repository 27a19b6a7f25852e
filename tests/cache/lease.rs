//! One exchange among all caches over one store.

use std::time::Duration;

use tokio::task::JoinSet;
use tower_oauth2_client::{
    ErrorKind,
    store::{LeaseOutcome, LeaseOwner, TokenStore},
    token::TenantId,
};

use crate::support::{
    DAY, ManualClock, Scripted, Source, Store, cache_with_token, header, unavailable,
};

const SECOND: Duration = Duration::from_secs(1);

fn tenant() -> TenantId {
    TenantId::new("default").unwrap()
}

/// Another process takes the lease for so long.
async fn taken(store: &Store, duration: Duration) -> LeaseOwner {
    let other = LeaseOwner::random();
    let outcome = store.acquire(&tenant(), &other, duration).await;
    assert_eq!(outcome.unwrap(), LeaseOutcome::Acquired);
    other
}

#[tokio::test(start_paused = true)]
async fn p11_of_many_that_begin_at_the_same_instant_one_makes_the_exchange() {
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
    let mut asking = JoinSet::new();
    for cache in caches {
        asking.spawn(async move { header(&cache).await });
    }
    let answers = asking.join_all().await;
    assert_eq!(source.refreshes(), before + 1);
    assert!(answers.iter().all(|answer| *answer == answers[0]));
    let mut asked_with = source.sent_refresh_tokens();
    asked_with.sort();
    asked_with.dedup();
    assert_eq!(asked_with.len(), source.refreshes(), "none twice");
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_not_given_back_is_told_of_and_runs_out() {
    let (source, store, tokens) = cache_with_token().await;
    taken(&store, 30 * SECOND).await;
    let error = tokens.refresh_now().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(source.refreshes(), 1);
    assert_eq!(header(&tokens).await, "Bearer a1", "what is held serves");
    tokio::time::sleep(15 * SECOND).await;
    tokens.refresh_now().await.unwrap();
    assert_eq!(header(&tokens).await, "Bearer a2");
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_extended_as_long_as_the_exchange_goes_on() {
    let source = Source::new(&ManualClock::new());
    let store = Store::default();
    let tokens = source.cache().store(store.clone());
    let tokens = tokens.lease_duration(SECOND).build().unwrap();
    tokens.token().await.unwrap();
    source.set_delay(10 * SECOND);
    let asking = tokio::spawn(async move { tokens.refresh_now().await });
    let other = LeaseOwner::random();
    tokio::time::sleep(2 * SECOND).await;
    for _ in 0..80 {
        tokio::time::sleep(SECOND / 10).await;
        let outcome = store.acquire(&tenant(), &other, SECOND).await.unwrap();
        assert_eq!(outcome, LeaseOutcome::HeldByAnother);
    }
    asking.await.unwrap().unwrap();
    let outcome = store.acquire(&tenant(), &other, SECOND).await.unwrap();
    assert_eq!(outcome, LeaseOutcome::Acquired, "and given back then");
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_given_back_after_a_failure_too() {
    let (source, store, tokens) = cache_with_token().await;
    source.then(Scripted::Fail(unavailable()));
    tokens.refresh_now().await.unwrap_err();
    let outcome = store
        .acquire(&tenant(), &LeaseOwner::random(), SECOND)
        .await;
    assert_eq!(outcome.unwrap(), LeaseOutcome::Acquired);
}

#[tokio::test(start_paused = true)]
async fn p06_who_waits_for_the_lease_takes_what_its_holder_has_stored() {
    let (source, store, tokens) = cache_with_token().await;
    let other = taken(&store, 30 * SECOND).await;
    let asking = tokio::spawn({
        let tokens = tokens.clone();
        async move { tokens.refresh_now().await.unwrap() }
    });
    tokio::time::sleep(5 * SECOND).await;
    let mut grant = store.stored().await.unwrap();
    let held = grant.generation;
    grant.generation = held.next();
    grant.state = tower_oauth2_client::token::GrantState::Active(source.issue(DAY));
    store.save(&tenant(), Some(held), &grant).await.unwrap();
    // Also before it is given back.
    assert_eq!(asking.await.unwrap().header_value(), "Bearer a2");
    assert_eq!(source.refreshes(), 1);
    store.release(&tenant(), &other).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn p11_who_comes_back_without_the_lease_sends_nothing() {
    let clock = ManualClock::new();
    let (source, store) = (Source::new(&clock), Store::default());
    let tokens = source.cache().store(store.clone()).build().unwrap();
    tokens.token().await.unwrap();
    store.slow_intents(5 * SECOND);
    let asking = tokio::spawn({
        let tokens = tokens.clone();
        async move { tokens.refresh_now().await }
    });
    tokio::time::sleep(3 * SECOND).await;
    // The machine sleeps while the note is being written.
    clock.shift_wall(60);
    let error = asking.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    assert_eq!(source.refreshes(), 1);
    store.slow_intents(Duration::ZERO);
    tokens.refresh_now().await.unwrap();
    assert_eq!(source.refreshes(), 2);
}
