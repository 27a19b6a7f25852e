//! What a warm request costs in instructions, above a service that does nothing. Counted by callgrind, so that neither the
//! machine nor what else it does plays a part; more than a tenth above what is pinned here fails.
//!
//! ```sh
//! cargo install gungraun-runner   # and Debian's `valgrind`
//! cargo bench --bench overhead
//! ```

use std::{hint::black_box, mem};

use gungraun::{library_benchmark, library_benchmark_group, main};
use http::Request;
use mimalloc::MiMalloc;
use tower::{Layer, Service};
use tower_http::auth::{AddAuthorization, AddAuthorizationLayer};

use benches::{Body, Nothing, layer, request, send, warm_tenants};
use tower_oauth2_client::bearer::{BearerAuth, BearerAuthLayer};

/// What it does with memory does not depend on what was done before, as with glibc's.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// So that what happens once does not count.
const REQUESTS: usize = 1_000;

fn requests() -> Vec<Request<Body>> {
    (0..REQUESTS).map(|_| request()).collect()
}

fn with<S: tower::Service<Request<Body>>>(mut service: S) -> (S, Vec<Request<Body>>) {
    send(&mut service, request());
    (service, requests())
}

/// Each request is about another of them: where one is found goes by chance.
fn of_a_tenant() -> (BearerAuthLayer<Body>, Vec<Request<Body>>) {
    let (tenants, names) = warm_tenants(1_000);
    let mut requests = requests();
    for (request, name) in requests.iter_mut().zip(names) {
        request.extensions_mut().insert(name);
    }
    (BearerAuthLayer::new(tenants), requests)
}

fn tenant(retrying: bool) -> (BearerAuth<Nothing, Body>, Vec<Request<Body>>) {
    let (layer, mut requests) = of_a_tenant();
    let layer = if retrying {
        layer
    } else {
        layer.replay_limit(0)
    };
    let mut service = layer.layer(Nothing);
    let last = requests.pop().unwrap();
    for _ in 0..2 {
        send(&mut service, last.clone());
    }
    requests.push(last);
    (service, requests)
}

fn static_header() -> AddAuthorization<Nothing> {
    AddAuthorizationLayer::bearer(&"t".repeat(1_024)).layer(Nothing)
}

#[library_benchmark]
#[bench::nothing(with(Nothing))]
#[bench::static_header(with(static_header()))]
#[bench::without_retries(with(layer().replay_limit(0).layer(Nothing)))]
#[bench::with_retries(with(layer().layer(Nothing)))]
#[bench::nothing_named((Nothing, of_a_tenant().1))]
#[bench::named_without_retries((layer().replay_limit(0).layer(Nothing), of_a_tenant().1))]
#[bench::named_with_retries((layer().layer(Nothing), of_a_tenant().1))]
#[bench::tenant_without_retries(tenant(false))]
#[bench::tenant_with_retries(tenant(true))]
fn warm<S: Service<Request<Body>>>((mut service, requests): (S, Vec<Request<Body>>)) {
    for request in requests {
        send(&mut service, black_box(request));
    }
    // Not to count the end of all that it holds.
    mem::forget(service);
}

// What keeping a request for a second time costs anybody.
#[library_benchmark]
#[bench::nothing(requests())]
fn request_clone(requests: Vec<Request<Body>>) {
    for request in &requests {
        drop(black_box(request.clone()));
    }
}

#[library_benchmark]
#[bench::nothing(requests())]
fn request_drop(requests: Vec<Request<Body>>) {
    for request in &requests {
        black_box(request);
    }
}

library_benchmark_group!(
    name = per_request,
    benchmarks = [warm, request_clone, request_drop]
);
main!(library_benchmark_groups = per_request);
