//! Names of the metrics, and the `metrics` facade. Without that feature, recording does nothing.

use std::time::Duration;

use crate::token::TenantId;

pub(super) const REFRESHES: &str = "tower_oauth2_client_refreshes_total";
pub(super) const REFRESH_DURATION: &str = "tower_oauth2_client_refresh_duration_seconds";
pub(super) const REFRESH_FAILURES: &str = "tower_oauth2_client_refresh_failures_total";
pub(super) const UNAUTHORIZED: &str = "tower_oauth2_client_unauthorized_responses_total";
pub(super) const SAVE_FAILURES: &str = "tower_oauth2_client_save_failures_total";
pub(super) const REAUTHORIZATIONS: &str = "tower_oauth2_client_reauthorizations_required_total";
pub(super) const STUCK: &str = "tower_oauth2_client_stuck_total";
pub(super) const RECOVERIES: &str = "tower_oauth2_client_recoveries_total";
pub(super) const CIRCUIT_OPEN: &str = "tower_oauth2_client_circuit_open";
pub(super) const CLOCK_SKEW: &str = "tower_oauth2_client_clock_skew_seconds";
pub(super) const ACCESS_TOKEN_REMAINING: &str =
    "tower_oauth2_client_access_token_remaining_seconds";
pub(super) const REFRESH_TOKEN_REMAINING: &str =
    "tower_oauth2_client_refresh_token_remaining_seconds";
pub(super) const GRANTS: &str = "tower_oauth2_client_grants";
pub(super) const GRANTS_EXPIRING: &str = "tower_oauth2_client_grants_expiring";

/// Label names and values. Both are constants of this crate, so the number of time series is small.
type Labels<'a> = &'a [(&'static str, &'static str)];

#[cfg(feature = "metrics")]
mod facade {
    use metrics::{Label, counter, gauge, histogram};

    use super::{Duration, Labels, TenantId};

    fn labels(labels: Labels<'_>, tenant: Option<&TenantId>) -> Vec<Label> {
        labels
            .iter()
            .map(|(name, value)| Label::from_static_parts(name, value))
            .chain(tenant.map(|tenant| Label::new("tenant", tenant.as_str().to_owned())))
            .collect()
    }

    pub(crate) fn count(name: &'static str, with: Labels<'_>, tenant: Option<&TenantId>) {
        counter!(name, labels(with, tenant)).increment(1);
    }

    pub(crate) fn record(
        name: &'static str,
        with: Labels<'_>,
        tenant: Option<&TenantId>,
        duration: Duration,
    ) {
        histogram!(name, labels(with, tenant)).record(duration.as_secs_f64());
    }

    pub(crate) fn set(name: &'static str, with: Labels<'_>, tenant: Option<&TenantId>, value: f64) {
        gauge!(name, labels(with, tenant)).set(value);
    }
}

#[cfg(not(feature = "metrics"))]
mod facade {
    use super::{Duration, Labels, TenantId};

    pub(crate) fn count(_: &'static str, _: Labels<'_>, _: Option<&TenantId>) {}

    pub(crate) fn record(_: &'static str, _: Labels<'_>, _: Option<&TenantId>, _: Duration) {}

    pub(crate) fn set(_: &'static str, _: Labels<'_>, _: Option<&TenantId>, _: f64) {}
}

pub(super) use self::facade::{count, record, set};
