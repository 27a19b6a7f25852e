//! Parameters of requests to the authorization server, beyond those of RFC 6749.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::Error;

/// A request to the authorization server, through the browser or directly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RequestKind {
    /// The authorization request, which the browser sends (RFC 6749 section 4.1.1).
    Authorization,
    /// The token request with an authorization code (RFC 6749 section 4.1.3).
    CodeExchange,
    /// The token request with a refresh token (RFC 6749 section 6).
    Refresh,
    /// The token request with the client's credentials alone (RFC 6749 section 4.4).
    ClientCredentials,
    /// The token request with a JWT as the grant (RFC 7523 section 2.1).
    JwtBearer,
    /// The token request of a token exchange (RFC 8693 section 2.1).
    TokenExchange,
    /// The device authorization request (RFC 8628 section 3.1).
    DeviceAuthorization,
    /// The token request with a device code (RFC 8628 section 3.4).
    DeviceToken,
    /// The revocation request (RFC 7009 section 2.1).
    Revocation,
}

impl RequestKind {
    pub(super) const ALL: [Self; 9] = [
        Self::Authorization,
        Self::CodeExchange,
        Self::Refresh,
        Self::ClientCredentials,
        Self::JwtBearer,
        Self::TokenExchange,
        Self::DeviceAuthorization,
        Self::DeviceToken,
        Self::Revocation,
    ];

    /// The kind as in files, such as `code_exchange`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Authorization => "authorization",
            Self::CodeExchange => "code_exchange",
            Self::Refresh => "refresh",
            Self::ClientCredentials => "client_credentials",
            Self::JwtBearer => "jwt_bearer",
            Self::TokenExchange => "token_exchange",
            Self::DeviceAuthorization => "device_authorization",
            Self::DeviceToken => "device_token",
            Self::Revocation => "revocation",
        }
    }
}

/// Parameters by the kind of request and by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RequestParameters {
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    authorization: Parameters,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    code_exchange: Parameters,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    refresh: Parameters,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    client_credentials: Parameters,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    jwt_bearer: Parameters,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    token_exchange: Parameters,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    device_authorization: Parameters,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    device_token: Parameters,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    revocation: Parameters,
}

type Parameters = BTreeMap<String, String>;

/// Parameters that the client sets: by the specifications, from its own settings, or as a secret.
/// A value beside them would be a second one, which servers refuse or, worse, prefer.
const RESERVED: [&str; 24] = [
    "actor_token",
    "actor_token_type",
    "assertion",
    "client_assertion",
    "client_assertion_type",
    "client_id",
    "client_secret",
    "code",
    "code_challenge",
    "code_challenge_method",
    "code_verifier",
    "device_code",
    "redirect_uri",
    "refresh_token",
    "request_uri",
    "requested_token_type",
    "response_mode",
    "response_type",
    "scope",
    "state",
    "subject_token",
    "subject_token_type",
    "token",
    "token_type_hint",
];

/// Far longer than any parameter of a provider.
const MAX_LENGTH: usize = 2_048;

impl RequestParameters {
    pub(crate) fn set(&mut self, kind: RequestKind, name: String, value: String) {
        self.parameters_mut(kind).insert(name, value);
    }

