//! A fake Justworks to test against: authorization server, resources, and every way they can go wrong.
//!
//! The sandbox runs in your test's process. It speaks the Partner API's wire and uses nothing of the rest of this crate, so
//! it serves any client. Here is the whole test of one that is built from this crate:
//!
//! ```
//! use http::Request;
//! use tower::{Layer, ServiceExt};
//! use tower_oauth2_client::{bearer::BearerAuthLayer, cache::TokenCache, oauth::OAuthClient, provider, sandbox::Sandbox};
//! type Body = http_body_util::Full<bytes::Bytes>;
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let sandbox = Sandbox::builder().build();
//! let provider = provider::justworks().on_origin(&sandbox.url())?;
//! let oauth = OAuthClient::builder(provider, sandbox.client_id())
//!     .client_secret(sandbox.client_secret())
//!     .redirect_uri(sandbox.redirect_uri())
//!     .build::<_, Body, _>(sandbox.service())?;
//! let tokens = TokenCache::builder(oauth.clone()).build()?;
//! let api = BearerAuthLayer::new(tokens.clone()).layer(sandbox.service());
//! // A person consents.
//! let (url, pending) = oauth.authorization_url()?;
//! let callback = sandbox.consent(&url).await?;
//! tokens.set_tokens(oauth.exchange_code(pending.accept(&callback)?).await?).await?;
//! // The provider forgets the access token: does the client get over it, with one exchange?
//! sandbox.revoke_access_tokens();
//! let company = Request::get(format!("{}/v1/company", sandbox.url())).body(Body::default())?;
//! assert_eq!(api.oneshot(company).await?.status(), 200);
//! assert_eq!(sandbox.counters().unauthorized, 1);
//! assert_eq!(sandbox.counters().refreshes, 1);
//! # Ok(())
//! # }
//! ```
//!
//! # With a socket, or without
//!
//! [`Sandbox::start`] listens on a free port of `127.0.0.1`, for clients that bring their own connections.
//! [`SandboxBuilder::build`] does not listen: [`Sandbox::service`] is a tower service that answers the same, and needs
//! no network. With it a test can run in tokio's paused time (`#[tokio::test(start_paused = true)]`), where an hour
//! passes at once. Faults that end a connection are then seen as [`ConnectionLost`]. Do not pause time with a socket:
//! tokio would let it run on while a packet is on its way.
//!
//! # Endpoints
//!
//! | path | what it does |
//! | --- | --- |
//! | `GET /oauth/authorize` | asks for consent: at once, or by a page ([`Consent`]) |
//! | `POST /oauth/token` | exchanges a code or a refresh token |
//! | `POST /v1/oauth/revoke` | revokes an access or refresh token |
//! | `GET /v1/company` | the company; takes `company.basic:read` |
//! | `GET /v1/members`, `GET /v1/members/{id}` | its members, by pages; take `member.basic:read`, other scopes show more fields |
//! | `GET /v1/deductions`, `POST /v1/deductions` | deductions, each created once for its `operation_id`; take `deductions:read` and `deductions:write` |
//! | `GET /sandbox` | what goes on, with switches for the faults; only if [asked for](SandboxBuilder::status_page) |
//!
//! # How it behaves
//!
//! [`Behavior`] holds every mode: how refresh tokens rotate, what a second use does, how expiry is spelled, how long
//! things live. By default the sandbox is the strictest server that is still correct: refresh tokens are good for one
//! use, and a second use ends the whole grant. A client that copes with that copes with the lenient ones too. Modes
//! are set when building and [changed](Sandbox::change) while it runs.
//!
//! # How it fails
//!
//! A [`Fault`] says what to do wrong, [`Sandbox::inject`] where: answers that are late, lost, cut, slow, huge, or not
//! an answer at all. Nothing else makes it answer with a 5xx.
//!
//! # Time
//!
//! The sandbox's clock follows tokio's, paused or not, and [`Sandbox::advance`] moves it further: 30 days pass
//! without a sleep. Its clock alone decides what has expired, and stands in `Date` and `expires_at`.
//!
//! # What happened
//!
//! [`Sandbox::counters`] and [`Sandbox::events`] tell: how many exchanges, which refresh token was presented twice,
//! how many requests were in flight at most. Codes and tokens appear as [`TokenHash`] only.
//!
//! # What it is not
//!
//! It is no authorization server to build on. It keeps everything in memory, its tokens are made to be told apart
//! rather than to withstand guessing, and any password logs in. What Justworks does not document, the sandbox makes a
//! mode, and its default is a choice rather than a fact.

mod answer;
mod authority;
mod behavior;
mod body;
mod builder;
mod challenge;
mod client;
mod clock;
mod endpoints;
mod event;
mod event_log;
mod expiry;
mod fault;
mod form;
mod person;
mod records;
mod scope;
mod script;
mod seed;
mod server;
mod service;
mod state;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

pub use self::behavior::{
    Behavior, ClientAuthentication, Consent, DateHeader, Pkce, RefreshTokenField, RefreshWindow,
    Replay, Rotation,
};
pub use self::body::{ConnectionLost, SandboxBody};
pub use self::builder::SandboxBuilder;
pub use self::challenge::Challenge;
pub use self::client::ClientRegistration;
pub use self::event::{Event, EventKind, GrantType, TokenHash};
pub use self::event_log::Counters;
pub use self::expiry::{ExpiresAt, ExpiresIn};
pub use self::fault::{Endpoint, Fault};
pub use self::person::ConsentError;
pub use self::scope::{SCOPES, SENSITIVE_SCOPES};
pub use self::service::{SandboxFuture, SandboxService};

