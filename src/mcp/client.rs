//! Which client the program is at an authorization server.

use std::fmt;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::{
    discovery::Metadata,
    error::Error,
    jose::{AnySigner, Signer},
    origin::Origin,
    provider::ClientAuthentication,
    token::ClientSecret,
};

/// A client that was registered by hand at one authorization server.
///
/// Its id and secret are used at that server only. If an MCP server names another one, they are
/// not: a hostile MCP server would otherwise get the secret by naming a server of its own.
#[derive(Clone)]
pub struct PreRegistered {
    pub(super) issuer: String,
    pub(super) client_id: String,
    pub(super) secret: Option<ClientSecret>,
    pub(super) signer: Option<AnySigner>,
}

impl PreRegistered {
    /// A public client, without a secret. `issuer` is the authorization server, written exactly as
    /// in its metadata.
    pub fn new(issuer: impl Into<String>, client_id: impl Into<String>) -> Self {
        Self {
            issuer: issuer.into(),
            client_id: client_id.into(),
            secret: None,
            signer: None,
        }
    }

    /// Sets the client secret.
    #[must_use]
    pub fn client_secret(mut self, secret: impl Into<ClientSecret>) -> Self {
        self.secret = Some(secret.into());
        self
    }

    /// Sets the signer of the client's assertions (`private_key_jwt`, RFC 7523 section 2.2),
    /// instead of a secret. A [`SigningKey`](crate::jose::SigningKey) is a ready one.
    #[must_use]
    pub fn signer(mut self, signer: impl Signer) -> Self {
        self.signer = Some(AnySigner::new(signer));
        self
    }

    /// The credentials of the client.
    pub(super) fn credentials(&self) -> Credentials {
        match (&self.secret, &self.signer) {
            (Some(_), _) => Credentials::Secret,
            (None, Some(_)) => Credentials::Signer,
            (None, None) => Credentials::None,
        }
    }
}

/// Whether a client has a secret or a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Credentials {
    None,
    Secret,
    Signer,
}

impl Credentials {
    /// Those that a client needs to authenticate in this way.
    pub(super) fn of(authentication: ClientAuthentication) -> Self {
        match authentication {
            ClientAuthentication::PrivateKeyJwt => Self::Signer,
            method if method.has_secret() => Self::Secret,
            _ => Self::None,
        }
    }
}

impl fmt::Debug for PreRegistered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PreRegistered")
            .field("issuer", &self.issuer)
            .field("client_id", &self.client_id)
            .finish_non_exhaustive()
    }
}

/// The program's clients, in the order of preference of MCP 2025-11-25.
#[derive(Clone, Debug)]
pub(super) struct Clients {
    pub(super) pre_registered: Vec<PreRegistered>,
    pub(super) metadata_url: Option<String>,
    /// The name with which the program registers itself. `None` if it does not.
    pub(super) registers_as: Option<String>,
}

/// The kind of client that an authorization server accepts.
#[derive(Debug)]
pub(super) enum Kind<'a> {
    PreRegistered(&'a PreRegistered),
    MetadataDocument(&'a str),
    /// To be registered at this endpoint, with this name.
    Registered {
        endpoint: &'a str,
        name: &'a str,
    },
}

impl Clients {
    /// The client that was registered by hand at this server.
    pub(super) fn pre_registered_at(&self, issuer: &str) -> Option<&PreRegistered> {
        self.pre_registered
            .iter()
            .find(|client| client.issuer == issuer)
    }

    /// The first server of a resource where the program is registered, or else the first one.
    pub(super) fn choose_issuer<'a>(&self, issuers: &'a [String]) -> Option<&'a str> {
        let known = issuers
            .iter()
            .find(|issuer| self.pre_registered_at(issuer).is_some());
        known.or_else(|| issuers.first()).map(String::as_str)
    }

    /// The kind of client at a server, given what the server supports.
    pub(super) fn choose<'a>(
        &'a self,
        issuer: &str,
        supports_document: bool,
        registration_endpoint: Option<&'a str>,
    ) -> Result<Kind<'a>, Error> {
        if let Some(client) = self.pre_registered_at(issuer) {
            return Ok(Kind::PreRegistered(client));
        }
        if supports_document && let Some(url) = &self.metadata_url {
            return Ok(Kind::MetadataDocument(url));
        }
        if let Some(endpoint) = registration_endpoint
            && let Some(name) = &self.registers_as
        {
            return Ok(Kind::Registered { endpoint, name });
        }
        Err(Error::configuration(
            "client: the authorization server knows none of the program's clients, and supports \
             neither its metadata document nor registration; register a client there and pass it \
             as PreRegistered",
        )
        .with_source(format!("the issuer: {issuer:?}")))
    }
}

