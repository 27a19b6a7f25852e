//! The decision about a new consent.

/// A decision about the token set of a new consent.
///
/// Some providers issue a refresh token only at the first consent of an account. The decision
/// therefore also says what happens if a new consent brings no refresh token, although the stored
/// grant has one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ConsentDecision {
    /// The new token set replaces the stored grant, with its kept values. The default.
    ///
    /// If it contains no refresh token and the stored grant has one, it is not stored: the stored
    /// grant stays as it is, as with [`Reject`](Self::Reject).
    #[default]
    Accept,
    /// The new token set replaces the stored grant. If it contains no refresh token, it is stored
    /// with the refresh token of the stored grant.
    ///
    /// Decide this only if both are of the same account at the provider. Otherwise requests would
    /// use the new account until the next refresh, and then the old one.
    ///
    /// [Kept values](crate::token::TokenSet::values) that the new token set lacks are taken from
    /// the stored grant too. If a value differs that is a part of an
    /// [address](crate::provider#addresses-per-tenant), nothing is stored, as with
    /// [`Accept`](Self::Accept): the refresh token would be sent to a server that has not issued
    /// it.
    KeepRefreshToken,
    /// The new token set replaces the stored grant, with its refresh token.
    ///
    /// If the new token set contains no refresh token, the grant ends with its access token.
    Replace,
    /// The stored grant stays as it is, and the new token set is not stored.
    ///
    /// The new tokens are not revoked. Many providers keep one grant of each account and client,
    /// and end all of it with any of its tokens, so a revocation may end the stored grant of this
    /// tenant or of another one. Tokens that are not stored end with their lifetimes.
    Reject,
    /// As [`Reject`](Self::Reject), and the new tokens are revoked at the provider.
    ///
    /// Decide this only if the new tokens are of an account that no tenant has connected.
    RejectAndRevoke,
}

impl ConsentDecision {
    /// The decision as in events, such as `keep_refresh_token`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accept => "accept",
            Self::KeepRefreshToken => "keep_refresh_token",
            Self::Replace => "replace",
            Self::Reject => "reject",
            Self::RejectAndRevoke => "reject_and_revoke",
        }
    }
}
