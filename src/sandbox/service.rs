//! The sandbox as a tower service, and the faults that it performs.

use std::{
    fmt,
    future::{Future, pending, ready},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{
    HeaderValue, Request, Response, StatusCode,
    header::{CONTENT_LENGTH, DATE},
};
use http_body::Body;
use http_body_util::BodyExt;
use jiff::Timestamp;
use tokio::time::sleep;
use tower_service::Service;
use tracing::debug;

use super::{
    behavior::DateHeader,
    body::{BodyStep, ConnectionLost, SandboxBody},
    clock::{earlier, later, system_time},
    endpoints,
    event::EventKind,
    fault::{Endpoint, Fault, FaultKind},
    own_origin::OwnOrigin,
    request_body::{Interrupted, RequestBody, read_body},
    response::{self, SandboxResponse},
    state::{SandboxState, SharedState},
};

/// The sandbox as a tower [`Service`] without a socket, for tests in virtual time.
///
/// It is always ready, and responds as the socket does. It uses only the path and query of a
/// request URI. It fails only if a fault closes or resets the connection. It keeps working after
/// the [`Sandbox`](super::Sandbox) is dropped.
#[derive(Clone)]
pub struct SandboxService {
    shared: Arc<SharedState>,
    /// Set on a socket: requests must be meant for it.
    origin: Option<OwnOrigin>,
}

impl SandboxService {
    pub(super) fn new(shared: Arc<SharedState>) -> Self {
        Self {
            shared,
            origin: None,
        }
    }

    /// The service of one connection.
    pub(super) fn of_connection(&self, origin: OwnOrigin) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            origin: Some(origin),
        }
    }
}

impl<B> Service<Request<B>> for SandboxService
where
    B: Body<Data = Bytes> + Send + 'static,
{
    type Response = Response<SandboxBody>;
    type Error = ConnectionLost;
    type Future = SandboxFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectionLost>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> SandboxFuture {
        let request = request.map(|body| body.map_err(|_| Interrupted).boxed_unsync());
        if let Some(origin) = &self.origin
            && let Err((status, text)) = origin.check(&request)
        {
            debug!(%status, "the sandbox refused a request of another host or origin");
            return SandboxFuture(Box::pin(ready(Ok(response::text(status, text)))));
        }
        SandboxFuture(Box::pin(respond(Arc::clone(&self.shared), request)))
    }
}

impl fmt::Debug for SandboxService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SandboxService").finish_non_exhaustive()
    }
}

/// The response future of [`SandboxService`].
pub struct SandboxFuture(
    Pin<Box<dyn Future<Output = Result<SandboxResponse, ConnectionLost>> + Send>>,
);

impl Future for SandboxFuture {
    type Output = Result<Response<SandboxBody>, ConnectionLost>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx)
    }
}

impl fmt::Debug for SandboxFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SandboxFuture").finish_non_exhaustive()
    }
}

async fn respond(
    shared: Arc<SharedState>,
    request: Request<RequestBody>,
) -> Result<SandboxResponse, ConnectionLost> {
    let path = request.uri().path();
    let _in_flight = shared.start_request(request.method().as_str(), path);
    let endpoint = match &shared.persona {
        Some(persona) => endpoints::persona_endpoint(persona, &request),
        None => Endpoint::from_path(path),
    };
    let fault = endpoint.and_then(|endpoint| next_fault(&shared, endpoint));
    let mut response = match fault {
        None => endpoints::process(&shared, request).await,
        Some(fault) => perform(fault, &shared, request).await?,
    };
    add_date(&mut response, &shared.lock());
    Ok(response)
}

fn next_fault(shared: &SharedState, endpoint: Endpoint) -> Option<Fault> {
    let mut state = shared.lock();
    let fault = state.faults.next(endpoint)?;
    state.record(EventKind::FaultTriggered {
        endpoint,
        fault: fault.to_string(),
    });
    Some(fault)
}

