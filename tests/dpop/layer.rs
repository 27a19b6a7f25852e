//! The layer in front of a scripted API.

use std::{
    collections::VecDeque,
    convert::Infallible,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, ready},
    time::{Duration, SystemTime},
};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Full, StreamBody};
use serde_json::Value;
use tokio::time::{Sleep, sleep};
use tower::{Layer, Service, ServiceExt};
use tower_oauth2_client::{
    Error, ErrorKind,
    bearer::{BearerAuthLayer, ReplayBody, ReplayLimit, RequestBody},
    cache::{TokenCache, TokenCacheBuilder, TokenSource},
    clock::{Clock, SystemClock},
    provider::Provider,
    token::{AccessToken, DpopKey, TokenSet},
};

use crate::support::{API, ManualClock};

/// Each token set has another access token, and the same key.
struct Source {
    provider: Provider,
    key: DpopKey,
    fetched: Arc<Mutex<u32>>,
}

impl TokenSource for Source {
    async fn fetch(&self, _: Option<&TokenSet>) -> Result<TokenSet, Error> {
        let number = {
            let mut fetched = self.fetched.lock().unwrap();
            *fetched += 1;
            *fetched
        };
        let token = AccessToken::new(format!("a{number}"))?;
        let at = SystemClock.wall();
        let tokens = TokenSet::new(token, Duration::from_secs(3_600), at);
        Ok(tokens.with_dpop_key(self.key.clone()))
    }

    fn provider(&self) -> Option<&Provider> {
        Some(&self.provider)
    }
}

async fn key() -> DpopKey {
    // Only a client creates keys.
    let http = tower::service_fn(|_: Request<Full<Bytes>>| async {
        let tokens = r#"{"access_token":"a","token_type":"DPoP"}"#;
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(tokens)))
    });
    let client = tower_oauth2_client::oauth::OAuthClient::builder(provider(true), "id");
    let client = client.client_secret("secret").build(http).unwrap();
    let tokens = client.client_credentials().await.unwrap();
    tokens.dpop_key().unwrap().clone()
}

fn provider(dpop: bool) -> Provider {
    let provider = Provider::builder("https://id.example.com/token").api_origin(API);
    let provider = provider.propagation_delay(Duration::ZERO);
    provider.dpop(dpop).build().unwrap()
}

async fn tokens() -> (TokenCache, Arc<Mutex<u32>>) {
    let (tokens, fetched) = builder(provider(true)).await;
    (tokens.build().unwrap(), fetched)
}

async fn builder(provider: Provider) -> (TokenCacheBuilder, Arc<Mutex<u32>>) {
    let fetched = Arc::default();
    let source = Source {
        provider,
        key: key().await,
        fetched: Arc::clone(&fetched),
    };
    (TokenCache::builder(source), fetched)
}

/// A response of the API: its status, the error of its challenge, and its nonce.
type Step = (u16, &'static str, Option<&'static str>);

const OK: Step = (200, "", None);
const ASKS: Step = (401, "use_dpop_nonce", Some("n1"));
const REJECTS: Step = (401, "invalid_token", None);

#[derive(Debug)]
struct Received {
    headers: HeaderMap,
    body: Bytes,
    trailers: Option<HeaderMap>,
}

impl Received {
    fn claims(&self) -> Value {
        let proofs: Vec<_> = self.headers.get_all("dpop").iter().collect();
        assert_eq!(proofs.len(), 1);
        assert!(proofs[0].is_sensitive());
        let claims = proofs[0].to_str().unwrap().split('.').nth(1).unwrap();
        serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap()
    }

    fn authorization(&self) -> &str {
        self.headers["authorization"].to_str().unwrap()
    }
}

/// Sends a request to the API with this script, and returns the last status, the requests that the
/// API got, and how many tokens were fetched.
async fn run<B>(
    script: &[Step],
    request: Request<B::Inbound>,
) -> (Result<StatusCode, Error>, Vec<Received>, u32)
where
    B: RequestBody + Send + 'static,
    B::Data: Send,
    B::Error: std::fmt::Debug,
    B::Inbound: Send,
    B::Recording: Send,
{
    run_with::<B>(tokens().await, script, request).await
}

