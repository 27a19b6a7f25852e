//! Single flight: one refresh at a time, which no caller can stop.

use std::time::Duration;

use tokio::{task::JoinSet, time::timeout};
use tower_oauth2_client::{Error, ErrorKind, cache::TokenCache, clock::Clock, token::Generation};

use crate::support::{
    HOUR, MINUTE, ManualClock, SECOND, Scripted, Source, cache_with_token, header, pass, token_set,
    unavailable,
};

fn source_and_cache() -> (Source, TokenCache) {
    let source = Source::new(&ManualClock::new());
    let tokens = source.cache().build().unwrap();
    (source, tokens)
}

/// Lets every task run as far as it can while time stands still.
async fn run_tasks() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn p03_any_number_of_callers_cause_one_refresh() {
    let (source, tokens) = source_and_cache();
    let mut callers = JoinSet::new();
    for _ in 0..10_000 {
        let tokens = tokens.clone();
        callers.spawn(async move { tokens.token().await.unwrap().generation() });
    }
    let generations = callers.join_all().await;
    assert_eq!(source.refreshes(), 1);
    assert!(
        generations
            .iter()
            .all(|generation| *generation == Generation::FIRST)
    );
}

#[test]
fn p03_callers_on_many_threads_cause_one_refresh() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(8)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        for _ in 0..20 {
            let (source, tokens) = source_and_cache();
            source.set_delay(Duration::ZERO);
            let start = std::sync::Arc::new(tokio::sync::Barrier::new(64));
            let mut callers = JoinSet::new();
            for _ in 0..64 {
                let (tokens, start) = (tokens.clone(), start.clone());
                callers.spawn(async move {
                    start.wait().await;
                    tokens.token().await.unwrap();
                });
            }
            callers.join_all().await;
            assert_eq!(source.refreshes(), 1);
        }
    });
}

#[tokio::test(start_paused = true)]
async fn p03_callers_with_different_reasons_share_a_refresh() {
    let (source, tokens) = source_and_cache();
    source.block();
    let waiting = tokio::spawn({
        let tokens = tokens.clone();
        async move { tokens.token().await.unwrap().generation() }
    });
    run_tasks().await;
    let refreshing = tokio::spawn({
        let tokens = tokens.clone();
        async move { tokens.refresh_now().await.unwrap().generation() }
    });
    run_tasks().await;
    source.unblock();
    assert_eq!(waiting.await.unwrap(), refreshing.await.unwrap());
    assert_eq!(source.refreshes(), 1);
}

#[tokio::test(start_paused = true)]
async fn p03_all_waiters_get_the_failure_of_one_refresh() {
    let (source, tokens) = source_and_cache();
    source.then(Scripted::Fail(unavailable()));
    let mut callers = JoinSet::new();
    for _ in 0..1_000 {
        let tokens = tokens.clone();
        callers.spawn(async move { tokens.token().await.unwrap_err().kind() });
    }
    let kinds = callers.join_all().await;
    assert!(kinds.iter().all(|kind| *kind == ErrorKind::Unavailable));
    // Callers that arrive just afterwards get it, too.
    assert_eq!(
        tokens.token().await.unwrap_err().kind(),
        ErrorKind::Unavailable
    );
    assert_eq!(source.refreshes(), 1);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(tokens.token().await.is_ok());
    assert_eq!(source.refreshes(), 2);
}

#[tokio::test(start_paused = true)]
async fn p03_waiter_of_a_background_refresh_gets_its_failure() {
    for failures in [
        vec![unavailable()],
        vec![Error::response_lost("lost"), Error::response_lost("lost")],
    ] {
        let (source, tokens) = source_and_cache();
        tokens.set_tokens(source.issue(HOUR)).await.unwrap();
        pass(57 * MINUTE).await;
        let requests = failures.len();
        for failure in failures {
            source.then(Scripted::Fail(failure));
        }
        assert_eq!(header(&tokens).await, "Bearer a1");
        assert!(tokens.status().is_refreshing);
        tokens.refresh_now().await.unwrap_err();
        assert_eq!(source.refreshes(), requests, "no second refresh follows");
        assert_eq!(header(&tokens).await, "Bearer a1");
    }
}

#[tokio::test(start_paused = true)]
async fn p04_dropped_callers_do_not_abort_the_refresh() {
    let (source, tokens) = source_and_cache();
    let mut callers = JoinSet::new();
    for _ in 0..100 {
        let tokens = tokens.clone();
        callers.spawn(async move { tokens.token().await });
    }
    run_tasks().await;
    callers.shutdown().await;
    assert_eq!(source.refreshes(), 1, "it had started");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(tokens.token().await.is_ok());
    assert_eq!(source.refreshes(), 1, "its result was saved");
}

