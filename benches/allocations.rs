//! What a warm request allocates, and what an idle tenant holds.
//!
//! ```sh
//! cargo bench -p benches --bench allocations
//! ```

use allocation_counter::measure;
use benches::{
    Nothing,
    everybody::{ACCESS_TOKEN, REFRESH_TOKEN},
    layer,
    report::{Goal, Report},
    request, send, warm_tenants,
};
use tower::Layer;
use tower_oauth2_client::bearer::BearerAuthLayer;

const TENANTS: usize = 100_000;

/// How often memory is allocated for a request that is there, from its call to its answer.
fn allocations(layer: &BearerAuthLayer<benches::Body>) -> u64 {
    let mut service = layer.layer(Nothing);
    for _ in 0..2 {
        send(&mut service, request());
    }
    let mut warm = Some(request());
    measure(|| send(&mut service, warm.take().unwrap())).count_total
}

#[expect(clippy::cast_precision_loss, reason = "small numbers")]
fn main() {
    let mut report = Report::new("allocations");
    let off = allocations(&layer().replay_limit(0));
    let what = "warm request, retrying off: allocations";
    report.goal(what, Goal::Exactly(0.0), off as f64, "");

    let on = allocations(&layer());
    let warm = request();
    let clone = measure(|| drop(warm.clone())).count_total;
    let what = "warm request, retrying on: allocations";
    let how = format!("a clone of the request takes {clone}");
    report.goal(what, Goal::AtMost(clone as f64), on as f64, &how);

    let mut held = None;
    let counted = measure(|| held = Some(warm_tenants(TENANTS).0));
    let each = counted.bytes_current as f64 / TENANTS as f64;
    let tokens = (ACCESS_TOKEN + REFRESH_TOKEN) as f64;
    let what = "idle tenant: bytes beside the text of its tokens";
    let how = format!("{each:.0} with it, of {TENANTS} tenants");
    report.goal(what, Goal::AtMost(1_024.0), (each - tokens).round(), &how);
    report.end();
}
