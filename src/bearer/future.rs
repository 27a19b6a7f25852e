//! The future of a request, state by state.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::{Request, Response, StatusCode};
use http_body::Body;
use pin_project_lite::pin_project;
use tower_service::Service;

use super::{
    body::{RequestBody, ResponseBody},
    challenge, guard,
    read_ahead::{FirstResponse, ReadAhead},
    replay::{Attempt, Replay, Retry, record_and_call},
    shared::Shared,
    token_provider::TenantCache,
};
use crate::{
    cache::{Acquired, BearerToken, Rejected, RetryToken, TokenCache, Wait},
    error::{BoxError, Error},
    token::Generation,
};

pin_project! {
    /// The response future of a [`BearerAuth`](crate::bearer::BearerAuth) service. It contains the
    /// future of the inner service without a box.
    ///
    /// Dropping the future drops the request. A refresh that it waited for goes on. Drop the future
    /// soon after completion. Until the drop, it may keep the future of the inner service and the
    /// data for a retry in memory.
    ///
    /// # Panics
    ///
    /// If the future is polled after completion.
    pub struct ResponseFuture<S, B, R>
    where
        S: Service<Request<B>>,
        B: RequestBody,
    {
        #[pin]
        state: State<S, S::Future, B, R>,
        shared: Arc<Shared<S>>,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<S, F, B, R>
    where
        B: RequestBody,
    {
        /// The request must not be sent, or there is no token.
        Failed { error: Option<Error> },
        /// Waits until the tenant is loaded from the store; holds no capacity of the inner service.
        Loading {
            wait: Wait<Result<TokenCache, Error>>,
            loading: Option<(S, Request<B::Inbound>)>,
        },
        /// Waits for a token; holds no capacity of the inner service.
        Waiting {
            wait: Wait<Result<BearerToken, Error>>,
            waiting: Option<(S, Request<B::Inbound>, TenantCache)>,
        },
        /// Has a token and waits for the inner service to be ready.
        Readying {
            service: S,
            readying: Option<(Request<B>, Call<B>)>,
        },
        /// Sent for the first time.
        Sent {
            #[pin]
            future: F,
            attempt: Option<Attempt<B>>,
        },
        /// Has a 401 and reads it to its end. Then waits for a newer token; holds no capacity of
        /// the inner service.
        Refreshing {
            wait: Wait<Option<RetryToken>>,
            refreshing: Option<Box<Refreshing<B, R>>>,
        },
        /// Has a token for the retry, and reads the first response to its end. Then waits until the
        /// API knows the token, if there is a pause; holds no capacity of the inner service.
        Pausing {
            drain: Option<Box<ReadAhead<R>>>,
            pause: Option<Wait<Result<BearerToken, Error>>>,
            request: Option<(Request<B>, Retry)>,
        },
        /// Sent for the last time: the retry, or a request without a token. Its response is
        /// returned unchanged.
        Last {
            #[pin]
            future: F,
            retry: Option<Retry>,
        },
        /// Completed.
        Done,
    }
}

/// A request that waits for a newer token.
struct Refreshing<B: RequestBody, R> {
    response: FirstResponse<R>,
    /// How to send the request again; `None` if it is not retried.
    replay: Option<Replay<B>>,
    tenant: TenantCache,
    rejected: Generation,
}

/// Which call of the inner service a request is about to make.
enum Call<B: RequestBody> {
    First(Attempt<B>),
    Retry(Retry),
}

impl<S, B, R> ResponseFuture<S, B, R>
where
    S: Service<Request<B>>,
    B: RequestBody,
{
    pub(super) fn failed(shared: Arc<Shared<S>>, error: Error) -> Self {
        let state = State::Failed { error: Some(error) };
        Self { state, shared }
    }

    pub(super) fn loading(
        shared: Arc<Shared<S>>,
        wait: Wait<Result<TokenCache, Error>>,
        service: S,
        request: Request<B::Inbound>,
    ) -> Self {
        let state = State::Loading {
            wait,
            loading: Some((service, request)),
        };
        Self { state, shared }
    }

    pub(super) fn waiting(
        shared: Arc<Shared<S>>,
        wait: Wait<Result<BearerToken, Error>>,
        service: S,
        request: Request<B::Inbound>,
        tenant: TenantCache,
    ) -> Self {
        let state = State::Waiting {
            wait,
            waiting: Some((service, request, tenant)),
        };
        Self { state, shared }
    }

    pub(super) fn unauthenticated(shared: Arc<Shared<S>>, future: S::Future) -> Self {
        let state = State::Last {
            future,
            retry: None,
        };
        Self { state, shared }
    }

    pub(super) fn sent(shared: Arc<Shared<S>>, future: S::Future, attempt: Attempt<B>) -> Self {
        let state = State::Sent {
            future,
            attempt: Some(attempt),
        };
        Self { state, shared }
    }
}

impl<S, B, R> Future for ResponseFuture<S, B, R>
where
    S: Service<Request<B>, Response = Response<R>> + Clone,
    S::Error: Into<BoxError>,
    B: RequestBody,
    R: Body,
    R::Error: Into<BoxError>,
{
    type Output = Result<Response<ResponseBody<R>>, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            let this = self.as_mut().project();
            let StateProjection::Sent { future, attempt } = this.state.project() else {
                match ready!(self.as_mut().poll_slow(cx)) {
                    Some(result) => return Poll::Ready(result),
                    None => continue,
                }
            };
            // The hot path: nearly all requests do no more than this.
            let response = ready!(future.poll(cx)).map_err(Error::service)?;
            if response.status() != StatusCode::UNAUTHORIZED {
                return Poll::Ready(Ok(response.map(ResponseBody::unread)));
            }
            let next = match attempt.take() {
                Some(attempt) => after_401(this.shared, response, attempt),
                None => Step::AfterCompletion,
            };
            if let Some(result) = self.as_mut().take(next) {
                return Poll::Ready(result);
            }
        }
    }
}

