//! The environment variables that configure the sandbox.

use std::{ffi::OsString, net::SocketAddr, time::Duration};

use tower_oauth2_client::sandbox::{
    Challenge, ClientAuthentication, Consent, ExpiresAt, ExpiresIn, MetadataDocuments, Pkce,
    RefreshTokenField, RefreshWindow, Replay, Rotation, SandboxBuilder,
};

use crate::parse::{choice, date, duration, non_empty, text};

pub(crate) const HELP: &str = "\
A fake Justworks on loopback: an authorization server, an API, and a status page.

Options:
  -h, --help                       print this help

Environment variables, all optional:
  SANDBOX_LISTEN=127.0.0.1:8080    address and port; default 127.0.0.1:8080; port 0 selects a free port
  SANDBOX_HOST=...                 a further name in the Host of requests, such as that of a container
  SANDBOX_CLIENT_ID=...            default sandbox-client
  SANDBOX_CLIENT_SECRET=...        default sandbox-client-secret
  SANDBOX_CLIENT_NAME=...          name on the consent page; default Example app
  SANDBOX_REDIRECT_URI=...         default http://127.0.0.1:8000/callback
  SANDBOX_CONSENT=page             page (default), allow or deny: how authorization requests are decided
  SANDBOX_ACCESS_TTL=86400         access token lifetime: seconds, or with a unit: 500ms, 30s, 10m, 24h, 30d
  SANDBOX_REFRESH_TTL=30d          refresh token lifetime
  SANDBOX_CODE_TTL=10m             authorization code lifetime
  SANDBOX_ROTATION=family          none, single-use, family (default), grace, grace-sibling or deferred
  SANDBOX_GRACE=30s                reuse grace of the rotations grace and grace-sibling
  SANDBOX_WINDOW=rolling           rolling (default) or fixed: whether a refresh extends the grant
  SANDBOX_REVOKE_ACCESS_TOKEN=0    1: a rotation also revokes the previous access token
  SANDBOX_EXPIRES_AT=utc           utc (default), fraction, offset, unknown-offset, lower-case, space, no-offset,
                                   epoch-number, epoch-text, early, empty, null or absent
  SANDBOX_EXPIRES_IN=0             1: responses contain expires_in as well as expires_at
  SANDBOX_REFRESH_TOKEN=sent       sent (default), omitted, empty, null, first-consent or never: refresh_token in responses
  SANDBOX_TOKEN_TYPE=Bearer        value of token_type; empty omits it
  SANDBOX_DATE=0s                  how far Date is ahead of the clock; -5m: behind; absent: no Date
  SANDBOX_SCOPE_LIMIT=...          the only scopes that can be granted, separated by spaces; default all
  SANDBOX_CHALLENGE=standard       standard (default), bare, lower-case, one-header, two-headers, basic,
                                   insufficient-scope, invalid-request or absent: WWW-Authenticate of a 401
  SANDBOX_PKCE=verified            verified (default), ignored or required
  SANDBOX_ISSUER=...               iss in redirects to the client (RFC 9207); default none
  SANDBOX_METADATA=none            none (default), oauth, openid or both: which metadata documents are served (RFC 8414)
  SANDBOX_CLIENT_AUTH=body         body (default) or body-or-basic: how clients may authenticate
  SANDBOX_MEMBERS=25               how many members the company has, at most 100000
";

/// The address to listen on.
pub(crate) fn listen_address(
    variable: &impl Fn(&str) -> Option<OsString>,
) -> Result<SocketAddr, String> {
    let listen = text(variable, "SANDBOX_LISTEN")?.unwrap_or("127.0.0.1:8080".to_owned());
    listen.parse().map_err(|_| {
        format!(
            "SANDBOX_LISTEN={listen} is invalid; use an address and a port such as 127.0.0.1:8080"
        )
    })
}

