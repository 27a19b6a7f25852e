//! The lifetime of an access token: refreshes, failures and clocks.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tower_oauth2_client::{
    Error, ErrorKind,
    cache::{TokenCache, TokenState, token_fn},
    clock::Clock,
    token::{AccessToken, GrantState, TokenSet},
};

use crate::support::{
    API, DAY, HOUR, MINUTE, ManualClock, SECOND, Scripted, Source, Store, cache_with_token, header,
    pass, unavailable,
};

struct Scene {
    clock: ManualClock,
    source: Source,
    store: Store,
    tokens: TokenCache,
}

/// A cache with its first token, which lives for a day.
async fn cache_with_lifetime() -> Scene {
    let clock = ManualClock::new();
    let source = Source::new(&clock);
    let store = Store::default();
    let tokens = source.cache().store(store.clone()).build().unwrap();
    tokens.token().await.unwrap();
    Scene {
        clock,
        source,
        store,
        tokens,
    }
}

#[tokio::test(start_paused = true)]
async fn background_refresh_keeps_requests_from_waiting() {
    let scene = cache_with_lifetime().await;
    let mut refreshes = 1;
    for _ in 0..(30 * 24 * 4) {
        pass(15 * MINUTE).await;
        let before = tokio::time::Instant::now();
        scene.tokens.token().await.unwrap();
        assert_eq!(before.elapsed(), Duration::ZERO, "a request waited");
        refreshes = refreshes.max(scene.source.refreshes());
    }
    // 30 days of tokens that are refreshed after 20.4 to 22.2 hours.
    assert!((31..=37).contains(&refreshes), "{refreshes}");
}

#[tokio::test(start_paused = true)]
async fn p05_failed_early_refresh_does_not_affect_requests() {
    let scene = cache_with_lifetime().await;
    for _ in 0..1_000 {
        scene.source.then(Scripted::Fail(unavailable()));
    }
    for _ in 0..(23 * 60) {
        pass(MINUTE).await;
        let before = tokio::time::Instant::now();
        assert_eq!(header(&scene.tokens).await, "Bearer a1");
        assert_eq!(before.elapsed(), Duration::ZERO);
    }
    // From the start of the window on, one failure every 5 to 10 minutes.
    let failures = scene.source.refreshes() - 1;
    assert!((5..=32).contains(&failures), "{failures}");
}

#[tokio::test(start_paused = true)]
async fn p05_failure_in_the_mandatory_window_falls_back_to_the_held_token() {
    let scene = cache_with_lifetime().await;
    for _ in 0..1_000 {
        scene.source.then(Scripted::Fail(unavailable()));
    }
    pass(DAY - Duration::from_secs(50)).await;
    assert_eq!(header(&scene.tokens).await, "Bearer a1");
    pass(Duration::from_secs(49)).await;
    assert_eq!(header(&scene.tokens).await, "Bearer a1");
    pass(Duration::from_secs(2)).await;
    assert_eq!(
        scene.tokens.token().await.unwrap_err().kind(),
        ErrorKind::Unavailable
    );
}

#[tokio::test(start_paused = true)]
async fn p16_cache_recovers_from_an_outage() {
    let scene = cache_with_lifetime().await;
    for _ in 0..20 {
        scene.source.then(Scripted::Fail(unavailable()));
    }
    // No request is made until long after the expiry.
    pass(DAY + HOUR).await;
    let mut failures = 0;
    while scene.tokens.token().await.is_err() {
        failures += 1;
        assert!(failures < 1_000, "no recovery");
        pass(Duration::from_secs(5)).await;
    }
    assert_eq!(header(&scene.tokens).await, "Bearer a2");
}

