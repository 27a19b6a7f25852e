//! The builder's setters for the modes.

use std::time::Duration;

use super::behavior::{
    ClientAuthentication, Consent, DateHeader, Pkce, RefreshTokenField, RefreshWindow, Rotation,
};
use super::builder::SandboxBuilder;
use super::challenge::Challenge;
use super::expiry::{ExpiresAt, ExpiresIn};

/// One setter for each field of [`Behavior`](super::Behavior), where its meaning and default are told.
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

    /// Whether a rotation also revokes the access token issued together with the used refresh token. Defaults to
    /// `false`.
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

    /// The text of `iss` on every way back to the app, with a code or an error (RFC 9207), absent when `None`. Defaults to
    /// `None`.
    pub fn issuer(mut self, issuer: Option<&str>) -> Self {
        self.behavior.issuer = issuer.map(str::to_owned);
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

    /// Whether revoking a refresh token ends its grant with every access token. Defaults to `true`; when `false`,
    /// only the token itself goes.
    pub fn revocation_cascades(mut self, revocation_cascades: bool) -> Self {
        self.behavior.revocation_cascades = revocation_cascades;
        self
    }

    /// Whether revoking an unknown token is answered with 200, as RFC 7009 asks. Defaults to `true`; when `false`,
    /// with 400.
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
