//! How the sandbox behaves: one plain value with one field per setting.

use std::time::Duration;

#[cfg(feature = "dpop")]
use super::dpop::Dpop;
use super::{
    challenge::Challenge,
    expiry::{ExpiresAt, ExpiresIn},
};

/// Every way in which correct authorization servers and APIs differ from each other.
///
/// The default is the strictest server that is still correct. Set it with
/// [`SandboxBuilder::behavior`](super::SandboxBuilder::behavior), and change it while the sandbox
/// runs with [`Sandbox::change_behavior`](super::Sandbox::change_behavior). Tokens keep the
/// lifetime that they were issued with.
///
/// ```
/// use std::time::Duration;
/// use tower_oauth2_client::sandbox::{Rotation, Sandbox};
///
/// let sandbox = Sandbox::builder()
///     .behavior(|behavior| {
///         behavior.rotation = Rotation::SingleUse;
///         behavior.access_token_lifetime = Duration::from_secs(60);
///     })
///     .build();
/// sandbox.change_behavior(|behavior| behavior.rotation = Rotation::None);
/// assert_eq!(sandbox.behavior().rotation, Rotation::None);
/// ```
#[allow(
    clippy::struct_excessive_bools,
    reason = "independent settings, named where they are set"
)]
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Behavior {
    /// The lifetime of an access token. Defaults to 24 hours.
    pub access_token_lifetime: Duration,
    /// How long the API refuses a new access token with a 401, because it does not know the token
    /// yet. Defaults to zero.
    pub access_token_propagation: Duration,
    /// The lifetime of a refresh token. Defaults to 30 days.
    pub refresh_token_lifetime: Duration,
    /// The lifetime of an authorization code. Defaults to 10 minutes.
    pub code_lifetime: Duration,
    /// How a refresh treats the used refresh token. Defaults to [`Rotation::FamilyRevocation`].
    pub rotation: Rotation,
    /// Whether a rotation also revokes the access token that was issued together with the used
    /// refresh token. Defaults to `false`.
    pub rotation_revokes_access_token: bool,
    /// Whether a refresh extends the grant. Defaults to [`RefreshWindow::Rolling`].
    pub refresh_window: RefreshWindow,
    /// Whether token responses contain a refresh token. Defaults to [`RefreshTokenField::Sent`].
    pub refresh_token_field: RefreshTokenField,
    /// The format of `expires_at`. Defaults to [`ExpiresAt::Utc`].
    pub expires_at: ExpiresAt,
    /// The format of `expires_in`. Defaults to [`ExpiresIn::Absent`].
    pub expires_in: ExpiresIn,
    /// The value of `token_type`, absent if `None`. Defaults to `Bearer`.
    pub token_type: Option<String>,
    /// Whether token responses contain `scope`. Defaults to `true`.
    pub scope_field: bool,
    /// The `Date` header of every response. Defaults to [`DateHeader::Clock`].
    pub date: DateHeader,
    /// If set, no consent and no refresh grants other scopes than these. Defaults to `None`.
    pub scope_limit: Option<Vec<String>>,
    /// How authorization requests are decided. Defaults to [`Consent::Allow`].
    pub consent: Consent,
    /// How PKCE parameters are handled. Defaults to [`Pkce::Verified`].
    pub pkce: Pkce,
    /// The `iss` parameter of every callback, with a code or an error (RFC 9207); absent if `None`.
    /// Defaults to `None`.
    pub issuer: Option<String>,
    /// Which metadata documents are served. Defaults to [`MetadataDocuments::None`].
    pub metadata: MetadataDocuments,
    /// How clients may authenticate. Defaults to [`ClientAuthentication::Body`].
    pub client_authentication: ClientAuthentication,
    /// Whether tokens are bound to keys by DPoP. Defaults to [`Dpop::Off`].
    #[cfg(feature = "dpop")]
    pub dpop: Dpop,
    /// The audience (`aud`) of client assertions. Defaults to `None`: the [`issuer`](Self::issuer),
    /// or that of the [`metadata`](Self::metadata), and without either the URL of the token
    /// endpoint.
    pub assertion_audience: Option<String>,
    /// Whether authorization requests can be pushed (RFC 9126). Defaults to
    /// [`PushedAuthorization::Off`].
    pub pushed_authorization: PushedAuthorization,
    /// How long the browser can use a `request_uri`, once. Defaults to 90 seconds.
    pub request_uri_lifetime: Duration,
    /// Whether the token endpoint accepts the credentials of a client as a grant (RFC 6749, section
    /// 4.4). Defaults to `false`.
    pub client_credentials: bool,
    /// Whether the sandbox serves device authorization (RFC 8628). Defaults to `false`.
    pub device_authorization: bool,
    /// The lifetime of a device code and its user code. Defaults to 10 minutes.
    pub device_code_lifetime: Duration,
    /// The shortest pause between two polls of a device, in whole seconds. An earlier poll gets
    /// `slow_down`, and prolongs it by 5 seconds. Defaults to 5 seconds.
    pub device_interval: Duration,
    /// The resources and audiences for which the token endpoint accepts a token exchange (RFC
    /// 8693). Defaults to none: the sandbox then supports no token exchange.
    pub token_exchange_targets: Vec<String>,
    /// Whether reuse of a code revokes the tokens that were issued for it. Defaults to `true`.
    pub code_reuse_revokes: bool,
    /// Whether revoking a refresh token revokes its grant with every access token. Defaults to
    /// `true`. If `false`, only the refresh token is revoked.
    pub revocation_cascades: bool,
    /// Whether revoking an unknown token gets 200, as RFC 7009 requires. Defaults to `true`. If
    /// `false`, the response is 400.
    pub unknown_revocation_succeeds: bool,
    /// The `WWW-Authenticate` header of a 401 from the API. Defaults to [`Challenge::Standard`].
    pub challenge: Challenge,
}

