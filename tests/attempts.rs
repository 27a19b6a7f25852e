//! How often a request is sent: more than once only if that can use nothing up.

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

/// What an endpoint does with its requests, one after another; the last goes on.
#[derive(Clone)]
enum Turn {
    Answer(u16, Option<&'static str>),
    /// Fails at once, with an error of this sort.
    Fail(io::ErrorKind),
    Hang,
}

/// A client over such an endpoint, and when each request came.
fn client(turns: Vec<Turn>) -> (OAuthClient, Arc<Mutex<Vec<Duration>>>) {
    let came = Arc::new(Mutex::new(Vec::new()));
    let begun = Instant::now();
    let notes = came.clone();
    let http = tower::service_fn(move |_: Request<Body>| {
        let mut notes = notes.lock().unwrap();
        let turn = turns[notes.len().min(turns.len() - 1)].clone();
        notes.push(begun.elapsed());
        async move {
            match turn {
                Turn::Answer(status, retry_after) => {
                    let mut answer = Response::builder().status(status);
                    if let Some(retry_after) = retry_after {
                        answer = answer.header("retry-after", retry_after);
                    }
                    Ok(answer.body(Body::from(TOKENS)).unwrap())
                }
                Turn::Fail(kind) => Err(io::Error::from(kind)),
                Turn::Hang => std::future::pending().await,
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
    (oauth, came)
}

fn held() -> TokenSet {
    token_set(1, HOUR, ManualClock::new().wall())
}

/// What a refresh makes of these turns, and how many requests it takes.
async fn refresh(turns: Vec<Turn>) -> (Result<TokenSet, Error>, Vec<Duration>) {
    let (oauth, came) = client(turns);
    let outcome = oauth.refresh(&held()).await;
    let came = came.lock().unwrap().clone();
    (outcome, came)
}

const OK: Turn = Turn::Answer(200, None);
const REFUSED: Turn = Turn::Fail(io::ErrorKind::ConnectionRefused);
const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn what_never_left_is_sent_again_soon() {
    let said_by_the_program = Turn::Fail(io::ErrorKind::NotConnected);
    for unsent in [REFUSED, said_by_the_program] {
        let (outcome, came) = refresh(vec![unsent.clone(), unsent.clone(), OK]).await;
        outcome.unwrap();
        assert_eq!(came.len(), 3);
        assert!(came[2] < SECOND, "{came:?}");
        let (outcome, came) = refresh(vec![unsent]).await;
        let error = outcome.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(!error.is_response_lost());
        assert_eq!(came.len(), 3);
    }
}

#[tokio::test(start_paused = true)]
async fn p11_what_may_have_arrived_is_not_sent_again() {
    for lost in [
        Turn::Fail(io::ErrorKind::ConnectionReset),
        Turn::Fail(io::ErrorKind::BrokenPipe),
        Turn::Hang,
        Turn::Answer(504, None),
    ] {
        let (outcome, came) = refresh(vec![lost, OK]).await;
        assert!(outcome.unwrap_err().is_response_lost());
        assert_eq!(came.len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn p16_not_now_is_asked_again_after_a_second_or_when_it_says() {
    for status in [429, 503] {
        let busy = Turn::Answer(status, None);
        let (outcome, came) = refresh(vec![busy.clone(), busy, OK]).await;
        outcome.unwrap();
        assert!(came[1] >= came[0] + SECOND && came[2] >= came[1] + SECOND);

        let (outcome, came) = refresh(vec![Turn::Answer(status, Some("5")), OK]).await;
        outcome.unwrap();
        assert!(came[1] >= 5 * SECOND, "{came:?}");

        // There is no time for that within one exchange.
        for later in ["60", "31536000"] {
            let (outcome, came) = refresh(vec![Turn::Answer(status, Some(later)), OK]).await;
            assert!(outcome.unwrap_err().retry_after() >= Some(60 * SECOND));
            assert_eq!(came.len(), 1);
        }
    }
    for status in [400, 401, 403, 408, 500, 502] {
        let (outcome, came) = refresh(vec![Turn::Answer(status, None), OK]).await;
        let error = outcome.unwrap_err();
        assert!(!error.is_response_lost(), "{error:?}");
        assert_eq!(came.len(), 1, "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn all_requests_of_an_exchange_end_within_fifteen_seconds() {
    for turns in [
        vec![
            Turn::Answer(503, Some("4")),
            Turn::Answer(503, Some("4")),
            Turn::Hang,
        ],
        vec![REFUSED, Turn::Hang],
        vec![Turn::Hang],
    ] {
        let before = Instant::now();
        refresh(turns).await.0.unwrap_err();
        assert!(before.elapsed() <= 15 * SECOND);
    }
}

#[tokio::test(start_paused = true)]
async fn a_code_is_presented_once() {
    for (turn, requests) in [
        (Turn::Answer(503, None), 1),
        (Turn::Answer(429, None), 1),
        (Turn::Fail(io::ErrorKind::ConnectionReset), 1),
        (REFUSED, 2),
    ] {
        let (oauth, came) = client(vec![turn, OK]);
        let (_, pending) = oauth.authorization_url().unwrap();
        let callback = format!("?code=c1&state={}", pending.state());
        let outcome = oauth
            .exchange_code(pending.accept(&callback).unwrap())
            .await;
        assert_eq!(outcome.is_ok(), requests == 2);
        assert_eq!(came.lock().unwrap().len(), requests);
    }
}

#[tokio::test(start_paused = true)]
async fn a_revocation_is_tried_again_whatever_came_between() {
    for (turns, requests, is_told) in [
        (vec![Turn::Answer(503, None), OK], 2, true),
        (vec![Turn::Answer(503, Some("3")), OK], 2, true),
        (vec![Turn::Answer(500, None), OK], 2, true),
        (
            vec![Turn::Fail(io::ErrorKind::ConnectionReset), OK],
            2,
            true,
        ),
        (vec![Turn::Answer(503, None)], 3, false),
        (vec![Turn::Answer(400, None)], 1, false),
    ] {
        let (oauth, came) = client(turns);
        let outcome = oauth.revoke(&RefreshToken::new("r1")).await;
        assert_eq!(outcome.is_ok(), is_told);
        assert_eq!(came.lock().unwrap().len(), requests);
    }
}

/// A service that is never ready has taken nothing.
#[tokio::test(start_paused = true)]
async fn what_the_client_is_never_ready_for_was_not_sent() {
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
