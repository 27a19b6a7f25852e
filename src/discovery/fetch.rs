//! Requests for metadata.

use std::{future::Future, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Request, Response, StatusCode,
    header::{ACCEPT, ACCEPT_ENCODING, USER_AGENT},
};
use http_body::Body;
use tokio::{runtime::Handle, time::timeout};
use tower_service::Service;

use crate::{
    clock::Clock,
    error::{BoxError, Error, ErrorKind, ResponseDetails},
    oauth::{SendError, Transport, retry_after, user_agent},
};

/// How long a load may take, with all its requests.
pub(super) const LOAD_TIMEOUT: Duration = Duration::from_secs(10);

/// An HTTP client for metadata.
pub(super) struct Http {
    transport: Transport,
    user_agent: HeaderValue,
    clock: Arc<dyn Clock>,
    timeout: Duration,
}

impl Http {
    pub(super) fn new<S, B, R>(
        http: S,
        product: Option<&str>,
        clock: Arc<dyn Clock>,
        timeout: Duration,
    ) -> Result<Self, Error>
    where
        S: Service<Request<B>, Response = Response<R>> + Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
        S::Error: Into<BoxError>,
        B: From<Bytes> + Send + 'static,
        R: Body + Send + 'static,
        R::Data: Send,
        R::Error: Into<BoxError>,
    {
        Ok(Self {
            // A request for metadata can be repeated, so nothing depends on this.
            transport: Transport::new(http, Arc::new(|_| false)),
            user_agent: user_agent(product)?,
            clock,
            timeout,
        })
    }

    /// Loads a document from the first of these locations that has one. `parse` reads it.
    pub(super) async fn load<T>(
        &self,
        name: &str,
        locations: &[String],
        parse: impl Fn(&[u8]) -> Result<T, Error>,
    ) -> Result<(T, HeaderMap), Error> {
        self.in_time(name, async {
            let mut last = StatusCode::NOT_FOUND;
            for location in locations {
                match self.get(name, location).await? {
                    Ok(response) => {
                        let (head, body) = response.into_parts();
                        return parse(&body).map(|parsed| (parsed, head.headers));
                    }
                    Err(status) => last = status,
                }
            }
            Err(not_found(name, last))
        })
        .await
    }

    async fn in_time<T>(
        &self,
        name: &str,
        load: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        if Handle::try_current().is_err() {
            return Err(Error::outside_of_a_runtime());
        }
        timeout(self.timeout, load).await.unwrap_or_else(|_| {
            let seconds = self.timeout.as_secs();
            let problem = format!("{name}: not loaded within {seconds} s; try again later");
            Err(Error::new(ErrorKind::Unavailable, problem))
        })
    }

    /// Sends one request. Returns the status if the document is not there.
    async fn get(
        &self,
        name: &str,
        location: &str,
    ) -> Result<Result<Response<Bytes>, StatusCode>, Error> {
        let mut request = Request::new(Bytes::new());
        *request.uri_mut() = location.parse().map_err(|error| {
            Error::configuration(format!("{name}: its URL cannot be requested")).with_source(error)
        })?;
        let headers = request.headers_mut();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        headers.insert(USER_AGENT, self.user_agent.clone());
        let response = self.transport.send(request, self.timeout).await;
        let response = response.map_err(|error| {
            let (SendError::NotSent(error)
            | SendError::ResponseLost(error)
            | SendError::ResponseCut(_, error)) = error;
            Error::new(error.kind(), format!("{name}: {error}")).with_source(error)
        })?;
        let status = response.status();
        let (kind, problem) = match status.as_u16() {
            200 => return Ok(Ok(response)),
            408 | 429 | 500.. => (
                ErrorKind::Unavailable,
                format!("the server is unavailable ({status}); try again later"),
            ),
            400..500 => return Ok(Err(status)),
            300..400 => (
                ErrorKind::InvalidResponse,
                format!(
                    "the server responded with a redirect ({status}), which is not followed; use \
                     the issuer or resource that its metadata name"
                ),
            ),
            _ => (
                ErrorKind::InvalidResponse,
                format!("the server responded with {status} instead of 200; check the URL"),
            ),
        };
        let details = ResponseDetails {
            status: Some(status),
            retry_after: retry_after(response.headers(), self.clock.wall()),
            ..ResponseDetails::default()
        };
        Err(Error::new(kind, format!("{name}: {problem}")).with_response(details))
    }
}

/// A lasting error: the server does not offer the operation, or the URL is wrong.
fn not_found(name: &str, status: StatusCode) -> Error {
    let problem = format!(
        "{name}: the server has none at any well-known URL (last status {}); check the URL",
        status.as_u16()
    );
    Error::configuration(problem).with_response(ResponseDetails {
        status: Some(status),
        ..ResponseDetails::default()
    })
}
