//! When a decision is made, and the settings that it depends on.

use std::time::{Duration, Instant, SystemTime};

use super::{lost_response::LostResponse, refresh_window::RefreshWindow};
use crate::{cache::delivery::DeliveryRules, later::Later};

/// The current time by both clocks, with all that decisions depend on beside the state.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment<'a> {
    pub(crate) now: Instant,
    pub(crate) wall: SystemTime,
    /// A random number from 0 to 1.
    pub(crate) jitter: f64,
    /// The epoch of the client secret. Constant if the token source has no gate.
    pub(crate) secret_epoch: u64,
    /// Whether the process has shown that it stays, so that background work may start.
    pub(crate) is_staying: bool,
    /// How often the token endpoint has worked again after an outage. Constant without a gate.
    pub(crate) recoveries: u64,
    pub(crate) policy: &'a Policy,
    pub(crate) delivery: &'a DeliveryRules,
}

/// The settings of one cache that decisions depend on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Policy {
    pub(crate) lost_response: LostResponse,
    /// The shortest time between the starts of two refreshes of one grant.
    pub(crate) min_refresh_interval: Duration,
    /// How long a lease lasts.
    pub(crate) lease: Duration,
    /// For one call of the source.
    pub(crate) fetch_timeout: Duration,
    /// `None` if it is unknown. The lifetime that a token response states takes precedence.
    pub(crate) refresh_token_lifetime: Option<Duration>,
    /// When the provider accepts a refresh.
    pub(crate) refresh_window: RefreshWindow,
    /// How long the provider accepts a refresh token again after its first use. `None` if not.
    pub(crate) reuse_grace: Option<Duration>,
    /// How old a token is before a 401 concerns it, unless its lifetime is short.
    pub(crate) propagation: Duration,
}

/// Whether less than `interval` has passed since `last`.
pub(super) fn is_within(interval: Duration, last: Option<Instant>, now: Instant) -> bool {
    last.is_some_and(|last| now < last.later(interval))
}
