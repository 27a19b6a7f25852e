//! The fields of a provider file that a persona reads. The sandbox uses no other module of this
//! crate, so it reads the file for itself.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

/// The settings that concern the wire. The others are those of the client.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct ProviderFile {
    pub(super) token_endpoint: String,
    pub(super) refresh_endpoint: Option<String>,
    pub(super) authorization_endpoint: Option<String>,
    pub(super) revocation_endpoint: Option<String>,
    #[serde(default)]
    pub(super) revocation_request: RevocationRequest,
    #[serde(default)]
    pub(super) api_origins: Vec<String>,
    #[serde(default)]
    pub(super) token_header: TokenHeader,
    #[serde(default)]
    pub(super) client_authentication: Authentication,
    #[serde(default = "yes")]
    pub(super) pkce: bool,
    pub(super) code_parameter: Option<String>,
    #[serde(default = "space")]
    pub(super) scope_separator: String,
    #[serde(default)]
    pub(super) request_format: Format,
    #[serde(default)]
    pub(super) parameter_names: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) request_parameters: BTreeMap<String, BTreeMap<String, String>>,
    #[serde(default)]
    pub(super) response_members: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) lifetime_unit: LifetimeUnit,
    /// Whole seconds or `never`.
    pub(super) access_token_lifetime: Option<Value>,
    pub(super) refresh_token_lifetime: Option<u64>,
    #[serde(default)]
    pub(super) refresh_window: RefreshWindow,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Authentication {
    #[default]
    Basic,
    BasicRaw,
    RequestBody,
    None,
    ClientSecretJwt,
    #[cfg(feature = "signing")]
    PrivateKeyJwt,
    #[serde(alias = "self_signed_tls_client_auth")]
    TlsClientAuth,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::sandbox) enum Format {
    #[default]
    Form,
    Json,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum LifetimeUnit {
    #[default]
    Seconds,
    Milliseconds,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub(super) struct RefreshWindow {
    pub(super) earliest: Option<u64>,
}

#[derive(Clone, Debug, Deserialize)]
pub(in crate::sandbox) struct TokenHeader {
    #[serde(default = "authorization")]
    pub(in crate::sandbox) name: String,
    #[serde(default = "bearer")]
    pub(in crate::sandbox) scheme: String,
}

impl Default for TokenHeader {
    fn default() -> Self {
        Self {
            name: authorization(),
            scheme: bearer(),
        }
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::sandbox) struct RevocationRequest {
    /// `None` for `POST`.
    pub(in crate::sandbox) method: Option<String>,
    pub(in crate::sandbox) format: Format,
    /// `None` for `token`.
    pub(in crate::sandbox) parameter: Option<String>,
    pub(in crate::sandbox) token: RevokedToken,
    pub(in crate::sandbox) authentication: RevocationAuthentication,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::sandbox) enum RevokedToken {
    #[default]
    Either,
    Access,
    Refresh,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::sandbox) enum RevocationAuthentication {
    #[default]
    Client,
    Basic,
    AccessToken,
    None,
}

fn yes() -> bool {
    true
}

fn space() -> String {
    " ".to_owned()
}

fn authorization() -> String {
    "Authorization".to_owned()
}

fn bearer() -> String {
    "Bearer".to_owned()
}
