//! The layer: adds a bearer token to each request and retries once after a 401.
//!
//! [`BearerAuthLayer`] wraps any service of `http::Request`. While the token is fresh, a request
//! costs one atomic load, one clock read and one copied header value;
//! [`performance`](crate::performance) has the figures. Otherwise:
//!
//! * **No usable token.** The request waits for the one refresh that all callers share. Meanwhile
//!   it holds none of the inner service's capacity: what `poll_ready` reserved is released, and
//!   readiness is polled again before the request is sent. If there is no token, the request fails;
//!   it is never sent without one.
//! * **A 401 response.** If the cache or the store holds a newer token than the one this request
//!   carried, the layer uses that; otherwise it refreshes, at most once in 30 seconds for this
//!   reason. Then it sends the same request again, byte for byte, and returns the second response,
//!   whatever it is. It does not retry a 403, or a 401 whose challenge names another cause
//!   (`insufficient_scope`, `invalid_request`; RFC 6750 section 3.1).
//! * **A body that cannot be sent again**, because it is larger than the
//!   [`replay_limit`](BearerAuthLayer::replay_limit), or was still being sent when the response
//!   arrived. The layer returns the 401, and refreshes the token for the next requests.
//! * **A request to another origin**, or one with a `Host` header that names another origin. The
//!   request fails and is not sent; [`cross_origin`](BearerAuthLayer::cross_origin) can permit it
//!   without a token. A request that already has an `Authorization` header fails too.
//!
//! The tokens come from the [`TokenCache`](crate::cache::TokenCache) of one grant, or from the
//! [`Tenants`](crate::tenants::Tenants) of many; with many, each request names its tenant.
//!
//! ```
//! # use std::{convert::Infallible, time::{Duration, SystemTime}};
//! # use bytes::Bytes;
//! # use http::{Request, Response};
//! # use http_body_util::Full;
//! # use tower::{Service, ServiceBuilder, ServiceExt};
//! # use tower_oauth2_client::{cache::token_fn, token::{AccessToken, TokenSet}};
//! use tower_oauth2_client::{bearer::BearerAuthLayer, cache::TokenCache};
//!
//! # tokio_test::block_on(async {
//! # let oauth = token_fn(|| async {
//! #     Ok(TokenSet::new(AccessToken::new("a1")?, Duration::from_secs(3_600), SystemTime::now()))
//! # });
//! // `oauth` is an `OAuthClient`, or any other `TokenSource`.
//! let tokens = TokenCache::builder(oauth).origin("https://api.example.com").build()?;
//!
//! // In a program this is an HTTP client, such as hyper-util's `Client<_, Full<Bytes>>`.
//! let http = tower::service_fn(|request: Request<Full<Bytes>>| async move {
//!     assert_eq!(request.headers()["authorization"], "Bearer a1");
//!     Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
//! });
//! let mut api = ServiceBuilder::new()
//!     .layer(BearerAuthLayer::new(tokens))
//!     .service(http);
//!
//! let request = Request::get("https://api.example.com/v1/company").body(Full::default())?;
//! assert_eq!(api.ready().await?.call(request).await?.status(), 200);
//!
//! let other_origin = Request::get("https://example.org/").body(Full::default())?;
//! assert!(api.ready().await?.call(other_origin).await.is_err());
//! # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
//! ```
//!
//! # Request bodies
//!
//! The body type of the inner service decides how a body is sent again; see [`RequestBody`].
//!
//! * A body that is `Clone`, such as `Full<Bytes>`, is cloned. The layer takes the same body type.
//! * For any other body, such as a stream, the inner service takes a [`ReplayBody`]. The layer
//!   takes the body inside it, and records its frames while they are sent. `Bytes` are not copied.
//!
//! Response bodies are passed through. Only the body of a 401 that is followed by a retry is read
//! by the layer, up to 64 KiB and one second, so that its connection can be reused.
//!
//! # Order of layers
//!
//! Outside this layer belongs what concerns the whole call, inside what concerns one request to the
//! API. In a `ServiceBuilder` the first layer is the outermost.
//!
//! | layer | where | why |
//! | --- | --- | --- |
//! | `tower_http::trace` | outside for calls, inside for requests | the token is marked sensitive, so neither logs it |
//! | `tower_http::sensitive_headers` | outside | headers that it marks stay marked in the retry |
//! | `tower::timeout` of a call | outside | it also limits the wait for a token; the refresh goes on without the caller |
//! | `tower::retry` | outside | it repeats whole calls; it must not act on a 401 |
//! | `tower_http::follow_redirect` | outside | each hop is checked against the token's origins |
//! | `tower_http::decompression` | either | inside, the first response is drained decompressed |
//! | **[`BearerAuthLayer`]** | | |
//! | `tower::buffer`, `tower::limit`, `tower::load_shed` | inside | a request that waits for a token uses none of their capacity |
//! | `tower::timeout` of one attempt | inside | the wait for a token does not count, and the retry has the full time |
//! | the HTTP client | innermost | it must not follow redirects itself: they would not be checked |
//!
//! # Requirements on the inner service
//!
//! It has to be `Clone`: the retry, and a request that waited for a token, are called on a clone.
//! Clones must be equivalent, as tower expects of all services. Put a service that is not `Clone`
//! into `tower::buffer`:
//!
//! ```compile_fail,E0277
//! # use bytes::Bytes;
//! # use http_body_util::Full;
//! # fn tokens() -> tower_oauth2_client::cache::TokenCache { unimplemented!() }
//! use tower::Layer;
//! use tower_oauth2_client::bearer::BearerAuthLayer;
//!
//! struct Unique;
//! # impl tower::Service<http::Request<Full<Bytes>>> for Unique {
//! #     type Response = http::Response<Full<Bytes>>;
//! #     type Error = std::convert::Infallible;
//! #     type Future = std::future::Ready<Result<Self::Response, Self::Error>>;
//! #     fn poll_ready(
//! #         &mut self,
//! #         _: &mut std::task::Context<'_>,
//! #     ) -> std::task::Poll<Result<(), Self::Error>> {
//! #         todo!()
//! #     }
//! #     fn call(&mut self, _: http::Request<Full<Bytes>>) -> Self::Future { todo!() }
//! # }
//!
//! // The trait `Clone` is not implemented for `Unique`.
//! let api = BearerAuthLayer::new(tokens()).layer(Unique);
//! ```
//!
//! Its error has to convert into a `Box<dyn Error + Send + Sync>`, as the errors of all common
//! clients do. It becomes the source of an [`Error`](crate::Error) of the kind
//! [`Service`](crate::ErrorKind::Service).
//!
//! The futures are polled inside a tokio runtime with time enabled.

mod body;
mod challenge;
mod drain;
mod future;
mod guard;
mod layer;
mod policy;
mod replay;
mod request_head;
mod service;
mod shared;
mod token_provider;

pub use self::{
    body::{ReplayBody, RequestBody},
    future::ResponseFuture,
    layer::BearerAuthLayer,
    policy::{CrossOrigin, ReplayLimit},
    service::BearerAuth,
    token_provider::TokenProvider,
};
