//! The policy after a lost response.

/// The policy after a lost response.
///
/// A response is lost if the token request may have reached the provider and no usable response
/// came back. It is then unknown whether the refresh token has been used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum LostResponse {
    /// Send the same refresh token once more: 1 second after the first request at the earliest, 30
    /// seconds at the latest. A `Retry-After` of the provider within that time is obeyed; after a
    /// longer one, the refresh token is not replayed.
    ///
    /// A provider with a reuse grace accepts a rotated refresh token again for a short time, and
    /// responds with the new tokens. If its data name the
    /// [grace](crate::provider::ProviderBuilder::reuse_grace), the refresh token is sent again
    /// until the end of the grace. If all responses are lost, the [module
    /// page](crate::cache#lost-responses) lists when the refresh token is sent again.
    ///
    /// The risk: a provider without a reuse grace may revoke the access token because of the replay
    /// (RFC 9700 section 4.14.2). The replay does not lose the new refresh token: that was lost
    /// with the first response.
    #[default]
    RetryOnce,
    /// Do not send the refresh token again while the access token is valid, except after a 401 or
    /// by [`refresh_now`](crate::cache::TokenCache::refresh_now). A reuse grace of the provider
    /// changes nothing. If the provider accepts a refresh [only
    /// before](crate::provider::ProviderBuilder::latest_refresh) the access token expires, the
    /// refresh token is sent again shortly before that time.
    ///
    /// Choose this if the provider revokes the access token when a refresh token is reused, and API
    /// calls must continue until the access token expires.
    Defer,
}
