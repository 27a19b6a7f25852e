//! Adapters for reqwest (feature `reqwest`) and reqwest-middleware (feature `reqwest-middleware`).
//!
//! [`ReqwestClient`] makes a tower service of a reqwest client, for a
//! [`BearerAuthLayer`](crate::bearer::BearerAuthLayer). An
//! [`OAuthClient`](crate::oauth::OAuthClient) has a client of its own, with a connection for each
//! token request:
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use tower::Layer;
//! use tower_oauth2_client::{
//!     bearer::BearerAuthLayer, cache::TokenCache, oauth::OAuthClient, provider,
//!     reqwest::ReqwestClient,
//! };
//!
//! let oauth = OAuthClient::builder(provider::justworks(), "client-id")
//!     .client_secret("client-secret")
//!     .build_with_reqwest(reqwest::Client::builder())?;
//! let tokens = TokenCache::builder(oauth).build()?;
//! let http = ReqwestClient::new(reqwest::Client::builder())?;
//! let api = BearerAuthLayer::new(tokens).layer(http);
//! # let _ = api;
//! # Ok(()) }
//! ```
//!
//! `api` takes an `http::Request<reqwest::Body>`, and its response converts into a
//! [`reqwest::Response`].
//!
//! # With reqwest-middleware
//!
//! With the feature `reqwest-middleware`, a [`BearerAuthLayer`](crate::bearer::BearerAuthLayer) is
//! a [`reqwest_middleware::Middleware`] too, with all its settings. Requests are then built and
//! sent as reqwest users are used to:
//!
//! ```
//! # #[cfg(feature = "reqwest-middleware")]
//! # use tower_oauth2_client::cache::TokenCache;
//! # fn client(tokens: TokenCache) -> Result<(), Box<dyn std::error::Error>> {
//! use reqwest_middleware::ClientBuilder;
//! use tower_oauth2_client::{bearer::BearerAuthLayer, reqwest::ReqwestClient};
//!
//! let http = ReqwestClient::new(reqwest::Client::builder())?;
//! let api = ClientBuilder::new(http.into_inner())
//!     .with(BearerAuthLayer::new(tokens))
//!     .build();
//! let request = api.get("https://api.example.com/v1/company");
//! # let _ = request;
//! # Ok(()) }
//! ```
//!
//! Middlewares inside the layer see each attempt, with a body in memory as it was. A timeout of the
//! request, set by `.timeout(..)`, holds for one attempt; the wait for a token does not count.
//!
//! Build the client by [`ReqwestClient`], as above: it follows no redirects. A client that follows
//! them can send the token to another server. It removes the header at the first redirect to that
//! server, but reqwest up to 0.13 adds it again at the next redirect there, and it does not remove
//! another [header](crate::bearer#the-header-of-the-token) than `Authorization`. The layer ignores
//! a 401 of another server, but not one of the same server after redirects over another one.
//!
//! A request of one of many tenants names it with `.with_extension(TenantId)`. Inner middlewares
//! find its [kept values](crate::bearer#kept-values) in their extensions. Errors of this crate
//! arrive as [`reqwest_middleware::Error::Middleware`] and downcast to [`Error`](crate::Error);
//! errors of reqwest and of inner middlewares arrive unchanged.

mod client;
#[cfg(feature = "reqwest-middleware")]
mod middleware;

pub use self::client::ReqwestClient;
