//! Events and metrics of a token endpoint, which serves all tenants.

use std::time::Duration;

use super::metric::{self, CIRCUIT_OPEN, CLOCK_SKEW};
use crate::error::Error;

pub(crate) fn clock_skew_measured(skew: Duration) {
    metric::set(CLOCK_SKEW, &[], None, skew.as_secs_f64());
}

pub(crate) fn clock_skewed(skew: Duration) {
    tracing::warn!(
        name: "endpoint.clock_skewed",
        target: "tower_oauth2_client",
        skew_seconds = skew.as_secs(),
        "the clocks of the token endpoint and of this machine differ; a token counts as expired by \
         whichever clock says so first"
    );
}

pub(crate) fn lifetime_assumed(lifetime: Duration) {
    tracing::warn!(
        name: "endpoint.lifetime_assumed",
        target: "tower_oauth2_client",
        lifetime_seconds = lifetime.as_secs(),
        "the token response contains no usable lifetime; the provider's usual lifetime is assumed"
    );
}

pub(crate) fn lifetime_unknown() {
    tracing::debug!(
        name: "endpoint.lifetime_unknown",
        target: "tower_oauth2_client",
        "the token response contains no usable lifetime; the token is used until the API rejects it"
    );
}

/// A value that the provider's data name is not kept. `name` comes from these data.
pub(crate) fn value_dropped(name: &str, reason: &'static str) {
    tracing::warn!(
        name: "endpoint.value_dropped",
        target: "tower_oauth2_client",
        value = name,
        reason,
        "a value of the token response is not kept with the grant; an earlier one stays"
    );
}

pub(crate) fn circuit_opened(duration: Duration, last_error: &Error) {
    metric::set(CIRCUIT_OPEN, &[], None, 1.0);
    tracing::warn!(
        name: "endpoint.circuit_opened",
        target: "tower_oauth2_client",
        duration_seconds = duration.as_secs(),
        error = %last_error,
        "the circuit breaker of the token endpoint is open; no token requests are sent"
    );
}

pub(crate) fn circuit_closed() {
    metric::set(CIRCUIT_OPEN, &[], None, 0.0);
    tracing::info!(
        name: "endpoint.circuit_closed",
        target: "tower_oauth2_client",
        "the circuit breaker of the token endpoint is closed; token requests are sent again"
    );
}
