//! OAuth error codes.

use std::fmt;

/// The error codes of RFC 6749 sections 4.1.2.1 and 5.2, RFC 7009 section 2.2.1, RFC 8628 section
/// 3.5, RFC 8693 section 2.2.2, and RFC 9449 sections 5 and 8.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OAuthErrorCode {
    /// `access_denied`: the user or the provider denied consent.
    AccessDenied,
    /// `authorization_pending`: the user has not yet decided about the device.
    AuthorizationPending,
    /// `expired_token`: the device code has expired.
    ExpiredToken,
    /// `invalid_client`: the client id or secret is wrong.
    InvalidClient,
    /// `invalid_dpop_proof`: the DPoP proof is missing or invalid.
    InvalidDpopProof,
    /// `invalid_grant`: the code or refresh token is used, expired, revoked, or issued to another
    /// client.
    InvalidGrant,
    /// `invalid_request`: a field is missing, repeated or malformed.
    InvalidRequest,
    /// `invalid_scope`: a scope is unknown or wider than the grant.
    InvalidScope,
    /// `invalid_target`: the provider does not issue tokens for this resource or audience.
    InvalidTarget,
    /// `server_error`: an internal error, reported by a redirect instead of status 500.
    ServerError,
    /// `slow_down`: the device polls too often.
    SlowDown,
    /// `temporarily_unavailable`: overloaded, reported by a redirect instead of status 503.
    TemporarilyUnavailable,
    /// `unauthorized_client`: this client may not use this grant type.
    UnauthorizedClient,
    /// `unsupported_grant_type`: the provider does not know this grant type.
    UnsupportedGrantType,
    /// `unsupported_response_type`: the provider does not issue codes this way.
    UnsupportedResponseType,
    /// `unsupported_token_type`: the provider does not revoke this type of token.
    UnsupportedTokenType,
    /// `use_dpop_nonce`: the DPoP proof has to contain another nonce.
    UseDpopNonce,
}

const CODES: [(&str, OAuthErrorCode); 17] = [
    ("access_denied", OAuthErrorCode::AccessDenied),
    (
        "authorization_pending",
        OAuthErrorCode::AuthorizationPending,
    ),
    ("expired_token", OAuthErrorCode::ExpiredToken),
    ("invalid_client", OAuthErrorCode::InvalidClient),
    ("invalid_dpop_proof", OAuthErrorCode::InvalidDpopProof),
    ("invalid_grant", OAuthErrorCode::InvalidGrant),
    ("invalid_request", OAuthErrorCode::InvalidRequest),
    ("invalid_scope", OAuthErrorCode::InvalidScope),
    ("invalid_target", OAuthErrorCode::InvalidTarget),
    ("server_error", OAuthErrorCode::ServerError),
    ("slow_down", OAuthErrorCode::SlowDown),
    (
        "temporarily_unavailable",
        OAuthErrorCode::TemporarilyUnavailable,
    ),
    ("unauthorized_client", OAuthErrorCode::UnauthorizedClient),
    (
        "unsupported_grant_type",
        OAuthErrorCode::UnsupportedGrantType,
    ),
    (
        "unsupported_response_type",
        OAuthErrorCode::UnsupportedResponseType,
    ),
    (
        "unsupported_token_type",
        OAuthErrorCode::UnsupportedTokenType,
    ),
    ("use_dpop_nonce", OAuthErrorCode::UseDpopNonce),
];

impl OAuthErrorCode {
    /// The code as it is on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        CODES
            .iter()
            .find_map(|(text, code)| (*code == self).then_some(*text))
            .unwrap_or("unknown")
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        CODES
            .iter()
            .find_map(|(known, code)| (*known == text).then_some(*code))
    }
}

impl fmt::Display for OAuthErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_read_as_they_are_written() {
        for (text, code) in CODES {
            assert_eq!(OAuthErrorCode::parse(text), Some(code));
            assert_eq!(code.as_str(), text);
        }
        assert_eq!(OAuthErrorCode::parse("Invalid_Grant"), None);
    }
}
