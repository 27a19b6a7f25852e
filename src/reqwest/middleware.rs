//! The layer as a middleware of reqwest-middleware.

use std::{
    future::Future,
    mem,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, Waker},
};

use async_trait::async_trait;
use bytes::Bytes;
use http::{Extensions, Request, Response, Uri};
use http_body::Body as HttpBody;
use http_body_util::Full;
use reqwest::Body;
use reqwest_middleware::{Error as MiddlewareError, Middleware, Next};
use tower_layer::Layer;
use tower_service::Service;

use super::client::{from_reqwest, into_reqwest};
use crate::{
    bearer::{BearerAuthLayer, ReplayBody, RequestBody, ResponseUri},
    error::Error,
    token::KeptValues,
};

/// Runs the layer around the rest of the chain. See [`reqwest`](crate::reqwest).
#[async_trait]
impl Middleware for BearerAuthLayer<ReplayBody<Body>> {
    async fn handle(
        &self,
        mut request: reqwest::Request,
        extensions: &mut Extensions,
        next: Next<'_>,
    ) -> Result<reqwest::Response, MiddlewareError> {
        let body = request.body_mut().take();
        let chain = Chain {
            next,
            extensions: Arc::default(),
            has_body: body.is_some(),
        };
        let mut request: Request<Body> = request.try_into()?;
        // The layer reads the tenant and the replay limit from the request's extensions.
        request.extensions_mut().extend(extensions.clone());
        let mut body = body.unwrap_or_default();
        match buffered(&mut body) {
            // The layer clones a buffered body. Inner middlewares get it buffered, so that they
            // can clone it too, or sign it.
            Some(bytes) => {
                let layer = self.for_body::<Full<Bytes>>();
                chain
                    .run(&layer, request.map(|_| Full::new(bytes)), extensions)
                    .await
            }
            None => chain.run(self, request.map(|_| body), extensions).await,
        }
    }
}

/// The rest of a chain of middlewares, with the client at its end.
#[derive(Clone)]
struct Chain<'a> {
    next: Next<'a>,
    /// The extensions that the middlewares of one call pass on. The layer calls the chain at most
    /// twice, and never at the same time.
    extensions: Arc<Mutex<Extensions>>,
    has_body: bool,
}

type ChainFuture<'a> =
    Pin<Box<dyn Future<Output = Result<Response<Body>, MiddlewareError>> + Send + 'a>>;

impl<'a> Chain<'a> {
    /// Calls the chain through the layer.
    async fn run<B: RequestBody>(
        self,
        layer: &BearerAuthLayer<B>,
        request: Request<B::Inbound>,
        extensions: &mut Extensions,
    ) -> Result<reqwest::Response, MiddlewareError>
    where
        Self: Service<
                Request<B>,
                Response = Response<Body>,
                Error = MiddlewareError,
                Future = ChainFuture<'a>,
            >,
    {
        let shared = Arc::clone(&self.extensions);
        *lock(&shared) = mem::take(extensions);
        // The chain is always ready.
        let result = layer.layer(self).call(request).await;
        *extensions = mem::take(&mut lock(&shared));
        result.map(reqwest::Response::from).map_err(into_error)
    }

    /// Calls the chain once. `values` are the kept values of the request's grant.
    fn send(
        &self,
        request: Result<reqwest::Request, reqwest::Error>,
        values: Option<KeptValues>,
    ) -> ChainFuture<'a> {
        let Self {
            next, extensions, ..
        } = self.clone();
        Box::pin(async move {
            let request = request?;
            let mut lent = mem::take(&mut *lock(&extensions));
            match values {
                Some(values) => lent.insert(values),
                None => lent.remove(),
            };
            let sent_to = request.url().clone();
            let result = next.run(request, &mut lent).await;
            *lock(&extensions) = lent;
            result.map(|response| {
                let uri = redirected_to(&response, &sent_to);
                let mut response = from_reqwest(response);
                if let Some(uri) = uri {
                    response.extensions_mut().insert(ResponseUri::new(uri));
                }
                response
            })
        })
    }
}

impl<'a> Service<Request<ReplayBody<Body>>> for Chain<'a> {
    type Response = Response<Body>;
    type Error = MiddlewareError;
    type Future = ChainFuture<'a>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), MiddlewareError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<ReplayBody<Body>>) -> Self::Future {
        let values = request.extensions().get().cloned();
        self.send(into_reqwest(request), values)
    }
}

impl<'a> Service<Request<Full<Bytes>>> for Chain<'a> {
    type Response = Response<Body>;
    type Error = MiddlewareError;
    type Future = ChainFuture<'a>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), MiddlewareError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Full<Bytes>>) -> Self::Future {
        let values = request.extensions().get().cloned();
        let request = request.map(|mut body| first_frame(&mut body).unwrap_or_default());
        let mut request = reqwest::Request::try_from(request);
        if !self.has_body
            && let Ok(request) = &mut request
        {
            *request.body_mut() = None;
        }
        self.send(request, values)
    }
}

/// The host in the URL of a response that no server sent, such as one of a cache.
const NO_HOST: &str = "no.url.provided.local";

/// The URI of a response from another origin than its request was sent to. A client that follows
/// redirects returns such responses.
fn redirected_to(response: &reqwest::Response, sent_to: &reqwest::Url) -> Option<Uri> {
    let url = response.url();
    let is_known = url.host_str() != Some(NO_HOST);
    (is_known && url.origin() != sent_to.origin())
        .then(|| url.as_str().parse().ok())
        .flatten()
}

/// The bytes of a body that is in memory.
fn buffered(body: &mut Body) -> Option<Bytes> {
    body.as_bytes()?;
    first_frame(body)
}

/// The data of a body in memory, which is ready at once and has one frame.
fn first_frame<B: HttpBody<Data = Bytes> + Unpin>(body: &mut B) -> Option<Bytes> {
    let mut context = Context::from_waker(Waker::noop());
    match Pin::new(body).poll_frame(&mut context) {
        Poll::Ready(Some(Ok(frame))) => frame.into_data().ok(),
        Poll::Ready(None) => Some(Bytes::new()),
        Poll::Ready(Some(Err(_))) | Poll::Pending => None,
    }
}

fn lock(extensions: &Mutex<Extensions>) -> std::sync::MutexGuard<'_, Extensions> {
    extensions.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An error of the chain unchanged, or an error of this crate as that of a middleware.
fn into_error(error: Error) -> MiddlewareError {
    match error.into_service_error() {
        Ok(inner) => match inner.downcast::<MiddlewareError>() {
            Ok(inner) => *inner,
            Err(other) => MiddlewareError::middleware(Error::service(other)),
        },
        Err(error) => MiddlewareError::middleware(error),
    }
}
