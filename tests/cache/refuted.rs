//! What was wrong once: each of these has been found by somebody who looked for it.

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
    telemetry::GrantListener,
    token::{AccessToken, ReauthorizationReason, TenantId, TokenSet},
};

use crate::support::{
    API, DAY, HOUR, MINUTE, ManualClock, Scripted, Source, Store, cache_with_token, header,
    token_set, unavailable,
};

const SECOND: Duration = Duration::from_secs(1);

async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}

/// A request that waits for a token whose save takes five seconds.
async fn waiting_for_a_slow_save(
    store: &Store,
    tokens: &TokenCache,
) -> tokio::task::JoinHandle<Result<String, ErrorKind>> {
    tokens.invalidate();
    store.before_next_save(|| pass(5 * SECOND));
    let waiting = tokio::spawn({
        let tokens = tokens.clone();
        async move {
            let token = tokens.token().await.map_err(|error| error.kind())?;
            Ok(token.header_value().to_str().unwrap().to_owned())
        }
    });
    pass(SECOND + SECOND / 2).await;
    waiting
}

#[tokio::test(start_paused = true)]
async fn p15_no_token_of_a_revoked_grant_comes_out_of_a_slow_save() {
    let (_, store, tokens) = cache_with_token().await;
    let waiting = waiting_for_a_slow_save(&store, &tokens).await;
    tokens.revoke().await.unwrap();
    assert_eq!(tokens.token().await.unwrap_err().kind(), ErrorKind::Revoked);
    assert_eq!(waiting.await.unwrap(), Err(ErrorKind::Revoked));
}

#[tokio::test(start_paused = true)]
async fn p12_no_token_of_a_replaced_grant_comes_out_of_a_slow_save() {
    let (source, store, tokens) = cache_with_token().await;
    let waiting = waiting_for_a_slow_save(&store, &tokens).await;
    let consented = source.issue(DAY);
    tokens.set_tokens(consented).await.unwrap();
    assert_eq!(waiting.await.unwrap().unwrap(), "Bearer a3");
}

#[tokio::test(start_paused = true)]
async fn p12_a_revocation_that_was_given_up_does_not_end_a_later_consent() {
    let (source, store, tokens) = cache_with_token().await;
    store.before_next_save(|| pass(5 * SECOND));
    let given_up = tokio::time::timeout(SECOND, tokens.revoke()).await;
    assert!(given_up.is_err());
    tokens.set_tokens(source.issue(DAY)).await.unwrap();
    pass(10 * SECOND).await;
    assert_eq!(header(&tokens).await, "Bearer a2");
    assert_eq!(source.revoked(), ["r1"], "the old one alone");
}

#[test]
fn a_revocation_ends_use_before_anything_is_waited_for() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let (_, _, tokens) = runtime.block_on(cache_with_token());
    // Outside of the runtime it can do no more than that.
    let _ = tokio_test::task::spawn(tokens.revoke()).poll();
    let token = tokio_test::task::spawn(tokens.token()).poll();
    assert!(!matches!(token, std::task::Poll::Ready(Ok(_))));
}

#[tokio::test(start_paused = true)]
async fn p16_a_source_that_gives_the_same_token_again_is_left_alone() {
    let clock = ManualClock::new();
    let same = TokenSet::new(AccessToken::new("a1").unwrap(), HOUR, clock.wall());
    let exchanges = Arc::new(AtomicUsize::new(0));
    let counted = exchanges.clone();
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
    let in_two_hours = exchanges.load(Ordering::SeqCst);
    assert!(in_two_hours < 10, "{in_two_hours} exchanges for nobody");
}

#[tokio::test(start_paused = true)]
async fn p19_a_refresh_token_that_never_ends_needs_no_keepalive() {
    let source = Source::new(&ManualClock::new());
    let tokens = source.cache().refresh_token_lifetime(Duration::MAX);
    let tokens = tokens.build().unwrap();
    tokens.set_tokens(source.issue(DAY)).await.unwrap();
    pass(100 * DAY).await;
    assert_eq!(source.refreshes(), 0);
}

