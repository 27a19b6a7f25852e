//! A connection: the authorization server of an MCP server, the client there, and the scopes. It
//! is stored, so that a restart needs neither discovery nor registration.

use std::{fmt, time::SystemTime};

use serde::{Deserialize, Serialize};

use super::{
    client::{Client, ClientOrigin, Clients, Credentials, Server},
    scopes::Scopes,
};
use crate::{
    error::Error,
    store::{AnyStore, SaveOutcome, TokenStore},
    token::{
        AccessToken, ClientIdentity, Generation, Grant, GrantState, TenantId, TokenSet, digest,
    },
};

/// All that is needed to use and refresh a grant.
#[derive(Clone, Serialize, Deserialize, PartialEq, Eq)]
pub(super) struct Connection {
    pub(super) issuer: String,
    /// The parameter `resource` of RFC 8707.
    pub(super) resource: String,
    pub(super) token_endpoint: String,
    pub(super) authorization_endpoint: Option<String>,
    pub(super) revocation_endpoint: Option<String>,
    /// `None` if authorization requests do not have to be pushed (RFC 9126).
    pub(super) pushed_authorization_request_endpoint: Option<String>,
    /// Whether each callback names the issuer (RFC 9207).
    pub(super) sends_iss: bool,
    pub(super) client: Client,
    /// The scopes that were requested for the grant.
    pub(super) scopes: Scopes,
}

impl Connection {
    pub(super) fn new(server: &Server, resource: &str, client: Client, scopes: Scopes) -> Self {
        Self {
            issuer: server.issuer.clone(),
            resource: resource.to_owned(),
            token_endpoint: server.token_endpoint.clone(),
            authorization_endpoint: server.authorization_endpoint.clone(),
            revocation_endpoint: server.revocation_endpoint.clone(),
            pushed_authorization_request_endpoint: server
                .pushed_authorization_request_endpoint
                .clone(),
            sends_iss: server.sends_iss,
            client,
            scopes,
        }
    }

    /// Whether a grant of the other connection is one of this one.
    pub(super) fn has_same_grant(&self, other: &Self) -> bool {
        self.has_same_client_id(other)
            && self.resource == other.resource
            && self.token_endpoint == other.token_endpoint
    }

    pub(super) fn has_same_client_id(&self, other: &Self) -> bool {
        self.issuer == other.issuer && self.client.id == other.client.id
    }

    /// Whether a grant of the other connection is one of this one, and of the same credentials.
    pub(super) fn is_same_client(&self, other: &Self) -> bool {
        self.has_same_grant(other) && self.client == other.client
    }

    /// Whether the program is still this client, with such credentials: its settings may have
    /// changed.
    pub(super) fn is_of(&self, clients: &Clients) -> bool {
        let needed = Credentials::of(self.client.authentication);
        match &self.client.origin {
            ClientOrigin::PreRegistered => {
                clients
                    .pre_registered_at(&self.issuer)
                    .is_some_and(|client| {
                        client.client_id == self.client.id && client.credentials() == needed
                    })
            }
            ClientOrigin::MetadataDocument => {
                clients.metadata_url.as_deref() == Some(&*self.client.id)
            }
            ClientOrigin::Registered(_) => clients.registers_as.is_some(),
        }
    }

    /// The client of this connection, if it was registered at this issuer with this redirect URI,
    /// and its secret has not expired.
    pub(super) fn registered_client(
        &self,
        issuer: &str,
        redirect_uri: &str,
        now: SystemTime,
    ) -> Option<&Client> {
        let ClientOrigin::Registered(registration) = &self.client.origin else {
            return None;
        };
        let now = now.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs();
        let is_alive = registration.secret_expires_at.is_none_or(|at| now < at);
        let is_same = self.issuer == issuer && registration.redirect_uri == redirect_uri;
        (is_same && is_alive).then_some(&self.client)
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("issuer", &self.issuer)
            .field("resource", &self.resource)
            .field("client", &self.client)
            .finish_non_exhaustive()
    }
}

/// The stored connection of one tenant to one endpoint.
///
/// It is kept beside the grants, as a record of the same form, so that each store encrypts it and
/// saves it conditionally: of two processes that register at the same time, one adopts the client
/// of the other.
#[derive(Clone)]
pub(super) struct Connections {
    store: AnyStore,
    tenant: String,
    endpoint: String,
}

/// The name of the value that holds the connection.
const VALUE: &str = "mcp_connection";
/// A connection has no token, but a record needs one.
const NO_TOKEN: &str = "none";
/// How often a save is repeated that another process has outrun.
const ATTEMPTS: usize = 3;

