//! A reqwest client as a tower service.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use http::{Request, Response};
use reqwest::{Body, Client, ClientBuilder, ResponseBuilderExt, redirect::Policy};
use tower_service::Service;

use crate::{bearer::ReplayBody, error::Error};

/// A reqwest client as a tower service, for an [`OAuthClient`](crate::oauth::OAuthClient) and for
/// the layer.
///
/// It follows no redirects and retries nothing. A redirect could carry credentials to another
/// server (RFC 9700 section 4.12), and a code or refresh token must not be sent twice.
///
/// Cheap to clone; clones share reqwest's connection pool.
#[derive(Clone, Debug)]
pub struct ReqwestClient {
    client: Client,
}

impl ReqwestClient {
    /// Builds a client from `builder`, and turns its redirects and retries off.
    ///
    /// # Errors
    ///
    /// [`Configuration`](crate::ErrorKind::Configuration) if reqwest cannot build the client, for
    /// example because no TLS backend is available; the source says why.
    pub fn new(builder: ClientBuilder) -> Result<Self, Error> {
        builder
            .redirect(Policy::none())
            .retry(reqwest::retry::never())
            .build()
            .map(|client| Self { client })
            .map_err(|error| {
                Error::configuration("reqwest client: it cannot be built; see the source")
                    .with_source(error)
            })
    }

    /// Returns the reqwest client, which follows no redirects and retries nothing.
    pub fn get_ref(&self) -> &Client {
        &self.client
    }

    /// Returns the reqwest client, which follows no redirects and retries nothing.
    pub fn into_inner(self) -> Client {
        self.client
    }
}

impl Service<Request<ReplayBody<Body>>> for ReqwestClient {
    type Response = Response<Body>;
    type Error = reqwest::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, reqwest::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), reqwest::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<ReplayBody<Body>>) -> Self::Future {
        let client = self.client.clone();
        Box::pin(async move {
            let response = client.execute(into_reqwest(request)?).await?;
            Ok(from_reqwest(response))
        })
    }
}

/// A recorded request as reqwest sends it.
pub(super) fn into_reqwest(
    request: Request<ReplayBody<Body>>,
) -> Result<reqwest::Request, reqwest::Error> {
    request.map(Body::wrap).try_into()
}

/// A response that keeps its URL when it is converted back.
pub(super) fn from_reqwest(response: reqwest::Response) -> Response<Body> {
    // Only the builder knows the type of the extension that holds the URL.
    let url = Response::builder().url(response.url().clone()).body(());
    let mut response = Response::from(response);
    if let Ok(url) = url {
        let (head, ()) = url.into_parts();
        response.extensions_mut().extend(head.extensions);
    }
    response
}
