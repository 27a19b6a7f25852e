//! A fake Justworks for tests: an authorization server, an API, and every way they can fail.
//!
//! The sandbox runs in the process of the test. It speaks the wire format of the Partner API and
//! shares no code with the client, so it serves any client. This is a complete test of a client;
//! [`testing`] has one for each event in the life of a grant:
//!
//! ```
//! use std::time::Duration;
//!
//! use http::Request;
//! use tower::{Layer, ServiceExt};
//! use tower_oauth2_client::{
//!     bearer::BearerAuthLayer, cache::TokenCache, oauth::OAuthClient, provider, sandbox::Sandbox,
//! };
//!
//! type Body = http_body_util::Full<bytes::Bytes>;
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let sandbox = Sandbox::builder().build();
//! let provider = provider::justworks().on_origin(&sandbox.url())?;
//! let oauth = OAuthClient::builder(provider, sandbox.client_id())
//!     .client_secret(sandbox.client_secret())
//!     .redirect_uri(sandbox.redirect_uri())
//!     .build::<_, Body, _>(sandbox.service())?;
//! let tokens = TokenCache::builder(oauth.clone()).clock(sandbox.clock()).build()?;
//! let api = BearerAuthLayer::<Body>::new(tokens.clone()).layer(sandbox.service());
//! // The user consents.
//! tokens.set_tokens(sandbox.connect(&oauth).await?).await?;
//! // The provider revokes the access token, some seconds after it was issued: the API may not know
//! // a newer one yet. The client should recover with one refresh.
//! sandbox.advance(Duration::from_secs(10));
//! sandbox.revoke_access_tokens();
//! let company = Request::get(format!("{}/v1/company", sandbox.url())).body(Body::default())?;
//! assert_eq!(api.oneshot(company).await?.status(), 200);
//! assert_eq!(sandbox.counters().unauthorized, 1);
//! assert_eq!(sandbox.counters().refreshes, 1);
//! # Ok(())
//! # }
//! ```
//!
//! # With or without a socket
//!
//! [`Sandbox::start`] listens on a free port of `127.0.0.1`, for clients that open their own
//! connections. It accepts only requests that name it by its address, by `localhost`, or by a name
//! that [`SandboxBuilder::host`] allows. Others get 421 (Misdirected Request), because a web page
//! that rebinds its name to loopback sends such requests. A request of a web page of another origin
//! gets 403, unless it is a link or a redirect.
//!
//! [`SandboxBuilder::build`] opens no socket. [`Sandbox::service`] is a tower service with the same
//! responses, so a test can run in tokio's paused time (`#[tokio::test(start_paused = true)]`),
//! where an hour takes no time. Faults that end a connection are then the error [`ConnectionLost`].
//! Do not pause time together with a socket: tokio would advance the clock while a packet is in
//! transit.
//!
//! # Endpoints
//!
//! | path | behavior |
//! | --- | --- |
//! | `GET /oauth/authorize` | decides authorization requests at once, or shows pages ([`Consent`]) |
//! | `POST /oauth/token` | issues tokens for a code or a refresh token, and for [other grants](#other-grants) |
//! | `POST /oauth/par` | keeps an authorization request until the browser comes with its `request_uri`; only if [enabled](Behavior::pushed_authorization) |
//! | `POST /oauth/device_authorization`, `GET` and `POST /oauth/device` | starts a device authorization, and the page where a user enters the code; only if [enabled](Behavior::device_authorization) |
//! | `POST /v1/oauth/revoke` | revokes an access or refresh token |
//! | `GET /.well-known/oauth-authorization-server`, `GET /.well-known/openid-configuration` | the metadata of the authorization server; only if [enabled](MetadataDocuments) |
//! | `GET /v1/company` | the company; needs `company.basic:read` |
//! | `GET /v1/members`, `GET /v1/members/{id}` | its members, in pages; need `member.basic:read`, and further scopes show more fields |
//! | `GET /v1/deductions`, `POST /v1/deductions` | deductions, created once per `operation_id`; need `deductions:read` and `deductions:write` |
//! | `GET /sandbox` | the status page, where a developer searches the events and injects faults; only if [enabled](SandboxBuilder::status_page) |
//!
//! # Behavior
//!
//! [`Behavior`] holds every variation of a correct server: how refresh tokens rotate, what reuse
//! does, how expiry is written, how long tokens live. The default is the strictest server that is
//! still correct: each refresh token works once, and reuse revokes the whole grant. A client that
//! handles it also handles lenient servers. Set the behavior with [`SandboxBuilder::behavior`], and
//! change it while the sandbox runs with [`Sandbox::change_behavior`].
//!
//! # DPoP
//!
//! With the feature `dpop`, the sandbox binds tokens to keys if `Behavior::dpop` says so. It then
//! checks each proof of a token or API request strictly, and demands nonces in several ways.
//!
//! # Client authentication
//!
//! [`Behavior::client_authentication`] sets the only accepted method. Assertions
//! (`client_secret_jwt` and `private_key_jwt`, RFC 7523) are verified strictly: signature, `alg`,
//! `iss`, `sub`, `aud`, `exp` and `iat` by the sandbox's clock, and a `jti` that was not used
//! before. The keys of a client are [registered](ClientRegistration) as JSON Web Keys, which needs
//! the feature `signing`. The sandbox has no TLS, so with [`ClientAuthentication::TlsClientAuth`]
//! it can only check that no secret came. A second method in one request is refused.
//!
//! # Other grants
//!
//! Justworks documents none of these, so each is off by default:
//!
//! | grant | switch | the sandbox refuses |
//! | --- | --- | --- |
//! | client credentials (RFC 6749, section 4.4) | [`Behavior::client_credentials`] | scopes that the client is not registered for |
//! | device authorization (RFC 8628) | [`Behavior::device_authorization`] | a poll that is too early, and a code of another client, that was used, or has expired |
//! | JWT as a grant (RFC 7523, section 2.1) | [`SandboxBuilder::trusted_issuer`] | an assertion of another issuer, algorithm, audience or time, with a wrong signature, or used before |
//! | token exchange (RFC 8693) | [`Behavior::token_exchange_targets`] | tokens that are unknown, expired or revoked, other token types, and other resources and audiences. It takes one of each |
//!
//! In place of the user, [`Sandbox::approve_device`] and [`Sandbox::deny_device`] decide about a
//! device. A persona supports none of these grants.
//!
//! # Other providers
//!
//! A [`Persona`] makes the sandbox behave like another provider of the
//! [catalogue](crate::provider::catalog): its addresses, client authentication, formats, names,
//! rotation, refusals and hosts per tenant. [`Sandbox::routed`] lets a client use the provider's
//! own addresses.
//!
//! # Faults
//!
//! A [`Fault`] describes a failure, and [`Sandbox::inject`] queues it for an endpoint: a late,
//! lost, truncated, slow, oversized, edited or invalid response. Without a fault no response has a
//! 5xx status.
//!
//! # Time
//!
//! The sandbox follows a [`MovableClock`]: tokio's clock, paused or not, which [`Sandbox::advance`]
//! moves forward. 30 days pass without a sleep. It decides what has expired, and sets `Date` and
//! `expires_at`. A program with the clock of [`Sandbox::clock`] is moved too; the page of the clock
//! lists what does not move.
//!
//! # Lists and pages
//!
//! `GET /v1/members` and `GET /v1/deductions` return pages, as the Partner API documents them:
//!
//! | | |
//! | --- | --- |
//! | `limit` | the size of a page, 1 to 100; 100 if it is absent. Another value gets 400 |
//! | `cursor` | the `next_cursor` of the page before; the first page if it is absent. Another value gets 400 |
//! | response | `{"items": […], "next_cursor": "…"}`; the last page has no `next_cursor` |
//!
//! A cursor is opaque, and every filter has to be sent with it again. It is a position in the list,
//! so a deduction that was created meanwhile is found at the end, and none is returned twice. The
//! documentation says nothing about an invalid `limit` or `cursor`: the 400 is a choice. It calls
//! `next_cursor` nullable and says that empty values are omitted, so a client should accept both.
//!
//! A client that sends no `limit` sees one page unless the company has over 100 members: set
//! [`SandboxBuilder::members`].
//!
//! # What happened
//!
//! [`Sandbox::counters`] and [`Sandbox::events`] report what the client did: the number of
//! refreshes, the refresh tokens that were reused, the highest number of concurrent requests. Codes
//! and tokens appear only as [`TokenHash`].
//!
//! # Limits
//!
//! The sandbox is not an authorization server to build on. It keeps everything in memory, its
//! tokens are not designed to withstand guessing, and it accepts any password. Where Justworks
//! documents no behavior, the sandbox has a setting, and its default is a choice, not a fact about
//! Justworks.

