//! The future of a request, state by state.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::Body;
use pin_project_lite::pin_project;
use tower_service::Service;

use super::{
    body::{End, Observer, RequestBody, ResponseBody, Rest},
    challenge::Schemes,
    classify::Classified,
    guard::{self, Refusal},
    read_ahead::{FirstResponse, ReadAhead},
    replay::{Attempt, Proved, Replay, Retry},
    request_head::RequestHead,
    response_uri,
    shared::Shared,
    token_provider::TenantCache,
    trailers::{Peek, observer},
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
        /// Sent with a DPoP proof: for the first time, or again with another nonce.
        SentProved {
            #[pin]
            future: F,
            proved: Option<Box<Proved<B>>>,
        },
        /// Has a response that may reject the token in its trailers, and waits for its first frame.
        Peeking {
            peeking: Option<Box<Peeking<B, R>>>,
        },
        /// Has a 401 and reads it to its end. Then waits for a newer token; holds no capacity of
        /// the inner service.
        Refreshing {
            wait: Wait<Option<RetryToken>>,
            refreshing: Option<Box<Refreshing<B, R>>>,
        },
        /// Has a token for the next attempt, and reads the response before it to its end; holds no
        /// capacity of the inner service.
        Draining {
            draining: Option<Box<Draining<B, R>>>,
        },
        /// Has a token for the retry, and reads the first response to its end. Then waits until the
        /// API knows the token; holds no capacity of the inner service.
        Pausing {
            pause: Wait<Result<BearerToken, Error>>,
            pausing: Option<Box<Pausing<B, R>>>,
        },
        /// Sent for the last time: the retry, or a request without a token. Its response is
        /// returned unchanged, unless it asks for another nonce.
        Last {
            #[pin]
            future: F,
            retry: Option<Retry<B>>,
        },
        /// Completed.
        Done,
    }
}

/// A response whose first frame is waited for.
struct Peeking<B: RequestBody, R> {
    peek: Peek<R>,
    attempt: Attempt<B>,
    may_retry_nonce: bool,
}

/// A response that is read to its end, and how the request is sent again.
struct Draining<B: RequestBody, R> {
    drain: Box<ReadAhead<R>>,
    request: Request<B>,
    call: Call<B>,
}

/// A request that waits for a newer token.
struct Refreshing<B: RequestBody, R> {
    response: FirstResponse<R>,
    /// How to send the request again; `None` if it is not retried.
    replay: Option<Replay<B>>,
    tenant: TenantCache,
    rejected: Generation,
    may_retry_nonce: bool,
}

/// A request that is sent again after a pause.
struct Pausing<B: RequestBody, R> {
    /// The caller gets it if the token that is held after the pause must not be sent there.
    response: FirstResponse<R>,
    request: Request<B>,
    retry: Retry<B>,
}

/// Which call of the inner service a request is about to make.
enum Call<B: RequestBody> {
    First(Attempt<B>),
    Proved(Box<Proved<B>>),
    Retry(Retry<B>),
    Unauthenticated,
}

impl<B: RequestBody> Call<B> {
    /// Adds the proof of a request that is sent now, if its token is bound to a key.
    fn prove(&self, request: &mut Request<B>) -> Result<(), Error> {
        let token = match self {
            Self::Proved(proved) => Some(&proved.token),
            Self::Retry(retry) => retry.proved_token(),
            Self::First(_) | Self::Unauthenticated => None,
        };
        token.map_or(Ok(()), |token| guard::prove(request, token))
    }

    /// The state of a request that was sent.
    fn sent<S, F, R>(self, future: F) -> State<S, F, B, R> {
        match self {
            Self::First(attempt) => State::Sent {
                future,
                attempt: Some(attempt),
            },
            Self::Proved(proved) => State::SentProved {
                future,
                proved: Some(proved),
            },
            Self::Retry(retry) => State::Last {
                future,
                retry: Some(retry),
            },
            Self::Unauthenticated => State::Last {
                future,
                retry: None,
            },
        }
    }
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

    #[inline]
    pub(super) fn sent(shared: Arc<Shared<S>>, future: S::Future, attempt: Attempt<B>) -> Self {
        Self {
            state: State::Sent {
                future,
                attempt: Some(attempt),
            },
            shared,
        }
    }

