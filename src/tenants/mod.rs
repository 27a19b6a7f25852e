//! The grants of many tenants behind one layer.
//!
//! [`Tenants`] manages one grant per tenant: a customer whose data the program accesses. A request
//! names its tenant with a [`TenantId`](crate::token::TenantId) in its extensions, and the
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
//! # Adding and removing tenants
//!
//! A tenant exists as soon as its tokens are saved: by [`Tenants::complete_authorization`], which
//! takes the callback of a browser, or by [`Tenants::set_tokens`]. In an axum application,
//! [`connect`](crate::connect) does this. [`Tenants::revoke`] ends a grant. All of this works in
//! any replica that shares the store.
//!
//! For a tenant without a grant, requests fail with [`NoGrant`](crate::ErrorKind::NoGrant). The
//! result is remembered for one second, so that such requests do not flood the store.
//!
//! # Resident tenants
//!
//! The first request of a tenant loads its grant from the store. From then on the tenant is
//! *resident*: requests find its cache without a lock, and a background task maintains it as
//! described in [`cache`](crate::cache), so that tokens in use are refreshed before they expire. A
//! slow load or refresh delays no other tenant.
//!
//! A tenant is evicted after [1 hour](TenantsBuilder::idle_after) without a request. At most
//! [100,000](TenantsBuilder::capacity) tenants are resident; to load one more, a tenant that was
//! not used recently is evicted. A tenant is never evicted while it has unsaved tokens, a refresh
//! in flight, or a handle from [`Tenants::cache`].
//!
//! # Idle tenants
//!
//! A refresh token expires if it is not used. A *sweep* therefore keeps the grants of idle tenants
//! alive. Every [hour](TenantsBuilder::sweep_interval), one of the processes that share a store
//! checks all tenants in it, and refreshes each grant whose last refresh was two thirds of the
//! refresh token's lifetime ago. It makes one refresh per second, and starts with the grants that
//! expire first.
//!
//! [`Tenants::last_sweep`] returns the result, including the grants that expire soon. If a process
//! ends during a sweep, another one continues it.
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
mod handle;
mod loading;
mod loads;
mod maintenance;
mod resident_caches;
mod state;
mod sweep;
mod sweep_report;

pub use self::{
    builder::TenantsBuilder,
    handle::Tenants,
    sweep_report::{ExpiringGrant, SweepReport},
};