#[tokio::test(start_paused = true)]
async fn p04_refresh_outlives_the_last_handle() {
    let clock = ManualClock::new();
    let source = Source::new(&clock);
    let store = crate::support::Store::default();
    let tokens = source.cache().store(store.clone()).build().unwrap();
    let caller = tokio::spawn(async move { tokens.token().await });
    run_tasks().await;
    caller.abort();
    assert!(caller.await.unwrap_err().is_cancelled());
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(store.stored().await.unwrap().generation, Generation::FIRST);
}

#[tokio::test(start_paused = true)]
async fn p04_each_waiter_keeps_its_own_deadline() {
    let (source, tokens) = source_and_cache();
    source.block();
    assert!(
        timeout(Duration::from_secs(2), tokens.token())
            .await
            .is_err()
    );
    let patient = tokio::spawn({
        let tokens = tokens.clone();
        async move { timeout(Duration::from_secs(9), tokens.token()).await }
    });
    run_tasks().await;
    source.unblock();
    assert!(patient.await.unwrap().unwrap().is_ok());
    assert_eq!(source.refreshes(), 1);
}

#[tokio::test(start_paused = true)]
async fn p04_refresh_that_hangs_ends_at_its_deadline() {
    let (source, tokens) = source_and_cache();
    source.then(Scripted::Hang);
    let error = timeout(Duration::from_secs(16), tokens.token())
        .await
        .unwrap()
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert!(tokens.token().await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn p04_panic_wakes_the_waiters_with_an_error() {
    let (source, tokens) = source_and_cache();
    source.then(Scripted::Panic);
    let mut callers = JoinSet::new();
    for _ in 0..10 {
        let tokens = tokens.clone();
        callers.spawn(async move { tokens.token().await.unwrap_err().kind() });
    }
    let kinds = callers.join_all().await;
    assert!(kinds.iter().all(|kind| *kind == ErrorKind::Interrupted));
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(tokens.token().await.is_ok());
}

#[test]
fn p04_runtime_shutdown_wakes_all_waiters() {
    let first = tokio::runtime::Runtime::new().unwrap();
    let second = tokio::runtime::Runtime::new().unwrap();
    let (source, tokens) = first.block_on(async { source_and_cache() });
    source.then(Scripted::Hang);
    first.block_on(async {
        let tokens = tokens.clone();
        tokio::spawn(async move { tokens.token().await });
        while source.refreshes() == 0 {
            tokio::task::yield_now().await;
        }
    });
    let waiting = second.spawn({
        let tokens = tokens.clone();
        async move { tokens.token().await }
    });
    // However far the waiter has been polled by then.
    drop(first);
    let landed = second.block_on(waiting).unwrap();
    if let Err(error) = landed {
        assert_eq!(error.kind(), ErrorKind::Interrupted);
    }
    second.block_on(async {
        let token = loop {
            match tokens.token().await {
                Ok(token) => break token,
                Err(error) => assert_eq!(error.kind(), ErrorKind::Interrupted),
            }
            tokio::task::yield_now().await;
        };
        assert_eq!(token.generation(), Generation::FIRST);
    });
}

#[test]
fn call_outside_of_a_runtime_is_an_error_not_a_panic() {
    let (_, tokens) = tokio::runtime::Runtime::new()
        .unwrap()
        .block_on(async { source_and_cache() });
    let mut future = tokio_test::task::spawn(tokens.token());
    let error = tokio_test::assert_ready!(future.poll()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Interrupted);
    let mut future = tokio_test::task::spawn(tokens.revoke());
    assert!(tokio_test::assert_ready!(future.poll()).is_err());
}

#[tokio::test(start_paused = true)]
async fn worker_ends_with_the_last_handle() {
    let (source, tokens) = source_and_cache();
    tokens.token().await.unwrap();
    drop(tokens);
    run_tasks().await;
    assert_eq!(
        tokio::runtime::Handle::current()
            .metrics()
            .num_alive_tasks(),
        0
    );
    tokio::time::sleep(2_000 * MINUTE).await;
    assert_eq!(source.refreshes(), 1);
}

#[tokio::test(start_paused = true)]
async fn p03_refresh_of_a_replaced_grant_does_not_refresh_its_successor() {
    let (source, _, tokens) = cache_with_token().await;
    // The refresh waits for the minimum interval, and the consent arrives meanwhile.
    let refreshing = tokio::spawn({
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
    let _ = refreshing.await.unwrap();
    let sent = source.sent_refresh_tokens();
    let times = sent.iter().filter(|token| token.as_deref() == Some("r9"));
    assert_eq!(times.count(), 1, "{sent:?}");
}
