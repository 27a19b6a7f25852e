//! A request's way, state by state.

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
    BearerAuthError, ReplayBody,
    body::Tape,
    challenge,
    drain::Drain,
    guard,
    kept::Kept,
    service::{Shared, hand_on},
    tokens::Own,
};
use crate::{
    cache::{Acquired, BearerToken, Rejected, TokenCache, Wait},
    error::Error,
    token::Generation,
};

pin_project! {
    /// The future of a [`BearerAuth`](crate::bearer::BearerAuth) service. Not boxed while the token is fresh.
    ///
    /// Dropping it drops the request; an exchange that it waited for goes on. Once it has its answer it is to be dropped: until
    /// then it holds the inner service's future, and what was kept for a retry.
    pub struct ResponseFuture<S, B, R>
    where
        S: Service<Request<ReplayBody<B>>>,
        B: Body,
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
        B: Body,
    {
        /// It may not be sent, or there is no token.
        Refused { error: Option<Error> },
        /// It waits for its tenant to be read from the store, and holds nothing of the inner service.
        Loading {
            wait: Wait<Result<TokenCache, Error>>,
            loading: Option<(S, Request<B>)>,
        },
        /// It waits for a token, and holds nothing of the inner service.
        Waiting {
            wait: Wait<Result<BearerToken, Error>>,
            waiting: Option<(S, Request<B>, Own)>,
        },
        /// It has its token, and waits for the inner service. Without an attempt it is the retry.
        Readying {
            service: S,
            readying: Option<(Request<ReplayBody<B>>, Option<Attempt>)>,
        },
        /// It is sent, for the first time.
        Sent {
            #[pin]
            future: F,
            attempt: Option<Attempt>,
        },
        /// It got a 401, and waits for a newer token.
        Renewing {
            wait: Wait<Option<BearerToken>>,
            renewing: Option<(Response<R>, Again)>,
        },
        /// It has a newer token, and reads the first response to its end.
        Draining {
            drain: Pin<Box<Drain<R>>>,
            request: Option<Request<ReplayBody<B>>>,
        },
        /// It is sent for the last time: as a retry, or without a token. Whatever comes back is returned.
        Last {
            #[pin]
            future: F,
        },
        /// It has been answered.
        Done,
    }
}

/// What a first answer is judged by.
pub(super) struct Attempt {
    /// Which token the request carried.
    pub(super) generation: Generation,
    /// Whose it was.
    pub(super) own: Own,
    /// How to send it again; `None` if that is ruled out.
    pub(super) again: Option<Again>,
}

/// A request without its token, and where its body will be.
pub(super) struct Again {
    pub(super) head: Kept,
    pub(super) tape: Tape,
}

impl Again {
    /// The same request with another token, if its body has been sent whole.
    fn with<B: Body>(self, token: BearerToken) -> Option<Request<ReplayBody<B>>> {
        let body = self.tape.replay()?;
        let head = self.head.into_parts(token.into_header_value())?;
        Some(Request::from_parts(head, body))
    }
}

impl<S, B, R> ResponseFuture<S, B, R>
where
    S: Service<Request<ReplayBody<B>>>,
    B: Body,
{
    pub(super) fn refused(shared: Arc<Shared<S>>, error: Error) -> Self {
        let state = State::Refused { error: Some(error) };
        Self { state, shared }
    }

    pub(super) fn loading(
        shared: Arc<Shared<S>>,
        wait: Wait<Result<TokenCache, Error>>,
        service: S,
        request: Request<B>,
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
        request: Request<B>,
        own: Own,
    ) -> Self {
        let state = State::Waiting {
            wait,
            waiting: Some((service, request, own)),
        };
        Self { state, shared }
    }

    pub(super) fn passed(shared: Arc<Shared<S>>, future: S::Future) -> Self {
        let state = State::Last { future };
        Self { state, shared }
    }

    pub(super) fn sent(shared: Arc<Shared<S>>, future: S::Future, attempt: Attempt) -> Self {
        let state = State::Sent {
            future,
            attempt: Some(attempt),
        };
        Self { state, shared }
    }
}

