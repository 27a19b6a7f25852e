//! The first rejection of an access token that cannot be replaced.

use std::time::Instant;

use crate::token::Generation;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Suspicion {
    pub(super) generation: Generation,
    pub(super) since: Instant,
}
