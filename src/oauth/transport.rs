//! From any tower service to one request and one bounded answer.

use std::{fmt, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tower::{Service, ServiceExt, util::BoxCloneSyncService};

use crate::error::{BoxError, Error, ErrorKind};

/// An answer of a token endpoint is a few KiB; more than this is somebody's mistake or malice.
const LARGEST_ANSWER: usize = 1024 * 1024;

/// From the request to the last byte of the answer.
const DEADLINE: Duration = Duration::from_secs(10);

#[derive(Clone)]
pub(super) struct Transport(BoxCloneSyncService<Request<Bytes>, Response<Bytes>, BoxError>);

impl Transport {
    pub(super) fn new<S, B, R>(http: S) -> Self
    where
        S: Service<Request<B>, Response = Response<R>> + Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
        S::Error: Into<BoxError>,
        B: From<Bytes> + Send + 'static,
        R: Body + Send + 'static,
        R::Data: Send,
        R::Error: Into<BoxError>,
    {
        Self(BoxCloneSyncService::new(tower::service_fn(
            move |request: Request<Bytes>| {
                let http = http.clone();
                async move {
                    let response = http
                        .oneshot(request.map(B::from))
                        .await
                        .map_err(Into::into)?;
                    let (head, body) = response.into_parts();
                    let body = Limited::new(body, LARGEST_ANSWER).collect().await?;
                    Ok(Response::from_parts(head, body.to_bytes()))
                }
            },
        )))
    }

    pub(super) async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, Error> {
        if tokio::runtime::Handle::try_current().is_err() {
            return Err(Error::outside_of_a_runtime());
        }
        match tokio::time::timeout(DEADLINE, self.0.clone().oneshot(request)).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Error::new(
                ErrorKind::InvalidResponse,
                "the provider's answer is over 1 MiB: check that the URL is that of its token endpoint",
            )),
            Ok(Err(error)) => Err(Error::new(
                ErrorKind::Unavailable,
                "the provider could not be reached or broke off: see the cause",
            )
            .with_source(error)),
            Err(_) => Err(Error::new(
                ErrorKind::Unavailable,
                "the provider did not answer within 10 seconds",
            )),
        }
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Transport")
    }
}
