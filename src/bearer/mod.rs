//! The layer: adds a bearer token to each request and retries once after a 401.
//!
//! [`BearerAuthLayer`] wraps any service of `http::Request`. While the token is
//! [fresh](crate::cache#token-states), a request costs one atomic load, one clock read and one
//! copied header value; [`performance`](crate::guide::performance) has the figures. The layer does
//! more in these cases:
//!
//! * **The token expires soon, has expired or is absent.** The request waits for the one refresh
//!   that all callers share. The layer releases the capacity that `poll_ready` reserved, and polls
//!   the inner service for readiness again before it sends the request. If no valid token is left
//!   after the wait, the request is not sent. It fails with the error of
//!   [`TokenCache::token`](crate::cache::TokenCache::token) or
//!   [`Tenants::token`](crate::tenants::Tenants::token).
//! * **A 401 response.** The layer uses a newer token if the cache or the store holds one.
//!   Otherwise it refreshes. Within 30 seconds, 401 responses cause at most one successful refresh
//!   of a grant in each process. The interval doubles, up to 30 minutes, while the API rejects the
//!   token of each such refresh soon. The layer then sends the request again with the new token and
//!   the same body, and returns the second response, even if that is a 401. Without a newer token,
//!   it returns the first 401. A token that [cannot be
//!   replaced](crate::cache#grants-without-a-refresh-token) is sent once more. It does not retry a
//!   403, unless the provider's data [name it](#other-rejections-than-a-401). It does not retry a
//!   401 whose `Bearer` challenge has the error `insufficient_scope` or `invalid_request` (RFC 6750
//!   section 3.1), or, for a token that is bound to a key, a `DPoP` challenge has the error
//!   `invalid_dpop_proof` (RFC 9449 section 7.1), unless another challenge has `invalid_token`. It
//!   retries a 401 without an error code.
//! * **A 401 that asks for another DPoP nonce.** The layer sends the request once more, with the
//!   same token and another [proof](crate::dpop). This is apart from the retry for a newer token.
//! * **A 401 to a token that is only seconds old.** The API may not know it yet, so the layer
//!   does not refresh. It waits until the token is 5 seconds old, or a tenth of its lifetime if
//!   that is shorter, and retries with the same token. The provider's data can set [another
//!   delay](crate::provider::ProviderBuilder::propagation_delay). The layer waits in the same way
//!   before it retries with a newer token that replaced the rejected one by an early refresh. It
//!   does not, once the API has accepted a token that was less than a second old. A retry waits for
//!   two such tokens at most, so for 10 seconds. If the retry is rejected too, the token is
//!   refreshed for later requests.
//! * **A 401 to a request whose body cannot be sent again.** The body is larger than the
//!   [`replay_limit`](BearerAuthLayer::replay_limit), is a [`ReplayBody`] that was not yet sent to
//!   its end, or is a cloneable body of unknown length. The layer returns the 401, and refreshes
//!   the token for the next requests, unless it is only seconds old.
//! * **A cross-origin request.** Its URI is relative or names an origin that may not receive the
//!   token, or its `Host` header names another origin than its URI. The request fails with the kind
//!   [`Request`](crate::ErrorKind::Request) and is not sent.
//!   [`TokenCacheBuilder::origin`](crate::cache::TokenCacheBuilder::origin) adds an origin that may
//!   receive the token. [`cross_origin`](BearerAuthLayer::cross_origin) can permit such requests
//!   without a token. With an [address per tenant](#addresses-per-tenant), the origin depends on
//!   the grant.
//! * **A request that already has the [header of the token](#the-header-of-the-token)**, which is
//!   usually `Authorization`. It fails with the kind `Request` and is not sent. A cross-origin
//!   request that `cross_origin` permits keeps the header.
//!
//! The tokens come from a [`TokenCache`](crate::cache::TokenCache), which has one
//! [grant](crate::guide::glossary), or from [`Tenants`](crate::tenants::Tenants), which has many.
//! With `Tenants`, each request names its tenant.
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
//! * A body that is `Clone`, such as `Full<Bytes>`, is cloned. The layer and the inner service have
//!   the same body type.
//! * For any other body `B`, such as a stream, the inner service has the body type
//!   [`ReplayBody<B>`](ReplayBody). The layer accepts requests with the body `B`, and copies its
//!   data into one buffer while the client sends them, up to the
//!   [`replay_limit`](BearerAuthLayer::replay_limit).
//!
//! # Response bodies
//!
//! A response has the body [`ResponseBody`], which passes the inner body on. Before the layer waits
//! for a refresh, and before a retry, it reads the body of the 401, up to 64 KiB and one second,
//! and drops the rest. So the connection is free for the refresh and the retry, also where the HTTP
//! client is the same, or the server accepts few connections. A caller that gets the 401 after the
//! wait gets the data that were read. If the rest was dropped, the body ends with an error.
//!
//! # Other rejections than a 401
//!
//! Some APIs respond to an expired token with another status. The provider's data name it, by
//! [`token_rejection`](crate::provider::ProviderBuilder::token_rejection). For anything else that a
//! response says, set a [`classifier`](BearerAuthLayer::classifier). The layer treats such a
//! response as it treats a 401.
//!
//! # Addresses per tenant
//!
//! The API of some providers has another host for each customer, such as
//! `https://{shop}.myshopify.com`. The [provider's data](crate::provider#addresses-per-tenant) have
//! such an origin, and the values that are kept with a grant replace its variables. A token may
//! then be sent to the origins that it shares with all tenants, and to those of its own grant. A
//! request to the host of another tenant is cross-origin.
//!
//! Each token carries the origins of the snapshot that it is from. The layer compares them with
//! each attempt, so a new consent that moves a tenant to another host takes effect at once, and
//! never mixes the two hosts up:
//!
//! * A request to the old host that waits for a token fails with the kind `Request`, and is not
//!   sent.
//! * If a request to the old host gets a 401, and the newer token is meant for the new host, the
//!   layer does not retry. It returns the 401.
//!
//! If a stored value is missing or does not match its pattern, requests of that tenant fail with
//! the kind [`KeptValue`](crate::ErrorKind::KeptValue), whatever their URI is, and are not sent.
//! The error names the value, and not its content. Other tenants continue.
//!
//! The layer can only compare the URI of a request with these origins once it knows the tenant.
//! With [`CrossOrigin::SendUnauthenticated`], a request that names no tenant is sent without a
//! token, unless it goes to an origin of all tenants. One whose tenant has no grant fails.
//!
//! # Kept values
//!
//! The URIs of some APIs contain an account id that is known only from the consent, such as
//! `realmId`. If such values are [kept](crate::provider::ProviderBuilder::kept_value) with a grant,
//! the layer puts them into the extensions of each attempt, as a
//! [`KeptValues`](crate::token::KeptValues). They belong to the same snapshot as the token. A
//! service inside the layer can build the path from them:
//!
//! ```
//! # use std::{convert::Infallible, time::{Duration, SystemTime}};
//! # use bytes::Bytes;
//! # use http::{Request, Response};
//! # use http_body_util::Full;
//! # use tower::{Layer, ServiceExt};
//! # use tower_oauth2_client::{cache::{TokenCache, token_fn}, token::{AccessToken, TokenSet}};
//! use tower_oauth2_client::{bearer::BearerAuthLayer, token::KeptValues};
//!
//! # tokio_test::block_on(async {
//! # let hour = Duration::from_secs(3_600);
//! # let tokens = TokenCache::builder(token_fn(move || async move {
//! #     let tokens = TokenSet::new(AccessToken::new("a1")?, hour, SystemTime::now());
//! #     Ok(tokens.with_value("realm_id", "42"))
//! # })).origin("https://api.example.com").build()?;
//! let http = tower::service_fn(|mut request: Request<Full<Bytes>>| async move {
//!     let values = request.extensions().get::<KeptValues>();
//!     let realm = values.and_then(|values| values.get("realm_id")).unwrap_or_default();
//!     let uri = format!("https://api.example.com/v3/company/{realm}{}", request.uri().path());
//!     *request.uri_mut() = uri.parse().unwrap();
//! #   assert_eq!(request.uri().path(), "/v3/company/42/invoices");
//! #   Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
//!     // … call the HTTP client …
//! });
//! let api = BearerAuthLayer::new(tokens).layer(http);
//! let request = Request::get("https://api.example.com/invoices").body(Full::default())?;
//! api.oneshot(request).await?;
//! # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
//! ```
//!
//! Such a service must not change the origin of the URI, because the layer has checked it. A grant
//! without values costs nothing: nothing is put into the extensions.
//! [`TokenCache::values`](crate::cache::TokenCache::values) and
//! [`Tenants::values`](crate::tenants::Tenants::values) return the values without a request.
//!
//! # The header of the token
//!
//! The token is sent as `Authorization: Bearer <token>` (RFC 6750 section 2.1), unless the
//! provider's data [name another header](crate::provider::ProviderBuilder::token_header) or scheme,
//! such as `X-Shopify-Access-Token: <token>` or `Authorization: Zoho-oauthtoken <token>`. The layer
//! treats each such header in the same way. Its value is marked sensitive.
//!
//! A token that is bound to a key by [DPoP](crate::dpop) is sent as `Authorization: DPoP <token>`,
//! with a proof for each attempt in the header `DPoP`.
//!
//! HTTP clients are different. A client that follows redirects removes `Authorization` where it
//! follows one to another server, but not a header that it does not know. With such a header, the
//! HTTP client inside the layer must not follow redirects.
//!
//! # gRPC
//!
//! A gRPC server rejects a token by the status `UNAUTHENTICATED` in a response with the HTTP status
//! 200. With the classifier [`GrpcStatus`], a call recovers from it as from a 401:
//!
//! ```
//! # use std::{convert::Infallible, time::{Duration, SystemTime}};
//! # use bytes::Bytes;
//! # use http::{Request, Response};
//! # use http_body_util::Full;
//! # use tower::{Layer, ServiceExt};
//! # use tower_oauth2_client::{cache::{TokenCache, token_fn}, token::{AccessToken, TokenSet}};
//! use tower_oauth2_client::bearer::{BearerAuthLayer, GrpcStatus};
//!
//! # tokio_test::block_on(async {
//! # static PASSED: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
//! # #[derive(Debug)] struct Later;
//! # impl tower_oauth2_client::clock::Clock for Later {
//! #     fn wall(&self) -> SystemTime { SystemTime::now() }
//! #     fn monotonic(&self) -> std::time::Instant {
//! #         let passed = PASSED.load(std::sync::atomic::Ordering::SeqCst);
//! #         std::time::Instant::now() + Duration::from_secs(passed)
//! #     }
//! # }
//! # let number = std::sync::atomic::AtomicUsize::new(1);
//! # let tokens = TokenCache::builder(token_fn(move || {
//! #     let number = number.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
//! #     async move {
//! #         let token = AccessToken::new(format!("a{number}"))?;
//! #         Ok(TokenSet::new(token, Duration::from_secs(3_600), SystemTime::now()))
//! #     }
//! # })).clock(Later).origin("https://grpc.example.com").build()?;
//! # tokens.token().await?;
//! # PASSED.store(10, std::sync::atomic::Ordering::SeqCst);
//! // In a program this is a `tonic::transport::Channel`.
//! let channel = tower::service_fn(|request: Request<Full<Bytes>>| async move {
//!     let is_expired = request.headers()["authorization"] == "Bearer a1";
//!     let status = if is_expired { "16" } else { "0" };
//!     let response = Response::builder().header("grpc-status", status);
//!     Ok::<_, Infallible>(response.body(Full::<Bytes>::default()).unwrap())
//! });
//! let api = BearerAuthLayer::new(tokens).classifier(GrpcStatus::new()).layer(channel);
//!
//! let call = Request::post("https://grpc.example.com/echo.Echo/Say").body(Full::default())?;
//! assert_eq!(api.oneshot(call).await?.headers()["grpc-status"], "0");
//! # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
//! ```
//!
//! * The status is in the head, or in trailers without a message before them: the call is retried,
//!   if its whole request was sent. For that, the layer waits for the first message or the trailers
//!   for up to 100 milliseconds after the head.
//! * The status comes later, as at the end of a stream: the caller gets it, because the messages
//!   before it may have been used. The token is refreshed for the next calls.
//! * A tonic channel has a body type of its own: put `.map_request` between the layer and the
//!   channel, which turns a [`ReplayBody`] into a `tonic::body::Body` by `tonic::body::Body::new`.
//!   Create the client `with_origin`, because the layer rejects a request whose URI names no
//!   origin.
//!
//! # Order of layers
//!
//! Put layers that concern the whole call outside this layer. Put layers that concern a single
//! request to the API inside it. In a `ServiceBuilder` the first layer is the outermost.
//!
//! | layer | where | why |
//! | --- | --- | --- |
//! | `tower_http::trace` | outside for calls, inside for requests | the token is marked sensitive, so the trace layer does not log it in either position |
//! | `tower_http::sensitive_headers` | outside | headers that it marks stay marked in the retry |
//! | `tower::timeout` of a call | outside | it also limits the wait for a token; the refresh goes on without the caller |
//! | `tower::retry` | outside | it repeats whole calls; it must not act on a 401 |
//! | `tower_http::follow_redirect` | outside | each hop is checked against the token's origins |
//! | `tower_http::decompression` | either | inside, the limit of 64 KiB for the body of a 401 applies to the decompressed data |
//! | **[`BearerAuthLayer`]** | | |
//! | `tower::buffer`, `tower::limit`, `tower::load_shed` | inside | a request that waits for a token uses none of their capacity |
//! | `tower::timeout` of one attempt | inside | the wait for a token does not count, and the retry has the full time |
//! | the HTTP client | innermost | it must not follow redirects itself: they would not be checked, and a 401 from another server would cause refreshes, unless a [`ResponseUri`] names that server |
//!
//! # Requirements on the inner service
//!
//! The inner service must be `Clone`. The layer calls a clone for a retry, and for a request that
//! waited for a token. Clones must be equivalent, as tower expects of all services. Put a service
//! that is not `Clone` into `tower::buffer`:
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
//! The error of the inner service must convert into a `Box<dyn Error + Send + Sync>`, as the errors
//! of all common clients do. This error becomes the source of an [`Error`](crate::Error) of the
//! kind [`Service`](crate::ErrorKind::Service).
//!
//! # Runtime
//!
//! Call the service and poll its futures inside a tokio runtime with time enabled. Outside of a
//! runtime, a request without a valid token fails with the kind
//! [`Interrupted`](crate::ErrorKind::Interrupted).

mod body;
mod challenge;
mod classify;
mod future;
mod guard;
mod layer;
mod policy;
mod read_ahead;
mod replay;
mod request_head;
mod response_uri;
mod service;
mod shared;
mod time_limit;
mod token_provider;
mod trailers;

pub use self::{
    body::{ReplayBody, RequestBody, ResponseBody},
    classify::{Classified, ClassifyResponse, GrpcStatus},
    future::ResponseFuture,
    layer::BearerAuthLayer,
    policy::{CrossOrigin, ReplayLimit},
    response_uri::ResponseUri,
    service::BearerAuth,
    token_provider::TokenProvider,
};