/// Applies the variables to a builder, or returns an error that names the wrong variable.
pub(crate) fn configure(
    builder: SandboxBuilder,
    variable: &impl Fn(&str) -> Option<OsString>,
) -> Result<SandboxBuilder, String> {
    let builder = configure_client(builder, variable)?;
    let builder = configure_lifetimes(builder, variable)?;
    let builder = configure_formats(builder, variable)?;
    let window = duration(variable, "SANDBOX_GRACE")?.unwrap_or(Duration::from_secs(30));
    let grace = |replay| Rotation::Grace { window, replay };
    let consent = [
        ("page", Consent::Page),
        ("allow", Consent::Allow),
        ("deny", Consent::Deny),
    ];
    let rotation = [
        ("family", Rotation::FamilyRevocation),
        ("single-use", Rotation::SingleUse),
        ("none", Rotation::None),
        ("grace", grace(Replay::SamePair)),
        ("grace-sibling", grace(Replay::Sibling)),
        ("deferred", Rotation::Deferred),
    ];
    let refresh_window = [
        ("rolling", RefreshWindow::Rolling),
        ("fixed", RefreshWindow::Fixed),
    ];
    let revokes = [("0", false), ("1", true)];
    let pkce = [
        ("verified", Pkce::Verified),
        ("ignored", Pkce::Ignored),
        ("required", Pkce::Required),
    ];
    let client_authentication = [
        ("body", ClientAuthentication::Body),
        ("body-or-basic", ClientAuthentication::BodyOrBasic),
    ];
    let metadata = [
        ("none", MetadataDocuments::None),
        ("oauth", MetadataDocuments::OAuth),
        ("openid", MetadataDocuments::OpenId),
        ("both", MetadataDocuments::Both),
    ];
    let metadata = choice(variable, "SANDBOX_METADATA", &metadata)?;
    let consent = choice(variable, "SANDBOX_CONSENT", &consent)?;
    let rotation = choice(variable, "SANDBOX_ROTATION", &rotation)?;
    let refresh_window = choice(variable, "SANDBOX_WINDOW", &refresh_window)?;
    let revokes = choice(variable, "SANDBOX_REVOKE_ACCESS_TOKEN", &revokes)?;
    let pkce = choice(variable, "SANDBOX_PKCE", &pkce)?;
    let client_authentication = choice(variable, "SANDBOX_CLIENT_AUTH", &client_authentication)?;
    Ok(builder.behavior(|behavior| {
        behavior.consent = consent;
        behavior.rotation = rotation;
        behavior.refresh_window = refresh_window;
        behavior.rotation_revokes_access_token = revokes;
        behavior.pkce = pkce;
        behavior.metadata = metadata;
        behavior.client_authentication = client_authentication;
    }))
}

/// Applies the settings of the client and the company.
fn configure_client(
    mut builder: SandboxBuilder,
    variable: &impl Fn(&str) -> Option<OsString>,
) -> Result<SandboxBuilder, String> {
    if let Some(host) = non_empty(variable, "SANDBOX_HOST")? {
        builder = builder.host(host);
    }
    if let Some(client_id) = non_empty(variable, "SANDBOX_CLIENT_ID")? {
        builder = builder.client_id(client_id);
    }
    if let Some(client_secret) = non_empty(variable, "SANDBOX_CLIENT_SECRET")? {
        builder = builder.client_secret(client_secret);
    }
    if let Some(client_name) = text(variable, "SANDBOX_CLIENT_NAME")? {
        builder = builder.client_name(client_name);
    }
    if let Some(redirect_uri) = non_empty(variable, "SANDBOX_REDIRECT_URI")? {
        if redirect_uri.contains('#') {
            return Err(format!(
                "SANDBOX_REDIRECT_URI={redirect_uri} has a fragment; remove it"
            ));
        }
        builder = builder.redirect_uri(redirect_uri);
    }
    if let Some(issuer) = non_empty(variable, "SANDBOX_ISSUER")? {
        builder = builder.behavior(|behavior| behavior.issuer = Some(issuer));
    }
    if let Some(members) = text(variable, "SANDBOX_MEMBERS")? {
        let number = members.parse().ok().filter(|number| *number <= MAX_MEMBERS);
        builder = builder.members(number.ok_or_else(|| {
            format!("SANDBOX_MEMBERS={members} is invalid; use a number up to {MAX_MEMBERS}")
        })?);
    }
    if let Some(scopes) = text(variable, "SANDBOX_SCOPE_LIMIT")? {
        let scopes = scopes.split_whitespace().map(str::to_owned).collect();
        builder = builder.behavior(|behavior| behavior.scope_limit = Some(scopes));
    }
    Ok(builder)
}

