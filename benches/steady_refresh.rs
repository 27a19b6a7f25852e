//! What a steady load feels of a refresh that is made in the background: the latency of requests while the exchange goes on, by
//! that of those before it.
//!
//! ```sh
//! cargo bench -p benches --bench steady_refresh
//! ```
//!
//! The load is an open one. On a runtime of two workers there are two tasks, and in each a request is due every 20 µs,
//! whatever became of the one before; its latency counts from when it was due to when it was answered. So whoever keeps
//! a worker busy, such as the exchange itself, delays all who are due meanwhile, and is seen. Between requests the tasks
//! yield to whatever else there is to do. The service behind the layer answers at once.
//!
//! A round is three windows of 55 ms, with as many requests in each. At the beginning of the third the cache's clock is put
//! forward, so that the token is in its advisory window: the next request begins the exchange, which takes 50 ms; so the window
//! also holds the saving of the new token, and the first requests that carry it. The third window is compared with the
//! second, and the second with the first, which shows how much of that is chance.

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
    API, Body, Nothing,
    hand::HandClock,
    plot::Plot,
    report::{Goal, Report, median, quantile},
    request,
};

const EXCHANGE: Duration = Duration::from_millis(50);
const WINDOW: Duration = Duration::from_millis(55);
const EVERY: Duration = Duration::from_micros(20);
const TASKS: u32 = 2;
const PAUSE: Duration = Duration::from_millis(25);
const ROUNDS: usize = 150;

/// Requests of one task, in a window; and before and after the three of them.
const IN_WINDOW: usize = (WINDOW.as_micros() / EVERY.as_micros()) as usize;
const WARM_UP: usize = IN_WINDOW / 2;
const REST: usize = IN_WINDOW / 4;
/// The request before which the clock is put forward.
const TURN: usize = WARM_UP + 2 * IN_WINDOW;

const LIFETIME: Duration = Duration::from_secs(3_600);
/// Into the advisory window, of nine minutes, wherever in its first half the refresh was to be, and not yet the mandatory one.
const FORWARD: Duration = Duration::from_secs(3_600 - 4 * 60);

type Load = BearerAuth<Nothing, benches::Body>;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_time()
        .build()
        .unwrap();
    let rounds = runtime.block_on(runtime.spawn(rounds())).unwrap();
    told(&rounds);
}

/// What one task has seen in a round, request by request, in microseconds.
struct Seen {
    /// From when it was due.
    latency: Vec<f64>,
    /// From when it was sent.
    service: Vec<f64>,
}

struct Round {
    tasks: Vec<Seen>,
    exchanges: usize,
    /// How long after the clock was put forward the source had its answer, in milliseconds.
    exchanged: f64,
}

async fn rounds() -> Vec<Round> {
    let clock = HandClock::default();
    let issuer = Issuer {
        clock: clock.clone(),
        exchanges: Arc::default(),
        ended: Arc::new(Mutex::new(SystemClock.monotonic())),
    };
    let tokens = TokenCache::builder(issuer.clone())
        .origin(API)
        .clock(clock.clone())
        .build()
        .unwrap();
    tokens.token().await.unwrap();
    let service = BearerAuthLayer::new(tokens.clone()).layer(Nothing);
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        // So that others have their turn, and not in the middle of a round.
        sleep(PAUSE).await;
        let before = issuer.exchanges.load(Ordering::Relaxed);
        let begin = SystemClock.monotonic() + Duration::from_millis(2);
        let tasks: Vec<_> = (0..TASKS)
            .map(|task| {
                let begin = begin + EVERY * task / TASKS;
                let clock = (task == 0).then(|| clock.clone());
                tokio::spawn(load(service.clone(), begin, clock))
            })
            .collect();
        let mut seen = Vec::new();
        for task in tasks {
            seen.push(task.await.unwrap());
        }
        let turn = begin + EVERY * u32::try_from(TURN).unwrap();
        let ended = *issuer.ended.lock().unwrap();
        rounds.push(Round {
            tasks: seen,
            exchanges: issuer.exchanges.load(Ordering::Relaxed) - before,
            exchanged: millis(ended.saturating_duration_since(turn)),
        });
    }
    rounds
}

