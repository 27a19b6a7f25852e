//! The cost of the layer over a socket: a hyper-util client, a hyper server, HTTP/1.1 on loopback.
//!
//! ```sh
//! cargo bench -p benches --bench end_to_end
//! ```
//!
//! Throughput with 1 and with 32 tasks, of the layer (retries on) relative to a static header, for
//! two shapes of a request. In each round both are measured twice, in mirrored order, so that a
//! drift of the machine affects both alike. The result is the median of the ratios of all rounds.
//! The ratio of processor time hardly depends on other work of the machine.
//!
//! Then the time of a request that recovers from a 401, relative to two requests and a refresh; and
//! 1,000 such requests at once. All of it takes less than a minute.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use benches::{
    plot::grouped,
    report::{Goal, Report, Table, median, quantile},
};
use bytes::Bytes;
use http::{
    Method, Request, Response, StatusCode,
    header::{ACCEPT, ACCEPT_ENCODING, ACCEPT_LANGUAGE, AUTHORIZATION, HOST, USER_AGENT},
};
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

/// For each shape and number of tasks.
const BUDGET: Duration = Duration::from_secs(10);
/// Short, for many rounds: their median leaves out those that other work of the machine disturbs.
const SLICE: Duration = Duration::from_millis(20);
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

/// The shape of a request, with the headers that HTTP clients usually send.
#[derive(Clone, Copy)]
enum Shape {
    /// Four headers and `Host`, and no body.
    Get,
    /// Four headers and `Host`, and a body of 1 KiB.
    Post,
}

impl Shape {
    fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST of 1 KiB",
        }
    }

    fn request(self, address: SocketAddr) -> Request<Body> {
        let request = Request::builder()
            .uri(format!("http://{address}/v1/company"))
            .header(HOST, address.to_string())
            .header(ACCEPT, "application/json")
            .header(ACCEPT_ENCODING, "gzip")
            .header(ACCEPT_LANGUAGE, "en")
            .header(USER_AGENT, "bench");
        let body = Bytes::from_static(&[b'x'; 1_024]);
        match self {
            Self::Get => request.body(Body::default()),
            Self::Post => request.method(Method::POST).body(Body::new(body)),
        }
        .unwrap()
    }
}

/// Sends a request and reads the whole response.
async fn round_trip<S, R>(service: &mut S, request: Request<Body>) -> StatusCode
where
    S: Service<Request<Body>, Response = Response<R>, Error: std::fmt::Debug>,
    R: http_body::Body<Error: std::fmt::Debug>,
{
    let response = service.ready().await.unwrap().call(request).await.unwrap();
    let status = response.status();
    response.into_body().collect().await.unwrap();
    status
}

/// The work of a service.
#[derive(Clone, Copy, Default)]
struct Work {
    requests: f64,
    seconds: f64,
    /// Of all threads: those of the client, and those of the server.
    processor_seconds: f64,
}

impl Work {
    fn and(self, other: Self) -> Self {
        Self {
            requests: self.requests + other.requests,
            seconds: self.seconds + other.seconds,
            processor_seconds: self.processor_seconds + other.processor_seconds,
        }
    }

    fn throughput(self) -> f64 {
        self.requests / self.seconds
    }

    fn processor_time(self) -> f64 {
        self.processor_seconds / self.requests
    }
}

fn processor_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::try_from(time).unwrap().as_secs_f64()
}

/// Sends requests for the time of a slice, in a task for each service.
async fn work<S, R>(services: &mut Vec<S>, shape: Shape, address: SocketAddr) -> Work
where
    S: Service<Request<Body>, Response = Response<R>, Error: std::fmt::Debug, Future: Send>
        + Send
        + 'static,
    R: http_body::Body<Data: Send, Error: std::fmt::Debug> + Send,
{
    let (started, processor) = (Instant::now(), processor_seconds());
    let mut all = JoinSet::new();
    for mut service in services.drain(..) {
        all.spawn(async move {
            let mut count = 0_u32;
            while started.elapsed() < SLICE {
                round_trip(&mut service, shape.request(address)).await;
                count += 1;
            }
            (service, count)
        });
    }
    let mut count = 0;
    while let Some(task) = all.join_next().await {
        let (service, sent) = task.unwrap();
        services.push(service);
        count += sent;
    }
    Work {
        requests: f64::from(count),
        seconds: started.elapsed().as_secs_f64(),
        processor_seconds: processor_seconds() - processor,
    }
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
        round_trip(&mut self.http.clone(), Shape::Get.request(self.address)).await;
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
    let columns = [
        "requests per second",
        "static header",
        "this crate",
        "ratio",
        "ratio of processor time",
    ];
    let mut table = Table::new("end_to_end", &columns);
    for shape in [Shape::Get, Shape::Post] {
        for tasks in [1, 32] {
            let mut ours = vec![ours.clone(); tasks];
            let mut fixed = vec![fixed.clone(); tasks];
            let mut ours = async || work(&mut ours, shape, address).await;
            let mut fixed = async || work(&mut fixed, shape, address).await;
            // Opens the connections, and lets each service keep its own copy of the token.
            ours().await;
            fixed().await;
            let mut rounds = Vec::new();
            let started = Instant::now();
            while started.elapsed() < BUDGET {
                if rounds.len() % 2 == 0 {
                    let first = fixed().await;
                    let between = ours().await.and(ours().await);
                    rounds.push([between, first.and(fixed().await)]);
                } else {
                    let first = ours().await;
                    let between = fixed().await.and(fixed().await);
                    rounds.push([first.and(ours().await), between]);
                }
            }
            let what = format!(
                "{}, {tasks} {}",
                shape.name(),
                if tasks == 1 { "task" } else { "tasks" }
            );
            add_throughput(report, &mut table, &what, &rounds);
        }
    }
    table.finish();
}

