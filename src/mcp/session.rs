//! A session: a connection with the cache of its grant.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use super::{
    challenge::Challenge,
    client::{ClientOrigin, Clients},
    connection::{Connection, Connections},
    endpoint::Endpoint,
    enterprise::EnterpriseManaged,
    http::Http,
    scopes::Scopes,
};
use crate::{
    cache::{BearerToken, ClientCredentials, TokenCache, TokenState},
    clock::Clock,
    error::{BoxError, Error},
    oauth::OAuthClient,
    provider::{ClientAuthentication, IssuerCheck, Provider, RequestKind},
    store::AnyStore,
    token::ClientSecret,
};

/// Sends the user to an authorization URL, and returns the callback.
pub(super) type Authorize = Arc<dyn Fn(String) -> Authorizing + Send + Sync>;
pub(super) type Authorizing = Pin<Box<dyn Future<Output = Result<String, BoxError>> + Send>>;

/// The checked settings.
pub(super) struct Settings {
    pub(super) endpoint: Endpoint,
    pub(super) http: Arc<dyn Http>,
    pub(super) flow: Flow,
    pub(super) clients: Clients,
    pub(super) is_legacy: bool,
    pub(super) store: AnyStore,
    pub(super) connections: Connections,
    pub(super) connect_timeout: Duration,
    pub(super) replay_limit: usize,
    pub(super) clock: Arc<dyn Clock>,
}

/// How a grant is obtained.
pub(super) enum Flow {
    /// The user consents in a browser.
    Code {
        redirect_uri: String,
        authorize: Authorize,
    },
    /// The program itself is the client.
    ClientCredentials,
    /// The identity provider of the user's company consents.
    EnterpriseManaged(EnterpriseManaged),
}

impl Settings {
    /// The client of a connection, which requests its scopes.
    pub(super) fn client(&self, connection: &Connection) -> Result<OAuthClient, Error> {
        let resource = &*connection.resource;
        let check = if connection.sends_iss {
            IssuerCheck::Required
        } else {
            IssuerCheck::IfPresent
        };
        let mut provider = Provider::builder(&*connection.token_endpoint)
            .issuer(&*connection.issuer)
            .issuer_check(check)
            .client_authentication(connection.client.authentication)
            .api_origin(self.endpoint.origin().to_string());
        if let Some(url) = &connection.authorization_endpoint {
            provider = provider.authorization_endpoint(&**url);
        }
        if let Some(url) = &connection.revocation_endpoint {
            provider = provider.revocation_endpoint(&**url);
        }
        if let Some(url) = &connection.pushed_authorization_request_endpoint {
            provider = provider.pushed_authorization_request_endpoint(&**url);
        }
        for kind in [
            RequestKind::Authorization,
            RequestKind::CodeExchange,
            RequestKind::Refresh,
            RequestKind::ClientCredentials,
            RequestKind::JwtBearer,
        ] {
            provider = provider.request_parameter(kind, "resource", resource);
        }
        if connection.scopes.wants_offline_access() {
            provider = provider.request_parameter(RequestKind::Authorization, "prompt", "consent");
        }
        let clock = ClockOf(Arc::clone(&self.clock));
        let mut builder = OAuthClient::builder(provider.build()?, &*connection.client.id)
            .scopes(connection.scopes.iter())
            .clock(clock);
        if let Flow::Code { redirect_uri, .. } = &self.flow {
            builder = builder.redirect_uri(&**redirect_uri);
        }
        if let Some(secret) = self.secret(connection) {
            builder = builder.client_secret(secret);
        }
        if connection.client.authentication == ClientAuthentication::PrivateKeyJwt
            && let Some(client) = self.clients.pre_registered_at(&connection.issuer)
            && let Some(signer) = &client.signer
        {
            builder = builder.shared_signer(signer.clone());
        }
        self.http.client(builder)
    }

    fn secret(&self, connection: &Connection) -> Option<ClientSecret> {
        let client = &connection.client;
        if !client.authentication.has_secret() {
            return None;
        }
        match &client.origin {
            ClientOrigin::PreRegistered => {
                let known = self.clients.pre_registered_at(&connection.issuer)?;
                known.secret.clone()
            }
            ClientOrigin::MetadataDocument => None,
            ClientOrigin::Registered(registration) => {
                let secret = registration.secret.as_ref()?;
                Some(ClientSecret::new(secret.as_str()))
            }
        }
    }
}

