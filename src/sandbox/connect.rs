//! A whole authorization in one call, through the client of the program under test.

use super::handle::Sandbox;
use crate::{
    error::{Error, ErrorKind},
    oauth::OAuthClient,
    token::{NamedValues, TokenSet},
};

impl Sandbox {
    /// Connects a customer: an authorization request of `oauth`, the consent of a user to
    /// everything, and the code exchange.
    ///
    /// Each call makes a grant of its own. Save the token set by
    /// [`TokenCache::set_tokens`](crate::cache::TokenCache::set_tokens) or
    /// [`Tenants::set_tokens`](crate::tenants::Tenants::set_tokens). The grant has the scopes of
    /// the client within [`Behavior::scope_limit`](super::Behavior::scope_limit).
    ///
    /// `oauth` pushes the request if its provider has an endpoint for that, and sends the code
    /// through its own HTTP client, by the socket of the sandbox or without one. PKCE, `form_post`
    /// and the consent pages need nothing further. At a [persona](super::Persona) with addresses
    /// per tenant, use [`connect_with`](Self::connect_with).
    ///
    /// ```
    /// # use tower_oauth2_client::{
    /// #     bearer::ReplayBody, cache::TokenCache, oauth::OAuthClient, provider, sandbox::Sandbox,
    /// # };
    /// # type Body = http_body_util::Full<bytes::Bytes>;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let sandbox = Sandbox::builder().build();
    /// # let provider = provider::justworks().on_origin(&sandbox.url())?;
    /// # let oauth = OAuthClient::builder(provider, sandbox.client_id())
    /// #     .client_secret(sandbox.client_secret())
    /// #     .redirect_uri(sandbox.redirect_uri())
    /// #     .build::<_, Body, _>(sandbox.service())?;
    /// let tokens = TokenCache::builder(oauth.clone()).build()?;
    /// tokens.set_tokens(sandbox.connect(&oauth).await?).await?;
    /// assert!(!tokens.needs_consent().await?);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// * [`Callback`](ErrorKind::Callback) if the sandbox refuses the request, or no scope is left
    ///   to grant. Also if it does not redirect the browser, such as for an unregistered redirect
    ///   URI: the source is then a [`ConsentError`](super::ConsentError).
    /// * The errors of [`OAuthClient::start_authorization`] and [`OAuthClient::exchange_code`].
    pub async fn connect(&self, oauth: &OAuthClient) -> Result<TokenSet, Error> {
        self.connect_with(oauth, &NamedValues::NONE).await
    }

    /// Connects a customer as [`connect`](Self::connect) does, with values to keep with the grant,
    /// as [`OAuthClient::authorization_url_with`] takes them.
    ///
    /// # Errors
    ///
    /// As [`connect`](Self::connect) and [`OAuthClient::authorization_url_with`].
    pub async fn connect_with(
        &self,
        oauth: &OAuthClient,
        values: &NamedValues,
    ) -> Result<TokenSet, Error> {
        let (url, pending) = oauth.start_authorization_with(values).await?;
        let callback = self.consent(&url).await.map_err(|error| {
            let message = "sandbox did not redirect the browser back to the client; see its \
                           page or the source of this error";
            Error::new(ErrorKind::Callback, message).with_source(error)
        })?;
        oauth.exchange_code(pending.accept(&callback)?).await
    }
}