/// Sends a request as [`run`] does, with a token of this cache.
async fn run_with<B>(
    (tokens, fetched): (TokenCache, Arc<Mutex<u32>>),
    script: &[Step],
    request: Request<B::Inbound>,
) -> (Result<StatusCode, Error>, Vec<Received>, u32)
where
    B: RequestBody + Send + 'static,
    B::Data: Send,
    B::Error: std::fmt::Debug,
    B::Inbound: Send,
    B::Recording: Send,
{
    let received = Arc::new(Mutex::new(Vec::new()));
    let script: Arc<Mutex<VecDeque<Step>>> = Arc::new(Mutex::new(script.iter().copied().collect()));
    let api = tower::service_fn({
        let received = Arc::clone(&received);
        move |request: Request<B>| {
            let (received, script) = (Arc::clone(&received), Arc::clone(&script));
            async move {
                let (head, body) = request.into_parts();
                let body = Box::pin(body).collect().await.unwrap();
                let trailers = body.trailers().cloned();
                received.lock().unwrap().push(Received {
                    headers: head.headers,
                    body: body.to_bytes(),
                    trailers,
                });
                let (status, error, nonce) = script.lock().unwrap().pop_front().expect("a step");
                let mut response = Response::builder().status(status);
                if !error.is_empty() {
                    let challenge = format!("DPoP error=\"{error}\", algs=\"ES256\"");
                    response = response.header("www-authenticate", challenge);
                }
                if let Some(nonce) = nonce {
                    response = response.header("dpop-nonce", nonce);
                }
                Ok::<_, Infallible>(response.body(Full::<Bytes>::from("the reason")).unwrap())
            }
        }
    });
    let api = BearerAuthLayer::<B>::new(tokens).layer(api);
    let status = api.oneshot(request).await.map(|response| response.status());
    let received = std::mem::take(&mut *received.lock().unwrap());
    let fetched = *fetched.lock().unwrap();
    (status, received, fetched)
}

fn post<B>(body: B) -> Request<B> {
    let request = Request::post("https://API.example.com:443/v1/a%2fb//c?d=e");
    request.header("x-own", "1").body(body).unwrap()
}

/// The scripts, the status of the response that the caller gets, and the tokens and nonces of the
/// requests.
type Case = (
    &'static [Step],
    u16,
    &'static [(&'static str, Option<&'static str>)],
);

const CASES: &[Case] = &[
    (&[OK], 200, &[("a1", None)]),
    (&[ASKS, OK], 200, &[("a1", None), ("a1", Some("n1"))]),
    (&[REJECTS, OK], 200, &[("a1", None), ("a2", None)]),
    (
        &[ASKS, REJECTS, OK],
        200,
        &[("a1", None), ("a1", Some("n1")), ("a2", Some("n1"))],
    ),
    (
        &[REJECTS, ASKS, OK],
        200,
        &[("a1", None), ("a2", None), ("a2", Some("n1"))],
    ),
    // A loop.
    (&[ASKS, ASKS], 401, &[("a1", None), ("a1", Some("n1"))]),
    (
        &[ASKS, REJECTS, ASKS],
        401,
        &[("a1", None), ("a1", Some("n1")), ("a2", Some("n1"))],
    ),
    (
        &[REJECTS, ASKS, ASKS],
        401,
        &[("a1", None), ("a2", None), ("a2", Some("n1"))],
    ),
    (
        &[REJECTS, ASKS, REJECTS],
        401,
        &[("a1", None), ("a2", None), ("a2", Some("n1"))],
    ),
    (&[REJECTS, REJECTS], 401, &[("a1", None), ("a2", None)]),
    // Not about the token, and nothing to retry with.
    (&[(401, "invalid_dpop_proof", None)], 401, &[("a1", None)]),
    (
        &[(401, "invalid_dpop_proof", Some("n1"))],
        401,
        &[("a1", None)],
    ),
    (&[(401, "use_dpop_nonce", None)], 401, &[("a1", None)]),
    (&[(401, "insufficient_scope", None)], 401, &[("a1", None)]),
    (&[(403, "use_dpop_nonce", Some("n1"))], 403, &[("a1", None)]),
    // A nonce is learnt from any response.
    (
        &[(401, "invalid_token", Some("n2")), OK],
        200,
        &[("a1", None), ("a2", Some("n2"))],
    ),
];

