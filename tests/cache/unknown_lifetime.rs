//! Access tokens whose lifetime is unknown.

use tower_oauth2_client::{
    cache::{TokenCache, TokenCacheBuilder, TokenState},
    token::GrantState,
};

use crate::support::{
    DAY, HOUR, MINUTE, ManualClock, Scripted, Source, Store, header, pass, unavailable,
};

const YEAR: std::time::Duration = DAY.saturating_mul(366);

fn source_without_expiry(clock: &ManualClock) -> Source {
    let source = Source::new(clock);
    source.set_lifetime(None);
    source
}

fn cache(source: &Source, store: &Store) -> TokenCacheBuilder {
    source.cache().store(store.clone())
}

fn restarted(source: &Source, store: &Store) -> TokenCache {
    cache(source, store).build().unwrap()
}

#[tokio::test(start_paused = true)]
async fn p18_token_without_an_expiry_serves_until_it_is_rejected() {
    let clock = ManualClock::new();
    let (source, store) = (source_without_expiry(&clock), Store::default());
    let tokens = cache(&source, &store).build().unwrap();
    for _ in 0..2 {
        for _ in 0..4 {
            pass(YEAR / 4).await;
            assert_eq!(header(&tokens).await, "Bearer a1");
            let status = tokens.status();
            assert_eq!(status.state, TokenState::Fresh);
            assert_eq!(status.expires_at, None);
        }
        clock.shift_wall(-86_400);
    }
    assert_eq!(source.refreshes(), 1);
    tokens.invalidate();
    assert!(matches!(tokens.status().state, TokenState::Rejected { .. }));
    assert_eq!(header(&tokens).await, "Bearer a2");
}

#[tokio::test(start_paused = true)]
async fn p18_stored_token_without_an_expiry_serves_after_a_restart() {
    for wrong in [0, -400 * 86_400, 400 * 86_400] {
        let clock = ManualClock::new();
        let (source, store) = (source_without_expiry(&clock), Store::default());
        assert_eq!(header(&restarted(&source, &store)).await, "Bearer a1");
        let stored = store.stored().await.unwrap();
        assert_eq!(stored.tokens().unwrap().lifetime(), None);
        assert_eq!(stored.tokens().unwrap().expires_at(), None);
        clock.shift_wall(wrong);
        pass(YEAR).await;
        let tokens = restarted(&source, &store);
        assert_eq!(header(&tokens).await, "Bearer a1");
        pass(YEAR).await;
        assert_eq!(header(&tokens).await, "Bearer a1");
        assert_eq!(source.refreshes(), 1, "{wrong}");
    }
}

/// Early refresh does not apply. The refresh token has a lifetime of its own.
#[tokio::test(start_paused = true)]
async fn p19_grant_without_an_expiry_is_kept_alive_in_use_and_idle() {
    for is_used in [false, true] {
        let clock = ManualClock::new();
        let (source, store) = (source_without_expiry(&clock), Store::default());
        let tokens = cache(&source, &store).refresh_token_lifetime(30 * DAY);
        let tokens = tokens.build().unwrap();
        tokens.token().await.unwrap();
        for _ in 0..100 {
            pass(DAY).await;
            if is_used {
                tokens.token().await.unwrap();
            }
        }
        // Every 20 to 22 days.
        assert_eq!(source.refreshes(), 1 + 4, "{is_used}");
    }
}

/// No last minutes of an unknown lifetime come, in which the refresh token would be sent again.
#[tokio::test(start_paused = true)]
async fn p19_grant_without_an_expiry_is_kept_alive_after_a_lost_response() {
    let clock = ManualClock::new();
    let (source, store) = (source_without_expiry(&clock), Store::default());
    let tokens = cache(&source, &store).refresh_token_lifetime(30 * DAY);
    let tokens = tokens.build().unwrap();
    tokens.token().await.unwrap();
    source.then(Scripted::Hang);
    source.then(Scripted::Hang);
    assert!(tokens.refresh_now().await.is_err());
    pass(19 * DAY).await;
    assert_eq!(source.refreshes(), 3, "the request and its replay");
    assert_eq!(header(&tokens).await, "Bearer a1");
    pass(4 * DAY).await;
    assert_eq!(source.refreshes(), 4);
    let stored = store.stored().await.unwrap().state;
    assert!(matches!(stored, GrantState::Active(_)));
}

#[tokio::test(start_paused = true)]
async fn p05_failed_refresh_does_not_end_a_token_without_an_expiry() {
    let clock = ManualClock::new();
    let (source, store) = (source_without_expiry(&clock), Store::default());
    let tokens = cache(&source, &store).build().unwrap();
    tokens.token().await.unwrap();
    source.then(Scripted::Fail(unavailable()));
    assert!(tokens.refresh_now().await.is_err());
    store.fail_saves(true);
    source.then(Scripted::Tokens(None));
    // Cannot be saved: the old token serves as long as it can.
    assert!(tokens.refresh_now().await.is_err());
    pass(HOUR).await;
    assert_eq!(header(&tokens).await, "Bearer a1");
    store.fail_saves(false);
    pass(MINUTE).await;
    assert_eq!(header(&tokens).await, "Bearer a2");
}
