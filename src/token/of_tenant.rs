//! The tenant that an error of a store concerns.

use std::fmt;

use super::{TenantId, identity::UnreadableGrant};

/// The source of a store's error that concerns one tenant. Messages may be logged, so the name
/// stands only here.
#[derive(Debug)]
pub(crate) struct OfTenant {
    tenant: TenantId,
    identity: Option<UnreadableGrant>,
}

impl OfTenant {
    #[cfg(any(test, feature = "encryption", feature = "postgres", feature = "redis"))]
    pub(crate) fn new(tenant: &TenantId, identity: Option<UnreadableGrant>) -> Self {
        let tenant = tenant.clone();
        Self { tenant, identity }
    }
}

impl fmt::Display for OfTenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tenant {:?}", self.tenant.as_str())
    }
}

impl std::error::Error for OfTenant {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        let identity = self.identity.as_ref()?;
        Some(identity)
    }
}
