//! Settings of an [`OAuthClient`], checked when it is built.

use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tower::Service;

use super::{OAuthClient, client::Configuration, transport::Transport};
use crate::{
    clock::{Clock, SystemClock},
    error::{BoxError, Error},
    provider::{Endpoint, Provider},
    token::ClientSecret,
};

/// Builds an [`OAuthClient`].
#[derive(Debug)]
#[must_use = "a builder does nothing before it is built"]
pub struct OAuthClientBuilder {
    provider: Provider,
    client_id: String,
    client_secret: ClientSecret,
    redirect_uri: Option<String>,
    scopes: Vec<String>,
    clock: Arc<dyn Clock>,
}

impl OAuthClientBuilder {
    pub(super) fn new(provider: Provider, client_id: String, client_secret: ClientSecret) -> Self {
        Self {
            provider,
            client_id,
            client_secret,
            redirect_uri: None,
            scopes: Vec::new(),
            clock: Arc::new(SystemClock),
        }
    }

    /// Sets where the provider sends the browser back to, exactly as it is registered there. Defaults to none, which is
    /// enough for a client that only renews and revokes.
    pub fn redirect_uri(mut self, redirect_uri: impl Into<String>) -> Self {
        self.redirect_uri = Some(redirect_uri.into());
        self
    }

    /// Sets the scopes to ask for. Defaults to none: the request then names no scope, and the provider decides.
    pub fn scopes(mut self, scopes: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        self.scopes = scopes
            .into_iter()
            .map(|scope| scope.as_ref().to_owned())
            .collect();
        self
    }

    /// Sets where the time comes from. Defaults to the operating system.
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Builds the client over `http`, whose request body may be any type that bytes turn into.
    ///
    /// # Errors
    ///
    /// [`Configuration`](crate::ErrorKind::Configuration), by name: an empty client id or secret, a redirect URI that is
    /// not absolute, not `https` (or `http` to loopback) or holds a fragment or user information, a scope with characters that no scope can have (RFC 6749 section 3.3).
    pub fn build<S, B, R>(self, http: S) -> Result<OAuthClient, Error>
    where
        S: Service<Request<B>, Response = Response<R>> + Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
        S::Error: Into<BoxError>,
        B: From<Bytes> + Send + 'static,
        R: Body + Send + 'static,
        R::Data: Send,
        R::Error: Into<BoxError>,
    {
        if self.client_id.is_empty() {
            return Err(Error::configuration("client id: it is empty"));
        }
        if !self
            .client_id
            .bytes()
            .all(|byte| matches!(byte, 0x20..=0x7e))
        {
            return Err(Error::configuration(
                "client id: it holds characters other than printable ASCII",
            ));
        }
        if self.client_secret.expose().is_empty() {
            return Err(Error::configuration("client secret: it is empty"));
        }
        if let Some(redirect_uri) = &self.redirect_uri {
            Endpoint::parse("redirect URI", redirect_uri)?;
        }
        if !self.scopes.iter().all(|scope| is_scope(scope)) {
            return Err(Error::configuration(
                "scopes: each is one word of visible ASCII without quotes or backslashes",
            ));
        }
        Ok(OAuthClient::new(
            Configuration {
                provider: self.provider,
                client_id: self.client_id,
                client_secret: self.client_secret,
                redirect_uri: self.redirect_uri,
                scope: (!self.scopes.is_empty()).then(|| self.scopes.join(" ")),
                clock: self.clock,
            },
            Transport::new(http),
        ))
    }
}

fn is_scope(scope: &str) -> bool {
    !scope.is_empty()
        && scope
            .bytes()
            .all(|byte| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirect_uri_is_absolute_without_fragment() {
        for bad in [
            "/callback",
            "partner.example.com/callback",
            "",
            "https://a.example/#x",
            "http://a.example/cb",
        ] {
            assert!(Endpoint::parse("redirect URI", bad).is_err(), "{bad}");
        }
        for good in ["https://a.example/cb?x=y", "http://127.0.0.1:8000/callback"] {
            assert!(Endpoint::parse("redirect URI", good).is_ok(), "{good}");
        }
    }

    #[test]
    fn scopes_are_single_words() {
        for bad in ["", "two words", "quo\"te", "back\\slash", "ünicode"] {
            assert!(!is_scope(bad), "{bad}");
        }
        assert!(is_scope("company.basic:read"));
    }
}
