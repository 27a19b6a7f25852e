//! A registered application.

use std::fmt;

use super::scope::{SCOPES, Scopes};

/// An application that Justworks has registered: its credentials, and what it may ask for.
///
/// A sandbox has one app, described by the builder; further ones join it with
/// [`SandboxBuilder::app`](super::SandboxBuilder::app).
#[derive(Clone)]
pub struct ClientRegistration {
    pub(super) client_id: String,
    pub(super) client_secret: String,
    pub(super) name: String,
    pub(super) redirect_uris: Vec<String>,
    pub(super) scopes: Scopes,
}

impl ClientRegistration {
    /// An app with these credentials.
    ///
    /// Its name defaults to its client id, its redirect URI to `http://127.0.0.1:8000/callback`, its scopes to all
    /// of [`SCOPES`].
    pub fn new(client_id: impl Into<String>, client_secret: impl Into<String>) -> Self {
        let client_id = client_id.into();
        Self {
            name: client_id.clone(),
            client_id,
            client_secret: client_secret.into(),
            redirect_uris: vec![DEFAULT_REDIRECT_URI.to_owned()],
            scopes: SCOPES.into_iter().collect(),
        }
    }

    /// The name shown on the consent page. Defaults to the client id.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// The only redirect URI, compared character by character. Defaults to `http://127.0.0.1:8000/callback`.
    ///
    /// One with a fragment is never redirected to, as RFC 6749, 3.1.2 forbids it: the person is shown an error page.
    #[must_use]
    pub fn redirect_uri(self, redirect_uri: impl Into<String>) -> Self {
        self.redirect_uris([redirect_uri])
    }

    /// All redirect URIs, compared character by character. With more than one, authorization requests must name one.
    ///
    /// One with a fragment is never redirected to, as RFC 6749, 3.1.2 forbids it: the person is shown an error page.
    #[must_use]
    pub fn redirect_uris<S: Into<String>>(
        mut self,
        redirect_uris: impl IntoIterator<Item = S>,
    ) -> Self {
        self.redirect_uris = redirect_uris.into_iter().map(Into::into).collect();
        self
    }

    /// The scopes the app may ask for, and gets when it asks for none. Defaults to all of [`SCOPES`].
    #[must_use]
    pub fn scopes<S: Into<String>>(mut self, scopes: impl IntoIterator<Item = S>) -> Self {
        self.scopes = scopes.into_iter().collect();
        self
    }
}

impl fmt::Debug for ClientRegistration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientRegistration")
            .field("client_id", &self.client_id)
            .field("client_secret", &"***")
            .field("name", &self.name)
            .field("redirect_uris", &self.redirect_uris)
            .field("scopes", &self.scopes)
            .finish()
    }
}

const DEFAULT_REDIRECT_URI: &str = "http://127.0.0.1:8000/callback";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_keeps_the_secret() {
        let shown = format!("{:?}", ClientRegistration::new("an-id", "a-secret"));
        assert!(shown.contains("an-id") && !shown.contains("a-secret"));
    }
}
