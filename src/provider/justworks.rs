//! The Justworks Partner API, as far as it is documented.
//!
//! Sources: *OpenAPI*, the published description of the two OAuth endpoints; *docs*, the Partner
//! API pages (1.7.2) at <https://public-api.justworks.com/v1/docs>; *directory*, the provider's
//! entry in an integration directory, which its author calls untested. None of the values was
//! checked against the live service.

use std::time::Duration;

use super::{definition::Provider, wire::ClientAuthentication};

/// Neither *OpenAPI* nor *docs* names it. *Directory* and one public client have this URL; another
/// directory has `https://secure.justworks.com/oauth/authorize`.
const AUTHORIZATION_ENDPOINT: &str = "https://payroll.justworks.com/oauth/authorize";
/// *OpenAPI*, `obtainOAuthToken`: not below `/v1`.
const TOKEN_ENDPOINT: &str = "https://public-api.justworks.com/oauth/token";
/// *OpenAPI*, `revokeOAuthToken`: below `/v1`.
const REVOCATION_ENDPOINT: &str = "https://public-api.justworks.com/v1/oauth/revoke";
/// *OpenAPI*, `servers`; *docs*.
const API_ORIGIN: &str = "https://public-api.justworks.com";
/// *OpenAPI*, description: access tokens are valid for 24 hours.
const ACCESS_TOKEN_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);
/// *OpenAPI*, description: refresh tokens are valid for 30 days.
const REFRESH_TOKEN_LIFETIME: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// The Justworks Partner API.
///
/// Access tokens live for 24 hours and refresh tokens for 30 days; a token response names the end
/// of the access token as `expires_at`. The credentials go into the request body, as the published
/// description requires. PKCE is off and no issuer is expected in callbacks, because no source
/// mentions them. There is no `client_credentials` grant.
///
/// The published sources disagree about the authorization endpoint; this is the more likely one. To
/// use the other:
///
/// ```
/// use tower_oauth2_client::provider;
///
/// let provider = provider::justworks()
///     .to_builder()
///     .authorization_endpoint("https://secure.justworks.com/oauth/authorize")
///     .build()?;
/// # Ok::<(), tower_oauth2_client::Error>(())
/// ```
#[must_use]
#[expect(
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "it is built from constants"
)]
pub fn justworks() -> Provider {
    Provider::builder(TOKEN_ENDPOINT)
        .authorization_endpoint(AUTHORIZATION_ENDPOINT)
        .revocation_endpoint(REVOCATION_ENDPOINT)
        .api_origin(API_ORIGIN)
        .client_authentication(ClientAuthentication::RequestBody)
        .pkce(false)
        .access_token_lifetime(ACCESS_TOKEN_LIFETIME)
        .refresh_token_lifetime(REFRESH_TOKEN_LIFETIME)
        .build()
        .expect("the constants above are valid")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_the_documented_ones() {
        let provider = justworks();
        assert_eq!(
            provider.token_endpoint().to_string(),
            "https://public-api.justworks.com/oauth/token"
        );
        assert_eq!(
            provider.revocation_endpoint().unwrap().to_string(),
            "https://public-api.justworks.com/v1/oauth/revoke"
        );
        assert_eq!(
            provider.api_origins(),
            ["https://public-api.justworks.com".parse().unwrap()]
        );
        assert_eq!(
            provider.client_authentication(),
            ClientAuthentication::RequestBody
        );
        assert_eq!(
            provider.access_token_lifetime(),
            Some(Duration::from_secs(86_400))
        );
        assert_eq!(
            provider.refresh_token_lifetime(),
            Some(Duration::from_secs(2_592_000))
        );
        // The constants pass the checks of a builder.
        let checked = provider
            .clone()
            .on_origin("https://public-api.justworks.com")
            .unwrap();
        assert_eq!(checked.token_endpoint(), provider.token_endpoint());
        assert_eq!(checked.api_origins(), provider.api_origins());
    }
}
