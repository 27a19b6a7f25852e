//! Lets the handler decide about a consent.

use std::{future::Future, pin::Pin, sync::Arc};

use super::{ConnectHandler, Consent};
use crate::{
    cache::Decide,
    token::{ConsentDecision, TenantId, TokenSet},
};

/// The handler, which decides about the consents of one tenant.
pub(super) struct HandlerDecides<H> {
    handler: Arc<H>,
    tenant: TenantId,
}

impl<H> HandlerDecides<H> {
    pub(super) fn new(handler: &Arc<H>, tenant: &TenantId) -> Self {
        Self {
            handler: Arc::clone(handler),
            tenant: tenant.clone(),
        }
    }
}

impl<H: ConnectHandler> Decide for HandlerDecides<H> {
    fn decide(
        &self,
        tokens: TokenSet,
    ) -> Pin<Box<dyn Future<Output = ConsentDecision> + Send + '_>> {
        Box::pin(async move {
            let consent = Consent::new(self.tenant.clone(), tokens);
            self.handler.consented(&consent).await
        })
    }
}
