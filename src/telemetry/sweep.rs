//! Events and metrics of a sweep over all tenants in a store.

use std::time::Duration;

use super::metric::{self, GRANTS, GRANTS_EXPIRING};
use crate::error::Error;

/// The result of a sweep, in numbers of grants.
pub(crate) struct SweepCounts {
    pub(crate) active: u64,
    pub(crate) ended: u64,
    pub(crate) unreadable: u64,
    pub(crate) foreign: u64,
    pub(crate) kept_alive: u64,
    pub(crate) failed: u64,
    pub(crate) expiring: u64,
}

pub(crate) fn sweep_finished(counts: &SweepCounts, duration: Duration) {
    tracing::info!(
        name: "sweep.finished",
        target: "tower_oauth2_client",
        active = counts.active,
        ended = counts.ended,
        unreadable = counts.unreadable,
        foreign = counts.foreign,
        kept_alive = counts.kept_alive,
        failed = counts.failed,
        expiring = counts.expiring,
        duration_seconds = duration.as_secs(),
        "all tenants in the store were checked"
    );
    for (state, count) in [
        ("active", counts.active),
        ("ended", counts.ended),
        ("unreadable", counts.unreadable),
        ("foreign", counts.foreign),
    ] {
        metric::set(GRANTS, &[("state", state)], None, as_gauge(count));
    }
    metric::set(GRANTS_EXPIRING, &[], None, as_gauge(counts.expiring));
}

pub(crate) fn sweep_failed(error: &Error) {
    tracing::warn!(
        name: "sweep.failed",
        target: "tower_oauth2_client",
        error = %error,
        "not all tenants in the store were checked; idle grants expire if this goes on for days"
    );
}

/// Saturates where an `f64` could no longer represent every integer.
fn as_gauge(count: u64) -> f64 {
    u32::try_from(count).map_or(f64::from(u32::MAX), f64::from)
}
