//! What is told of all tenants together.

use super::metric::{self, GRANTS, GRANTS_RUNNING_OUT};
use crate::{error::Error, tenants::SweepReport};

pub(crate) fn swept(report: &SweepReport) {
    tracing::info!(
        name: "sweep.finished",
        target: "tower_oauth2_client",
        active = report.active,
        ended = report.ended,
        unreadable = report.unreadable,
        kept_alive = report.kept_alive,
        failed = report.failed,
        expiring = report.expiring.len(),
        seconds = report.duration.as_secs(),
        "all tenants in the store were looked through"
    );
    for (state, count) in [
        ("active", report.active),
        ("ended", report.ended),
        ("unreadable", report.unreadable),
    ] {
        metric::set(GRANTS, &[("state", state)], None, as_gauge(count));
    }
    let expiring = u64::try_from(report.expiring.len()).unwrap_or(u64::MAX);
    metric::set(GRANTS_RUNNING_OUT, &[], None, as_gauge(expiring));
}

pub(crate) fn sweep_failed(error: &Error) {
    tracing::warn!(
        name: "sweep.failed",
        target: "tower_oauth2_client",
        error = %error,
        "not all tenants were looked through: idle grants run out if that goes on for days"
    );
}

/// Far below the number from which on neighbours are the same.
fn as_gauge(count: u64) -> f64 {
    u32::try_from(count).map_or(f64::from(u32::MAX), f64::from)
}
