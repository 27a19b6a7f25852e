//! What a warm request takes when it is about one of 100,000 tenants, against one that is about the only grant.
//!
//! ```sh
//! cargo bench -p benches --bench tenants
//! ```
//!
//! In turn, each request finds nothing of its tenant in the caches of the processor, which no way of looking it up can help: what
//! it says is what memory costs.

use std::{hint::black_box, time::Instant};

use benches::{
    Body, Nothing, layer,
    report::{Goal, Report, median},
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

/// Nanoseconds for each of some requests that are made beforehand.
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
    let begin = Instant::now();
    for request in requests {
        send(service, black_box(request));
    }
    #[expect(clippy::cast_precision_loss, reason = "a small number")]
    let count = REQUESTS as f64;
    begin.elapsed().as_secs_f64() * 1e9 / count
}

fn main() {
    let (tenants, names) = warm_tenants(TENANTS);
    let mut report = Report::new("tenants");
    for (what, limit) in [("off", 0), ("on", 64 * 1_024)] {
        let mut nothing = Nothing;
        let mut single = layer().replay_limit(limit).layer(Nothing);
        let mut many = BearerAuthLayer::<benches::Body>::new(tenants.clone())
            .replay_limit(limit)
            .layer(Nothing);
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
        let against = |time: f64| {
            let how = format!("{:.0} of {net:.0} ns", time - nothing);
            ((time - nothing) / net, how)
        };
        let what = format!("the same of 100,000 tenants, retrying {what}: time against one grant");
        let (ratio, how) = against(same);
        report.goal(&what, Goal::AtMost(1.5), ratio, &how);
        let (ratio, how) = against(in_turn);
        report.note("the same, each of them in turn", ratio, &how);
    }
    report.end();
}
