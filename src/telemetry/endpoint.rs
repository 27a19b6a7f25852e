//! What is told of a token endpoint, which is no tenant's.

use std::time::Duration;

use super::metric::{self, CLOCK_SKEW, LEFT_ALONE};
use crate::error::Error;

pub(crate) fn clock_skew(skew: Duration) {
    metric::set(CLOCK_SKEW, &[], None, skew.as_secs_f64());
}

pub(crate) fn clocks_differ(skew: Duration) {
    tracing::warn!(
        name: "endpoint.clocks_differ",
        target: "tower_oauth2_client",
        skew_seconds = skew.as_secs(),
        "the token endpoint's clock and this one differ: of the lives that they make of an `expires_at` the shorter counts"
    );
}

pub(crate) fn lifetime_unknown(assumed: Duration) {
    tracing::warn!(
        name: "endpoint.lifetime_unknown",
        target: "tower_oauth2_client",
        lifetime_seconds = assumed.as_secs(),
        "the token endpoint named no lifetime that is understood: the provider's usual one is assumed"
    );
}

pub(crate) fn endpoint_circuit_open(pause: Duration, reason: &Error) {
    metric::set(LEFT_ALONE, &[], None, 1.0);
    tracing::warn!(
        name: "endpoint.circuit_opened",
        target: "tower_oauth2_client",
        seconds = pause.as_secs(),
        error = %reason,
        "no exchanges with this token endpoint for a while"
    );
}

pub(crate) fn endpoint_circuit_closed() {
    metric::set(LEFT_ALONE, &[], None, 0.0);
    tracing::info!(
        name: "endpoint.circuit_closed",
        target: "tower_oauth2_client",
        "the token endpoint answers again"
    );
}