impl<S, B, R> ResponseFuture<S, B, R>
where
    S: Service<Request<B>, Response = Response<R>> + Clone,
    S::Error: Into<BoxError>,
    B: RequestBody,
    R: Body,
    R::Error: Into<BoxError>,
{
    /// Polls the states that a request with a fresh token and without a 401 never enters. `None` if
    /// the state changed.
    #[inline(never)]
    fn poll_slow(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Outcome<R>>> {
        let mut this = self.as_mut().project();
        let next = match this.state.as_mut().project() {
            StateProjection::Failed { error } => match error.take() {
                Some(error) => Step::Complete(Err(error)),
                None => Step::AfterCompletion,
            },
            StateProjection::Loading { wait, loading } => {
                match (ready!(wait.as_mut().poll(cx)), loading.take()) {
                    (Ok(tokens), Some((service, request))) => {
                        acquire(this.shared, tokens, service, request)
                    }
                    (Err(error), _) => Step::Complete(Err(error)),
                    (Ok(_), None) => Step::AfterCompletion,
                }
            }
            StateProjection::Waiting { wait, waiting } => {
                match (ready!(wait.as_mut().poll(cx)), waiting.take()) {
                    (Ok(token), Some((service, request, tenant))) => {
                        ready_with(this.shared, token, service, request, tenant)
                    }
                    (Err(error), _) => Step::Complete(Err(error)),
                    (Ok(_), None) => Step::AfterCompletion,
                }
            }
            StateProjection::Readying { service, readying } => {
                match ready!(service.poll_ready(cx)) {
                    Ok(()) => match readying.take() {
                        Some((request, Call::First(attempt))) => Step::Enter(State::Sent {
                            future: service.call(request),
                            attempt: Some(attempt),
                        }),
                        Some((request, Call::Retry(retry))) => Step::Enter(State::Last {
                            future: service.call(request),
                            retry: Some(retry),
                        }),
                        None => Step::AfterCompletion,
                    },
                    Err(error) => Step::Complete(Err(Error::service(error))),
                }
            }
            StateProjection::Refreshing { wait, refreshing } => {
                if let Some(refreshing) = refreshing {
                    ready!(refreshing.response.poll_read(cx));
                }
                match (ready!(wait.as_mut().poll(cx)), refreshing.take()) {
                    (token, Some(refreshing)) => refreshed(*refreshing, token),
                    (_, None) => Step::AfterCompletion,
                }
            }
            StateProjection::Pausing {
                drain,
                pause,
                request,
            } => {
                if let Some(draining) = drain {
                    ready!(Pin::new(&mut **draining).poll(cx));
                    *drain = None;
                }
                let token = match pause {
                    Some(pause) => Some(ready!(pause.as_mut().poll(cx))),
                    None => None,
                };
                match (token.transpose(), request.take()) {
                    (Err(error), _) => Step::Complete(Err(error)),
                    (Ok(token), Some((mut request, mut retry))) => {
                        if let Some(token) = token {
                            retry.replace_token(&mut request, token);
                        }
                        resend(this.shared, request, retry)
                    }
                    (Ok(_), None) => Step::AfterCompletion,
                }
            }
            StateProjection::Last { future, retry } => {
                let response = ready!(future.poll(cx)).map_err(Error::service);
                if let (Some(retry), Ok(response)) = (retry, &response) {
                    retry.responded(&this.shared.tokens, response);
                }
                Step::Complete(response.map(|response| response.map(ResponseBody::unread)))
            }
            StateProjection::Sent { .. } | StateProjection::Done => Step::AfterCompletion,
        };
        Poll::Ready(self.take(next))
    }

    /// Takes a step. Returns the result if it completes the future.
    fn take(self: Pin<&mut Self>, step: Step<S, S::Future, B, R>) -> Option<Outcome<R>> {
        let mut this = self.project();
        match step {
            Step::Enter(state) => {
                this.state.set(state);
                None
            }
            Step::Complete(result) => {
                this.state.set(State::Done);
                Some(result)
            }
            Step::AfterCompletion => panic!("`ResponseFuture` polled after completion"),
        }
    }
}

/// The result of a request.
type Outcome<R> = Result<Response<ResponseBody<R>>, Error>;

/// The result of polling a state.
#[expect(
    clippy::large_enum_variant,
    reason = "never stored: a box would cost each request an allocation"
)]
enum Step<S, F, B: RequestBody, R> {
    Enter(State<S, F, B, R>),
    Complete(Outcome<R>),
    /// The future was polled after completion.
    AfterCompletion,
}

