//! The service: turns a request into a future.

use std::{
    fmt,
    marker::PhantomData,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Extensions, Request, Response, header::AUTHORIZATION};
use http_body::Body;
use tower_service::Service;

use super::{
    body::{RequestBody, ResponseBody},
    future::ResponseFuture,
    guard::{self, Destination, Refusal},
    replay::{Attempt, Proved, Replay},
    request_head::RequestHead,
    shared::Shared,
    token_provider::{FreshToken, Lookup, TenantCache},
};
use crate::{
    cache::{Acquired, BearerToken, TokenCopy},
    error::{BoxError, Error},
};

/// A service whose requests carry a bearer token. See the [module page](crate::bearer).
///
/// `S` is the inner service, and `B` the body type of the requests that it accepts.
pub struct BearerAuth<S, B> {
    inner: S,
    shared: Arc<Shared<S>>,
    token: LocalToken,
    /// Whether [`get_mut`](Self::get_mut) may have changed the inner service since `shared` was
    /// made.
    is_pristine_stale: bool,
    /// How much memory the next request's head will most likely need.
    head_capacity: usize,
    body: PhantomData<fn(B)>,
}

/// Whether this clone caches the token. From its second request on, a clone keeps a private copy of
/// the token and of [`Shared`], so that threads do not contend on one reference count. A clone that
/// serves one request only does not pay for that.
enum LocalToken {
    /// No request yet.
    Unused,
    /// One request, which used the shared token.
    Shared,
    /// Several requests. `None` until the first token.
    Private(Option<TokenCopy>),
}

impl<S, B> BearerAuth<S, B> {
    pub(super) fn from_shared(shared: Shared<S>, inner: S) -> Self {
        Self {
            inner,
            shared: Arc::new(shared),
            token: LocalToken::Unused,
            is_pristine_stale: false,
            head_capacity: RequestHead::USUAL_CAPACITY,
            body: PhantomData,
        }
    }

    /// Returns a reference to the inner service.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// Returns a mutable reference to the inner service.
    ///
    /// Changes take effect at the next `poll_ready`, and then apply to retries too. Later clones
    /// have the changes. Earlier clones do not.
    pub fn get_mut(&mut self) -> &mut S {
        self.is_pristine_stale = true;
        &mut self.inner
    }

    /// Returns the inner service.
    pub fn into_inner(self) -> S {
        self.inner
    }

    /// A request's token, if nothing has to be waited for.
    fn fresh(&mut self, extensions: &Extensions) -> Option<(BearerToken, TenantCache)> {
        match &mut self.token {
            LocalToken::Private(copy) => self.shared.tokens.fresh(Some(copy), extensions),
            LocalToken::Unused | LocalToken::Shared => self.first_fresh(extensions),
        }
    }

    /// A token for one of the first two requests of this clone.
    fn first_fresh(&mut self, extensions: &Extensions) -> Option<(BearerToken, TenantCache)> {
        if matches!(self.token, LocalToken::Unused) {
            self.token = LocalToken::Shared;
            return self.shared.tokens.fresh(None, extensions);
        }
        self.shared = Arc::new(self.shared.detached_copy());
        let mut copy = None;
        let fresh = self.shared.tokens.fresh(Some(&mut copy), extensions);
        self.token = LocalToken::Private(copy);
        fresh
    }
}

impl<S, B, R> Service<Request<B::Inbound>> for BearerAuth<S, B>
where
    S: Service<Request<B>, Response = Response<R>> + Clone,
    S::Error: Into<BoxError>,
    B: RequestBody,
    R: Body,
    R::Error: Into<BoxError>,
{
    type Response = Response<ResponseBody<R>>;
    type Error = Error;
    type Future = ResponseFuture<S, B, R>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        if self.is_pristine_stale {
            self.refresh_pristine();
        }
        self.inner.poll_ready(cx).map_err(Error::service)
    }

    #[inline]
    fn call(&mut self, mut request: Request<B::Inbound>) -> Self::Future {
        // The hot path. The request is changed where it is, and moved once: it has more than 200
        // bytes. Whatever is not usual begins again in a function of its own.
        let (value, generation, tenant) = match self.fresh_token(&request) {
            Some((FreshToken::Usual(value, generation), tenant)) => (value, generation, tenant),
            Some((FreshToken::Delivered(token), tenant)) => {
                return self.send(request, token, tenant);
            }
            None => return self.call_slow(request),
        };
        let limit = self.shared.replay_limit_of(request.extensions());
        let replay = Replay::of(&request, limit, &mut self.head_capacity);
        if let Err(refusal) = guard::insert(&mut request, AUTHORIZATION, value) {
            return self.refuse(request, refusal);
        }
        // Two branches, so that a request without a replay copies nothing for one.
        let Some(replay) = replay else {
            let future = B::send(&mut self.inner, request, None);
            let attempt = Attempt {
                generation,
                tenant,
                replay: None,
            };
            return ResponseFuture::sent(Arc::clone(&self.shared), future, attempt);
        };
        let future = Replay::send(Some(&replay), &mut self.inner, request);
        let attempt = Attempt {
            generation,
            tenant,
            replay: Some(replay),
        };
        ResponseFuture::sent(Arc::clone(&self.shared), future, attempt)
    }
}