impl Default for Behavior {
    fn default() -> Self {
        Self {
            access_token_lifetime: Duration::from_secs(24 * HOUR),
            access_token_propagation: Duration::ZERO,
            refresh_token_lifetime: Duration::from_secs(30 * 24 * HOUR),
            code_lifetime: Duration::from_secs(10 * 60),
            rotation: Rotation::FamilyRevocation,
            rotation_revokes_access_token: false,
            refresh_window: RefreshWindow::Rolling,
            refresh_token_field: RefreshTokenField::Sent,
            expires_at: ExpiresAt::Utc,
            expires_in: ExpiresIn::Absent,
            token_type: Some("Bearer".to_owned()),
            scope_field: true,
            date: DateHeader::Clock,
            scope_limit: None,
            consent: Consent::Allow,
            pkce: Pkce::Verified,
            issuer: None,
            metadata: MetadataDocuments::None,
            client_authentication: ClientAuthentication::Body,
            #[cfg(feature = "dpop")]
            dpop: Dpop::Off,
            assertion_audience: None,
            pushed_authorization: PushedAuthorization::Off,
            request_uri_lifetime: Duration::from_secs(90),
            client_credentials: false,
            device_authorization: false,
            device_code_lifetime: Duration::from_secs(10 * 60),
            device_interval: Duration::from_secs(5),
            token_exchange_targets: Vec::new(),
            code_reuse_revokes: true,
            revocation_cascades: true,
            unknown_revocation_succeeds: true,
            challenge: Challenge::Standard,
        }
    }
}

/// How a refresh treats the used refresh token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rotation {
    /// There is no rotation: the refresh token stays valid, and the response repeats it.
    None,
    /// The refresh token is replaced. Reuse is refused with `invalid_grant` and changes nothing.
    SingleUse,
    /// The refresh token is replaced. Reuse is refused and revokes the whole grant, the newest
    /// tokens included (RFC 9700, section 4.14.2).
    FamilyRevocation,
    /// The refresh token is replaced and accepted again for a while. After that, reuse revokes the
    /// whole grant.
    Grace {
        /// The reuse grace: how long after its first use a refresh token is accepted again.
        window: Duration,
        /// The response to a replay within the grace.
        replay: Replay,
    },
    /// The refresh token is replaced, and stays valid until the new access token or the new refresh
    /// token is used. After that, reuse is refused and changes nothing.
    Deferred,
    /// The refresh token is replaced by the first refresh after it has this age. Until then,
    /// responses repeat it. Reuse of a replaced one is refused and changes nothing.
    AfterAge(Duration),
}

