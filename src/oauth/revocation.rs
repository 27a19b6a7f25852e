//! Revocations.

use std::time::Duration;

use super::{
    attempt::Retry,
    client::OAuthClient,
    endpoint_error, evidence,
    form::{Form, Outgoing},
    members::has_member,
    provider_text,
};
use crate::{
    error::{Error, ErrorKind, OAuthErrorCode},
    provider::{
        ClientAuthentication, Endpoint, EndpointKind, RequestKind, RevocationAuthentication,
        encoded,
    },
    token::{AccessToken, NamedValues, RefreshToken, TokenSet},
};

/// How long a revocation waits for its response. It can be repeated.
const REVOCATION_TIMEOUT: Duration = Duration::from_secs(10);

/// A token to revoke.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum TokenToRevoke<'a> {
    /// An access token. The grant may stay valid.
    Access(&'a AccessToken),
    /// A refresh token. Revoking it ends the grant, and at most providers also its access tokens
    /// (RFC 7009 section 2.1).
    Refresh(&'a RefreshToken),
}

impl OAuthClient {
    /// Revokes a token (RFC 7009).
    ///
    /// Providers also report success for a token that is already invalid (section 2.2). The request
    /// is retried after any transient failure, such as a 503 (section 2.2.1): at most three
    /// requests are begun within 15 seconds. Each has 10 seconds, after the 15 seconds of a signer.
    ///
    /// To end a grant, use [`revoke_tokens`](Self::revoke_tokens): some providers need more for it
    /// than one token.
    ///
    /// # Errors
    ///
    /// After any error the token may still be valid. The call can be repeated.
    ///
    /// * [`Configuration`](crate::ErrorKind::Configuration) if the provider has no revocation
    ///   endpoint, if its endpoint does not take tokens of this kind, or if the request needs the
    ///   access token beside the refresh token. Nothing is sent then.
    /// * [`KeptValue`](crate::ErrorKind::KeptValue) if the URL of the endpoint differs from tenant
    ///   to tenant.
    /// * [`Refused`](crate::ErrorKind::Refused), [`Unavailable`](crate::ErrorKind::Unavailable) or
    ///   [`InvalidResponse`](crate::ErrorKind::InvalidResponse), as for [`refresh`](Self::refresh).
    pub async fn revoke(&self, token: impl Into<TokenToRevoke<'_>> + Send) -> Result<(), Error> {
        let token = token.into();
        let endpoint = self.revocation_endpoint()?;
        if !self.takes(token) {
            return Err(Error::configuration(
                "revocation: the endpoint does not take tokens of this kind; revoke the grant's \
                 other token, or correct RevocationRequest::token",
            ));
        }
        let access_token = match token {
            TokenToRevoke::Access(token) => Some(token),
            TokenToRevoke::Refresh(_) => None,
        };
        self.send_revocation(endpoint, token, access_token, &NamedValues::NONE)
            .await
    }

    /// Revokes all tokens of a grant that the endpoint [takes](crate::provider::RevokedToken):
    /// first the refresh token, because new access tokens can be issued for it, and then the access
    /// token.
    ///
    /// Nothing is sent if the grant has no token that the endpoint takes. It is no error if the
    /// provider says that it cannot revoke access tokens (RFC 7009 section 2.2.1).
    ///
    /// # Errors
    ///
    /// As for [`revoke`](Self::revoke). The access token is revoked even if the refresh token could
    /// not be. [`KeptValue`](crate::ErrorKind::KeptValue) if a [kept value](TokenSet::values) in
    /// the URL of the endpoint is missing or does not match its pattern.
    pub async fn revoke_tokens(&self, tokens: &TokenSet) -> Result<(), Error> {
        let refresh_token = match tokens.refresh_token() {
            Some(token) => self.revoke_of(tokens, token.into()).await,
            None => Ok(()),
        };
        // Some providers keep access tokens valid after their refresh token has been revoked.
        let access_token = self.revoke_access_token_of(tokens).await;
        refresh_token.and(match access_token {
            Err(error) if error.oauth_code() == Some(OAuthErrorCode::UnsupportedTokenType) => {
                Ok(())
            }
            other => other,
        })
    }

    /// Revokes the access token of a grant, if the endpoint takes access tokens.
    pub(crate) async fn revoke_access_token_of(&self, tokens: &TokenSet) -> Result<(), Error> {
        self.revoke_of(tokens, tokens.access_token().into()).await
    }

    async fn revoke_of(&self, tokens: &TokenSet, token: TokenToRevoke<'_>) -> Result<(), Error> {
        let endpoint = self.revocation_endpoint()?;
        if !self.takes(token) {
            return Ok(());
        }
        let access_token = Some(tokens.access_token());
        self.send_revocation(endpoint, token, access_token, tokens.values())
            .await
    }

    fn revocation_endpoint(&self) -> Result<&Endpoint, Error> {
        let endpoint = self.provider().address(EndpointKind::Revocation);
        endpoint.ok_or_else(|| {
            Error::configuration(
                "revocation endpoint: the provider has none; set one by \
                 ProviderBuilder::revocation_endpoint",
            )
        })
    }

    /// Whether the revocation endpoint takes tokens of this kind.
    fn takes(&self, token: TokenToRevoke<'_>) -> bool {
        let request = self.provider().revocation_request();
        match token {
            TokenToRevoke::Access(_) => request.takes_access_tokens(),
            TokenToRevoke::Refresh(_) => request.takes_refresh_tokens(),
        }
    }

    async fn send_revocation(
        &self,
        endpoint: &Endpoint,
        token: TokenToRevoke<'_>,
        access_token: Option<&AccessToken>,
        values: &NamedValues,
    ) -> Result<(), Error> {
        let request = self.revocation(endpoint, token, access_token, values)?;
        let sent_at = self.configuration.clock.wall();
        let response = self.send(&request, Retry::Transient, REVOCATION_TIMEOUT);
        // The URL may contain the token, and an HTTP client may show the URL in its error.
        let in_url = encoded(token.expose());
        let response = response.await.map_err(|error| {
            let error = error.into_error();
            error.without_sources_that_show(&[token.expose(), &in_url])
        })?;
        let is_success = response.status().is_success();
        if is_success && !has_member(response.body(), "error", is_error) {
            return Ok(());
        }
        let now = self.configuration.clock.wall();
        let error = if is_success {
            Error::new(
                ErrorKind::Refused,
                "revocation endpoint responded with an error in a success; the token may still be \
                 valid",
            )
        } else {
            let error = endpoint_error::to_error("revocation endpoint", &response, now, &[]);
            evidence::added_to(self.explained(error, &response, sent_at, now))
        };
        let tokens = [Some(token.expose()), access_token.map(AccessToken::expose)];
        let tokens: Vec<&str> = tokens.into_iter().flatten().collect();
        let secrets = || request.secrets(&tokens);
        Err(provider_text::added_to(error, &response, &[], secrets))
    }

    /// The request of the provider's data.
    fn revocation<'a>(
        &'a self,
        endpoint: &Endpoint,
        token: TokenToRevoke<'_>,
        access_token: Option<&AccessToken>,
        values: &NamedValues,
    ) -> Result<Outgoing<'a>, Error> {
        let provider = self.provider();
        let shape = provider.revocation_request();
        let hint = match token {
            TokenToRevoke::Access(_) => "access_token",
            TokenToRevoke::Refresh(_) => "refresh_token",
        };
        let token = token.expose();
        let client_id = &self.configuration.client_id;
        let endpoint = provider.resolve_revocation(endpoint, values, token, client_id)?;
        let mut form = Form::empty(shape.body_format(), provider.parameter_names());
        if let Some(name) = shape.token_parameter() {
            form.field(name, token);
        }
        if shape.has_hint() {
            form.field("token_type_hint", hint);
        }
        self.add_parameters(&mut form, RequestKind::Revocation);
        let authentication = match (shape.authenticated_by(), provider.client_authentication()) {
            (RevocationAuthentication::Client, _) => Some(None),
            (RevocationAuthentication::Basic, ClientAuthentication::BasicRaw) => {
                Some(Some(ClientAuthentication::BasicRaw))
            }
            (RevocationAuthentication::Basic, _) => Some(Some(ClientAuthentication::Basic)),
            (RevocationAuthentication::AccessToken | RevocationAuthentication::None, _) => None,
        };
        let credentials = authentication.map(|other| self.credentials(other, values));
        let credentials = credentials.transpose()?;
        let mut request = self.outgoing(shape.http_method(), endpoint, form, credentials);
        if shape.authenticated_by() == RevocationAuthentication::AccessToken {
            let Some(access_token) = access_token else {
                return Err(Error::configuration(
                    "revocation: the provider authenticates the request by the access token; call \
                     revoke_tokens with the whole token set",
                ));
            };
            request.access_token = Some(provider.access_token_header(access_token));
        }
        Ok(request)
    }
}

