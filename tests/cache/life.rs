//! What becomes of a token with time.

use std::time::Duration;

use tower_oauth2_client::{Error, ErrorKind, cache::TokenCache, token::GrantState};

use crate::support::{
    DAY, HOUR, MINUTE, ManualClock, Scripted, Source, Store, header, unavailable,
};

struct Life {
    clock: ManualClock,
    source: Source,
    store: Store,
    tokens: TokenCache,
}

/// A cache with its first token, which lives for a day.
async fn begun() -> Life {
    let clock = ManualClock::new();
    let source = Source::new(&clock);
    let store = Store::default();
    let tokens = source.cache().store(store.clone()).build().unwrap();
    tokens.token().await.unwrap();
    Life {
        clock,
        source,
        store,
        tokens,
    }
}

async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}

#[tokio::test(start_paused = true)]
async fn background_no_request_waits_near_expiry() {
    let life = begun().await;
    let mut exchanges = 1;
    for _ in 0..(30 * 24 * 4) {
        pass(15 * MINUTE).await;
        let before = tokio::time::Instant::now();
        life.tokens.token().await.unwrap();
        assert_eq!(before.elapsed(), Duration::ZERO, "a request waited");
        exchanges = exchanges.max(life.source.refreshes());
    }
    // 30 days of tokens that are renewed after 20.4 to 22.2 hours.
    assert!((31..=37).contains(&exchanges), "{exchanges}");
}

#[tokio::test(start_paused = true)]
async fn p05_a_failed_early_renewal_costs_no_request_anything() {
    let life = begun().await;
    for _ in 0..1_000 {
        life.source.then(Scripted::Fail(unavailable()));
    }
    for _ in 0..(23 * 60) {
        pass(MINUTE).await;
        let before = tokio::time::Instant::now();
        assert_eq!(header(&life.tokens).await, "Bearer a1");
        assert_eq!(before.elapsed(), Duration::ZERO);
    }
    // From the beginning of the window on, one every 5 to 10 minutes.
    let failures = life.source.refreshes() - 1;
    assert!((5..=32).contains(&failures), "{failures}");
}

#[tokio::test(start_paused = true)]
async fn p05_in_the_mandatory_window_a_failure_falls_back_to_the_held_token() {
    let life = begun().await;
    for _ in 0..1_000 {
        life.source.then(Scripted::Fail(unavailable()));
    }
    pass(DAY - Duration::from_secs(50)).await;
    assert_eq!(header(&life.tokens).await, "Bearer a1");
    pass(Duration::from_secs(49)).await;
    assert_eq!(header(&life.tokens).await, "Bearer a1");
    pass(Duration::from_secs(2)).await;
    assert_eq!(
        life.tokens.token().await.unwrap_err().kind(),
        ErrorKind::Unavailable
    );
}

#[tokio::test(start_paused = true)]
async fn p16_an_outage_is_sat_out_and_recovered_from() {
    let life = begun().await;
    for _ in 0..20 {
        life.source.then(Scripted::Fail(unavailable()));
    }
    // Nobody asks before the token is long dead.
    pass(DAY + HOUR).await;
    let mut failures = 0;
    while life.tokens.token().await.is_err() {
        failures += 1;
        assert!(failures < 1_000, "recovers by itself");
        pass(Duration::from_secs(5)).await;
    }
    assert_eq!(header(&life.tokens).await, "Bearer a2");
}

