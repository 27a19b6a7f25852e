//! The layer, and the constructors of the service that it makes.

use std::{
    fmt,
    marker::PhantomData,
    sync::{Arc, Mutex},
};

use http::{Request, Response, request};
use http_body::Body;
use tower_layer::Layer;
use tower_service::Service;

use super::{
    body::RequestBody,
    classify::{Classifier, ClassifyResponse},
    policy::{CrossOrigin, ReplayLimit},
    service::BearerAuth,
    shared::Shared,
    token_provider::TokenProvider,
};
use crate::{error::BoxError, token::TenantId};

/// Wraps services so that their requests carry a bearer token. See the [module
/// page](crate::bearer).
///
/// `B` is the request body type of the inner service. The compiler infers `B` if that service
/// accepts one body type, as a hyper-util client does. If the service accepts any body type,
/// specify `B`: `BearerAuthLayer::<Full<Bytes>>::new(tokens)`.
#[must_use = "a layer does nothing until it wraps a service"]
pub struct BearerAuthLayer<B> {
    tokens: TokenProvider,
    replay_limit: ReplayLimit,
    cross_origin: CrossOrigin,
    classifier: Option<Arc<dyn ClassifyResponse>>,
    body: PhantomData<fn(B)>,
}

impl<B> BearerAuthLayer<B> {
    /// Creates a layer that gets its tokens from a cache, and sends them only to the origins that
    /// may receive them.
    ///
    /// `tokens` is a [`TokenCache`](crate::cache::TokenCache), which has one grant, or
    /// [`Tenants`](crate::tenants::Tenants), which has many. With `Tenants`, each request names its
    /// tenant by a [`TenantId`] in its extensions. [`tenant_by`](Self::tenant_by) sets another way.
    pub fn new(tokens: impl Into<TokenProvider>) -> Self {
        Self {
            tokens: tokens.into(),
            replay_limit: ReplayLimit::DEFAULT,
            cross_origin: CrossOrigin::Reject,
            classifier: None,
            body: PhantomData,
        }
    }

    /// Sets how a request names its tenant: by a header, by its path, and so on. Defaults to the
    /// [`TenantId`] in its extensions.
    ///
    /// If `tenant_of` returns `None`, the request fails with the kind
    /// [`Request`](crate::ErrorKind::Request) and is not sent. This setting has no effect if the
    /// tokens come from a [`TokenCache`](crate::cache::TokenCache).
    ///
    /// ```
    /// # use bytes::Bytes;
    /// # use http_body_util::Full;
    /// # use tower_oauth2_client::{bearer::BearerAuthLayer, tenants::Tenants, token::TenantId};
    /// # fn layer(tenants: Tenants) -> BearerAuthLayer<Full<Bytes>> {
    /// BearerAuthLayer::new(tenants).tenant_by(|request| {
    ///     let customer = request.headers.get("x-customer")?.to_str().ok()?;
    ///     TenantId::new(customer).ok()
    /// })
    /// # }
    /// ```
    pub fn tenant_by(
        mut self,
        tenant_of: impl Fn(&request::Parts) -> Option<TenantId> + Send + Sync + 'static,
    ) -> Self {
        self.tokens.name_tenant_by(Arc::new(tenant_of));
        self
    }

    /// Sets how much memory, in bytes, the layer takes to send a request body again after a 401.
    /// Defaults to 64 KiB.
    ///
    /// A request with a larger body is sent, but not retried. The size of a body depends on its
    /// [family](RequestBody):
    ///
    /// * A [`ReplayBody`](crate::bearer::ReplayBody) is recorded in one buffer. Its data count as
    ///   they are, in whatever frames they come. Each trailer counts with its name, its value and
    ///   about 100 bytes.
    /// * A clone of a body that is `Clone` usually shares the memory of the original. Its size is
    ///   the upper bound of its [`size_hint`](Body::size_hint), or else the `Content-Length`
    ///   header. A request with neither is not retried.
    ///
    /// 0 turns the retry off, even for requests without a body. A [`ReplayLimit`] in a request's
    /// extensions takes precedence.
    pub fn replay_limit(mut self, bytes: usize) -> Self {
        self.replay_limit = ReplayLimit::bytes(bytes);
        self
    }

    /// Sets what happens to a request to an origin that may not receive the token. Defaults to
    /// [`CrossOrigin::Reject`].
    pub fn cross_origin(mut self, cross_origin: CrossOrigin) -> Self {
        self.cross_origin = cross_origin;
        self
    }

    /// Sets which responses reject the token, beside a 401 and the [rejections that the provider's
    /// data name](crate::provider::ProviderBuilder::token_rejection). Defaults to none.
    ///
    /// For gRPC, set [`GrpcStatus`](crate::bearer::GrpcStatus); see [gRPC](crate::bearer#grpc).
    pub fn classifier(mut self, classifier: impl ClassifyResponse) -> Self {
        self.classifier = Some(Arc::new(classifier));
        self
    }

    /// A layer with the same settings, for an inner service with the body type `C`.
    pub(crate) fn for_body<C>(&self) -> BearerAuthLayer<C> {
        BearerAuthLayer {
            tokens: self.tokens.clone(),
            replay_limit: self.replay_limit,
            cross_origin: self.cross_origin,
            classifier: self.classifier.clone(),
            body: PhantomData,
        }
    }
}

impl<S, B, R> Layer<S> for BearerAuthLayer<B>
where
    S: Service<Request<B>, Response = Response<R>> + Clone,
    S::Error: Into<BoxError>,
    B: RequestBody,
    R: Body,
{
    type Service = BearerAuth<S, B>;

    fn layer(&self, inner: S) -> Self::Service {
        BearerAuth::from_shared(
            Shared {
                tokens: self.tokens.clone(),
                replay_limit: self.replay_limit,
                cross_origin: self.cross_origin,
                classifier: Classifier::new(
                    self.tokens.token_rejections(),
                    self.classifier.clone(),
                ),
                pristine: Arc::new(Mutex::new(inner.clone())),
            },
            inner,
        )
    }
}

impl<S, B> BearerAuth<S, B> {
    /// Wraps `inner` with the default settings. Equivalent to
    /// `BearerAuthLayer::new(tokens).layer(inner)`.
    pub fn new<R>(inner: S, tokens: impl Into<TokenProvider>) -> Self
    where
        S: Service<Request<B>, Response = Response<R>> + Clone,
        S::Error: Into<BoxError>,
        B: RequestBody,
        R: Body,
    {
        BearerAuthLayer::new(tokens).layer(inner)
    }

    /// Returns a layer with the default settings. Equivalent to
    /// [`BearerAuthLayer::new`](BearerAuthLayer::new).
    ///
    /// The type of the service has to be named, as in `BearerAuth::<Client, Full<Bytes>>::layer`.
    pub fn layer(tokens: impl Into<TokenProvider>) -> BearerAuthLayer<B> {
        BearerAuthLayer::new(tokens)
    }
}

impl<B> Clone for BearerAuthLayer<B> {
    fn clone(&self) -> Self {
        self.for_body()
    }
}

impl<B> fmt::Debug for BearerAuthLayer<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BearerAuthLayer")
            .field("tokens", &self.tokens)
            .field("replay_limit", &self.replay_limit)
            .field("cross_origin", &self.cross_origin)
            .finish_non_exhaustive()
    }
}
