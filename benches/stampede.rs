//! 10,000 concurrent callers without a token, where a refresh takes 50 ms: the number of refreshes,
//! and the time to the last response relative to one refresh.
//!
//! ```sh
//! cargo bench -p benches --bench stampede
//! ```
//!
//! Each caller is a task on a runtime with two workers, and has a clone of the service. The service
//! inside responds at once. The time runs from the first spawn to the last response. It includes
//! the cost of 10,000 tokio tasks, and the inaccuracy of the sleep of up to 1 ms that stands for
//! the refresh. The allocator is mimalloc, because those of most systems take as long as the rest
//! to free the tasks.
//!
//! There are three scenarios: the refresh succeeds; the provider responds with a 500; the caller
//! that started the refresh is dropped after 20 ms.
//!
//! The floor is a program that only spawns as many tasks, each of which has a request, waits on one
//! `tokio::sync::watch` for as long, and sends the request without a token.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{Empty, Full};
use mimalloc::MiMalloc;
use tokio::{
    sync::{Notify, watch},
    task::yield_now,
    time::{sleep, sleep_until},
};
use tower::{Layer, ServiceExt, service_fn};
use tower_oauth2_client::{
    Error,
    bearer::{BearerAuth, BearerAuthLayer},
    cache::{ClientCredentials, TokenCache, TokenSource, token_fn},
    clock::{Clock, SystemClock},
    oauth::OAuthClient,
    provider::Provider,
    token::{AccessToken, TokenSet},
};

use benches::{
    API, Noop,
    report::{Goal, Report, Table, median},
    request,
};

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

const CALLERS: usize = 10_000;
const REFRESH: Duration = Duration::from_millis(50);
const DROPPED_AFTER: Duration = Duration::from_millis(20);
const ROUNDS: usize = 41;

type Service = BearerAuth<Noop, Full<Bytes>>;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_time()
        .build()
        .unwrap();
    let rounds = |scenario: Scenario| {
        let rounds = || runtime.block_on(runtime.spawn(round(scenario))).unwrap();
        rounds();
        let rounds: Vec<_> = (0..ROUNDS).map(|_| rounds()).collect();
        Figures::of(scenario, &rounds)
    };
    println!(
        "{CALLERS} concurrent callers, a refresh takes {} ms; {ROUNDS} rounds each",
        REFRESH.as_millis()
    );
    let [served, refused, dropped] =
        [Scenario::Served, Scenario::Refused, Scenario::Dropped].map(rounds);
    let floors = || runtime.block_on(runtime.spawn(floor())).unwrap();
    floors();
    let floor = median(
        (0..ROUNDS)
            .map(|_| floors().as_secs_f64() * 1_000.0)
            .collect(),
    );
    let columns = [
        "10,000 callers at once",
        "refreshes",
        "ms to the last result",
    ];
    let mut table = Table::new("stampede", &columns);
    served.add_row(&mut table, "no token");
    refused.add_row(&mut table, "no token, and the provider responds with 500");
    dropped.add_row(&mut table, "no token, and the first caller is dropped");
    let mut report = Report::new("stampede");
    let refresh = REFRESH.as_secs_f64() * 1_000.0;
    report.note(
        "10,000 tasks that wait on one watch: time to the last response relative to the wait",
        floor / refresh,
        &format!("{floor:.1} / {refresh} ms, median of {ROUNDS} rounds"),
    );
    served.add_to(&mut report, floor, "10,000 callers, no token", "response");
    refused.add_to(
        &mut report,
        floor,
        "10,000 callers, the provider responds with 500",
        "error",
    );
    dropped.add_to(
        &mut report,
        floor,
        "10,000 callers, the first caller dropped",
        "response",
    );
    report.finish();
    table.finish();
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scenario {
    Served,
    Refused,
    Dropped,
}

/// The result of one round.
struct Round {
    refreshes: usize,
    expected_results: usize,
    elapsed: Duration,
}

async fn round(scenario: Scenario) -> Round {
    let refreshes = Arc::new(AtomicUsize::new(0));
    let tokens = match scenario {
        Scenario::Served | Scenario::Dropped => cache(issuer(&refreshes)),
        Scenario::Refused => cache(refused(&refreshes)),
    };
    let service = BearerAuthLayer::new(tokens).layer(Noop);
    let callers = if scenario == Scenario::Dropped {
        CALLERS - 1
    } else {
        CALLERS
    };
    let pending = Arc::new(Pending {
        count: AtomicUsize::new(callers),
        is_zero: Notify::new(),
    });

    let started = SystemClock.monotonic();
    let first =
        (scenario == Scenario::Dropped).then(|| tokio::spawn(service.clone().oneshot(request())));
    if first.is_some() {
        while refreshes.load(Ordering::Relaxed) == 0 {
            yield_now().await;
        }
    }
    let tasks: Vec<_> = (0..callers)
        .map(|_| tokio::spawn(call(service.clone(), Arc::clone(&pending))))
        .collect();
    if let Some(first) = first {
        sleep_until((started + DROPPED_AFTER).into()).await;
        first.abort();
        assert!(first.await.unwrap_err().is_cancelled());
    }
    pending.is_zero.notified().await;

    let mut last = started;
    let mut expected_results = 0;
    for task in tasks {
        let (at, is_ok) = task.await.unwrap();
        last = last.max(at);
        expected_results += usize::from(is_ok == (scenario != Scenario::Refused));
    }
    Round {
        refreshes: refreshes.load(Ordering::Relaxed),
        expected_results,
        elapsed: last - started,
    }
}

