//! Token endpoints that respond slowly, and callers that stop waiting.

use std::time::Duration;

use tokio::time::Instant;
use tower_oauth2_client::{
    Error, ErrorKind,
    cache::{TokenCache, TokenSource, TokenState},
    token::{GrantState, TokenSet},
};

use crate::support::{API, DAY, HOUR, MINUTE, ManualClock, SECOND, Source, Store, header, pass};

/// A source with the default limit of a call.
struct Patient(Source);

impl TokenSource for Patient {
    async fn fetch(&self, held: Option<&TokenSet>) -> Result<TokenSet, Error> {
        self.0.fetch(held).await
    }
}

/// A cache whose grant expires in a day.
async fn cache(delay: Duration) -> (Source, Store, TokenCache) {
    let clock = ManualClock::new();
    let (source, store) = (Source::new(&clock), Store::default());
    let tokens = TokenCache::builder(Patient(source.clone()));
    let tokens = tokens.origin(API).clock(clock).jitter_seed(7);
    let tokens = tokens.store(store.clone()).build().unwrap();
    tokens.set_tokens(source.issue(DAY)).await.unwrap();
    source.set_delay(delay);
    (source, store, tokens)
}

fn sent(source: &Source) -> Vec<String> {
    source.sent_refresh_tokens().into_iter().flatten().collect()
}

#[tokio::test(start_paused = true)]
async fn p11_response_that_takes_up_to_a_minute_is_not_lost() {
    for seconds in [12, 14, 16, 30, 45, 59] {
        let (source, store, tokens) = cache(seconds * SECOND).await;
        pass(DAY + SECOND).await;
        let started = Instant::now();
        let served = loop {
            match tokens.token().await {
                Ok(token) => break token,
                Err(error) => assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}"),
            }
        };
        assert_eq!(started.elapsed(), seconds * SECOND);
        assert_eq!(served.header_value(), "Bearer a2", "{seconds}");
        assert_eq!(sent(&source), ["r1"], "{seconds}");
        assert!(matches!(
            store.stored().await.unwrap().state,
            GrantState::Active(_)
        ));
    }
}

#[tokio::test(start_paused = true)]
async fn p11_every_refresh_of_a_slow_endpoint_succeeds_for_weeks() {
    let (source, _, tokens) = cache(40 * SECOND).await;
    for _ in 0..(21 * 24) {
        header(&tokens).await;
        pass(HOUR).await;
    }
    let sent = sent(&source);
    assert!((21..=25).contains(&sent.len()), "{sent:?}");
    let mut once = sent.clone();
    once.dedup();
    assert_eq!(once, sent, "no refresh token is sent twice");
}

#[tokio::test(start_paused = true)]
async fn p11_lease_is_extended_while_a_slow_response_is_awaited() {
    let (source, store, tokens) = cache(50 * SECOND).await;
    let other = source.cache().store(store.memory.clone()).build().unwrap();
    pass(DAY + SECOND).await;
    let started = Instant::now();
    let callers = [&tokens, &other].map(|tokens| {
        let tokens = tokens.clone();
        tokio::spawn(async move {
            while tokens.token().await.is_err() {
                pass(SECOND).await;
            }
        })
    });
    for caller in callers {
        caller.await.unwrap();
    }
    assert!(started.elapsed() < 54 * SECOND);
    assert_eq!(sent(&source), ["r1"]);
}

#[tokio::test(start_paused = true)]
async fn p04_caller_stops_waiting_after_the_acquire_timeout() {
    for (timeout, expected) in [(None, 15 * SECOND), (Some(2 * SECOND), 2 * SECOND)] {
        let clock = ManualClock::new();
        let source = Source::new(&clock);
        source.set_delay(19 * SECOND);
        let mut builder = source.cache();
        if let Some(timeout) = timeout {
            builder = builder.acquire_timeout(timeout);
        }
        let tokens = builder.build().unwrap();
        let started = Instant::now();
        let waiting = tokio::spawn({
            let tokens = tokens.clone();
            async move { tokens.refresh_now().await.map_err(|error| error.kind()) }
        });
        let error = tokens.token().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert_eq!(started.elapsed(), expected);
        assert_eq!(waiting.await.unwrap().err(), Some(ErrorKind::Unavailable));
        assert_eq!(started.elapsed(), expected);
        pass(20 * SECOND).await;
        assert_eq!(header(&tokens).await, "Bearer a1", "the refresh continued");
        assert_eq!(source.refreshes(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn p05_caller_that_stops_waiting_uses_the_token_that_is_still_valid() {
    let (source, _, tokens) = cache(50 * SECOND).await;
    pass(DAY - 30 * SECOND).await;
    let started = Instant::now();
    assert_eq!(header(&tokens).await, "Bearer a1");
    assert_eq!(started.elapsed(), 15 * SECOND);
    pass(MINUTE).await;
    assert_eq!(header(&tokens).await, "Bearer a2");
    assert_eq!(sent(&source), ["r1"]);
}

#[tokio::test(start_paused = true)]
async fn p11_response_that_does_not_come_in_a_minute_is_lost() {
    let (source, store, tokens) = cache(2 * MINUTE).await;
    pass(DAY + SECOND).await;
    tokens.token().await.unwrap_err();
    pass(MINUTE).await;
    assert!(matches!(
        tokens.status().state,
        TokenState::Uncertain { .. }
    ));
    assert!(matches!(
        store.stored().await.unwrap().state,
        GrantState::Refreshing { .. }
    ));
    assert_eq!(sent(&source), ["r1"], "30 seconds have passed");
}
