//! A consent that the program decides about before its tokens are stored.

use crate::token::{TenantId, TokenSet};

/// A new consent of a customer, before its tokens are stored.
///
/// [`ConnectHandler::consented`](super::ConnectHandler::consented) decides about it.
#[derive(Clone, Debug)]
pub struct Consent {
    tenant: TenantId,
    tokens: TokenSet,
}

impl Consent {
    pub(super) fn new(tenant: TenantId, tokens: TokenSet) -> Self {
        Self { tenant, tokens }
    }

    /// The tenant that the flow was started for.
    #[must_use]
    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// The new token set. Its access token can be used to ask the API which account it is of.
    #[must_use]
    pub fn tokens(&self) -> &TokenSet {
        &self.tokens
    }
}
