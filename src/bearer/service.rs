//! The service: turns a request into a future.

use std::{
    fmt,
    marker::PhantomData,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Extensions, Request, Response};
use http_body::Body;
use tower_service::Service;

use super::{
    body::{RequestBody, ResponseBody},
    future::ResponseFuture,
    guard::{self, Destination, Refusal},
    replay::{Attempt, Proved, record_and_call},
    shared::Shared,
    token_provider::{Lookup, TenantCache},
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
    #[inline]
    fn fresh(&mut self, extensions: &Extensions) -> Option<(BearerToken, TenantCache)> {
        match &mut self.token {
            LocalToken::Private(copy) => self.shared.tokens.fresh(Some(copy), extensions),
            LocalToken::Unused | LocalToken::Shared => self.first_fresh(extensions),
        }
    }

    /// A token for one of the first two requests of this clone.
    #[cold]
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
    fn call(&mut self, request: Request<B::Inbound>) -> Self::Future {
        match guard::destination(&request, self.shared.tokens.origins()) {
            Destination::Permitted => {}
            Destination::CrossOrigin(reason) => return self.call_elsewhere(request, reason),
        }
        match self.fresh(request.extensions()) {
            Some((token, tenant)) => self.send(request, token, tenant),
            None => self.call_slow(request),
        }
    }
}

impl<S: Clone, B: RequestBody> BearerAuth<S, B> {
    #[inline]
    fn send<R>(
        &mut self,
        mut request: Request<B::Inbound>,
        token: BearerToken,
        tenant: TenantCache,
    ) -> ResponseFuture<S, B, R>
    where
        S: Service<Request<B>>,
    {
        if token.delivery().is_some() {
            return self.send_delivered(request, token, tenant);
        }
        let Self { inner, shared, .. } = self;
        let generation = token.generation();
        let head = shared.record_head(&request);
        if let Err(refusal) = guard::authorize(&mut request, token, shared.tokens.origins()) {
            return self.refuse(request, refusal);
        }
        let (future, replay) = record_and_call(request, head, |request| inner.call(request));
        let attempt = Attempt {
            generation,
            tenant,
            replay,
        };
        ResponseFuture::sent(Arc::clone(shared), future, attempt)
    }

    /// Sends a request whose token is not sent as usual.
    #[inline(never)]
    fn send_delivered<R>(
        &mut self,
        mut request: Request<B::Inbound>,
        token: BearerToken,
        tenant: TenantCache,
    ) -> ResponseFuture<S, B, R>
    where
        S: Service<Request<B>>,
    {
        let Self { inner, shared, .. } = self;
        let generation = token.generation();
        let bound = token.is_bound().then(|| token.clone());
        let head = shared.record_head(&request);
        if let Err(refusal) = guard::authorize(&mut request, token, shared.tokens.origins()) {
            return self.refuse(request, refusal);
        }
        if let Some(token) = &bound
            && let Err(error) = guard::prove(&mut request, token)
        {
            return self.fail(error);
        }
        let bound = bound.map(|token| (token, request.uri().clone()));
        let (future, replay) = record_and_call(request, head, |request| inner.call(request));
        let attempt = Attempt {
            generation,
            tenant,
            replay,
        };
        let shared = Arc::clone(shared);
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
    #[inline(never)]
    fn call_slow<R>(&mut self, request: Request<B::Inbound>) -> ResponseFuture<S, B, R>
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

    /// The request goes to none of the origins that all grants have. Its own grant may have others.
    #[cold]
    fn call_elsewhere<R>(
        &mut self,
        request: Request<B::Inbound>,
        reason: &'static str,
    ) -> ResponseFuture<S, B, R>
    where
        S: Service<Request<B>>,
    {
        if !self.shared.tokens.has_tenant_origins() {
            return self.refuse(request, Refusal::CrossOrigin(reason));
        }
        match self.fresh(request.extensions()) {
            Some((token, tenant)) => self.send(request, token, tenant),
            None => self.call_slow(request),
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
            let future = self.inner.call(request.map(B::once));
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
