//! From any tower service to one request and one bounded answer.

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

/// An answer of a token endpoint is a few KiB; more than this is somebody's mistake or malice.
const LARGEST_ANSWER: usize = 1024 * 1024;

/// Tells of an error of the HTTP client, or of one behind it, whether it came up before a byte of the request was sent.
pub(super) type IsUnsent = Arc<dyn Fn(&(dyn StdError + 'static)) -> bool + Send + Sync>;

#[derive(Clone)]
pub(super) struct Transport(Arc<dyn Fn(Request<Bytes>, Instant) -> Sending + Send + Sync>);

type Sending = Pin<Box<dyn Future<Output = Result<Response<Bytes>, Broken>> + Send>>;

/// How a request came to have no answer.
pub(super) enum Broken {
    /// Before a byte of it was sent: it may be sent again.
    Unsent(Error),
    /// Afterwards: nobody knows what the provider made of it.
    Lost(Error),
}

impl Broken {
    pub(super) fn into_error(self) -> Error {
        match self {
            Self::Unsent(error) => error,
            Self::Lost(error) => error.with_response_lost(),
        }
    }
}

impl Transport {
    pub(super) fn new<S, B, R>(http: S, is_unsent: IsUnsent) -> Self
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
            let is_unsent = Arc::clone(&is_unsent);
            Box::pin(async move {
                match timeout_at(deadline, poll_fn(|cx| http.poll_ready(cx))).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => return Err(Broken::Unsent(unreachable(error))),
                    Err(_) => return Err(Broken::Unsent(late())),
                }
                let answer = async {
                    let response = http.call(request.map(B::from)).await;
                    let (head, body) = response.map_err(Into::into)?.into_parts();
                    let body = Limited::new(body, LARGEST_ANSWER).collect().await?;
                    Ok::<_, BoxError>(Response::from_parts(head, body.to_bytes()))
                };
                match timeout_at(deadline, answer).await {
                    Ok(Ok(response)) => Ok(response),
                    Ok(Err(error)) if error.is::<LengthLimitError>() => {
                        Err(Broken::Lost(Error::new(
                            ErrorKind::InvalidResponse,
                            "the provider's answer is over 1 MiB: check that the URL is that of its token endpoint",
                        )))
                    }
                    Ok(Err(error)) if came_before_sending(&*error, &is_unsent) => {
                        Err(Broken::Unsent(unreachable(error)))
                    }
                    Ok(Err(error)) => Err(Broken::Lost(unreachable(error))),
                    // Dropping the call ends its connection, or its stream, so that nothing of it comes in later.
                    Err(_) => Err(Broken::Lost(late())),
                }
            })
        }))
    }

    /// One request and its answer, within this time.
    pub(super) async fn send(
        &self,
        request: Request<Bytes>,
        within: Duration,
    ) -> Result<Response<Bytes>, Broken> {
        if Handle::try_current().is_err() {
            return Err(Broken::Unsent(Error::outside_of_a_runtime()));
        }
        self.0(request, Instant::now() + within).await
    }
}

/// A refused connection has carried nothing. What else has is known to the HTTP client alone.
fn came_before_sending(error: &(dyn StdError + 'static), is_unsent: &IsUnsent) -> bool {
    let is_refused = |error: &(dyn StdError + 'static)| {
        error
            .downcast_ref::<io::Error>()
            .is_some_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
    };
    std::iter::successors(Some(error), |&error| error.source())
        .any(|error| is_refused(error) || is_unsent(error))
}

fn unreachable(error: impl Into<BoxError>) -> Error {
    Error::new(
        ErrorKind::Unavailable,
        "the provider could not be reached or broke off: see the cause",
    )
    .with_source(error)
}

fn late() -> Error {
    Error::new(
        ErrorKind::Unavailable,
        "the provider did not answer in time (10 seconds)",
    )
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Transport")
    }
}