    /// The parameters of a kind of request, in the order of their names.
    pub(crate) fn of(&self, kind: RequestKind) -> impl Iterator<Item = (&str, &str)> {
        let parameters = self.parameters(kind).iter();
        parameters.map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Whether a kind of request has a parameter of this name.
    pub(crate) fn has(&self, kind: RequestKind, name: &str) -> bool {
        self.parameters(kind).contains_key(name)
    }

    /// The value of `grant_type`, if it is not that of the specification.
    pub(crate) fn grant_type(&self, kind: RequestKind) -> Option<&str> {
        self.parameters(kind).get("grant_type").map(String::as_str)
    }

    /// These parameters and those of `client`, which win.
    pub(crate) fn with(mut self, client: &Self) -> Self {
        for kind in RequestKind::ALL {
            let parameters = client.parameters(kind).clone();
            self.parameters_mut(kind).extend(parameters);
        }
        self
    }

    /// Checks all names and values. The error begins with the path of the wrong one.
    pub(crate) fn check(&self) -> Result<(), Error> {
        for kind in RequestKind::ALL {
            for (name, value) in self.of(kind) {
                if let Some(problem) = problem(kind, name, value) {
                    let kind = kind.as_str();
                    return Err(Error::configuration(format!(
                        "request_parameters.{kind}.{name}: {problem}"
                    )));
                }
            }
        }
        Ok(())
    }

    fn parameters(&self, kind: RequestKind) -> &Parameters {
        match kind {
            RequestKind::Authorization => &self.authorization,
            RequestKind::CodeExchange => &self.code_exchange,
            RequestKind::Refresh => &self.refresh,
            RequestKind::ClientCredentials => &self.client_credentials,
            RequestKind::JwtBearer => &self.jwt_bearer,
            RequestKind::TokenExchange => &self.token_exchange,
            RequestKind::DeviceAuthorization => &self.device_authorization,
            RequestKind::DeviceToken => &self.device_token,
            RequestKind::Revocation => &self.revocation,
        }
    }

    fn parameters_mut(&mut self, kind: RequestKind) -> &mut Parameters {
        match kind {
            RequestKind::Authorization => &mut self.authorization,
            RequestKind::CodeExchange => &mut self.code_exchange,
            RequestKind::Refresh => &mut self.refresh,
            RequestKind::ClientCredentials => &mut self.client_credentials,
            RequestKind::JwtBearer => &mut self.jwt_bearer,
            RequestKind::TokenExchange => &mut self.token_exchange,
            RequestKind::DeviceAuthorization => &mut self.device_authorization,
            RequestKind::DeviceToken => &mut self.device_token,
            RequestKind::Revocation => &mut self.revocation,
        }
    }
}

/// The rule that [`is_name`] checks.
pub(super) const NAME_RULE: &str =
    "a name has 1 to 64 letters, digits and the characters _ - . [ ]";

/// Whether a parameter may have this name.
pub(super) fn is_name(name: &str) -> bool {
    let is_token = |byte| matches!(byte, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-' | b'.' | b'[' | b']');
    (1..=64).contains(&name.len()) && name.bytes().all(is_token)
}

/// Whether the client sets the parameter of this name itself.
pub(super) fn is_reserved(name: &str) -> bool {
    RESERVED.contains(&name)
}

fn problem(kind: RequestKind, name: &str, value: &str) -> Option<&'static str> {
    if !is_name(name) {
        return Some(NAME_RULE);
    }
    if is_reserved(name) {
        return Some("the client sets this parameter itself; remove it");
    }
    // Some providers have a name of their own for a grant of RFC 6749 section 4.5.
    if name == "grant_type" && kind != RequestKind::ClientCredentials {
        return Some("only client_credentials requests may have another grant type; remove it");
    }
    if value.len() > MAX_LENGTH {
        return Some("the value is longer than 2,048 bytes; shorten it");
    }
    if value.chars().any(char::is_control) {
        return Some("the value contains a control character; remove it");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameters(kind: RequestKind, name: &str, value: &str) -> RequestParameters {
        let mut parameters = RequestParameters::default();
        parameters.set(kind, name.to_owned(), value.to_owned());
        parameters
    }

    #[test]
    fn wrong_parameters_are_named_by_their_path() {
        let long = "x".repeat(MAX_LENGTH + 1);
        for (name, value) in [
            ("client_secret", "x"),
            ("state", "x"),
            ("refresh_token", "x"),
            ("scope", "x"),
            ("grant_type", "x"),
            ("two words", "x"),
            ("", "x"),
            ("a&b", "x"),
            ("ok", "line\nend"),
            ("ok", &long),
        ] {
            let error = parameters(RequestKind::Refresh, name, value).check();
            let error = error.unwrap_err().to_string();
            let path = format!("request_parameters.refresh.{name}: ");
            assert!(error.starts_with(&path), "{error}");
            assert!(!error.contains(&long), "{error}");
        }
    }

    #[test]
    fn parameters_of_real_providers_are_accepted() {
        for (kind, name, value) in [
            (RequestKind::Authorization, "access_type", "offline"),
            (RequestKind::Authorization, "prompt", "consent"),
            (RequestKind::Authorization, "audience", "api.atlassian.com"),
            (
                RequestKind::Refresh,
                "resource",
                "https://graph.microsoft.com/",
            ),
            (
                RequestKind::ClientCredentials,
                "grant_type",
                "account_credentials",
            ),
            (RequestKind::ClientCredentials, "account_id", ""),
        ] {
            parameters(kind, name, value).check().unwrap();
        }
    }

    #[test]
    fn parameters_of_the_client_win() {
        let provider = parameters(RequestKind::Refresh, "audience", "provider");
        let client = parameters(RequestKind::Refresh, "audience", "client");
        let merged = provider.with(&client);
        let refresh: Vec<_> = merged.of(RequestKind::Refresh).collect();
        assert_eq!(refresh, [("audience", "client")]);
        assert_eq!(merged.of(RequestKind::CodeExchange).count(), 0);
    }
}
