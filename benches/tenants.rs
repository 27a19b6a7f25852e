//! The time of a request for one of 100,000 tenants, relative to one for the only grant.
//!
//! ```sh
//! cargo bench -p benches --bench tenants
//! ```
//!
//! If each request names a different tenant, nothing of that tenant is in the caches of the
//! processor. Such a result measures main memory more than the lookup, so it has no goal.

use std::{hint::black_box, time::Instant};

use benches::{
    Body, Noop, layer,
    report::{Goal, Report, Table, median},
    request, send, warm_tenants,
};
use http::Request;
use mimalloc::MiMalloc;
use tower::{Layer, Service};
use tower_oauth2_client::{bearer::BearerAuthLayer, token::TenantId};

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

const TENANTS: usize = 100_000;
const REQUESTS: usize = 1_000;
const ROUNDS: usize = 400;

/// Nanoseconds per request. The requests are created before the clock starts.
fn round<S>(service: &mut S, names: impl Iterator<Item = TenantId>) -> f64
where
    S: Service<Request<Body>>,
{
    let named = |name| {
        let mut request = request();
        request.extensions_mut().insert(name);
        request
    };
    let requests: Vec<_> = names.take(REQUESTS).map(named).collect();
    let started = Instant::now();
    for request in requests {
        send(service, black_box(request));
    }
    #[expect(clippy::cast_precision_loss, reason = "a small count")]
    let count = REQUESTS as f64;
    started.elapsed().as_secs_f64() * 1e9 / count
}

fn main() {
    let (tenants, names) = warm_tenants(TENANTS);
    let mut report = Report::new("tenants");
    let mut nanoseconds = Vec::new();
    for (what, limit) in [("off", 0), ("on", 64 * 1_024)] {
        let mut nothing = Noop;
        let mut single = layer().replay_limit(limit).layer(Noop);
        let mut many = BearerAuthLayer::<benches::Body>::new(tenants.clone())
            .replay_limit(limit)
            .layer(Noop);
        let mut in_turn = names.iter().cycle().cloned();
        let mut rounds: [Vec<f64>; 4] = Default::default();
        for number in 0..ROUNDS {
            let same = names[number * 7_919 % TENANTS].clone();
            let mut same = std::iter::repeat(same);
            rounds[0].push(round(&mut nothing, same.by_ref()));
            rounds[1].push(round(&mut single, same.by_ref()));
            rounds[2].push(round(&mut many, same));
            rounds[3].push(round(&mut many, in_turn.by_ref()));
        }
        let [nothing, single, same, in_turn] = rounds.map(median);
        let net = single - nothing;
        nanoseconds.push([single, same, in_turn].map(|time| format!("{:.0}", time - nothing)));
        let relative = |time: f64| {
            let details = format!("{:.0} / {net:.0} ns", time - nothing);
            ((time - nothing) / net, details)
        };
        let label = format!(
            "100,000 tenants, one of them repeatedly, retries {what}: time relative to one grant"
        );
        let (ratio, details) = relative(same);
        report.goal(&label, Goal::AtMost(1.5), ratio, &details);
        let (ratio, details) = relative(in_turn);
        let what =
            format!("100,000 tenants, each in turn, retries {what}: time relative to one grant");
        report.note(&what, ratio, &details);
    }
    report.finish();
    let columns = ["ns per request", "retries off", "retries on"];
    let mut table = Table::new("tenants", &columns);
    let rows = [
        "the only grant",
        "one of 100,000 tenants, repeatedly",
        "each of 100,000 tenants in turn",
    ];
    for (at, row) in rows.into_iter().enumerate() {
        table.row(&[row, &nanoseconds[0][at], &nanoseconds[1][at]]);
    }
    table.finish();
}