#[tokio::test(start_paused = true)]
async fn p15_invalid_grant_ends_the_grant_durably_and_without_further_exchanges() {
    let life = begun().await;
    life.source.then(Scripted::Fail(Error::invalid_grant()));
    let error = life.tokens.refresh_now().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ReauthorizationRequired);
    let held = life.store.stored().await.unwrap();
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
        let error = life.tokens.token().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ReauthorizationRequired);
        assert!(error.is_consent_required());
        pass(MINUTE).await;
    }
    assert!(life.tokens.refresh_now().await.is_err());
    assert_eq!(life.source.refreshes(), 2);

    // Nor after a restart.
    let again = life
        .source
        .cache()
        .store(life.store.clone())
        .build()
        .unwrap();
    assert_eq!(
        again.token().await.unwrap_err().kind(),
        ErrorKind::ReauthorizationRequired
    );
    assert_eq!(life.source.refreshes(), 2);

    let consented = life.source.issue(DAY);
    life.tokens.set_tokens(consented).await.unwrap();
    assert_eq!(header(&life.tokens).await, "Bearer a2");
    pass(MINUTE).await;
    assert_eq!(
        header(&again).await,
        "Bearer a2",
        "the other cache finds it in the store"
    );
}

#[tokio::test(start_paused = true)]
async fn p15_the_held_token_serves_until_it_expires() {
    let life = begun().await;
    life.source.then(Scripted::Fail(Error::invalid_grant()));
    life.tokens.refresh_now().await.unwrap_err();
    pass(DAY - MINUTE).await;
    assert_eq!(header(&life.tokens).await, "Bearer a1");
    pass(MINUTE).await;
    assert!(life.tokens.token().await.is_err());
    assert_eq!(life.source.refreshes(), 2);
}

#[tokio::test(start_paused = true)]
async fn p15_other_failures_end_nothing() {
    let life = begun().await;
    for _ in 0..5 {
        life.source.then(Scripted::Fail(unavailable()));
        assert!(life.tokens.refresh_now().await.is_err());
    }
    assert!(matches!(
        life.store.stored().await.unwrap().state,
        GrantState::Active(_)
    ));
    assert_eq!(header(&life.tokens).await, "Bearer a1");
    assert!(life.tokens.refresh_now().await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn p16_at_most_one_exchange_a_second_whatever_comes_back() {
    for lifetime in [0, 1, 2, 5] {
        let life = begun().await;
        life.source.set_lifetime(Duration::from_secs(lifetime));
        life.source.set_delay(Duration::ZERO);
        let _ = life.tokens.refresh_now().await;
        let (before, since) = (life.source.refreshes(), tokio::time::Instant::now());
        for _ in 0..500 {
            let _ = life.tokens.token().await;
            let _ = life.tokens.refresh_now().await;
            pass(Duration::from_millis(20)).await;
        }
        let seconds = since.elapsed().as_secs_f64();
        let exchanges = life.source.refreshes() - before;
        #[expect(clippy::cast_precision_loss, reason = "small numbers")]
        let rate = exchanges as f64 / seconds;
        assert!(rate <= 1.01, "{exchanges} exchanges in {seconds} seconds");
    }
}

#[tokio::test(start_paused = true)]
async fn p16_a_token_that_is_dead_on_arrival_serves_those_who_waited_for_it() {
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
async fn p18_a_suspend_is_noticed_within_thirty_seconds() {
    let life = begun().await;
    pass(HOUR).await;
    // The machine sleeps for two days: only the wall clock goes on.
    life.clock.shift_wall(2 * 86_400);
    pass(Duration::from_secs(31)).await;
    assert_eq!(life.source.refreshes(), 2);
    assert_eq!(header(&life.tokens).await, "Bearer a2");
}

#[tokio::test(start_paused = true)]
async fn p18_a_wall_clock_set_back_does_not_lengthen_a_life() {
    let life = begun().await;
    life.clock.shift_wall(-3 * 86_400);
    pass(DAY).await;
    assert!(life.source.refreshes() >= 2);
    assert_ne!(header(&life.tokens).await, "Bearer a1");
}

#[tokio::test(start_paused = true)]
async fn p18_a_slow_answer_does_not_lengthen_a_life() {
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
    // A minute after it was asked for, not after it came.
    pass(Duration::from_secs(12)).await;
    assert!(tokens.token().await.is_err());
}