/// The tenant is loaded: waits for its token if it has no fresh one.
fn acquire<S, F, B: RequestBody, R>(
    shared: &Shared<S>,
    tokens: TokenCache,
    service: S,
    request: Request<B::Inbound>,
) -> Step<S, F, B, R> {
    match tokens.acquire() {
        Acquired::Now(Ok(token)) => ready_with(shared, token, service, request, Some(tokens)),
        Acquired::Now(Err(error)) => Step::Complete(Err(error)),
        Acquired::Later(wait) => Step::Enter(State::Waiting {
            wait,
            waiting: Some((service, request, Some(tokens))),
        }),
    }
}

fn ready_with<S, F, B: RequestBody, R>(
    shared: &Shared<S>,
    token: BearerToken,
    service: S,
    mut request: Request<B::Inbound>,
    tenant: TenantCache,
) -> Step<S, F, B, R> {
    let generation = token.generation();
    let head = shared.record_head(&request);
    if let Err(error) = guard::authorize(&mut request, token) {
        return Step::Complete(Err(error));
    }
    let (request, replay) = record_and_call(request, head, |request| request);
    let attempt = Attempt {
        generation,
        tenant,
        replay,
    };
    Step::Enter(State::Readying {
        service,
        readying: Some((request, Call::First(attempt))),
    })
}

/// Decides what follows a 401: a refresh and a retry, if the token may be the cause and the request
/// can be sent again.
#[cold]
fn after_401<S, F, B, R>(
    shared: &Shared<S>,
    response: Response<R>,
    attempt: Attempt<B>,
) -> Step<S, F, B, R>
where
    S: Clone,
    B: RequestBody,
    R: Body,
    R::Error: Into<BoxError>,
{
    let Attempt {
        generation,
        tenant,
        replay,
    } = attempt;
    if !challenge::rejects_token(&response) {
        return unchanged(response);
    }
    // Also if this request cannot be retried: the requests after it need the newer token.
    let Some(tokens) = shared.tokens.cache(tenant.as_ref()) else {
        return unchanged(response);
    };
    let replay = replay.filter(Replay::is_complete);
    match (tokens.rejected(generation), replay) {
        (Rejected::Retry(token), Some(replay)) => {
            let retry = Retry::new(tenant, generation, &token.token);
            let pause = token.pause;
            let Some(request) = replay.into_request(token.token) else {
                return unchanged(response);
            };
            let body = response.into_body();
            let drain = (!body.is_end_stream()).then(|| Box::new(ReadAhead::discarding(body)));
            pausing(request, retry, drain, pause)
        }
        // A program that may be about to end waits for the refresh, even if it is of no use to this
        // request: a refresh token would be lost.
        (Rejected::Later(wait), replay) if replay.is_some() || !tokens.is_staying() => {
            Step::Enter(State::Refreshing {
                wait,
                refreshing: Some(Box::new(Refreshing {
                    response: FirstResponse::new(response),
                    replay,
                    tenant,
                    rejected: generation,
                })),
            })
        }
        _ => unchanged(response),
    }
}

/// The refresh has ended, and the first response was read.
fn refreshed<S, F, B, R>(
    refreshing: Refreshing<B, R>,
    token: Option<RetryToken>,
) -> Step<S, F, B, R>
where
    B: RequestBody,
    R: Body,
    R::Error: Into<BoxError>,
{
    let Refreshing {
        response,
        replay,
        tenant,
        rejected,
    } = refreshing;
    if let (Some(RetryToken { token, pause }), Some(replay)) = (token, replay) {
        let retry = Retry::new(tenant, rejected, &token);
        if let Some(request) = replay.into_request(token) {
            return pausing(request, retry, None, pause);
        }
    }
    Step::Complete(Ok(response.into_response()))
}

fn pausing<S, F, B: RequestBody, R>(
    request: Request<B>,
    retry: Retry,
    drain: Option<Box<ReadAhead<R>>>,
    pause: Option<Wait<Result<BearerToken, Error>>>,
) -> Step<S, F, B, R> {
    Step::Enter(State::Pausing {
        drain,
        pause,
        request: Some((request, retry)),
    })
}

fn unchanged<S, F, B: RequestBody, R>(response: Response<R>) -> Step<S, F, B, R> {
    Step::Complete(Ok(response.map(ResponseBody::unread)))
}

fn resend<S: Clone, F, B: RequestBody, R>(
    shared: &Shared<S>,
    request: Request<B>,
    retry: Retry,
) -> Step<S, F, B, R> {
    Step::Enter(State::Readying {
        service: shared.pristine(),
        readying: Some((request, Call::Retry(retry))),
    })
}

impl<S, B, R> fmt::Debug for ResponseFuture<S, B, R>
where
    S: Service<Request<B>>,
    B: RequestBody,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