/// Checks the URL of a client id metadata document.
pub(super) fn check_metadata_url(url: &str) -> Result<(), Error> {
    let origin = Origin::parse("client metadata URL", url)?;
    let path = url
        .split_once("://")
        .and_then(|(_, rest)| rest.split_once('/'));
    let is_up = |segment: &str| matches!(segment, "." | "..");
    let problem = if !origin.is_secure() {
        "use https"
    } else if path.is_none_or(|(_, path)| path.is_empty()) {
        "the URL has no path; use that of the document"
    } else if url.contains('#') {
        "the URL contains a fragment; remove it"
    } else if url.split('/').any(is_up) {
        "the path contains `.` or `..`; write it without them"
    } else {
        return Ok(());
    };
    Err(Error::configuration(format!(
        "client metadata URL: {problem}"
    )))
}

/// A client, as it is stored with a connection.
#[derive(Clone, Serialize, Deserialize, PartialEq, Eq)]
pub(super) struct Client {
    pub(super) id: String,
    pub(super) authentication: ClientAuthentication,
    pub(super) origin: ClientOrigin,
}

/// Where a client comes from.
#[derive(Clone, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(super) enum ClientOrigin {
    /// Its secret is in the program's settings.
    PreRegistered,
    MetadataDocument,
    Registered(Registration),
}

/// The result of a dynamic registration (RFC 7591 section 3.2.1).
#[derive(Clone, Serialize, Deserialize, PartialEq, Eq)]
pub(super) struct Registration {
    pub(super) redirect_uri: String,
    pub(super) secret: Option<Zeroizing<String>>,
    /// When the secret expires, in seconds since 1970. `None` for never.
    pub(super) secret_expires_at: Option<u64>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("id", &self.id)
            .field("authentication", &self.authentication)
            .finish_non_exhaustive()
    }
}

/// How a client with these credentials authenticates to a server that supports these methods.
/// `None` if there is no way.
pub(super) fn authentication(
    supported: Option<&[String]>,
    credentials: Credentials,
) -> Option<ClientAuthentication> {
    let preferred: &[_] = match credentials {
        // RFC 8414 has no way to say that public clients are accepted, and most servers that accept
        // them list `none`. The others find out by the request.
        Credentials::None => return Some(ClientAuthentication::None),
        Credentials::Secret => &[
            ("client_secret_basic", ClientAuthentication::Basic),
            ("client_secret_post", ClientAuthentication::RequestBody),
            ("client_secret_jwt", ClientAuthentication::ClientSecretJwt),
        ],
        Credentials::Signer => &[("private_key_jwt", ClientAuthentication::PrivateKeyJwt)],
    };
    let supports = |name: &str| match supported {
        Some(methods) => methods.iter().any(|method| method == name),
        // The default of RFC 8414 section 2.
        None => name == "client_secret_basic",
    };
    let found = preferred.iter().find(|(name, _)| supports(name));
    found.map(|(_, method)| *method)
}

/// The methods of a client at a server by their registered names.
pub(super) fn method_name(authentication: ClientAuthentication) -> &'static str {
    match authentication {
        ClientAuthentication::RequestBody => "client_secret_post",
        ClientAuthentication::None => "none",
        _ => "client_secret_basic",
    }
}

/// The method with which to register: the first that the server supports of `client_secret_basic`,
/// `client_secret_post` and `none`.
pub(super) fn method_to_register(metadata: &Server) -> ClientAuthentication {
    let methods = metadata.auth_methods.as_deref();
    match authentication(methods, Credentials::Secret) {
        // Few servers register clients for it.
        Some(ClientAuthentication::ClientSecretJwt) | None => ClientAuthentication::None,
        Some(method) => method,
    }
}

/// An authorization server, as far as the profile needs to know it.
#[derive(Clone, Debug)]
pub(super) struct Server {
    pub(super) issuer: String,
    pub(super) token_endpoint: String,
    pub(super) authorization_endpoint: Option<String>,
    pub(super) revocation_endpoint: Option<String>,
    /// `None` if authorization requests do not have to be pushed (RFC 9126).
    pub(super) pushed_authorization_request_endpoint: Option<String>,
    pub(super) registration_endpoint: Option<String>,
    pub(super) auth_methods: Option<Vec<String>>,
    pub(super) scopes: Option<Vec<String>>,
    pub(super) supports_document: bool,
    pub(super) sends_iss: bool,
    pub(super) has_pkce: bool,
}

impl Server {
    pub(super) fn of(metadata: &Metadata) -> Result<Self, Error> {
        let Some(token_endpoint) = metadata.token_endpoint() else {
            return Err(Error::configuration(
                "authorization server metadata: no token_endpoint, so the server issues no tokens \
                 to this client; check the MCP server",
            ));
        };
        let owned = |url: Option<&str>| url.map(str::to_owned);
        let list = |list: Option<&[String]>| list.map(<[String]>::to_vec);
        let challenges = metadata.code_challenge_methods_supported();
        // A server may offer the endpoint to some of its clients only.
        let pushed = metadata.pushed_authorization_request_endpoint();
        let pushed = pushed.filter(|_| metadata.require_pushed_authorization_requests());
        Ok(Self {
            issuer: metadata.issuer().to_owned(),
            token_endpoint: token_endpoint.to_owned(),
            authorization_endpoint: owned(metadata.authorization_endpoint()),
            revocation_endpoint: owned(metadata.revocation_endpoint()),
            pushed_authorization_request_endpoint: owned(pushed),
            registration_endpoint: owned(metadata.registration_endpoint()),
            auth_methods: list(metadata.token_endpoint_auth_methods_supported()),
            scopes: list(metadata.scopes_supported()),
            supports_document: metadata.client_id_metadata_document_supported(),
            sends_iss: metadata.authorization_response_iss_parameter_supported(),
            has_pkce: challenges.is_some_and(|list| list.iter().any(|one| one == "S256")),
        })
    }

