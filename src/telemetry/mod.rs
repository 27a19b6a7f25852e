//! Events, a span, metrics, and a listener for what a program has to act on.
//!
//! All names on this page are stable. None of them ever carries a secret. The tenant is recorded
//! only [on request](crate::cache::TokenCacheBuilder::record_tenant): it identifies a customer, and
//! a label with a hundred thousand values is expensive.
//!
//! # Listener
//!
//! A program implements [`GrantListener`] to act on changes of a grant, for example to ask a
//! customer for consent again:
//!
//! ```
//! # use std::time::{Duration, SystemTime};
//! # use tower_oauth2_client::{
//! #     Error, cache::{TokenCache, token_fn}, token::{AccessToken, Generation, TokenSet},
//! # };
//! use std::sync::{Arc, Mutex};
//! use tower_oauth2_client::{
//!     telemetry::GrantListener,
//!     token::{ReauthorizationReason, TenantId},
//! };
//!
//! /// The customers to ask for consent. A real program would write to a database or send an email.
//! #[derive(Clone, Default)]
//! struct ConsentQueue(Arc<Mutex<Vec<String>>>);
//!
//! impl GrantListener for ConsentQueue {
//!     fn reauthorization_required(&self, tenant: &TenantId, _: ReauthorizationReason) {
//!         self.0.lock().unwrap().push(tenant.to_string());
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Error> {
//! # let issuer = token_fn(|| async { Err::<TokenSet, _>(Error::invalid_grant()) });
//! # let minute = Duration::from_secs(60);
//! # let first = TokenSet::new(AccessToken::new("a1")?, minute, SystemTime::now());
//! let queue = ConsentQueue::default();
//! let tokens = TokenCache::builder(issuer)
//!     .origin("https://api.example.com")
//!     .tenant("acme")
//!     .listener(queue.clone())
//!     .build()?;
//! # tokens.set_tokens(first).await?;
//! // … the customer disconnects the application at the provider …
//! assert!(tokens.refresh_now().await.is_err());
//! assert_eq!(*queue.0.lock().unwrap(), ["acme"]);
//! # Ok(()) }
//! ```
//!
//! # Notifying once
//!
//! Each replica that uses a grant observes its end, and calls
//! [`reauthorization_required`](GrantListener::reauthorization_required). Only the replica that has
//! saved the end calls [`reauthorization_saved`](GrantListener::reauthorization_saved): send the
//! email there, and the customer gets one. [`connected`](GrantListener::connected) is called by the
//! replica that has saved the tokens of a new consent.
//!
//! Trouble of a token endpoint concerns all grants. An [`EndpointListener`] is registered where the
//! endpoint is, at the client, so that it is called once per process and not once per tenant:
//!
//! ```
//! # use tower_oauth2_client::{Error, oauth::OAuthClient, provider, token::TenantId};
//! # use http::{Request, Response};
//! # use http_body_util::Full;
//! # type Body = Full<bytes::Bytes>;
//! use tower_oauth2_client::{
//!     telemetry::{EndpointListener, GrantListener},
//!     token::ReauthorizationReason,
//! };
//!
//! struct Notify;
//!
//! impl GrantListener for Notify {
//!     fn reauthorization_saved(&self, tenant: &TenantId, _: ReauthorizationReason) {
//!         println!("email to {tenant}: please connect again");
//!     }
//! }
//!
//! impl EndpointListener for Notify {
//!     fn client_rejected(&self, endpoint: &str, error: &Error) {
//!         println!("alert: replace the client secret for {endpoint}: {error}");
//!     }
//! }
//!
//! # let http = tower::service_fn(|_: Request<Body>| async {
//! #     Ok::<_, std::io::Error>(Response::new(Body::default()))
//! # });
//! let oauth = OAuthClient::builder(provider::justworks(), "client-id")
//!     .client_secret("client-secret")
//!     .redirect_uri("https://app.example.com/callback")
//!     .endpoint_listener(Notify)
//!     .build::<_, Body, _>(http)?;
//! // The `listener` of a builder of `TokenCache` or `Tenants` is the `GrantListener`.
//! # Ok::<(), Error>(())
//! ```
//!
//! # Events
//!
//! Events of the [`tracing`] crate with the target `tower_oauth2_client`. The name of each is also
//! its field `event`, because formatters such as `tracing_subscriber::fmt` show fields only. Events
//! of one grant also have the field `tenant` if it is recorded.
//!
//! The level says what is to be done:
//!
//! | level | meaning |
//! | --- | --- |
//! | error | an operator must act now: the secret, the key or the store is wrong, or tokens are unsaved |
//! | warn | one customer or one endpoint is in trouble; perhaps it ends by itself |
//! | info | normal life: a customer connects, a store or an endpoint works again |
//! | debug | detail, and repetitions of what was reported |
//!
//! One fact is one line. A failure that lasts is reported when it begins, and its repetitions are
//! debug events: those of one grant until its next refresh, those of a token endpoint until its
//! circuit breaker closes, those of a store until it works, but once an hour. Where the level
//! depends on that, the table has the level of the report.
//!
//! The `error` contains the causes: the chain of sources, joined by `: `, without the tenant's name
//! unless it is recorded. The `endpoint` is the URL of the token endpoint without its query, if the
//! token source names one.
//!
//! | name | level | fields | emitted when |
//! | --- | --- | --- | --- |
//! | `token.refreshed` | debug | `generation`, `lifetime_seconds` if known | a new token set was saved; requests use it from now on |
//! | `token.adopted` | debug | `generation` | a token set was taken over from the store, where another replica, an earlier process or `set_tokens` saved it |
//! | `token.invalidated` | debug | `generation` | the program called `invalidate` |
//! | `token.rejected_again` | warn | `times`, `pause_seconds` | the API rejected the token of the last refresh that a 401 caused, and another one was made; for this long, no 401 causes a refresh |
//! | `token.expiry_corrected` | debug | `correction_seconds` | the wall clock has advanced further than the monotonic clock, as after a suspend, so the token expires earlier |
//! | `refresh.failed` | warn | `endpoint`, `reason`, `kind`, `error`, `provider_code` and `provider_message` if known | a refresh brought no new token. Debug if another event reports the cause: the end of the grant, an open circuit breaker, a rejected client, a failing store |
//! | `refresh.response_lost` | warn | `endpoint`, `kind`, `error`, `is_replayed` | a token request was sent and its response was lost; `is_replayed` says whether the same refresh token is now sent again |
//! | `refresh_token.expiring` | warn | `days_left` | 7, 3 and 1 days before the refresh token expires, if it could not be refreshed until then |
//! | `grant.installed` | info | `generation` | a customer connected: the tokens of a new consent were saved |
//! | `grant.consent_rejected` | warn | `by` | the tokens of a new consent were not saved: the `program` rejected it, has not decided by the `deadline`, or ended in a `panic` |
//! | `grant.refresh_token_missing` | warn | `decision` | a new consent brought no refresh token; the `decision` was to `reject` it because the stored grant has one, to `keep_refresh_token` of the stored grant, or to `replace` any grant by one without a refresh token |
//! | `grant.reauthorization_required` | warn | `endpoint`, `reason`, and `kind`, `error`, `provider_code` and `provider_message` of the refusal | the provider has ended the grant; the customer has to consent again. Info in a process that finds the end in the store, where another one has reported it |
//! | `grant.stuck` | warn | `endpoint`, `kind`, `error`, `attempts`, `failing_seconds`, `provider_code` and `provider_message` if known | the refreshes of the grant fail again and again, and the provider has not ended it: it is [stuck](crate::cache#stuck-grants) |
//! | `grant.recovered` | info | `failing_seconds` | a grant that was stuck has been refreshed, or replaced by a new consent |
//! | `grant.revoked` | info | | the program revoked the grant |
//! | `store.load_failed` | error | `kind`, `error` | the store cannot be read for any tenant: it is down, or no grant could be decrypted so far |
//! | `store.grant_unreadable` | warn | `kind`, `error` | the stored grant of one tenant is damaged or of another client, and others can be read |
//! | `store.write_failed` | error | `kind`, `error` | a lease or a grant cannot be saved, so no refresh token is sent |
//! | `store.save_failed` | error | `kind`, `error`, `unsaved_seconds` | a new token set, or the end of a grant, is known to this process only; the save is retried |
//! | `store.recovered` | info | `failing_seconds` | a store works again whose failure was reported |
//! | `endpoint.clock_skewed` | warn | `endpoint`, `skew_seconds` | the `Date` of the token endpoint is more than 30 seconds off; debug for each response after the first |
//! | `endpoint.lifetime_assumed` | warn | `endpoint`, `lifetime_seconds` | a token response contains no usable lifetime; the [usual one](crate::provider::ProviderBuilder::access_token_lifetime) of the provider is assumed; debug after the first |
//! | `endpoint.lifetime_unknown` | debug | `endpoint` | a token response contains no usable lifetime, and the provider has no usual one; the token is used until a 401 |
//! | `endpoint.value_dropped` | warn | `endpoint`, `value`, `reason` | a token response contains a value that the [provider's data](crate::provider::KeptValue) name, but it is not kept: it is `too_large`, or does not match its `pattern`; debug after the first for each value |
//! | `endpoint.client_rejected` | error | `endpoint`, `kind`, `error`, `pause_seconds`, `provider_code` and `provider_message` if known | the provider rejects the client id or secret (`invalid_client`); the circuit breaker has opened for this long |
//! | `endpoint.circuit_opened` | warn | `endpoint`, `kind`, `error`, `pause_seconds` | the circuit breaker has opened for another cause; no token requests are sent for this long |
//! | `endpoint.circuit_closed` | info | `endpoint` | the circuit breaker has closed |
//! | `discovery.load_failed` | warn | `kind`, `error` | the metadata of an issuer could not be [loaded](crate::discovery) again; the older copy stays in use |
//! | `sweep.finished` | info | `active`, `ended`, `unreadable`, `foreign`, `kept_alive`, `failed`, `expiring`, `duration_seconds`, and `kind` and `error` of an unreadable grant | a sweep has checked all [`Tenants`](crate::tenants::Tenants) in the store, and refreshed the idle grants that were due. Warn if some grants are unreadable. Error if all are, and debug if that is reported already |
//! | `sweep.failed` | warn | `kind`, `error` | a sweep did not finish; it is retried after 5 minutes. Error if the store cannot list its tenants, and debug if `store.load_failed` reports the cause |
//! | `connect.failed` | warn | `kind`, `error`, `provider_code` and `provider_message` if known | a customer could not be [connected](crate::connect), or the provider could not be notified of a disconnect. Error if the provider rejects the client |
//! | `connect.rejected` | debug | `kind` | a browser sent a request to connect or disconnect that is not valid |
//!
//! # Span
//!
//! | name | level | fields | covers |
//! | --- | --- | --- | --- |
//! | `token.refresh` | debug | `reason`, and `tenant` if recorded | the task of a refresh, from loading the grant to saving the new token set. It has no parent, and follows from the span that caused the refresh |
//!
//! # Metrics
//!
//! Recorded through the [`metrics`](https://docs.rs/metrics) facade if the feature `metrics` is on.
//! Metrics of one grant also have the label `tenant` if it is recorded. The two gauges of one grant
//! are set only then.
//!
//! [`describe_metrics`] registers descriptions, units and types, and starts counters at zero. Give
//! the histogram buckets from 50 milliseconds to 60 seconds, which is the time limit of a token
//! request: 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30 and 60. Without buckets, exporters compute
//! quantiles per process, which cannot be combined. [`operations`](crate::guide::operations) has a
//! dashboard and alerts.
//!
//! | name | type | labels | meaning |
//! | --- | --- | --- | --- |
//! | `tower_oauth2_client_refreshes_total` | counter | `reason`, `outcome` | refreshes, including those that found a newer token set in the store and sent nothing |
//! | `tower_oauth2_client_refresh_duration_seconds` | histogram | `outcome` | how long each of these refreshes took, including the store |
//! | `tower_oauth2_client_refresh_failures_total` | counter | `kind` | refreshes that brought no new token, by the kind of the error |
//! | `tower_oauth2_client_unauthorized_responses_total` | counter | `outcome` | 401 responses that reject the token, by what the retry could use: a `newer_token` of the cache, a `refreshed` one, the `same_token` after a pause, or `no_token` |
//! | `tower_oauth2_client_save_failures_total` | counter | | saves that failed and are retried |
//! | `tower_oauth2_client_reauthorizations_required_total` | counter | `reason` | grants that the provider has ended, counted by the replica that received the refusal |
//! | `tower_oauth2_client_stuck_total` | counter | `kind` | grants that became stuck; the `kind` is `refused` or `invalid_response` |
//! | `tower_oauth2_client_recoveries_total` | counter | | grants that were stuck and have recovered |
//! | `tower_oauth2_client_access_token_remaining_seconds` | gauge | `tenant` | remaining lifetime of the access token, if known, updated at least every 30 seconds until it expires |
//! | `tower_oauth2_client_refresh_token_remaining_seconds` | gauge | `tenant` | remaining lifetime of the refresh token, if known |
//! | `tower_oauth2_client_circuit_open` | gauge | | 1 while the circuit breaker of the token endpoint is open or half-open, else 0 |
//! | `tower_oauth2_client_clock_skew_seconds` | gauge | | by how much the `Date` of the last token response was off |
//! | `tower_oauth2_client_grants` | gauge | `state` | tenants whose grant is `active`, `ended`, `unreadable` or `foreign` (of another client), as of the last sweep of this process |
//! | `tower_oauth2_client_grants_expiring` | gauge | | tenants whose refresh token expires within 7 days, as of the last sweep of this process |
//!
//! The `reason` of a refresh:
//!
//! | value | the refresh was started because |
//! | --- | --- |
//! | `advisory` | the token is in its advisory window |
//! | `mandatory` | the token is in its mandatory window |
//! | `expired` | a request needs a token, and there is none or it has expired |
//! | `rejected` | the API responded with a 401 |
//! | `manual` | the program called `refresh_now` |
//! | `keep_alive` | the grant is idle, and its refresh token has to be kept alive |
//! | `lost_response` | the response to an earlier refresh was lost a moment ago |
//!
//! Its `outcome`:
//!
//! | value | meaning |
//! | --- | --- |
//! | `refreshed` | a new token set was saved |
//! | `adopted` | a newer token set was found in the store, and nothing was sent |
//! | `failed` | no new token; a later refresh may succeed |
//! | `response_lost` | a token request was sent and its response was lost |
//! | `deferred` | an earlier response was lost, and nothing is sent while the access token lives |
//! | `ended` | the grant has ended, or there is none |
//!
//! The `kind` of a failure, which also counts refreshes with the outcomes `response_lost` and
//! `ended`:
//!
//! | value | meaning |
//! | --- | --- |
//! | `unavailable` | the provider could not be reached, did not respond in time, or asked for a pause; or the circuit breaker or a limit rejected the refresh |
//! | `client_rejected` | the provider rejected the client id or secret (`invalid_client`) |
//! | `refused` | the provider refused the refresh with another OAuth error code |
//! | `invalid_response` | the response of the provider violates the specifications |
//! | `store` | the store could not be read or written |
//! | `reauthorization_required` | the provider has ended the grant |
//! | `foreign_grant` | the stored grant belongs to another client or provider |
//! | `no_grant` | there is no grant |
//! | `revoked` | the program revoked the grant |
//! | `kept_value` | a value that is kept with the grant is missing, or does not match its pattern |
//! | `configuration` | a setting is wrong |
//! | `interrupted` | the runtime shut down, or a token source or a store panicked |
//!
//! The `reason` for a reauthorization is `invalid_grant`, `refresh_token_expired`, `rotation_lost`
//! or `no_refresh_token`, as [`ReauthorizationReason`](crate::token::ReauthorizationReason)
//! describes them. The `provider_code` and the `provider_message` are what the provider says, short
//! and without secrets: see [`provider_message`](crate::Error::provider_message). The `kind` of an
//! event is the name of an [`ErrorKind`](crate::ErrorKind) or of a
//! [`ConnectFailureKind`](crate::connect::ConnectFailureKind), such as `no_grant`.

mod causes;
#[cfg(feature = "axum")]
mod connect;
#[cfg(feature = "metrics")]
mod describe;
mod discovery;
mod endpoint;
mod event;
mod grant;
mod listener;
mod metric;
mod store;
mod store_watch;
mod sweep;
mod url;

#[cfg(feature = "axum")]
pub(crate) use self::connect::{connect_failed, connect_rejected};
#[cfg(feature = "metrics")]
pub use self::describe::describe_metrics;
pub use self::listener::{EndpointListener, GrantListener};
pub(crate) use self::{
    discovery::discovery_failed,
    endpoint::{EndpointTelemetry, ResponseNotice},
    grant::{End, GrantTelemetry, Reported, TelemetrySettings, Unauthorized},
    store::StoreTelemetry,
    store_watch::is_of_one_grant,
    sweep::{SweepCounts, sweep_failed, sweep_finished},
    url::without_query,
};
