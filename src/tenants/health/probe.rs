//! The state of health checks: one check of the store serves all callers of a second.

use std::time::Instant;

use super::report::StoreHealth;
use crate::{cache::SingleFlight, token::TenantId};

/// The last check of the store, or the one in flight.
#[derive(Default)]
pub(in crate::tenants) struct Probe {
    pub(super) check: LastCheck,
    /// A tenant whose grant could be read. It is tried first.
    pub(super) readable: Option<TenantId>,
}

#[derive(Default)]
pub(super) enum LastCheck {
    #[default]
    None,
    InFlight(SingleFlight<StoreHealth>, Instant),
    Done(StoreHealth, Instant),
}
