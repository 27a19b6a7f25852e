//! The instructions of a request with a fresh token, above a service that does nothing, for each
//! shape of a request.
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
use benches::{
    Body, Noop, dpop_layer, request, send,
    shape::{Shape, Streaming},
};
use bytes::Bytes;
use gungraun::{library_benchmark, library_benchmark_group, main};
use http::Request;
use mimalloc::MiMalloc;
use tower::{Layer, Service};
use tower_http::auth::AddAuthorization;
use tower_oauth2_client::bearer::{BearerAuth, ReplayBody};

/// Unlike the allocator of glibc, its cost does not depend on earlier allocations.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Enough for one-time costs to be negligible.
const REQUESTS: usize = 1_000;

/// A service that has served its first requests, and the next ones.
type Load<S, B = Body> = (S, Vec<Request<B>>);

/// Services and their requests.
mod load {
    use benches::{warm_cache, warm_tenants};
    use tower_http::auth::AddAuthorizationLayer;
    use tower_oauth2_client::{
        bearer::{BearerAuthLayer, RequestBody},
        cache::TokenCache,
    };

    use super::*;

    /// The replay limit of the layer: the default one, or none.
    const DEFAULT: Option<usize> = None;
    const NEVER: Option<usize> = Some(0);

    fn requests<B: From<Bytes>>(shape: Shape) -> Vec<Request<B>> {
        (0..REQUESTS).map(|_| shape.request()).collect()
    }

    fn of<S: Service<Request<B>>, B: From<Bytes>>(mut service: S, shape: Shape) -> Load<S, B> {
        for _ in 0..2 {
            send(&mut service, shape.request());
        }
        (service, requests(shape))
    }

    fn bearer<B: RequestBody>(
        tokens: TokenCache,
        replay_limit: Option<usize>,
    ) -> BearerAuth<Noop, B> {
        let layer = BearerAuthLayer::new(tokens);
        let layer = match replay_limit {
            Some(limit) => layer.replay_limit(limit),
            None => layer,
        };
        layer.layer(Noop)
    }

    pub(super) fn nothing<B: From<Bytes>>(shape: Shape) -> Load<Noop, B> {
        of(Noop, shape)
    }

    pub(super) fn fixed<B: From<Bytes>>(shape: Shape) -> Load<AddAuthorization<Noop>, B> {
        let token = "t".repeat(1_024);
        of(AddAuthorizationLayer::bearer(&token).layer(Noop), shape)
    }

    pub(super) fn never(shape: Shape) -> Load<BearerAuth<Noop, Body>> {
        of(bearer(warm_cache(shape.origin()), NEVER), shape)
    }

    pub(super) fn retry(shape: Shape) -> Load<BearerAuth<Noop, Body>> {
        of(bearer(warm_cache(shape.origin()), DEFAULT), shape)
    }

    pub(super) fn streaming_never(
        shape: Shape,
    ) -> Load<BearerAuth<Noop, ReplayBody<Streaming>>, Streaming> {
        of(bearer(warm_cache(shape.origin()), NEVER), shape)
    }

    pub(super) fn streaming_retry(
        shape: Shape,
    ) -> Load<BearerAuth<Noop, ReplayBody<Streaming>>, Streaming> {
        of(bearer(warm_cache(shape.origin()), DEFAULT), shape)
    }

    /// A layer for many tenants, and requests that each name a different one.
    fn of_a_tenant(shape: Shape) -> (BearerAuthLayer<Body>, Vec<Request<Body>>) {
        let (tenants, names) = warm_tenants(REQUESTS);
        let mut requests = requests(shape);
        for (request, name) in requests.iter_mut().zip(names) {
            request.extensions_mut().insert(name);
        }
        (BearerAuthLayer::new(tenants), requests)
    }

    pub(super) fn named_nothing(shape: Shape) -> Load<Noop> {
        (Noop, of_a_tenant(shape).1)
    }

    /// The only grant, for requests that name a tenant.
    pub(super) fn named_never(shape: Shape) -> Load<BearerAuth<Noop, Body>> {
        (never(shape).0, of_a_tenant(shape).1)
    }

    pub(super) fn named_retry(shape: Shape) -> Load<BearerAuth<Noop, Body>> {
        (retry(shape).0, of_a_tenant(shape).1)
    }

    fn tenant(
        layer: BearerAuthLayer<Body>,
        requests: Vec<Request<Body>>,
    ) -> Load<BearerAuth<Noop, Body>> {
        let mut service = layer.layer(Noop);
        for request in &requests[..2] {
            send(&mut service, request.clone());
        }
        (service, requests)
    }

    pub(super) fn tenant_never(shape: Shape) -> Load<BearerAuth<Noop, Body>> {
        let (layer, requests) = of_a_tenant(shape);
        tenant(layer.replay_limit(0), requests)
    }

    pub(super) fn tenant_retry(shape: Shape) -> Load<BearerAuth<Noop, Body>> {
        let (layer, requests) = of_a_tenant(shape);
        tenant(layer, requests)
    }

    pub(super) fn dpop() -> Load<BearerAuth<Noop, Body>> {
        of(dpop_layer().0.layer(Noop), Shape::FourHeaders)
    }

    pub(super) fn clone(shape: Shape) -> Vec<Request<Body>> {
        requests(shape)
    }
}

