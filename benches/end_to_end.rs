//! What the layer costs where requests cross a socket: a hyper-util client, a hyper server, HTTP/1.1 over loopback.
//!
//! ```sh
//! cargo bench -p benches --bench end_to_end
//! ```
//!
//! Throughput with 1 and with 32 tasks, with the layer (retrying on), with a static header and with neither, in turn; the ratio is the
//! median of those of neighbours. And what a 401 and its recovery take, against two requests and an exchange, each measured by
//! itself: one after another, and 1,000 at once.

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

/// What the server takes for good: nothing is asked for while it is empty.
type Good = Arc<Mutex<String>>;

async fn serve(good: Good) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            let good = Arc::clone(&good);
            let answer = service_fn(move |request: Request<Incoming>| {
                let is_good = {
                    let good = good.lock().unwrap();
                    let token = request.headers().get(AUTHORIZATION);
                    good.is_empty()
                        || token.is_some_and(|token| token.as_bytes() == good.as_bytes())
                };
                let mut response = Response::new(Body::from("{\"name\":\"Acme\"}"));
                if !is_good {
                    *response.status_mut() = StatusCode::UNAUTHORIZED;
                }
                async { Ok::<_, Infallible>(response) }
            });
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), answer));
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

/// A request and the whole of its answer.
async fn exchange<S>(service: &mut S, address: SocketAddr) -> StatusCode
where
    S: Service<Request<Body>, Response = Response<Incoming>, Error: std::fmt::Debug>,
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

/// Requests a second, of so many tasks.
async fn throughput<S>(service: &S, tasks: usize, address: SocketAddr) -> f64
where
    S: Service<Request<Body>, Response = Response<Incoming>, Error: std::fmt::Debug, Future: Send>
        + Clone
        + Send
        + 'static,
{
    let begin = Instant::now();
    let mut all = JoinSet::new();
    for _ in 0..tasks {
        let mut service = service.clone();
        all.spawn(async move {
            let mut count = 0_u32;
            while begin.elapsed() < ROUND {
                exchange(&mut service, address).await;
                count += 1;
            }
            count
        });
    }
    let count: u32 = all.join_all().await.into_iter().sum();
    f64::from(count) / begin.elapsed().as_secs_f64()
}

/// Each token is another one, and takes a request over loopback to get.
#[derive(Clone)]
struct Issuer {
    exchanges: Arc<AtomicUsize>,
    http: Client<HttpConnector, Body>,
    address: SocketAddr,
}

impl TokenSource for Issuer {
    async fn fetch(&self, _held: Option<&TokenSet>) -> Result<TokenSet, Error> {
        let number = self.exchanges.fetch_add(1, Ordering::Relaxed) + 1;
        exchange(&mut self.http.clone(), self.address).await;
        let token = AccessToken::new(format!("token-{number}"))?;
        Ok(TokenSet::new(
            token,
            Duration::from_secs(86_400),
            SystemClock.wall(),
        ))
    }
}

/// A way through a layer that holds a good token, the server that it goes to, and its provider.
struct Scene {
    good: Good,
    address: SocketAddr,
    issuer: Issuer,
    tokens: TokenCache,
}

impl Scene {
    async fn new() -> Self {
        let good = Good::default();
        let address = serve(Arc::clone(&good)).await;
        let issuer = Issuer {
            exchanges: Arc::default(),
            http: client(),
            address: serve(Good::default()).await,
        };
        let tokens = TokenCache::builder(issuer.clone())
            .origin(format!("http://{address}").as_str())
            .build()
            .unwrap();
        tokens.token().await.unwrap();
        Self {
            good,
            address,
            issuer,
            tokens,
        }
    }

    /// From now on only the next token is good.
    fn turn_down(&self) {
        let next = self.issuer.exchanges.load(Ordering::Relaxed) + 1;
        *self.good.lock().unwrap() = format!("Bearer token-{next}");
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
        let what = format!("end to end, {tasks} tasks: throughput against a static header");
        let how = format!("{ours:.0} of {fixed:.0} requests a second; without either {bare:.0}");
        report.goal(&what, Goal::AtLeast(0.99), median(ratios), &how);
    }
}

/// Each recovery has a cache of its own: one cache is not renewed twice a second.
async fn compare_recovery(report: &mut Report) {
    let mut scenes = Vec::new();
    for _ in 0..RECOVERIES {
        let scene = Scene::new().await;
        let mut bare = client::<Body>();
        let layer = BearerAuthLayer::new(scene.tokens.clone());
        let mut ours = layer.layer(client::<Body>());
        // So that connections are there.
        exchange(&mut bare, scene.address).await;
        exchange(&mut ours, scene.address).await;
        scenes.push((scene, bare, ours));
    }
    // The floor between two exchanges is not what is measured.
    tokio::time::sleep(Duration::from_millis(1_050)).await;
    let (mut recoveries, mut parts) = (Vec::new(), Vec::new());
    for (scene, mut bare, mut ours) in scenes {
        let begin = Instant::now();
        exchange(&mut bare, scene.address).await;
        exchange(&mut bare, scene.address).await;
        exchange(&mut scene.issuer.http.clone(), scene.issuer.address).await;
        parts.push(milliseconds(begin));

        scene.turn_down();
        let begin = Instant::now();
        assert_eq!(exchange(&mut ours, scene.address).await, 200);
        recoveries.push(milliseconds(begin));
    }
    let (recovery, parts) = (median(recoveries), median(parts));
    let what = "a 401 and its recovery: time against two requests and an exchange";
    let how = format!("{recovery:.3} of {parts:.3} ms");
    report.goal(what, Goal::AtMost(1.2), recovery / parts, &how);
}

async fn recover_at_once(report: &mut Report) {
    let scene = Scene::new().await;
    let ours = BearerAuthLayer::new(scene.tokens.clone()).layer(client::<Body>());
    tokio::time::sleep(Duration::from_millis(1_050)).await;
    scene.turn_down();
    let mut all = JoinSet::new();
    for _ in 0..AT_ONCE {
        let (mut ours, address) = (ours.clone(), scene.address);
        all.spawn(async move { exchange(&mut ours, address).await });
    }
    let statuses = all.join_all().await;
    let good = statuses.iter().filter(|status| **status == 200).count();
    #[expect(clippy::cast_precision_loss, reason = "a small number")]
    let exchanges = (scene.issuer.exchanges.load(Ordering::Relaxed) - 1) as f64;
    let how = format!("{good} of {AT_ONCE} answered with 200");
    let what = "1,000 requests that get a 401 at once: exchanges";
    report.goal(what, Goal::Exactly(1.0), exchanges, &how);
}

#[tokio::main(worker_threads = 2)]
async fn main() {
    let mut report = Report::new("end_to_end");
    compare_throughput(&mut report).await;
    compare_recovery(&mut report).await;
    recover_at_once(&mut report).await;
    report.end();
}
