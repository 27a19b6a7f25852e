//! What is told of all this: events, a span, metrics, and a listener for what somebody should act on.
//!
//! All names here are stable. None of them ever comes with a secret; the tenant comes with them only if the cache was
//! [built to say it](crate::cache::TokenCacheBuilder::record_tenant), since a customer's name is nobody else's business, and
//! a label with a hundred thousand values is a cost.
//!
//! # For somebody to act on
//!
//! A [`GrantListener`] hears of what a program, or a person, has to do something about:
//!
//! ```
//! # use std::time::{Duration, SystemTime};
//! # use tower_oauth2_client::{Error, cache::{TokenCache, token_fn}, token::{AccessToken, Generation, TokenSet}};
//! use std::sync::{Arc, Mutex};
//! use tower_oauth2_client::{
//!     telemetry::GrantListener,
//!     token::{ReauthorizationReason, TenantId},
//! };
//!
//! /// Who has to be asked for consent again. In a program: a row, a mail, a page.
//! #[derive(Clone, Default)]
//! struct ToAsk(Arc<Mutex<Vec<String>>>);
//!
//! impl GrantListener for ToAsk {
//!     fn reauthorization_required(&self, tenant: &TenantId, _: ReauthorizationReason) {
//!         self.0.lock().unwrap().push(tenant.to_string());
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Error> {
//! # let issuer = token_fn(|| async { Err::<TokenSet, _>(Error::invalid_grant()) });
//! # let first = TokenSet::new(AccessToken::new("a1")?, Duration::from_secs(60), SystemTime::now());
//! let to_ask = ToAsk::default();
//! let tokens = TokenCache::builder(issuer)
//!     .origin("https://api.example.com")
//!     .tenant("acme")
//!     .listener(to_ask.clone())
//!     .build()?;
//! # tokens.set_tokens(first).await?;
//! // … the customer disconnects the application at the provider …
//! assert!(tokens.refresh_now().await.is_err());
//! assert_eq!(*to_ask.0.lock().unwrap(), ["acme"]);
//! # Ok(()) }
//! ```
//!
//! # Events
//!
//! Of the [`tracing`] crate, with the target `tower_oauth2_client`. Those of a grant have a field `tenant` if asked for.
//!
//! | name | level | fields | when |
//! | --- | --- | --- | --- |
//! | `token.refreshed` | debug | `generation`, `lifetime_seconds` | a new token set is stored, and used from here on |
//! | `token.adopted` | debug | `generation` | what another replica, or an earlier process, has stored was taken over; also after `replace` |
//! | `token.invalidated` | debug | `generation` | the program has declared the held token useless |
//! | `exchange.failed` | warn | `cause`, `kind`, `error` | no new token, and why |
//! | `exchange.response_lost` | warn | `error`, `is_replayed` | a request was sent and its answer lost; whether the same refresh token is now sent once more |
//! | `grant.reauthorization_required` | warn | `reason` | the provider has ended the grant: the customer has to consent again |
//! | `grant.replaced` | info | `generation` | a new consent has begun |
//! | `grant.revoked` | info | | the grant was ended on purpose, here |
//! | `refresh_token.expiring` | warn | `days_left` | 7, 3 and 1 days before the refresh token ends |
//! | `store.save_failed` | error | `error`, `unsaved_seconds` | a new token set, or an end, is known to this process only; saving goes on |
//! | `clock.corrected` | debug | `seconds` | the wall clock is ahead of the monotonic one, as after a suspend: the token ends earlier |
//! | `endpoint.clocks_differ` | warn | `skew_seconds` | the token endpoint's `Date` is over 30 seconds off |
//! | `endpoint.lifetime_unknown` | warn | `lifetime_seconds` | an answer named no lifetime that is understood: this one is assumed |
//! | `endpoint.circuit_opened` | warn | `seconds`, `error` | no exchanges for so long |
//! | `endpoint.circuit_closed` | info | | exchanges are made again |
//! | `sweep.finished` | info | `active`, `ended`, `unreadable`, `kept_alive`, `failed`, `expiring`, `seconds` | all [`Tenants`](crate::tenants::Tenants) in the store were looked through, and those kept alive who were due |
//! | `sweep.failed` | warn | `error` | the same did not come to its end, and is tried again after five minutes |
//! | `connect.failed` | warn | `kind`, `error` | a customer was not [connected](crate::connect), or the provider could not be told that they have disconnected |
//! | `connect.refused` | debug | `kind` | the same, where a browser asked for what cannot be done |
//!
//! # Span
//!
//! | name | level | fields | what it is around |
//! | --- | --- | --- | --- |
//! | `token.exchange` | debug | `cause`, `tenant` if asked for | an exchange's task, from the look into the store to the save. It has no parent, and follows from the span of whoever set it off |
//!
//! # Metrics
//!
//! Of the [`metrics`](https://docs.rs/metrics) facade, with the feature `metrics`. Gauges of one grant are set only with the tenant's label: without it,
//! grants would overwrite each other's.
//!
//! | name | sort | labels | what it is |
//! | --- | --- | --- | --- |
//! | `tower_oauth2_client_exchanges_total` | counter | `cause`, `outcome` | exchanges and looks into the store before them, by what brought them and what came of them |
//! | `tower_oauth2_client_exchange_seconds` | histogram | `outcome` | how long each took, store included |
//! | `tower_oauth2_client_unauthorized_total` | counter | `answer` | 401s that speak of the token: `newer` was there, `renewed` or `none` |
//! | `tower_oauth2_client_save_failures_total` | counter | | saves that failed and are tried again |
//! | `tower_oauth2_client_reauthorizations_total` | counter | `reason` | grants that have ended at the provider |
//! | `tower_oauth2_client_circuit_open` | gauge | | 1 from when a token endpoint is left alone until an exchange succeeds again |
//! | `tower_oauth2_client_clock_skew_seconds` | gauge | | how far the token endpoint's `Date` was off last time |
//! | `tower_oauth2_client_access_token_seconds_left` | gauge | `tenant` | as of the last look, at least every 30 seconds while the token lives |
//! | `tower_oauth2_client_refresh_token_days_left` | gauge | `tenant` | the same, where the refresh token's life is known |
//! | `tower_oauth2_client_grants` | gauge | `state` | how many tenants' grants are `active`, `ended` or `unreadable`, as of the last sweep of this process |
//! | `tower_oauth2_client_grants_running_out` | gauge | | of how many of them the refresh token ends within seven days |
//!
//! `cause` is one of `advisory` (ahead of time), `mandatory` (about to expire), `expired` (or not there), `unauthorized` (a 401),
//! `manual` (`refresh_now`), `keepalive` (an idle grant), `lost_response` (that of an exchange begun a moment ago). `outcome` is one of `refreshed`, `adopted` (nothing was sent),
//! `failed` (may pass), `lost` (the answer was), `held_back` (an earlier answer was lost, and nothing is sent while the access token
//! serves), `ended` (reauthorization required or revoked).

#[cfg(feature = "axum")]
mod connect;
mod endpoint;
mod fleet;
mod grant;
mod listener;
mod metric;

#[cfg(feature = "axum")]
pub(crate) use self::connect::connect_failed;
pub use self::listener::GrantListener;
pub(crate) use self::{
    endpoint::{
        clock_skew, clocks_differ, endpoint_circuit_closed, endpoint_circuit_open, lifetime_unknown,
    },
    fleet::{sweep_failed, swept},
    grant::{Audience, Telemetry},
};

/// What a 401 found.
#[derive(Clone, Copy)]
pub(crate) enum Unauthorized {
    Newer,
    Renewed,
    Nothing,
}
