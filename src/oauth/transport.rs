//! The HTTP client under an OAuth client: any tower service, with a deadline and a size limit.

use std::{
    error::Error as StdError,
    fmt,
    future::{Future, poll_fn},
    io,
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tokio::{
    runtime::Handle,
    time::{Instant, timeout_at},
};
use tower_service::Service;

use crate::error::{BoxError, Error, ErrorKind};

/// The largest response body. A token response is a few KiB.
const MAX_RESPONSE_SIZE: usize = 1024 * 1024;

/// Whether an error of the HTTP client, or one of its sources, means that nothing was sent.
pub(super) type IsConnectError = Arc<dyn Fn(&(dyn StdError + 'static)) -> bool + Send + Sync>;

#[derive(Clone)]
pub(super) struct Transport(Arc<dyn Fn(Request<Bytes>, Instant) -> Sending + Send + Sync>);

type Sending = Pin<Box<dyn Future<Output = Result<Response<Bytes>, SendError>> + Send>>;

/// Why a request has no response.
pub(super) enum SendError {
    /// It failed before any byte was sent, so it can be sent again.
    NotSent(Error),
    /// It failed later, so the provider may have received it.
    ResponseLost(Error),
}

impl SendError {
    pub(super) fn into_error(self) -> Error {
        match self {
            Self::NotSent(error) => error.with_token_unused(),
            Self::ResponseLost(error) => error.with_response_lost(),
        }
    }
}

impl Transport {
    pub(super) fn new<S, B, R>(http: S, is_connect_error: IsConnectError) -> Self
    where
        S: Service<Request<B>, Response = Response<R>> + Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
        S::Error: Into<BoxError>,
        B: From<Bytes> + Send + 'static,
        R: Body + Send + 'static,
        R::Data: Send,
        R::Error: Into<BoxError>,
    {
        Self(Arc::new(move |request, deadline| {
            let mut http = http.clone();
            let is_connect_error = Arc::clone(&is_connect_error);
            Box::pin(async move {
                match timeout_at(deadline, poll_fn(|cx| http.poll_ready(cx))).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => return Err(SendError::NotSent(failed(error))),
                    Err(_) => return Err(SendError::NotSent(timed_out())),
                }
                let response = async {
                    let response = http.call(request.map(B::from)).await.map_err(|error| {
                        let error = error.into();
                        if is_before_sending(&*error, &is_connect_error) {
                            SendError::NotSent(failed(error))
                        } else {
                            SendError::ResponseLost(failed(error))
                        }
                    })?;
                    // From here on the provider has responded, whatever the error of the body says.
                    let (head, body) = response.into_parts();
                    let body = Limited::new(body, MAX_RESPONSE_SIZE).collect().await;
                    let body = body.map_err(|error| SendError::ResponseLost(unreadable(error)))?;
                    Ok(Response::from_parts(head, body.to_bytes()))
                };
                // Dropping the call closes its connection or its stream, so that no late response
                // arrives.
                timeout_at(deadline, response)
                    .await
                    .unwrap_or_else(|_| Err(SendError::ResponseLost(timed_out())))
            })
        }))
    }

    /// Sends one request, and reads its response within this time.
    pub(super) async fn send(
        &self,
        request: Request<Bytes>,
        timeout: Duration,
    ) -> Result<Response<Bytes>, SendError> {
        if Handle::try_current().is_err() {
            return Err(SendError::NotSent(Error::outside_of_a_runtime()));
        }
        self.0(request, Instant::now() + timeout).await
    }
}

/// Whether nothing was sent. That is certain for a refused connection, and for one that reqwest
/// could not establish. In other cases only the program knows its HTTP client.
fn is_before_sending(error: &(dyn StdError + 'static), is_connect_error: &IsConnectError) -> bool {
    std::iter::successors(Some(error), |&error| error.source()).any(|error| {
        is_refused(error) || is_connect_error_of_reqwest(error) || is_connect_error(error)
    })
}

fn is_refused(error: &(dyn StdError + 'static)) -> bool {
    error
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}

#[cfg(feature = "reqwest")]
fn is_connect_error_of_reqwest(error: &(dyn StdError + 'static)) -> bool {
    error
        .downcast_ref::<reqwest::Error>()
        .is_some_and(reqwest::Error::is_connect)
}

#[cfg(not(feature = "reqwest"))]
fn is_connect_error_of_reqwest(_: &(dyn StdError + 'static)) -> bool {
    false
}

fn unreadable(error: BoxError) -> Error {
    if error.is::<LengthLimitError>() {
        return Error::new(
            ErrorKind::InvalidResponse,
            "provider's response is larger than 1 MiB; check the URL of the token endpoint",
        );
    }
    failed(error)
}

fn failed(error: impl Into<BoxError>) -> Error {
    Error::new(
        ErrorKind::Unavailable,
        "request to the provider failed: see the source",
    )
    .with_source(error)
}

fn timed_out() -> Error {
    Error::new(
        ErrorKind::Unavailable,
        "provider did not respond within 10 s",
    )
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Transport")
    }
}
