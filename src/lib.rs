//! Tower middleware that authenticates outbound HTTP requests with OAuth 2.0 and keeps each
//! customer's grant alive for months.
//!
//! A **layer** adds a bearer token to each request and retries once after a 401 ([`bearer`]). The
//! token comes from a **cache** that refreshes it in the background, one refresh at a time
//! ([`cache`]). A refresh is a token request ([`oauth`]), and each new token set is saved to a
//! durable **store** before any request uses it ([`store`]). The grants of **many tenants** share
//! one layer ([`tenants`]). Customers **connect** in a browser ([`connect`]). **Providers** are
//! data: Justworks, a catalogue of others, and your own files ([`provider`]). **Discovery** finds
//! one by its issuer ([`discovery`]), and for an **MCP** server the whole authorization is one
//! layer ([`mcp`]). **Keys** sign assertions ([`jose`]), and tokens can be bound to them
//! ([`dpop`]). A **sandbox** provider runs on loopback for examples and tests ([`sandbox`]).
//!
//! # Example
//!
//! ```
//! # use std::convert::Infallible;
//! # use bytes::Bytes;
//! # use http::{Request, Response};
//! # use http_body_util::Full;
//! # use tower::ServiceBuilder;
//! use std::time::Duration;
//!
//! use tower_oauth2_client::{
//!     bearer::BearerAuthLayer,
//!     cache::TokenCache,
//!     oauth::OAuthClient,
//!     provider,
//!     store::FileStore,
//! };
//!
//! # let directory = tempfile::tempdir()?;
//! # let path = directory.path().join("grants");
//! # let http = tower::service_fn(|_: Request<Full<Bytes>>| async {
//! #     Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
//! # });
//! // `http` is any Tower service of `http::Request`, such as a hyper-util client.
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
//! // Once per customer: redirect the browser to `url`.
//! let (url, pending) = oauth.authorization_url()?;
//! # let (_, _, callback) = (api, url, "");
//! # async move {
//! // It returns to the redirect URI; `callback` is the URI of that request.
//! tokens.complete_authorization(&oauth, &pending, callback).await?;
//!
//! // Before the program ends: the response to a refresh in flight contains the next refresh token.
//! tokens.shutdown(Duration::from_secs(90)).await?;
//! # Ok::<(), tower_oauth2_client::Error>(()) };
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! From then on each request through `api` carries a valid token. The token is refreshed in the
//! background before it expires, and the grant survives restarts.
//!
//! # Where to start
//!
//! The [`guide`] is a book: from [the first request](guide::getting_started) over [many
//! customers](guide::many_customers) to [production](guide::production), with a page for
//! [troubleshooting](guide::troubleshooting). The pages of the modules are the reference:
//!
//! | to | read |
//! | --- | --- |
//! | put the layer around an HTTP client, and order it among other layers | [`bearer`] |
//! | understand when a token is refreshed, or implement a [`TokenSource`](cache::TokenSource) | [`cache`] |
//! | obtain a customer's first token set | [`oauth`], or [`connect`] for an axum application |
//! | serve many customers through one layer | [`tenants`] |
//! | choose a store, encrypt it, or implement a [`TokenStore`](store::TokenStore) | [`store`] |
//! | call an MCP server | [`mcp`] |
//! | use a provider of the catalogue, or describe another one | [`provider`], [`guide::providers`] |
//! | name an issuer instead of endpoints | [`discovery`] |
//! | bind tokens to a key, so that a stolen token is useless | [`dpop`] |
//! | react to a grant that ends, or collect metrics | [`telemetry`] |
//! | watch the grants in Grafana, and choose alerts | [`guide::operations`] |
//! | find out why something fails, or does not compile | [`guide::troubleshooting`], [errors and statuses](guide::troubleshooting#errors-and-statuses) |
//! | know when token requests pause | [limiter and circuit breaker](oauth#limiter-and-circuit-breaker) |
//! | test without network or credentials | [`sandbox`] |
//!
//! [`guide::guarantees`] lists what the crate promises, each promise with the number that its tests
//! carry. [`guide::deployment`] is about TLS, proxies and failovers of databases,
//! [`guide::performance`] has the measurements, and [`guide::glossary`] defines the terms.
//!
//! # HTTP clients
//!
//! The HTTP client must not follow redirects. Otherwise it could send the token, or the client
//! secret, to any server that a response names, and a 401 of that server would cause refreshes.
//! This crate cannot detect that in a service of another crate. The client of hyper-util follows
//! none, and [`ReqwestClient`](reqwest::ReqwestClient) builds a reqwest client that follows none.
//! To follow redirects of the API, put `tower_http::follow_redirect` outside the layer, which then
//! checks each hop. Token requests need [a connection each](oauth#the-http-client).
//!
//! # Features
//!
//! No feature is on by default.
//!
//! | feature | what it adds |
//! | --- | --- |
//! | `axum` | [`connect`]: a router with which customers connect in a browser; errors as axum responses |
//! | `conformance` | [`store_conformance_tests!`](store_conformance_tests): tests that hold your own store to its contract |
//! | `dpop` | [`dpop`]: tokens that are bound to a key (RFC 9449) |
//! | `encryption` | [`EncryptedStore`](store::EncryptedStore): encrypts the tokens in any store |
//! | `mcp` | [`mcp`]: authorization of MCP clients, with discovery, registration and step-up |
//! | `metrics` | counters, gauges and histograms through the `metrics` facade |
//! | `postgres` | [`PostgresStore`](store::PostgresStore): grants in PostgreSQL, on your own `sqlx::PgPool` |
//! | `redis` | [`RedisStore`](store::RedisStore): grants in Redis or Valkey |
//! | `reqwest` | [`ReqwestClient`](reqwest::ReqwestClient): a reqwest client as the HTTP client |
//! | `reqwest-middleware` | the layer as a middleware of `reqwest-middleware` |
//! | `sandbox` | [`sandbox`]: a provider on loopback, for examples and tests |
//! | `signing` | [`SigningKey`](jose::SigningKey): RSA, ECDSA and Ed25519 keys as signers |
//!
//! The crate runs on tokio.
#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(
    not(all(
        feature = "axum",
        feature = "conformance",
        feature = "dpop",
        feature = "encryption",
        feature = "mcp",
        feature = "metrics",
        feature = "postgres",
        feature = "redis",
        feature = "reqwest-middleware",
        feature = "sandbox",
        feature = "signing"
    )),
    allow(
        rustdoc::broken_intra_doc_links,
        rustdoc::private_doc_tests,
        rustdoc::private_intra_doc_links,
        reason = "the modules of other features"
    )
)]
// Not in Cargo.toml, because tests and examples may panic.
#![cfg_attr(
    not(test),
    deny(
        clippy::arithmetic_side_effects,
        clippy::expect_used,
        clippy::unwrap_used
    )
)]

#[cfg(feature = "axum")]
mod axum;
pub mod bearer;
pub mod cache;
mod caught;
pub mod clock;
#[cfg(feature = "axum")]
pub mod connect;
pub mod discovery;
#[cfg(feature = "dpop")]
pub mod dpop;
#[cfg(not(feature = "dpop"))]
mod dpop;
pub mod error;
pub mod guide;
pub mod jose;
mod later;
#[cfg(feature = "mcp")]
pub mod mcp;
pub mod oauth;
mod origin;
pub mod provider;
mod rejection;
#[cfg(feature = "reqwest")]
pub mod reqwest;
mod rfc3339;
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
