//! The sandbox's clock: tokio's clock plus the time that a test advanced it by.

use std::time::{Duration, SystemTime};

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

/// A point in sandbox time, as the time since the sandbox was built.
///
/// Adding and comparing durations cannot fail, unlike arithmetic on [`SystemTime`].
pub(super) type Moment = Duration;

/// A wall clock that follows tokio's clock, so a paused runtime also pauses the sandbox.
#[derive(Debug)]
pub(super) struct Clock {
    starts_at: Timestamp,
    start: Instant,
    advanced: Duration,
}

impl Clock {
    /// A clock that shows `starts_at` now.
    pub(super) fn new(starts_at: SystemTime) -> Self {
        Self {
            starts_at: Timestamp::try_from(starts_at)
                .unwrap_or(Timestamp::MAX)
                .max(Timestamp::UNIX_EPOCH),
            start: Instant::now(),
            advanced: Duration::ZERO,
        }
    }

    pub(super) fn now(&self) -> Moment {
        // A sandbox built outside a paused runtime and used inside it may see an earlier instant.
        Instant::now()
            .saturating_duration_since(self.start)
            .saturating_add(self.advanced)
    }

    pub(super) fn advance(&mut self, by: Duration) {
        self.advanced = self.advanced.saturating_add(by);
    }

    /// The wall time at `moment`, between the years 1970 and 9999.
    pub(super) fn wall(&self, moment: Moment) -> Timestamp {
        later(self.starts_at, moment)
    }
}

/// `timestamp + by`, at most the end of the year 9999.
pub(super) fn later(timestamp: Timestamp, by: Duration) -> Timestamp {
    SignedDuration::try_from(by)
        .ok()
        .and_then(|by| timestamp.checked_add(by).ok())
        .unwrap_or(Timestamp::MAX)
}

/// `timestamp - by`, at least the start of the year 1970.
pub(super) fn earlier(timestamp: Timestamp, by: Duration) -> Timestamp {
    SignedDuration::try_from(by)
        .ok()
        .and_then(|by| timestamp.checked_sub(by).ok())
        .unwrap_or(Timestamp::UNIX_EPOCH)
        .max(Timestamp::UNIX_EPOCH)
}

/// Converts a timestamp to the type of the standard library.
pub(super) fn system_time(timestamp: Timestamp) -> SystemTime {
    SystemTime::try_from(timestamp).unwrap_or(SystemTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_clock_follows_a_paused_runtime_and_its_own_advances() {
        let mut clock = Clock::new(SystemTime::UNIX_EPOCH);
        tokio::time::advance(Duration::from_secs(5)).await;
        clock.advance(Duration::from_secs(60));
        assert_eq!(clock.now(), Duration::from_secs(65));
        assert_eq!(clock.wall(clock.now()).as_second(), 65);
    }

    #[tokio::test(start_paused = true)]
    async fn the_clock_saturates_at_the_ends_of_the_calendar() {
        let mut clock = Clock::new(SystemTime::UNIX_EPOCH);
        clock.advance(Duration::MAX);
        clock.advance(Duration::MAX);
        assert_eq!(clock.wall(clock.now()), Timestamp::MAX);
        assert_eq!(
            earlier(Timestamp::UNIX_EPOCH, Duration::MAX),
            Timestamp::UNIX_EPOCH
        );
    }
}
