//! The cost of the layer over a socket: a hyper-util client, a hyper server, HTTP/1.1 on loopback.
//!
//! ```sh
//! cargo bench -p benches --bench end_to_end
//! ```
//!
//! Throughput with 1 and with 32 tasks: with the layer (retries on), with a static header, and with
//! neither, in alternation. The ratio is the median over adjacent rounds. Then the time of a
//! request that recovers from a 401, relative to two requests and a refresh; and 1,000 such
//! requests at once.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use benches::report::{Goal, Report, median};
use bytes::Bytes;
use http::{Request, Response, StatusCode, header::AUTHORIZATION};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
};
use mimalloc::MiMalloc;
use tokio::{net::TcpListener, task::JoinSet};
use tower::{Layer, Service, ServiceExt};
use tower_http::auth::AddAuthorizationLayer;
use tower_oauth2_client::{
    Error,
    bearer::BearerAuthLayer,
    cache::{TokenCache, TokenSource},
    clock::{Clock, SystemClock},
    token::{AccessToken, TokenSet},
};

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

type Body = Full<Bytes>;

const ROUNDS: usize = 60;
const ROUND: Duration = Duration::from_millis(100);
const RECOVERIES: usize = 200;
const AT_ONCE: usize = 1_000;

/// How old a token is before a 401 causes a refresh, and a little more. The wait is not part of the
/// measurement.
const PROPAGATED: Duration = Duration::from_millis(5_100);

/// The `Authorization` header that the server accepts. While it is empty, the server accepts any.
type Accepted = Arc<Mutex<String>>;

async fn serve(accepted: Accepted) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            let accepted = Arc::clone(&accepted);
            let service = service_fn(move |request: Request<Incoming>| {
                let is_accepted = {
                    let accepted = accepted.lock().unwrap();
                    let token = request.headers().get(AUTHORIZATION);
                    accepted.is_empty()
                        || token.is_some_and(|token| token.as_bytes() == accepted.as_bytes())
                };
                let mut response = Response::new(Body::from("{\"name\":\"Acme\"}"));
                if !is_accepted {
                    *response.status_mut() = StatusCode::UNAUTHORIZED;
                }
                async { Ok::<_, Infallible>(response) }
            });
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    address
}

fn client<B>() -> Client<HttpConnector, B>
where
    B: http_body::Body + Send,
    B::Data: Send,
{
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    Client::builder(TokioExecutor::new()).build(connector)
}

fn get(address: SocketAddr) -> Request<Body> {
    Request::get(format!("http://{address}/v1/company"))
        .header("accept", "application/json")
        .body(Body::default())
        .unwrap()
}

/// Sends a request and reads the whole response.
async fn round_trip<S, R>(service: &mut S, address: SocketAddr) -> StatusCode
where
    S: Service<Request<Body>, Response = Response<R>, Error: std::fmt::Debug>,
    R: http_body::Body<Error: std::fmt::Debug>,
{
    let response = service
        .ready()
        .await
        .unwrap()
        .call(get(address))
        .await
        .unwrap();
    let status = response.status();
    response.into_body().collect().await.unwrap();
    status
}

/// Requests per second of all tasks together.
async fn throughput<S, R>(service: &S, tasks: usize, address: SocketAddr) -> f64
where
    S: Service<Request<Body>, Response = Response<R>, Error: std::fmt::Debug, Future: Send>
        + Clone
        + Send
        + 'static,
    R: http_body::Body<Data: Send, Error: std::fmt::Debug> + Send,
{
    let started = Instant::now();
    let mut all = JoinSet::new();
    for _ in 0..tasks {
        let mut service = service.clone();
        all.spawn(async move {
            let mut count = 0_u32;
            while started.elapsed() < ROUND {
                round_trip(&mut service, address).await;
                count += 1;
            }
            count
        });
    }
    let count: u32 = all.join_all().await.into_iter().sum();
    f64::from(count) / started.elapsed().as_secs_f64()
}

/// Issues a different token each time, after one request over loopback.
#[derive(Clone)]
struct Issuer {
    refreshes: Arc<AtomicUsize>,
    http: Client<HttpConnector, Body>,
    address: SocketAddr,
}

impl TokenSource for Issuer {
    async fn fetch(&self, _held: Option<&TokenSet>) -> Result<TokenSet, Error> {
        let number = self.refreshes.fetch_add(1, Ordering::Relaxed) + 1;
        round_trip(&mut self.http.clone(), self.address).await;
        let token = AccessToken::new(format!("token-{number}"))?;
        Ok(TokenSet::new(
            token,
            Duration::from_secs(86_400),
            SystemClock.wall(),
        ))
    }
}

/// A server, a provider, and a cache with a token that the server accepts.
struct Scene {
    accepted: Accepted,
    address: SocketAddr,
    issuer: Issuer,
    tokens: TokenCache,
}

