//! The layer and its service.

use std::{
    future::{Future, poll_fn},
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response, StatusCode, header::CONTENT_LENGTH};
use http_body::Body;
use tower_layer::Layer;
use tower_service::Service;

use super::{
    auth::McpAuth,
    challenge::Challenge,
    scopes,
    session::{Cause, Session},
};
use crate::{
    bearer::{BearerAuthLayer, ReplayLimit, RequestBody, ResponseBody, ResponseUri},
    error::{BoxError, Error},
};

impl<S> Layer<S> for McpAuth {
    type Service = McpService<S>;

    fn layer(&self, inner: S) -> McpService<S> {
        McpService {
            inner,
            auth: self.clone(),
        }
    }
}

/// A service whose requests to an MCP server are authorized. See the [module page](crate::mcp).
///
/// The request body has to be [`Clone`], as that of a JSON-RPC message usually is.
#[derive(Clone, Debug)]
pub struct McpService<S> {
    inner: S,
    auth: McpAuth,
}

impl<S> McpService<S> {
    /// Returns a reference to the inner service.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// Returns the inner service.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

type Outcome<R> = Result<Response<ResponseBody<R>>, Error>;

impl<S, B, R> Service<Request<B>> for McpService<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<BoxError>,
    B: Body + Clone + Send + 'static,
    R: Body + Send + 'static,
    R::Error: Into<BoxError>,
{
    type Response = Response<ResponseBody<R>>;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Outcome<R>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx).map_err(Error::service)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        // The clone has reserved no capacity, and the first call uses what `poll_ready` has.
        let clone = self.inner.clone();
        let ready = mem::replace(&mut self.inner, clone.clone());
        let auth = self.auth.clone();
        match auth.settings().endpoint.check(&request) {
            Ok(()) => Box::pin(run(auth, ready, clone, request)),
            Err(error) => Box::pin(std::future::ready(Err(error))),
        }
    }
}

/// The step that follows a response.
enum Next {
    Return,
    Connect(Cause),
}

/// One request. `ready` is for its first attempt, and clones of `inner` are for the others.
async fn run<S, B, R>(auth: McpAuth, ready: S, inner: S, request: Request<B>) -> Outcome<R>
where
    S: Service<Request<B>, Response = Response<R>> + Clone,
    S::Error: Into<BoxError>,
    B: Body + Clone,
    R: Body,
    R::Error: Into<BoxError>,
{
    let (request, copy) = recorded(request, auth.settings().replay_limit);
    // A request that waits holds no capacity of the inner service.
    let mut ready = Some(ready).filter(|_| auth.needs_no_wait());
    let mut seen = auth.session().await?;
    let (mut has_connected, mut has_stepped_up) = (false, false);
    let session = match &seen {
        None => None,
        Some(session) => match session.tokens.token().await {
            Ok(_) => Some(Arc::clone(session)),
            // There was no consent yet, so the server says what it needs.
            Err(_) if session.has_no_grant() => None,
            Err(error) => {
                let Some(cause) = session.cause_after(&error) else {
                    return Err(error);
                };
                // A request of a user is never sent as one without a user.
                drop(ready.take());
                has_connected = true;
                Some(auth.connect_after(cause, seen.as_ref()).await?)
            }
        },
    };
    let mut service = match ready {
        Some(ready) => ready,
        None => ready_of(inner.clone()).await?,
    };
    let (mut response, mut next) = match &session {
        None => {
            let response = service.call(request).await.map_err(Error::service)?;
            let next = after_probe(&auth, &response);
            (response.map(ResponseBody::unread), next)
        }
        Some(session) => send(&auth, service, request, session).await?,
    };
    seen = session.or(seen);
    while let Next::Connect(cause) = next {
        // Each once for one request.
        let is_step_up = !cause.needed.is_empty();
        let was_made = if is_step_up {
            &mut has_stepped_up
        } else {
            &mut has_connected
        };
        if mem::replace(was_made, true) {
            break;
        }
        let Some(again) = copy.clone() else {
            connect_in_background(auth, cause, seen);
            break;
        };
        // The connection of the response is not held while the user is asked.
        drop(response);
        let session = auth.connect_after(cause, seen.as_ref()).await?;
        (response, next) = send(&auth, ready_of(inner.clone()).await?, again, &session).await?;
        seen = Some(session);
    }
    Ok(response)
}