/// Why a connection is made.
#[derive(Clone, Debug, Default)]
pub(super) struct Cause {
    pub(super) challenge: Challenge,
    /// The scopes that a step-up needs. Empty for any other connection.
    pub(super) needed: Scopes,
    /// Whether the authorization server has forgotten the client that was registered there.
    pub(super) is_client_unknown: bool,
}

impl Cause {
    pub(super) fn of(challenge: Challenge) -> Self {
        Self {
            challenge,
            ..Self::default()
        }
    }
}

/// A connection in use.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) connection: Connection,
    pub(super) tokens: TokenCache,
    is_of_user: bool,
}

impl Session {
    /// The session of a connection. It shares the cache of an earlier session with the same grant.
    pub(super) fn new(
        settings: &Settings,
        connection: Connection,
        previous: Option<&Self>,
    ) -> Result<Self, Error> {
        let is_of_user = matches!(settings.flow, Flow::Code { .. });
        let shared = previous.filter(|previous| {
            // A new secret, and new scopes without a consent, need a new client.
            is_of_user && previous.connection.is_same_client(&connection)
        });
        let tokens = if let Some(previous) = shared {
            previous.tokens.clone()
        } else {
            let client = settings.client(&connection)?;
            let tenant = settings.connections.grant_name(&connection)?;
            // A grant without a consent can be had again at any time, with the scopes that are
            // needed.
            let builder = match &settings.flow {
                Flow::Code { .. } => TokenCache::builder(client).store(settings.store.clone()),
                Flow::ClientCredentials => TokenCache::builder(ClientCredentials::new(client)),
                Flow::EnterpriseManaged(user) => {
                    TokenCache::builder(user.source(client, &connection)?)
                }
            };
            let clock = ClockOf(Arc::clone(&settings.clock));
            builder.tenant(tenant.as_str()).clock(clock).build()?
        };
        Ok(Self {
            connection,
            tokens,
            is_of_user,
        })
    }

    pub(super) fn scopes(&self) -> &Scopes {
        &self.connection.scopes
    }

    /// A token that can be used. A grant without a consent does not wait for the pause after a
    /// failure: what was missing may be there now, such as a new sign-in, and nothing can be lost.
    pub(super) async fn token_at_once(&self) -> Result<BearerToken, Error> {
        match self.tokens.status().state {
            TokenState::Absent | TokenState::Expired | TokenState::Rejected { .. }
                if !self.is_of_user =>
            {
                self.tokens.refresh_now().await
            }
            _ => self.tokens.token().await,
        }
    }

    /// Whether there was never a grant. Known after a load.
    pub(super) fn has_no_grant(&self) -> bool {
        let status = self.tokens.status();
        self.is_of_user && status.state == TokenState::Absent && status.generation.is_none()
    }

    /// The cause of a connection after an error of the cache. `None` if connecting would not help.
    pub(super) fn cause_after(&self, error: &Error) -> Option<Cause> {
        let is_registered = matches!(self.connection.client.origin, ClientOrigin::Registered(_));
        // A server may forget the clients that have registered themselves.
        let is_client_unknown = is_registered && error.is_invalid_client();
        // The consent of another grant, such as the sign-in at an identity provider, is not asked
        // for here.
        let needs_consent = self.is_of_user && error.is_consent_required();
        (is_client_unknown || needs_consent).then(|| Cause {
            is_client_unknown,
            ..Cause::default()
        })
    }

    /// Whether only a new consent can help after the server has rejected the token.
    pub(super) fn needs_consent(&self) -> bool {
        self.is_of_user && (self.has_ended() || !self.tokens.status().has_refresh_token)
    }

    /// Whether there is no grant, or no more. Known after a load.
    pub(super) fn has_ended(&self) -> bool {
        matches!(
            self.tokens.status().state,
            TokenState::Absent
                | TokenState::ReauthorizationRequired { .. }
                | TokenState::Revoked { .. }
        )
    }
}

/// A shared clock.
#[derive(Debug)]
struct ClockOf(Arc<dyn Clock>);

impl Clock for ClockOf {
    fn monotonic(&self) -> std::time::Instant {
        self.0.monotonic()
    }

    fn wall(&self) -> std::time::SystemTime {
        self.0.wall()
    }

    fn moved(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        self.0.moved()
    }
}