fn configure_lifetimes(
    mut builder: SandboxBuilder,
    variable: &impl Fn(&str) -> Option<OsString>,
) -> Result<SandboxBuilder, String> {
    if let Some(lifetime) = duration(variable, "SANDBOX_ACCESS_TTL")? {
        builder = builder.behavior(|behavior| behavior.access_token_lifetime = lifetime);
    }
    if let Some(lifetime) = duration(variable, "SANDBOX_REFRESH_TTL")? {
        builder = builder.behavior(|behavior| behavior.refresh_token_lifetime = lifetime);
    }
    if let Some(lifetime) = duration(variable, "SANDBOX_CODE_TTL")? {
        builder = builder.behavior(|behavior| behavior.code_lifetime = lifetime);
    }
    Ok(builder)
}

/// Applies the formats of responses.
fn configure_formats(
    mut builder: SandboxBuilder,
    variable: &impl Fn(&str) -> Option<OsString>,
) -> Result<SandboxBuilder, String> {
    let expires_at = [
        ("utc", ExpiresAt::Utc),
        ("fraction", ExpiresAt::Fraction(6)),
        ("offset", ExpiresAt::Offset(-5 * 60)),
        ("unknown-offset", ExpiresAt::UnknownOffset),
        ("lower-case", ExpiresAt::LowerCase),
        ("space", ExpiresAt::Space),
        ("no-offset", ExpiresAt::NoOffset),
        ("epoch-number", ExpiresAt::EpochNumber),
        ("epoch-text", ExpiresAt::EpochText),
        ("early", ExpiresAt::Early(Duration::from_secs(60))),
        ("empty", ExpiresAt::Empty),
        ("null", ExpiresAt::Null),
        ("absent", ExpiresAt::Absent),
    ];
    let expires_in = [("0", ExpiresIn::Absent), ("1", ExpiresIn::Number)];
    let refresh_token = [
        ("sent", RefreshTokenField::Sent),
        ("omitted", RefreshTokenField::OmittedOnRefresh),
        ("empty", RefreshTokenField::EmptyOnRefresh),
        ("null", RefreshTokenField::NullOnRefresh),
        ("first-consent", RefreshTokenField::FirstConsent),
        ("never", RefreshTokenField::Never),
    ];
    let challenge = [
        ("standard", Challenge::Standard),
        ("bare", Challenge::Bare),
        ("lower-case", Challenge::LowerCase),
        ("one-header", Challenge::TwoInOneHeader),
        ("two-headers", Challenge::TwoHeaders),
        ("basic", Challenge::BasicOnly),
        ("insufficient-scope", Challenge::InsufficientScope),
        ("invalid-request", Challenge::InvalidRequest),
        ("absent", Challenge::Absent),
    ];
    if let Some(token_type) = text(variable, "SANDBOX_TOKEN_TYPE")? {
        let token_type = Some(token_type).filter(|it| !it.is_empty());
        builder = builder.behavior(|behavior| behavior.token_type = token_type);
    }
    let date = date(variable)?;
    let expires_at = choice(variable, "SANDBOX_EXPIRES_AT", &expires_at)?;
    let expires_in = choice(variable, "SANDBOX_EXPIRES_IN", &expires_in)?;
    let refresh_token_field = choice(variable, "SANDBOX_REFRESH_TOKEN", &refresh_token)?;
    let challenge = choice(variable, "SANDBOX_CHALLENGE", &challenge)?;
    Ok(builder.behavior(|behavior| {
        behavior.date = date;
        behavior.expires_at = expires_at;
        behavior.expires_in = expires_in;
        behavior.refresh_token_field = refresh_token_field;
        behavior.challenge = challenge;
    }))
}

/// The limit of `SandboxBuilder::members`.
const MAX_MEMBERS: usize = 100_000;

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