fn check(case: &Case, status: &Result<StatusCode, Error>, received: &[Received]) {
    let (script, expected, requests) = case;
    assert_eq!(status.as_ref().unwrap().as_u16(), *expected, "{script:?}");
    let sent: Vec<(String, Option<String>)> = received
        .iter()
        .map(|request| {
            let nonce = request.claims()["nonce"].as_str().map(str::to_owned);
            (request.authorization().to_owned(), nonce)
        })
        .collect();
    let expected: Vec<(String, Option<String>)> = requests
        .iter()
        .map(|(token, nonce)| (format!("DPoP {token}"), nonce.map(str::to_owned)))
        .collect();
    assert_eq!(sent, expected, "{script:?}");
    let mut ids: Vec<_> = received
        .iter()
        .map(|request| request.claims()["jti"].to_string())
        .collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), received.len(), "a proof for each attempt");
    for request in received {
        let claims = request.claims();
        assert_eq!(claims["htm"], "POST");
        assert_eq!(claims["htu"], "https://api.example.com/v1/a%2fb//c");
        let token = request.authorization().strip_prefix("DPoP ").unwrap();
        let hash = hmac_sha256::Hash::hash(token.as_bytes());
        assert_eq!(claims["ath"], BASE64_URL_SAFE_NO_PAD.encode(hash));
        assert_eq!(request.headers["x-own"], "1");
    }
}

#[tokio::test]
async fn p07_nonce_retry_is_made_once_apart_from_the_retry_with_a_body_in_memory() {
    let bytes: Vec<u8> = (0..50_000_u32)
        .map(|n| n.to_le_bytes()[n as usize % 3])
        .collect();
    for case in CASES {
        let body = Full::new(Bytes::from(bytes.clone()));
        let (status, received, fetched) = run::<Full<Bytes>>(case.0, post(body)).await;
        check(case, &status, &received);
        assert!(received.iter().all(|request| request.body == bytes));
        let tokens = case.2.iter().any(|(token, _)| *token == "a2");
        assert_eq!(fetched, 1 + u32::from(tokens), "{case:?}");
    }
}

/// The interval between refreshes after a 401 doubles until the API accepts a new token. A refused
/// proof says nothing about the token.
#[tokio::test(start_paused = true)]
async fn p07_retry_with_a_refused_proof_does_not_count_as_accepted() {
    const REFUSES_PROOF: Step = (401, "invalid_dpop_proof", None);
    for (last, seconds) in [
        (OK, 30),
        ((403, "insufficient_scope", None), 30),
        (REFUSES_PROOF, 60),
        // Without a nonce that a proof could contain.
        ((401, "use_dpop_nonce", None), 60),
        (REJECTS, 60),
    ] {
        let clock = ManualClock::new();
        let (tokens, fetched) = builder(provider(true)).await;
        let tokens = tokens.clock(clock.clone()).build().unwrap();
        for last in [REFUSES_PROOF, last] {
            clock.advance(31);
            let cache = (tokens.clone(), Arc::clone(&fetched));
            let request = post(Full::<Bytes>::default());
            let (status, _, _) = run_with::<Full<Bytes>>(cache, &[REJECTS, last], request).await;
            assert_eq!(status.unwrap().as_u16(), last.0);
        }
        assert_eq!(*fetched.lock().unwrap(), 3);
        let until = tokens.status().no_refresh_after_401_until.unwrap();
        let left = until.duration_since(clock.wall()).unwrap().as_secs();
        assert_eq!(left, seconds, "{last:?}");
    }
}

#[tokio::test]
async fn p08_stream_is_sent_to_the_byte_in_each_of_three_attempts() {
    type Stream = http_body_util::combinators::UnsyncBoxBody<Bytes, Infallible>;
    let bytes: Vec<u8> = (0..30_000_u32)
        .map(|n| n.to_le_bytes()[n as usize % 3])
        .collect();
    for case in CASES {
        let trailers = HeaderMap::from_iter([("x-end".parse().unwrap(), "1".parse().unwrap())]);
        let frames = bytes
            .chunks(777)
            .map(Bytes::copy_from_slice)
            .map(Frame::data);
        let frames = frames.chain([Frame::trailers(trailers.clone())]);
        let frames: Vec<_> = frames.map(Ok::<_, Infallible>).collect();
        let body = StreamBody::new(stream::iter(frames)).boxed_unsync();
        let (status, received, _) = run::<ReplayBody<Stream>>(case.0, post(body)).await;
        check(case, &status, &received);
        for request in &received {
            assert_eq!(request.body, bytes);
            assert_eq!(request.trailers.as_ref(), Some(&trailers));
        }
    }
}