mod assertion;
mod authority;
mod behavior;
mod body;
mod builder;
mod challenge;
mod client;
mod clock;
mod connect;
#[cfg(feature = "dpop")]
mod dpop;
mod endpoints;
mod event;
mod event_log;
mod expiry;
mod fault;
mod fault_queue;
mod fixtures;
mod form;
mod handle;
mod jwt;
mod movable_clock;
mod own_origin;
mod persona;
#[cfg(feature = "signing")]
mod public_key;
mod records;
mod request_body;
mod response;
mod routed;
mod scope;
mod server;
mod service;
mod state;
mod style;
pub mod testing;
mod trusted_issuer;
mod user;

#[cfg(feature = "dpop")]
pub use self::dpop::{Dpop, DpopNonce};
pub use self::{
    behavior::{
        Behavior, ClientAuthentication, Consent, DateHeader, MetadataDocuments, Pkce,
        PushedAuthorization, RefreshTokenField, RefreshWindow, Replay, Rotation,
    },
    body::{ConnectionLost, SandboxBody},
    builder::SandboxBuilder,
    challenge::Challenge,
    client::ClientRegistration,
    event::{Event, EventKind, GrantType, TokenHash},
    event_log::Counters,
    expiry::{ExpiresAt, ExpiresIn},
    fault::{Endpoint, Fault},
    handle::Sandbox,
    movable_clock::MovableClock,
    persona::{Persona, PersonaError},
    routed::RoutedService,
    scope::{SCOPES, SENSITIVE_SCOPES},
    service::{SandboxFuture, SandboxService},
    trusted_issuer::TrustedIssuer,
    user::ConsentError,
};
