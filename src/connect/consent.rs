//! A consent that the program decides about before its tokens are stored.

use crate::token::{NamedValues, TenantId, TokenSet};

/// A new consent of a customer, before its tokens are stored.
///
/// [`ConnectHandler::consented`](super::ConnectHandler::consented) decides about it.
#[derive(Clone, Debug)]
pub struct Consent {
    pub(super) tenant: TenantId,
    pub(super) tokens: TokenSet,
    pub(super) members: NamedValues,
    pub(super) parameters: NamedValues,
}

impl Consent {
    /// The tenant that the flow was started for.
    #[must_use]
    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// The new token set. Its access token can be used to ask the API which account it is of.
    ///
    /// It contains the [values](TokenSet::values) that are kept with the grant, such as an account
    /// id. Those of the callback came through the browser, which may have changed them.
    #[must_use]
    pub fn tokens(&self) -> &TokenSet {
        &self.tokens
    }

    /// The members of the token response that RFC 6749 does not define, such as `id_token`. The
    /// provider has sent them directly.
    #[must_use]
    pub fn members(&self) -> &NamedValues {
        &self.members
    }

    /// The parameters of the callback, but its `code` and `state`. They came through the browser,
    /// which may have changed them.
    #[must_use]
    pub fn parameters(&self) -> &NamedValues {
        &self.parameters
    }
}