impl<S, B, R> Future for ResponseFuture<S, B, R>
where
    S: Service<Request<ReplayBody<B>>, Response = Response<R>> + Clone,
    B: Body,
    R: Body,
{
    type Output = Result<Response<R>, BearerAuthError<S::Error>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            let this = self.as_mut().project();
            let StateProjection::Sent { future, attempt } = this.state.project() else {
                match ready!(self.as_mut().poll_rare(cx)) {
                    Some(answer) => return Poll::Ready(answer),
                    None => continue,
                }
            };
            // All that there is to do for nearly all requests.
            let response = ready!(future.poll(cx)).map_err(BearerAuthError::Inner)?;
            if response.status() != StatusCode::UNAUTHORIZED {
                return Poll::Ready(Ok(response));
            }
            let next = match attempt.take() {
                Some(attempt) => judge(this.shared, response, attempt),
                None => Step::Over,
            };
            if let Some(answer) = self.as_mut().take(next) {
                return Poll::Ready(answer);
            }
        }
    }
}

impl<S, B, R> ResponseFuture<S, B, R>
where
    S: Service<Request<ReplayBody<B>>, Response = Response<R>> + Clone,
    B: Body,
    R: Body,
{
    /// The states in which a request is not, that has a fresh token and gets no 401. `None` leads to another state.
    #[inline(never)]
    fn poll_rare(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Answer<R, S::Error>>> {
        let mut this = self.as_mut().project();
        let next = match this.state.as_mut().project() {
            StateProjection::Refused { error } => match error.take() {
                Some(error) => Step::Answer(Err(BearerAuthError::Token(error))),
                None => Step::Over,
            },
            StateProjection::Loading { wait, loading } => {
                match (ready!(wait.as_mut().poll(cx)), loading.take()) {
                    (Ok(tokens), Some((service, request))) => {
                        acquire(this.shared, tokens, service, request)
                    }
                    (Err(error), _) => Step::Answer(Err(BearerAuthError::Token(error))),
                    (Ok(_), None) => Step::Over,
                }
            }
            StateProjection::Waiting { wait, waiting } => {
                match (ready!(wait.as_mut().poll(cx)), waiting.take()) {
                    (Ok(token), Some((service, request, own))) => {
                        ready_with(this.shared, token, service, request, own)
                    }
                    (Err(error), _) => Step::Answer(Err(BearerAuthError::Token(error))),
                    (Ok(_), None) => Step::Over,
                }
            }
            StateProjection::Readying { service, readying } => {
                match ready!(service.poll_ready(cx)) {
                    Ok(()) => match readying.take() {
                        Some((request, Some(attempt))) => Step::Enter(State::Sent {
                            future: service.call(request),
                            attempt: Some(attempt),
                        }),
                        Some((request, None)) => Step::Enter(State::Last {
                            future: service.call(request),
                        }),
                        None => Step::Over,
                    },
                    Err(error) => Step::Answer(Err(BearerAuthError::Inner(error))),
                }
            }
            StateProjection::Renewing { wait, renewing } => {
                match (ready!(wait.as_mut().poll(cx)), renewing.take()) {
                    (Some(token), Some((response, again))) => {
                        retry(this.shared, response, again, token)
                    }
                    (None, Some((response, _))) => Step::Answer(Ok(response)),
                    (_, None) => Step::Over,
                }
            }
            StateProjection::Draining { drain, request } => {
                ready!(drain.as_mut().poll(cx));
                match request.take() {
                    Some(request) => resend(this.shared, request),
                    None => Step::Over,
                }
            }
            StateProjection::Last { future } => {
                Step::Answer(ready!(future.poll(cx)).map_err(BearerAuthError::Inner))
            }
            StateProjection::Sent { .. } | StateProjection::Done => Step::Over,
        };
        Poll::Ready(self.take(next))
    }

    /// The answer, or `None` if there is another state to go through.
    fn take(
        self: Pin<&mut Self>,
        step: Step<S, S::Future, B, R, S::Error>,
    ) -> Option<Answer<R, S::Error>> {
        let mut this = self.project();
        match step {
            Step::Enter(state) => {
                this.state.set(state);
                None
            }
            Step::Answer(answer) => {
                this.state.set(State::Done);
                Some(answer)
            }
            Step::Over => panic!("`ResponseFuture` polled after completion"),
        }
    }
}

type Answer<R, E> = Result<Response<R>, BearerAuthError<E>>;

/// What comes after a state.
#[expect(
    clippy::large_enum_variant,
    reason = "never kept: a box would cost each request an allocation"
)]
enum Step<S, F, B: Body, R, E> {
    Enter(State<S, F, B, R>),
    Answer(Answer<R, E>),
    /// Polled after the answer.
    Over,
}