#[tokio::test(start_paused = true)]
async fn p15_invalid_grant_ends_the_grant_durably_and_prevents_refreshes() {
    let scene = cache_with_lifetime().await;
    scene.source.then(Scripted::Fail(Error::invalid_grant()));
    let error = scene.tokens.refresh_now().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ReauthorizationRequired);
    let held = scene.store.stored().await.unwrap();
    assert!(matches!(
        held.state,
        GrantState::ReauthorizationRequired { .. }
    ));
    assert_eq!(
        held.tokens().unwrap().refresh_token().unwrap().expose(),
        "r1",
        "kept"
    );

    pass(2 * DAY).await;
    for _ in 0..100 {
        let error = scene.tokens.token().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ReauthorizationRequired);
        assert!(error.is_consent_required());
        pass(MINUTE).await;
    }
    assert!(scene.tokens.refresh_now().await.is_err());
    assert_eq!(scene.source.refreshes(), 2);

    // A restart does not refresh it, either.
    let again = scene
        .source
        .cache()
        .store(scene.store.clone())
        .build()
        .unwrap();
    assert_eq!(
        again.token().await.unwrap_err().kind(),
        ErrorKind::ReauthorizationRequired
    );
    assert_eq!(scene.source.refreshes(), 2);

    let consented = scene.source.issue(DAY);
    scene.tokens.set_tokens(consented).await.unwrap();
    assert_eq!(header(&scene.tokens).await, "Bearer a2");
    pass(MINUTE).await;
    assert_eq!(
        header(&again).await,
        "Bearer a2",
        "the other cache finds it in the store"
    );
}

#[tokio::test(start_paused = true)]
async fn p15_held_token_serves_until_it_expires() {
    let scene = cache_with_lifetime().await;
    scene.source.then(Scripted::Fail(Error::invalid_grant()));
    scene.tokens.refresh_now().await.unwrap_err();
    pass(DAY - MINUTE).await;
    assert_eq!(header(&scene.tokens).await, "Bearer a1");
    pass(MINUTE).await;
    assert!(scene.tokens.token().await.is_err());
    assert_eq!(scene.source.refreshes(), 2);
}

