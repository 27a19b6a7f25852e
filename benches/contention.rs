//! What a warm request costs when several threads send at once: ours beside the usual ways to share a token.
//!
//! ```sh
//! cargo bench -p benches --bench contention
//! ```
//!
//! All of them put the same header on the same request and hand it to a service that does nothing. Each thread has a clone of
//! the service, and all clones share one token. The time of the same without a token is taken off. A round of each follows the
//! other, and of many rounds the quickest counts: whatever else the machine does can only make it slower. The allocator is
//! mimalloc, so that threads do not wait for each other there.

use std::{
    fs,
    hint::black_box,
    sync::{Arc, Barrier, Mutex, RwLock},
    task::{Context, Poll},
    thread,
    time::Instant,
};

use arc_swap::ArcSwap;
use benches::{
    Body, Nothing, bearer, layer,
    plot::Plot,
    report::{Goal, Report, folder},
    request, send,
};
use http::{HeaderValue, Request, header::AUTHORIZATION};
use mimalloc::MiMalloc;
use tower::{Layer, Service};
use tower_http::auth::AddAuthorizationLayer;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

const THREADS: [usize; 5] = [1, 2, 4, 8, 64];
/// What can be told apart in one plot; the table has all.
const DRAWN: [&str; 5] = [
    "this crate, retrying off",
    "static header",
    "ArcSwap",
    "std Mutex",
    "tokio RwLock",
];
/// Beyond so many, it is the scheduler that is measured.
const DRAWN_THREADS: usize = 4;
const ROUNDS: usize = 20;
/// Of all threads together, in a round.
const REQUESTS: usize = 256_000;

/// A service that asks somebody for the header each time.
#[derive(Clone)]
struct Asking<F>(F);

impl<F: Fn() -> HeaderValue> Service<Request<Body>> for Asking<F> {
    type Response = <Nothing as Service<Request<Body>>>::Response;
    type Error = <Nothing as Service<Request<Body>>>::Error;
    type Future = <Nothing as Service<Request<Body>>>::Future;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        request.headers_mut().insert(AUTHORIZATION, (self.0)());
        Nothing.call(request)
    }
}

/// The name of a way, and how many nanoseconds a request takes a thread, of so many.
type Case = (&'static str, Box<dyn Fn(usize) -> f64>);

fn case<S>(name: &'static str, service: S) -> Case
where
    S: Service<Request<Body>> + Clone + Send + 'static,
{
    let round = move |threads| nanoseconds(&service, threads);
    (name, Box::new(round))
}

fn asking<F>(name: &'static str, ask: F) -> Case
where
    F: Fn() -> HeaderValue + Clone + Send + 'static,
{
    case(name, Asking(ask))
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
        case("nothing", Nothing),
        case(
            "this crate, retrying off",
            layer().replay_limit(0).layer(Nothing),
        ),
        case("this crate, retrying on", layer().layer(Nothing)),
        case(
            "static header",
            AddAuthorizationLayer::bearer(&"t".repeat(1_024)).layer(Nothing),
        ),
        asking("ArcSwap", move || HeaderValue::clone(&swap.load())),
        asking("std Mutex", move || mutex.lock().unwrap().clone()),
        asking("std RwLock", move || lock.read().unwrap().clone()),
        asking("tokio Mutex", move || tokio_mutex.blocking_lock().clone()),
        asking("tokio RwLock", move || tokio_lock.blocking_read().clone()),
        asking("tokio watch", move || {
            let _ = &sender;
            watch.borrow().clone()
        }),
    ]
}

/// How long a request takes each of so many threads, in nanoseconds of one processor.
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
    let begin = Instant::now();
    for handle in handles {
        handle.join().unwrap();
    }
    let processors = thread::available_parallelism().map_or(1, usize::from);
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    let each_on_its_own = REQUESTS as f64 / threads.min(processors) as f64;
    begin.elapsed().as_secs_f64() * 1e9 / each_on_its_own
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
    let mut table = String::from(
        "| net nanoseconds per request with so many threads | 1 | 2 | 4 | 8 | 64 | 2 against 1 |\n| --- | --: | --: | --: | --: | --: | --: |\n",
    );
    for (at, (name, _)) in cases.iter().enumerate().skip(1) {
        let net = net(at);
        let cells: Vec<String> = net.iter().map(|figure| format!("{figure:.0}")).collect();
        table += &format!(
            "| {name} | {} | {:.2} |\n",
            cells.join(" | "),
            net[1] / net[0]
        );
    }
    print!("{table}");
    fs::write(folder().join("contention.md"), &table).unwrap();
    let title = "A warm request, above one without a token";
    let mut plot = Plot::new(title, "threads, on two processors", "nanoseconds").doubling();
    for (at, (name, _)) in cases.iter().enumerate() {
        if DRAWN.contains(name) {
            let threads = THREADS.map(|threads| f64::from(u32::try_from(threads).unwrap()));
            let points = threads.into_iter().zip(net(at)).take(DRAWN_THREADS);
            plot = plot.marked_line(*name, points.collect());
        }
    }
    plot.draw("contention");

    let mut report = Report::new("contention");
    for (at, what, most) in [(1, "off", 1.1), (2, "on", 1.15)] {
        let net = net(at);
        let what = format!("warm request, retrying {what}: two threads against one");
        let how = format!("{:.0} of {:.0} ns", net[1], net[0]);
        report.goal(&what, Goal::AtMost(most), net[1] / net[0], &how);
    }
    report.end();
}
