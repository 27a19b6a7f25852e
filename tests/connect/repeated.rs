//! A code is sent once, even if a browser repeats the callback, at any replica.

use std::time::Duration;

use http::StatusCode;
use tokio::time::sleep;
use tower_oauth2_client::{
    connect::ConnectFailureKind,
    sandbox::{Endpoint, Fault},
};

use crate::{
    shared::ManualClock,
    support::{Browser, BrowserResponse, MINUTE, Replica, SECOND, Setup, replica},
};

/// Sends the same callback from the same browser to several replicas at the same time.
async fn at_once(browser: &Browser, replicas: &[&Replica], callback: &str) -> Vec<BrowserResponse> {
    let requests = replicas.iter().map(|replica| {
        let (mut browser, replica) = (browser.clone(), (*replica).clone());
        let callback = callback.to_owned();
        tokio::spawn(async move { browser.get(&replica, &callback).await })
    });
    let mut responses = Vec::new();
    for request in requests.collect::<Vec<_>>() {
        responses.push(request.await.unwrap());
    }
    responses
}

#[tokio::test(start_paused = true)]
async fn concurrent_callbacks_send_the_code_once_and_all_connect() {
    let one = replica();
    let other = one.another();
    let mut browser = Browser::of("acme");
    let callback = browser.consent(&one).await;
    one.sandbox
        .inject(Endpoint::Token, Fault::delay(2 * SECOND));
    let responses = at_once(&browser, &[&one, &one, &other, &other], &callback).await;
    for response in responses {
        assert_eq!(response.text, "connected acme");
        assert_eq!(response.cookies().len(), 1, "the cookie is removed");
    }
    assert_eq!(one.codes_sent(), 1);
    assert_eq!(one.store.all_callback_leases(), 1);
    assert_eq!(other.call("acme").await, Ok(StatusCode::OK));
}

#[tokio::test(start_paused = true)]
async fn a_kept_cookie_sends_the_code_no_second_time() {
    let one = replica();
    let other = one.another();
    let mut browser = Browser::of("acme");
    let callback = browser.consent(&one).await;
    let kept = browser.clone();
    assert_eq!(browser.get(&one, &callback).await.text, "connected acme");
    for replica in [&one, &other] {
        let response = kept.clone().get(replica, &callback).await;
        assert_eq!(response.text, "connected acme");
    }
    // Until the flow expires, and after that.
    for minutes in [9, 1, 1, 60] {
        sleep(minutes * MINUTE).await;
        kept.clone().get(&one, &callback).await;
        kept.clone().get(&other, &callback).await;
    }
    assert_eq!(one.codes_sent(), 1);
    assert_eq!(one.sandbox.counters().grants_revoked, 0);
    assert_eq!(one.call("acme").await, Ok(StatusCode::OK));
}

