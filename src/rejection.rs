//! Responses that reject the access token of their request, as a provider's data name them.

use http::StatusCode;
use serde::{Deserialize, Serialize};

use crate::error::Error;

/// A response of an API that rejects the access token of its request, so that a refresh may help.
///
/// A 401 is one for every provider. Some APIs respond to an expired token with another status. Add
/// that to the provider's data by
/// [`token_rejection`](crate::provider::ProviderBuilder::token_rejection):
///
/// ```
/// use http::StatusCode;
/// use tower_oauth2_client::provider::{Provider, TokenRejection};
///
/// let provider = Provider::builder("https://id.example.com/token")
///     .api_origin("https://api.example.com")
///     // A 400 only with the challenge `Bearer error="invalid_token"`, and every 403.
///     .token_rejection(TokenRejection::new(StatusCode::BAD_REQUEST).with_error("invalid_token"))
///     .token_rejection(TokenRejection::new(StatusCode::FORBIDDEN))
///     .build()?;
/// # Ok::<(), tower_oauth2_client::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenRejection {
    #[serde(with = "status")]
    status: StatusCode,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl TokenRejection {
    /// Any response with this status, unless its `Bearer` challenge names a cause other than the
    /// token, such as `insufficient_scope`.
    ///
    /// Add an [error](Self::with_error) where the API sends one: a 403 often means that the
    /// customer lacks a permission, and a refresh does not help then.
    #[must_use]
    pub const fn new(status: StatusCode) -> Self {
        Self {
            status,
            error: None,
        }
    }

    /// Only with this `error` in a `Bearer` challenge (RFC 6750 section 3).
    #[must_use]
    pub fn with_error(mut self, error: impl Into<String>) -> Self {
        self.error = Some(error.into());
        self
    }

    /// The status of the response.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The `error` of its challenge, if only this one rejects the token.
    #[must_use]
    pub fn error(&self) -> Option<&str> {
        self.error.as_deref()
    }

    /// Checks the rejection, which is named `path` in the error.
    pub(crate) fn check(&self, path: &str) -> Result<(), Error> {
        if self.status.is_client_error() {
            Ok(())
        } else {
            Err(Error::configuration(format!(
                "{path}.status: must be one from 400 to 499"
            )))
        }
    }
}

/// A status as a number.
mod status {
    use http::StatusCode;
    use serde::{Deserialize, Deserializer, Serializer, de};

    #[expect(
        clippy::trivially_copy_pass_by_ref,
        reason = "serde passes a reference"
    )]
    pub(super) fn serialize<S: Serializer>(
        status: &StatusCode,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_u16(status.as_u16())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<StatusCode, D::Error> {
        let status = u16::deserialize(deserializer)?;
        StatusCode::from_u16(status).map_err(de::Error::custom)
    }
}
