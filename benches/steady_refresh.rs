//! The latency of requests during a background refresh, relative to the latency before it.
//!
//! ```sh
//! cargo bench -p benches --bench steady_refresh
//! ```
//!
//! The load is open: on a runtime with two workers, two tasks each send a request every 20 µs,
//! independent of earlier responses. Latency counts from the time at which a request is due, so
//! work that keeps a worker busy, such as the refresh, delays all requests that become due
//! meanwhile. Between requests the tasks yield. The service under the layer responds at once.
//!
//! A round has three windows of 55 ms with equal numbers of requests. At the start of the third
//! window the clock of the cache advances into the token's advisory window. The next request starts
//! the refresh, which takes 50 ms; the window therefore includes the save, and the first requests
//! with the new token. The third window is compared with the second, and the second with the first,
//! which shows the variation by chance.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use http::Request;
use tokio::{task::yield_now, time::sleep};
use tower::{Layer, Service, ServiceExt};
use tower_oauth2_client::{
    Error,
    bearer::{BearerAuth, BearerAuthLayer},
    cache::{TokenCache, TokenSource},
    clock::{Clock, SystemClock},
    token::{AccessToken, RefreshToken, TokenSet},
};

use benches::{
    API, Body, Noop,
    clock::AdjustableClock,
    plot::Plot,
    report::{Goal, Report, median, quantile},
    request,
};

const REFRESH: Duration = Duration::from_millis(50);
const WINDOW: Duration = Duration::from_millis(55);
const EVERY: Duration = Duration::from_micros(20);
const TASKS: u32 = 2;
const PAUSE: Duration = Duration::from_millis(25);
const ROUNDS: usize = 150;

/// Requests of one task in a window.
const IN_WINDOW: usize = (WINDOW.as_micros() / EVERY.as_micros()) as usize;
/// Requests of one task before the three windows.
const WARM_UP: usize = IN_WINDOW / 2;
/// Requests of one task after the three windows.
const TAIL: usize = IN_WINDOW / 4;
/// The request before which the clock advances.
const ADVANCE_AT: usize = WARM_UP + 2 * IN_WINDOW;

const LIFETIME: Duration = Duration::from_secs(3_600);
/// Reaches the second half of the advisory window of nine minutes, but not the mandatory window.
const ADVANCE_BY: Duration = Duration::from_secs(3_600 - 4 * 60);

type Load = BearerAuth<Noop, benches::Body>;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_time()
        .build()
        .unwrap();
    let rounds = runtime.block_on(runtime.spawn(rounds())).unwrap();
    report(&rounds);
}

/// The measurements of one task in a round: microseconds of each request.
struct Samples {
    /// Since the request was due.
    latency: Vec<f64>,
    /// Since the request was sent.
    service: Vec<f64>,
}

struct Round {
    tasks: Vec<Samples>,
    refreshes: usize,
    /// Milliseconds from the advance of the clock to the token response.
    refreshed_after: f64,
}

async fn rounds() -> Vec<Round> {
    let clock = AdjustableClock::default();
    let issuer = Issuer {
        clock: clock.clone(),
        refreshes: Arc::default(),
        ended: Arc::new(Mutex::new(SystemClock.monotonic())),
    };
    let tokens = TokenCache::builder(issuer.clone())
        .origin(API)
        .clock(clock.clone())
        .build()
        .unwrap();
    tokens.token().await.unwrap();
    let service = BearerAuthLayer::new(tokens.clone()).layer(Noop);
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        // Lets other processes run now, and not in the middle of a round.
        sleep(PAUSE).await;
        let before = issuer.refreshes.load(Ordering::Relaxed);
        let begin = SystemClock.monotonic() + Duration::from_millis(2);
        let tasks: Vec<_> = (0..TASKS)
            .map(|task| {
                let begin = begin + EVERY * task / TASKS;
                let clock = (task == 0).then(|| clock.clone());
                tokio::spawn(load(service.clone(), begin, clock))
            })
            .collect();
        let mut samples = Vec::new();
        for task in tasks {
            samples.push(task.await.unwrap());
        }
        let advanced = begin + EVERY * u32::try_from(ADVANCE_AT).unwrap();
        let ended = *issuer.ended.lock().unwrap();
        rounds.push(Round {
            tasks: samples,
            refreshes: issuer.refreshes.load(Ordering::Relaxed) - before,
            refreshed_after: millis(ended.saturating_duration_since(advanced)),
        });
    }
    rounds
}

/// Sends each request when it is due. The task that has the clock advances it.
async fn load(mut service: Load, begin: Instant, clock: Option<AdjustableClock>) -> Samples {
    let count = WARM_UP + 3 * IN_WINDOW + TAIL;
    let mut samples = Samples {
        latency: Vec::with_capacity(count),
        service: Vec::with_capacity(count),
    };
    let mut due = begin;
    for number in 0..count {
        let request = request();
        while SystemClock.monotonic() < due {
            yield_now().await;
        }
        if let Some(clock) = clock.as_ref().filter(|_| number == ADVANCE_AT) {
            clock.advance(ADVANCE_BY);
        }
        let sent = SystemClock.monotonic();
        let ready = ServiceExt::<Request<Body>>::ready(&mut service).await;
        let response = ready.unwrap().call(request).await;
        let responded = SystemClock.monotonic();
        response.unwrap();
        samples.latency.push(micros(responded - due));
        samples.service.push(micros(responded - sent));
        due += EVERY;
    }
    samples
}