impl<S: Clone, B: RequestBody> BearerAuth<S, B> {
    /// The fresh token of a request that may carry it, unless it is one of the first two requests
    /// of this clone.
    #[expect(
        clippy::inline_always,
        reason = "counted: a twentieth of what a request costs"
    )]
    #[inline(always)]
    fn fresh_token(&mut self, request: &Request<B::Inbound>) -> Option<(FreshToken, TenantCache)> {
        let LocalToken::Private(copy) = &mut self.token else {
            return None;
        };
        let tokens = &self.shared.tokens;
        match guard::destination(request, tokens.origins()) {
            Destination::Permitted => tokens.fresh_by(copy, request.extensions()),
            Destination::CrossOrigin(_) => None,
        }
    }

    /// Does what [`call`](Service::call) leaves: the first requests of a clone, those that wait,
    /// and those that get no token.
    #[inline(never)]
    fn call_slow<R>(&mut self, request: Request<B::Inbound>) -> ResponseFuture<S, B, R>
    where
        S: Service<Request<B>>,
    {
        // A request that goes to none of the origins that all grants have may go to one of its own
        // grant.
        if let Destination::CrossOrigin(reason) =
            guard::destination(&request, self.shared.tokens.origins())
            && !self.shared.tokens.has_tenant_origins()
        {
            return self.refuse(request, Refusal::CrossOrigin(reason));
        }
        match self.fresh(request.extensions()) {
            Some((token, tenant)) => self.send(request, token, tenant),
            None => self.wait(request),
        }
    }

    /// Adds a token to a request and sends it.
    #[inline(never)]
    fn send<R>(
        &mut self,
        mut request: Request<B::Inbound>,
        token: BearerToken,
        tenant: TenantCache,
    ) -> ResponseFuture<S, B, R>
    where
        S: Service<Request<B>>,
    {
        let generation = token.generation();
        let bound = token.is_bound().then(|| token.clone());
        let limit = self.shared.replay_limit_of(request.extensions());
        let replay = Replay::of(&request, limit, &mut self.head_capacity);
        if let Err(refusal) = guard::authorize(&mut request, token, self.shared.tokens.origins()) {
            return self.refuse(request, refusal);
        }
        if let Some(token) = &bound
            && let Err(error) = guard::prove(&mut request, token)
        {
            return self.fail(error);
        }
        let bound = bound.map(|token| (token, request.uri().clone()));
        let future = Replay::send(replay.as_ref(), &mut self.inner, request);
        let attempt = Attempt {
            generation,
            tenant,
            replay,
        };
        let shared = Arc::clone(&self.shared);
        match bound {
            None => ResponseFuture::sent(shared, future, attempt),
            Some((token, uri)) => {
                let proved = Proved {
                    attempt,
                    token,
                    uri,
                    is_nonce_retry: false,
                };
                ResponseFuture::sent_proved(shared, future, Box::new(proved))
            }
        }
    }

    /// Looks the tenant up, and waits for its token if there is none.
    fn wait<R>(&mut self, request: Request<B::Inbound>) -> ResponseFuture<S, B, R>
    where
        S: Service<Request<B>>,
    {
        if let Err(refusal) = self.shared.check_before_lookup(&request) {
            return self.refuse(request, refusal);
        }
        let (request, lookup) = self.shared.tokens.resolve_tenant(request);
        let tenant = match lookup {
            Ok(Lookup::Resident(tenant)) => tenant,
            Ok(Lookup::Load(wait)) => {
                let service = self.replace_with_clone();
                return ResponseFuture::loading(Arc::clone(&self.shared), wait, service, request);
            }
            Err(error) => {
                let refusal = self.shared.without_tenant(&request, error);
                return self.refuse(request, refusal);
            }
        };
        if let Err(refusal) = self.shared.check_before_wait(&request, tenant.as_ref()) {
            return self.refuse(request, refusal);
        }
        match self.shared.acquire(tenant.as_ref()) {
            Acquired::Now(Ok(token)) => self.send(request, token, tenant),
            Acquired::Now(Err(error)) => self.fail(error),
            Acquired::Later(wait) => {
                let service = self.replace_with_clone();
                ResponseFuture::waiting(Arc::clone(&self.shared), wait, service, request, tenant)
            }
        }
    }

    #[cold]
    fn refuse<R>(
        &mut self,
        request: Request<B::Inbound>,
        refusal: Refusal,
    ) -> ResponseFuture<S, B, R>
    where
        S: Service<Request<B>>,
    {
        if self.shared.sends_unauthenticated(&refusal) {
            let future = self.inner.call(B::outbound(request, None));
            return ResponseFuture::unauthenticated(Arc::clone(&self.shared), future);
        }
        self.fail(refusal.into_error())
    }

    /// Fails a request. Nothing is sent, so the capacity that `poll_ready` reserved is released.
    fn fail<R>(&mut self, error: Error) -> ResponseFuture<S, B, R>
    where
        S: Service<Request<B>>,
    {
        self.replace_with_clone();
        ResponseFuture::failed(Arc::clone(&self.shared), error)
    }

    /// Releases the capacity that `poll_ready` reserved, and returns a service that reserves its
    /// own.
    fn replace_with_clone(&mut self) -> S {
        if self.is_pristine_stale {
            self.refresh_pristine();
        }
        self.inner = self.shared.pristine();
        self.inner.clone()
    }

    #[cold]
    fn refresh_pristine(&mut self) {
        self.shared = Arc::new(self.shared.with_pristine(self.inner.clone()));
        self.is_pristine_stale = false;
    }
}

impl<S: Clone, B> Clone for BearerAuth<S, B> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            shared: Arc::clone(&self.shared),
            token: LocalToken::Unused,
            is_pristine_stale: self.is_pristine_stale,
            head_capacity: self.head_capacity,
            body: PhantomData,
        }
    }
}

impl<S: fmt::Debug, B> fmt::Debug for BearerAuth<S, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BearerAuth")
            .field("inner", &self.inner)
            .field("tokens", &self.shared.tokens)
            .finish_non_exhaustive()
    }
}
