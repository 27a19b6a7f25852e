//! Events of discovery.

use crate::error::Error;

pub(crate) fn discovery_failed(error: &Error) {
    tracing::warn!(
        name: "discovery.load_failed",
        target: "tower_oauth2_client",
        %error,
        "the metadata of an issuer could not be loaded; an older copy stays in use"
    );
}
