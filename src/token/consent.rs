//! The decision about a new consent.

/// A decision about the token set of a new consent, and about the stored refresh token.
///
/// It matters if a new consent brings no refresh token although the stored grant has one: some
/// providers issue a refresh token only at the first consent of an account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ConsentDecision {
    /// The stored grant stays as it is, and the new token set is not stored.
    ///
    /// The new tokens are not revoked, because providers may end the stored grant with them. The
    /// default.
    #[default]
    Reject,
    /// The new token set is stored with the refresh token of the stored grant.
    ///
    /// Decide this only if both are of the same account at the provider. Otherwise requests would
    /// use the new account until the next refresh, and then the old one.
    KeepRefreshToken,
    /// The new token set replaces the stored grant, with its refresh token.
    ///
    /// If the new token set contains no refresh token, the grant ends with its access token.
    Replace,
}

impl ConsentDecision {
    /// The decision as in events, such as `keep_refresh_token`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Reject => "reject",
            Self::KeepRefreshToken => "keep_refresh_token",
            Self::Replace => "replace",
        }
    }
}
