//! Lets the handler decide about a consent.

use std::{future::Future, pin::Pin, sync::Arc};

use super::{ConnectHandler, Consent};
use crate::{cache::Decide, token::ConsentDecision};

/// The handler, which decides about one consent.
pub(super) struct HandlerDecides<H> {
    pub(super) handler: Arc<H>,
    pub(super) consent: Consent,
}

impl<H: ConnectHandler> Decide for HandlerDecides<H> {
    fn decide(&self) -> Pin<Box<dyn Future<Output = ConsentDecision> + Send + '_>> {
        Box::pin(self.handler.consented(&self.consent))
    }
}
