//! A tonic channel: a gRPC call carries a token, and is retried after a 401 from a gateway and
//! after the status `UNAUTHENTICATED`.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::{Buf, BufMut, Bytes};
use http::{HeaderMap, Request, Response, StatusCode, header, uri::PathAndQuery};
use http_body::Frame;
use http_body_util::{BodyExt, Collected, Empty, StreamBody, combinators::UnsyncBoxBody};
use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;
use tonic::{
    Code, Status,
    client::Grpc,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    transport::Endpoint,
};
use tower::ServiceBuilder;
use tower_oauth2_client::{
    bearer::{BearerAuthLayer, GrpcStatus, ReplayBody},
    cache::TokenCache,
};

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

/// How the server rejects a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rejection {
    /// As a gateway does.
    Unauthorized,
    TrailersOnly,
    /// A head, and then trailers.
    Trailers,
    /// A message, and then trailers.
    AfterData,
    /// The status for a missing permission.
    PermissionDenied,
}

type Echoed = Response<UnsyncBoxBody<Bytes, Infallible>>;

/// Echoes a message that comes with the second token.
async fn echo(request: Request<Incoming>, rejection: Rejection) -> Result<Echoed, Infallible> {
    let token = request.headers().get(header::AUTHORIZATION).cloned();
    let message = request.into_body().collect().await.map(Collected::to_bytes);
    let mut response = Response::new(Empty::new().boxed_unsync());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, "application/grpc".parse().unwrap());
    let trailers = |status: &str| {
        HeaderMap::from_iter([("grpc-status".parse().unwrap(), status.parse().unwrap())])
    };
    let message = Frame::data(message.unwrap_or_default());
    let frames = if token.is_some_and(|token| token == "Bearer a2") {
        vec![message, Frame::trailers(trailers("0"))]
    } else {
        match rejection {
            Rejection::Unauthorized => {
                *response.status_mut() = StatusCode::UNAUTHORIZED;
                return Ok(response);
            }
            Rejection::TrailersOnly => {
                headers.extend(trailers("16"));
                return Ok(response);
            }
            Rejection::PermissionDenied => {
                headers.extend(trailers("7"));
                return Ok(response);
            }
            Rejection::Trailers => vec![Frame::trailers(trailers("16"))],
            Rejection::AfterData => vec![message, Frame::trailers(trailers("16"))],
        }
    };
    let frames = futures_util::stream::iter(frames.into_iter().map(Ok));
    Ok(response.map(|_| StreamBody::new(frames).boxed_unsync()))
}

/// A server, and a token that the API has known for a while.
async fn start(rejection: Rejection) -> (String, Arc<AtomicUsize>, Source, TokenCache) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let calls = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&calls);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let count = Arc::clone(&count);
            let service = service_fn(move |request| {
                count.fetch_add(1, Ordering::SeqCst);
                echo(request, rejection)
            });
            let connection = http2::Builder::new(TokioExecutor::new());
            tokio::spawn(connection.serve_connection(TokioIo::new(stream), service));
        }
    });
    let clock = ManualClock::new();
    let source = Source::new(&clock);
    let tokens = source
        .cache()
        .origin(&url)
        .background_delay(Duration::ZERO)
        .build()
        .unwrap();
    tokens.token().await.unwrap();
    clock.advance(10);
    (url, calls, source, tokens)
}

/// Calls the server once. Returns the message, or the code of the status.
async fn call(
    url: &str,
    layer: BearerAuthLayer<ReplayBody<tonic::body::Body>>,
) -> Result<Bytes, Code> {
    let channel = Endpoint::from_shared(url.to_owned())
        .unwrap()
        .connect_lazy();
    let stack = ServiceBuilder::new()
        .layer(layer)
        // A channel has its own body type.
        .map_request(|request: Request<ReplayBody<_>>| request.map(tonic::body::Body::new))
        .service(channel);
    // The origin makes the URI absolute, so that the layer can check it.
    let mut client = Grpc::with_origin(stack, url.parse().unwrap());
    client.ready().await.unwrap();
    let call = tonic::Request::new(Bytes::from_static(b"hello"));
    let path = PathAndQuery::from_static("/echo.Echo/Say");
    let response = client.unary(call, path, Raw).await;
    response
        .map(tonic::Response::into_inner)
        .map_err(|status| status.code())
}

#[tokio::test]
async fn p08_grpc_call_is_retried_with_a_newer_token() {
    for rejection in [
        Rejection::Unauthorized,
        Rejection::TrailersOnly,
        Rejection::Trailers,
    ] {
        let (url, calls, source, tokens) = start(rejection).await;
        let layer = BearerAuthLayer::new(tokens).classifier(GrpcStatus::new());
        let response = call(&url, layer).await;
        assert_eq!(response.unwrap(), "hello", "{rejection:?}");
        assert_eq!(calls.load(Ordering::SeqCst), 2, "{rejection:?}");
        assert_eq!(source.refreshes(), 2, "{rejection:?}");
    }
}

#[tokio::test]
async fn p08_grpc_call_whose_caller_may_have_used_a_message_is_not_retried_and_the_next_succeeds() {
    let (url, calls, source, tokens) = start(Rejection::AfterData).await;
    let layer = BearerAuthLayer::new(tokens.clone()).classifier(GrpcStatus::new());
    let response = call(&url, layer.clone()).await;
    assert_eq!(response.unwrap_err(), Code::Unauthenticated);
    assert_eq!(calls.load(Ordering::SeqCst), 1);
    // The trailers have started a refresh.
    while tokens.token().await.unwrap().header_value() != "Bearer a2" {
        tokio::task::yield_now().await;
    }
    assert_eq!(call(&url, layer).await.unwrap(), "hello");
    assert_eq!(source.refreshes(), 2);
}

#[tokio::test]
async fn p07_grpc_status_of_another_cause_or_without_the_classifier_refreshes_nothing() {
    for (rejection, is_classified, code) in [
        (Rejection::PermissionDenied, true, Code::PermissionDenied),
        (Rejection::TrailersOnly, false, Code::Unauthenticated),
        (Rejection::Trailers, false, Code::Unauthenticated),
    ] {
        let (url, calls, source, tokens) = start(rejection).await;
        let mut layer = BearerAuthLayer::new(tokens);
        if is_classified {
            layer = layer.classifier(GrpcStatus::new());
        }
        assert_eq!(call(&url, layer).await.unwrap_err(), code, "{rejection:?}");
        assert_eq!(calls.load(Ordering::SeqCst), 1, "{rejection:?}");
        assert_eq!(source.refreshes(), 1, "{rejection:?}");
    }
}
