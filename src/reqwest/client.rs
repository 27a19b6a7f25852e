//! A reqwest client as a tower service.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use http::{Request, Response};
use reqwest::{Body, Client, ClientBuilder, ResponseBuilderExt, redirect::Policy};
use tower_service::Service;

use crate::{
    bearer::{ReplayBody, ResponseBody},
    error::Error,
    oauth::{OAuthClient, OAuthClientBuilder},
};

/// A reqwest client as a tower service, for an [`OAuthClient`] and for
/// the layer.
///
/// It follows no redirects and retries nothing. A redirect could carry credentials to another
/// server (RFC 9700 section 4.12), and a code or refresh token must not be sent twice.
///
/// Cheap to clone; clones share reqwest's connection pool.
///
/// For an `OAuthClient`, build it by [`for_token_requests`](Self::for_token_requests).
#[derive(Clone, Debug)]
pub struct ReqwestClient {
    client: Client,
}

/// How long a token request waits for its connection, with the TLS handshake. Nothing is sent
/// before, so this leaves time for a second attempt.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a peer may be silent at the level of TCP. It is shorter than the 30 seconds within
/// which a replay may be sent, and longer than most interruptions of a network.
#[cfg(any(target_os = "android", target_os = "fuchsia", target_os = "linux"))]
const DEAD_AFTER: Duration = Duration::from_secs(20);
const KEEPALIVE: Duration = Duration::from_secs(5);
/// With the time before the first probe, the probes take 20 seconds too.
const KEEPALIVE_RETRIES: u32 = 3;

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

    /// Builds a client for the requests of an [`OAuthClient`] from
    /// `builder`. [`build_with_reqwest`](crate::oauth::OAuthClientBuilder::build_with_reqwest) uses
    /// it.
    ///
    /// It overrides these settings of `builder`, and turns redirects and retries off:
    ///
    /// * Each request has a connection of its own, also with HTTP/2. So neither the replay after a
    ///   lost response nor any other request uses a connection that lost a response, or that the
    ///   server has closed.
    /// * A connection that is not ready after 10 seconds fails. Nothing was sent, so the request is
    ///   retried.
    /// * A connection whose peer acknowledges nothing for 20 seconds is closed (TCP keepalive, and
    ///   the TCP user timeout on Linux, Android and Fuchsia). That leaves time for the replay. A
    ///   provider that only responds slowly is not affected.
    ///
    /// Proxies, certificates and the like stay as `builder` has them. Set no timeout for requests
    /// or reads there: the client's
    /// [`response_timeout`](crate::oauth::OAuthClientBuilder::response_timeout) is the deadline,
    /// and a shorter one loses responses.
    ///
    /// # Errors
    ///
    /// [`Configuration`](crate::ErrorKind::Configuration), as for [`new`](Self::new).
    pub fn for_token_requests(builder: ClientBuilder) -> Result<Self, Error> {
        let builder = builder
            // This turns the pool off, which would share one HTTP/2 connection among all requests.
            .pool_max_idle_per_host(0)
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_keepalive(KEEPALIVE)
            .tcp_keepalive_interval(KEEPALIVE)
            .tcp_keepalive_retries(KEEPALIVE_RETRIES);
        #[cfg(any(target_os = "android", target_os = "fuchsia", target_os = "linux"))]
        let builder = builder.tcp_user_timeout(DEAD_AFTER);
        Self::new(builder)
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

/// Lets a response of the layer convert into a [`reqwest::Response`].
impl From<ResponseBody<Self>> for Body {
    fn from(body: ResponseBody<Self>) -> Self {
        body.into_unread().unwrap_or_else(Self::wrap)
    }
}

impl OAuthClientBuilder {
    /// Builds the client over a reqwest client for token requests: each of them has a connection of
    /// its own, and broken connections are noticed in time for a replay.
    ///
    /// [`ReqwestClient::for_token_requests`](crate::reqwest::ReqwestClient::for_token_requests)
    /// says what it changes in `http`.
    ///
    /// ```
    /// # fn main() -> Result<(), tower_oauth2_client::Error> {
    /// # use tower_oauth2_client::{oauth::OAuthClient, provider};
    /// let oauth = OAuthClient::builder(provider::justworks(), "client-id")
    ///     .client_secret("client-secret")
    ///     .build_with_reqwest(reqwest::Client::builder())?;
    /// # let _ = oauth;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Configuration`](crate::ErrorKind::Configuration), as for [`build`](Self::build), or if
    /// reqwest cannot build the client.
    pub fn build_with_reqwest(self, http: ClientBuilder) -> Result<OAuthClient, Error> {
        self.build(ReqwestClient::for_token_requests(http)?)
    }
}
