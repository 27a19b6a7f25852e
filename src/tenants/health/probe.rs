//! The state of health checks: one check of the store serves all callers of a second.

use std::time::Instant;

use super::report::StoreHealth;
use crate::cache::SingleFlight;

/// The last check of the store, or the one in flight, and since when.
#[derive(Default)]
pub(in crate::tenants) enum Probe {
    #[default]
    None,
    InFlight(SingleFlight<StoreHealth>, Instant),
    Done(StoreHealth, Instant),
}
