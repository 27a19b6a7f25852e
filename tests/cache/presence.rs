//! Background refreshes start only in a process that has shown that it stays.

use std::time::Duration;

use tower_oauth2_client::{
    cache::{TokenCache, TokenCacheBuilder},
    clock::Clock,
    token::{Generation, Grant, GrantState, RefreshToken},
};

use crate::support::{
    API, DAY, HOUR, MINUTE, ManualClock, SECOND, Source, Store, header, pass, token_set,
};

/// A program over a store with a grant whose access token was issued this long ago, for a day.
async fn program(age: Duration) -> (Source, TokenCacheBuilder) {
    let clock = ManualClock::new();
    let (source, store) = (Source::new(&clock), Store::default());
    let issued_at = clock.wall() - age;
    let tokens =
        token_set(1, DAY, issued_at).with_refresh_token(RefreshToken::new("r1"), issued_at);
    let grant = Grant::new(Generation::FIRST, GrantState::Active(tokens));
    store.put(grant).await;
    let program = TokenCache::builder(source.clone());
    let program = program.origin(API).clock(clock).jitter_seed(7).store(store);
    (source, program)
}

/// Uses the token every second.
async fn run(tokens: &TokenCache, time: Duration) {
    for _ in 0..time.as_secs() {
        header(tokens).await;
        pass(SECOND).await;
    }
}

#[tokio::test(start_paused = true)]
async fn p13_short_program_starts_no_refresh_that_no_request_waits_for() {
    for (age, case) in [
        (HOUR, "fresh"),
        (23 * HOUR, "advisory window"),
        (DAY - 5 * MINUTE, "last minutes"),
    ] {
        let (source, program) = program(age).await;
        let tokens = program.build().unwrap();
        run(&tokens, 58 * SECOND).await;
        assert_eq!(source.refreshes(), 0, "{case}");
    }
}

#[tokio::test(start_paused = true)]
async fn p13_program_that_stays_refreshes_in_the_background() {
    let (source, program) = program(23 * HOUR).await;
    let tokens = program.build().unwrap();
    // A token set that was due when it was loaded is refreshed within 10 minutes.
    run(&tokens, 11 * MINUTE).await;
    assert_eq!(source.refreshes(), 1);
}

#[tokio::test(start_paused = true)]
async fn p13_request_that_needs_a_new_token_waits_for_it_in_any_program() {
    for age in [DAY - 30 * SECOND, DAY + HOUR] {
        let (source, program) = program(age).await;
        let tokens = program.build().unwrap();
        tokens.token().await.unwrap();
        assert_eq!(source.refreshes(), 1);
    }
    let (source, program) = program(HOUR).await;
    let tokens = program.build().unwrap();
    tokens.token().await.unwrap();
    tokens.refresh_now().await.unwrap();
    assert_eq!(source.refreshes(), 1, "the program waits");
}

#[tokio::test(start_paused = true)]
async fn p13_short_program_does_not_keep_idle_grants_alive() {
    let (source, program) = program(25 * DAY).await;
    let tokens = program.refresh_token_lifetime(30 * DAY).build().unwrap();
    pass(58 * SECOND).await;
    assert_eq!(source.refreshes(), 0);
    pass(2 * MINUTE).await;
    assert_eq!(source.refreshes(), 1, "it stays");
    drop(tokens);
}

#[tokio::test(start_paused = true)]
async fn p13_short_program_does_not_replace_an_invalidated_token_in_the_background() {
    let (source, program) = program(HOUR).await;
    let tokens = program.build().unwrap();
    header(&tokens).await;
    tokens.invalidate();
    pass(30 * SECOND).await;
    assert_eq!(source.refreshes(), 0);
    header(&tokens).await;
    assert_eq!(source.refreshes(), 1, "a request waits");
}

#[tokio::test(start_paused = true)]
async fn p13_delay_of_background_work_can_be_set() {
    for delay in [0, 1, 10, 600] {
        let (source, program) = program(HOUR).await;
        let tokens = program.background_delay(delay * SECOND).build().unwrap();
        header(&tokens).await;
        tokens.invalidate();
        let mut passed = 0;
        while source.refreshes() == 0 {
            pass(SECOND).await;
            passed += 1;
        }
        // The background task counts in steps of at most 5 seconds.
        assert!((delay..=delay + 6).contains(&passed), "{delay}: {passed}");
    }
}