impl<'a> TokenToRevoke<'a> {
    fn expose(self) -> &'a str {
        match self {
            Self::Access(token) => token.expose(),
            Self::Refresh(token) => token.expose(),
        }
    }
}

impl<'a> From<&'a AccessToken> for TokenToRevoke<'a> {
    fn from(token: &'a AccessToken) -> Self {
        Self::Access(token)
    }
}

impl<'a> From<&'a RefreshToken> for TokenToRevoke<'a> {
    fn from(token: &'a RefreshToken) -> Self {
        Self::Refresh(token)
    }
}

/// Whether the member `error` of a success is one. RFC 7009 section 2.2 defines no body, and some
/// providers report a failure in it.
fn is_error(text: &str) -> bool {
    !matches!(text.trim(), "" | "null" | "false" | "0")
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use bytes::Bytes;
    use http::{Request, Response};
    use http_body_util::Full;
    use tower::service_fn;

    use super::*;
    use crate::{
        oauth::OAuthClientBuilder,
        provider::{Provider, RevocationRequest},
    };

    const TOKEN: &str = "seeded/refresh";

    fn builder(url: &str) -> OAuthClientBuilder {
        let provider = Provider::builder("https://id.example.com/token")
            .revocation_endpoint(url)
            .revocation_request(RevocationRequest::new().parameter(""))
            .build()
            .unwrap();
        OAuthClient::builder(provider, "client").client_secret("secret")
    }

    /// The error of a revocation, with its sources.
    async fn shown(oauth: &OAuthClient) -> (String, bool) {
        let error = oauth.revoke(&RefreshToken::new(TOKEN)).await.unwrap_err();
        let sources = std::iter::successors(error.source(), |&error| error.source());
        let sources: Vec<_> = sources
            .map(|source| format!("{source} {source:?}"))
            .collect();
        (
            format!("{error:?} {error} {sources:?}"),
            !sources.is_empty(),
        )
    }

    #[tokio::test(start_paused = true)]
    async fn p21_error_of_a_client_does_not_show_the_token_in_the_url() {
        for (shows_url, has_source) in [(true, false), (false, true)] {
            let http = service_fn(move |request: Request<Full<Bytes>>| async move {
                let url = if shows_url {
                    request.uri().to_string()
                } else {
                    String::new()
                };
                Err::<Response<Full<Bytes>>, _>(std::io::Error::other(format!("no route {url}")))
            });
            let oauth = builder("https://id.example.com/tokens/{token}?a=b");
            let (text, found) = shown(&oauth.build(http).unwrap()).await;
            assert!(!text.contains("seeded"), "{text}");
            assert_eq!(found, has_source);
        }
    }

    #[cfg(feature = "reqwest")]
    #[tokio::test]
    async fn p21_error_of_reqwest_does_not_show_the_url() {
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = closed.local_addr().unwrap();
        drop(closed);
        let oauth = builder(&format!("http://{address}/tokens/{{token}}"));
        let oauth = oauth
            .build_with_reqwest(reqwest::Client::builder())
            .unwrap();
        let (text, has_source) = shown(&oauth).await;
        assert!(
            !text.contains("seeded") && !text.contains("/tokens/"),
            "{text}"
        );
        assert!(has_source, "{text}");
    }
}