#[tokio::test(start_paused = true)]
async fn a_kept_cookie_sends_the_code_no_second_time_if_a_clock_is_behind() {
    let one = replica();
    let late = ManualClock::new();
    let late = one.another_with(&late, Setup::default());
    late.clock.shift_wall(-30);
    let mut browser = Browser::of("acme");
    let callback = browser.consent(&one).await;
    let kept = browser.clone();
    assert_eq!(browser.get(&one, &callback).await.text, "connected acme");
    sleep(595 * SECOND).await;
    for _ in 0..60 {
        sleep(SECOND).await;
        kept.clone().get(&late, &callback).await;
    }
    assert_eq!(one.codes_sent(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_repeated_callback_does_not_report_a_connection_that_failed() {
    let one = replica();
    let other = one.another();
    let mut browser = Browser::of("acme");
    // The earlier grant does not count as connected.
    browser.connect(&one).await;
    sleep(MINUTE).await;
    let callback = browser.consent(&one).await;
    one.sandbox.inject(
        Endpoint::Token,
        Fault::status(StatusCode::BAD_REQUEST).body(r#"{"error":"invalid_grant"}"#),
    );
    let responses = at_once(&browser, &[&one, &other], &callback).await;
    assert_eq!(responses[0].status, StatusCode::BAD_GATEWAY);
    assert_eq!(responses[1].status, StatusCode::CONFLICT);
    assert_eq!(other.failure(), Some(ConnectFailureKind::InProgress));
    assert_eq!(responses[1].cookies().len(), 1);
    // The tokens of the first consent are still in use.
    assert_eq!(one.call("acme").await, Ok(StatusCode::OK));
}

#[tokio::test(start_paused = true)]
async fn a_repeated_callback_waits_for_five_seconds() {
    let replica = replica();
    let mut browser = Browser::of("acme");
    let callback = browser.consent(&replica).await;
    let token = Endpoint::Token;
    replica.sandbox.inject(token, Fault::delay(9 * SECOND));
    let responses = at_once(&browser, &[&replica, &replica], &callback).await;
    assert_eq!(responses[0].text, "connected acme");
    assert_eq!(responses[1].status, StatusCode::CONFLICT);
    assert_eq!(replica.codes_sent(), 1);
}

#[tokio::test(start_paused = true)]
async fn p04_a_browser_that_disconnects_loses_no_tokens() {
    for wait in [0, 1, 500, 1_500] {
        let replica = replica();
        let mut browser = Browser::of("acme");
        let callback = browser.consent(&replica).await;
        replica
            .sandbox
            .inject(Endpoint::Token, Fault::delay(SECOND));
        let mut disconnecting = browser.clone();
        let task = tokio::spawn({
            let (replica, callback) = (replica.clone(), callback.clone());
            async move { disconnecting.get(&replica, &callback).await }
        });
        sleep(Duration::from_millis(wait)).await;
        task.abort();
        let _ = task.await;
        sleep(5 * SECOND).await;
        // Either nothing has started, and the same callback works, or everything is done.
        let response = browser.get(&replica, &callback).await;
        assert_eq!(response.text, "connected acme", "after {wait} ms");
        assert_eq!(replica.codes_sent(), 1);
        assert_eq!(replica.call("acme").await, Ok(StatusCode::OK));
    }
}

#[tokio::test(start_paused = true)]
async fn callback_leases_are_released() {
    let replica = replica();
    for _ in 0..3 {
        Browser::of("acme").connect(&replica).await;
    }
    assert_eq!(replica.store.callback_leases(), 3);
    sleep(10 * MINUTE).await;
    assert_eq!(replica.store.callback_leases(), 3);
    sleep(2 * MINUTE).await;
    assert_eq!(replica.store.callback_leases(), 0);
    assert_eq!(replica.store.all_callback_leases(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_callback_lease_is_acquired_again_after_a_lost_response() {
    let replica = replica();
    let mut browser = Browser::of("acme");
    let callback = browser.consent(&replica).await;
    replica.store.lose_callback_lease_responses(2);
    assert_eq!(
        browser.get(&replica, &callback).await.text,
        "connected acme"
    );
    assert_eq!(replica.store.all_callback_leases(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_callback_without_a_lease_sends_nothing_and_can_be_repeated() {
    for is_lost in [false, true] {
        let replica = replica();
        let mut browser = Browser::of("acme");
        let callback = browser.consent(&replica).await;
        if is_lost {
            replica.store.lose_callback_lease_responses(3);
        } else {
            replica.store.fail_callback_leases(true);
        }
        let response = browser.get(&replica, &callback).await;
        assert_eq!(response.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(replica.failure(), Some(ConnectFailureKind::Store));
        assert_eq!(replica.codes_sent(), 0);
        assert_eq!(browser.jar.len(), 1);
        replica.store.fail_callback_leases(false);
        assert_eq!(
            browser.get(&replica, &callback).await.text,
            "connected acme"
        );
    }
}
