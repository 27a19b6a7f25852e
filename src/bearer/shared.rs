//! State that a service shares with the futures of its requests.

use std::sync::{Arc, Mutex, PoisonError};

use http::{Extensions, Request};

use super::{
    classify::Classifier,
    guard::{self, Destination, Refusal},
    policy::{CrossOrigin, ReplayLimit},
    token_provider::TokenProvider,
};
use crate::{
    cache::{Acquired, TokenCache},
    error::Error,
};

/// In one allocation, so that a request costs one reference count.
pub(super) struct Shared<S> {
    pub(super) tokens: TokenProvider,
    pub(super) replay_limit: ReplayLimit,
    pub(super) cross_origin: CrossOrigin,
    pub(super) classifier: Classifier,
    /// A clone of the inner service on which `poll_ready` was never called. It is cloned only when
    /// a second call is needed: one clone of the inner service per request would cost more than
    /// everything else that the layer does.
    pub(super) pristine: Arc<Mutex<S>>,
}

impl<S> Shared<S> {
    /// The token of a request that has none in its copy: at once, or by waiting for a refresh.
    pub(super) fn acquire(&self, tenant: Option<&TokenCache>) -> Acquired {
        match self.tokens.cache(tenant) {
            Some(tokens) => tokens
                .fresh()
                .map_or_else(|| tokens.acquire(), |token| Acquired::Now(Ok(token))),
            None => Acquired::Now(Err(guard::names_no_tenant())),
        }
    }

    /// Checks a request without a fresh token, before its tenant is looked up.
    pub(super) fn check_before_lookup<B>(&self, request: &Request<B>) -> Result<(), Refusal> {
        if self.tokens.has_tenant_origins() {
            // It may be cross-origin, and keeps its headers then.
            return Ok(());
        }
        guard::check_authorization(request, self.tokens.header_name())
    }

    /// Checks a request of a known tenant, before it waits for a token, if grants have origins of
    /// their own.
    ///
    /// These are the origins of the held snapshot. The comparison that counts is the one with the
    /// token that the request gets.
    pub(super) fn check_before_wait<B>(
        &self,
        request: &Request<B>,
        tenant: Option<&TokenCache>,
    ) -> Result<(), Refusal> {
        let tokens = &self.tokens;
        if !tokens.has_tenant_origins() {
            return Ok(());
        }
        let destination = tokens.cache(tenant).and_then(|cache| {
            cache.with_delivery(|delivery| {
                // A refresh may bring new values.
                let is_known = delivery.origins().is_ok();
                is_known.then(|| guard::destination_of(request, delivery, tokens.origins()))
            })
        });
        if let Some(Some(Destination::CrossOrigin(reason))) = destination {
            return Err(Refusal::CrossOrigin(reason));
        }
        guard::check_authorization(request, tokens.header_name())
    }

    /// Why a request that names no tenant gets no token.
    #[cold]
    pub(super) fn without_tenant<B>(&self, request: &Request<B>, error: Error) -> Refusal {
        match guard::destination(request, self.tokens.origins()) {
            Destination::CrossOrigin(reason)
                if self.cross_origin == CrossOrigin::SendUnauthenticated =>
            {
                Refusal::CrossOrigin(reason)
            }
            _ => Refusal::Failed(error),
        }
    }

    /// Whether a request that gets no token is sent without one.
    pub(super) fn sends_unauthenticated(&self, refusal: &Refusal) -> bool {
        matches!(refusal, Refusal::CrossOrigin(_))
            && self.cross_origin == CrossOrigin::SendUnauthenticated
    }

    /// A copy with its own reference count.
    pub(super) fn detached_copy(&self) -> Self {
        Self {
            tokens: self.tokens.clone(),
            replay_limit: self.replay_limit,
            cross_origin: self.cross_origin,
            classifier: self.classifier.clone(),
            pristine: Arc::clone(&self.pristine),
        }
    }

    /// A copy whose second calls go to clones of `inner`.
    pub(super) fn with_pristine(&self, inner: S) -> Self {
        Self {
            pristine: Arc::new(Mutex::new(inner)),
            ..self.detached_copy()
        }
    }

    /// The limit for the body of a request.
    #[inline]
    pub(super) fn replay_limit_of(&self, extensions: &Extensions) -> ReplayLimit {
        self.replay_limit.or_from(extensions)
    }
}

impl<S: Clone> Shared<S> {
    /// An inner service that holds no capacity.
    pub(super) fn pristine(&self) -> S {
        self.pristine
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}
