//! How a provider behaves beyond its provider file.

use std::{collections::BTreeMap, time::Duration};

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::sandbox::behavior::{Replay, Rotation};

/// The record of a persona, in the format of its file. Lifetimes are in seconds.
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent settings, named where they are set"
)]
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Record {
    /// Where the behavior is described.
    pub(super) source: String,
    pub(super) scopes: Vec<String>,
    pub(super) rotation: RecordedRotation,
    /// The tenant of a consent for which the address of the authorization request names none.
    #[serde(default = "acme")]
    pub(super) tenant: String,
    /// The texts of a provider's variables in its addresses. `{tenant}` for a variable that is not
    /// listed.
    #[serde(default)]
    pub(super) variables: BTreeMap<String, String>,
    /// Parameters of each callback. `{tenant}` stands for the tenant.
    #[serde(default)]
    pub(super) callback: BTreeMap<String, String>,
    /// Members of each token response. `{tenant}` stands for the tenant.
    #[serde(default)]
    pub(super) response: Map<String, Value>,
    /// The lifetime of an access token, if the provider file has none or another one.
    pub(super) access_token_lifetime: Option<u64>,
    pub(super) refresh_token_lifetime: Option<u64>,
    /// Whether `expires_in` is sent, as it is unless the lifetime is unknown.
    pub(super) expires_in: Option<RecordedExpiry>,
    #[serde(default = "bearer")]
    pub(super) token_type: Option<String>,
    #[serde(default)]
    pub(super) no_scope: bool,
    /// The separator of the scopes in a response.
    #[serde(default = "space")]
    pub(super) scope_separator: String,
    /// Whether a token response names the lifetime of the refresh token.
    #[serde(default)]
    pub(super) refresh_token_expires_in: bool,
    /// How long the API does not know a new access token, in milliseconds.
    #[serde(default)]
    pub(super) propagation_delay: u64,
    /// Whether token responses are forms unless the request accepts JSON.
    #[serde(default)]
    pub(super) form_response: bool,
    /// The response to a dead refresh token.
    pub(super) dead: Option<RecordedResponse>,
    /// The response to a refresh before the refresh window.
    pub(super) early: Option<RecordedResponse>,
    /// A response that looks like that of a dead grant, and is none.
    pub(super) false_death: Option<RecordedResponse>,
    /// Whether a revocation leaves the access tokens alive.
    #[serde(default)]
    pub(super) revocation_keeps_access_tokens: bool,
    /// The status of a successful revocation.
    #[serde(default = "ok")]
    pub(super) revocation_status: u16,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum RecordedRotation {
    /// Responses repeat the refresh token.
    None,
    /// Only the response to a code exchange has a refresh token.
    Omitted,
    /// Only the response to the first code exchange has a refresh token.
    FirstConsent,
    /// No response has a refresh token.
    NoRefreshToken,
    SingleUse,
    FamilyRevocation,
    /// The old refresh token works until the new tokens are used.
    Deferred,
    /// The old refresh token works for these seconds.
    Grace(u64),
    /// The refresh token is replaced once it is this old, in seconds.
    AfterAge(u64),
}

impl RecordedRotation {
    pub(super) fn rotation(self) -> Rotation {
        match self {
            Self::None | Self::Omitted | Self::FirstConsent | Self::NoRefreshToken => {
                Rotation::None
            }
            Self::SingleUse => Rotation::SingleUse,
            Self::FamilyRevocation => Rotation::FamilyRevocation,
            Self::Deferred => Rotation::Deferred,
            Self::Grace(seconds) => Rotation::Grace {
                window: Duration::from_secs(seconds),
                replay: Replay::Sibling,
            },
            Self::AfterAge(seconds) => Rotation::AfterAge(Duration::from_secs(seconds)),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum RecordedExpiry {
    Absent,
    Number,
    Text,
}

/// A response of the token endpoint.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RecordedResponse {
    pub(super) status: u16,
    pub(super) body: Value,
}

fn acme() -> String {
    "acme".to_owned()
}

#[expect(clippy::unnecessary_wraps, reason = "the default of an optional field")]
fn bearer() -> Option<String> {
    Some("Bearer".to_owned())
}

fn space() -> String {
    " ".to_owned()
}

fn ok() -> u16 {
    200
}
