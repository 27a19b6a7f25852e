//! What a warm request costs in instructions, above a service that does nothing. Counted by callgrind, so that neither the
//! machine nor what else it does plays a part; more than a tenth above what is pinned here fails.
//!
//! ```sh
//! cargo install gungraun-runner   # and Debian's `valgrind`
//! cargo bench --bench overhead
//! ```

use std::hint::black_box;

use gungraun::{library_benchmark, library_benchmark_group, main};
use http::Request;
use tower::{Layer, Service};
use tower_http::auth::{AddAuthorization, AddAuthorizationLayer};
use tower_oauth2_client::bearer::BearerAuthLayer;

use benches::{Body, Nothing, request, send, warm_cache};

/// So that what happens once does not count.
const REQUESTS: usize = 1_000;

fn requests() -> Vec<Request<Body>> {
    (0..REQUESTS).map(|_| request()).collect()
}

fn with<S: tower::Service<Request<Body>>>(mut service: S) -> (S, Vec<Request<Body>>) {
    send(&mut service, request());
    (service, requests())
}

fn layer() -> BearerAuthLayer {
    BearerAuthLayer::new(warm_cache())
}

fn static_header() -> AddAuthorization<Nothing> {
    AddAuthorizationLayer::bearer(&"t".repeat(1_024)).layer(Nothing)
}

#[library_benchmark]
#[bench::nothing(with(Nothing))]
#[bench::static_header(with(static_header()))]
#[bench::without_retries(with(layer().replay_limit(0).layer(Nothing)))]
#[bench::with_retries(with(layer().layer(Nothing)))]
fn warm<S: Service<Request<Body>>>((mut service, requests): (S, Vec<Request<Body>>)) {
    for request in requests {
        send(&mut service, black_box(request));
    }
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
