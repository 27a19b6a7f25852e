//! A code is sent once, even if a browser repeats the callback, at any replica.

use std::time::Duration;

use http::StatusCode;
use tokio::time::{Instant, sleep};
use tower_oauth2_client::{
    connect::ConnectFailureKind,
    sandbox::{Endpoint, Fault},
    token::ConsentDecision,
};

use crate::{
    consent::decide,
    shared::ManualClock,
    support::{Browser, BrowserResponse, MINUTE, Replica, SECOND, Setup, replica, tenant},
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

/// Why a flow does not connect its tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    CodeRefused,
    ResponseLost,
    SaveFailed,
    ConsentRejected,
}

impl Cause {
    const ALL: [Self; 4] = [
        Self::CodeRefused,
        Self::ResponseLost,
        Self::SaveFailed,
        Self::ConsentRejected,
    ];

    /// The failure that the first request reports.
    fn kind(self) -> ConnectFailureKind {
        match self {
            Self::CodeRefused | Self::ResponseLost => ConnectFailureKind::CodeExchange,
            Self::SaveFailed => ConnectFailureKind::Store,
            Self::ConsentRejected => ConnectFailureKind::Rejected,
        }
    }

    fn begin(self, replica: &Replica) {
        let token = Endpoint::Token;
        match self {
            Self::CodeRefused => {
                let refusal = Fault::status(StatusCode::BAD_REQUEST);
                let refusal = refusal.body(r#"{"error":"invalid_grant"}"#);
                replica.sandbox.inject(token, refusal);
            }
            Self::ResponseLost => {
                let lost = Fault::drop_connection().after_processing();
                replica.sandbox.inject(token, lost);
            }
            Self::SaveFailed => replica.store.fail_saves(true),
            Self::ConsentRejected => {
                decide(replica, ConsentDecision::Reject);
            }
        }
    }

    fn end_all(replica: &Replica) {
        replica.store.fail_saves(false);
        decide(replica, ConsentDecision::Accept);
    }
}

/// The outcome of a flow is its own. Neither an earlier consent of the tenant nor one in another
/// tab counts.
#[tokio::test(start_paused = true)]
async fn p11_repeated_callback_does_not_report_a_connection_that_failed() {
    for cause in Cause::ALL {
        for other_tab_connects in [false, true] {
            let one = replica();
            let other = one.another();
            let mut browser = Browser::of("acme");
            browser.connect(&one).await;
            let other_tab = browser.consent(&one).await;
            let callback = browser.consent(&one).await;
            let kept = browser.clone();
            cause.begin(&one);
            let first = browser.get(&one, &callback).await;
            assert_eq!(one.failure(), Some(cause.kind()), "{first:?}");
            Cause::end_all(&one);
            if other_tab_connects {
                let response = browser.get(&one, &other_tab).await;
                assert_eq!(response.text, "connected acme");
            }
            sleep(SECOND).await;
            let codes = one.codes_sent();
            let started = Instant::now();
            // The same process knows all of it.
            let repeated = kept.clone().get(&one, &callback).await;
            assert_eq!(
                (repeated.status, &repeated.text),
                (first.status, &first.text)
            );
            assert_eq!(repeated.cookies().len(), 1);
            // Another one knows that the flow has failed.
            let repeated = kept.clone().get(&other, &callback).await;
            assert_eq!(repeated.status, StatusCode::CONFLICT, "{repeated:?}");
            assert_eq!(other.failure(), Some(ConnectFailureKind::FailedElsewhere));
            assert_eq!(repeated.cookies().len(), 1);
            assert_eq!(started.elapsed(), Duration::ZERO, "{cause:?}");
            assert_eq!(one.codes_sent(), codes);
            assert_eq!(one.call("acme").await, Ok(StatusCode::OK));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn p11_concurrent_callbacks_report_one_failure() {
    for cause in Cause::ALL {
        let one = replica();
        let other = one.another();
        let mut browser = Browser::of("acme");
        browser.connect(&one).await;
        let callback = browser.consent(&one).await;
        cause.begin(&one);
        let responses = at_once(&browser, &[&one, &one, &other, &one], &callback).await;
        for index in [1, 3] {
            assert_eq!(responses[index].status, responses[0].status, "{cause:?}");
            assert_eq!(responses[index].text, responses[0].text);
        }
        assert_eq!(responses[2].status, StatusCode::CONFLICT);
        // The save is tried for longer than the other replica waits.
        let known = if cause == Cause::SaveFailed {
            ConnectFailureKind::InProgress
        } else {
            ConnectFailureKind::FailedElsewhere
        };
        assert_eq!(other.failure(), Some(known), "{cause:?}");
    }
}

/// A flow that has connected the tenant stays connected, whatever came after it.
#[tokio::test(start_paused = true)]
async fn p11_repeated_callback_reports_the_connection_of_its_flow() {
    let one = replica();
    let other = one.another();
    let mut browser = Browser::of("acme");
    let callback = browser.consent(&one).await;
    let failing = browser.consent(&one).await;
    let kept = browser.clone();
    assert_eq!(browser.get(&one, &callback).await.text, "connected acme");
    // A refresh, and a flow that fails.
    let tokens = one.tenants.cache(&tenant("acme")).await.unwrap();
    tokens.refresh_now().await.unwrap();
    Cause::CodeRefused.begin(&one);
    assert_ne!(browser.get(&one, &failing).await.status, StatusCode::OK);
    for replica in [&one, &other] {
        let response = kept.clone().get(replica, &callback).await;
        assert_eq!(response.text, "connected acme");
    }
    // Another flow replaces the grant.
    browser.connect(&one).await;
    for replica in [&one, &other] {
        let response = kept.clone().get(replica, &callback).await;
        assert_eq!(response.text, "connected acme");
    }
    // The customer disconnects.
    browser.disconnect(&one).await;
    for replica in [&one, &other] {
        let response = kept.clone().get(replica, &callback).await;
        assert_eq!(response.status, StatusCode::BAD_REQUEST);
        assert_eq!(replica.failure(), Some(ConnectFailureKind::NotPending));
    }
}

/// The outcome is not known, and it is not guessed.
#[tokio::test(start_paused = true)]
async fn p13_repeated_callback_after_a_crash_reports_no_outcome() {
    let one = replica();
    let other = one.another();
    let mut browser = Browser::of("acme");
    browser.connect(&one).await;
    let callback = browser.consent(&one).await;
    let kept = browser.clone();
    // The process sends the code and dies.
    one.store.fail_outcome_leases(true);
    one.sandbox
        .inject(Endpoint::Token, Fault::drop_connection().after_processing());
    browser.get(&one, &callback).await;
    let started = Instant::now();
    let response = kept.clone().get(&other, &callback).await;
    assert_eq!(response.status, StatusCode::CONFLICT);
    assert_eq!(other.failure(), Some(ConnectFailureKind::InProgress));
    assert!(started.elapsed() <= 6 * SECOND);
    assert_eq!(one.codes_sent(), 2);
}

/// A reader holds the lease of the outcome for a moment.
#[tokio::test(start_paused = true)]
async fn p12_outcome_is_recorded_among_readers() {
    let one = replica();
    let others: Vec<_> = (0..8).map(|_| one.another()).collect();
    let mut browser = Browser::of("acme");
    let callback = browser.consent(&one).await;
    one.store.delay_outcome_leases(Duration::from_millis(300));
    let fault = Fault::status(StatusCode::BAD_REQUEST).body(r#"{"error":"invalid_grant"}"#);
    one.sandbox.inject(Endpoint::Token, fault);
    let mut replicas = vec![&one];
    replicas.extend(&others);
    at_once(&browser, &replicas, &callback).await;
    for other in &others {
        let failure = other.failure();
        assert!(
            matches!(
                failure,
                Some(ConnectFailureKind::FailedElsewhere | ConnectFailureKind::InProgress)
            ),
            "{failure:?}"
        );
    }
    assert_eq!(one.failure(), Some(ConnectFailureKind::CodeExchange));
    sleep(10 * SECOND).await;
    let response = browser.get(&others[0], &callback).await;
    assert_eq!(response.status, StatusCode::CONFLICT);
    assert_eq!(
        others[0].failure(),
        Some(ConnectFailureKind::FailedElsewhere)
    );
}

#[tokio::test(start_paused = true)]
async fn a_repeated_callback_waits_for_the_first_one() {
    let replica = replica();
    let other = replica.another();
    let mut browser = Browser::of("acme");
    let callback = browser.consent(&replica).await;
    let token = Endpoint::Token;
    replica.sandbox.inject(token, Fault::delay(9 * SECOND));
    let responses = at_once(&browser, &[&replica, &replica, &other], &callback).await;
    assert_eq!(responses[0].text, "connected acme");
    assert_eq!(responses[1].text, "connected acme");
    // At another replica, for five seconds.
    assert_eq!(responses[2].status, StatusCode::CONFLICT);
    assert_eq!(other.failure(), Some(ConnectFailureKind::InProgress));
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
