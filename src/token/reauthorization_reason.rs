//! Why a grant ended.

/// Why a customer has to consent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ReauthorizationReason {
    /// The provider responded with `invalid_grant`, and no other replica had refreshed the grant.
    /// It was most likely revoked at the provider.
    InvalidGrant,
    /// The provider responded with `invalid_grant` after the lifetime of the refresh token.
    RefreshTokenExpired,
    /// The provider responded with `invalid_grant` after the response to an earlier refresh with
    /// this refresh token was lost. The provider had most likely rotated it, and the new one never
    /// arrived.
    RotationLost,
    /// There is no refresh token, and the access token has expired, or the API has rejected it for
    /// at least an hour. See [grants without a refresh
    /// token](crate::cache#grants-without-a-refresh-token).
    NoRefreshToken,
}

impl ReauthorizationReason {
    /// The reason as in events and metric labels, such as `invalid_grant`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidGrant => "invalid_grant",
            Self::RefreshTokenExpired => "refresh_token_expired",
            Self::RotationLost => "rotation_lost",
            Self::NoRefreshToken => "no_refresh_token",
        }
    }
}
