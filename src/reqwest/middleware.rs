//! The layer as a middleware of reqwest-middleware.

use std::{
    future::Future,
    mem,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use async_trait::async_trait;
use http::{Extensions, Request, Response};
use reqwest::Body;
use reqwest_middleware::{Error as MiddlewareError, Middleware, Next};
use tower_layer::Layer;
use tower_service::Service;

use super::client::{from_reqwest, into_reqwest};
use crate::{
    bearer::{BearerAuthLayer, ReplayBody},
    error::Error,
};

/// Runs the layer around the rest of the chain. See [`reqwest`](crate::reqwest).
#[async_trait]
impl Middleware for BearerAuthLayer<ReplayBody<Body>> {
    async fn handle(
        &self,
        request: reqwest::Request,
        extensions: &mut Extensions,
        next: Next<'_>,
    ) -> Result<reqwest::Response, MiddlewareError> {
        let mut request = Request::try_from(request)?;
        // Where the layer finds the tenant and the replay limit.
        request.extensions_mut().extend(extensions.clone());
        let chain = Chain {
            next,
            extensions: Arc::new(Mutex::new(mem::take(extensions))),
        };
        let shared = Arc::clone(&chain.extensions);
        // The chain is always ready.
        let result = self.layer(chain).call(request).await;
        *extensions = take(&shared);
        result.map(reqwest::Response::from).map_err(into_error)
    }
}

/// The rest of a chain of middlewares, with the client at its end.
#[derive(Clone)]
struct Chain<'a> {
    next: Next<'a>,
    /// The extensions that the middlewares of one call share. The layer calls the chain twice at
    /// most, and never at the same time.
    extensions: Arc<Mutex<Extensions>>,
}

impl<'a> Service<Request<ReplayBody<Body>>> for Chain<'a> {
    type Response = Response<Body>;
    type Error = MiddlewareError;
    type Future =
        Pin<Box<dyn Future<Output = Result<Response<Body>, MiddlewareError>> + Send + 'a>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), MiddlewareError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<ReplayBody<Body>>) -> Self::Future {
        let Self { next, extensions } = self.clone();
        Box::pin(async move {
            let request = into_reqwest(request)?;
            let mut lent = take(&extensions);
            let result = next.run(request, &mut lent).await;
            *extensions.lock().unwrap_or_else(PoisonError::into_inner) = lent;
            result.map(from_reqwest)
        })
    }
}

fn take(extensions: &Mutex<Extensions>) -> Extensions {
    mem::take(&mut extensions.lock().unwrap_or_else(PoisonError::into_inner))
}

/// An error of the chain as it was; an error of this crate as that of a middleware.
fn into_error(error: Error) -> MiddlewareError {
    match error.into_service_error() {
        Ok(inner) => match inner.downcast::<MiddlewareError>() {
            Ok(inner) => *inner,
            Err(other) => MiddlewareError::middleware(Error::service(other)),
        },
        Err(error) => MiddlewareError::middleware(error),
    }
}