fn warm<S: Service<Request<B>>, B>((mut service, requests): Load<S, B>) {
    for request in requests {
        send(&mut service, black_box(request));
    }
    // Dropping the service is not part of the measurement.
    mem::forget(service);
}

#[library_benchmark]
#[benches::of(args = [Shape::Bare, Shape::FourHeaders, Shape::FourAndHost, Shape::Twenty, Shape::WithBody, Shape::DefaultPort, Shape::OtherPort], setup = load::nothing)]
fn nothing(load: Load<Noop>) {
    warm(load);
}

#[library_benchmark]
#[benches::of(args = [Shape::Bare, Shape::FourHeaders, Shape::FourAndHost, Shape::Twenty, Shape::WithBody, Shape::DefaultPort, Shape::OtherPort], setup = load::fixed)]
fn fixed(load: Load<AddAuthorization<Noop>>) {
    warm(load);
}

#[library_benchmark]
#[benches::of(args = [Shape::Bare, Shape::FourHeaders, Shape::FourAndHost, Shape::Twenty, Shape::WithBody, Shape::DefaultPort, Shape::OtherPort], setup = load::never)]
fn never(load: Load<BearerAuth<Noop, Body>>) {
    warm(load);
}

#[library_benchmark]
#[benches::of(args = [Shape::Bare, Shape::FourHeaders, Shape::FourAndHost, Shape::Twenty, Shape::WithBody, Shape::DefaultPort, Shape::OtherPort], setup = load::retry)]
fn retry(load: Load<BearerAuth<Noop, Body>>) {
    warm(load);
}

#[library_benchmark]
#[benches::of(args = [Shape::FourHeaders], setup = load::nothing)]
fn streaming_nothing(load: Load<Noop, Streaming>) {
    warm(load);
}

#[library_benchmark]
#[benches::of(args = [Shape::FourHeaders], setup = load::fixed)]
fn streaming_fixed(load: Load<AddAuthorization<Noop>, Streaming>) {
    warm(load);
}

#[library_benchmark]
#[benches::of(args = [Shape::FourHeaders], setup = load::streaming_never)]
fn streaming_never(load: Load<BearerAuth<Noop, ReplayBody<Streaming>>, Streaming>) {
    warm(load);
}

#[library_benchmark]
#[benches::of(args = [Shape::FourHeaders], setup = load::streaming_retry)]
fn streaming_retry(load: Load<BearerAuth<Noop, ReplayBody<Streaming>>, Streaming>) {
    warm(load);
}

#[library_benchmark]
#[benches::of(args = [Shape::FourHeaders, Shape::FourAndHost, Shape::Twenty], setup = load::named_nothing)]
fn named_nothing(load: Load<Noop>) {
    warm(load);
}

#[library_benchmark]
#[benches::of(args = [Shape::FourHeaders, Shape::FourAndHost, Shape::Twenty], setup = load::named_never)]
fn named_never(load: Load<BearerAuth<Noop, Body>>) {
    warm(load);
}

#[library_benchmark]
#[benches::of(args = [Shape::FourHeaders, Shape::FourAndHost, Shape::Twenty], setup = load::named_retry)]
fn named_retry(load: Load<BearerAuth<Noop, Body>>) {
    warm(load);
}

#[library_benchmark]
#[benches::of(args = [Shape::FourHeaders, Shape::FourAndHost, Shape::Twenty], setup = load::tenant_never)]
fn tenant_never(load: Load<BearerAuth<Noop, Body>>) {
    warm(load);
}

#[library_benchmark]
#[benches::of(args = [Shape::FourHeaders, Shape::FourAndHost, Shape::Twenty], setup = load::tenant_retry)]
fn tenant_retry(load: Load<BearerAuth<Noop, Body>>) {
    warm(load);
}

#[library_benchmark]
#[bench::of(load::dpop())]
fn dpop(load: Load<BearerAuth<Noop, Body>>) {
    warm(load);
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
#[bench::of(signing())]
fn signature((key, message): (EcdsaKeyPair, Vec<u8>)) {
    let random = SystemRandom::new();
    for _ in 0..REQUESTS {
        let _ = black_box(key.sign(&random, black_box(&message)));
    }
    mem::forget(key);
}

// The cost of a clone of the request, which other layers with retries pay.
#[library_benchmark]
#[benches::of(args = [Shape::Bare, Shape::FourHeaders, Shape::FourAndHost, Shape::Twenty, Shape::WithBody, Shape::DefaultPort, Shape::OtherPort], setup = load::clone)]
fn request_clone(requests: Vec<Request<Body>>) {
    for request in &requests {
        drop(black_box(request.clone()));
    }
}

#[library_benchmark]
#[benches::of(args = [Shape::Bare, Shape::FourHeaders, Shape::FourAndHost, Shape::Twenty, Shape::WithBody, Shape::DefaultPort, Shape::OtherPort], setup = load::clone)]
fn request_drop(requests: Vec<Request<Body>>) {
    for request in &requests {
        black_box(request);
    }
}

library_benchmark_group!(
    name = per_request,
    benchmarks = [
        nothing,
        fixed,
        never,
        retry,
        streaming_nothing,
        streaming_fixed,
        streaming_never,
        streaming_retry,
        named_nothing,
        named_never,
        named_retry,
        tenant_never,
        tenant_retry,
        dpop,
        signature,
        request_clone,
        request_drop
    ]
);
main!(library_benchmark_groups = per_request);
