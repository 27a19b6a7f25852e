//! The HTTP client under an OAuth client, and under discovery: any tower service, with a deadline
//! and a size limit.

use std::{
    error::Error as StdError,
    fmt,
    future::{Future, poll_fn},
    io,
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};

use bytes::{Buf, Bytes};
use http::{Request, Response};
use http_body::Body;
use http_body_util::BodyExt;
use tokio::{
    runtime::Handle,
    time::{Instant, timeout_at},
};
use tower_service::Service;

use super::{buffer::Buffer, content_encoding};
use crate::{
    error::{BoxError, Error, ErrorKind},
    later::Later,
};

/// The largest response body, also after decompression. A token response is a few KiB.
const MAX_RESPONSE_SIZE: usize = 1024 * 1024;

/// Whether an error of the HTTP client, or one of its sources, means that nothing was sent.
pub(crate) type IsConnectError = Arc<dyn Fn(&(dyn StdError + 'static)) -> bool + Send + Sync>;

#[derive(Clone)]
pub(crate) struct Transport(Arc<dyn Fn(Request<Bytes>, Duration) -> Sending + Send + Sync>);

type Sending = Pin<Box<dyn Future<Output = Result<Response<Bytes>, SendError>> + Send>>;

/// Why a request has no response.
pub(crate) enum SendError {
    /// It failed before any byte was sent, so it can be sent again.
    NotSent(Error),
    /// It failed later, so the provider may have received it.
    ResponseLost(Error),
    /// The response ended too early or is too long. This is its first part.
    ResponseCut(Box<Response<Bytes>>, Error),
}

impl SendError {
    pub(super) fn into_error(self) -> Error {
        match self {
            Self::NotSent(error) => error.with_token_unused(),
            Self::ResponseLost(error) | Self::ResponseCut(_, error) => error.with_response_lost(),
        }
    }
}

impl Transport {
    pub(crate) fn new<S, B, R>(http: S, is_connect_error: IsConnectError) -> Self
    where
        S: Service<Request<B>, Response = Response<R>> + Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
        S::Error: Into<BoxError>,
        B: From<Bytes> + Send + 'static,
        R: Body + Send + 'static,
        R::Data: Send,
        R::Error: Into<BoxError>,
    {
        Self(Arc::new(move |request, timeout| {
            let mut http = http.clone();
            let is_connect_error = Arc::clone(&is_connect_error);
            Box::pin(async move {
                let deadline = Instant::now().later(timeout);
                match timeout_at(deadline, poll_fn(|cx| http.poll_ready(cx))).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => return Err(SendError::NotSent(failed(error))),
                    Err(_) => return Err(SendError::NotSent(timed_out(timeout))),
                }
                let response = match timeout_at(deadline, http.call(request.map(B::from))).await {
                    Ok(Ok(response)) => response,
                    Ok(Err(error)) => {
                        let error = error.into();
                        return Err(if is_before_sending(&*error, &is_connect_error) {
                            SendError::NotSent(failed(error))
                        } else {
                            SendError::ResponseLost(failed(error))
                        });
                    }
                    // Dropping the call closes its connection or its stream, so that no late
                    // response arrives.
                    Err(_) => return Err(SendError::ResponseLost(timed_out(timeout))),
                };
                let (head, body) = response.into_parts();
                let mut buffer = Buffer::new(MAX_RESPONSE_SIZE);
                let outcome = timeout_at(deadline, read(body, &mut buffer)).await;
                let body = content_encoding::decoded(buffer.into_bytes(), MAX_RESPONSE_SIZE);
                let response = Response::from_parts(head, body);
                match outcome.unwrap_or_else(|_| Err(timed_out(timeout))) {
                    Ok(()) => Ok(response),
                    Err(error) => Err(SendError::ResponseCut(Box::new(response), error)),
                }
            })
        }))
    }

    /// Sends one request, and reads its response within this time.
    pub(crate) async fn send(
        &self,
        request: Request<Bytes>,
        timeout: Duration,
    ) -> Result<Response<Bytes>, SendError> {
        if Handle::try_current().is_err() {
            return Err(SendError::NotSent(Error::outside_of_a_runtime()));
        }
        self.0(request, timeout).await
    }
}

/// Reads a body. If that fails, the buffer contains the first part.
async fn read<R>(body: R, buffer: &mut Buffer) -> Result<(), Error>
where
    R: Body + Send,
    R::Data: Send,
    R::Error: Into<BoxError>,
{
    let mut body = pin!(body);
    while let Some(frame) = body.frame().await {
        let Ok(mut data) = frame.map_err(failed)?.into_data() else {
            continue;
        };
        while data.has_remaining() {
            let chunk = data.chunk();
            if !buffer.push(chunk) {
                return Err(too_long());
            }
            let length = chunk.len();
            data.advance(length);
        }
    }
    Ok(())
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

fn failed(error: impl Into<BoxError>) -> Error {
    Error::new(
        ErrorKind::Unavailable,
        "request to the provider failed: see the source",
    )
    .with_source(without_url(error.into()))
}

/// An error of reqwest shows the URL, which may name a tenant, or contain the token that a
/// revocation request revokes.
#[cfg(feature = "reqwest")]
fn without_url(error: BoxError) -> BoxError {
    match error.downcast::<reqwest::Error>() {
        Ok(error) => error.without_url().into(),
        Err(error) => error,
    }
}

#[cfg(not(feature = "reqwest"))]
fn without_url(error: BoxError) -> BoxError {
    error
}

fn too_long() -> Error {
    Error::new(
        ErrorKind::InvalidResponse,
        "provider's response is larger than 1 MiB; check the URL of the endpoint",
    )
}

fn timed_out(timeout: Duration) -> Error {
    let seconds = timeout.as_secs();
    Error::new(
        ErrorKind::Unavailable,
        format!("provider did not respond within {seconds} s"),
    )
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Transport")
    }
}