/// The time to the last response if the tasks do nothing else than to wait, all for the same.
async fn floor() -> Duration {
    let (sender, receiver) = watch::channel(false);
    let pending = Arc::new(Pending {
        count: AtomicUsize::new(CALLERS),
        is_zero: Notify::new(),
    });
    let started = SystemClock.monotonic();
    tokio::spawn(async move {
        sleep(REFRESH).await;
        sender.send_replace(true);
        // The waiters that were not polled yet need it.
        sender.closed().await;
    });
    let tasks: Vec<_> = (0..CALLERS)
        .map(|_| {
            let (mut receiver, pending) = (receiver.clone(), Arc::clone(&pending));
            tokio::spawn(async move {
                let request = request();
                receiver.wait_for(|is_over| *is_over).await.unwrap();
                Noop.oneshot(request).await.unwrap();
                pending.completed()
            })
        })
        .collect();
    drop(receiver);
    pending.is_zero.notified().await;
    let mut last = started;
    for task in tasks {
        last = last.max(task.await.unwrap());
    }
    last - started
}

/// The number of callers without a result. The last one notifies, so no task wakes for each of
/// them.
struct Pending {
    count: AtomicUsize,
    is_zero: Notify,
}

/// Sends a request. Returns when it completed, and whether it succeeded.
async fn call(service: Service, pending: Arc<Pending>) -> (Instant, bool) {
    let result = service.oneshot(request()).await;
    (pending.completed(), result.is_ok())
}

impl Pending {
    /// Returns when.
    fn completed(&self) -> Instant {
        let at = SystemClock.monotonic();
        if self.count.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.is_zero.notify_one();
        }
        at
    }
}

fn cache(source: impl TokenSource) -> TokenCache {
    TokenCache::builder(source).origin(API).build().unwrap()
}

fn issuer(refreshes: &Arc<AtomicUsize>) -> impl TokenSource {
    let refreshes = Arc::clone(refreshes);
    token_fn(move || {
        refreshes.fetch_add(1, Ordering::Relaxed);
        async {
            let sent = SystemClock.wall();
            sleep(REFRESH).await;
            let token = AccessToken::new("t".repeat(1_024))?;
            Ok::<_, Error>(TokenSet::new(token, Duration::from_secs(86_400), sent))
        }
    })
}

/// A client of a provider that responds with a 500.
fn refused(refreshes: &Arc<AtomicUsize>) -> impl TokenSource {
    let refreshes = Arc::clone(refreshes);
    let http = service_fn(move |_: Request<Full<Bytes>>| {
        refreshes.fetch_add(1, Ordering::Relaxed);
        async {
            sleep(REFRESH).await;
            let mut response = Response::new(Empty::<Bytes>::new());
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            Ok::<_, Infallible>(response)
        }
    });
    let provider = Provider::builder("https://id.example.com/token")
        .build()
        .unwrap();
    let client = OAuthClient::builder(provider, "client-id").client_secret("client-secret");
    ClientCredentials::new(client.build(http).unwrap())
}

/// The results of all rounds of one scenario.
struct Figures {
    refreshes: usize,
    times: Vec<f64>,
}

impl Figures {
    fn of(scenario: Scenario, rounds: &[Round]) -> Self {
        let callers = if scenario == Scenario::Dropped {
            CALLERS - 1
        } else {
            CALLERS
        };
        for round in rounds {
            assert_eq!(
                round.expected_results, callers,
                "each caller gets the expected result"
            );
        }
        let mut times: Vec<_> = rounds
            .iter()
            .map(|round| round.elapsed.as_secs_f64() * 1_000.0)
            .collect();
        times.sort_by(f64::total_cmp);
        let refreshes = rounds.iter().map(|round| round.refreshes).max().unwrap();
        println!(
            "{scenario:?}: at most {refreshes} refreshes; the last of {callers} results after {:.1} ms ({:.1} to {:.1})",
            median(times.clone()),
            times[0],
            times[times.len() - 1],
        );
        Self { refreshes, times }
    }

    fn add_row(&self, table: &mut Table, scenario: &str) {
        let elapsed = format!("{:.1}", median(self.times.clone()));
        table.row(&[scenario, &self.refreshes.to_string(), &elapsed]);
    }

    fn add_to(self, report: &mut Report, floor: f64, scenario: &str, result: &str) {
        let refreshes = f64::from(u32::try_from(self.refreshes).unwrap());
        let details = format!("maximum of {ROUNDS} rounds");
        report.goal(
            &format!("{scenario}: refreshes"),
            Goal::Exactly(1.0),
            refreshes,
            &details,
        );
        let elapsed = median(self.times);
        let refresh = REFRESH.as_secs_f64() * 1_000.0;
        let details = format!(
            "{elapsed:.1} / {refresh} ms, median of {ROUNDS} rounds; {:.2} of the floor",
            elapsed / floor
        );
        report.goal(
            &format!("{scenario}: time to the last {result} relative to one refresh"),
            Goal::AtMost(1.2),
            elapsed / refresh,
            &details,
        );
    }
}