    pub(super) fn sent_proved(
        shared: Arc<Shared<S>>,
        future: S::Future,
        proved: Box<Proved<B>>,
    ) -> Self {
        let state = State::SentProved {
            future,
            proved: Some(proved),
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

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // The hot path: nearly all requests do no more than this.
        let this = self.as_mut().project();
        let StateProjection::Sent { future, attempt } = this.state.project() else {
            return self.poll_slow(cx);
        };
        match future.poll(cx) {
            Poll::Ready(Ok(response)) => {
                let response = response.map(ResponseBody::unread);
                let status = response.status();
                if !this.shared.classifier.is_plain(status) {
                    return self.responded(response, cx);
                }
                if let Some(attempt) = attempt {
                    report_success(this.shared, status, attempt);
                }
                Poll::Ready(Ok(response))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(Error::service(error))),
            Poll::Pending => Poll::Pending,
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
    /// Continues after a first response that may reject the token.
    #[cold]
    fn responded(
        mut self: Pin<&mut Self>,
        response: Response<ResponseBody<R>>,
        cx: &mut Context<'_>,
    ) -> Poll<Outcome<R>> {
        let (head, body) = response.into_parts();
        let response = match body.into_unread() {
            Ok(body) => Response::from_parts(head, body),
            Err(body) => return Poll::Ready(Ok(Response::from_parts(head, body))),
        };
        let this = self.as_mut().project();
        let attempt = match this.state.project() {
            StateProjection::Sent { attempt, .. } => attempt.take(),
            _ => None,
        };
        let next = sent_responded(this.shared, response, attempt);
        match self.as_mut().take(next) {
            Some(result) => Poll::Ready(result),
            None => self.poll_slow(cx),
        }
    }

    #[inline(never)]
    fn poll_slow(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome<R>> {
        loop {
            if let Some(result) = ready!(self.as_mut().poll_state(cx)) {
                return Poll::Ready(result);
            }
        }
    }

    /// Polls the current state. `None` if it changed.
    fn poll_state(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Outcome<R>>> {
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
                let ready = ready!(service.poll_ready(cx)).map_err(Error::service);
                match (ready, readying.take()) {
                    (Ok(()), Some((mut request, call))) => match call.prove(&mut request) {
                        Ok(()) => Step::Enter(call.sent(service.call(request))),
                        Err(error) => Step::Complete(Err(error)),
                    },
                    (Err(error), _) => Step::Complete(Err(error)),
                    (Ok(()), None) => Step::AfterCompletion,
                }
            }
            StateProjection::SentProved { future, proved } => {
                let response = ready!(future.poll(cx)).map_err(Error::service);
                match (response, proved.take()) {
                    (Ok(response), Some(proved)) => {
                        proved_responded(this.shared, response, *proved)
                    }
                    (Err(error), _) => Step::Complete(Err(error)),
                    (Ok(_), None) => Step::AfterCompletion,
                }
            }
            StateProjection::Peeking { peeking } => {
                let rest = match peeking {
                    Some(peeking) => Some(ready!(peeking.peek.poll_first_frame(cx))),
                    None => None,
                };
                match (rest, peeking.take()) {
                    (Some(rest), Some(peeking)) => peeked(this.shared, *peeking, rest),
                    _ => Step::AfterCompletion,
                }
            }
            StateProjection::Refreshing { wait, refreshing } => {
                if let Some(refreshing) = refreshing {
                    ready!(refreshing.response.poll_read(cx));
                }
                match (ready!(wait.as_mut().poll(cx)), refreshing.take()) {
                    (token, Some(refreshing)) => refreshed(this.shared, *refreshing, token),
                    (_, None) => Step::AfterCompletion,
                }
            }
            StateProjection::Draining { draining } => {
                if let Some(draining) = draining {
                    ready!(Pin::new(&mut *draining.drain).poll(cx));
                }
                match draining.take() {
                    Some(draining) => resend(this.shared, draining.request, draining.call),
                    None => Step::AfterCompletion,
                }
            }
            StateProjection::Pausing { pause, pausing } => {
                if let Some(pausing) = pausing {
                    ready!(pausing.response.poll_read(cx));
                }
                match (ready!(pause.as_mut().poll(cx)), pausing.take()) {
                    (Ok(token), Some(pausing)) => paused(this.shared, *pausing, token),
                    (Err(error), _) => Step::Complete(Err(error)),
                    (Ok(_), None) => Step::AfterCompletion,
                }
            }
            StateProjection::Last { future, retry } => {
                match ready!(future.poll(cx)).map_err(Error::service) {
                    Ok(response) => last_responded(this.shared, response, retry.take()),
                    Err(error) => Step::Complete(Err(error)),
                }
            }
            StateProjection::Sent { future, attempt } => {
                match ready!(future.poll(cx)).map_err(Error::service) {
                    Ok(response) => sent_responded(this.shared, response, attempt.take()),
                    Err(error) => Step::Complete(Err(error)),
                }
            }
            StateProjection::Done => Step::AfterCompletion,
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
    if let Err(refusal) = shared.check_before_wait(&request, Some(&tokens)) {
        return refuse(shared, refusal, service, request);
    }
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
    let bound = token.is_bound().then(|| token.clone());
    let limit = shared.replay_limit_of(request.extensions());
    let mut head_capacity = RequestHead::USUAL_CAPACITY;
    let replay = Replay::of(&request, limit, &mut head_capacity);
    if let Err(refusal) = guard::authorize(&mut request, token, shared.tokens.origins()) {
        return refuse(shared, refusal, service, request);
    }
    let request = Replay::outbound(replay.as_ref(), request);
    let attempt = Attempt {
        generation,
        tenant,
        replay,
    };
    let call = match bound {
        None => Call::First(attempt),
        Some(token) => Call::Proved(Box::new(Proved {
            attempt,
            token,
            uri: request.uri().clone(),
            is_nonce_retry: false,
        })),
    };
    Step::Enter(State::Readying {
        service,
        readying: Some((request, call)),
    })
}

/// The request gets no token.
#[cold]
fn refuse<S, F, B: RequestBody, R>(
    shared: &Shared<S>,
    refusal: Refusal,
    service: S,
    request: Request<B::Inbound>,
) -> Step<S, F, B, R> {
    if shared.sends_unauthenticated(&refusal) {
        return Step::Enter(State::Readying {
            service,
            readying: Some((B::outbound(request, None), Call::Unauthenticated)),
        });
    }
    Step::Complete(Err(refusal.into_error()))
}

/// Reports to the cache that the API accepts the token, if it has rejected the same one before.
#[inline]
fn report_success<S, B: RequestBody>(shared: &Shared<S>, status: StatusCode, attempt: &Attempt<B>) {
    if let Some(tokens) = shared.tokens.cache(attempt.tenant.as_ref())
        && tokens.is_suspected()
        && status.is_success()
    {
        tokens.accepted(attempt.generation);
    }
}

/// Decides what follows the response to a request that was sent for the first time.
fn sent_responded<S, F, B, R>(
    shared: &Shared<S>,
    response: Response<R>,
    attempt: Option<Attempt<B>>,
) -> Step<S, F, B, R>
where
    S: Clone,
    B: RequestBody,
    R: Body,
    R::Error: Into<BoxError>,
{
    match attempt {
        Some(attempt) => classify(shared, response, attempt, Schemes::Bearer, false),
        None => Step::AfterCompletion,
    }
}

/// Decides what follows the response to a request with a DPoP proof.
fn proved_responded<S, F, B, R>(
    shared: &Shared<S>,
    response: Response<R>,
    mut proved: Proved<B>,
) -> Step<S, F, B, R>
where
    S: Clone,
    B: RequestBody,
    R: Body,
    R::Error: Into<BoxError>,
{
    let tenant = proved.attempt.tenant.as_ref();
    if response_uri::is_foreign(&response, |uri| shared.tokens.is_permitted(uri, tenant)) {
        return Step::Complete(Ok(response.map(ResponseBody::unread)));
    }
    if let Some(request) = proved.after_nonce(&response, &shared.tokens) {
        proved.is_nonce_retry = true;
        let call = Call::Proved(Box::new(proved));
        return drain_and_resend(shared, FirstResponse::new(response), request, call);
    }
    let may_retry_nonce = !proved.is_nonce_retry;
    let schemes = Schemes::BearerAndDpop;
    classify(shared, response, proved.attempt, schemes, may_retry_nonce)
}

/// Decides what follows the response to the retry, or to a request without a token.
fn last_responded<S, F, B, R>(
    shared: &Shared<S>,
    response: Response<R>,
    retry: Option<Retry<B>>,
) -> Step<S, F, B, R>
where
    S: Clone,
    B: RequestBody,
    R: Body,
    R::Error: Into<BoxError>,
{
    let Some(mut retry) = retry else {
        return Step::Complete(Ok(response.map(ResponseBody::unread)));
    };
    if let Some(request) = retry.after_nonce(&response, &shared.tokens) {
        let response = FirstResponse::new(response);
        return drain_and_resend(shared, response, request, Call::Retry(retry));
    }
    let observer = retry.responded(&shared.tokens, &shared.classifier, &response);
    Step::Complete(Ok(observed(response, observer)))
}

/// Decides what follows the first response to a token of these schemes. `may_retry_nonce` says
/// whether the request may be sent again with another nonce, beside the retry.
#[cold]
fn classify<S, F, B, R>(
    shared: &Shared<S>,
    response: Response<R>,
    attempt: Attempt<B>,
    schemes: Schemes,
    may_retry_nonce: bool,
) -> Step<S, F, B, R>
where
    S: Clone,
    B: RequestBody,
    R: Body,
    R::Error: Into<BoxError>,
{
    let tenant = attempt.tenant.as_ref();
    if response_uri::is_foreign(&response, |uri| shared.tokens.is_permitted(uri, tenant)) {
        return Step::Complete(Ok(response.map(ResponseBody::unread)));
    }
    match shared.classifier.classify(&response, schemes) {
        Classified::NotRejected => {
            report_success(shared, response.status(), &attempt);
            Step::Complete(Ok(response.map(ResponseBody::unread)))
        }
        Classified::Rejected => {
            let response = FirstResponse::new(response);
            rejected(shared, response, attempt, may_retry_nonce)
        }
        // The server has the whole request, so it does not wait for more of it. Otherwise the
        // caller may need the response before it sends more.
        Classified::InTrailers if attempt.replay.as_ref().is_some_and(Replay::is_complete) => {
            Step::Enter(State::Peeking {
                peeking: Some(Box::new(Peeking {
                    peek: Peek::new(response),
                    attempt,
                    may_retry_nonce,
                })),
            })
        }
        Classified::InTrailers => {
            let observer = observer_of(shared, &attempt);
            Step::Complete(Ok(observed(response, observer)))
        }
    }
}

/// The first frame of a response has come, or the time for it has passed.
fn peeked<S, F, B, R>(
    shared: &Shared<S>,
    peeking: Peeking<B, R>,
    mut rest: Rest<R>,
) -> Step<S, F, B, R>
where
    S: Clone,
    B: RequestBody,
    R: Body,
    R::Error: Into<BoxError>,
{
    let Peeking {
        peek,
        attempt,
        may_retry_nonce,
    } = peeking;
    let head = peek.into_head();
    match &rest.end {
        End::Trailers(trailers) if shared.classifier.classify_trailers(trailers) => {
            let response = FirstResponse::read(head, rest);
            return rejected(shared, response, attempt, may_retry_nonce);
        }
        End::Body(_) => rest.observer = observer_of(shared, &attempt),
        End::Trailers(_) | End::Failed(_) | End::Nothing => {}
    }
    let body = ResponseBody::started(rest);
    Step::Complete(Ok(Response::from_parts(head, body)))
}

fn observer_of<S, B: RequestBody>(shared: &Shared<S>, attempt: &Attempt<B>) -> Option<Observer> {
    let tokens = shared.tokens.cache(attempt.tenant.as_ref())?.clone();
    let classifier = shared.classifier.clone();
    Some(observer(tokens, classifier, attempt.generation, None))
}

/// Decides what follows a rejection of the token: a refresh, and a retry if the request can be sent
/// again.
#[cold]
fn rejected<S, F, B, R>(
    shared: &Shared<S>,
    response: FirstResponse<R>,
    attempt: Attempt<B>,
    may_retry_nonce: bool,
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
    // Also if this request cannot be retried: the requests after it need the newer token.
    let Some(tokens) = shared.tokens.cache(tenant.as_ref()) else {
        return Step::Complete(Ok(response.into_response()));
    };
    let replay = replay.filter(Replay::is_complete);
    match (tokens.rejected(generation), replay) {
        (Rejected::Retry(token), Some(replay)) => {
            let RetryToken { token, pause } = token;
            let rejected = (tenant, generation);
            match Retry::of(replay, rejected, token, &shared.tokens, may_retry_nonce) {
                Some((request, retry)) => send_again(shared, response, request, retry, pause),
                None => Step::Complete(Ok(response.into_response())),
            }
        }
        // A program that may be about to end waits for the refresh, even if it is of no use to this
        // request: a refresh token would be lost.
        (Rejected::Later(wait), replay) if replay.is_some() || !tokens.is_staying() => {
            Step::Enter(State::Refreshing {
                wait,
                refreshing: Some(Box::new(Refreshing {
                    response,
                    replay,
                    tenant,
                    rejected: generation,
                    may_retry_nonce,
                })),
            })
        }
        _ => Step::Complete(Ok(response.into_response())),
    }
}

/// The refresh has ended, and the first response was read.
fn refreshed<S: Clone, F, B, R>(
    shared: &Shared<S>,
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
        may_retry_nonce,
    } = refreshing;
    if let (Some(RetryToken { token, pause }), Some(replay)) = (token, replay) {
        let rejected = (tenant, rejected);
        let retry = Retry::of(replay, rejected, token, &shared.tokens, may_retry_nonce);
        if let Some((request, retry)) = retry {
            return send_again(shared, response, request, retry, pause);
        }
    }
    Step::Complete(Ok(response.into_response()))
}

/// Reads the first response and waits for the pause, if there are such. Then sends the request.
fn send_again<S: Clone, F, B, R>(
    shared: &Shared<S>,
    response: FirstResponse<R>,
    request: Request<B>,
    retry: Retry<B>,
    pause: Option<Wait<Result<BearerToken, Error>>>,
) -> Step<S, F, B, R>
where
    B: RequestBody,
    R: Body,
    R::Error: Into<BoxError>,
{
    if let Some(pause) = pause {
        let pausing = Some(Box::new(Pausing {
            response,
            request,
            retry,
        }));
        return Step::Enter(State::Pausing { pause, pausing });
    }
    drain_and_resend(shared, response, request, Call::Retry(retry))
}

/// Reads a response to its end, and sends the request again.
fn drain_and_resend<S: Clone, F, B, R>(
    shared: &Shared<S>,
    response: FirstResponse<R>,
    request: Request<B>,
    call: Call<B>,
) -> Step<S, F, B, R>
where
    B: RequestBody,
    R: Body,
    R::Error: Into<BoxError>,
{
    match response.into_drain() {
        Some(drain) => Step::Enter(State::Draining {
            draining: Some(Box::new(Draining {
                drain,
                request,
                call,
            })),
        }),
        None => resend(shared, request, call),
    }
}

/// The pause before the retry has ended, with the token that is held then.
fn paused<S: Clone, F, B, R>(
    shared: &Shared<S>,
    pausing: Pausing<B, R>,
    token: BearerToken,
) -> Step<S, F, B, R>
where
    B: RequestBody,
    R: Body,
    R::Error: Into<BoxError>,
{
    let Pausing {
        response,
        mut request,
        mut retry,
    } = pausing;
    if retry.replace_token(&mut request, token, &shared.tokens) {
        resend(shared, request, Call::Retry(retry))
    } else {
        Step::Complete(Ok(response.into_response()))
    }
}

/// A response of the inner service, whose trailers `observer` is called with.
fn observed<R>(response: Response<R>, observer: Option<Observer>) -> Response<ResponseBody<R>> {
    if observer.is_none() {
        return response.map(ResponseBody::unread);
    }
    response.map(|body| {
        let mut rest = Rest::new(Bytes::new(), End::Body(Box::pin(body)));
        rest.observer = observer;
        ResponseBody::started(rest)
    })
}

fn resend<S: Clone, F, B: RequestBody, R>(
    shared: &Shared<S>,
    request: Request<B>,
    call: Call<B>,
) -> Step<S, F, B, R> {
    Step::Enter(State::Readying {
        service: shared.pristine(),
        readying: Some((request, call)),
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