impl Connections {
    pub(super) fn new(store: AnyStore, tenant: &str, endpoint: &str) -> Result<Self, Error> {
        let connections = Self {
            store,
            tenant: tenant.to_owned(),
            endpoint: endpoint.to_owned(),
        };
        TenantId::new(tenant)?;
        connections.name()?;
        Ok(connections)
    }

    fn name(&self) -> Result<TenantId, Error> {
        self.named("connection", None, &self.endpoint)
    }

    /// The name under which the grant of a connection is stored: grants of different issuers,
    /// clients or resources never share one.
    pub(super) fn grant_name(&self, connection: &Connection) -> Result<TenantId, Error> {
        let (issuer, resource) = (&connection.issuer, &connection.resource);
        let identity = ClientIdentity::new(&*connection.token_endpoint, &*connection.client.id);
        // A URL contains no space.
        self.named("grant", Some(&identity), &format!("{issuer} {resource}"))
    }

    fn named(
        &self,
        kind: &str,
        identity: Option<&ClientIdentity>,
        key: &str,
    ) -> Result<TenantId, Error> {
        let digest = digest(identity, key);
        TenantId::new(format!("{}/mcp-{kind}/{digest}", self.tenant)).map_err(|error| {
            Error::configuration("tenant: the name is longer than 175 bytes; use a shorter one")
                .with_source(error)
        })
    }

    /// The identity of the record. No client has it, so that no sweep refreshes the record.
    fn identity(&self) -> ClientIdentity {
        ClientIdentity::new(&*self.endpoint, "mcp-connection")
    }

    /// Loads the connection. `None` if there is none, or none that this version can read.
    pub(super) async fn load(&self) -> Result<Option<Connection>, Error> {
        let grant = self.store.load(&self.name()?).await?;
        Ok(grant.and_then(|grant| self.read(&grant)))
    }

    fn read(&self, grant: &Grant) -> Option<Connection> {
        if grant.identity.as_ref() != Some(&self.identity()) {
            return None;
        }
        let json = grant.tokens()?.values().get(VALUE)?;
        serde_json::from_str(json).ok()
    }

    /// Saves a connection. If another process has saved one meanwhile, `resolve` decides between
    /// the two: it returns what is to be saved, or else what was stored is kept.
    pub(super) async fn save(
        &self,
        connection: Connection,
        resolve: impl Fn(&Connection, Connection) -> Option<Connection>,
        now: SystemTime,
    ) -> Result<Connection, Error> {
        let name = self.name()?;
        let mut stored = self.store.load(&name).await?;
        for _ in 0..ATTEMPTS {
            let saved = match stored.as_ref().and_then(|stored| self.read(stored)) {
                Some(found) if found == connection => return Ok(found),
                Some(found) => match resolve(&found, connection.clone()) {
                    Some(saved) => saved,
                    None => return Ok(found),
                },
                None => connection.clone(),
            };
            let expected = stored.as_ref().map(|stored| stored.generation);
            let record = self.record(&saved, expected, now)?;
            match self.store.save(&name, expected, &record).await? {
                SaveOutcome::Committed => return Ok(saved),
                SaveOutcome::Superseded(newer) => stored = newer,
            }
        }
        Err(Error::store(
            "other processes connect to the same MCP server all the time",
        ))
    }

