//! An HTTP client whose requests to any host reach a sandbox.

use std::task::{Context, Poll};

use http::{
    HeaderValue, Request, Uri,
    header::HOST,
    uri::{Authority, Scheme},
};
use tower_service::Service;

use super::persona::HOST_HEADER;

/// A tower service around an HTTP client, created by
/// [`Sandbox::routed`](super::Sandbox::routed): a request to any host reaches the sandbox.
#[derive(Clone, Debug)]
pub struct RoutedService<S> {
    inner: S,
    sandbox: Uri,
}

impl<S> RoutedService<S> {
    pub(super) fn new(inner: S, sandbox: &str) -> Self {
        Self {
            inner,
            sandbox: sandbox.parse().unwrap_or_default(),
        }
    }
}

impl<S, B> Service<Request<B>> for RoutedService<S>
where
    S: Service<Request<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> S::Future {
        let host = request.uri().host().map(HeaderValue::from_str);
        if let Some(Ok(host)) = host {
            request.headers_mut().insert(HOST_HEADER, host);
        }
        // It would name the other host.
        request.headers_mut().remove(HOST);
        let mut parts = request.uri().clone().into_parts();
        parts.scheme = self.sandbox.scheme().cloned().or(Some(Scheme::HTTP));
        parts.authority = self.sandbox.authority().cloned();
        if parts.authority.is_none() {
            parts.authority = Some(Authority::from_static("localhost"));
        }
        if let Ok(uri) = Uri::from_parts(parts) {
            *request.uri_mut() = uri;
        }
        self.inner.call(request)
    }
}
