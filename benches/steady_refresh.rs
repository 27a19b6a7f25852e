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
//! A round has four windows of 55 ms with equal numbers of requests: two before the refresh, one
//! during it, and one after it. At the start of the third window the clock of the cache advances
//! into the token's advisory window. The next request starts the refresh, which takes 50 ms; the
//! window therefore includes the save, and the first requests with the new token. The third window
//! is compared with the second, and the second with the first, which shows the variation by chance.
//!
//! A round is noisy, because of other work of the machine, if the p99.9 of a window before the
//! refresh is above 1 ms. Noisy rounds are named, and left out. If too few are left, there is no
//! result.

use std::{
    sync::{
        Arc,
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
    plot::{PALETTE, Row, Rows},
    report::{Goal, Report, Table, median, quantile},
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
/// Requests of one task before the windows.
const WARM_UP: usize = IN_WINDOW / 2;
const WINDOWS: usize = 4;
/// Microseconds: above this p99.9 before the refresh, a round is noisy.
const NOISE: f64 = 1_000.0;
/// How many rounds without noise make a result.
const ENOUGH: usize = 20;
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
}

async fn rounds() -> Vec<Round> {
    let clock = AdjustableClock::default();
    let issuer = Issuer {
        clock: clock.clone(),
        refreshes: Arc::default(),
    };
    let tokens = TokenCache::builder(issuer.clone())
        .origin(API)
        .clock(clock.clone())
        // By default, background refreshes begin after seconds, and requests wait until then.
        .background_delay(Duration::ZERO)
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
        rounds.push(Round {
            tasks: samples,
            refreshes: issuer.refreshes.load(Ordering::Relaxed) - before,
        });
    }
    rounds
}

/// Sends each request when it is due. The task that has the clock advances it.
async fn load(mut service: Load, begin: Instant, clock: Option<AdjustableClock>) -> Samples {
    let count = WARM_UP + WINDOWS * IN_WINDOW;
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
}

impl TokenSource for Issuer {
    async fn fetch(&self, _current: Option<&TokenSet>) -> Result<TokenSet, Error> {
        self.refreshes.fetch_add(1, Ordering::Relaxed);
        let sent = self.clock.wall();
        sleep(REFRESH).await;
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

    /// The p99.9 before the refresh.
    fn noise(&self) -> f64 {
        let [first, second] = [0, 1].map(|window| quantile(self.window(window), 0.999));
        first.max(second)
    }
}

/// The windows that are reported.
const REPORTED: [(&str, usize); 3] = [("before", 1), ("during", 2), ("after", 3)];

fn report(all: &[Round]) {
    let mut noisy = Vec::new();
    let mut rounds = Vec::new();
    for (number, round) in all.iter().enumerate() {
        if round.noise() > NOISE {
            noisy.push(format!("{number} ({:.1} ms)", round.noise() / 1_000.0));
        } else {
            rounds.push(round);
        }
    }
    println!(
        "{ROUNDS} rounds, {} requests per window; latency in microseconds since a request was due",
        IN_WINDOW * TASKS as usize
    );
    println!(
        "{} noisy rounds, with their p99.9 before the refresh: {}",
        noisy.len(),
        noisy.join(", ")
    );
    let mut report = Report::new("steady_refresh");
    let refreshes = all.iter().map(|round| round.refreshes).max().unwrap();
    report.goal(
        "refresh under steady load: refreshes",
        Goal::Exactly(1.0),
        f64::from(u32::try_from(refreshes).unwrap()),
        &format!("maximum of {ROUNDS} rounds"),
    );
    if rounds.len() >= ENOUGH {
        compare(&mut report, &rounds, noisy.len());
    } else {
        let what = "refresh under steady load: rounds without noise, too few for a result";
        let details = "run this bench on an otherwise idle machine";
        report.note(what, rounds.len() as f64, details);
    }
    report.finish();
}

/// Compares the latencies before, during and after the refresh.
fn compare(report: &mut Report, rounds: &[&Round], noisy: usize) {
    let mut table = Table::new("refresh", &["µs", "p50", "p99", "p99.9"]);
    for (name, window) in REPORTED {
        let [p50, p99, p999] = [0.5, 0.99, 0.999]
            .map(|part| format!("{:.1}", median(quantiles(rounds, window, part))));
        table.row(&[&format!("{name} the refresh"), &p50, &p99, &p999]);
    }
    let ratios = |part: f64, later: usize| -> Vec<f64> {
        let [before, during] = [later - 1, later].map(|window| quantiles(rounds, window, part));
        let ratio = |(during, before)| during / before;
        during.into_iter().zip(before).map(ratio).collect()
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
    let service = |request: usize| {
        let of = |round: &&Round| round.tasks[0].service[request];
        median(rounds.iter().map(of).collect())
    };
    println!(
        "the request that starts the refresh takes {:.2} µs, the request before it {:.2} µs (medians)",
        service(ADVANCE_AT),
        service(ADVANCE_AT - 1)
    );
    draw(rounds);
    table.finish();
    let [before, during] = [1, 2].map(|window| median(quantiles(rounds, window, 0.999)));
    let details = format!(
        "{during:.1} / {before:.1} µs; the result is the median of the ratios of {} rounds; {noisy} more were noisy",
        rounds.len(),
    );
    report.goal(
        "refresh under steady load: p99.9 during the refresh relative to before",
        Goal::AtMost(1.1),
        median(ratios(0.999, 2)),
        &details,
    );
}

/// A quantile of one window, of each round.
fn quantiles(rounds: &[&Round], window: usize, part: f64) -> Vec<f64> {
    let of = |round: &&Round| quantile(round.window(window), part);
    rounds.iter().map(of).collect()
}

/// Draws the quantiles of each window: their medians over all rounds, and the range of the middle
/// half of the rounds.
fn draw(rounds: &[&Round]) {
    let mut plot = Rows::dots(
        "Latency before, during and after a refresh",
        "microseconds since a request was due; the lines span half of all rounds",
    );
    for (name, part) in [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)] {
        plot = plot.gap();
        for ((when, window), color) in REPORTED.into_iter().zip(PALETTE) {
            let figures = quantiles(rounds, window, part);
            let [low, high] = [0.25, 0.75].map(|part| quantile(figures.clone(), part));
            plot = plot.row(Row {
                name: format!("{name} {when} the refresh"),
                value: median(figures),
                spread: Some(low..high),
                color,
                is_bold: false,
            });
        }
    }
    plot.draw("latency-across-a-refresh");
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