use self::clock::system_time;
use self::endpoints::Decision;
use self::server::Server;
use self::state::Shared;

/// A running sandbox. Clones are handles to the same one; its socket closes when the last is dropped.
#[derive(Clone)]
pub struct Sandbox {
    shared: Arc<Shared>,
    app: Arc<ClientRegistration>,
    server: Option<Arc<Server>>,
}

impl Sandbox {
    /// Starts a sandbox with all defaults on a free port of `127.0.0.1`.
    ///
    /// # Errors
    ///
    /// If no port can be listened on.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime with IO enabled.
    pub async fn start() -> io::Result<Self> {
        Self::builder().start().await
    }

    /// Sets up a sandbox.
    pub fn builder() -> SandboxBuilder {
        SandboxBuilder::new()
    }

    /// The address listened on; `None` if the sandbox was built without a socket.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.server.as_ref().map(|server| server.address())
    }

    /// `http://` and the address, without a slash at the end; `http://localhost` without a socket.
    #[must_use]
    pub fn url(&self) -> String {
        match self.address() {
            Some(address) => format!("http://{address}"),
            None => "http://localhost".to_owned(),
        }
    }

    /// The app's client id.
    #[must_use]
    pub fn client_id(&self) -> &str {
        &self.app.client_id
    }

    /// The app's client secret.
    #[must_use]
    pub fn client_secret(&self) -> &str {
        &self.app.client_secret
    }

    /// The app's redirect URI.
    #[must_use]
    pub fn redirect_uri(&self) -> &str {
        self.app.redirect_uris.first().map_or("", String::as_str)
    }

    /// The sandbox as a tower service, with or without a socket.
    #[must_use]
    pub fn service(&self) -> SandboxService {
        SandboxService::new(Arc::clone(&self.shared))
    }

    /// Plays a person who opens an authorization URL and allows everything. Gives the URL they are sent back to.
    ///
    /// With [`Consent::Page`] the person goes through the pages; otherwise they are asked nothing. No socket is used:
    /// only the URL's path and query count. The callback URL is not opened. It carries an `error` if the request was
    /// wrong in a way that the app is told about.
    ///
    /// # Errors
    ///
    /// If the person is not sent back: the URL is none, the app or redirect URI is unknown, or a fault was in the way.
    pub async fn consent(&self, authorization_url: &str) -> Result<String, ConsentError> {
        person::visit(self.service(), authorization_url, Decision::Allow).await
    }

    /// Plays a person who opens an authorization URL and denies. Otherwise like [`consent`](Self::consent).
    ///
    /// # Errors
    ///
    /// As [`consent`](Self::consent).
    pub async fn deny(&self, authorization_url: &str) -> Result<String, ConsentError> {
        person::visit(self.service(), authorization_url, Decision::Deny).await
    }

    /// How the sandbox behaves now.
    #[must_use]
    pub fn behavior(&self) -> Behavior {
        self.shared.lock().behavior.clone()
    }

    /// Changes how the sandbox behaves from now on, all at once. Of two changes made at the same time, one is lost.
    ///
    /// # Panics
    ///
    /// If `change` does; nothing is changed then.
    pub fn change_behavior(&self, change: impl FnOnce(&mut Behavior)) {
        // The lock is not held while foreign code runs.
        let mut behavior = self.behavior();
        change(&mut behavior);
        self.shared.lock().behavior = behavior;
    }

    /// Scripts a fault: the next request to `endpoint` that no earlier fault of it claims takes part.
    pub fn inject(&self, endpoint: Endpoint, fault: Fault) {
        self.shared.lock().script.push(endpoint, fault);
    }

    /// Forgets every fault that has not been played.
    pub fn clear_faults(&self) {
        self.shared.lock().script.clear();
    }

    /// What the sandbox's clock shows.
    #[must_use]
    pub fn now(&self) -> SystemTime {
        system_time(self.shared.lock().today())
    }

    /// Moves the sandbox's clock forward, and nobody else's.
    pub fn advance(&self, by: Duration) {
        self.shared.lock().clock.advance(by);
    }

    /// Expires every access token given out so far.
    pub fn expire_access_tokens(&self) {
        let mut state = self.shared.lock();
        let now = state.now();
        state.authority.expire_access_tokens(now);
    }

    /// Revokes every access token given out so far. Refresh tokens stay good.
    pub fn revoke_access_tokens(&self) {
        self.shared.lock().authority.revoke_access_tokens();
    }

    /// Ends every grant, as a person does who disconnects the app: neither access nor refresh tokens stay good.
    pub fn revoke_grants(&self) {
        self.shared.lock().authority.revoke_grants();
    }

    /// What has happened so far, in numbers.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.shared.lock().evidence.counters()
    }

    /// What has happened so far, the latest last: 10,000 events at most, then the oldest go.
    #[must_use]
    pub fn events(&self) -> Vec<Event> {
        self.shared.lock().evidence.events().cloned().collect()
    }
}

impl fmt::Debug for Sandbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sandbox")
            .field("url", &self.url())
            .field("client_id", &self.client_id())
            .finish_non_exhaustive()
    }
}
