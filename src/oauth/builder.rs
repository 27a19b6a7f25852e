//! Settings of an [`OAuthClient`], checked when it is built.

use std::{
    error::Error as StdError,
    fmt,
    sync::{Arc, Mutex},
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use super::{
    EndpointGate, OAuthClient,
    client::Configuration,
    transport::{IsUnsent, Transport},
};
use crate::{
    clock::{Clock, SystemClock},
    error::{BoxError, Error},
    provider::{Endpoint, Provider},
    token::ClientSecret,
};

/// Builds an [`OAuthClient`].
#[must_use = "a builder does nothing before it is built"]
pub struct OAuthClientBuilder {
    provider: Provider,
    client_id: String,
    client_secret: ClientSecret,
    redirect_uri: Option<String>,
    scopes: Vec<String>,
    clock: Arc<dyn Clock>,
    seed: Option<u64>,
    gate: EndpointGate,
    is_unsent: IsUnsent,
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
            seed: None,
            gate: EndpointGate::new(),
            is_unsent: Arc::new(|_| false),
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

    /// Sets what the random choice of pauses starts from, so that a test can repeat them. Defaults to something else in each
    /// client.
    pub fn jitter_seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Sets the gate that all calls of the token endpoint pass. Defaults to one of its own, which clones share.
    ///
    /// Where several clients ask the same endpoint, as with scopes or redirect URIs of their own, they may share one: that
    /// of another client ([`OAuthClient::gate`]), or a new one. Its limit and its pauses then hold for all of them together,
    /// those after `invalid_client` included; and so does their end, when one of them gets another secret.
    pub fn gate(mut self, gate: EndpointGate) -> Self {
        self.gate = gate;
        self
    }

    /// Sets which errors of the HTTP client, or of one behind it, say that not a byte of the request was sent, so that it
    /// may be sent again. A refused connection always does; other ways to fail are known to the HTTP client alone.
    ///
    /// ```
    /// # use tower_oauth2_client::{oauth::OAuthClient, provider};
    /// # use hyper_util::client::legacy;
    /// # let builder = OAuthClient::builder(provider::justworks(), "id", "secret");
    /// builder.is_connect_error(|error| {
    ///     error.downcast_ref::<legacy::Error>().is_some_and(legacy::Error::is_connect)
    /// });
    /// ```
    pub fn is_connect_error(
        mut self,
        is_unsent: impl Fn(&(dyn StdError + 'static)) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.is_unsent = Arc::new(is_unsent);
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
        let client_secret = checked(self.client_secret)?;
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
                client_secret: ArcSwap::from_pointee(client_secret),
                redirect_uri: self.redirect_uri,
                scope: (!self.scopes.is_empty()).then(|| self.scopes.join(" ")),
                clock: self.clock,
                gate: self.gate,
                random: Mutex::new(
                    self.seed
                        .map_or_else(fastrand::Rng::new, fastrand::Rng::with_seed),
                ),
            },
            Transport::new(http, self.is_unsent),
        ))
    }
}

impl fmt::Debug for OAuthClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OAuthClientBuilder")
            .field("provider", &self.provider)
            .field("client_id", &self.client_id)
            .field("redirect_uri", &self.redirect_uri)
            .field("scopes", &self.scopes)
            .finish_non_exhaustive()
    }
}

/// A secret that can be sent.
pub(super) fn checked(secret: ClientSecret) -> Result<ClientSecret, Error> {
    if secret.expose().is_empty() {
        return Err(Error::configuration("client secret: it is empty"));
    }
    Ok(secret)
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
