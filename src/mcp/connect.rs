//! Connecting to an MCP server: discovery, registration, consent.

use std::sync::Arc;

use http::Uri;

use super::{
    client::{Client, ClientOrigin, Kind, PreRegistered, Server, authentication},
    connection::Connection,
    legacy, registration,
    replaced::Replaced,
    scopes::{self, Scopes},
    session::{Cause, Flow, Session, Settings},
};
use crate::{
    cache::Decisions,
    discovery::{Metadata, ProtectedResource},
    error::{Error, ErrorKind},
    oauth::{AcceptedCode, OAuthClient},
    provider::ClientAuthentication,
    token::ConsentDecision,
};

/// Where tokens for the MCP server come from.
struct Target {
    resource: String,
    server: Server,
    scopes_of_resource: Option<Vec<String>>,
}

/// A connection that is nearly made.
pub(super) enum Prepared {
    /// There is a token.
    Ready(Session),
    /// The user has consented.
    Consented {
        session: Session,
        client: OAuthClient,
        code: AcceptedCode,
        /// The grant of another client that the new one replaces.
        replaced: Option<Box<Replaced>>,
    },
}

/// Connects up to the consent. Asks the user only if no stored grant can be used.
pub(super) async fn prepare(
    settings: &Settings,
    cause: &Cause,
    previous: Option<&Session>,
) -> Result<Prepared, Error> {
    let found = settings.connections.load().await?;
    let (stored, outdated) = match found {
        Some(found) if found.is_of(&settings.clients) => (Some(found), None),
        found => (None, found),
    };
    if let Some(stored) = &stored
        && !cause.is_client_unknown
        && let Some(session) = adopt(settings, cause, stored, previous).await?
    {
        return Ok(Prepared::Ready(session));
    }
    let target = discover(settings, cause).await?;
    let scopes = requested_scopes(settings, cause, previous, &target);
    let known = previous.map(|previous| &previous.connection);
    let known: Vec<_> = known
        .into_iter()
        .chain(stored.as_ref())
        .filter(|_| !cause.is_client_unknown)
        .collect();
    let client = client(settings, &target, &scopes, &known).await?;
    let connection = Connection::new(&target.server, &target.resource, client, scopes);
    let Flow::Code { authorize, .. } = &settings.flow else {
        let session = Session::new(settings, connection, previous)?;
        session.tokens.token().await?;
        return Ok(Prepared::Ready(session));
    };
    // With other credentials it is still the same client, whose grant is kept.
    if let Some(outdated) = outdated.filter(|found| found.has_same_grant(&connection)) {
        let renewed = Connection {
            scopes: outdated.scopes,
            ..connection.clone()
        };
        if let Some(session) = adopt(settings, cause, &renewed, previous).await? {
            save(settings, renewed).await?;
            return Ok(Prepared::Ready(session));
        }
    }
    let connection = keep_connection(settings, cause, connection, stored.as_ref()).await?;
    let session = Session::new(settings, connection, previous)?;
    let client = settings.client(&session.connection)?;
    // Before the user is asked: what another process gets while the user decides is not replaced.
    let replaced = match stored {
        Some(stored) => Replaced::find(settings, stored, &session.connection).await,
        None => None,
    };
    let (url, pending) = client.start_authorization().await?;
    let callback = authorize(url).await.map_err(|source| {
        let message = "authorization: the program returned no callback; see the source";
        Error::new(ErrorKind::Callback, message).with_source(source)
    })?;
    let code = pending.accept(&callback)?;
    Ok(Prepared::Consented {
        session,
        client,
        code,
        replaced: replaced.map(Box::new),
    })
}

/// Exchanges the code, and stores the grant and its connection. The code and its tokens cannot be
/// had again, so that nothing ends this early.
pub(super) async fn finish(settings: &Settings, prepared: Prepared) -> Result<Session, Error> {
    let (session, client, code, replaced) = match prepared {
        Prepared::Ready(session) => return Ok(session),
        Prepared::Consented {
            session,
            client,
            code,
            replaced,
        } => (session, client, code, replaced),
    };
    let tokens = client.exchange_code(code).await?;
    // The user may have chosen another account, so nothing of the former grant is kept.
    let decisions = Arc::new(Decisions::always(ConsentDecision::Replace));
    session.tokens.set_tokens_of_code(tokens, decisions).await?;
    save(settings, session.connection.clone()).await?;
    if let Some(replaced) = replaced {
        replaced.end(settings).await;
    }
    Ok(session)
}