#[derive(Clone)]
struct Issuer {
    clock: AdjustableClock,
    refreshes: Arc<AtomicUsize>,
    ended: Arc<Mutex<Instant>>,
}

impl TokenSource for Issuer {
    async fn fetch(&self, _current: Option<&TokenSet>) -> Result<TokenSet, Error> {
        self.refreshes.fetch_add(1, Ordering::Relaxed);
        let sent = self.clock.wall();
        sleep(REFRESH).await;
        *self.ended.lock().unwrap() = SystemClock.monotonic();
        // With a refresh token, so that the cache persists an intent first.
        let token = AccessToken::new("t".repeat(1_024))?;
        Ok(TokenSet::new(token, LIFETIME, sent).with_refresh_token(RefreshToken::new("r"), sent))
    }
}

impl Round {
    /// The latencies of all tasks in the window of that number.
    fn window(&self, number: usize) -> Vec<f64> {
        let from = WARM_UP + number * IN_WINDOW;
        let of = |samples: &Samples| samples.latency[from..from + IN_WINDOW].to_vec();
        self.tasks.iter().flat_map(of).collect()
    }
}

fn report(rounds: &[Round]) {
    let all = |window| -> Vec<f64> {
        let of = |round: &Round| round.window(window);
        rounds.iter().flat_map(of).collect()
    };
    println!(
        "{ROUNDS} rounds, {} requests per window; latency in microseconds since a request was due",
        IN_WINDOW * TASKS as usize
    );
    println!("| | p50 | p99 | p99.9 | p99.99 | max |\n| --- | --: | --: | --: | --: | --: |");
    for (name, window) in [("before", 0), ("before", 1), ("during", 2)] {
        let all = all(window);
        let [a, b, c, d, e] =
            [0.5, 0.99, 0.999, 0.9999, 1.0].map(|part| quantile(all.clone(), part));
        println!("| {name} | {a:.2} | {b:.2} | {c:.2} | {d:.2} | {e:.1} |");
    }
    let ratios = |part: f64, later: usize| -> Vec<f64> {
        let of = |round: &Round| {
            let [before, during] =
                [later - 1, later].map(|window| quantile(round.window(window), part));
            during / before
        };
        rounds.iter().map(of).collect()
    };
    for part in [0.5, 0.99, 0.999] {
        let [chance, ours] = [1, 2].map(|later| {
            let ratios = ratios(part, later);
            let [low, middle, high] = [0.25, 0.5, 0.75].map(|part| quantile(ratios.clone(), part));
            format!("{middle:.2} ({low:.2} to {high:.2})")
        });
        println!(
            "p{}, ratio of each round: {ours} during the refresh; {chance} by chance alone",
            part * 100.0
        );
    }
    let first: Vec<f64> = rounds
        .iter()
        .map(|round| round.tasks[0].service[ADVANCE_AT])
        .collect();
    let usual: Vec<f64> = rounds
        .iter()
        .map(|round| round.tasks[0].service[ADVANCE_AT - 1])
        .collect();
    println!(
        "the request that starts the refresh takes {:.2} µs, the request before it {:.2} µs (medians)",
        median(first),
        median(usual)
    );
    draw(rounds);

    let mut report = Report::new("steady_refresh");
    let refreshes = rounds.iter().map(|round| round.refreshes).max().unwrap();
    report.goal(
        "refresh under steady load: refreshes",
        Goal::Exactly(1.0),
        f64::from(u32::try_from(refreshes).unwrap()),
        &format!("maximum of {ROUNDS} rounds"),
    );
    let details = format!(
        "{:.1} / {:.1} µs; the result is the median of the ratios of {ROUNDS} rounds",
        quantile(all(2), 0.999),
        quantile(all(1), 0.999)
    );
    report.goal(
        "refresh under steady load: p99.9 during the refresh relative to before",
        Goal::AtMost(1.1),
        median(ratios(0.999, 2)),
        &details,
    );
    report.finish();
}

/// Draws the quantiles of each millisecond, over all rounds.
fn draw(rounds: &[Round]) {
    let bucket = (1_000 / EVERY.as_micros()) as usize;
    let count = rounds[0].tasks[0].latency.len();
    let (mut middle, mut high, mut most) = (Vec::new(), Vec::new(), Vec::new());
    let mut from = ADVANCE_AT - IN_WINDOW;
    while from + bucket <= count {
        let of = |samples: &Samples| samples.latency[from..from + bucket].to_vec();
        let latencies: Vec<f64> = rounds
            .iter()
            .flat_map(|round| round.tasks.iter().flat_map(of))
            .collect();
        let at = (from as f64 - ADVANCE_AT as f64 + bucket as f64 / 2.0) / bucket as f64;
        middle.push((at, quantile(latencies.clone(), 0.5)));
        high.push((at, quantile(latencies.clone(), 0.999)));
        most.push((at, quantile(latencies, 1.0)));
        from += bucket;
    }
    let refreshed_after = median(rounds.iter().map(|round| round.refreshed_after).collect());
    Plot::new(
        "Latency across a refresh",
        "milliseconds since the token entered its advisory window",
        "microseconds since the request was due",
    )
    .logarithmic()
    .shade(0.0..refreshed_after, "refresh")
    .line("p50", middle)
    .line("p99.9", high)
    .line("max", most)
    .draw("latency-across-a-refresh");
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
