//! How a sandbox is set up.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::app::App;
use super::authority::Authority;
use super::behavior::{
    Behavior, ClientAuthentication, Consent, DateHeader, Pkce, RefreshTokenField, RefreshWindow,
    Rotation,
};
use super::challenge::Challenge;
use super::clock::Clock;
use super::evidence::Evidence;
use super::expiry::{ExpiresAt, ExpiresIn};
use super::fault::{Endpoint, Fault};
use super::records::Records;
use super::script::Script;
use super::state::{Shared, State};
use super::{Sandbox, Server};

/// Sets up a [`Sandbox`]. Made by [`Sandbox::builder`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it is built or started"]
pub struct SandboxBuilder {
    bind: SocketAddr,
    app: App,
    more_apps: Vec<App>,
    behavior: Behavior,
    faults: Vec<(Endpoint, Fault)>,
    members: usize,
    clock_starts_at: Option<SystemTime>,
    seed: Option<u64>,
    status_page: bool,
}

impl SandboxBuilder {
    pub(super) fn new() -> Self {
        Self {
            bind: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0),
            app: App::new("sandbox-client", "sandbox-client-secret").name("Example app"),
            more_apps: Vec::new(),
            behavior: Behavior::default(),
            faults: Vec::new(),
            members: 25,
            clock_starts_at: None,
            seed: None,
            status_page: false,
        }
    }

    /// The address to listen on. Defaults to `127.0.0.1` and a free port.
    ///
    /// A sandbox protects nothing; keep it on loopback.
    pub fn bind(mut self, address: SocketAddr) -> Self {
        self.bind = address;
        self
    }

    /// The app's client id. Defaults to `sandbox-client`.
    pub fn client_id(mut self, client_id: impl Into<String>) -> Self {
        self.app.client_id = client_id.into();
        self
    }

    /// The app's client secret. Defaults to `sandbox-client-secret`.
    pub fn client_secret(mut self, client_secret: impl Into<String>) -> Self {
        self.app.client_secret = client_secret.into();
        self
    }

    /// The app's name on the consent page. Defaults to `Example app`.
    pub fn client_name(mut self, name: impl Into<String>) -> Self {
        self.app = self.app.name(name);
        self
    }

    /// The app's redirect URI, compared character by character. Defaults to `http://127.0.0.1:8000/callback`.
    pub fn redirect_uri(mut self, redirect_uri: impl Into<String>) -> Self {
        self.app = self.app.redirect_uri(redirect_uri);
        self
    }

    /// The scopes the app may ask for, and gets when it asks for none. Defaults to all of [`SCOPES`](super::SCOPES).
    pub fn scopes<S: Into<String>>(mut self, scopes: impl IntoIterator<Item = S>) -> Self {
        self.app = self.app.scopes(scopes);
        self
    }

    /// Registers one more app. Defaults to none. Of two apps with one client id, the first counts.
    pub fn app(mut self, app: App) -> Self {
        self.more_apps.push(app);
        self
    }

    /// How many members the company has. Defaults to 25.
    pub fn members(mut self, members: usize) -> Self {
        self.members = members;
        self
    }

    /// What the sandbox's clock shows when it is built. Defaults to the machine's time.
    ///
    /// Another time makes a server whose clock is wrong: `Date` and `expires_at` follow it, lifetimes do not change.
    pub fn clock_starts_at(mut self, time: SystemTime) -> Self {
        self.clock_starts_at = Some(time);
        self
    }

    /// The seed of codes and tokens, for runs that are the same every time. Defaults to a random one.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Whether `/sandbox` shows what goes on, with switches for the faults. Defaults to `false`.
    pub fn status_page(mut self, shown: bool) -> Self {
        self.status_page = shown;
        self
    }

    /// Scripts a fault, as [`Sandbox::inject`] does. Defaults to none.
    pub fn fault(mut self, endpoint: Endpoint, fault: Fault) -> Self {
        self.faults.push((endpoint, fault));
        self
    }

    /// All modes at once. Defaults to [`Behavior::default`].
    pub fn behavior(mut self, behavior: Behavior) -> Self {
        self.behavior = behavior;
        self
    }

    /// Builds a sandbox without a socket, to be used through [`Sandbox::service`].
    #[must_use]
    pub fn build(self) -> Sandbox {
        let mut script = Script::default();
        for (endpoint, fault) in self.faults {
            script.push(endpoint, fault);
        }
        let mut apps = vec![self.app.clone()];
        apps.extend(self.more_apps);
        let random = self
            .seed
            .map_or_else(fastrand::Rng::new, fastrand::Rng::with_seed);
        #[expect(
            clippy::disallowed_methods,
            reason = "where the sandbox's own clock begins, if nobody says otherwise"
        )]
        let start = self.clock_starts_at.unwrap_or_else(SystemTime::now);
        let state = State {
            clock: Clock::new(start),
            behavior: self.behavior,
            authority: Authority::new(apps, random),
            script,
            evidence: Evidence::default(),
            records: Records::seeded(self.members),
        };
        Sandbox {
            shared: Arc::new(Shared::new(state, self.status_page)),
            app: Arc::new(self.app),
            server: None,
        }
    }

    /// Builds a sandbox and listens.
    ///
    /// # Errors
    ///
    /// If the address cannot be listened on.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime with IO enabled.
    pub async fn start(self) -> io::Result<Sandbox> {
        let bind = self.bind;
        let sandbox = self.build();
        let server = Server::start(bind, sandbox.service()).await?;
        Ok(Sandbox {
            server: Some(Arc::new(server)),
            ..sandbox
        })
    }
}

