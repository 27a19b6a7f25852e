//! What is told of customers who connect.

use crate::connect::{ConnectFailure, ConnectFailureKind};

pub(crate) fn connect_failed(failure: &ConnectFailure) {
    let kind = failure.kind();
    let error = failure.error().map(tracing::field::display);
    match kind {
        // Whoever wants can bring these about.
        ConnectFailureKind::NotPending
        | ConnectFailureKind::InProgress
        | ConnectFailureKind::CrossSite => tracing::debug!(
            name: "connect.refused",
            target: "tower_oauth2_client",
            kind = ?kind,
            "a browser asked for what could not be done"
        ),
        _ => tracing::warn!(
            name: "connect.failed",
            target: "tower_oauth2_client",
            kind = ?kind,
            error,
            "a customer was not connected, or not disconnected everywhere"
        ),
    }
}
