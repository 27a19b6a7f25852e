//! The layer: puts a bearer token on each request, and recovers once from a 401.
//!
//! [`BearerAuthLayer`] wraps any service of `http::Request`. While the token is fresh a request costs one look at what is held,
//! one look at the clock and one copied pointer; [`performance`](crate::performance) has the figures. From its second request on
//! a clone of the service has a copy of the token, so that threads with clones of their own do not contend for a count of
//! references. It is given up at the clone's next request after the token has changed, or with the clone. Otherwise:
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
//! One grant serves all requests, that of a [`TokenCache`](crate::cache::TokenCache); or each request is about one of many
//! [`Tenants`](crate::tenants::Tenants), which it names.
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
//! #     async fn fetch(&self, _held: Option<&TokenSet>) -> Result<TokenSet, Error> {
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
//! Outside of the layer is what speaks of whole calls, inside what speaks of one request to the service. In a
//! `ServiceBuilder` the first is the outermost.
//!
//! | layer | where | why |
//! | --- | --- | --- |
//! | `tower_http::trace` | outside for calls, inside for each request | the token is marked sensitive, and is not logged on either side |
//! | `tower_http::sensitive_headers` | outside | what it marks stays marked in the retry; the token is marked in any case |
//! | `tower::timeout` of a whole call | outside | it ends the wait for a token too; the exchange goes on without the caller |
//! | `tower::retry` | outside | it repeats whole calls; the retry after a 401 is none of its business |
//! | `tower_http::follow_redirect` | outside | each hop is checked: to another origin it is refused, or goes without a token; inside, that layer drops the token itself |
//! | `tower_http::decompression` | either | inside, the first response is drained decompressed |
//! | **[`BearerAuthLayer`]** | | |
//! | `tower::buffer`, `tower::limit`, `tower::load_shed` | inside | a request that waits for a token takes up none of it |
//! | `tower::timeout` of one attempt | inside | the wait for a token does not count, and the retry has the whole time again |
//! | a map to the client's own body type | inside | the client sees a [`ReplayBody`] |
//! | the HTTP client | innermost | it must not follow redirects by itself: they would not be checked |
//!
//! # What the inner service has to be
//!
//! `Clone`, since a retry is a second call, and a request that waited for a token is called on another clone than the one
//! whose capacity it gave back. Clones must share what they stand for, as tower expects of all services. One that cannot be
//! cloned is put into `tower::buffer`:
//!
//! ```compile_fail
//! # fn tokens() -> tower_oauth2_client::cache::TokenCache { unimplemented!() }
//! use tower::Layer;
//! use tower_oauth2_client::bearer::BearerAuthLayer;
//!
//! struct Unique;
//!
//! let api = BearerAuthLayer::new(tokens()).layer(Unique); // the trait `Clone` is not implemented for `Unique`
//! ```
//!
//! Its futures are polled inside a tokio runtime with time enabled.
//!
//! The request's body may be any [`http_body::Body`]; data other than `Bytes` are copied once. The response's body is not
//! touched, unless it is that of a 401 which is answered by a retry.

mod body;
mod challenge;
mod drain;
mod error;
mod future;
mod guard;
mod kept;
mod layer;
mod service;
mod tokens;

pub use self::{
    body::ReplayBody,
    error::BearerAuthError,
    future::ResponseFuture,
    layer::{BearerAuthLayer, CrossOrigin, ReplayLimit},
    service::BearerAuth,
    tokens::TokenProvider,
};
