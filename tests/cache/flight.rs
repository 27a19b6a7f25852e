//! One exchange at a time, which no caller can stop.

use std::time::Duration;

use tokio::{task::JoinSet, time::timeout};
use tower_oauth2_client::{ErrorKind, cache::TokenCache, token::Generation};

use crate::support::{MINUTE, ManualClock, Scripted, Source, unavailable};

fn new() -> (Source, TokenCache) {
    let source = Source::new(&ManualClock::new());
    let tokens = source.cache().build().unwrap();
    (source, tokens)
}

/// Lets every task go on as far as it can without time passing.
async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn p03_one_exchange_for_any_number_of_callers() {
    let (source, tokens) = new();
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
fn p03_one_exchange_for_callers_on_many_threads() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(8)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        for _ in 0..20 {
            let (source, tokens) = new();
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
async fn p03_whatever_brings_them_callers_share_an_exchange() {
    let (source, tokens) = new();
    source.block();
    let waiting = tokio::spawn({
        let tokens = tokens.clone();
        async move { tokens.token().await.unwrap().generation() }
    });
    settle().await;
    let asking = tokio::spawn({
        let tokens = tokens.clone();
        async move { tokens.refresh_now().await.unwrap().generation() }
    });
    settle().await;
    source.unblock();
    assert_eq!(waiting.await.unwrap(), asking.await.unwrap());
    assert_eq!(source.refreshes(), 1);
}

#[tokio::test(start_paused = true)]
async fn p03_a_failure_is_told_to_all_and_not_repeated_by_each() {
    let (source, tokens) = new();
    source.then(Scripted::Fail(unavailable()));
    let mut callers = JoinSet::new();
    for _ in 0..1_000 {
        let tokens = tokens.clone();
        callers.spawn(async move { tokens.token().await.unwrap_err().kind() });
    }
    let kinds = callers.join_all().await;
    assert!(kinds.iter().all(|kind| *kind == ErrorKind::Unavailable));
    // Also to those who come just after it.
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
async fn p04_dropped_callers_do_not_abort_the_exchange() {
    let (source, tokens) = new();
    let mut callers = JoinSet::new();
    for _ in 0..100 {
        let tokens = tokens.clone();
        callers.spawn(async move { tokens.token().await });
    }
    settle().await;
    callers.shutdown().await;
    assert_eq!(source.refreshes(), 1, "it had begun");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(tokens.token().await.is_ok());
    assert_eq!(source.refreshes(), 1, "its result was kept");
}

#[tokio::test(start_paused = true)]
async fn p04_the_exchange_outlives_the_last_handle() {
    let clock = ManualClock::new();
    let source = Source::new(&clock);
    let store = crate::support::Store::default();
    let tokens = source.cache().store(store.clone()).build().unwrap();
    let caller = tokio::spawn(async move { tokens.token().await });
    settle().await;
    caller.abort();
    assert!(caller.await.unwrap_err().is_cancelled());
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(store.stored().await.unwrap().generation, Generation::FIRST);
}

#[tokio::test(start_paused = true)]
async fn p04_each_waiter_keeps_its_own_deadline() {
    let (source, tokens) = new();
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
    settle().await;
    source.unblock();
    assert!(patient.await.unwrap().unwrap().is_ok());
    assert_eq!(source.refreshes(), 1);
}

#[tokio::test(start_paused = true)]
async fn p04_an_exchange_that_hangs_ends_at_its_deadline() {
    let (source, tokens) = new();
    source.then(Scripted::Hang);
    let error = timeout(Duration::from_secs(16), tokens.token())
        .await
        .unwrap()
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(tokens.token().await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn p04_a_panic_wakes_the_waiters_with_an_error() {
    let (source, tokens) = new();
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
fn p04_a_runtime_that_shuts_down_leaves_no_one_waiting() {
    let first = tokio::runtime::Runtime::new().unwrap();
    let second = tokio::runtime::Runtime::new().unwrap();
    let (source, tokens) = first.block_on(async { new() });
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
    // However far the waiter has come by then.
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
fn outside_of_a_runtime_it_is_an_error_not_a_panic() {
    let (_, tokens) = tokio::runtime::Runtime::new()
        .unwrap()
        .block_on(async { new() });
    let mut future = tokio_test::task::spawn(tokens.token());
    let error = tokio_test::assert_ready!(future.poll()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Interrupted);
    let mut future = tokio_test::task::spawn(tokens.revoke());
    assert!(tokio_test::assert_ready!(future.poll()).is_err());
}

#[tokio::test(start_paused = true)]
async fn the_background_task_ends_with_the_last_handle() {
    let (source, tokens) = new();
    tokens.token().await.unwrap();
    drop(tokens);
    settle().await;
    assert_eq!(
        tokio::runtime::Handle::current()
            .metrics()
            .num_alive_tasks(),
        0
    );
    tokio::time::sleep(2_000 * MINUTE).await;
    assert_eq!(source.refreshes(), 1);
}
