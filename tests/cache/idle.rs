//! Idle grants, and their refresh tokens.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use tower_oauth2_client::{
    cache::{TokenCache, TokenCacheBuilder, TokenState, token_fn},
    clock::Clock,
    telemetry::GrantListener,
    token::{ReauthorizationReason, TenantId},
};

use crate::support::{
    DAY, HOUR, MINUTE, ManualClock, Scripted, Source, Store, header, pass, token_set, unavailable,
};

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
async fn p19_idle_grant_is_refreshed_once_in_three_weeks() {
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
        "and the grant still works"
    );
}

#[tokio::test(start_paused = true)]
async fn p19_grant_unused_since_the_start_is_kept_alive() {
    let clock = ManualClock::new();
    let (source, store) = (Source::new(&clock), Store::default());
    let first = cache(&source, &store).build().unwrap();
    first.set_tokens(source.issue(DAY)).await.unwrap();
    drop(first);
    pass(15 * DAY).await;
    assert_eq!(source.refreshes(), 0, "the worker has ended with its cache");
    let _second = cache(&source, &store).build().unwrap();
    pass(4 * DAY).await;
    assert_eq!(source.refreshes(), 0);
    pass(4 * DAY).await;
    assert_eq!(source.refreshes(), 1);
}

#[tokio::test(start_paused = true)]
async fn p19_provider_without_rotation_gets_no_more_token_requests() {
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
async fn p19_idle_grant_that_is_used_again_is_refreshed_early_again() {
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
        assert_eq!(before.elapsed(), Duration::ZERO, "a request waited");
    }
    assert!((6..=7).contains(&source.refreshes()));
}

#[tokio::test(start_paused = true)]
async fn p19_wrong_wall_clock_does_not_let_an_idle_grant_expire() {
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
struct DaysLeft(Arc<Mutex<Vec<u64>>>);

impl GrantListener for DaysLeft {
    fn refresh_token_expiring(&self, _: &TenantId, days_left: u64) {
        self.0.lock().unwrap().push(days_left);
    }

    fn reauthorization_required(&self, _: &TenantId, reason: ReauthorizationReason) {
        assert_eq!(reason, ReauthorizationReason::RefreshTokenExpired);
        self.0.lock().unwrap().push(0);
    }
}

#[tokio::test(start_paused = true)]
async fn p19_each_expiry_threshold_is_reported_once() {
    let clock = ManualClock::new();
    let (source, store, days) = (Source::new(&clock), Store::default(), DaysLeft::default());
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
    // Now it has expired, and the provider rejects it.
    source.clear_script();
    source.then(Scripted::Fail(tower_oauth2_client::Error::invalid_grant()));
    pass(DAY).await;
    assert_eq!(*days.0.lock().unwrap(), [7, 3, 1, 0]);
}

#[tokio::test(start_paused = true)]
async fn p19_grant_without_refresh_token_is_not_kept_alive() {
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
async fn p16_short_lived_tokens_cause_no_background_loop() {
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

#[tokio::test(start_paused = true)]
async fn p19_refresh_token_without_end_is_not_kept_alive() {
    let source = Source::new(&ManualClock::new());
    let tokens = source.cache().refresh_token_lifetime(Duration::MAX);
    let tokens = tokens.build().unwrap();
    tokens.set_tokens(source.issue(DAY)).await.unwrap();
    pass(100 * DAY).await;
    assert_eq!(source.refreshes(), 0);
}

#[tokio::test(start_paused = true)]
async fn p19_failed_keep_alive_is_retried_soon() {
    for seed in 0..20 {
        let clock = ManualClock::new();
        let source = Source::new(&clock);
        let tokens = source.cache().jitter_seed(seed);
        let tokens = tokens.refresh_token_lifetime(30 * DAY).build().unwrap();
        tokens.set_tokens(source.issue(DAY)).await.unwrap();
        // Even if the wall clock is set back meanwhile.
        clock.shift_wall(-25 * 86_400);
        source.then(Scripted::Fail(unavailable()));
        while source.refreshes() == 0 {
            pass(MINUTE).await;
        }
        pass(HOUR).await;
        assert_eq!(source.refreshes(), 2, "with seed {seed}");
    }
}

/// Each token set seems to be issued in the future, so its age is unknown and it is due at once.
#[tokio::test(start_paused = true)]
async fn p16_source_whose_clock_is_ahead_is_not_called_again_and_again() {
    let clock = ManualClock::new();
    let calls = Arc::new(AtomicU32::new(0));
    let source = token_fn({
        let (clock, calls) = (clock.clone(), Arc::clone(&calls));
        move || {
            let number = calls.fetch_add(1, Ordering::Relaxed);
            let issued_at = clock.wall() + 2 * HOUR;
            let tokens = token_set(u64::from(number), DAY, issued_at);
            async { Ok(tokens) }
        }
    });
    let tokens = TokenCache::builder(source)
        .origin("https://api.example.com")
        .clock(clock.clone())
        .refresh_token_lifetime(30 * DAY)
        .build()
        .unwrap();
    tokens.token().await.unwrap();
    pass(HOUR).await;
    let calls = calls.load(Ordering::Relaxed);
    assert!(calls <= 14, "{calls} calls in an hour");
}
