//! The interval between refreshes that 401 responses cause.
//!
//! A 401 causes a refresh, but an API may reject every token, for example at one of its endpoints.
//! The interval therefore doubles while the new tokens are rejected too.

use std::time::{Duration, Instant};

use crate::token::Generation;

/// The shortest time between two refreshes of one grant that 401 responses cause.
pub(super) const FORCED_REFRESH_INTERVAL: Duration = Duration::from_secs(30);

/// The longest such interval, once many new tokens were rejected.
const LONGEST_FORCED_REFRESH_INTERVAL: Duration = Duration::from_secs(30 * 60);

/// The last successful refresh that a 401 caused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Forced {
    /// When it was started.
    pub(super) at: Instant,
    /// The generation of its token.
    pub(super) generation: Generation,
    /// How many of these refreshes before it brought a token that the API rejected soon.
    pub(super) times: u32,
}

impl Forced {
    /// How long after it no 401 causes a refresh.
    pub(super) fn interval(&self) -> Duration {
        let doublings = self.times.min(6);
        FORCED_REFRESH_INTERVAL
            .saturating_mul(1 << doublings)
            .min(LONGEST_FORCED_REFRESH_INTERVAL)
    }
}
