//! Permits of token requests that a [`TokenSource`](crate::cache::TokenSource) acquires itself.
//!
//! Some sources first wait for something else, such as the token of another cache. If they held a
//! permit meanwhile, and the other cache needed one of the same gate, each could wait for the
//! other.

use std::time::{Duration, Instant};

use super::{
    attempt::Retry,
    builder,
    client::{OAuthClient, Sent},
    form::Form,
    gate::{GateKey, Permit, QUEUE_TIMEOUT},
    token_response::TokenResponse,
};
use crate::{error::Error, provider::RequestKind, token::TokenSet};

/// Operations for token sources that acquire their permits themselves.
impl OAuthClient {
    /// How long such a token request takes at most, with the wait for its permits.
    pub(crate) fn own_request_timeout(&self) -> Duration {
        let permits = QUEUE_TIMEOUT.saturating_mul(2);
        permits.saturating_add(self.request_timeout())
    }

    /// The monotonic time of this client's clock.
    pub(crate) fn monotonic(&self) -> Instant {
        self.configuration.clock.monotonic()
    }

    /// Whether requests of a kind have a parameter of this name by the provider's or the client's
    /// settings.
    pub(crate) fn has_request_parameter(&self, kind: RequestKind, name: &str) -> bool {
        self.configuration.request_parameters.has(kind, name)
    }

    /// The scopes as a request names them. `None` for no scope.
    pub(crate) fn joined_scopes(&self, scopes: &[String]) -> Result<Option<String>, Error> {
        builder::joined_scopes(scopes, self.provider())
    }

    /// Waits for a permit, and sends a token request that replaces `held`.
    pub(super) async fn request_with_own_permit(
        &self,
        form: Form<'_>,
        sent: &Sent<'_>,
        held: Option<&TokenSet>,
    ) -> Result<TokenResponse, Error> {
        let endpoint = self.provider().token_address();
        let endpoint = self.provider().resolve(endpoint, sent.values)?;
        let permit = self.own_permit(held).await?;
        // The endpoint has not processed a deferred request, so an assertion in it is unused.
        let outcome = self.request_tokens(endpoint, form, Retry::Deferred, sent);
        let outcome = outcome.await;
        permit.record(&outcome);
        outcome
    }

    /// Waits for a permit for a token request that replaces `held`.
    ///
    /// While the held token is valid, requests rarely wait, so the permit is one of the background.
    async fn own_permit(&self, held: Option<&TokenSet>) -> Result<Permit, Error> {
        let wall = self.configuration.clock.wall();
        let is_alive = |tokens: &TokenSet| tokens.expires_at().is_none_or(|end| wall < end);
        let is_background = held.is_some_and(is_alive);
        let key = GateKey::random().overdue(held.is_some() && !is_background);
        let background = if is_background {
            let never = std::future::pending();
            self.gate().acquire_background(key, never).await?
        } else {
            None
        };
        self.gate().acquire(key, background).await
    }
}
