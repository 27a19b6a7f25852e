//! The settings of a provider as they are written, before they are checked: by a builder, or in a
//! file.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    kept_value::KeptValue,
    lifetime::{RefreshWindow, UsualLifetime},
    parameter_names::ParameterNames,
    refusal::Refusal,
    request_parameters::RequestParameters,
    revocation::RevocationRequest,
    wire::{
        BodyFormat, ClientAuthentication, EndpointKind, IssuerCheck, LifetimeUnit, ResponseMode,
        TokenHeader, TokenMember,
    },
};
use crate::rejection::TokenRejection;

/// The serialized form of a [`Provider`](super::Provider). The [module page](crate::provider)
/// documents it.
///
/// A setting with its default is not written, so that a new setting changes no existing file.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a setting of the file, and none excludes another"
)]
pub(super) struct ProviderData {
    pub(super) token_endpoint: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) refresh_endpoint: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) authorization_endpoint: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) revocation_endpoint: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) device_authorization_endpoint: Option<String>,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) revocation_request: RevocationRequest,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) pushed_authorization_request_endpoint: Option<String>,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) require_pushed_authorization_requests: bool,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) mtls_endpoint_aliases: BTreeMap<EndpointKind, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) issuer: Option<String>,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) issuer_check: IssuerCheck,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) api_origins: Vec<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) kept_values: BTreeMap<String, KeptValue>,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) token_header: TokenHeader,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) client_authentication: ClientAuthentication,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) assertion_audience: Option<String>,
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub(super) pkce: bool,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) dpop: bool,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) response_mode: ResponseMode,
    /// `None` for `code`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) code_parameter: Option<String>,
    #[serde(default = "space", skip_serializing_if = "is_space")]
    pub(super) scope_separator: String,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) scope_on_refresh: bool,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) request_format: BodyFormat,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) parameter_names: ParameterNames,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) request_parameters: RequestParameters,
    /// The paths of members that have other names than in RFC 6749.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) response_members: BTreeMap<TokenMember, String>,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) lifetime_unit: LifetimeUnit,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) accepted_token_types: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) token_rejections: Vec<TokenRejection>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) refusals: Vec<Refusal>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) access_token_lifetime: Option<UsualLifetime>,
    /// In seconds, as `expires_in` and the following are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) refresh_token_lifetime: Option<u64>,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) refresh_window: RefreshWindow,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) reuse_grace: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) propagation_delay: Option<u64>,
}

impl ProviderData {
    /// The settings of a provider without any but its token endpoint.
    pub(super) fn new(token_endpoint: String) -> Self {
        Self {
            token_endpoint,
            refresh_endpoint: None,
            authorization_endpoint: None,
            revocation_endpoint: None,
            device_authorization_endpoint: None,
            revocation_request: RevocationRequest::default(),
            pushed_authorization_request_endpoint: None,
            require_pushed_authorization_requests: false,
            mtls_endpoint_aliases: BTreeMap::new(),
            issuer: None,
            issuer_check: IssuerCheck::default(),
            api_origins: Vec::new(),
            kept_values: BTreeMap::new(),
            token_header: TokenHeader::default(),
            client_authentication: ClientAuthentication::default(),
            assertion_audience: None,
            pkce: yes(),
            dpop: false,
            response_mode: ResponseMode::default(),
            code_parameter: None,
            scope_separator: space(),
            scope_on_refresh: false,
            request_format: BodyFormat::default(),
            parameter_names: ParameterNames::default(),
            request_parameters: RequestParameters::default(),
            response_members: BTreeMap::new(),
            lifetime_unit: LifetimeUnit::default(),
            accepted_token_types: Vec::new(),
            refusals: Vec::new(),
            token_rejections: Vec::new(),
            access_token_lifetime: None,
            refresh_token_lifetime: None,
            refresh_window: RefreshWindow::default(),
            reuse_grace: None,
            propagation_delay: None,
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