    /// A server without metadata (MCP 2025-03-26): its endpoints have fixed paths.
    pub(super) fn without_metadata(origin: &Origin) -> Self {
        Self {
            issuer: origin.to_string(),
            token_endpoint: format!("{origin}/token"),
            authorization_endpoint: Some(format!("{origin}/authorize")),
            revocation_endpoint: None,
            pushed_authorization_request_endpoint: None,
            registration_endpoint: Some(format!("{origin}/register")),
            auth_methods: None,
            scopes: None,
            supports_document: false,
            sends_iss: false,
            has_pkce: true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clients() -> Clients {
        Clients {
            pre_registered: vec![
                PreRegistered::new("https://b.example", "id-b").client_secret("seeded"),
            ],
            metadata_url: Some("https://app.example/client.json".into()),
            registers_as: Some("app".into()),
        }
    }

    #[test]
    fn p25_pre_registered_client_is_used_at_its_own_issuer_only() {
        let clients = clients();
        let issuers = [
            "https://a.example".to_owned(),
            "https://b.example".to_owned(),
        ];
        assert_eq!(clients.choose_issuer(&issuers), Some("https://b.example"));
        assert_eq!(
            clients.choose_issuer(&issuers[..1]),
            Some("https://a.example")
        );
        assert_eq!(clients.choose_issuer(&[]), None);
        for issuer in [
            "https://a.example",
            "https://b.example/",
            "https://B.example",
            "https://b.example.evil.example",
        ] {
            assert!(clients.pre_registered_at(issuer).is_none(), "{issuer}");
        }
        assert!(!format!("{clients:?}").contains("seeded"));
    }

    #[test]
    fn kinds_of_clients_are_tried_in_the_order_of_the_specification() {
        let all = clients();
        let kind = |clients: &Clients, issuer: &str, document, endpoint: Option<&str>| match clients
            .choose(issuer, document, endpoint)
        {
            Ok(Kind::PreRegistered(_)) => "pre-registered",
            Ok(Kind::MetadataDocument(_)) => "document",
            Ok(Kind::Registered { .. }) => "registered",
            Err(_) => "none",
        };
        let register = Some("https://a.example/register");
        assert_eq!(
            kind(&all, "https://b.example", true, register),
            "pre-registered"
        );
        assert_eq!(kind(&all, "https://a.example", true, register), "document");
        assert_eq!(
            kind(&all, "https://a.example", false, register),
            "registered"
        );
        assert_eq!(kind(&all, "https://a.example", false, None), "none");
        let silent = Clients {
            registers_as: None,
            metadata_url: None,
            ..all
        };
        assert_eq!(kind(&silent, "https://a.example", true, register), "none");
    }

    #[test]
    fn metadata_url_has_a_path_and_uses_https() {
        assert!(check_metadata_url("https://app.example/client.json").is_ok());
        for bad in [
            "",
            "https://app.example",
            "https://app.example/",
            "http://127.0.0.1/client.json",
            "https://app.example/a#b",
            "https://app.example/a/../b",
            "https://user@app.example/a",
        ] {
            let error = check_metadata_url(bad).unwrap_err().to_string();
            assert!(error.starts_with("client metadata URL: "), "{bad}: {error}");
        }
    }

    #[test]
    fn method_is_one_that_the_server_supports() {
        use ClientAuthentication::{
            Basic, ClientSecretJwt, None as Public, PrivateKeyJwt, RequestBody,
        };
        for (methods, with_secret, with_key) in [
            (None, Some(Basic), None),
            (
                Some("client_secret_post client_secret_basic"),
                Some(Basic),
                None,
            ),
            (Some("client_secret_post none"), Some(RequestBody), None),
            (Some("client_secret_jwt"), Some(ClientSecretJwt), None),
            (Some("private_key_jwt"), None, Some(PrivateKeyJwt)),
            (Some(""), None, None),
        ] {
            let methods: Option<Vec<_>> =
                methods.map(|names| names.split(' ').map(str::to_owned).collect());
            let chosen = |credentials| authentication(methods.as_deref(), credentials);
            assert_eq!(chosen(Credentials::Secret), with_secret, "{methods:?}");
            assert_eq!(chosen(Credentials::Signer), with_key, "{methods:?}");
            assert_eq!(chosen(Credentials::None), Some(Public), "{methods:?}");
        }
    }
}
