//! Events of discovery.

use super::{causes::Causes, event::event};
use crate::error::Error;

pub(crate) fn discovery_failed(error: &Error) {
    event!(
        warn,
        "discovery.load_failed",
        kind = error.kind().as_str(),
        error = Causes::of_all(error).to_string().as_str(),
        "the metadata of an issuer could not be loaded; an older copy stays in use"
    );
}