/// Adds the results of this crate and of a static header, which each round has in this order.
fn add_throughput(report: &mut Report, table: &mut Table, what: &str, rounds: &[[Work; 2]]) {
    let of = |figure: fn(&[Work; 2]) -> f64| -> Vec<f64> { rounds.iter().map(figure).collect() };
    let ratios = of(|[ours, fixed]| ours.throughput() / fixed.throughput());
    let [low, high] = [0.25, 0.75].map(|part| quantile(ratios.clone(), part));
    let ratio = median(ratios);
    let ours = median(of(|[ours, _]| ours.throughput()));
    let fixed = median(of(|[_, fixed]| fixed.throughput()));
    let processor = median(of(|[ours, fixed]| {
        ours.processor_time() / fixed.processor_time()
    }));
    table.row(&[
        what,
        &grouped(fixed),
        &grouped(ours),
        &format!("{ratio:.3}"),
        &format!("{processor:.3}"),
    ]);
    let details = format!(
        "{ours:.0} / {fixed:.0} requests per second; half of {} rounds are between {low:.3} and \
         {high:.3}; processor time {processor:.3}",
        rounds.len()
    );
    let what = format!("end to end, {what}: throughput relative to a static header");
    report.goal(&what, Goal::AtLeast(0.98), ratio, &details);
}

/// Each recovery has its own cache, because one cache makes at most one refresh per second.
async fn compare_recovery(report: &mut Report, table: &mut Table) {
    let mut scenes = Vec::new();
    for _ in 0..RECOVERIES {
        let scene = Scene::new().await;
        let mut bare = client::<Body>();
        let layer = BearerAuthLayer::new(scene.tokens.clone());
        let mut ours = layer.layer(client::<Body>());
        // Opens the connections.
        let request = || Shape::Get.request(scene.address);
        round_trip(&mut bare, request()).await;
        round_trip(&mut ours, request()).await;
        scenes.push((scene, bare, ours));
    }
    let at_once = Scene::new().await;
    tokio::time::sleep(PROPAGATED).await;
    let (mut recoveries, mut parts) = (Vec::new(), Vec::new());
    for (number, (scene, mut bare, mut ours)) in scenes.into_iter().enumerate() {
        let request = || Shape::Get.request(scene.address);
        scene.revoke();
        let mut recover = async || {
            let started = Instant::now();
            assert_eq!(round_trip(&mut ours, request()).await, 200);
            recoveries.push(milliseconds(started));
        };
        let mut request_and_refresh = async || {
            let started = Instant::now();
            round_trip(&mut bare, request()).await;
            round_trip(&mut bare, request()).await;
            let issue = Shape::Get.request(scene.issuer.address);
            round_trip(&mut scene.issuer.http.clone(), issue).await;
            parts.push(milliseconds(started));
        };
        // The second of both finds the connections in use recently.
        if number % 2 == 0 {
            recover().await;
            request_and_refresh().await;
        } else {
            request_and_refresh().await;
            recover().await;
        }
    }
    let (recovery, parts) = (median(recoveries), median(parts));
    let what = "recovery from a 401: time relative to two requests and a refresh";
    let details = format!("{recovery:.3} / {parts:.3} ms");
    report.goal(what, Goal::AtMost(1.2), recovery / parts, &details);
    let (recovery, parts) = (format!("{recovery:.2}"), format!("{parts:.2}"));
    let what = "one request that receives a 401";
    table.row(&[what, "1", &recovery, &parts]);
    recover_at_once(report, table, &at_once).await;
}

async fn recover_at_once(report: &mut Report, table: &mut Table, scene: &Scene) {
    let ours = BearerAuthLayer::new(scene.tokens.clone()).layer(client::<Body>());
    scene.revoke();
    let mut all = JoinSet::new();
    for _ in 0..AT_ONCE {
        let (mut ours, request) = (ours.clone(), Shape::Get.request(scene.address));
        all.spawn(async move { round_trip(&mut ours, request).await });
    }
    let statuses = all.join_all().await;
    let succeeded = statuses.iter().filter(|status| **status == 200).count();
    let refreshes = scene.issuer.refreshes.load(Ordering::Relaxed) - 1;
    let details = format!("{succeeded} of {AT_ONCE} responses are 200");
    let what = "1,000 concurrent requests that receive a 401";
    table.row(&[what, &refreshes.to_string(), "", ""]);
    #[expect(clippy::cast_precision_loss, reason = "a small count")]
    let refreshes = refreshes as f64;
    let what = format!("{what}: refreshes");
    report.goal(&what, Goal::Exactly(1.0), refreshes, &details);
}

#[tokio::main(worker_threads = 2)]
async fn main() {
    let mut report = Report::new("end_to_end");
    let columns = [
        "recovery",
        "refreshes",
        "ms",
        "ms of two requests and a refresh",
    ];
    let mut table = Table::new("recovery", &columns);
    compare_throughput(&mut report).await;
    compare_recovery(&mut report, &mut table).await;
    table.finish();
    report.finish();
}
