//! The settings, and what they are laid on.

use tower::Layer;

use super::BearerAuth;
use crate::cache::TokenCache;

/// Wraps services so that their requests carry a bearer token. See the [module docs](crate::bearer).
#[derive(Clone, Debug)]
#[must_use = "a layer does nothing before it is laid on a service"]
pub struct BearerAuthLayer {
    pub(super) tokens: TokenCache,
    pub(super) replay_limit: usize,
}

impl BearerAuthLayer {
    /// A layer that takes its tokens from `tokens`, and sends them to the origins that those are meant for.
    pub fn new(tokens: TokenCache) -> Self {
        Self {
            tokens,
            replay_limit: 64 * 1024,
        }
    }

    /// Sets up to how many bytes of a request's body are kept, to send them again after a 401. Larger bodies are sent
    /// whole, and not retried. 0 turns retrying off, also for requests without a body. Defaults to 64 KiB.
    pub fn replay_limit(mut self, bytes: usize) -> Self {
        self.replay_limit = bytes;
        self
    }
}

impl<S: Clone> Layer<S> for BearerAuthLayer {
    type Service = BearerAuth<S>;

    fn layer(&self, inner: S) -> Self::Service {
        BearerAuth::new(inner, self.clone())
    }
}