/// Sends a request with the token of a session. The layer refreshes the token, and retries
/// once after a 401.
async fn send<S, B, R>(
    auth: &McpAuth,
    ready: S,
    request: Request<B>,
    session: &Session,
) -> Result<(Response<ResponseBody<R>>, Next), Error>
where
    S: Service<Request<B>, Response = Response<R>> + Clone,
    S::Error: Into<BoxError>,
    B: Body + Clone,
    R: Body,
    R::Error: Into<BoxError>,
{
    let layer =
        BearerAuthLayer::new(session.tokens.clone()).replay_limit(auth.settings().replay_limit);
    let mut service = layer.layer(ready);
    poll_fn(|cx| service.poll_ready(cx)).await?;
    let response = service.call(request).await?;
    let next = after_token(auth, &response, session);
    Ok((response, next))
}

async fn ready_of<S, B>(mut service: S) -> Result<S, Error>
where
    S: Service<Request<B>>,
    S::Error: Into<BoxError>,
{
    poll_fn(|cx| service.poll_ready(cx))
        .await
        .map_err(Error::service)?;
    Ok(service)
}

/// The step after the response to a request without a token.
fn after_probe<R>(auth: &McpAuth, response: &Response<R>) -> Next {
    if response.status() != StatusCode::UNAUTHORIZED || is_foreign(auth, response) {
        return Next::Return;
    }
    Next::Connect(Cause::of(Challenge::of(response.headers())))
}

/// The step after the response to a request with a token.
fn after_token<R>(auth: &McpAuth, response: &Response<R>, session: &Session) -> Next {
    if is_foreign(auth, response) {
        return Next::Return;
    }
    let challenge = Challenge::of(response.headers());
    match response.status() {
        StatusCode::FORBIDDEN if challenge.is_insufficient_scope => {
            match scopes::step_up(session.scopes(), &challenge.scopes) {
                Some(needed) => Next::Connect(Cause {
                    needed,
                    ..Cause::of(challenge)
                }),
                None => Next::Return,
            }
        }
        StatusCode::UNAUTHORIZED if !challenge.is_insufficient_scope && session.needs_consent() => {
            Next::Connect(Cause::of(challenge))
        }
        _ => Next::Return,
    }
}

/// Whether a redirect was followed inside, to a server that may not ask for anything.
fn is_foreign<R>(auth: &McpAuth, response: &Response<R>) -> bool {
    let endpoint = &auth.settings().endpoint;
    ResponseUri::is_foreign(response, |uri| endpoint.contains(uri))
}

/// The request cannot be sent again, but the next one needs the token too.
fn connect_in_background(auth: McpAuth, cause: Cause, seen: Option<Arc<Session>>) {
    let connecting = async move { auth.connect_after(cause, seen.as_ref()).await.map(drop) };
    if let Ok(runtime) = tokio::runtime::Handle::try_current() {
        runtime.spawn(connecting);
    }
}

/// The request, and a copy to send again, unless its body is too large for that.
fn recorded<B: Body + Clone>(
    request: Request<B>,
    limit: usize,
) -> (Request<B>, Option<Request<B>>) {
    let limit = ReplayLimit::bytes(limit).or_from(request.extensions());
    let length = request.headers().get(CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
    let (head, body) = request.into_parts();
    let recording = B::recording(&body, limit.get(), length);
    let copy = recording.as_ref().and_then(B::replay);
    let copy = copy.map(|body| Request::from_parts(head.clone(), body));
    (Request::from_parts(head, body), copy)
}
