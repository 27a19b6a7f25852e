//! The causes that a diagnosis can name.

/// The most likely reason why a grant does not work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cause {
    /// Nothing is wrong with the grant.
    None,
    /// The customer has never consented, or the grant was deleted.
    NeverConnected,
    /// The program revoked the grant.
    Disconnected,
    /// The provider has ended the grant, most likely because the customer has removed the access
    /// there.
    RevokedAtProvider,
    /// The refresh token was not used for its whole lifetime.
    RefreshTokenExpired,
    /// A replica sent the refresh token, and ended before it saved the response.
    ReplicaCrashed,
    /// The response with the next refresh token was lost on its way.
    ResponseLost,
    /// The consent brought no refresh token, and its access token has expired or is rejected.
    NoRefreshToken,
    /// The provider rejects the client id or secret.
    ClientRejected,
    /// The token endpoint refuses with an error code that does not end the grant.
    Refused,
    /// The token endpoint asks for fewer requests.
    RateLimited,
    /// The token endpoint responds with errors of its own.
    EndpointFailing,
    /// The token endpoint cannot be reached, or its responses do not arrive.
    EndpointUnreachable,
    /// The token endpoint's responses contain no usable token.
    ResponseUnusable,
    /// The API rejects tokens that the provider has just issued.
    TokensRejected,
    /// The store does not respond, or fails.
    StoreUnreachable,
    /// The stored grant cannot be read: it is damaged, or encrypted with another key.
    StoreUnreadable,
    /// New tokens cannot be saved.
    StoreNotWritable,
    /// The store has an older grant than this process has seen, or none.
    StoreWentBack,
    /// The stored grant belongs to another client or provider.
    OtherClient,
    /// A value that is kept with the grant is missing or wrong.
    ValueMissing,
    /// The program's own code or settings prevent the token request.
    Misconfigured,
    /// The program shuts down, or its runtime stands still.
    Interrupted,
}

