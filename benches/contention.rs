//! The cost of a request when threads share a token: this crate and the usual ways to share one.
//!
//! ```sh
//! cargo bench -p benches --bench contention
//! ```
//!
//! Each candidate adds the same header to the same request and calls a service that does nothing.
//! Each thread has a clone of the service, and all clones share one token. The time without a token
//! is subtracted. Rounds of all candidates alternate; the fastest round counts, because other work
//! of the machine only makes a round slower. The allocator is mimalloc, in which threads do not
//! contend.

use std::{
    hint::black_box,
    sync::{Arc, Barrier, Mutex, RwLock},
    task::{Context, Poll},
    thread,
    time::Instant,
};

use arc_swap::ArcSwap;
use benches::{
    Body, Noop, bearer, layer,
    plot::{Lines, grouped},
    report::{Goal, Report, Table},
    request, send,
};
use http::{HeaderValue, Request, header::AUTHORIZATION};
use mimalloc::MiMalloc;
use tower::{Layer, Service};
use tower_http::auth::AddAuthorizationLayer;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Up to twice the number of processors of the machine that the page names: with more, a request
/// costs what the scheduler costs.
const THREADS: [usize; 3] = [1, 2, 4];
/// Not in the plot, whose other lines it would press together. The table has all candidates.
const NOT_DRAWN: [&str; 3] = ["no token", "tokio Mutex", "tokio watch"];
const ROUNDS: usize = 30;
/// Requests of all threads together in a round.
const REQUESTS: usize = 128_000;

/// A service that obtains the header from a function for each request.
#[derive(Clone)]
struct HeaderFrom<F>(F);

impl<F: Fn() -> HeaderValue> Service<Request<Body>> for HeaderFrom<F> {
    type Response = <Noop as Service<Request<Body>>>::Response;
    type Error = <Noop as Service<Request<Body>>>::Error;
    type Future = <Noop as Service<Request<Body>>>::Future;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        request.headers_mut().insert(AUTHORIZATION, (self.0)());
        Noop.call(request)
    }
}

/// The name of a candidate, and its nanoseconds per request by the number of threads.
type Case = (&'static str, Box<dyn Fn(usize) -> f64>);

fn case<S>(name: &'static str, service: S) -> Case
where
    S: Service<Request<Body>> + Clone + Send + 'static,
{
    let round = move |threads| nanoseconds(&service, threads);
    (name, Box::new(round))
}

fn header_from<F>(name: &'static str, header: F) -> Case
where
    F: Fn() -> HeaderValue + Clone + Send + 'static,
{
    case(name, HeaderFrom(header))
}

fn cases() -> Vec<Case> {
    let header = bearer();
    let mutex = Arc::new(Mutex::new(header.clone()));
    let lock = Arc::new(RwLock::new(header.clone()));
    let tokio_mutex = Arc::new(tokio::sync::Mutex::new(header.clone()));
    let tokio_lock = Arc::new(tokio::sync::RwLock::new(header.clone()));
    let (sender, watch) = tokio::sync::watch::channel(header.clone());
    let swap = Arc::new(ArcSwap::from_pointee(header.clone()));
    vec![
        case("no token", Noop),
        case(
            "this crate, retries off",
            layer().replay_limit(0).layer(Noop),
        ),
        case("this crate, retries on", layer().layer(Noop)),
        case(
            "static header",
            AddAuthorizationLayer::bearer(&"t".repeat(1_024)).layer(Noop),
        ),
        header_from("ArcSwap", move || HeaderValue::clone(&swap.load())),
        header_from("std Mutex", move || mutex.lock().unwrap().clone()),
        header_from("std RwLock", move || lock.read().unwrap().clone()),
        header_from("tokio Mutex", move || tokio_mutex.blocking_lock().clone()),
        header_from("tokio RwLock", move || tokio_lock.blocking_read().clone()),
        header_from("tokio watch", move || {
            let _ = &sender;
            watch.borrow().clone()
        }),
    ]
}

/// Nanoseconds of processor time per request.
fn nanoseconds<S>(service: &S, threads: usize) -> f64
where
    S: Service<Request<Body>> + Clone + Send + 'static,
{
    let barrier = Arc::new(Barrier::new(threads + 1));
    let each = REQUESTS / threads;
    let handles: Vec<_> = (0..threads)
        .map(|_| {
            let (barrier, mut service) = (Arc::clone(&barrier), service.clone());
            thread::spawn(move || {
                send(&mut service, request());
                send(&mut service, request());
                barrier.wait();
                for _ in 0..each {
                    send(&mut service, black_box(request()));
                }
            })
        })
        .collect();
    barrier.wait();
    let started = Instant::now();
    for handle in handles {
        handle.join().unwrap();
    }
    let processors = thread::available_parallelism().map_or(1, usize::from);
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    let each_on_its_own = REQUESTS as f64 / threads.min(processors) as f64;
    started.elapsed().as_secs_f64() * 1e9 / each_on_its_own
}

fn main() {
    let cases = cases();
    let mut best = vec![[f64::INFINITY; THREADS.len()]; cases.len()];
    for _ in 0..ROUNDS {
        for (at, threads) in THREADS.into_iter().enumerate() {
            for ((_, round), best) in cases.iter().zip(&mut best) {
                best[at] = best[at].min(round(threads));
            }
        }
    }
    let nothing = best[0];
    let net = |at: usize| -> Vec<f64> {
        best[at]
            .iter()
            .zip(nothing)
            .map(|(all, nothing)| (all - nothing).max(1.0))
            .collect()
    };
    let columns = [
        "ns per request",
        "1 thread",
        "2 threads",
        "4 threads",
        "2 / 1",
    ];
    let mut table = Table::new("contention", &columns);
    let title = "Adding a fresh token to a request, by number of threads";
    let mut plot = Lines::new(title, "threads, on two processors", "nanoseconds");
    for (at, (name, _)) in cases.iter().enumerate().skip(1) {
        let net = net(at);
        let ratio = format!("{:.2}", net[1] / net[0]);
        let [one, two, four] = [0, 1, 2].map(|at| grouped(net[at]));
        table.row(&[*name, &one, &two, &four, &ratio]);
        if !NOT_DRAWN.contains(name) {
            let threads = THREADS.map(|threads| f64::from(u32::try_from(threads).unwrap()));
            plot = plot.line(*name, threads.into_iter().zip(net).collect());
        }
    }
    table.finish();
    plot.draw("contention");

    let mut report = Report::new("contention");
    for (at, what, most) in [(1, "off", 1.1), (2, "on", 1.15)] {
        let net = net(at);
        let what = format!("fresh token, retries {what}: two threads relative to one");
        let details = format!("{:.0} / {:.0} ns", net[1], net[0]);
        report.goal(&what, Goal::AtMost(most), net[1] / net[0], &details);
    }
    report.finish();
}
