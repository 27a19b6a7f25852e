//! Settings of an [`McpAuth`], checked when it is built.

use std::{fmt, future::Future, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use super::{
    auth::McpAuth,
    client::{Clients, Credentials, PreRegistered, check_metadata_url},
    connection::Connections,
    endpoint::Endpoint,
    enterprise::EnterpriseManaged,
    http::{Http, erased},
    session::{Authorize, Flow, Settings},
};
use crate::{
    cache::AssertionSource,
    clock::{Clock, SystemClock},
    error::{BoxError, Error},
    oauth::OAuthClient,
    store::{AnyStore, MemoryStore, TokenStore},
};

/// Builds an [`McpAuth`]. Its setters never fail; [`build`](Self::build) checks all settings.
#[must_use = "a builder does nothing until it is built"]
pub struct McpAuthBuilder {
    endpoint: String,
    http: Arc<dyn Http>,
    /// With the redirect URI.
    authorize: Option<(String, Authorize)>,
    is_client_credentials: bool,
    enterprise_managed: Option<EnterpriseManaged>,
    clients: Clients,
    is_legacy: bool,
    store: AnyStore,
    tenant: String,
    connect_timeout: Duration,
    replay_limit: usize,
    clock: Arc<dyn Clock>,
}

/// A user may have to find a password, or a second factor.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(300);
const SHORTEST_CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
const LONGEST_CONNECT_TIMEOUT: Duration = Duration::from_secs(3_600);
const REPLAY_LIMIT: usize = 64 * 1024;
const CLIENT_NAME: &str = env!("CARGO_PKG_NAME");

impl McpAuth {
    /// Starts building the authorization at the MCP server with this endpoint, such as
    /// `https://mcp.example.com/mcp`.
    ///
    /// `http` sends the requests to authorization servers and for metadata. It is an HTTP client
    /// that follows no redirects, as for an [`OAuthClient`](crate::oauth#the-http-client).
    pub fn builder<S, B, R>(endpoint: impl Into<String>, http: S) -> McpAuthBuilder
    where
        S: Service<Request<B>, Response = Response<R>> + Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
        S::Error: Into<BoxError>,
        B: From<Bytes> + Send + 'static,
        R: Body + Send + 'static,
        R::Data: Send,
        R::Error: Into<BoxError>,
    {
        McpAuthBuilder {
            endpoint: endpoint.into(),
            http: erased(http),
            authorize: None,
            is_client_credentials: false,
            enterprise_managed: None,
            clients: Clients {
                pre_registered: Vec::new(),
                metadata_url: None,
                registers_as: Some(CLIENT_NAME.to_owned()),
            },
            is_legacy: false,
            store: AnyStore::new(MemoryStore::new()),
            tenant: "default".to_owned(),
            connect_timeout: CONNECT_TIMEOUT,
            replay_limit: REPLAY_LIMIT,
            clock: Arc::new(SystemClock),
        }
    }
}

impl McpAuthBuilder {
    /// Sets the redirect URI, and how the user consents. Required, except for
    /// [`client_credentials`](Self::client_credentials) and
    /// [`enterprise_managed`](Self::enterprise_managed).
    ///
    /// `authorize` gets an authorization URL. It opens the URL in the user's browser, waits until
    /// the browser comes back to the redirect URI, and returns the URL of that request, or its
    /// query. It is called once for all requests that wait, in a task of its own, and dropped after
    /// the [`connect_timeout`](Self::connect_timeout).
    pub fn authorize<F, R>(mut self, redirect_uri: impl Into<String>, authorize: F) -> Self
    where
        F: Fn(String) -> R + Send + Sync + 'static,
        R: Future<Output = Result<String, BoxError>> + Send + 'static,
    {
        let authorize: Authorize = Arc::new(move |url| Box::pin(authorize(url)));
        self.authorize = Some((redirect_uri.into(), authorize));
        self
    }

    /// Uses the client credentials grant of a [pre-registered](Self::pre_registered) client with a
    /// secret or a signer (RFC 6749 section 4.4), for a program without a user. The grant is kept
    /// in memory.
    pub fn client_credentials(mut self) -> Self {
        self.is_client_credentials = true;
        self
    }

    /// Uses the identity provider of the user's company instead of a consent: see
    /// [enterprise-managed authorization](crate::mcp#enterprise-managed-authorization). Needs a
    /// [pre-registered](Self::pre_registered) client with a secret or a signer at the authorization
    /// server of the MCP server. The grant is kept in memory.
    ///
    /// `identity_provider` is the client that the user has signed in to. It sends the token
    /// exchange, without its scopes.
    ///
    /// `id_tokens` returns an ID token that was issued to this client and has not expired. It is
    /// called before each token exchange, and may return the same ID token again. It has 10
    /// seconds. If the user has signed out, it fails: its error becomes the source of that of the
    /// request, so it must not contain a secret. If another user signs in, build another
    /// [`McpAuth`].
    pub fn enterprise_managed(
        mut self,
        identity_provider: OAuthClient,
        id_tokens: impl AssertionSource,
    ) -> Self {
        self.enterprise_managed = Some(EnterpriseManaged::new(identity_provider, id_tokens));
        self
    }

    /// Adds a client that was registered by hand at one authorization server. Can be called once
    /// for each server.
    pub fn pre_registered(mut self, client: PreRegistered) -> Self {
        self.clients.pre_registered.push(client);
        self
    }

    /// Sets the URL of the program's client id metadata document. The URL is the client id at each
    /// authorization server that supports such documents and has no pre-registered client.
    ///
    /// The document has to contain this URL as `client_id`, the redirect URI in `redirect_uris`,
    /// `refresh_token` in `grant_types`, and `none` as `token_endpoint_auth_method`.
    pub fn client_metadata_url(mut self, url: impl Into<String>) -> Self {
        self.clients.metadata_url = Some(url.into());
        self
    }

    /// Sets the name with which the program registers itself (RFC 7591) where it has no other
    /// client. Users see it when they consent. Defaults to the name of this crate.
    pub fn client_name(mut self, name: impl Into<String>) -> Self {
        self.clients.registers_as = Some(name.into());
        self
    }

    /// Turns dynamic registration off. Without a pre-registered client and a metadata document,
    /// requests then fail.
    pub fn without_registration(mut self) -> Self {
        self.clients.registers_as = None;
        self
    }

    /// Also accepts servers of MCP 2025-03-26, which have no resource metadata. Off by default.
    ///
    /// Such a server is its own authorization server. Its metadata are at the root of its origin
    /// and may name another path of this origin as the issuer, and they do not have to announce
    /// PKCE, which is used nevertheless. Without metadata, the endpoints are `/authorize`, `/token`
    /// and `/register`.
    pub fn legacy_servers(mut self) -> Self {
        self.is_legacy = true;
        self
    }

    /// Sets the store for the connection and its grant. Defaults to a [`MemoryStore`], which loses
    /// them when the process ends.
    ///
    /// It may contain the grants of other clients too. The client secret of a dynamic registration
    /// is stored like a token.
    pub fn store(mut self, store: impl TokenStore) -> Self {
        self.store = AnyStore::new(store);
        self
    }

    /// Sets the user whose grant it is: at most 175 bytes. Defaults to `default`.
    pub fn tenant(mut self, tenant: impl Into<String>) -> Self {
        self.tenant = tenant.into();
        self
    }

    /// Sets how long a connection may take, with the user's consent: 1 second to 1 hour. Defaults
    /// to 5 minutes. A code exchange that has begun by then runs to its end, for later requests.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Sets how many bytes of a request's body are kept, to send the request again. Defaults to 64
    /// KiB, as for
    /// [`BearerAuthLayer::replay_limit`](crate::bearer::BearerAuthLayer::replay_limit).
    pub fn replay_limit(mut self, bytes: usize) -> Self {
        self.replay_limit = bytes;
        self
    }

    /// Sets the clock. Defaults to the operating system's.
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Builds the layer. Sends nothing.
    ///
    /// # Errors
    ///
    /// [`Configuration`](crate::ErrorKind::Configuration), naming the setting: an endpoint that is
    /// not an `https` URL (or `http` to loopback) or has a query; none or several of
    /// [`authorize`](Self::authorize), [`client_credentials`](Self::client_credentials) and
    /// [`enterprise_managed`](Self::enterprise_managed); one of the last two without a
    /// pre-registered client with a secret or a signer; a request parameter `audience` or
    /// `resource` of the client at the identity provider; a pre-registered client with both a
    /// secret and a signer; two pre-registered clients of one issuer; a metadata URL that does not
    /// use `https` or has no path; a tenant name that is too long; or a timeout outside its limits.
    pub fn build(self) -> Result<McpAuth, Error> {
        let endpoint = Endpoint::parse(&self.endpoint)?;
        if let Some(url) = &self.clients.metadata_url {
            check_metadata_url(url)?;
        }
        let list = &self.clients.pre_registered;
        let repeats = |(number, one): (usize, &PreRegistered)| {
            list.iter()
                .skip(number + 1)
                .any(|other| other.issuer == one.issuer)
        };
        if list.iter().enumerate().any(repeats) {
            return Err(Error::configuration(
                "pre-registered clients: two of them have the same issuer; remove one",
            ));
        }
        if list
            .iter()
            .any(|client| client.secret.is_some() && client.signer.is_some())
        {
            return Err(Error::configuration(
                "pre-registered clients: one has both a secret and a signer; remove one of them",
            ));
        }
        if !(SHORTEST_CONNECT_TIMEOUT..=LONGEST_CONNECT_TIMEOUT).contains(&self.connect_timeout) {
            return Err(Error::configuration(
                "connect timeout: must be between 1 second and 1 hour",
            ));
        }
        let flow = match (
            self.authorize,
            self.is_client_credentials,
            self.enterprise_managed,
        ) {
            (Some((redirect_uri, authorize)), false, None) => Flow::Code {
                redirect_uri,
                authorize,
            },
            (None, true, None) => Flow::ClientCredentials,
            (None, false, Some(user)) => {
                user.check()?;
                Flow::EnterpriseManaged(user)
            }
            (None, false, None) => {
                return Err(Error::configuration(
                    "authorize: not set; call McpAuthBuilder::authorize, enterprise_managed for a \
                     user of a company, or client_credentials for a program without a user",
                ));
            }
            (Some(_), true, None) => {
                return Err(Error::configuration(
                    "client credentials: they need no user; remove `authorize`",
                ));
            }
            (_, _, Some(_)) => {
                return Err(Error::configuration(
                    "enterprise-managed authorization: the identity provider consents for a user; \
                     remove `authorize` and `client_credentials`",
                ));
            }
        };
        let needs = match flow {
            Flow::Code { .. } => None,
            Flow::ClientCredentials => Some("client credentials: they need"),
            Flow::EnterpriseManaged(_) => Some("enterprise-managed authorization: it needs"),
        };
        let has_credentials = |client: &PreRegistered| client.credentials() != Credentials::None;
        if let Some(needs) = needs
            && !list.iter().any(has_credentials)
        {
            return Err(Error::configuration(format!(
                "{needs} a pre-registered client with a secret or a signer; call \
                 McpAuthBuilder::pre_registered"
            )));
        }
        let connections = Connections::new(self.store.clone(), &self.tenant, endpoint.url())?;
        let mut clients = self.clients;
        if needs.is_some() {
            // Any other client has no credentials.
            clients.registers_as = None;
            clients.metadata_url = None;
        }
        Ok(McpAuth::new(Settings {
            endpoint,
            http: self.http,
            flow,
            clients,
            is_legacy: self.is_legacy,
            store: self.store,
            connections,
            connect_timeout: self.connect_timeout,
            replay_limit: self.replay_limit,
            clock: self.clock,
        }))
    }
}

impl fmt::Debug for McpAuthBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("McpAuthBuilder")
            .field("endpoint", &self.endpoint)
            .field("clients", &self.clients)
            .finish_non_exhaustive()
    }
}