#[tokio::test]
async fn p08_request_that_cannot_be_replayed_is_sent_once_and_teaches_the_nonce() {
    let mut request = post(Full::<Bytes>::from("x"));
    request.extensions_mut().insert(ReplayLimit::NEVER);
    let (status, received, fetched) = run::<Full<Bytes>>(&[ASKS], request.clone()).await;
    assert_eq!(status.unwrap(), 401);
    assert_eq!((received.len(), fetched), (1, 1));

    // The next request has it.
    let (tokens, _) = tokens().await;
    let seen = Arc::new(Mutex::new(Vec::new()));
    let api = tower::service_fn({
        let seen = Arc::clone(&seen);
        move |request: Request<Full<Bytes>>| {
            let received = Received {
                headers: request.headers().clone(),
                body: Bytes::new(),
                trailers: None,
            };
            seen.lock()
                .unwrap()
                .push(received.claims()["nonce"].clone());
            let response = Response::builder().status(401).header("dpop-nonce", "n7");
            let response = response.header("www-authenticate", "DPoP error=\"use_dpop_nonce\"");
            async move { Ok::<_, Infallible>(response.body(Full::<Bytes>::default()).unwrap()) }
        }
    });
    let api = BearerAuthLayer::<Full<Bytes>>::new(tokens).layer(api);
    for _ in 0..2 {
        let response = api.clone().oneshot(request.clone()).await;
        assert_eq!(response.unwrap().status(), 401);
    }
    assert_eq!(*seen.lock().unwrap(), [Value::Null, Value::from("n7")]);
}

#[tokio::test]
async fn request_with_a_proof_or_to_another_origin_is_not_sent() {
    let mut own_proof = post(Full::<Bytes>::default());
    own_proof
        .headers_mut()
        .insert("dpop", "own".parse().unwrap());
    let mut own_token = post(Full::<Bytes>::default());
    own_token
        .headers_mut()
        .insert("authorization", "own".parse().unwrap());
    let mut elsewhere = post(Full::<Bytes>::default());
    *elsewhere.uri_mut() = "https://api.example.org/".parse().unwrap();
    for request in [own_proof, own_token, elsewhere] {
        let (status, received, _) = run::<Full<Bytes>>(&[], request).await;
        assert_eq!(status.unwrap_err().kind(), ErrorKind::Request);
        assert!(received.is_empty());
    }
}

#[tokio::test]
async fn p09_response_that_asks_for_a_nonce_is_read_before_the_request_is_sent_again() {
    let (tokens, _) = tokens().await;
    let state = Arc::new(Mutex::new((0, true)));
    let api = tower::service_fn({
        let state = Arc::clone(&state);
        move |_: Request<Full<Bytes>>| {
            let mut locked = state.lock().unwrap();
            assert!(locked.1, "the response before it was read");
            locked.0 += 1;
            let is_first = locked.0 == 1;
            locked.1 = !is_first;
            let response = Response::builder().status(if is_first { 401 } else { 200 });
            let response = response
                .header("dpop-nonce", "n1")
                .header("www-authenticate", "DPoP error=\"use_dpop_nonce\"");
            let state = Arc::clone(&state);
            let frames = stream::unfold(3, move |left: u32| {
                if left == 0 {
                    state.lock().unwrap().1 = true;
                }
                let frame = Frame::data(Bytes::from("data"));
                let next = (left > 0).then(|| (Ok::<_, Infallible>(frame), left - 1));
                std::future::ready(next)
            });
            async move { Ok::<_, Infallible>(response.body(StreamBody::new(frames)).unwrap()) }
        }
    });
    let api = BearerAuthLayer::<Full<Bytes>>::new(tokens).layer(api);
    let request = Request::builder().method(Method::GET).uri(API);
    let response = api.oneshot(request.body(Full::default()).unwrap()).await;
    let response = response.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(state.lock().unwrap().0, 2);
    let _ = response.into_body().size_hint();
}

#[tokio::test]
async fn p07_grant_with_a_key_keeps_its_rules_when_dpop_is_turned_off() {
    for case in CASES {
        let (tokens, fetched) = builder(provider(false)).await;
        let cache = (tokens.build().unwrap(), fetched);
        let body = Full::new(Bytes::from("x"));
        let (status, received, fetched) = run_with::<Full<Bytes>>(cache, case.0, post(body)).await;
        check(case, &status, &received);
        let tokens = case.2.iter().any(|(token, _)| *token == "a2");
        assert_eq!(fetched, 1 + u32::from(tokens), "{case:?}");
    }
}