impl Cause {
    /// The name of the cause, such as `revoked_at_provider`. It is stable.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::NeverConnected => "never_connected",
            Self::Disconnected => "disconnected",
            Self::RevokedAtProvider => "revoked_at_provider",
            Self::RefreshTokenExpired => "refresh_token_expired",
            Self::ReplicaCrashed => "replica_crashed",
            Self::ResponseLost => "response_lost",
            Self::NoRefreshToken => "no_refresh_token",
            Self::ClientRejected => "client_rejected",
            Self::Refused => "refused",
            Self::RateLimited => "rate_limited",
            Self::EndpointFailing => "endpoint_failing",
            Self::EndpointUnreachable => "endpoint_unreachable",
            Self::ResponseUnusable => "response_unusable",
            Self::TokensRejected => "tokens_rejected",
            Self::StoreUnreachable => "store_unreachable",
            Self::StoreUnreadable => "store_unreadable",
            Self::StoreNotWritable => "store_not_writable",
            Self::StoreWentBack => "store_went_back",
            Self::OtherClient => "other_client",
            Self::ValueMissing => "value_missing",
            Self::Misconfigured => "misconfigured",
            Self::Interrupted => "interrupted",
        }
    }

    /// The cause in a few words, without a full stop.
    #[must_use]
    pub fn description(self) -> &'static str {
        match self {
            Self::None => "Nothing is wrong with this grant",
            Self::NeverConnected => "There is no grant: the customer has not consented yet",
            Self::Disconnected => "The program has revoked this grant",
            Self::RevokedAtProvider => {
                "The provider has ended this grant, most likely because the customer removed the \
                 access there"
            }
            Self::RefreshTokenExpired => {
                "The refresh token has expired, because it was not used for its whole lifetime"
            }
            Self::ReplicaCrashed => {
                "A replica sent the refresh token and has not saved the response, which contained \
                 the next one; most likely the replica ended in between"
            }
            Self::ResponseLost => {
                "The response with the next refresh token was lost on its way, and the provider no \
                 longer accepts the old one"
            }
            Self::NoRefreshToken => {
                "The consent brought no refresh token, and its access token can no longer be used"
            }
            Self::ClientRejected => "The provider rejects the client id or secret",
            Self::Refused => "The token endpoint refuses to refresh this grant",
            Self::RateLimited => "The token endpoint asks for fewer requests (status 429)",
            Self::EndpointFailing => "The token endpoint fails",
            Self::EndpointUnreachable => "The token endpoint does not respond",
            Self::ResponseUnusable => "The token endpoint's responses contain no usable token",
            Self::TokensRejected => {
                "The API rejects the access tokens that the provider has just issued"
            }
            Self::StoreUnreachable => "The grant store does not respond",
            Self::StoreUnreadable => "The stored grant cannot be read",
            Self::StoreNotWritable => "The new tokens cannot be saved in the grant store",
            Self::StoreWentBack => {
                "The store has an older grant than this process has used, or none"
            }
            Self::OtherClient => "The stored grant belongs to another client or provider",
            Self::ValueMissing => "A value that is kept with the grant is missing or wrong",
            Self::Misconfigured => "The program cannot make the token request",
            Self::Interrupted => "The program shuts down, or its runtime stands still",
        }
    }

    /// The advice for an operator, without a full stop.
    #[must_use]
    pub fn advice(self) -> &'static str {
        match self {
            Self::None => {
                "If requests fail nevertheless, look at the API's responses and at the scopes"
            }
            Self::NeverConnected => "Let the customer connect",
            Self::Disconnected => "Let the customer connect again, if that was not intended",
            Self::RevokedAtProvider => "Ask the customer to connect again",
            Self::RefreshTokenExpired => {
                "Ask the customer to connect again, and check that sweeps run: see \
                 Tenants::last_sweep"
            }
            Self::ReplicaCrashed => {
                "Ask the customer to connect again, and let the program call shutdown before it ends"
            }
            Self::ResponseLost => {
                "Ask the customer to connect again, and check the network to the provider"
            }
            Self::NoRefreshToken => {
                "Ask the customer to connect again, and check that the authorization asks for a \
                 refresh token"
            }
            Self::ClientRejected => {
                "Correct the client id or secret now, for example by OAuthClient::replace_secret; \
                 no grant is refreshed until then"
            }
            Self::Refused => {
                "Look up the code at the provider; if it means the end of a grant, add it to the \
                 provider's refusals"
            }
            Self::RateLimited => {
                "Wait; refreshes continue after the pause. If it lasts, ask the provider for a \
                 higher limit"
            }
            Self::EndpointFailing => "Wait for the provider; refreshes continue by themselves",
            Self::EndpointUnreachable => {
                "Check DNS, proxies, firewalls and certificates between this process and the token \
                 endpoint; refreshes continue by themselves"
            }
            Self::ResponseUnusable => {
                "Check that the provider's data fit its responses, and that no proxy responds instead"
            }
            Self::TokensRejected => {
                "Check that the API and the token endpoint are of the same environment, and the \
                 scopes of the grant"
            }
            Self::StoreUnreachable => "Repair the connection to the database, or its disk",
            Self::StoreUnreadable => {
                "Give the process the encryption key with the named id; if other grants can be \
                 read, this one is damaged: restore it, or let the customer connect again"
            }
            Self::StoreNotWritable => {
                "Make the store writable before this process ends, which would lose the tokens"
            }
            Self::StoreWentBack => {
                "If the store was restored from a backup, its refresh tokens may have been used: \
                 customers may have to connect again"
            }
            Self::OtherClient => {
                "Give each client a directory, table or prefix of its own, or accept a former \
                 identity by accept_identity"
            }
            Self::ValueMissing => "Correct the provider's data, or let the customer connect again",
            Self::Misconfigured => "Correct the program, as its error says",
            Self::Interrupted => "Start the program again, or look for a blocked runtime",
        }
    }
}
