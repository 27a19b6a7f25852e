//! The instructions of a request with a fresh token, above a service that does nothing.
//!
//! callgrind counts them, so the result does not depend on the load of the machine. The program
//! `benches` compares them with the pinned counts.
//!
//! ```sh
//! cargo install gungraun-runner   # and Debian's `valgrind`
//! cargo bench --bench overhead
//! ```

use std::{hint::black_box, mem};

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair},
};
use gungraun::{library_benchmark, library_benchmark_group, main};
use http::Request;
use mimalloc::MiMalloc;
use tower::{Layer, Service};
use tower_http::auth::{AddAuthorization, AddAuthorizationLayer};

use benches::{Body, Noop, dpop_layer, layer, request, send, warm_tenants};
use tower_oauth2_client::bearer::{BearerAuth, BearerAuthLayer};

/// Unlike the allocator of glibc, its cost does not depend on earlier allocations.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Enough for one-time costs to be negligible.
const REQUESTS: usize = 1_000;

fn requests() -> Vec<Request<Body>> {
    (0..REQUESTS).map(|_| request()).collect()
}

fn with<S: tower::Service<Request<Body>>>(mut service: S) -> (S, Vec<Request<Body>>) {
    send(&mut service, request());
    (service, requests())
}

/// A layer for many tenants, and requests that each name a different one.
fn of_a_tenant() -> (BearerAuthLayer<Body>, Vec<Request<Body>>) {
    let (tenants, names) = warm_tenants(1_000);
    let mut requests = requests();
    for (request, name) in requests.iter_mut().zip(names) {
        request.extensions_mut().insert(name);
    }
    (BearerAuthLayer::new(tenants), requests)
}

fn tenant(has_retries: bool) -> (BearerAuth<Noop, Body>, Vec<Request<Body>>) {
    let (layer, mut requests) = of_a_tenant();
    let layer = if has_retries {
        layer
    } else {
        layer.replay_limit(0)
    };
    let mut service = layer.layer(Noop);
    let last = requests.pop().unwrap();
    for _ in 0..2 {
        send(&mut service, last.clone());
    }
    requests.push(last);
    (service, requests)
}

fn static_header() -> AddAuthorization<Noop> {
    AddAuthorizationLayer::bearer(&"t".repeat(1_024)).layer(Noop)
}

#[library_benchmark]
#[bench::nothing(with(Noop))]
#[bench::static_header(with(static_header()))]
#[bench::without_retries(with(layer().replay_limit(0).layer(Noop)))]
#[bench::with_retries(with(layer().layer(Noop)))]
#[bench::nothing_named((Noop, of_a_tenant().1))]
#[bench::named_without_retries((layer().replay_limit(0).layer(Noop), of_a_tenant().1))]
#[bench::named_with_retries((layer().layer(Noop), of_a_tenant().1))]
#[bench::tenant_without_retries(tenant(false))]
#[bench::tenant_with_retries(tenant(true))]
#[bench::dpop(with(dpop_layer().0.layer(Noop)))]
fn warm<S: Service<Request<Body>>>((mut service, requests): (S, Vec<Request<Body>>)) {
    for request in requests {
        send(&mut service, black_box(request));
    }
    // Dropping the service is not part of the measurement.
    mem::forget(service);
}

/// A key, and a message of the length that the proof of a request signs.
fn signing() -> (EcdsaKeyPair, Vec<u8>) {
    let (_, token) = dpop_layer();
    let request = request();
    let proof = token.dpop_proof(request.method(), request.uri()).unwrap();
    let proof = proof.unwrap();
    let signed = proof.as_bytes().rsplitn(2, |byte| *byte == b'.').nth(1);
    let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    (key, signed.unwrap().to_vec())
}

// The signature of a DPoP proof alone.
#[library_benchmark]
#[bench::bare(signing())]
fn signature((key, message): (EcdsaKeyPair, Vec<u8>)) {
    let random = SystemRandom::new();
    for _ in 0..REQUESTS {
        let _ = black_box(key.sign(&random, black_box(&message)));
    }
    mem::forget(key);
}

// The cost of a clone of the request, which any layer with retries pays.
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
    benchmarks = [warm, signature, request_clone, request_drop]
);
main!(library_benchmark_groups = per_request);
