//! Errors that carry a refresh token.

use std::time::SystemTime;

use zeroize::Zeroizing;

use super::RefreshToken;
use crate::error::{Error, ErrorKind};

/// A refresh token without a usable access token.
impl Error {
    /// A token source got a refresh token, but no access token that can be used. `issued_at` is
    /// when the token request was sent.
    ///
    /// The cache saves the refresh token, keeps the held access token, and tries again after a
    /// backoff. The error that its callers get does not contain the refresh token.
    #[must_use]
    pub fn access_token_unusable(refresh_token: &RefreshToken, issued_at: SystemTime) -> Self {
        Self::new(
            ErrorKind::InvalidResponse,
            "token response contains a refresh token, but no usable access token",
        )
        .with_refresh_token(refresh_token, issued_at)
    }

    /// The refresh token of a token response whose access token cannot be used.
    ///
    /// Only [`OAuthClient`](crate::oauth::OAuthClient) and other token sources return such an
    /// error. After [`refresh`](crate::oauth::OAuthClient::refresh), the refresh token that was
    /// sent may be invalid: save this one instead.
    #[must_use]
    pub fn refresh_token(&self) -> Option<RefreshToken> {
        let (token, _) = self.issued_refresh_token()?;
        Some(RefreshToken::new(token))
    }

    pub(crate) fn with_refresh_token(self, token: &RefreshToken, issued_at: SystemTime) -> Self {
        let token = Zeroizing::new(token.expose().to_owned());
        self.with_issued_refresh_token(token, issued_at)
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    #[test]
    fn p21_refresh_token_of_an_error_is_not_shown_and_can_be_removed() {
        let error =
            Error::access_token_unusable(&RefreshToken::new("seeded"), SystemTime::UNIX_EPOCH);
        assert!(!format!("{error} {error:?} {error:#?}").contains("seeded"));
        assert!(error.source().is_none());
        assert_eq!(error.refresh_token(), Some(RefreshToken::new("seeded")));

        let without = error.without_refresh_token();
        assert_eq!(without.refresh_token(), None);
        assert_eq!(without.kind(), error.kind());
        assert_eq!(without.to_string(), error.to_string());
        assert!(!error.is_response_lost());
    }
}
