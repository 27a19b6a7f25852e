//! A registered OAuth client.

use std::fmt;

use super::scope::{SCOPES, Scopes};

/// A client that is registered at the sandbox: its credentials, and what it may request.
///
/// The sandbox has one client, which [`SandboxBuilder`](super::SandboxBuilder) describes. Register
/// further ones with [`SandboxBuilder::client`](super::SandboxBuilder::client).
#[derive(Clone)]
pub struct ClientRegistration {
    pub(super) client_id: String,
    pub(super) client_secret: String,
    /// Further secrets that are accepted.
    pub(super) more_secrets: Vec<String>,
    pub(super) name: String,
    pub(super) redirect_uris: Vec<String>,
    pub(super) scopes: Scopes,
    /// Public keys as JSON Web Keys.
    pub(super) public_keys: Vec<String>,
}

impl ClientRegistration {
    /// A client with these credentials.
    ///
    /// Its name defaults to its client id, its redirect URI to `http://127.0.0.1:8000/callback`,
    /// and its scopes to all of [`SCOPES`].
    pub fn new(client_id: impl Into<String>, client_secret: impl Into<String>) -> Self {
        let client_id = client_id.into();
        Self {
            name: client_id.clone(),
            client_id,
            client_secret: client_secret.into(),
            more_secrets: Vec::new(),
            redirect_uris: vec![DEFAULT_REDIRECT_URI.to_owned()],
            scopes: SCOPES.into_iter().collect(),
            public_keys: Vec::new(),
        }
    }

    /// Adds a public key that verifies the client's assertions, as a JSON Web Key (RFC 7517).
    /// Defaults to none. A text that is none verifies nothing.
    #[cfg(feature = "signing")]
    #[must_use]
    pub fn public_key(mut self, jwk: impl Into<String>) -> Self {
        self.public_keys.push(jwk.into());
        self
    }

    /// The name on the consent page. Defaults to the client id.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// The only redirect URI. Defaults to `http://127.0.0.1:8000/callback`.
    ///
    /// Requests must repeat it character by character. If it has a fragment, which RFC 6749,
    /// section 3.1.2 forbids, authorization requests show an error page instead of redirecting.
    #[must_use]
    pub fn redirect_uri(self, redirect_uri: impl Into<String>) -> Self {
        self.redirect_uris([redirect_uri])
    }

    /// All redirect URIs, with the rules of [`redirect_uri`](Self::redirect_uri).
    ///
    /// If there is more than one, authorization requests must name one of them.
    #[must_use]
    pub fn redirect_uris<S: Into<String>>(
        mut self,
        redirect_uris: impl IntoIterator<Item = S>,
    ) -> Self {
        self.redirect_uris = redirect_uris.into_iter().map(Into::into).collect();
        self
    }

    /// The scopes that the client may request. Defaults to all of [`SCOPES`].
    ///
    /// A request without `scope` asks for all of them.
    #[must_use]
    pub fn scopes<S: Into<String>>(mut self, scopes: impl IntoIterator<Item = S>) -> Self {
        self.scopes = scopes.into_iter().collect();
        self
    }

    /// The secrets that are accepted.
    pub(super) fn secrets(&self) -> impl Iterator<Item = &str> {
        let first = std::iter::once(&self.client_secret);
        first.chain(&self.more_secrets).map(String::as_str)
    }
}

impl fmt::Debug for ClientRegistration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientRegistration")
            .field("client_id", &self.client_id)
            .field("client_secret", &"***")
            .field("more_secrets", &self.more_secrets.len())
            .field("name", &self.name)
            .field("redirect_uris", &self.redirect_uris)
            .field("scopes", &self.scopes)
            .field("public_keys", &self.public_keys)
            .finish()
    }
}

const DEFAULT_REDIRECT_URI: &str = "http://127.0.0.1:8000/callback";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_hides_the_secret() {
        let debug = format!("{:?}", ClientRegistration::new("an-id", "a-secret"));
        assert!(debug.contains("an-id") && !debug.contains("a-secret"));
    }
}