/// Performs a fault, and processes the request before or after it or not at all.
async fn perform(
    fault: Fault,
    shared: &Arc<SharedState>,
    request: Request<RequestBody>,
) -> Result<SandboxResponse, ConnectionLost> {
    if let (FaultKind::Delay(by), false) = (&fault.kind, fault.after_processing) {
        sleep(*by).await;
        return Ok(endpoints::process(shared, request).await);
    }
    let response = if fault.after_processing || fault.alters_response() {
        endpoints::process(shared, request).await
    } else {
        // A socket that is closed with unread bytes is reset, regardless of the fault.
        let _ = read_body(request.into_body(), MAX_DRAINED).await;
        response::empty(StatusCode::OK)
    };
    match fault.kind {
        FaultKind::Delay(by) => {
            sleep(by).await;
            Ok(response)
        }
        FaultKind::Drop => Err(ConnectionLost { reset: false }),
        FaultKind::Reset => Err(ConnectionLost { reset: true }),
        FaultKind::Hang => pending().await,
        FaultKind::Truncate => Ok(truncated(response)),
        FaultKind::Slow(wait) => Ok(with_steps(response, |bytes| slowed(&bytes, wait))),
        FaultKind::Huge(length) => Ok(with_steps(response, |bytes| padded(bytes, length))),
        FaultKind::Edit(edit) => Ok(response.map(|body| {
            let body = edit(&body.into_bytes());
            SandboxBody::full(body)
        })),
        FaultKind::Respond {
            status,
            headers,
            body,
        } => {
            let mut body = SandboxBody::full(body);
            if headers.iter().any(|(name, _)| *name == CONTENT_LENGTH) {
                body = body.hiding_size();
            }
            let mut response = Response::new(body);
            *response.status_mut() = status;
            for (name, value) in headers {
                response.headers_mut().append(name, value);
            }
            Ok(response)
        }
    }
}

/// Sends the body of a response in other steps.
fn with_steps(
    response: SandboxResponse,
    steps: impl FnOnce(Bytes) -> Vec<BodyStep>,
) -> SandboxResponse {
    response.map(|body| SandboxBody::from_steps(steps(body.into_bytes())))
}

fn truncated(mut response: SandboxResponse) -> SandboxResponse {
    // Without a content length the body would be chunked, and fewer clients detect a missing chunk.
    if let Some(length) = response.body().size_hint().exact() {
        // An empty body has no second half, so one byte is announced.
        let announced = length.max(1);
        response
            .headers_mut()
            .insert(CONTENT_LENGTH, announced.into());
    }
    with_steps(response, |bytes| {
        let half = bytes.slice(..bytes.len() / 2);
        let end = BodyStep::Fail(ConnectionLost { reset: false });
        vec![BodyStep::Send(half), BodyStep::Flush, end]
    })
}

fn slowed(bytes: &Bytes, wait: Duration) -> Vec<BodyStep> {
    (0..bytes.len())
        .flat_map(|at| [BodyStep::Wait(wait), BodyStep::Send(bytes.slice(at..=at))])
        .collect()
}

fn padded(bytes: Bytes, length: u64) -> Vec<BodyStep> {
    let spaces = Bytes::from_static(&[b' '; SPACES]);
    let rest = usize::try_from(length % SPACES as u64).unwrap_or_default();
    vec![
        BodyStep::Repeat(spaces.clone(), length / SPACES as u64),
        BodyStep::Send(spaces.slice(..rest)),
        BodyStep::Send(bytes),
    ]
}

/// Adds the `Date` header that the behavior specifies.
fn add_date(response: &mut SandboxResponse, state: &SandboxState) {
    let now = state.wall_time();
    let value = match &state.behavior.date {
        DateHeader::Clock => http_date(now),
        DateHeader::Ahead(by) => http_date(later(now, *by)),
        DateHeader::Behind(by) => http_date(earlier(now, *by)),
        DateHeader::Absent => return,
        DateHeader::Literal(text) => text.clone(),
    };
    // A fault may have set another date.
    if let Ok(value) = HeaderValue::from_str(&value) {
        response.headers_mut().entry(DATE).or_insert(value);
    }
}

fn http_date(at: Timestamp) -> String {
    httpdate::fmt_http_date(system_time(at))
}

/// The part of an unprocessed request body that is read and discarded.
const MAX_DRAINED: usize = 16 * 1024 * 1024;
const SPACES: usize = 8 * 1024;