/// A service that is ready after two minutes, and rejects the first two requests. It records the
/// ages of their proofs.
struct Busy {
    ready: Option<Pin<Box<Sleep>>>,
    clock: ManualClock,
    ages: Arc<Mutex<Vec<u64>>>,
}

impl Clone for Busy {
    fn clone(&self) -> Self {
        Self {
            ready: None,
            clock: self.clock.clone(),
            ages: Arc::clone(&self.ages),
        }
    }
}

impl Service<Request<Full<Bytes>>> for Busy {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        let wait = || Box::pin(sleep(Duration::from_secs(120)));
        ready!(self.ready.get_or_insert_with(wait).as_mut().poll(cx));
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Full<Bytes>>) -> Self::Future {
        let received = Received {
            headers: request.headers().clone(),
            body: Bytes::new(),
            trailers: None,
        };
        let issued_at = received.claims()["iat"].as_u64().unwrap();
        let now = self.clock.wall().duration_since(SystemTime::UNIX_EPOCH);
        let mut ages = self.ages.lock().unwrap();
        ages.push(now.unwrap().as_secs() - issued_at);
        let (status, error, nonce) = [ASKS, REJECTS, OK][ages.len() - 1];
        let mut response = Response::builder().status(status);
        if let Some(nonce) = nonce {
            response = response.header("dpop-nonce", nonce);
        }
        let challenge = format!("DPoP error=\"{error}\"");
        let response = response.header("www-authenticate", challenge);
        std::future::ready(Ok(response.body(Full::default()).unwrap()))
    }
}

#[tokio::test(start_paused = true)]
async fn proof_of_a_request_that_waited_for_the_service_is_new() {
    let clock = ManualClock::new();
    let (tokens, _) = builder(provider(true)).await;
    let tokens = tokens.clock(clock.clone()).build().unwrap();
    let ages = Arc::new(Mutex::new(Vec::new()));
    let api = BearerAuthLayer::<Full<Bytes>>::new(tokens).layer(Busy {
        ready: None,
        clock,
        ages: Arc::clone(&ages),
    });
    let response = api.oneshot(post(Full::default())).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(*ages.lock().unwrap(), [0, 0, 0]);
}

#[tokio::test(start_paused = true)]
async fn retry_after_a_pause_has_the_proof_of_a_consent_that_came_meanwhile() {
    let clock = ManualClock::new();
    let provider = provider(true)
        .to_builder()
        .propagation_delay(Duration::from_secs(10));
    let (tokens, _) = builder(provider.build().unwrap()).await;
    let tokens = tokens.clock(clock.clone()).build().unwrap();
    let key = key().await;
    let set = |token: &str, is_bound| {
        let token = AccessToken::new(token).unwrap();
        let tokens = TokenSet::new(token, Duration::from_secs(3_600), clock.wall());
        if is_bound {
            tokens.with_dpop_key(key.clone())
        } else {
            tokens
        }
    };
    for are_bound in [[false, true], [true, false]] {
        tokens.set_tokens(set("b1", are_bound[0])).await.unwrap();
        let consent = async {
            sleep(Duration::from_secs(1)).await;
            tokens.set_tokens(set("b2", are_bound[1])).await.unwrap();
        };
        let sent = Arc::new(Mutex::new(Vec::new()));
        let api = tower::service_fn({
            let sent = Arc::clone(&sent);
            move |request: Request<Full<Bytes>>| {
                let headers = request.headers();
                let token = headers["authorization"].to_str().unwrap().to_owned();
                let mut sent = sent.lock().unwrap();
                sent.push((token, headers.contains_key("dpop")));
                let status = if sent.len() == 1 { 401 } else { 200 };
                let response = Response::builder().status(status);
                std::future::ready(Ok::<_, Infallible>(
                    response.body(Full::<Bytes>::default()).unwrap(),
                ))
            }
        });
        let api = BearerAuthLayer::<Full<Bytes>>::new(tokens.clone()).layer(api);
        let (response, ()) = tokio::join!(api.oneshot(post(Full::default())), consent);
        assert_eq!(response.unwrap().status(), 200);
        let expected = [("b1", are_bound[0]), ("b2", are_bound[1])].map(|(token, is_bound)| {
            let scheme = if is_bound { "DPoP" } else { "Bearer" };
            (format!("{scheme} {token}"), is_bound)
        });
        assert_eq!(*sent.lock().unwrap(), expected);
    }
}