/// The tenant is there: is there a token?
fn acquire<S, F, B: Body, R, E>(
    shared: &Shared<S>,
    tokens: TokenCache,
    service: S,
    request: Request<B>,
) -> Step<S, F, B, R, E> {
    match tokens.acquire() {
        Acquired::Now(Ok(token)) => ready_with(shared, token, service, request, Some(tokens)),
        Acquired::Now(Err(error)) => Step::Answer(Err(BearerAuthError::Token(error))),
        Acquired::Later(wait) => Step::Enter(State::Waiting {
            wait,
            waiting: Some((service, request, Some(tokens))),
        }),
    }
}

fn ready_with<S, F, B: Body, R, E>(
    shared: &Shared<S>,
    token: BearerToken,
    service: S,
    mut request: Request<B>,
    own: Own,
) -> Step<S, F, B, R, E> {
    let generation = token.generation();
    let kept = shared.keep(&request);
    if let Err(error) = guard::authorize(&mut request, token) {
        return Step::Answer(Err(BearerAuthError::Token(error)));
    }
    let (request, again) = hand_on(request, kept, |request| request);
    let attempt = Attempt {
        generation,
        own,
        again,
    };
    Step::Enter(State::Readying {
        service,
        readying: Some((request, Some(attempt))),
    })
}

/// A 401: is it the token's fault, and can the request be sent again?
#[cold]
fn judge<S, F, B, R, E>(
    shared: &Shared<S>,
    response: Response<R>,
    attempt: Attempt,
) -> Step<S, F, B, R, E>
where
    S: Clone,
    B: Body,
    R: Body,
{
    if !challenge::blames_the_token(response.headers()) {
        return Step::Answer(Ok(response));
    }
    // Also when this request cannot profit from it: those who come next will.
    let Some(tokens) = shared.tokens.of(attempt.own.as_ref()) else {
        return Step::Answer(Ok(response));
    };
    let rejected = tokens.rejected(attempt.generation);
    let Some(again) = attempt.again.filter(|again| again.tape.is_whole()) else {
        return Step::Answer(Ok(response));
    };
    match rejected {
        Rejected::Newer(token) => retry(shared, response, again, token),
        Rejected::Later(wait) => Step::Enter(State::Renewing {
            wait,
            renewing: Some((response, again)),
        }),
        Rejected::Nothing => Step::Answer(Ok(response)),
    }
}

fn retry<S, F, B, R, E>(
    shared: &Shared<S>,
    response: Response<R>,
    again: Again,
    token: BearerToken,
) -> Step<S, F, B, R, E>
where
    S: Clone,
    B: Body,
    R: Body,
{
    let Some(request) = again.with(token) else {
        return Step::Answer(Ok(response));
    };
    match Drain::new(response.into_body()) {
        Some(drain) => Step::Enter(State::Draining {
            drain: Box::pin(drain),
            request: Some(request),
        }),
        None => resend(shared, request),
    }
}

fn resend<S: Clone, F, B: Body, R, E>(
    shared: &Shared<S>,
    request: Request<ReplayBody<B>>,
) -> Step<S, F, B, R, E> {
    Step::Enter(State::Readying {
        service: shared.spare(),
        readying: Some((request, None)),
    })
}

impl<S, B, R> fmt::Debug for ResponseFuture<S, B, R>
where
    S: Service<Request<ReplayBody<B>>>,
    B: Body,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