#[tokio::test(start_paused = true)]
async fn p15_other_failures_end_no_grant() {
    let scene = cache_with_lifetime().await;
    for _ in 0..5 {
        scene.source.then(Scripted::Fail(unavailable()));
        assert!(scene.tokens.refresh_now().await.is_err());
    }
    assert!(matches!(
        scene.store.stored().await.unwrap().state,
        GrantState::Active(_)
    ));
    assert_eq!(header(&scene.tokens).await, "Bearer a1");
    assert!(scene.tokens.refresh_now().await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn p16_at_most_one_refresh_a_second_whatever_the_response() {
    for lifetime in [0, 1, 2, 5] {
        let scene = cache_with_lifetime().await;
        scene.source.set_lifetime(Duration::from_secs(lifetime));
        scene.source.set_delay(Duration::ZERO);
        let _ = scene.tokens.refresh_now().await;
        let (before, since) = (scene.source.refreshes(), tokio::time::Instant::now());
        for _ in 0..500 {
            let _ = scene.tokens.token().await;
            let _ = scene.tokens.refresh_now().await;
            pass(Duration::from_millis(20)).await;
        }
        let seconds = since.elapsed().as_secs_f64();
        let refreshes = scene.source.refreshes() - before;
        #[expect(clippy::cast_precision_loss, reason = "small numbers")]
        let rate = refreshes as f64 / seconds;
        assert!(rate <= 1.01, "{refreshes} refreshes in {seconds} seconds");
    }
}

#[tokio::test(start_paused = true)]
async fn p16_token_that_has_expired_on_arrival_serves_its_waiters() {
    let clock = ManualClock::new();
    let source = Source::new(&clock);
    source.set_lifetime(Duration::ZERO);
    let tokens = source.cache().build().unwrap();
    assert_eq!(header(&tokens).await, "Bearer a1");
    assert_eq!(header(&tokens).await, "Bearer a2");
}

#[tokio::test(start_paused = true)]
async fn p17_no_grant_is_an_error() {
    let clock = ManualClock::new();
    let source = Source::new(&clock);
    source.then(Scripted::Fail(unavailable()));
    let tokens = source.cache().build().unwrap();
    assert!(tokens.token().await.is_err());
}

#[tokio::test(start_paused = true)]
async fn p18_suspend_is_detected_within_30_seconds() {
    let scene = cache_with_lifetime().await;
    pass(HOUR).await;
    // The machine is suspended for two days: only the wall clock continues.
    scene.clock.shift_wall(2 * 86_400);
    pass(Duration::from_secs(31)).await;
    assert_eq!(scene.source.refreshes(), 2);
    assert_eq!(header(&scene.tokens).await, "Bearer a2");
}

#[tokio::test(start_paused = true)]
async fn p18_wall_clock_set_back_does_not_prolong_a_lifetime() {
    let scene = cache_with_lifetime().await;
    scene.clock.shift_wall(-3 * 86_400);
    pass(DAY).await;
    assert!(scene.source.refreshes() >= 2);
    assert_ne!(header(&scene.tokens).await, "Bearer a1");
}

#[tokio::test(start_paused = true)]
async fn p18_slow_response_does_not_prolong_a_lifetime() {
    let clock = ManualClock::new();
    let source = Source::new(&clock);
    source.set_delay(Duration::from_secs(10));
    source.set_lifetime(MINUTE);
    let tokens = source.cache().build().unwrap();
    assert_eq!(header(&tokens).await, "Bearer a1");
    for _ in 0..100 {
        source.then(Scripted::Fail(unavailable()));
    }
    pass(Duration::from_secs(49)).await;
    assert_eq!(header(&tokens).await, "Bearer a1");
    // The minute counts from the request, not from the response.
    pass(Duration::from_secs(12)).await;
    assert!(tokens.token().await.is_err());
}

#[tokio::test(start_paused = true)]
async fn p16_source_that_returns_the_same_token_again_causes_no_loop() {
    let clock = ManualClock::new();
    let same = TokenSet::new(AccessToken::new("a1").unwrap(), HOUR, clock.wall());
    let refreshes = Arc::new(AtomicUsize::new(0));
    let counted = refreshes.clone();
    let source = token_fn(move || {
        counted.fetch_add(1, Ordering::SeqCst);
        let same = same.clone();
        async move { Ok(same) }
    });
    let tokens = TokenCache::builder(source).origin(API).clock(clock);
    let tokens = tokens.build().unwrap();
    header(&tokens).await;
    header(&tokens).await;
    pass(2 * HOUR).await;
    let in_two_hours = refreshes.load(Ordering::SeqCst);
    assert!(in_two_hours < 10, "{in_two_hours} refreshes in two hours");
}

#[tokio::test(start_paused = true)]
async fn p18_suspend_is_detected_after_a_shutdown() {
    let clock = ManualClock::new();
    let source = Source::new(&clock);
    let tokens = source.cache().build().unwrap();
    tokens.set_tokens(source.issue(DAY)).await.unwrap();
    tokens.shutdown(SECOND).await.unwrap();
    clock.shift_wall(3 * 86_400);
    pass(MINUTE).await;
    assert!(tokens.token().await.is_err());
}

#[tokio::test(start_paused = true)]
async fn p18_suspend_is_detected_after_the_grant_has_ended() {
    let clock = ManualClock::new();
    let source = Source::new(&clock);
    let tokens = source.cache().build().unwrap();
    tokens.token().await.unwrap();
    source.then(Scripted::Fail(Error::invalid_grant()));
    tokens.refresh_now().await.unwrap_err();
    clock.shift_wall(2 * 86_400);
    pass(MINUTE).await;
    assert!(tokens.token().await.is_err());
}

#[tokio::test(start_paused = true)]
async fn p05_end_does_not_bring_back_an_invalidated_token() {
    let (source, _, tokens) = cache_with_token().await;
    tokens.invalidate();
    source.then(Scripted::Fail(Error::invalid_grant()));
    for _ in 0..3 {
        assert!(tokens.token().await.is_err());
        pass(SECOND).await;
    }
    assert!(matches!(
        tokens.status().state,
        TokenState::ReauthorizationRequired { .. }
    ));
}

#[tokio::test(start_paused = true)]
async fn p18_unsaved_token_that_expired_is_not_used() {
    let (source, store, tokens) = cache_with_token().await;
    store.fail_saves(true);
    source.then(Scripted::Tokens(Some(MINUTE)));
    tokens.refresh_now().await.unwrap_err();
    pass(10 * MINUTE).await;
    tokens.invalidate();
    assert_eq!(tokens.token().await.unwrap_err().kind(), ErrorKind::Store);
    store.fail_saves(false);
    pass(MINUTE).await;
    assert_eq!(header(&tokens).await, "Bearer a3", "and refreshes continue");
}
