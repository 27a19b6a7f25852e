//! The sandbox as a tower service, and the playing of faults.

use std::fmt;
use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, DATE};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body::Body;
use http_body_util::BodyExt;
use jiff::Timestamp;
use tokio::time::sleep;
use tower_service::Service;

use super::answer::{self, Answer};
use super::behavior::DateHeader;
use super::body::{ConnectionLost, Interrupted, RequestBody, SandboxBody, Step, read};
use super::clock::{earlier, later, system_time};
use super::endpoints;
use super::event::EventKind;
use super::fault::{Endpoint, Fault, Kind};
use super::state::{Shared, State};

/// The sandbox as a tower [`Service`], without a socket: for tests in virtual time.
///
/// It is always ready, and answers what the socket would. Only the path and query of a request's URI are looked at. It
/// fails only when a scripted fault closes or resets the connection. It lives on when the [`Sandbox`](super::Sandbox)
/// is dropped.
#[derive(Clone)]
pub struct SandboxService {
    shared: Arc<Shared>,
}

impl SandboxService {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
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
        SandboxFuture(Box::pin(serve(Arc::clone(&self.shared), request)))
    }
}

impl fmt::Debug for SandboxService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SandboxService").finish_non_exhaustive()
    }
}

/// The future of a [`SandboxService`]'s response.
pub struct SandboxFuture(Pin<Box<dyn Future<Output = Result<Answer, ConnectionLost>> + Send>>);

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

async fn serve(
    shared: Arc<Shared>,
    request: Request<RequestBody>,
) -> Result<Answer, ConnectionLost> {
    let path = request.uri().path();
    let _live = shared.begin(request.method().as_str(), path);
    let fault = Endpoint::of(path).and_then(|endpoint| next_fault(&shared, endpoint));
    let mut answer = match fault {
        None => endpoints::answer(&shared, request).await,
        Some(fault) => play(fault, &shared, request).await?,
    };
    date(&mut answer, &shared.lock());
    Ok(answer)
}

fn next_fault(shared: &Shared, endpoint: Endpoint) -> Option<Fault> {
    let mut state = shared.lock();
    let fault = state.script.next(endpoint)?;
    state.record(EventKind::FaultTriggered {
        endpoint,
        fault: fault.to_string(),
    });
    Some(fault)
}

/// Does the work at its time, and spoils what is to be spoiled.
async fn play(
    fault: Fault,
    shared: &Arc<Shared>,
    request: Request<RequestBody>,
) -> Result<Answer, ConnectionLost> {
    if let (Kind::Delay(by), false) = (&fault.kind, fault.after_processing) {
        sleep(*by).await;
        return Ok(endpoints::answer(shared, request).await);
    }
    let done = if fault.after_processing || fault.spoils_the_answer() {
        endpoints::answer(shared, request).await
    } else {
        // A socket closed with unread bytes in it is reset, whatever the fault says.
        let _ = read(request.into_body(), MOST_DRAINED).await;
        answer::empty(StatusCode::OK)
    };
    match fault.kind {
        Kind::Delay(by) => {
            sleep(by).await;
            Ok(done)
        }
        Kind::Drop => Err(ConnectionLost { reset: false }),
        Kind::Reset => Err(ConnectionLost { reset: true }),
        Kind::Hang => pending().await,
        Kind::Truncate => Ok(truncated(done)),
        Kind::Slow(wait) => Ok(respelled(done, |bytes| slowed(&bytes, wait))),
        Kind::Huge(length) => Ok(respelled(done, |bytes| padded(bytes, length))),
        Kind::Answer {
            status,
            headers,
            body,
        } => {
            let mut body = SandboxBody::full(body);
            if headers.iter().any(|(name, _)| *name == CONTENT_LENGTH) {
                body = body.hiding_size();
            }
            let mut scripted = Response::new(body);
            *scripted.status_mut() = status;
            for (name, value) in headers {
                scripted.headers_mut().append(name, value);
            }
            Ok(scripted)
        }
    }
}

/// An answer whose body goes out in other steps.
fn respelled(answer: Answer, steps: impl FnOnce(Bytes) -> Vec<Step>) -> Answer {
    answer.map(|body| SandboxBody::script(steps(body.into_bytes())))
}

fn truncated(mut answer: Answer) -> Answer {
    // Without its length, the answer would be cut by chunks, which fewer clients notice.
    if let Some(length) = answer.body().size_hint().exact() {
        // An empty body has no half to miss, so it promises a byte.
        let promised = length.max(1);
        answer.headers_mut().insert(CONTENT_LENGTH, promised.into());
    }
    respelled(answer, |bytes| {
        let half = bytes.slice(..bytes.len() / 2);
        let cut = Step::Fail(ConnectionLost { reset: false });
        vec![Step::Send(half), Step::Flush, cut]
    })
}

fn slowed(bytes: &Bytes, wait: Duration) -> Vec<Step> {
    (0..bytes.len())
        .flat_map(|at| [Step::Wait(wait), Step::Send(bytes.slice(at..=at))])
        .collect()
}

fn padded(bytes: Bytes, length: u64) -> Vec<Step> {
    let spaces = Bytes::from_static(&[b' '; SPACES]);
    let rest = usize::try_from(length % SPACES as u64).unwrap_or_default();
    vec![
        Step::Repeat(spaces.clone(), length / SPACES as u64),
        Step::Send(spaces.slice(..rest)),
        Step::Send(bytes),
    ]
}

/// Adds the `Date` header that the behavior asks for.
fn date(answer: &mut Answer, state: &State) {
    let now = state.today();
    let value = match &state.behavior.date {
        DateHeader::Clock => http_date(now),
        DateHeader::Ahead(by) => http_date(later(now, *by)),
        DateHeader::Behind(by) => http_date(earlier(now, *by)),
        DateHeader::Absent => return,
        DateHeader::Literal(text) => text.clone(),
    };
    // A scripted answer may have brought its own.
    if let Ok(value) = HeaderValue::from_str(&value) {
        answer.headers_mut().entry(DATE).or_insert(value);
    }
}

fn http_date(at: Timestamp) -> String {
    httpdate::fmt_http_date(system_time(at))
}

/// How much of a request's body is read only to throw it away.
const MOST_DRAINED: usize = 16 * 1024 * 1024;
const SPACES: usize = 8 * 1024;
