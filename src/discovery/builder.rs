//! Settings of a [`Discovery`], checked when it is built.

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use super::{
    fetch::{Http, LOAD_TIMEOUT},
    handle::Discovery,
    url::Subject,
};
use crate::{
    clock::{Clock, SystemClock},
    error::{BoxError, Error},
};

/// Builds a [`Discovery`].
#[must_use = "a builder does nothing until it is built"]
pub struct DiscoveryBuilder {
    issuer: String,
    clock: Arc<dyn Clock>,
    response_timeout: Duration,
    product: Option<String>,
}

const SHORTEST_TIMEOUT: Duration = Duration::from_secs(1);
const LONGEST_TIMEOUT: Duration = Duration::from_secs(60);

impl Discovery {
    /// Starts building a handle to the metadata of this issuer, written exactly as in the metadata.
    pub fn builder(issuer: impl Into<String>) -> DiscoveryBuilder {
        DiscoveryBuilder {
            issuer: issuer.into(),
            clock: Arc::new(SystemClock),
            response_timeout: LOAD_TIMEOUT,
            product: None,
        }
    }
}

impl DiscoveryBuilder {
    /// Sets the clock. Defaults to the operating system's.
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Sets how long a load may take, with all its requests. Defaults to 10 seconds.
    pub fn response_timeout(mut self, timeout: Duration) -> Self {
        self.response_timeout = timeout;
        self
    }

    /// Sets the program's part of the `User-Agent` header, as
    /// [`OAuthClientBuilder::user_agent`](crate::oauth::OAuthClientBuilder::user_agent) does.
    /// Defaults to none.
    pub fn user_agent(mut self, product: impl Into<String>) -> Self {
        self.product = Some(product.into());
        self
    }

    /// Builds the handle over `http`, an HTTP client that follows no redirects. Sends nothing.
    ///
    /// # Errors
    ///
    /// [`Configuration`](crate::ErrorKind::Configuration) for an issuer that is not an `https` URL
    /// (or `http` to loopback), or that contains a query, a fragment or user information (RFC 8414
    /// section 2); a response timeout that is not between 1 and 60 seconds; or a wrong user agent.
    pub fn build<S, B, R>(self, http: S) -> Result<Discovery, Error>
    where
        S: Service<Request<B>, Response = Response<R>> + Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
        S::Error: Into<BoxError>,
        B: From<Bytes> + Send + 'static,
        R: Body + Send + 'static,
        R::Data: Send,
        R::Error: Into<BoxError>,
    {
        let issuer = Subject::issuer(&self.issuer)?;
        let load_timeout = self.response_timeout;
        if !(SHORTEST_TIMEOUT..=LONGEST_TIMEOUT).contains(&load_timeout) {
            return Err(Error::configuration(
                "response timeout: must be between 1 and 60 seconds",
            ));
        }
        let (product, clock) = (self.product.as_deref(), self.clock);
        let http = Http::new(http, product, Arc::clone(&clock), load_timeout)?;
        Ok(Discovery::new(issuer, http, clock, load_timeout))
    }
}

impl fmt::Debug for DiscoveryBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DiscoveryBuilder")
            .field("issuer", &self.issuer)
            .field("response_timeout", &self.response_timeout)
            .finish_non_exhaustive()
    }
}
