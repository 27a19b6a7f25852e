//! The service: from a request to a future.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use http::{
    Request, Response,
    header::{AUTHORIZATION, CONTENT_LENGTH},
};
use http_body::Body;
use tower::Service;

use super::{
    BearerAuthError, BearerAuthLayer, Elsewhere, ReplayBody, ReplayLimit, ResponseFuture, Tokens,
    future::{Again, Attempt},
    guard::{self, Destination},
    tokens::{Found, Own},
};
use crate::{
    cache::{Acquired, BearerToken, TokenCache},
    error::Error,
};

/// A service whose requests carry a bearer token. See the [module docs](crate::bearer).
#[derive(Clone)]
pub struct BearerAuth<S> {
    inner: S,
    shared: Arc<Shared<S>>,
}

/// What the service and the futures of its requests share, so that a request costs one reference count.
pub(super) struct Shared<S> {
    pub(super) tokens: Tokens,
    replay_limit: ReplayLimit,
    elsewhere: Elsewhere,
    /// Where second calls come from. Cloned when one is needed: cloning the inner service for each request, just in case,
    /// would cost more than everything else that is done here.
    spare: Mutex<S>,
}

impl<S: Clone> BearerAuth<S> {
    pub(super) fn new(inner: S, layer: BearerAuthLayer) -> Self {
        Self {
            shared: Arc::new(Shared {
                tokens: layer.tokens,
                replay_limit: layer.replay_limit,
                elsewhere: layer.elsewhere,
                spare: Mutex::new(inner.clone()),
            }),
            inner,
        }
    }

    /// Gives back what `poll_ready` reserved, and returns a service that reserves anew.
    fn give_back(&mut self) -> S {
        self.inner = self.shared.spare();
        self.inner.clone()
    }

    /// Sends nothing, and so needs nothing of what `poll_ready` reserved.
    fn refuse<B: Body, R>(&mut self, error: Error) -> ResponseFuture<S, B, R>
    where
        S: Service<Request<ReplayBody<B>>>,
    {
        self.give_back();
        ResponseFuture::refused(Arc::clone(&self.shared), error)
    }
}

impl<S> BearerAuth<S> {
    /// The inner service.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The inner service.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S: Clone> Shared<S> {
    pub(super) fn spare(&self) -> S {
        self.spare
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl<S> Shared<S> {
    fn acquire(&self, own: Option<&TokenCache>) -> Acquired {
        match self.tokens.of(own) {
            Some(tokens) => tokens
                .fresh()
                .map_or_else(|| tokens.acquire(), |token| Acquired::Now(Ok(token))),
            None => Acquired::Now(Err(guard::refuse("the request names no tenant"))),
        }
    }

    /// A request with its token, and what is needed to send it again.
    pub(super) fn prepare<B: Body>(
        &self,
        request: Request<B>,
        token: BearerToken,
        own: Own,
    ) -> (Request<ReplayBody<B>>, Attempt) {
        let (mut head, body) = request.into_parts();
        let limit = self.replay_limit.or_of(&head.extensions);
        let length = head
            .headers
            .get(CONTENT_LENGTH)
            .and_then(|length| length.to_str().ok()?.parse().ok());
        let (body, tape) = ReplayBody::record(body, limit.get(), length);
        let attempt = Attempt {
            generation: token.generation(),
            own,
            again: tape.map(|tape| Again {
                head: head.clone(),
                tape,
            }),
        };
        head.headers
            .insert(AUTHORIZATION, token.into_header_value());
        (Request::from_parts(head, body), attempt)
    }
}

impl<S, B, R> Service<Request<B>> for BearerAuth<S>
where
    S: Service<Request<ReplayBody<B>>, Response = Response<R>> + Clone,
    B: Body,
    R: Body,
{
    type Response = Response<R>;
    type Error = BearerAuthError<S::Error>;
    type Future = ResponseFuture<S, B, R>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(BearerAuthError::Inner)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        match guard::check(&request, self.shared.tokens.origins()) {
            Ok(Destination::Own) => {}
            Ok(Destination::Elsewhere(_))
                if self.shared.elsewhere == Elsewhere::SendWithoutToken =>
            {
                let future = self.inner.call(request.map(ReplayBody::once));
                return ResponseFuture::passed(Arc::clone(&self.shared), future);
            }
            Ok(Destination::Elsewhere(why)) => return self.refuse(guard::refuse(why)),
            Err(error) => return self.refuse(error),
        }
        let (request, found) = self.shared.tokens.find(request);
        let own = match found {
            Ok(Found::Held(own)) => own,
            Ok(Found::Later(wait)) => {
                let service = self.give_back();
                return ResponseFuture::loading(Arc::clone(&self.shared), wait, service, request);
            }
            Err(error) => return self.refuse(error),
        };
        match self.shared.acquire(own.as_ref()) {
            Acquired::Now(Ok(token)) => {
                let (request, attempt) = self.shared.prepare(request, token, own);
                let future = self.inner.call(request);
                ResponseFuture::sent(Arc::clone(&self.shared), future, attempt)
            }
            Acquired::Now(Err(error)) => self.refuse(error),
            Acquired::Later(wait) => {
                let service = self.give_back();
                ResponseFuture::waiting(Arc::clone(&self.shared), wait, service, request, own)
            }
        }
    }
}

impl<S: fmt::Debug> fmt::Debug for BearerAuth<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BearerAuth")
            .field("inner", &self.inner)
            .field("tokens", &self.shared.tokens)
            .finish_non_exhaustive()
    }
}
