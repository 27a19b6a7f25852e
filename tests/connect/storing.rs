//! The tokens of a used code are not lost for a store that fails for a while, nor for a process that ends in order.

use http::StatusCode;
use tokio::time::sleep;
use tower_oauth2_client::{
    ErrorKind,
    connect::ConnectFailureKind,
    sandbox::{Endpoint, Fault},
};

use crate::support::{Browser, MINUTE, SECOND, replica};

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_is_tried_again_with_the_same_tokens() {
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
async fn not_for_ever() {
    let replica = replica();
    let mut browser = Browser::of("acme");
    let callback = browser.consent(&replica).await;
    replica.store.fail_saves(true);
    let answer = browser.get(&replica, &callback).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(replica.failure(), Some(ConnectFailureKind::Store));
    // The code is used: they have to start again.
    assert!(browser.jar.is_empty());
    let saves = replica.store.saves();
    assert!(saves <= 40, "{saves}");
    sleep(5 * MINUTE).await;
    assert_eq!(replica.store.saves(), saves);
    replica.store.fail_saves(false);
    browser.connect(&replica).await;
    assert_eq!(replica.codes_exchanged(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_waits_for_what_is_under_way() {
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
    // The browser, and the server with it, is gone.
    task.abort();
    replica.connect.shutdown(10 * SECOND).await.unwrap();
    assert!(replica.stored("acme").await.is_some());
    replica.tenants.shutdown(SECOND).await.unwrap();

    // From here on the others take what comes.
    let mut browser = Browser::of("acme");
    let callback = browser.consent(&replica).await;
    let answer = browser.get(&replica, &callback).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(replica.failure(), Some(ConnectFailureKind::Program));
    let answer = browser.get(&replica.another(), &callback).await;
    assert_eq!(answer.text, "connected acme");
    replica.connect.shutdown(SECOND).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_does_not_wait_for_ever() {
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
    // What was under way is not cut short.
    assert_eq!(task.await.unwrap().text, "connected acme");
}
