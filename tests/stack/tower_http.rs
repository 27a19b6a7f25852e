//! tower-http's layers outside and inside the layer.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response, header};
use http_body_util::{BodyExt, Full};
use tower::{Layer, Service, ServiceBuilder, ServiceExt};
use tower_http::{
    compression::CompressionLayer,
    decompression::DecompressionLayer,
    sensitive_headers::SetSensitiveHeadersLayer,
    trace::{DefaultMakeSpan, DefaultOnRequest, DefaultOnResponse, TraceLayer},
};
use tower_oauth2_client::{
    bearer::{BearerAuthLayer, ReplayBody},
    cache::TokenCache,
    oauth::OAuthClient,
    provider,
    sandbox::Sandbox,
};
use tracing_subscriber::filter::LevelFilter;

use crate::support::{AheadClock, connect, log::Log};

type Body = Full<Bytes>;

/// A sandbox without a socket that has revoked the access token, so that the first request is
/// retried.
async fn revoked() -> (Sandbox, TokenCache) {
    let sandbox = Sandbox::builder().build();
    let provider = provider::justworks().on_origin(&sandbox.url()).unwrap();
    let oauth = OAuthClient::builder(provider, sandbox.client_id())
        .client_secret(sandbox.client_secret())
        .redirect_uri(sandbox.redirect_uri())
        .build::<_, Body, _>(sandbox.service())
        .unwrap();
    let tokens = TokenCache::builder(oauth.clone()).clock(AheadClock);
    let tokens = tokens.build().unwrap();
    connect(&sandbox, &oauth, &tokens).await;
    sandbox.revoke_access_tokens();
    (sandbox, tokens)
}

fn company(sandbox: &Sandbox) -> Request<Body> {
    let request = Request::get(format!("{}/v1/company", sandbox.url()))
        .header(header::COOKIE, "seeded-cookie");
    request.body(Body::default()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn p21_trace_layers_outside_and_inside_do_not_log_the_token() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(LevelFilter::TRACE)
        .with_ansi(false)
        .with_writer(log.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);

    let (sandbox, tokens) = revoked().await;
    let before = tokens.token().await.unwrap();
    let trace = || {
        TraceLayer::new_for_http()
            .make_span_with(DefaultMakeSpan::new().include_headers(true))
            .on_request(DefaultOnRequest::new())
            .on_response(DefaultOnResponse::new().include_headers(true))
    };
    let stack = ServiceBuilder::new()
        .layer(trace())
        .layer(BearerAuthLayer::<Body>::new(tokens.clone()))
        .layer(trace())
        .service(sandbox.service());
    assert_eq!(
        stack.oneshot(company(&sandbox)).await.unwrap().status(),
        200
    );

    let text = log.text();
    assert!(text.contains("seeded-cookie"), "headers are logged");
    assert!(text.contains("Sensitive"), "so is the presence of a token");
    for token in [before, tokens.token().await.unwrap()] {
        let header = token.header_value().to_str().unwrap();
        let secret = header.trim_start_matches("Bearer ");
        assert!(!text.contains(secret));
    }
}

#[tokio::test(start_paused = true)]
async fn p08_sensitive_headers_stay_sensitive_in_the_retry() {
    let (sandbox, tokens) = revoked().await;
    let count = Arc::new(Mutex::new(0));
    let counter = count.clone();
    let checked = sandbox
        .service()
        .map_request(move |request: Request<ReplayBody<Body>>| {
            assert!(request.headers()[header::COOKIE].is_sensitive());
            assert!(request.headers()[header::AUTHORIZATION].is_sensitive());
            *counter.lock().unwrap() += 1;
            request
        });
    let stack = ServiceBuilder::new()
        .layer(SetSensitiveHeadersLayer::new([
            header::COOKIE,
            header::AUTHORIZATION,
        ]))
        .layer(BearerAuthLayer::new(tokens))
        .service(checked);
    assert_eq!(
        stack.oneshot(company(&sandbox)).await.unwrap().status(),
        200
    );
    assert_eq!(*count.lock().unwrap(), 2);
}

async fn reads<S, R>(mut stack: S, sandbox: &Sandbox)
where
    S: Service<Request<Body>, Response = Response<R>, Error: std::fmt::Debug>,
    R: http_body::Body<Data: Send, Error: std::fmt::Debug>,
{
    let response = stack
        .ready()
        .await
        .unwrap()
        .call(company(sandbox))
        .await
        .unwrap();
    assert_eq!(response.status(), 200);
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert!(String::from_utf8_lossy(&body).contains("Sandbox Bakery"));
}

#[tokio::test(start_paused = true)]
async fn decompression_works_on_either_side() {
    let (sandbox, tokens) = revoked().await;
    let compressing = CompressionLayer::new().layer(sandbox.service());
    let outside = ServiceBuilder::new()
        .layer(DecompressionLayer::new())
        .layer(BearerAuthLayer::<Body>::new(tokens))
        .service(compressing.clone());
    reads(outside, &sandbox).await;

    let (sandbox, tokens) = revoked().await;
    let compressing = CompressionLayer::new().layer(sandbox.service());
    let inside = ServiceBuilder::new()
        .layer(BearerAuthLayer::<Body>::new(tokens))
        .layer(DecompressionLayer::new())
        .service(compressing);
    reads(inside, &sandbox).await;
}
