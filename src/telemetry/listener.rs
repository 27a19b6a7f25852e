//! What somebody should act on.

use crate::token::{Generation, ReauthorizationReason, TenantId};

/// Hears of what becomes of a grant. See the [module page](crate::telemetry).
///
/// Methods are called once for each occurrence and each process that sees it happen, in a task of the cache, with no lock held: they may call the
/// cache, must not block, and a panic in one is caught. All do nothing by default.
pub trait GrantListener: Send + Sync + 'static {
    /// A new token set is stored, and used from here on.
    fn refreshed(&self, tenant: &TenantId, generation: Generation) {
        let _ = (tenant, generation);
    }

    /// The provider has ended the grant: the customer has to consent again.
    fn reauthorization_required(&self, tenant: &TenantId, reason: ReauthorizationReason) {
        let _ = (tenant, reason);
    }

    /// The provider has refused a refresh token after the answer to an exchange with it was lost, so that most likely its
    /// successor never arrived. Comes just before the call of
    /// [`reauthorization_required`](Self::reauthorization_required) that it is the reason for.
    fn rotation_lost(&self, tenant: &TenantId) {
        let _ = tenant;
    }

    /// The refresh token ends in so many days, and keeping it alive has not worked so far. Called when 7, 3 and 1 are left.
    ///
    /// A provider that does not replace refresh tokens may still end them so long after they were issued: their days are
    /// counted from then, until one has outlived them.
    fn refresh_token_running_out(&self, tenant: &TenantId, days_left: u64) {
        let _ = (tenant, days_left);
    }
}
