//! The allocations of a request with a fresh token, and the memory of a resident tenant.
//!
//! ```sh
//! cargo bench -p benches --bench allocations
//! ```

use allocation_counter::measure;
use benches::{
    Noop, layer,
    report::{Goal, Report},
    request, send,
    synthetic_store::{ACCESS_TOKEN, REFRESH_TOKEN},
    warm_tenants,
};
use tower::Layer;
use tower_oauth2_client::bearer::BearerAuthLayer;

const TENANTS: usize = 100_000;

/// Allocations from the call of the service to its response. The request itself is not counted.
fn allocations(layer: &BearerAuthLayer<benches::Body>) -> u64 {
    let mut service = layer.layer(Noop);
    for _ in 0..2 {
        send(&mut service, request());
    }
    let mut warm = Some(request());
    measure(|| send(&mut service, warm.take().unwrap())).count_total
}

#[expect(clippy::cast_precision_loss, reason = "small counts")]
fn main() {
    let mut report = Report::new("allocations");
    let off = allocations(&layer().replay_limit(0));
    let what = "fresh token, retries off: allocations";
    report.goal(what, Goal::Exactly(0.0), off as f64, "");

    let on = allocations(&layer());
    let warm = request();
    let clone = measure(|| drop(warm.clone())).count_total;
    let what = "fresh token, retries on: allocations";
    let details = format!("a clone of the request takes {clone}");
    report.goal(what, Goal::AtMost(clone as f64), on as f64, &details);

    let mut tenants = None;
    let counted = measure(|| tenants = Some(warm_tenants(TENANTS).0));
    let each = counted.bytes_current as f64 / TENANTS as f64;
    let tokens = (ACCESS_TOKEN + REFRESH_TOKEN) as f64;
    let what = "resident tenant: bytes in addition to the text of its tokens";
    let details = format!("{each:.0} with the text, {TENANTS} tenants");
    report.goal(
        what,
        Goal::AtMost(1_024.0),
        (each - tokens).round(),
        &details,
    );
    report.finish();
}