/// One setter for each field of [`Behavior`], where its meaning and default are told.
impl SandboxBuilder {
    /// How long an access token lives. Defaults to 24 hours.
    pub fn access_token_lifetime(mut self, access_token_lifetime: Duration) -> Self {
        self.behavior.access_token_lifetime = access_token_lifetime;
        self
    }

    /// How long a refresh token lives. Defaults to 30 days.
    pub fn refresh_token_lifetime(mut self, refresh_token_lifetime: Duration) -> Self {
        self.behavior.refresh_token_lifetime = refresh_token_lifetime;
        self
    }

    /// How long an authorization code lives. Defaults to 10 minutes.
    pub fn code_lifetime(mut self, code_lifetime: Duration) -> Self {
        self.behavior.code_lifetime = code_lifetime;
        self
    }

    /// What happens to a refresh token when it is used. Defaults to [`Rotation::FamilyRevocation`].
    pub fn rotation(mut self, rotation: Rotation) -> Self {
        self.behavior.rotation = rotation;
        self
    }

    /// Whether a rotation also revokes the access token issued together with the used refresh token. Defaults to `false`.
    pub fn revoke_companion(mut self, revoke_companion: bool) -> Self {
        self.behavior.revoke_companion = revoke_companion;
        self
    }

    /// Whether using a refresh token gives the grant more time. Defaults to [`RefreshWindow::Rolling`].
    pub fn refresh_window(mut self, refresh_window: RefreshWindow) -> Self {
        self.behavior.refresh_window = refresh_window;
        self
    }

    /// Whether answers carry a refresh token. Defaults to [`RefreshTokenField::Sent`].
    pub fn refresh_token_field(mut self, refresh_token_field: RefreshTokenField) -> Self {
        self.behavior.refresh_token_field = refresh_token_field;
        self
    }

    /// How `expires_at` is spelled. Defaults to [`ExpiresAt::Utc`].
    pub fn expires_at(mut self, expires_at: ExpiresAt) -> Self {
        self.behavior.expires_at = expires_at;
        self
    }

    /// Whether and how `expires_in` is sent. Defaults to [`ExpiresIn::Absent`].
    pub fn expires_in(mut self, expires_in: ExpiresIn) -> Self {
        self.behavior.expires_in = expires_in;
        self
    }

    /// The text of `token_type`, absent when `None`. Defaults to `Bearer`.
    pub fn token_type(mut self, token_type: Option<&str>) -> Self {
        self.behavior.token_type = token_type.map(str::to_owned);
        self
    }

    /// Whether token answers carry `scope`. Defaults to `true`.
    pub fn scope_field(mut self, scope_field: bool) -> Self {
        self.behavior.scope_field = scope_field;
        self
    }

    /// The `Date` header of every answer. Defaults to [`DateHeader::Clock`].
    pub fn date(mut self, date: DateHeader) -> Self {
        self.behavior.date = date;
        self
    }

    /// If set, no consent and no exchange grants more than these scopes. Defaults to `None`.
    pub fn scope_limit(mut self, scope_limit: Option<&[&str]>) -> Self {
        self.behavior.scope_limit =
            scope_limit.map(|scopes| scopes.iter().map(|&scope| scope.to_owned()).collect());
        self
    }

    /// Who answers authorization requests. Defaults to [`Consent::Allow`].
    pub fn consent(mut self, consent: Consent) -> Self {
        self.behavior.consent = consent;
        self
    }

    /// What becomes of PKCE parameters. Defaults to [`Pkce::Verified`].
    pub fn pkce(mut self, pkce: Pkce) -> Self {
        self.behavior.pkce = pkce;
        self
    }

    /// How clients may authenticate. Defaults to [`ClientAuthentication::Body`].
    pub fn client_authentication(mut self, client_authentication: ClientAuthentication) -> Self {
        self.behavior.client_authentication = client_authentication;
        self
    }

    /// Whether presenting a code twice revokes the tokens issued for it. Defaults to `true`.
    pub fn code_reuse_revokes(mut self, code_reuse_revokes: bool) -> Self {
        self.behavior.code_reuse_revokes = code_reuse_revokes;
        self
    }

    /// Whether revoking a refresh token ends its grant with every access token. Defaults to `true`; when `false`, only the token itself goes.
    pub fn revocation_cascades(mut self, revocation_cascades: bool) -> Self {
        self.behavior.revocation_cascades = revocation_cascades;
        self
    }

    /// Whether revoking an unknown token is answered with 200, as RFC 7009 asks. Defaults to `true`; when `false`, with 400.
    pub fn unknown_revocation_succeeds(mut self, unknown_revocation_succeeds: bool) -> Self {
        self.behavior.unknown_revocation_succeeds = unknown_revocation_succeeds;
        self
    }

    /// The `WWW-Authenticate` of a 401 from a resource. Defaults to [`Challenge::Standard`].
    pub fn challenge(mut self, challenge: Challenge) -> Self {
        self.behavior.challenge = challenge;
        self
    }
}