/// One request after another, each when it is due. Whoever has the clock puts it forward.
async fn load(mut service: Load, begin: Instant, clock: Option<HandClock>) -> Seen {
    let count = WARM_UP + 3 * IN_WINDOW + REST;
    let mut seen = Seen {
        latency: Vec::with_capacity(count),
        service: Vec::with_capacity(count),
    };
    let mut due = begin;
    for number in 0..count {
        let request = request();
        while SystemClock.monotonic() < due {
            yield_now().await;
        }
        if let Some(clock) = clock.as_ref().filter(|_| number == TURN) {
            clock.put_forward(FORWARD);
        }
        let sent = SystemClock.monotonic();
        let ready = ServiceExt::<Request<Body>>::ready(&mut service).await;
        let answer = ready.unwrap().call(request).await;
        let answered = SystemClock.monotonic();
        answer.unwrap();
        seen.latency.push(micros(answered - due));
        seen.service.push(micros(answered - sent));
        due += EVERY;
    }
    seen
}

#[derive(Clone)]
struct Issuer {
    clock: HandClock,
    exchanges: Arc<AtomicUsize>,
    ended: Arc<Mutex<Instant>>,
}

impl TokenSource for Issuer {
    async fn fetch(&self, _held: Option<&TokenSet>) -> Result<TokenSet, Error> {
        self.exchanges.fetch_add(1, Ordering::Relaxed);
        let sent = self.clock.wall();
        sleep(EXCHANGE).await;
        *self.ended.lock().unwrap() = SystemClock.monotonic();
        // With a refresh token, so that the exchange is noted in the store before it is made.
        let token = AccessToken::new("t".repeat(1_024))?;
        Ok(TokenSet::new(token, LIFETIME, sent).with_refresh_token(RefreshToken::new("r"), sent))
    }
}

impl Round {
    /// The latencies of all tasks in the first window, the second, or the third.
    fn window(&self, number: usize) -> Vec<f64> {
        let from = WARM_UP + number * IN_WINDOW;
        let of = |seen: &Seen| seen.latency[from..from + IN_WINDOW].to_vec();
        self.tasks.iter().flat_map(of).collect()
    }
}

fn told(rounds: &[Round]) {
    let all = |window| -> Vec<f64> {
        let of = |round: &Round| round.window(window);
        rounds.iter().flat_map(of).collect()
    };
    println!(
        "{ROUNDS} rounds, {} requests in each window; latency in microseconds from when a request was due",
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
            "p{}, round by round: {ours} of what it was before; by chance alone {chance}",
            part * 100.0
        );
    }
    let first: Vec<f64> = rounds
        .iter()
        .map(|round| round.tasks[0].service[TURN])
        .collect();
    let usual: Vec<f64> = rounds
        .iter()
        .map(|round| round.tasks[0].service[TURN - 1])
        .collect();
    println!(
        "the request that begins the exchange takes {:.2} µs, the one before it {:.2} µs (medians)",
        median(first),
        median(usual)
    );
    draw(rounds);

    let mut report = Report::new("steady_refresh");
    let exchanges = rounds.iter().map(|round| round.exchanges).max().unwrap();
    report.goal(
        "a refresh under steady load: exchanges",
        Goal::Exactly(1.0),
        f64::from(u32::try_from(exchanges).unwrap()),
        &format!("the most in any of {ROUNDS} rounds"),
    );
    let how = format!(
        "{:.1} of {:.1} µs, median of the ratios of {ROUNDS} rounds",
        quantile(all(2), 0.999),
        quantile(all(1), 0.999)
    );
    report.goal(
        "a refresh under steady load: p99.9 during it, by p99.9 before",
        Goal::AtMost(1.1),
        median(ratios(0.999, 2)),
        &how,
    );
    report.end();
}

/// Millisecond by millisecond, all rounds together.
fn draw(rounds: &[Round]) {
    let bucket = (1_000 / EVERY.as_micros()) as usize;
    let count = rounds[0].tasks[0].latency.len();
    let (mut middle, mut high, mut most) = (Vec::new(), Vec::new(), Vec::new());
    let mut from = TURN - IN_WINDOW;
    while from + bucket <= count {
        let of = |seen: &Seen| seen.latency[from..from + bucket].to_vec();
        let latencies: Vec<f64> = rounds
            .iter()
            .flat_map(|round| round.tasks.iter().flat_map(of))
            .collect();
        let at = (from as f64 - TURN as f64 + bucket as f64 / 2.0) / bucket as f64;
        middle.push((at, quantile(latencies.clone(), 0.5)));
        high.push((at, quantile(latencies.clone(), 0.999)));
        most.push((at, quantile(latencies, 1.0)));
        from += bucket;
    }
    let exchanged = median(rounds.iter().map(|round| round.exchanged).collect());
    Plot::new(
        "Latency across a refresh",
        "milliseconds since the token fell due",
        "microseconds since the request was due",
    )
    .logarithmic()
    .shade(0.0..exchanged, "the exchange")
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
