//! A tonic channel: a gRPC call carries a token and is retried after a 401 from a gateway.

use std::{
    convert::Infallible,
    sync::atomic::{AtomicUsize, Ordering},
};

use bytes::{Buf, BufMut, Bytes};
use http::{HeaderMap, Request, Response, StatusCode, header, uri::PathAndQuery};
use http_body::Frame;
use http_body_util::{BodyExt, Collected, Empty, StreamBody, combinators::UnsyncBoxBody};
use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;
use tonic::{
    Status,
    client::Grpc,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    transport::Endpoint,
};
use tower::ServiceBuilder;
use tower_oauth2_client::bearer::{BearerAuthLayer, ReplayBody};

use crate::support::{ManualClock, Source};

/// Messages of plain bytes, so that no schema is needed.
#[derive(Clone, Copy, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, target: &mut EncodeBuf<'_>) -> Result<(), Status> {
        target.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, source: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(source.copy_to_bytes(source.remaining())))
    }
}

static CALLS: AtomicUsize = AtomicUsize::new(0);

/// Echoes a message that comes with the second token.
async fn echo(
    request: Request<Incoming>,
) -> Result<Response<UnsyncBoxBody<Bytes, Infallible>>, Infallible> {
    CALLS.fetch_add(1, Ordering::SeqCst);
    let token = request.headers().get(header::AUTHORIZATION).cloned();
    let message = request.into_body().collect().await.map(Collected::to_bytes);
    let mut response = Response::new(Empty::new().boxed_unsync());
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, "application/grpc".parse().unwrap());
    if token.is_none_or(|token| token != "Bearer a2") {
        *response.status_mut() = StatusCode::UNAUTHORIZED;
        return Ok(response);
    }
    let trailers = HeaderMap::from_iter([("grpc-status".parse().unwrap(), "0".parse().unwrap())]);
    let frames = [
        Frame::data(message.unwrap_or_default()),
        Frame::trailers(trailers),
    ];
    let frames = futures_util::stream::iter(frames.map(Ok));
    Ok(response.map(|_| StreamBody::new(frames).boxed_unsync()))
}

#[tokio::test]
async fn p08_grpc_call_is_retried_with_a_newer_token() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let connection = http2::Builder::new(TokioExecutor::new());
            tokio::spawn(connection.serve_connection(TokioIo::new(stream), service_fn(echo)));
        }
    });
    let clock = ManualClock::new();
    let source = Source::new(&clock);
    let tokens = source.cache().origin(&url).build().unwrap();
    // The API knows the token for a while.
    tokens.token().await.unwrap();
    clock.advance(10);
    let channel = Endpoint::from_shared(url.clone()).unwrap().connect_lazy();
    let stack = ServiceBuilder::new()
        .layer(BearerAuthLayer::new(tokens))
        // A channel has its own body type.
        .map_request(|request: Request<ReplayBody<_>>| request.map(tonic::body::Body::new))
        .service(channel);
    // The origin makes the URI absolute, so that the layer can check it.
    let mut client = Grpc::with_origin(stack, url.parse().unwrap());
    client.ready().await.unwrap();
    let call = tonic::Request::new(Bytes::from_static(b"hello"));
    let response = client
        .unary(call, PathAndQuery::from_static("/echo.Echo/Say"), Raw)
        .await
        .unwrap();
    assert_eq!(response.into_inner(), "hello");
    assert_eq!(CALLS.load(Ordering::SeqCst), 2);
    assert_eq!(source.refreshes(), 2);
}
