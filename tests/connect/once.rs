//! A code is sent once, whatever browsers repeat, and wherever.

use std::time::Duration;

use http::StatusCode;
use tokio::time::sleep;
use tower_oauth2_client::{
    connect::ConnectFailureKind,
    sandbox::{Endpoint, Fault},
};

use crate::{
    shared::ManualClock,
    support::{Answer, Browser, MINUTE, Replica, SECOND, Setting, replica},
};

/// The same callback, by the same browser, at all of these at the same time.
async fn at_once(browser: &Browser, replicas: &[&Replica], callback: &str) -> Vec<Answer> {
    let requests = replicas.iter().map(|replica| {
        let (mut browser, replica) = (browser.clone(), (*replica).clone());
        let callback = callback.to_owned();
        tokio::spawn(async move { browser.get(&replica, &callback).await })
    });
    let mut answers = Vec::new();
    for request in requests.collect::<Vec<_>>() {
        answers.push(request.await.unwrap());
    }
    answers
}

#[tokio::test(start_paused = true)]
async fn callbacks_at_the_same_time_send_the_code_once_and_all_connect() {
    let one = replica();
    let other = one.another();
    let mut browser = Browser::of("acme");
    let callback = browser.consent(&one).await;
    one.sandbox
        .inject(Endpoint::Token, Fault::delay(2 * SECOND));
    let answers = at_once(&browser, &[&one, &one, &other, &other], &callback).await;
    for answer in answers {
        assert_eq!(answer.text, "connected acme");
        assert_eq!(answer.cookies().len(), 1, "the cookie is removed");
    }
    assert_eq!(one.codes_sent(), 1);
    assert_eq!(one.store.all_claims(), 1);
    assert_eq!(other.call("acme").await, Ok(StatusCode::OK));
}

#[tokio::test(start_paused = true)]
async fn a_cookie_that_was_kept_sends_the_code_no_second_time() {
    let one = replica();
    let other = one.another();
    let mut browser = Browser::of("acme");
    let callback = browser.consent(&one).await;
    let kept = browser.clone();
    assert_eq!(browser.get(&one, &callback).await.text, "connected acme");
    for replica in [&one, &other] {
        let answer = kept.clone().get(replica, &callback).await;
        assert_eq!(answer.text, "connected acme");
    }
    // Up to the flow's last moment, and after it.
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
async fn nor_where_the_clock_is_late() {
    let one = replica();
    let late = ManualClock::new();
    let late = one.another_with(&late, Setting::default());
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
async fn who_comes_second_is_not_told_more_than_is_known() {
    let one = replica();
    let other = one.another();
    let mut browser = Browser::of("acme");
    // What was there before does not count.
    browser.connect(&one).await;
    sleep(MINUTE).await;
    let callback = browser.consent(&one).await;
    one.sandbox.inject(
        Endpoint::Token,
        Fault::status(StatusCode::BAD_REQUEST).body(r#"{"error":"invalid_grant"}"#),
    );
    let answers = at_once(&browser, &[&one, &other], &callback).await;
    assert_eq!(answers[0].status, StatusCode::BAD_GATEWAY);
    assert_eq!(answers[1].status, StatusCode::CONFLICT);
    assert_eq!(other.failure(), Some(ConnectFailureKind::InProgress));
    assert_eq!(answers[1].cookies().len(), 1);
    // The first consent's tokens are still there.
    assert_eq!(one.call("acme").await, Ok(StatusCode::OK));
}

#[tokio::test(start_paused = true)]
async fn a_slow_exchange_is_waited_for_a_little() {
    let replica = replica();
    let mut browser = Browser::of("acme");
    let callback = browser.consent(&replica).await;
    let token = Endpoint::Token;
    replica.sandbox.inject(token, Fault::delay(9 * SECOND));
    let answers = at_once(&browser, &[&replica, &replica], &callback).await;
    assert_eq!(answers[0].text, "connected acme");
    assert_eq!(answers[1].status, StatusCode::CONFLICT);
    assert_eq!(replica.codes_sent(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_browser_that_goes_away_does_not_take_the_tokens_with_it() {
    for wait in [0, 1, 500, 1_500] {
        let replica = replica();
        let mut browser = Browser::of("acme");
        let callback = browser.consent(&replica).await;
        replica
            .sandbox
            .inject(Endpoint::Token, Fault::delay(SECOND));
        let mut leaving = browser.clone();
        let task = tokio::spawn({
            let (replica, callback) = (replica.clone(), callback.clone());
            async move { leaving.get(&replica, &callback).await }
        });
        sleep(Duration::from_millis(wait)).await;
        task.abort();
        let _ = task.await;
        sleep(5 * SECOND).await;
        // Either nothing has begun, and the same callback works; or all of it is done.
        let answer = browser.get(&replica, &callback).await;
        assert_eq!(answer.text, "connected acme", "after {wait} ms");
        assert_eq!(replica.codes_sent(), 1);
        assert_eq!(replica.call("acme").await, Ok(StatusCode::OK));
    }
}

#[tokio::test(start_paused = true)]
async fn claims_are_given_back() {
    let replica = replica();
    for _ in 0..3 {
        Browser::of("acme").connect(&replica).await;
    }
    assert_eq!(replica.store.claims(), 3);
    sleep(10 * MINUTE).await;
    assert_eq!(replica.store.claims(), 3);
    sleep(2 * MINUTE).await;
    assert_eq!(replica.store.claims(), 0);
    assert_eq!(replica.store.all_claims(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_claim_whose_answer_was_lost_is_asked_for_again() {
    let replica = replica();
    let mut browser = Browser::of("acme");
    let callback = browser.consent(&replica).await;
    replica.store.lose_claims(2);
    assert_eq!(
        browser.get(&replica, &callback).await.text,
        "connected acme"
    );
    assert_eq!(replica.store.all_claims(), 1);
}

#[tokio::test(start_paused = true)]
async fn without_a_claim_nothing_is_sent_and_the_same_callback_works_later() {
    for is_lost in [false, true] {
        let replica = replica();
        let mut browser = Browser::of("acme");
        let callback = browser.consent(&replica).await;
        if is_lost {
            replica.store.lose_claims(3);
        } else {
            replica.store.fail_claims(true);
        }
        let answer = browser.get(&replica, &callback).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(replica.failure(), Some(ConnectFailureKind::Store));
        assert_eq!(replica.codes_sent(), 0);
        assert_eq!(browser.jar.len(), 1);
        replica.store.fail_claims(false);
        assert_eq!(
            browser.get(&replica, &callback).await.text,
            "connected acme"
        );
    }
}