impl Scene {
    async fn new() -> Self {
        let accepted = Accepted::default();
        let address = serve(Arc::clone(&accepted)).await;
        let issuer = Issuer {
            refreshes: Arc::default(),
            http: client(),
            address: serve(Accepted::default()).await,
        };
        let tokens = TokenCache::builder(issuer.clone())
            .origin(format!("http://{address}").as_str())
            .build()
            .unwrap();
        tokens.token().await.unwrap();
        Self {
            accepted,
            address,
            issuer,
            tokens,
        }
    }

    /// From now on the server accepts only the next token.
    fn revoke(&self) {
        let next = self.issuer.refreshes.load(Ordering::Relaxed) + 1;
        *self.accepted.lock().unwrap() = format!("Bearer token-{next}");
    }
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}

async fn compare_throughput(report: &mut Report) {
    let scene = Scene::new().await;
    let address = scene.address;
    let ours = BearerAuthLayer::new(scene.tokens.clone()).layer(client::<Body>());
    let fixed = AddAuthorizationLayer::bearer("token-1").layer(client::<Body>());
    let bare = client::<Body>();
    for tasks in [1, 32] {
        let (mut ratios, mut all) = (Vec::new(), [Vec::new(), Vec::new(), Vec::new()]);
        for _ in 0..ROUNDS {
            let before = throughput(&fixed, tasks, address).await;
            let between = throughput(&ours, tasks, address).await;
            let after = throughput(&fixed, tasks, address).await;
            ratios.push(between / f64::midpoint(before, after));
            all[0].push(between);
            all[1].push(f64::midpoint(before, after));
            all[2].push(throughput(&bare, tasks, address).await);
        }
        let [ours, fixed, bare] = all.map(median);
        let what = format!("end to end, {tasks} tasks: throughput relative to a static header");
        let details =
            format!("{ours:.0} / {fixed:.0} requests per second; {bare:.0} without a header");
        report.goal(&what, Goal::AtLeast(0.99), median(ratios), &details);
    }
}

/// Each recovery has its own cache, because one cache makes at most one refresh per second.
async fn compare_recovery(report: &mut Report) {
    let mut scenes = Vec::new();
    for _ in 0..RECOVERIES {
        let scene = Scene::new().await;
        let mut bare = client::<Body>();
        let layer = BearerAuthLayer::new(scene.tokens.clone());
        let mut ours = layer.layer(client::<Body>());
        // Opens the connections.
        round_trip(&mut bare, scene.address).await;
        round_trip(&mut ours, scene.address).await;
        scenes.push((scene, bare, ours));
    }
    tokio::time::sleep(PROPAGATED).await;
    let (mut recoveries, mut parts) = (Vec::new(), Vec::new());
    for (scene, mut bare, mut ours) in scenes {
        let started = Instant::now();
        round_trip(&mut bare, scene.address).await;
        round_trip(&mut bare, scene.address).await;
        round_trip(&mut scene.issuer.http.clone(), scene.issuer.address).await;
        parts.push(milliseconds(started));

        scene.revoke();
        let started = Instant::now();
        assert_eq!(round_trip(&mut ours, scene.address).await, 200);
        recoveries.push(milliseconds(started));
    }
    let (recovery, parts) = (median(recoveries), median(parts));
    let what = "recovery from a 401: time relative to two requests and a refresh";
    let details = format!("{recovery:.3} / {parts:.3} ms");
    report.goal(what, Goal::AtMost(1.2), recovery / parts, &details);
}

async fn recover_at_once(report: &mut Report) {
    let scene = Scene::new().await;
    let ours = BearerAuthLayer::new(scene.tokens.clone()).layer(client::<Body>());
    tokio::time::sleep(PROPAGATED).await;
    scene.revoke();
    let mut all = JoinSet::new();
    for _ in 0..AT_ONCE {
        let (mut ours, address) = (ours.clone(), scene.address);
        all.spawn(async move { round_trip(&mut ours, address).await });
    }
    let statuses = all.join_all().await;
    let succeeded = statuses.iter().filter(|status| **status == 200).count();
    #[expect(clippy::cast_precision_loss, reason = "a small count")]
    let refreshes = (scene.issuer.refreshes.load(Ordering::Relaxed) - 1) as f64;
    let details = format!("{succeeded} of {AT_ONCE} responses are 200");
    let what = "1,000 concurrent requests that receive a 401: refreshes";
    report.goal(what, Goal::Exactly(1.0), refreshes, &details);
}

#[tokio::main(worker_threads = 2)]
async fn main() {
    let mut report = Report::new("end_to_end");
    compare_throughput(&mut report).await;
    compare_recovery(&mut report).await;
    recover_at_once(&mut report).await;
    report.finish();
}
