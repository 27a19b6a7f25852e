//! The settings of a provider as they are written, before they are checked: by a builder, or in a
//! file.

use serde::{Deserialize, Serialize};

use super::{
    definition::{ClientAuthentication, ResponseMode},
    refusal::Refusal,
    request_parameters::RequestParameters,
};
use crate::rejection::TokenRejection;

/// The serialized form of a [`Provider`](super::Provider). The [module page](crate::provider)
/// documents it.
///
/// A setting with its default is not written, so that a new setting changes no existing file.
#[derive(Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ProviderData {
    pub(super) token_endpoint: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) refresh_endpoint: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) authorization_endpoint: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) revocation_endpoint: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) issuer: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) api_origins: Vec<String>,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) client_authentication: ClientAuthentication,
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub(super) pkce: bool,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) response_mode: ResponseMode,
    #[serde(default = "space", skip_serializing_if = "is_space")]
    pub(super) scope_separator: String,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) request_parameters: RequestParameters,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) accepted_token_types: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) token_rejections: Vec<TokenRejection>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) refusals: Vec<Refusal>,
    /// In seconds, as `expires_in` is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) access_token_lifetime: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) refresh_token_lifetime: Option<u64>,
}

impl ProviderData {
    /// The settings of a provider without any but its token endpoint.
    pub(super) fn new(token_endpoint: String) -> Self {
        Self {
            token_endpoint,
            refresh_endpoint: None,
            authorization_endpoint: None,
            revocation_endpoint: None,
            issuer: None,
            api_origins: Vec::new(),
            client_authentication: ClientAuthentication::default(),
            pkce: yes(),
            response_mode: ResponseMode::default(),
            scope_separator: space(),
            request_parameters: RequestParameters::default(),
            accepted_token_types: Vec::new(),
            refusals: Vec::new(),
            token_rejections: Vec::new(),
            access_token_lifetime: None,
            refresh_token_lifetime: None,
        }
    }
}

fn yes() -> bool {
    true
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn is_yes(value: &bool) -> bool {
    *value
}

fn space() -> String {
    " ".to_owned()
}

fn is_space(separator: &str) -> bool {
    separator == " "
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
