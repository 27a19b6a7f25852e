//! The tokens of a used code survive a store that fails for a while, and a regular shutdown.

use http::StatusCode;
use tokio::time::sleep;
use tower_oauth2_client::{
    Error, ErrorKind,
    connect::{ConnectFailure, ConnectFailureKind},
    sandbox::{Endpoint, Fault},
};

use crate::support::{Browser, MINUTE, SECOND, replica};

#[tokio::test(start_paused = true)]
async fn p14_a_failing_save_is_retried_with_the_same_tokens() {
    let replica = replica();
    let mut browser = Browser::of("acme");
    let callback = browser.consent(&replica).await;
    replica.store.fail_saves(true);
    let task = tokio::spawn({
        let (mut browser, replica) = (browser.clone(), replica.clone());
        async move { browser.get(&replica, &callback).await }
    });
    sleep(20 * SECOND).await;
    assert!(!task.is_finished());
    replica.store.fail_saves(false);
    assert_eq!(task.await.unwrap().text, "connected acme");
    assert_eq!(replica.codes_sent(), 1);
    assert!(replica.store.saves() > 10);
    assert_eq!(replica.call("acme").await, Ok(StatusCode::OK));
}

#[tokio::test(start_paused = true)]
async fn a_failing_save_is_retried_for_a_limited_time() {
    let replica = replica();
    let mut browser = Browser::of("acme");
    let callback = browser.consent(&replica).await;
    replica.store.fail_saves(true);
    let response = browser.get(&replica, &callback).await;
    assert_eq!(response.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(replica.failure(), Some(ConnectFailureKind::Store));
    // The code is used up, so the customer has to start again.
    assert!(browser.jar.is_empty());
    let saves = replica.store.saves();
    assert!(saves <= 40, "{saves}");
    sleep(5 * MINUTE).await;
    assert_eq!(replica.store.saves(), saves);
    replica.store.fail_saves(false);
    browser.connect(&replica).await;
    assert_eq!(replica.code_exchanges(), 2);
}

/// The customer disconnects while a save is retried: the grant does not come back.
#[tokio::test(start_paused = true)]
async fn p15_a_save_that_is_retried_does_not_undo_a_revocation() {
    for was_connected in [false, true] {
        for fails_meanwhile in [false, true] {
            let replica = replica();
            let mut browser = Browser::of("acme");
            if was_connected {
                browser.connect(&replica).await;
            }
            let callback = browser.consent(&replica).await;
            replica.store.fail_saves(true);
            let task = tokio::spawn({
                let (mut browser, replica) = (browser.clone(), replica.clone());
                async move { browser.get(&replica, &callback).await }
            });
            sleep(20 * SECOND).await;
            replica.store.fail_saves(fails_meanwhile);
            browser.disconnect(&replica).await;
            replica.store.fail_saves(false);
            let response = task.await.unwrap();
            assert_ne!(response.text, "connected acme", "{was_connected}");
            let failures = replica.partner.failures.lock().unwrap().clone();
            let is_revoked = |failure: &ConnectFailure| {
                let kind = failure.error().map(Error::kind);
                failure.kind() == ConnectFailureKind::Store && kind == Some(ErrorKind::Revoked)
            };
            assert!(failures.iter().any(is_revoked), "{failures:?}");
            // The refresh and the access token of the stored grant and of the new one.
            let revocations = 2 + 2 * u64::from(was_connected);
            assert_eq!(replica.sandbox.counters().revocations, revocations);
            assert!(replica.call("acme").await.is_err());
            // The customer can connect again.
            browser.connect(&replica).await;
            assert_eq!(replica.call("acme").await, Ok(StatusCode::OK));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn p13_a_shutdown_waits_for_code_exchanges_in_flight() {
    let replica = replica();
    let mut browser = Browser::of("acme");
    let callback = browser.consent(&replica).await;
    replica
        .sandbox
        .inject(Endpoint::Token, Fault::delay(3 * SECOND));
    let task = tokio::spawn({
        let (mut browser, replica) = (browser.clone(), replica.clone());
        async move { browser.get(&replica, &callback).await }
    });
    sleep(SECOND).await;
    // The browser has disconnected, and the server has stopped.
    task.abort();
    replica.connect.shutdown(10 * SECOND).await.unwrap();
    assert!(replica.stored("acme").await.is_some());
    replica.tenants.shutdown(SECOND).await.unwrap();

    // From now on, only other replicas accept callbacks.
    let mut browser = Browser::of("acme");
    let callback = browser.consent(&replica).await;
    let response = browser.get(&replica, &callback).await;
    assert_eq!(response.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(replica.failure(), Some(ConnectFailureKind::Program));
    let response = browser.get(&replica.another(), &callback).await;
    assert_eq!(response.text, "connected acme");
    replica.connect.shutdown(SECOND).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_waits_until_its_deadline_and_aborts_nothing() {
    let replica = replica();
    let mut browser = Browser::of("acme");
    let callback = browser.consent(&replica).await;
    replica
        .sandbox
        .inject(Endpoint::Token, Fault::delay(8 * SECOND));
    let task = tokio::spawn({
        let (mut browser, replica) = (browser.clone(), replica.clone());
        async move { browser.get(&replica, &callback).await }
    });
    sleep(SECOND).await;
    let error = replica.connect.shutdown(SECOND).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Interrupted);
    // The code exchange in flight is not aborted.
    assert_eq!(task.await.unwrap().text, "connected acme");
}
