//! Events of connecting and disconnecting in a browser.

use super::{
    causes::Causes,
    event::{Level, event, event_at},
};
use crate::{error::Error, token::TenantId};

/// A customer was not connected, or not disconnected everywhere. `kind` is that of the failure.
pub(crate) fn connect_failed(kind: &'static str, tenant: Option<&TenantId>, error: Option<&Error>) {
    // Only another secret helps.
    let is_of_client = error.is_some_and(Error::is_invalid_client);
    let level = if is_of_client {
        Level::Error
    } else {
        Level::Warn
    };
    event_at!(
        level,
        "connect.failed",
        kind,
        provider_code = error.and_then(Error::provider_code),
        provider_message = error.and_then(Error::provider_message),
        error = error
            .map(|error| Causes::of(error, tenant, false).to_string())
            .as_deref(),
        "a customer could not be connected or disconnected"
    );
}

/// A request was rejected that any browser can send. At debug level, so that such requests cannot
/// flood a log.
pub(crate) fn connect_rejected(kind: &'static str) {
    event!(
        debug,
        "connect.rejected",
        kind,
        "a browser's request to connect or disconnect was rejected"
    );
}
