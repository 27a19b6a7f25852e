//! The settings, and what they are laid on.

use std::sync::Arc;

use http::{Extensions, request};
use tower_layer::Layer;

use super::{BearerAuth, TokenProvider};
use crate::token::TenantId;

/// Wraps services so that their requests carry a bearer token. See the [module docs](crate::bearer).
#[derive(Clone, Debug)]
#[must_use = "a layer does nothing before it is laid on a service"]
pub struct BearerAuthLayer {
    pub(super) tokens: TokenProvider,
    pub(super) replay_limit: ReplayLimit,
    pub(super) cross_origin: CrossOrigin,
}

/// What becomes of a request to another origin than those the token is meant for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CrossOrigin {
    /// It is an error, and nothing is sent.
    Reject,
    /// It is sent as it is, without the token, and its response is returned as it is.
    SendUnauthenticated,
}

/// How many bytes of a request's body are kept at most, to send them again after a 401.
///
/// In a request's extensions it counts for that request, instead of the layer's
/// [`replay_limit`](BearerAuthLayer::replay_limit):
///
/// ```
/// use tower_oauth2_client::bearer::ReplayLimit;
///
/// // Whatever the layer says, this one is never sent twice.
/// let request = http::Request::post("https://api.example.com/v1/payments")
///     .extension(ReplayLimit::NEVER)
///     .body(())?;
/// # Ok::<(), http::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReplayLimit(usize);

impl ReplayLimit {
    /// Nothing is kept, and nothing is sent again, not even a request without a body.
    pub const NEVER: Self = Self(0);

    /// Up to this many bytes. 0 is [`NEVER`](Self::NEVER).
    #[must_use]
    pub const fn bytes(limit: usize) -> Self {
        Self(limit)
    }

    pub(super) fn get(self) -> usize {
        self.0
    }

    /// The request's own, if it has one.
    pub(super) fn or_of(self, extensions: &Extensions) -> Self {
        extensions.get().copied().unwrap_or(self)
    }
}

impl BearerAuthLayer {
    /// A layer that takes its tokens from `tokens`, and sends them to the origins that those are meant for: the one grant of
    /// a [`TokenCache`](crate::cache::TokenCache), or those of many [`Tenants`](crate::tenants::Tenants). Then each request
    /// names its tenant, by a [`TenantId`] in its extensions.
    pub fn new(tokens: impl Into<TokenProvider>) -> Self {
        Self {
            tokens: tokens.into(),
            replay_limit: ReplayLimit(64 * 1024),
            cross_origin: CrossOrigin::Reject,
        }
    }

    /// Sets how a request names its tenant, instead of by its extensions: by a header that the inner service may see, by
    /// its path, and so on. `None` is an error, and nothing is sent. Has no effect where there is only one grant.
    ///
    /// ```
    /// # use tower_oauth2_client::{bearer::BearerAuthLayer, tenants::Tenants, token::TenantId};
    /// # fn layer(tenants: Tenants) -> BearerAuthLayer {
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

    /// Sets up to how many bytes of a request's body are kept, to send them again after a 401. Larger bodies are sent
    /// whole, and not retried. 0 turns retrying off, also for requests without a body. Defaults to 64 KiB. A request may say
    /// otherwise for itself, by a [`ReplayLimit`] in its extensions.
    pub fn replay_limit(mut self, bytes: usize) -> Self {
        self.replay_limit = ReplayLimit::bytes(bytes);
        self
    }

    /// Sets what becomes of a request to another origin. Defaults to [`CrossOrigin::Reject`].
    pub fn cross_origin(mut self, cross_origin: CrossOrigin) -> Self {
        self.cross_origin = cross_origin;
        self
    }
}

impl<S: Clone> Layer<S> for BearerAuthLayer {
    type Service = BearerAuth<S>;

    fn layer(&self, inner: S) -> Self::Service {
        BearerAuth::new(inner, self.clone())
    }
}
