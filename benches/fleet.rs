//! A process that starts while its store has 100,000 tenants: the time to its first response, and
//! how much a sweep asks of the store.
//!
//! ```sh
//! cargo bench -p benches --bench fleet
//! ```
//!
//! Each load takes 5 ms, and each page of tenants too. The sweep begins with the process. Its pages
//! are a second apart, so this bench takes two minutes.

use std::time::{Duration, Instant};

use benches::{
    API, Issuer,
    report::{Goal, Report, median},
    runtime,
    synthetic_store::{CountingStore, numbered},
};
use tower_oauth2_client::tenants::Tenants;

const TENANTS: u64 = 100_000;
/// Tenants on one page of a sweep.
const PAGE: u64 = 1_000;
const LOAD: Duration = Duration::from_millis(5);
const STARTS: usize = 41;

fn tenants(store: CountingStore) -> Tenants {
    let tenants = Tenants::builder(Issuer).origin(API).store(store);
    tenants.capacity(1_000).build().unwrap()
}

/// The time from the start of a process to the token of its first request, and the pages that the
/// store was asked for until then.
fn start() -> (f64, u64) {
    let store = CountingStore::new(TENANTS, LOAD);
    let tenants = tenants(store.clone());
    let last = numbered(TENANTS - 1);
    runtime().block_on(async {
        let started = Instant::now();
        tenants.token(&last).await.unwrap();
        (
            started.elapsed().as_secs_f64() * 1_000.0,
            store.calls().pages,
        )
    })
}

#[expect(clippy::cast_precision_loss, reason = "small counts")]
fn main() {
    let mut report = Report::new("fleet");
    let (times, pages): (Vec<_>, Vec<_>) = (0..STARTS).map(|_| start()).unzip();
    let load = LOAD.as_secs_f64() * 1_000.0;
    let first = median(times);
    report.goal(
        "start with 100,000 stored tenants: time to the first response relative to one load",
        Goal::AtMost(1.5),
        first / load,
        &format!("{first:.1} / {load} ms, median of {STARTS} starts"),
    );
    report.goal(
        "start with 100,000 stored tenants: pages of tenants before the first response",
        Goal::AtMost(1.0),
        pages.into_iter().max().unwrap_or_default() as f64,
        "the sweep begins with the process",
    );

    let store = CountingStore::new(TENANTS, Duration::ZERO);
    let tenants = tenants(store.clone());
    let swept = runtime().block_on(tenants.sweep()).unwrap();
    assert_eq!(swept.active, TENANTS);
    let calls = store.calls();
    let each = TENANTS as f64;
    let details = format!("{} loads in {} s", calls.loads, swept.duration.as_secs());
    let what = "sweep of 100,000 tenants: loads per tenant";
    report.goal(
        what,
        Goal::Exactly(1.0),
        calls.loads as f64 / each,
        &details,
    );
    let what = "sweep of 100,000 tenants: pages";
    let pages = (TENANTS / PAGE + 1) as f64;
    report.goal(
        what,
        Goal::Exactly(pages),
        calls.pages as f64,
        "1,000 each, and the end",
    );
    let what = "sweep of 100,000 tenants: saves";
    report.goal(what, Goal::Exactly(0.0), calls.saves as f64, "none is due");
    report.finish();
}