    fn record(
        &self,
        connection: &Connection,
        replaced: Option<Generation>,
        now: SystemTime,
    ) -> Result<Grant, Error> {
        let json = serde_json::to_string(connection).map_err(Error::store)?;
        let mut tokens = TokenSet::new(AccessToken::new(NO_TOKEN)?, None, now);
        if !tokens.keep_value(VALUE, &json) {
            return Err(Error::configuration(
                "connection: the URLs and the client of the authorization server have more than 8 \
                 KiB and cannot be stored; register a client by hand",
            ));
        }
        let generation = replaced.map_or(Generation::FIRST, Generation::next);
        let grant = Grant::new(generation, GrantState::Active(tokens));
        Ok(grant.with_identity(self.identity()))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use zeroize::Zeroizing;

    use super::*;
    use crate::{
        mcp::client::{PreRegistered, Registration},
        provider::ClientAuthentication,
        store::MemoryStore,
    };

    fn registered(id: &str) -> Client {
        Client {
            id: id.to_owned(),
            authentication: ClientAuthentication::Basic,
            origin: ClientOrigin::Registered(Registration {
                redirect_uri: "http://127.0.0.1/cb".into(),
                secret: Some(Zeroizing::new("seeded".into())),
                secret_expires_at: Some(1_000),
            }),
        }
    }

    fn connection(issuer: &str, client: Client) -> Connection {
        let origin = issuer.parse().unwrap();
        let server = Server::without_metadata(&origin);
        Connection::new(&server, "https://r.example/mcp", client, Scopes::parse("a"))
    }

    fn connections(store: &AnyStore) -> Connections {
        Connections::new(store.clone(), "t", "https://r.example/mcp").unwrap()
    }

    const NOW: SystemTime = SystemTime::UNIX_EPOCH;

    #[tokio::test]
    async fn connection_survives_a_restart_and_loses_no_race() {
        let store = AnyStore::new(MemoryStore::new());
        let (one, two) = (connections(&store), connections(&store));
        assert_eq!(one.load().await.unwrap(), None);
        let mine = connection("https://a.example", registered("mine"));
        let theirs = connection("https://a.example", registered("theirs"));
        let keep = |_: &Connection, _| None;
        let replace = |_: &Connection, new| Some(new);
        assert_eq!(one.save(mine.clone(), keep, NOW).await.unwrap(), mine);
        assert_eq!(two.save(theirs.clone(), keep, NOW).await.unwrap(), mine);
        assert_eq!(two.load().await.unwrap(), Some(mine));
        assert_eq!(
            two.save(theirs.clone(), replace, NOW).await.unwrap(),
            theirs
        );
        assert_eq!(one.load().await.unwrap(), Some(theirs.clone()));
        assert!(!format!("{theirs:?}").contains("seeded"));
        let other = Connections::new(store, "t", "https://r.example/other").unwrap();
        assert_eq!(other.load().await.unwrap(), None);
    }

    #[test]
    fn p25_grants_of_other_issuers_clients_and_resources_have_other_names() {
        let connections = connections(&AnyStore::new(MemoryStore::new()));
        let base = connection("https://a.example", registered("a"));
        let mut names = vec![connections.name().unwrap()];
        let resource = Connection {
            resource: "https://r.example".into(),
            ..base.clone()
        };
        let moved = Connection {
            token_endpoint: "https://evil.example/token".into(),
            ..base.clone()
        };
        for one in [
            base.clone(),
            connection("https://b.example", registered("a")),
            connection("https://a.example", registered("b")),
            resource.clone(),
            moved.clone(),
        ] {
            let name = connections.grant_name(&one).unwrap();
            assert!(!names.contains(&name), "{name}");
            names.push(name);
        }
        assert!(base.has_same_grant(&base));
        assert!(!base.has_same_grant(&resource));
        assert!(!base.has_same_grant(&moved));
    }

    #[test]
    fn p25_registration_is_used_again_only_at_its_issuer() {
        let connection = connection("https://a.example", registered("a"));
        let find = |issuer, redirect_uri, now| {
            let now = SystemTime::UNIX_EPOCH + Duration::from_secs(now);
            connection
                .registered_client(issuer, redirect_uri, now)
                .is_some()
        };
        assert!(find("https://a.example", "http://127.0.0.1/cb", 999));
        assert!(!find("https://a.example", "http://127.0.0.1/cb", 1_000));
        assert!(!find("https://a.example/", "http://127.0.0.1/cb", 0));
        assert!(!find("https://b.example", "http://127.0.0.1/cb", 0));
        assert!(!find("https://a.example", "http://127.0.0.1/other", 0));
    }

    #[test]
    fn connection_of_a_client_that_the_program_is_no_longer_is_not_used() {
        let mut clients = Clients {
            pre_registered: vec![PreRegistered::new("https://a.example", "a")],
            metadata_url: Some("https://app.example/c".into()),
            registers_as: None,
        };
        let of = |id: &str, origin| Client {
            id: id.into(),
            authentication: ClientAuthentication::None,
            origin,
        };
        let pre = connection("https://a.example", of("a", ClientOrigin::PreRegistered));
        let url = "https://app.example/c";
        let document = connection("https://a.example", of(url, ClientOrigin::MetadataDocument));
        assert!(pre.is_of(&clients) && document.is_of(&clients));
        assert!(!connection("https://a.example", registered("x")).is_of(&clients));
        clients.pre_registered.clear();
        clients.metadata_url = None;
        assert!(!pre.is_of(&clients) && !document.is_of(&clients));
    }

    #[test]
    fn long_tenant_names_are_refused() {
        let store = AnyStore::new(MemoryStore::new());
        let named = |name: &str| Connections::new(store.clone(), name, "https://r.example/mcp");
        assert!(named(&"x".repeat(170)).is_ok());
        for bad in [&"x".repeat(200), "", "a\nb"] {
            assert!(named(bad).is_err());
        }
    }
}
