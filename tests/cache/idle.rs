//! Grants that nobody uses.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use tower_oauth2_client::{
    cache::{TokenCache, TokenCacheBuilder, TokenState},
    clock::Clock,
    telemetry::GrantListener,
    token::{ReauthorizationReason, TenantId},
};

use crate::support::{
    DAY, HOUR, MINUTE, ManualClock, Scripted, Source, Store, header, token_set, unavailable,
};

async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}

fn cache(source: &Source, store: &Store) -> TokenCacheBuilder {
    source
        .cache()
        .store(store.clone())
        .refresh_token_lifetime(30 * DAY)
}

/// Whole days until the refresh token expires.
fn days_left(tokens: &TokenCache, clock: &ManualClock) -> Option<u64> {
    let expires_at = tokens.status().refresh_token_expires_at?;
    let left = expires_at.duration_since(clock.wall()).unwrap_or_default();
    Some(left.as_secs() / DAY.as_secs())
}

#[tokio::test(start_paused = true)]
async fn p19_an_idle_grant_costs_an_exchange_in_three_weeks() {
    let clock = ManualClock::new();
    let (source, store) = (Source::new(&clock), Store::default());
    let tokens = cache(&source, &store).build().unwrap();
    tokens.set_tokens(source.issue(DAY)).await.unwrap();
    for day in 1..=100 {
        pass(DAY).await;
        let left = days_left(&tokens, &clock).unwrap();
        assert!(left >= 7, "{left} days left on day {day}");
    }
    assert_eq!(source.refreshes(), 4);
    assert_eq!(tokens.status().state, TokenState::Expired);
    assert_eq!(
        header(&tokens).await,
        "Bearer a6",
        "and is good all the same"
    );
}

#[tokio::test(start_paused = true)]
async fn p19_a_grant_that_nobody_has_asked_for_since_the_start_is_kept_alive_too() {
    let clock = ManualClock::new();
    let (source, store) = (Source::new(&clock), Store::default());
    let first = cache(&source, &store).build().unwrap();
    first.set_tokens(source.issue(DAY)).await.unwrap();
    drop(first);
    pass(15 * DAY).await;
    assert_eq!(source.refreshes(), 0, "its tasks have ended with it");
    let _second = cache(&source, &store).build().unwrap();
    pass(4 * DAY).await;
    assert_eq!(source.refreshes(), 0);
    pass(4 * DAY).await;
    assert_eq!(source.refreshes(), 1);
}

#[tokio::test(start_paused = true)]
async fn p19_a_provider_that_keeps_the_refresh_token_is_not_asked_all_the_time() {
    let clock = ManualClock::new();
    let (source, store) = (Source::new(&clock), Store::default());
    source.keep_refresh_tokens(true);
    let tokens = cache(&source, &store).build().unwrap();
    tokens.set_tokens(source.issue(DAY)).await.unwrap();
    pass(100 * DAY).await;
    assert!(
        (4..=5).contains(&source.refreshes()),
        "{}",
        source.refreshes()
    );
}

#[tokio::test(start_paused = true)]
async fn p19_one_that_is_used_again_is_renewed_ahead_of_time_again() {
    let clock = ManualClock::new();
    let (source, store) = (Source::new(&clock), Store::default());
    let tokens = cache(&source, &store).build().unwrap();
    tokens.set_tokens(source.issue(DAY)).await.unwrap();
    pass(10 * DAY).await;
    assert_eq!(source.refreshes(), 0);
    header(&tokens).await;
    assert_eq!(source.refreshes(), 1);
    for _ in 0..(5 * 24) {
        pass(HOUR).await;
        let before = tokio::time::Instant::now();
        header(&tokens).await;
        assert_eq!(before.elapsed(), Duration::ZERO, "nobody waits");
    }
    assert!((6..=7).contains(&source.refreshes()));
}

#[tokio::test(start_paused = true)]
async fn p19_wrong_clocks_do_not_let_a_grant_die() {
    for shift in [-400 * 86_400, -3_600, 3_600, 86_400] {
        let clock = ManualClock::new();
        let (source, store) = (Source::new(&clock), Store::default());
        let tokens = cache(&source, &store).build().unwrap();
        tokens.set_tokens(source.issue(DAY)).await.unwrap();
        pass(HOUR).await;
        clock.shift_wall(shift);
        pass(23 * DAY).await;
        assert_eq!(source.refreshes(), 1, "{shift}");
    }
}

#[derive(Clone, Default)]
struct Days(Arc<Mutex<Vec<u64>>>);

impl GrantListener for Days {
    fn refresh_token_expiring(&self, _: &TenantId, days_left: u64) {
        self.0.lock().unwrap().push(days_left);
    }

    fn reauthorization_required(&self, _: &TenantId, reason: ReauthorizationReason) {
        assert_eq!(reason, ReauthorizationReason::RefreshTokenExpired);
        self.0.lock().unwrap().push(0);
    }
}

#[tokio::test(start_paused = true)]
async fn p19_the_last_days_are_told_once_each() {
    let clock = ManualClock::new();
    let (source, store, days) = (Source::new(&clock), Store::default(), Days::default());
    let tokens = cache(&source, &store).listener(days.clone()).build();
    let tokens = tokens.unwrap();
    tokens.set_tokens(source.issue(DAY)).await.unwrap();
    for _ in 0..10_000 {
        source.then(Scripted::Fail(unavailable()));
    }
    pass(22 * DAY + 12 * HOUR).await;
    assert!(days.0.lock().unwrap().is_empty());
    pass(8 * DAY).await;
    assert_eq!(*days.0.lock().unwrap(), [7, 3, 1]);
    assert_eq!(days_left(&tokens, &clock), Some(0));
    // Now it has ended, and the provider says so.
    source.clear_script();
    source.then(Scripted::Fail(tower_oauth2_client::Error::invalid_grant()));
    pass(DAY).await;
    assert_eq!(*days.0.lock().unwrap(), [7, 3, 1, 0]);
}

#[tokio::test(start_paused = true)]
async fn p19_what_has_no_refresh_token_is_not_kept_alive() {
    let clock = ManualClock::new();
    let (source, store) = (Source::new(&clock), Store::default());
    let tokens = cache(&source, &store).build().unwrap();
    let bare = token_set(1, DAY, clock.wall());
    let bare = tower_oauth2_client::token::TokenSet::new(
        bare.access_token().clone(),
        DAY,
        bare.issued_at(),
    );
    tokens.set_tokens(bare).await.unwrap();
    pass(100 * DAY).await;
    assert_eq!(source.refreshes(), 0);
    assert_eq!(days_left(&tokens, &clock), None);
}

#[tokio::test(start_paused = true)]
async fn p16_dead_tokens_are_not_fetched_for_nobody() {
    for lifetime in [0, 1, 5] {
        let clock = ManualClock::new();
        let (source, store) = (Source::new(&clock), Store::default());
        source.set_lifetime(Duration::from_secs(lifetime));
        let tokens = cache(&source, &store).build().unwrap();
        for _ in 0..10 {
            tokens.token().await.unwrap();
        }
        let before = source.refreshes();
        pass(HOUR).await;
        assert!(
            source.refreshes() <= before + 2,
            "a loop for tokens of {lifetime} s"
        );
        pass(MINUTE).await;
    }
}
