//! The layer: puts a bearer token on each request, and recovers once from a 401.
//!
//! [`BearerAuthLayer`] wraps any service of `http::Request`. While the token is fresh a request costs one snapshot load,
//! one look at the clock and one copied pointer. Otherwise:
//!
//! * **No usable token.** The request waits for the one exchange that all share, and holds none of the inner service's
//!   capacity meanwhile: what `poll_ready` had reserved is given back, and readiness is polled again afterwards. If there is
//!   no token to be had the caller gets an error; a request is never sent without one.
//! * **A 401.** If the cache, or the store, already holds a newer token than the one this request carried, that is taken;
//!   otherwise there is an exchange, at most one in 30 seconds that 401s force. Then the same request is sent once more, to
//!   the byte, and the caller gets the second response, whatever it is. A 401 whose challenge names another cause
//!   (`insufficient_scope`, `invalid_request`) is returned as it is, and so is a 403.
//! * **A body that cannot be sent again**: larger than [`replay_limit`](BearerAuthLayer::replay_limit), or not yet sent
//!   whole when the answer came. The 401 is returned as it is, and the token is renewed for those who come next.
//! * **Another origin** than those the token is meant for, a `Host` header that names one, or an `Authorization` header of
//!   the caller's own: an error, and nothing is sent. Requests to other origins may also be sent without a token, if
//!   [`elsewhere`](BearerAuthLayer::elsewhere) says so.
//!
//! The request body is recorded while it is sent, without copying `Bytes`, so the inner service sees a
//! [`ReplayBody`] around the caller's. A hyper-util client takes that as it is; for a client with a body type of its own, map
//! it in between, as `examples/reqwest_client.rs` does.
//!
//! ```
//! # use std::convert::Infallible;
//! # use bytes::Bytes;
//! # use http::{Request, Response};
//! # use http_body_util::Empty;
//! # use tower::{Service, ServiceBuilder, ServiceExt};
//! use tower_oauth2_client::{
//!     bearer::{BearerAuthLayer, ReplayBody},
//!     cache::TokenCache,
//! };
//!
//! # use std::time::{Duration, SystemTime};
//! # use tower_oauth2_client::{cache::TokenSource, token::{AccessToken, TokenSet}, Error};
//! # struct Issuer;
//! # impl TokenSource for Issuer {
//! #     async fn exchange(&self, _held: Option<&TokenSet>) -> Result<TokenSet, Error> {
//! #         Ok(TokenSet::new(AccessToken::new("a1")?, Duration::from_secs(3_600), SystemTime::UNIX_EPOCH))
//! #     }
//! # }
//! # tokio_test::block_on(async {
//! let tokens = TokenCache::builder(Issuer).origin("https://api.example.com").build()?;
//!
//! // In a program this is an HTTP client.
//! let http = tower::service_fn(|request: Request<ReplayBody<Empty<Bytes>>>| async move {
//!     assert_eq!(request.headers()["authorization"], "Bearer a1");
//!     Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
//! });
//! let mut api = ServiceBuilder::new()
//!     .layer(BearerAuthLayer::new(tokens))
//!     .service(http);
//!
//! let request = Request::get("https://api.example.com/v1/company").body(Empty::new())?;
//! assert_eq!(api.ready().await?.call(request).await?.status(), 200);
//!
//! let elsewhere = Request::get("https://example.org/").body(Empty::new())?;
//! assert!(api.ready().await?.call(elsewhere).await.is_err());
//! # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
//! ```
//!
//! # Order
//!
//! Put the layer *outside* of whatever limits, buffers or times out a single request to the service (so that waiting for a
//! token uses none of it up), and *inside* of whatever repeats or traces whole calls. It needs an inner service that can be
//! cloned, since a retry is a second call; wrap one that cannot be in `tower::buffer`.

mod body;
mod challenge;
mod drain;
mod error;
mod future;
mod guard;
mod layer;
mod service;

pub use self::{
    body::ReplayBody,
    error::BearerAuthError,
    future::ResponseFuture,
    layer::{BearerAuthLayer, Elsewhere, ReplayLimit},
    service::BearerAuth,
};
