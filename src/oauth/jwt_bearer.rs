//! JWTs as grants (RFC 7523 section 2.1).

use super::{
    client::{OAuthClient, Sent},
    token_response::TokenResponse,
};
use crate::{
    error::{Error, OAuthErrorCode},
    provider::RequestKind,
    token::{Assertion, TokenSet},
};

/// The value of `grant_type` (RFC 7523 section 2.1).
const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// JWTs as grants (RFC 7523 section 2.1).
impl OAuthClient {
    /// Requests a token set for an assertion: a signed JWT that names the subject of the token (RFC
    /// 7523 section 2.1).
    ///
    /// The request names the client's scopes, and is authenticated as other token requests are.
    /// Most providers accept an assertion only once, so pass a new one to each call. A
    /// [`TokenCache`](crate::cache::TokenCache) over a
    /// [`JwtBearer`](crate::cache::JwtBearer) does so.
    ///
    /// # Errors
    ///
    /// As for [`refresh`](Self::refresh), except that nothing can be lost. If the provider refuses
    /// the assertion (`invalid_grant`, RFC 7523 section 3.1), the message says so, and
    /// [`is_invalid_grant`](Error::is_invalid_grant) is false: the next assertion may be accepted.
    /// If the clocks differ by more than 30 seconds, the message of a
    /// [`Refused`](crate::ErrorKind::Refused) says by how much.
    pub async fn jwt_bearer(&self, assertion: &Assertion) -> Result<TokenSet, Error> {
        self.request_by_assertion(assertion, None, true, None).await
    }

    /// The token set replaces `held`. Without a `scope`, the request names the client's scopes.
    pub(crate) async fn request_by_assertion(
        &self,
        assertion: &Assertion,
        scope: Option<&str>,
        is_authenticated: bool,
        held: Option<&TokenSet>,
    ) -> Result<TokenSet, Error> {
        let mut form = self.form(RequestKind::JwtBearer, GRANT_TYPE);
        // No assertion contains white space, but the file that one is read from may end with a
        // line break.
        let assertion = assertion.expose().trim_ascii();
        form.field("assertion", assertion);
        if let Some(scope) = scope.or(self.configuration.scope.as_deref()) {
            form.standard("scope", scope);
        }
        let key = self.new_key()?;
        let sent = Sent {
            secrets: &[assertion],
            key: key.as_ref(),
            is_authenticated,
            has_assertion: true,
            ..Sent::default()
        };
        let outcome = self.request_with_own_permit(form, &sent, held).await;
        outcome
            .map(|response| TokenResponse::into_tokens(response).without_refresh_token())
            .map_err(|error| {
                let is_refused = error.oauth_code() == Some(OAuthErrorCode::InvalidGrant);
                let error = error.of_no_consent();
                if is_refused {
                    let message = error.to_string().replacen(
                        "the code or refresh token was used, has expired or was revoked",
                        "the assertion was used or has expired, or its issuer, subject, audience or \
                         signature is not accepted",
                        1,
                    );
                    error.with_message(message)
                } else {
                    error
                }
            })
    }
}
