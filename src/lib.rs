//! Tower middleware that makes outbound HTTP requests authenticated, and keeps them so for months without a human.
//!
//! A **layer** puts a bearer token on each request and recovers once from a 401 ([`bearer`]). It reads the token from a
//! **cache** that one refresh at a time keeps fresh ([`cache`]). A refresh runs an **OAuth** exchange ([`oauth`]) and
//! rests in a durable **store** before anyone uses it ([`store`]). **Many** customers' grants live side by side
//! ([`tenants`]). **Customers** connect in a browser ([`connect`]). **Justworks** is the first provider, as data
//! ([`provider`]). A **sandbox** provider runs on loopback for examples, tests and users' own tests ([`sandbox`]).
//!
//! ```
//! # use bytes::Bytes;
//! # use http_body_util::Empty;
//! # use tower::ServiceBuilder;
//! use tower_oauth2_client::{
//!     bearer::{BearerAuthLayer, ReplayBody},
//!     cache::TokenCache,
//!     oauth::OAuthClient,
//!     provider,
//!     store::FileStore,
//! };
//!
//! # use std::convert::Infallible;
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("grants");
//! # let http = tower::service_fn(|_: http::Request<ReplayBody<http_body_util::Full<Bytes>>>| async {
//! #     Ok::<_, Infallible>(http::Response::new(Empty::<Bytes>::new()))
//! # });
//! // `http` is any tower service of `http::Request`, such as a hyper-util client.
//! let oauth = OAuthClient::builder(provider::justworks(), "client-id")
//!     .client_secret("client-secret")
//!     .redirect_uri("https://partner.example.com/callback")
//!     .build(http.clone())?;
//! let tokens = TokenCache::builder(oauth.clone())
//!     .store(FileStore::open(&path)?)
//!     .tenant("customer-1")
//!     .build()?;
//! let api = ServiceBuilder::new()
//!     .layer(BearerAuthLayer::new(tokens.clone()))
//!     .service(http);
//!
//! // Once per customer: redirect the browser to `url`, and wait until it comes back with `callback`.
//! let (url, pending) = oauth.authorization_url()?;
//! # let (_, _, callback) = (api, url, "");
//! # async move {
//! tokens.complete_authorization(&oauth, &pending, callback).await?;
//! # Ok::<(), tower_oauth2_client::Error>(()) };
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Each module's page teaches its part. What is promised, and where it is tested, stands in [`guarantees`]; what it costs, in
//! [`performance`].
#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(
    not(all(
        feature = "axum",
        feature = "conformance",
        feature = "encryption",
        feature = "postgres",
        feature = "redis",
        feature = "reqwest-middleware",
        feature = "sandbox"
    )),
    allow(rustdoc::broken_intra_doc_links, reason = "these parts are features")
)]
// Not in Cargo.toml, where it would hold for tests and examples too: those may fail.
#![cfg_attr(not(test), deny(clippy::expect_used, clippy::unwrap_used))]

#[cfg(feature = "axum")]
mod axum;
pub mod bearer;
pub mod cache;
pub mod clock;
#[cfg(feature = "axum")]
pub mod connect;
pub mod error;
mod first;
pub mod guarantees;
pub mod oauth;
mod origin;
pub mod performance;
pub mod provider;
#[cfg(feature = "reqwest")]
pub mod reqwest;
#[cfg(feature = "sandbox")]
pub mod sandbox;
pub mod store;
pub mod telemetry;
pub mod tenants;
pub mod token;

pub use self::{
    error::{Error, ErrorKind, OAuthErrorCode},
    origin::Origin,
};
