//! The grants of many tenants behind one layer.
//!
//! A tenant is a customer whose data the program accesses. [`Tenants`] manages one
//! [grant](crate::guide::glossary) per tenant. A request names its tenant with a
//! [`TenantId`](crate::token::TenantId) in its extensions, and the
//! [`BearerAuthLayer`](crate::bearer::BearerAuthLayer) adds that tenant's token:
//!
//! ```
//! # use std::{convert::Infallible, time::{Duration, SystemTime}};
//! # use bytes::Bytes;
//! # use http::{Request, Response};
//! # use http_body_util::Empty;
//! # use tower::{Service, ServiceBuilder, ServiceExt};
//! # use tower_oauth2_client::{Error, cache::token_fn, token::{AccessToken, TokenSet}};
//! use tower_oauth2_client::{
//!     bearer::BearerAuthLayer, store::MemoryStore, tenants::Tenants, token::TenantId,
//! };
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let oauth = token_fn(|| async { Err::<TokenSet, _>(Error::invalid_grant()) });
//! # let set = |token| {
//! #     let hour = Duration::from_secs(3_600);
//! #     Ok::<_, Error>(TokenSet::new(AccessToken::new(token)?, hour, SystemTime::now()))
//! # };
//! # let http = tower::service_fn(|request: Request<Empty<Bytes>>| async move {
//! #     let token = request.headers()["authorization"].clone();
//! #     let response = Response::builder().header("seen", token);
//! #     Ok::<_, Infallible>(response.body(Empty::<Bytes>::new()).unwrap())
//! # });
//! // `oauth` is an `OAuthClient`, and `http` an HTTP client.
//! let tenants = Tenants::builder(oauth)
//!     .store(MemoryStore::new())
//!     .origin("https://api.example.com")
//!     .build()?;
//! let mut api = ServiceBuilder::new()
//!     .layer(BearerAuthLayer::new(tenants.clone()))
//!     .service(http);
//!
//! // Two customers consent. `complete_authorization` would get these token sets.
//! let (acme, initech) = (TenantId::new("acme")?, TenantId::new("initech")?);
//! # let (acmes_tokens, initechs_tokens) = (set("a1")?, set("i1")?);
//! tenants.set_tokens(&acme, acmes_tokens).await?;
//! tenants.set_tokens(&initech, initechs_tokens).await?;
//!
//! // Each request is sent with the token of its tenant.
//! for (tenant, token) in [(acme, "Bearer a1"), (initech, "Bearer i1")] {
//!     let request = Request::get("https://api.example.com/v1/company")
//!         .extension(tenant)
//!         .body(Empty::new())?;
//!     let response = api.ready().await?.call(request).await?;
//!     assert_eq!(response.headers()["seen"], token); // `http` returns the token that it saw
//! }
//!
//! // A request without a tenant is not sent.
//! let unnamed = Request::get("https://api.example.com/v1/company").body(Empty::new())?;
//! assert!(api.ready().await?.call(unnamed).await.is_err());
//! # Ok(()) }
//! ```
//!
//! The customers of some providers have hosts of their own. The layer sends a token only to those
//! of its own grant; see [addresses per tenant](crate::bearer#addresses-per-tenant).
//! [`Tenants::values`] returns what is kept with a grant, to build the URIs of requests.
//!
//! # Adding and removing tenants
//!
//! A tenant exists as soon as its tokens are saved: by [`Tenants::complete_authorization`], which
//! takes the callback of a browser, or by [`Tenants::set_tokens`]. In an axum application,
//! the routes of [`connect`](crate::connect) handle the consent and save the tokens.
//! [`Tenants::revoke`] ends a grant. All of this works in any replica that shares the store.
//!
//! For a tenant without a grant, requests fail with [`NoGrant`](crate::ErrorKind::NoGrant). The
//! result is remembered for one second, so that such requests do not flood the store.
//!
//! # Resident tenants
//!
//! The first request of a tenant loads its grant from the store. From then on the tenant is
//! *resident*: requests find its cache without a lock. A background task refreshes a
//! token that requests use before it expires; see [`cache`](crate::cache). A slow load or refresh
//! delays no other tenant.
//!
//! A tenant is evicted after [1 hour](TenantsBuilder::idle_after) without a request. At most
//! [100,000](TenantsBuilder::capacity) tenants are resident. At that limit, a load evicts a tenant
//! that is not in use, and prefers one without recent requests. If the load finds none, it fails
//! with [`Unavailable`](crate::ErrorKind::Unavailable).
//!
//! A tenant is *in use*, and never evicted, while it has unsaved tokens, a request or refresh in
//! flight, or a handle from [`Tenants::cache`], and for 24 hours after a revocation that the
//! provider has not confirmed. A new consent exceeds the limit if every resident tenant is in use:
//! its code cannot be used again. A consent that fails, or a request for a tenant without a grant,
//! evicts none.
//!
//! # Idle tenants
//!
//! A refresh token expires if it is not used. The grant of a tenant without requests is *idle*: no
//! request causes its refresh. A *sweep* refreshes idle grants before their refresh tokens expire,
//! if the [lifetime](TenantsBuilder::refresh_token_lifetime) of refresh tokens is known.
//!
//! One of the processes that share a store and a client makes the sweeps, the next one [1
//! hour](TenantsBuilder::sweep_interval) after the end of the last. A process that cannot do the
//! whole work hands over to another one: it has no key for a grant, it cannot write to the store,
//! or its client secret was rejected. A sweep checks all tenants in the store, and skips the grants
//! of [other clients](crate::store#several-clients). A grant is due once two thirds of the refresh
//! token's lifetime have passed since the last refresh. The sweep starts at most one refresh per
//! second, with the grants that expire first. This rate is fixed, so a sweep of many due grants can
//! take hours.
//!
//! In the process that made the sweep, [`Tenants::last_sweep`] returns the report, including the
//! grants that expire soon. If a process ends during a sweep, another process starts a new one,
//! which refreshes the grants that are still due.
//!
//! # Limits at the provider
//!
//! All tenants of one [`OAuthClient`](crate::oauth::OAuthClient) share its
//! [`EndpointGate`](crate::oauth::EndpointGate): a limiter and a circuit breaker for the token
//! endpoint. They keep a hundred thousand tenants from sending requests at the same time after a
//! restart, an outage or a change of the client secret. A tenant whose grant keeps failing does not
//! delay the others.

mod background;
mod builder;
mod consents;
mod follow;
mod handle;
mod health;
mod loading;
mod loads;
mod maintenance;
mod resident_caches;
mod state;
mod sweep;
mod sweep_failures;
mod sweep_report;

#[cfg(feature = "axum")]
pub(crate) use self::consents::{Consent, InProgress};
pub use self::{
    builder::TenantsBuilder,
    handle::Tenants,
    health::{Health, StateCounts, StoreHealth},
    sweep_report::{ExpiringGrant, SweepReport},
};
