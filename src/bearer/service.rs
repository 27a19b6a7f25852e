//! The service: from a request to a future.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use http::{Extensions, Request, Response, header::CONTENT_LENGTH};
use http_body::Body;
use tower_service::Service;

use super::{
    BearerAuthError, BearerAuthLayer, CrossOrigin, ReplayBody, ReplayLimit, ResponseFuture,
    TokenProvider,
    future::{Again, Attempt},
    guard::{self, Destination},
    kept::Kept,
    tokens::{Found, Own},
};
use crate::{
    cache::{Acquired, BearerToken, TokenCache, TokenCopy},
    error::Error,
};

/// A service whose requests carry a bearer token. See the [module docs](crate::bearer).
pub struct BearerAuth<S> {
    inner: S,
    shared: Arc<Shared<S>>,
    standing: Standing,
}

/// How far a clone has come. From its second request on it has what it would otherwise contend for with other threads: a copy of
/// the token, and a count of references. Many a clone serves one request only, for which that would not pay.
enum Standing {
    New,
    Used,
    Settled(Option<TokenCopy>),
}

/// What the service and the futures of its requests share, so that a request costs one reference count.
pub(super) struct Shared<S> {
    pub(super) tokens: TokenProvider,
    replay_limit: ReplayLimit,
    cross_origin: CrossOrigin,
    /// Where second calls come from. Cloned when one is needed: cloning the inner service for each request, just in case,
    /// would cost more than everything else that is done here.
    spare: Arc<Mutex<S>>,
}

impl<S: Clone> BearerAuth<S> {
    pub(super) fn new(inner: S, layer: BearerAuthLayer) -> Self {
        Self {
            shared: Arc::new(Shared {
                tokens: layer.tokens,
                replay_limit: layer.replay_limit,
                cross_origin: layer.cross_origin,
                spare: Arc::new(Mutex::new(inner.clone())),
            }),
            inner,
            standing: Standing::New,
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

impl<S> BearerAuth<S> {
    /// A request's token, if it takes nothing but a look.
    #[inline]
    fn fresh(&mut self, extensions: &Extensions) -> Option<(BearerToken, Own)> {
        match &mut self.standing {
            Standing::Settled(copy) => self.shared.tokens.fresh(Some(copy), extensions),
            Standing::New | Standing::Used => self.fresh_of_new(extensions),
        }
    }

    #[cold]
    fn fresh_of_new(&mut self, extensions: &Extensions) -> Option<(BearerToken, Own)> {
        if matches!(self.standing, Standing::New) {
            self.standing = Standing::Used;
            return self.shared.tokens.fresh(None, extensions);
        }
        self.shared = Arc::new(self.shared.apart());
        let mut copy = None;
        let fresh = self.shared.tokens.fresh(Some(&mut copy), extensions);
        self.standing = Standing::Settled(copy);
        fresh
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

    /// The same, counted apart.
    fn apart(&self) -> Self {
        Self {
            tokens: self.tokens.clone(),
            replay_limit: self.replay_limit,
            cross_origin: self.cross_origin,
            spare: Arc::clone(&self.spare),
        }
    }

    /// A request's head without a token, and up to how much of its body is kept; `None` if it is not sent again.
    #[expect(
        clippy::inline_always,
        reason = "counted: a tenth of what a request costs"
    )]
    #[inline(always)]
    pub(super) fn keep<B>(&self, request: &Request<B>) -> Option<(Kept, usize)> {
        let limit = self.replay_limit.or_of(request.extensions());
        (limit != ReplayLimit::NEVER).then(|| (Kept::of(request), limit.get()))
    }
}

/// Hands a request on that has its token (at once, so that it is not moved about), and tells how to send it again.
#[expect(clippy::inline_always, reason = "as above")]
#[inline(always)]
pub(super) fn hand_on<B: Body, T>(
    request: Request<B>,
    kept: Option<(Kept, usize)>,
    to: impl FnOnce(Request<ReplayBody<B>>) -> T,
) -> (T, Option<Again>) {
    let Some((head, limit)) = kept else {
        return (to(request.map(ReplayBody::once)), None);
    };
    let length = announced(&request);
    let mut tape = None;
    let handed_on = to(request.map(|body| {
        let (body, its_tape) = ReplayBody::record(body, limit, length);
        tape = its_tape;
        body
    }));
    (handed_on, tape.map(|tape| Again { head, tape }))
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

    #[inline]
    fn call(&mut self, request: Request<B>) -> Self::Future {
        match guard::destination(&request, self.shared.tokens.origins()) {
            Destination::Own => {}
            Destination::CrossOrigin(why) => return self.cross_origin(request, why),
        }
        match self.fresh(request.extensions()) {
            Some((token, own)) => self.send(request, token, own),
            None => self.seek(request),
        }
    }
}

impl<S: Clone> BearerAuth<S> {
    #[inline]
    fn send<B: Body, R>(
        &mut self,
        mut request: Request<B>,
        token: BearerToken,
        own: Own,
    ) -> ResponseFuture<S, B, R>
    where
        S: Service<Request<ReplayBody<B>>>,
    {
        let Self { inner, shared, .. } = self;
        let generation = token.generation();
        let kept = shared.keep(&request);
        if let Err(error) = guard::authorize(&mut request, token) {
            return self.refuse(error);
        }
        let (future, again) = hand_on(request, kept, |request| inner.call(request));
        let attempt = Attempt {
            generation,
            own,
            again,
        };
        ResponseFuture::sent(Arc::clone(shared), future, attempt)
    }

    /// Finds out whose token it is to be, and whether it has to be waited for.
    #[inline(never)]
    fn seek<B: Body, R>(&mut self, request: Request<B>) -> ResponseFuture<S, B, R>
    where
        S: Service<Request<ReplayBody<B>>>,
    {
        if let Err(error) = guard::check_authorization(&request) {
            return self.refuse(error);
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
            Acquired::Now(Ok(token)) => self.send(request, token, own),
            Acquired::Now(Err(error)) => self.refuse(error),
            Acquired::Later(wait) => {
                let service = self.give_back();
                ResponseFuture::waiting(Arc::clone(&self.shared), wait, service, request, own)
            }
        }
    }

    #[cold]
    fn cross_origin<B: Body, R>(
        &mut self,
        request: Request<B>,
        why: &'static str,
    ) -> ResponseFuture<S, B, R>
    where
        S: Service<Request<ReplayBody<B>>>,
    {
        if self.shared.cross_origin == CrossOrigin::Reject {
            return self.refuse(guard::refuse(why));
        }
        let future = self.inner.call(request.map(ReplayBody::once));
        ResponseFuture::passed(Arc::clone(&self.shared), future)
    }
}

/// The length that a request's header says, if nothing else does.
fn announced<B: Body>(request: &Request<B>) -> Option<u64> {
    let body = request.body();
    if body.is_end_stream() || body.size_hint().exact().is_some() {
        return None;
    }
    request
        .headers()
        .get(CONTENT_LENGTH)?
        .to_str()
        .ok()?
        .parse()
        .ok()
}

impl<S: Clone> Clone for BearerAuth<S> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            shared: Arc::clone(&self.shared),
            standing: Standing::New,
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
