//! How the sandbox behaves: one plain value, one field a mode.

use std::time::Duration;

use super::challenge::Challenge;
use super::expiry::{ExpiresAt, ExpiresIn};

/// Every way the sandbox's authorization server and resources can differ from one another.
///
/// The default is the strictest server that is still correct. Set it when building
/// ([`SandboxBuilder::behavior`](super::SandboxBuilder::behavior)), and change it while the
/// sandbox runs with [`Sandbox::change_behavior`](super::Sandbox::change_behavior). Tokens keep the lifetimes they were issued with.
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
    reason = "each is a mode of its own, named where it is set"
)]
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Behavior {
    /// How long an access token lives. Defaults to 24 hours.
    pub access_token_lifetime: Duration,
    /// How long a refresh token lives. Defaults to 30 days.
    pub refresh_token_lifetime: Duration,
    /// How long an authorization code lives. Defaults to 10 minutes.
    pub code_lifetime: Duration,
    /// What happens to a refresh token when it is used. Defaults to [`Rotation::FamilyRevocation`].
    pub rotation: Rotation,
    /// Whether a rotation also revokes the access token issued together with the used refresh token. Defaults to
    /// `false`.
    pub rotation_revokes_access_token: bool,
    /// Whether using a refresh token gives the grant more time. Defaults to [`RefreshWindow::Rolling`].
    pub refresh_window: RefreshWindow,
    /// Whether answers carry a refresh token. Defaults to [`RefreshTokenField::Sent`].
    pub refresh_token_field: RefreshTokenField,
    /// How `expires_at` is spelled. Defaults to [`ExpiresAt::Utc`].
    pub expires_at: ExpiresAt,
    /// Whether and how `expires_in` is sent. Defaults to [`ExpiresIn::Absent`].
    pub expires_in: ExpiresIn,
    /// The text of `token_type`, absent when `None`. Defaults to `Bearer`.
    pub token_type: Option<String>,
    /// Whether token answers carry `scope`. Defaults to `true`.
    pub scope_field: bool,
    /// The `Date` header of every answer. Defaults to [`DateHeader::Clock`].
    pub date: DateHeader,
    /// If set, no consent and no exchange grants more than these scopes. Defaults to `None`.
    pub scope_limit: Option<Vec<String>>,
    /// Who answers authorization requests. Defaults to [`Consent::Allow`].
    pub consent: Consent,
    /// What becomes of PKCE parameters. Defaults to [`Pkce::Verified`].
    pub pkce: Pkce,
    /// The text of `iss` on every way back to the app, with a code or an error (RFC 9207), absent when `None`. Defaults to
    /// `None`.
    pub issuer: Option<String>,
    /// How clients may authenticate. Defaults to [`ClientAuthentication::Body`].
    pub client_authentication: ClientAuthentication,
    /// Whether presenting a code twice revokes the tokens issued for it. Defaults to `true`.
    pub code_reuse_revokes: bool,
    /// Whether revoking a refresh token ends its grant with every access token. Defaults to `true`; when `false`,
    /// only the token itself goes.
    pub revocation_cascades: bool,
    /// Whether revoking an unknown token is answered with 200, as RFC 7009 asks. Defaults to `true`; when `false`,
    /// with 400.
    pub unknown_revocation_succeeds: bool,
    /// The `WWW-Authenticate` of a 401 from a resource. Defaults to [`Challenge::Standard`].
    pub challenge: Challenge,
}

impl Default for Behavior {
    fn default() -> Self {
        Self {
            access_token_lifetime: Duration::from_secs(24 * HOUR),
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
            client_authentication: ClientAuthentication::Body,
            code_reuse_revokes: true,
            revocation_cascades: true,
            unknown_revocation_succeeds: true,
            challenge: Challenge::Standard,
        }
    }
}

/// What happens to a refresh token when it is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rotation {
    /// Nothing: it stays, and the answer repeats it.
    None,
    /// It is replaced. A second use is refused with `invalid_grant` and changes nothing.
    SingleUse,
    /// It is replaced. A second use is refused and ends the whole grant, the winner's tokens included (RFC 9700,
    /// 4.14.2).
    FamilyRevocation,
    /// It is replaced, and may be presented again for a while. After that, a second use ends the whole grant.
    Grace {
        /// How long after its first use a token may be presented again.
        window: Duration,
        /// What a repeated presentation gets.
        replay: Replay,
    },
    /// It is replaced, but stays valid until the new access token, or the new refresh token, is used. After that, a
    /// second use is refused and changes nothing.
    Deferred,
}

/// What a refresh token gets when it is presented again within its grace window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Replay {
    /// The tokens of the first answer once more.
    SamePair,
    /// A new pair, which lives beside the first.
    Sibling,
}

/// Whether using a refresh token gives the grant more time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RefreshWindow {
    /// Each exchange starts the refresh token's lifetime anew.
    Rolling,
    /// Every refresh token of a grant ends one refresh token lifetime after the code was redeemed, however often one
    /// is used. Access tokens given out before live their own lifetime to its end.
    Fixed,
}

/// Whether answers carry a refresh token.
///
/// With anything but [`Sent`](Self::Sent), an exchange by refresh token does not rotate, whatever [`Rotation`] says:
/// a server that tells its client no new refresh token cannot have retired the old one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RefreshTokenField {
    /// Every answer carries one.
    Sent,
    /// Answers to a refresh leave the field out.
    OmittedOnRefresh,
    /// Answers to a refresh carry an empty string.
    EmptyOnRefresh,
    /// Answers to a refresh carry `null`.
    NullOnRefresh,
    /// No answer carries one, not even to a code: the grant cannot be refreshed.
    Never,
}

/// The `Date` header of every answer. `expires_at` always follows the sandbox's own clock.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DateHeader {
    /// What the sandbox's clock shows.
    Clock,
    /// Ahead of the sandbox's clock.
    Ahead(Duration),
    /// Behind the sandbox's clock.
    Behind(Duration),
    /// No header.
    Absent,
    /// This text; left out if it cannot stand in a header.
    Literal(String),
}

/// Who answers authorization requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Consent {
    /// The sandbox allows them at once: for programs.
    Allow,
    /// The sandbox denies them at once.
    Deny,
    /// A person does, on the consent page.
    Page,
}

/// What becomes of PKCE parameters (RFC 7636).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Pkce {
    /// A challenge is verified if one was sent.
    Verified,
    /// Neither challenge nor verifier is looked at.
    Ignored,
    /// An authorization request without an S256 challenge is refused.
    Required,
}

/// How clients may authenticate at the token and revocation endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientAuthentication {
    /// By `client_id` and `client_secret` in the form; HTTP Basic is refused, and no 401 names it.
    Body,
    /// By the form or by HTTP Basic, but not by both.
    BodyOrBasic,
}

const HOUR: u64 = 60 * 60;
