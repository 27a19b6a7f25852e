//! The crate's error converts with `?` wherever programs collect errors, and passes tower's
//! middleware.

use std::{error::Error as StdError, io, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use tower::{BoxError, Layer, ServiceBuilder, ServiceExt, retry, util::BoxCloneSyncService};
use tower_oauth2_client::{
    Error, ErrorKind,
    bearer::{BearerAuthLayer, ResponseBody},
    cache::TokenCache,
};

#[path = "support/mod.rs"]
mod support;

use support::{API, ManualClock, Scripted, Source, unavailable};

type Body = Full<Bytes>;
type Api = BoxCloneSyncService<Request<Body>, Response<ResponseBody<Body>>, Error>;

fn request() -> Request<Body> {
    Request::get(API).body(Body::default()).unwrap()
}

fn reset() -> io::Error {
    io::Error::from(io::ErrorKind::ConnectionReset)
}

/// A layer over a client whose connection breaks.
fn broken(tokens: TokenCache) -> Api {
    let http = tower::service_fn(|_: Request<Body>| async { Err::<Response<Body>, _>(reset()) });
    BoxCloneSyncService::new(BearerAuthLayer::new(tokens).layer(http))
}

fn with_token() -> TokenCache {
    Source::new(&ManualClock::new()).cache().build().unwrap()
}

/// A cache whose refresh fails.
fn without_token() -> TokenCache {
    let source = Source::new(&ManualClock::new());
    source.then(Scripted::Fail(unavailable()));
    source.cache().build().unwrap()
}

/// The error as the crate's own, and the client's error behind it.
fn check(error: &(dyn StdError + 'static)) {
    let error: &Error = error.downcast_ref().expect("the crate's error");
    assert_eq!(error.kind(), ErrorKind::Service);
    let inner = error.source().unwrap().downcast_ref::<io::Error>().unwrap();
    assert_eq!(inner.kind(), io::ErrorKind::ConnectionReset);
}

#[tokio::test(start_paused = true)]
async fn converts_into_a_boxed_error() {
    async fn call(
        api: Api,
    ) -> Result<Response<ResponseBody<Body>>, Box<dyn StdError + Send + Sync>> {
        Ok(api.oneshot(request()).await?)
    }
    async fn local(api: Api) -> Result<Response<ResponseBody<Body>>, Box<dyn StdError>> {
        Ok(api.oneshot(request()).await?)
    }
    check(&*call(broken(with_token())).await.unwrap_err());
    check(&*local(broken(with_token())).await.unwrap_err());
}

#[tokio::test(start_paused = true)]
async fn converts_into_anyhow() {
    async fn call(api: Api) -> anyhow::Result<Response<ResponseBody<Body>>> {
        Ok(api.oneshot(request()).await?)
    }
    let error = call(broken(with_token())).await.unwrap_err();
    check(error.downcast_ref::<Error>().unwrap());
    let chain: Vec<_> = error.chain().map(ToString::to_string).collect();
    assert_eq!(
        chain,
        ["inner service failed: see the source", "connection reset"]
    );
    let error = call(broken(without_token())).await.unwrap_err();
    assert!(error.downcast::<Error>().unwrap().is_transient());
}

#[tokio::test(start_paused = true)]
async fn converts_into_eyre() {
    async fn call(api: Api) -> eyre::Result<Response<ResponseBody<Body>>> {
        Ok(api.oneshot(request()).await?)
    }
    let error = call(broken(with_token())).await.unwrap_err();
    check(error.downcast_ref::<Error>().unwrap());
}

#[tokio::test(start_paused = true)]
async fn converts_into_a_thiserror_enum() {
    #[derive(Debug, thiserror::Error)]
    enum Failure {
        #[error("partner API: {0}")]
        Api(#[from] Error),
    }
    async fn call(api: Api) -> Result<Response<ResponseBody<Body>>, Failure> {
        Ok(api.oneshot(request()).await?)
    }
    let Failure::Api(error) = call(broken(with_token())).await.unwrap_err();
    check(&error);
}

/// Repeats a call up to three times if the error is transient, or if the connection broke.
#[derive(Clone)]
struct Transient(usize);

impl retry::Policy<Request<Body>, Response<ResponseBody<Body>>, Error> for Transient {
    type Future = std::future::Ready<()>;

    fn retry(
        &mut self,
        _: &mut Request<Body>,
        result: &mut Result<Response<ResponseBody<Body>>, Error>,
    ) -> Option<Self::Future> {
        let error = result.as_ref().err()?;
        let is_reset = error.source().is_some_and(<dyn StdError>::is::<io::Error>);
        self.0 = self.0.checked_sub(1)?;
        (error.is_transient() || is_reset).then(|| std::future::ready(()))
    }

    fn clone_request(&mut self, request: &Request<Body>) -> Option<Request<Body>> {
        Some(request.clone())
    }
}

#[tokio::test(start_paused = true)]
async fn passes_buffer_timeout_and_retry_outside_the_layer() {
    let api = ServiceBuilder::new()
        .buffer(4)
        .timeout(Duration::from_secs(5))
        .retry(Transient(2))
        .service(broken(with_token()));
    check(&*api.oneshot(request()).await.unwrap_err());
}

#[tokio::test(start_paused = true)]
async fn passes_buffer_and_timeout_inside_the_layer() {
    let http = ServiceBuilder::new()
        .buffer(4)
        .timeout(Duration::from_secs(5))
        .service(tower::service_fn(|_: Request<Body>| {
            std::future::pending::<Result<Response<Body>, BoxError>>()
        }));
    let api = BearerAuthLayer::new(with_token()).layer(http);
    let error = api.oneshot(request()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Service);
    let source = error.source().unwrap();
    assert!(source.is::<tower::timeout::error::Elapsed>(), "{source:?}");
}

#[tokio::test(start_paused = true)]
async fn inner_error_comes_out_by_value_if_it_is_not_shared() {
    let error = broken(with_token()).oneshot(request()).await.unwrap_err();
    let copy = error.clone();
    let error = error.into_service_error().unwrap_err();
    drop(copy);
    let inner = error.into_service_error().unwrap();
    assert!(inner.is::<io::Error>());

    let error = broken(without_token())
        .oneshot(request())
        .await
        .unwrap_err();
    assert!(error.into_service_error().unwrap_err().is_transient());
}
