//! Grants whose refreshes fail again and again although the token endpoint works.
//!
//! Some refusals are neither the end of a grant nor an outage: a code that no data define, a page
//! of a firewall, a response that cannot be read. Trying such a grant at the usual rate would never
//! end, and to end the grant would be wrong. So it becomes *stuck*: this is reported once, and from
//! then on it is tried at long intervals, until a refresh succeeds.

use std::time::{Duration, Instant};

use crate::error::Error;

/// How many refreshes have to fail in a row, and over how long at least. Without the time, a proxy
/// that fails for half a minute would be reported for each grant in use.
const ATTEMPTS: u32 = 5;
const LEAST_TIME: Duration = Duration::from_secs(15 * 60);

/// The pauses of a stuck grant: while nothing depends on the refresh, and while requests fail or
/// are about to. They are prolonged by up to a sixth, at random.
const IDLE_PAUSE: Duration = Duration::from_secs(6 * 3_600);
const BUSY_PAUSE: Duration = Duration::from_secs(10 * 60);

/// The failures since the last success that say something about the grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trouble {
    /// When the first one was.
    since: Instant,
    times: u32,
    is_stuck: bool,
}

impl Trouble {
    /// Counts a failed refresh. Returns whether the grant has just become stuck.
    pub(super) fn count(trouble: &mut Option<Self>, error: &Error, now: Instant) -> bool {
        if !error.is_of_grant() {
            return false;
        }
        let trouble = trouble.get_or_insert(Self {
            since: now,
            times: 0,
            is_stuck: false,
        });
        trouble.times = trouble.times.saturating_add(1);
        let is_stuck = trouble.times >= ATTEMPTS && trouble.lasts(now) >= LEAST_TIME;
        let is_news = is_stuck && !trouble.is_stuck;
        trouble.is_stuck |= is_stuck;
        is_news
    }

    pub(super) fn is_stuck(&self) -> bool {
        self.is_stuck
    }

    pub(super) fn times(&self) -> u32 {
        self.times
    }

    /// How long the refreshes have been failing.
    pub(super) fn lasts(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.since)
    }
}

/// The pause of a stuck grant.
pub(super) fn pause(is_idle: bool, jitter: f64) -> Duration {
    let pause = if is_idle { IDLE_PAUSE } else { BUSY_PAUSE };
    pause.mul_f64(1.0 + jitter / 6.0)
}