/// The response to a refresh token that is replayed within its reuse grace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Replay {
    /// The tokens of the first response.
    SamePair,
    /// A new pair of tokens, valid beside the first.
    Sibling,
}

/// Whether a refresh extends the grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RefreshWindow {
    /// Each refresh restarts the lifetime of the refresh token.
    Rolling,
    /// Every refresh token of a grant expires one refresh token lifetime after the code exchange,
    /// regardless of refreshes. Access tokens that were issued before keep their own lifetime.
    Fixed,
}

/// Whether token responses contain a refresh token.
///
/// With anything but [`Sent`](Self::Sent), a refresh does not rotate, regardless of [`Rotation`]: a
/// server that sends no new refresh token cannot retire the old one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RefreshTokenField {
    /// Every response contains one.
    Sent,
    /// The response to a refresh omits the field.
    OmittedOnRefresh,
    /// The response to a refresh contains an empty string.
    EmptyOnRefresh,
    /// The response to a refresh contains `null`.
    NullOnRefresh,
    /// Only the response to the first code exchange of a client contains one. A refresh does not,
    /// and a later code exchange does only once no refresh token of the client is left, because its
    /// grants have been revoked or have expired.
    FirstConsent,
    /// No response contains one, not even to a code exchange: the grant cannot be refreshed.
    Never,
}

/// The `Date` header of every response. `expires_at` always follows the sandbox's own clock.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DateHeader {
    /// The time of the sandbox's clock.
    Clock,
    /// This much ahead of the sandbox's clock.
    Ahead(Duration),
    /// This much behind the sandbox's clock.
    Behind(Duration),
    /// No header.
    Absent,
    /// This text; no header if it is not a valid header value.
    Literal(String),
}

/// How authorization requests are decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Consent {
    /// The sandbox allows them at once, for use without a browser.
    Allow,
    /// The sandbox denies them at once.
    Deny,
    /// A user decides on the consent page.
    Page,
}

/// How PKCE parameters are handled (RFC 7636).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Pkce {
    /// The verifier is checked if the authorization request had a challenge.
    Verified,
    /// Challenge and verifier are ignored.
    Ignored,
    /// An authorization request without an S256 challenge is refused.
    Required,
}

/// Which metadata documents are served (RFC 8414).
///
/// A document names the endpoints, methods and scopes that the sandbox really has. Its issuer is
/// [`Behavior::issuer`], or the [URL](super::Sandbox::url) of the sandbox if there is none, and it
/// is served where a client of that issuer looks for it, also if the issuer has a path. A request
/// with a query or with credentials is refused. A [persona](super::Persona) serves none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MetadataDocuments {
    /// None: the well-known paths get 404.
    None,
    /// The one at `/.well-known/oauth-authorization-server`.
    OAuth,
    /// The one at `/.well-known/openid-configuration`, before and behind the path of the issuer.
    OpenId,
    /// Both.
    Both,
}

/// Whether authorization requests can be pushed (RFC 9126).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PushedAuthorization {
    /// There is no endpoint for it.
    Off,
    /// They can be pushed.
    Accepted,
    /// Authorization requests that were not pushed are refused.
    Required,
}

/// How clients may authenticate at the token, revocation and pushed authorization request
/// endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientAuthentication {
    /// By `client_id` and `client_secret` in the form. HTTP Basic is refused, and no 401 offers it.
    Body,
    /// By the form or by HTTP Basic, but not by both.
    BodyOrBasic,
    /// By HTTP Basic. Credentials in the form are refused.
    Basic,
    /// By HTTP Basic with credentials that are not form-encoded. Credentials in the form are
    /// refused.
    BasicRaw,
    /// By `client_id` in the form, without a secret: a public client.
    None,
    /// By an assertion that is signed with the client secret (`client_secret_jwt`).
    ClientSecretJwt,
    /// By an assertion that is signed with a registered key (`private_key_jwt`).
    #[cfg(feature = "signing")]
    PrivateKeyJwt,
    /// By the certificate of the connection, which the sandbox cannot see: `client_id` in the form,
    /// and no secret (`tls_client_auth`).
    TlsClientAuth,
}

const HOUR: u64 = 60 * 60;
