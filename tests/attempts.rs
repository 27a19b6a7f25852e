//! How often a request is sent: more than once only if that cannot use up a code or refresh token.

use std::{
    convert::Infallible,
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use tokio::time::Instant;
use tower_oauth2_client::{
    Error, ErrorKind,
    clock::Clock,
    oauth::OAuthClient,
    provider,
    token::{RefreshToken, TokenSet},
};

#[path = "support/mod.rs"]
mod support;

use support::{HOUR, ManualClock, token_set};

type Body = Full<Bytes>;

const TOKENS: &str = r#"{"access_token":"a2","token_type":"Bearer","expires_in":3600}"#;

/// How an endpoint handles a request.
#[derive(Clone)]
enum Step {
    /// Responds with this status and `Retry-After`.
    Respond(u16, Option<&'static str>),
    /// Fails at once with this error.
    Fail(io::ErrorKind),
    Hang,
}

/// A client of an endpoint that handles its requests by these steps and then repeats the last one.
/// Also returns when each request arrived.
fn client(steps: Vec<Step>) -> (OAuthClient, Arc<Mutex<Vec<Duration>>>) {
    let arrivals = Arc::new(Mutex::new(Vec::new()));
    let started = Instant::now();
    let log = arrivals.clone();
    let http = tower::service_fn(move |_: Request<Body>| {
        let mut log = log.lock().unwrap();
        let step = steps[log.len().min(steps.len() - 1)].clone();
        log.push(started.elapsed());
        async move {
            match step {
                Step::Respond(status, retry_after) => {
                    let mut response = Response::builder().status(status);
                    if let Some(retry_after) = retry_after {
                        response = response.header("retry-after", retry_after);
                    }
                    Ok(response.body(Body::from(TOKENS)).unwrap())
                }
                Step::Fail(kind) => Err(io::Error::from(kind)),
                Step::Hang => std::future::pending().await,
            }
        }
    });
    let oauth = OAuthClient::builder(provider::justworks(), "id")
        .client_secret("secret")
        .redirect_uri("https://partner.example.com/callback")
        .jitter_seed(7)
        .is_connect_error(|error| {
            let error = error.downcast_ref::<io::Error>();
            error.is_some_and(|error| error.kind() == io::ErrorKind::NotConnected)
        })
        .build(http)
        .unwrap();
    (oauth, arrivals)
}

fn held() -> TokenSet {
    token_set(1, HOUR, ManualClock::new().wall())
}

/// Refreshes once. Returns the outcome, and when each request arrived.
async fn refresh(steps: Vec<Step>) -> (Result<TokenSet, Error>, Vec<Duration>) {
    let (oauth, arrivals) = client(steps);
    let outcome = oauth.refresh(&held()).await;
    let arrivals = arrivals.lock().unwrap().clone();
    (outcome, arrivals)
}

const OK: Step = Step::Respond(200, None);
const CONNECTION_REFUSED: Step = Step::Fail(io::ErrorKind::ConnectionRefused);
const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn requests_that_were_not_sent_are_retried_soon() {
    let configured = Step::Fail(io::ErrorKind::NotConnected);
    for not_sent in [CONNECTION_REFUSED, configured] {
        let (outcome, arrivals) = refresh(vec![not_sent.clone(), not_sent.clone(), OK]).await;
        outcome.unwrap();
        assert_eq!(arrivals.len(), 3);
        assert!(arrivals[2] < SECOND, "{arrivals:?}");
        let (outcome, arrivals) = refresh(vec![not_sent]).await;
        let error = outcome.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(!error.is_response_lost());
        assert_eq!(arrivals.len(), 3);
    }
}

#[tokio::test(start_paused = true)]
async fn p11_requests_that_may_have_arrived_are_not_retried() {
    for lost in [
        Step::Fail(io::ErrorKind::ConnectionReset),
        Step::Fail(io::ErrorKind::BrokenPipe),
        Step::Hang,
    ] {
        let (outcome, arrivals) = refresh(vec![lost, OK]).await;
        assert!(outcome.unwrap_err().is_response_lost());
        assert_eq!(arrivals.len(), 1);
    }
    // Their bodies contain no OAuth error.
    for status in [199, 302, 307, 400, 401, 403, 404, 408, 500, 501, 502, 504] {
        let (outcome, arrivals) = refresh(vec![Step::Respond(status, None), OK]).await;
        let error = outcome.unwrap_err();
        assert!(error.is_response_lost(), "{status}: {error:?}");
        assert_eq!(arrivals.len(), 1, "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn p16_deferred_requests_are_retried_after_a_second_or_retry_after() {
    for status in [429, 503] {
        let busy = Step::Respond(status, None);
        let (outcome, arrivals) = refresh(vec![busy.clone(), busy, OK]).await;
        outcome.unwrap();
        assert!(arrivals[1] >= arrivals[0] + SECOND && arrivals[2] >= arrivals[1] + SECOND);

        let (outcome, arrivals) = refresh(vec![Step::Respond(status, Some("5")), OK]).await;
        outcome.unwrap();
        assert!(arrivals[1] >= 5 * SECOND, "{arrivals:?}");

        // One call does not wait that long.
        for later in ["60", "31536000"] {
            let (outcome, arrivals) = refresh(vec![Step::Respond(status, Some(later)), OK]).await;
            let error = outcome.unwrap_err();
            assert!(error.retry_after() >= Some(60 * SECOND));
            assert!(!error.is_response_lost(), "{error:?}");
            assert_eq!(arrivals.len(), 1);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn last_attempt_starts_within_fifteen_seconds() {
    for steps in [
        vec![
            Step::Respond(503, Some("4")),
            Step::Respond(503, Some("4")),
            Step::Hang,
        ],
        vec![CONNECTION_REFUSED, Step::Hang],
        vec![Step::Hang],
    ] {
        let before = Instant::now();
        let (outcome, arrivals) = refresh(steps).await;
        outcome.unwrap_err();
        let last = *arrivals.last().unwrap();
        assert!(last <= 15 * SECOND, "{last:?}");
        // Its response has the whole time.
        assert_eq!(before.elapsed(), last + 60 * SECOND);
    }
}

#[tokio::test(start_paused = true)]
async fn a_code_is_sent_once() {
    for (step, requests) in [
        (Step::Respond(503, None), 1),
        (Step::Respond(429, None), 1),
        (Step::Fail(io::ErrorKind::ConnectionReset), 1),
        (CONNECTION_REFUSED, 2),
    ] {
        let (oauth, arrivals) = client(vec![step, OK]);
        let (_, pending) = oauth.authorization_url().unwrap();
        let callback = format!("?code=c1&state={}", pending.state());
        let outcome = oauth
            .exchange_code(pending.accept(&callback).unwrap())
            .await;
        assert_eq!(outcome.is_ok(), requests == 2);
        assert_eq!(arrivals.lock().unwrap().len(), requests);
    }
}

#[tokio::test(start_paused = true)]
async fn a_revocation_is_retried_after_any_transient_failure() {
    for (steps, requests, is_revoked) in [
        (vec![Step::Respond(503, None), OK], 2, true),
        (vec![Step::Respond(503, Some("3")), OK], 2, true),
        (vec![Step::Respond(500, None), OK], 2, true),
        (
            vec![Step::Fail(io::ErrorKind::ConnectionReset), OK],
            2,
            true,
        ),
        (vec![Step::Respond(503, None)], 3, false),
        (vec![Step::Respond(400, None)], 1, false),
    ] {
        let (oauth, arrivals) = client(steps);
        let outcome = oauth.revoke(&RefreshToken::new("r1")).await;
        assert_eq!(outcome.is_ok(), is_revoked);
        assert_eq!(arrivals.lock().unwrap().len(), requests);
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_is_not_sent_while_the_http_client_is_not_ready() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    let http = tower::service_fn(move |_: Request<Body>| {
        counted.fetch_add(1, Ordering::SeqCst);
        async { Ok::<_, Infallible>(Response::new(Body::default())) }
    });
    let http = tower::limit::ConcurrencyLimit::new(http, 0);
    let oauth = OAuthClient::builder(provider::justworks(), "id").client_secret("secret");
    let oauth = oauth.build(http).unwrap();
    let error = oauth.refresh(&held()).await.unwrap_err();
    assert!(!error.is_response_lost(), "{error:?}");
    assert_eq!(calls.load(Ordering::SeqCst), 0);
}