async fn save(settings: &Settings, connection: Connection) -> Result<(), Error> {
    let newest = |_: &Connection, new| Some(new);
    let now = settings.clock.wall();
    let saved = settings.connections.save(connection, newest, now).await;
    saved.map(drop)
}

/// The stored connection, if another process has connected, or stepped up, since the session
/// began.
async fn adopt(
    settings: &Settings,
    cause: &Cause,
    stored: &Connection,
    previous: Option<&Session>,
) -> Result<Option<Session>, Error> {
    if !matches!(settings.flow, Flow::Code { .. }) {
        return Ok(None);
    }
    if !stored.scopes.contains_all(&cause.needed) {
        return Ok(None);
    }
    let session = Session::new(settings, stored.clone(), previous)?;
    let before = session.tokens.status().generation;
    let after = session.tokens.load_status().await?.generation;
    let is_new = match previous {
        None => true,
        Some(previous) => {
            before != after
                || !previous.connection.has_same_grant(&session.connection)
                || !previous.scopes().contains_all(&cause.needed)
        }
    };
    if !is_new {
        return Ok(None);
    }
    match session.tokens.token().await {
        Ok(_) => Ok(Some(session)),
        Err(error) if error.is_consent_required() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Finds the resource and its authorization server.
async fn discover(settings: &Settings, cause: &Cause) -> Result<Target, Error> {
    let endpoint = settings.endpoint.url().to_owned();
    let location = cause.challenge.metadata_url.clone();
    let is_announced = location.is_some();
    match settings.http.resource(location, endpoint).await {
        Ok(resource) => of_resource(settings, &resource).await,
        Err(error) if settings.is_legacy && !is_announced && is_absent(&error) => {
            without_resource(settings).await
        }
        Err(error) => Err(error),
    }
}

async fn of_resource(settings: &Settings, resource: &ProtectedResource) -> Result<Target, Error> {
    let servers = resource.authorization_servers();
    let Some(issuer) = settings.clients.choose_issuer(servers) else {
        return Err(Error::configuration(
            "protected resource metadata: they name no authorization server (RFC 9728 section 2); \
             the MCP server has to be corrected",
        ));
    };
    let metadata = settings.http.issuer(issuer).await?;
    let server = Server::of(&metadata)?;
    if !server.has_pkce && matches!(settings.flow, Flow::Code { .. }) {
        return Err(Error::configuration(
            "authorization server metadata: code_challenge_methods_supported does not contain \
             S256, so the code would not be protected (MCP 2025-11-25, authorization code \
             protection); the server has to be corrected",
        ));
    }
    Ok(Target {
        resource: resource.resource().to_owned(),
        server,
        scopes_of_resource: resource.scopes_supported().map(<[String]>::to_vec),
    })
}

/// A server of MCP 2025-03-26 has no resource metadata: it is its own authorization server, at the
/// root of its origin, and may have no metadata at all.
async fn without_resource(settings: &Settings) -> Result<Target, Error> {
    let origin = settings.endpoint.origin();
    let server = match legacy_metadata(settings).await? {
        Some(metadata) => Server::of(&metadata)?,
        None => Server::without_metadata(origin),
    };
    Ok(Target {
        resource: settings.endpoint.url().to_owned(),
        server,
        scopes_of_resource: None,
    })
}

/// The metadata at the root of the origin. MCP 2025-03-26 did not compare the issuer, and it may
/// have a path. It has to have the origin of the MCP server, which cannot speak for another.
async fn legacy_metadata(settings: &Settings) -> Result<Option<Metadata>, Error> {
    let origin = settings.endpoint.origin().to_string();
    let issuer = match settings.http.issuer(&origin).await {
        Ok(metadata) => return Ok(Some(metadata)),
        Err(error) if is_absent(&error) => return Ok(None),
        Err(error) => error,
    };
    let (name, json) = legacy::load(settings.http.transport(), &origin).await?;
    let is_own = |uri: &Uri| settings.endpoint.origin().matches(uri);
    if name.parse().is_ok_and(|uri| is_own(&uri)) {
        Metadata::parse(&name, &json).map(Some)
    } else {
        Err(issuer)
    }
}

/// Whether a server has no such document.
fn is_absent(error: &Error) -> bool {
    let status = error.status();
    error.kind() == ErrorKind::Configuration
        && status.is_some_and(|status| status.is_client_error())
}

fn requested_scopes(
    settings: &Settings,
    cause: &Cause,
    previous: Option<&Session>,
    target: &Target,
) -> Scopes {
    let chosen = if cause.needed.is_empty() {
        let of_resource = target.scopes_of_resource.as_deref();
        let first = scopes::initial(&cause.challenge.scopes, of_resource);
        // What the user has consented to before is not lost.
        previous.map_or(first.clone(), |previous| previous.scopes().union(&first))
    } else {
        cause.needed.clone()
    };
    match &settings.flow {
        Flow::Code { .. } => chosen.with_offline_access(target.server.scopes.as_deref()),
        Flow::ClientCredentials | Flow::EnterpriseManaged(_) => chosen,
    }
}

/// The client at the authorization server, which is registered if need be.
async fn client(
    settings: &Settings,
    target: &Target,
    scopes: &Scopes,
    known: &[&Connection],
) -> Result<Client, Error> {
    let server = &target.server;
    let endpoint = server.registration_endpoint.as_deref();
    let chosen = settings
        .clients
        .choose(&server.issuer, server.supports_document, endpoint)?;
    let redirect_uri = match &settings.flow {
        Flow::Code { redirect_uri, .. } => &**redirect_uri,
        Flow::ClientCredentials | Flow::EnterpriseManaged(_) => "",
    };
    match chosen {
        Kind::PreRegistered(client) => pre_registered(client, server),
        Kind::MetadataDocument(url) => Ok(Client {
            id: url.to_owned(),
            authentication: ClientAuthentication::None,
            origin: ClientOrigin::MetadataDocument,
        }),
        Kind::Registered { endpoint, name } => {
            let now = settings.clock.wall();
            let known = known
                .iter()
                .find_map(|known| known.registered_client(&server.issuer, redirect_uri, now));
            if let Some(client) = known {
                return Ok(client.clone());
            }
            let http = &*settings.http;
            registration::register(http, endpoint, server, name, redirect_uri, scopes).await
        }
    }
}

fn pre_registered(client: &PreRegistered, server: &Server) -> Result<Client, Error> {
    let methods = server.auth_methods.as_deref();
    let Some(authentication) = authentication(methods, client.credentials()) else {
        return Err(Error::configuration(
            "token_endpoint_auth_methods_supported: the authorization server does not accept the \
             credentials of the pre-registered client; register one with another authentication",
        ));
    };
    Ok(Client {
        id: client.client_id.clone(),
        authentication,
        origin: ClientOrigin::PreRegistered,
    })
}

/// Saves a new connection before the user is asked. A registration is then used again if the
/// consent is cancelled, and a grant is found again if the process ends after its code was
/// exchanged. The scopes are those of the grant, which is not there yet.
async fn keep_connection(
    settings: &Settings,
    cause: &Cause,
    connection: Connection,
    stored: Option<&Connection>,
) -> Result<Connection, Error> {
    if stored.is_some_and(|stored| stored.is_same_client(&connection)) {
        return Ok(connection);
    }
    let Flow::Code { redirect_uri, .. } = &settings.flow else {
        return Ok(connection);
    };
    if let Some(stored) = stored
        && !cause.is_client_unknown
        && has_living_grant(settings, stored).await?
    {
        // It would be lost with the stored connection, if the user does not consent.
        return Ok(connection);
    }
    let now = settings.clock.wall();
    let before = Connection {
        scopes: Scopes::default(),
        ..connection.clone()
    };
    // Of two processes that have registered, one uses the client of the other.
    let resolve = |found: &Connection, new: Connection| {
        if found.is_same_client(&new) {
            return None;
        }
        let other = found.registered_client(&new.issuer, redirect_uri, now);
        let is_other = stored.is_none_or(|stored| stored.client != found.client);
        (other.is_none() || !is_other).then_some(new)
    };
    let saved = settings.connections.save(before, resolve, now).await?;
    Ok(Connection {
        client: saved.client,
        ..connection
    })
}

async fn has_living_grant(settings: &Settings, stored: &Connection) -> Result<bool, Error> {
    let session = Session::new(settings, stored.clone(), None)?;
    session.tokens.load_status().await?;
    Ok(!session.has_ended())
}