#[tokio::test(start_paused = true)]
async fn p19_a_keepalive_that_failed_is_made_again_soon() {
    for seed in 0..20 {
        let clock = ManualClock::new();
        let source = Source::new(&clock);
        let tokens = source.cache().jitter_seed(seed);
        let tokens = tokens.refresh_token_lifetime(30 * DAY).build().unwrap();
        tokens.set_tokens(source.issue(DAY)).await.unwrap();
        // Also by a wall clock that was set back meanwhile.
        clock.shift_wall(-25 * 86_400);
        source.then(Scripted::Fail(unavailable()));
        while source.refreshes() == 0 {
            pass(MINUTE).await;
        }
        pass(HOUR).await;
        assert_eq!(source.refreshes(), 2, "with seed {seed}");
    }
}

#[tokio::test(start_paused = true)]
async fn p11_a_replay_that_took_long_to_note_is_not_made() {
    let clock = ManualClock::new();
    let (source, store) = (Source::new(&clock), Store::default());
    let tokens = source.cache().store(store.clone()).build().unwrap();
    tokens.set_tokens(source.issue(DAY)).await.unwrap();
    source.then(Scripted::Hang);
    store.slow_replays(9 * SECOND);
    let asking = tokio::spawn(async move { tokens.refresh_now().await });
    // It was given up after 15 seconds, and the machine sleeps while that is written down.
    pass(20 * SECOND).await;
    clock.shift_wall(28 * 60);
    asking.await.unwrap().unwrap_err();
    assert_eq!(source.refreshes(), 1);
}

#[tokio::test(start_paused = true)]
async fn p18_a_token_does_not_outlive_a_shutdown_by_the_wall_clock() {
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
async fn p18_a_suspend_is_noticed_of_a_grant_that_has_ended() {
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

#[derive(Clone, Default)]
struct Ends(Arc<AtomicUsize>);

impl GrantListener for Ends {
    fn reauthorization_required(&self, _: &TenantId, _: ReauthorizationReason) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[tokio::test(start_paused = true)]
async fn p15_another_process_hears_of_the_end_once() {
    let clock = ManualClock::new();
    let (source, store, ends) = (Source::new(&clock), Store::default(), Ends::default());
    let one = source.cache().store(store.clone()).build().unwrap();
    let other = source.cache().store(store).listener(ends.clone()).build();
    let other = other.unwrap();
    one.set_tokens(source.issue(DAY)).await.unwrap();
    header(&other).await;
    source.then(Scripted::Fail(Error::invalid_grant()));
    one.refresh_now().await.unwrap_err();
    for _ in 0..3 {
        other.refresh_now().await.unwrap_err();
        pass(MINUTE).await;
    }
    assert_eq!(ends.0.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn p05_a_token_that_is_invalidated_is_not_brought_back_by_an_end() {
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
async fn p18_an_unsaved_token_that_died_is_not_brought_out() {
    let (source, store, tokens) = cache_with_token().await;
    store.fail_saves(true);
    source.then(Scripted::Tokens(MINUTE));
    tokens.refresh_now().await.unwrap_err();
    pass(10 * MINUTE).await;
    tokens.invalidate();
    assert_eq!(tokens.token().await.unwrap_err().kind(), ErrorKind::Store);
    store.fail_saves(false);
    pass(MINUTE).await;
    assert_eq!(header(&tokens).await, "Bearer a3", "and then it goes on");
}

#[tokio::test(start_paused = true)]
async fn p03_an_exchange_for_a_replaced_grant_does_not_renew_its_successor() {
    let (source, _, tokens) = cache_with_token().await;
    // It waits out the floor, and the consent comes in between.
    let asking = tokio::spawn({
        let tokens = tokens.clone();
        async move { tokens.refresh_now().await }
    });
    pass(SECOND / 10).await;
    let at = ManualClock::new().wall();
    tokens
        .set_tokens(token_set(9, Duration::ZERO, at))
        .await
        .unwrap();
    header(&tokens).await;
    let _ = asking.await.unwrap();
    let asked_with = source.sent_refresh_tokens();
    let times = asked_with
        .iter()
        .filter(|token| token.as_deref() == Some("r9"));
    assert_eq!(times.count(), 1, "{asked_with:?}");
}
