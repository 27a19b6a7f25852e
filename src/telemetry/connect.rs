//! Events of connecting and disconnecting in a browser.

use crate::error::Error;

/// A customer was not connected, or not disconnected everywhere.
pub(crate) fn connect_failed(kind: &'static str, error: Option<&Error>) {
    tracing::warn!(
        name: "connect.failed",
        target: "tower_oauth2_client",
        kind,
        error = error.map(tracing::field::display),
        "a customer could not be connected or disconnected"
    );
}

/// A request was rejected that any browser can send. At debug level, so that such requests cannot
/// flood a log.
pub(crate) fn connect_rejected(kind: &'static str) {
    tracing::debug!(
        name: "connect.rejected",
        target: "tower_oauth2_client",
        kind,
        "a browser's request to connect or disconnect was rejected"
    );
}
