//! The sandbox's time: that of a clock which the test moves, counted from the start of the sandbox.

use std::time::{Duration, SystemTime};

use jiff::{SignedDuration, Timestamp};

use super::movable_clock::MovableClock;

/// A point in sandbox time, as the time since the sandbox was built.
///
/// Adding and comparing durations cannot fail, unlike arithmetic on [`SystemTime`].
pub(super) type Moment = Duration;

#[derive(Debug)]
pub(super) struct Clock {
    shared: MovableClock,
    /// The wall time at the moment zero.
    starts_at: Timestamp,
    /// The time on `shared` at the moment zero.
    start: Duration,
}

impl Clock {
    /// Follows `clock`. Shows `starts_at` now, or the time of the clock.
    pub(super) fn new(clock: MovableClock, starts_at: Option<SystemTime>) -> Self {
        let start = clock.elapsed();
        let starts_at = starts_at.unwrap_or_else(|| clock.time_after(start));
        Self {
            starts_at: Timestamp::try_from(starts_at)
                .unwrap_or(Timestamp::MAX)
                .max(Timestamp::UNIX_EPOCH),
            start,
            shared: clock,
        }
    }

    pub(super) fn now(&self) -> Moment {
        self.shared.elapsed().saturating_sub(self.start)
    }

    pub(super) fn advance(&self, by: Duration) {
        self.shared.advance(by);
    }

    pub(super) fn shared(&self) -> &MovableClock {
        &self.shared
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
        let clock = Clock::new(MovableClock::new(), Some(SystemTime::UNIX_EPOCH));
        tokio::time::advance(Duration::from_secs(5)).await;
        clock.advance(Duration::from_secs(60));
        assert_eq!(clock.now(), Duration::from_secs(65));
        assert_eq!(clock.wall(clock.now()).as_second(), 65);
    }

    #[tokio::test(start_paused = true)]
    async fn the_clock_saturates_at_the_ends_of_the_calendar() {
        let clock = Clock::new(MovableClock::new(), Some(SystemTime::UNIX_EPOCH));
        clock.advance(Duration::MAX);
        clock.advance(Duration::MAX);
        assert_eq!(clock.wall(clock.now()), Timestamp::MAX);
        assert_eq!(
            earlier(Timestamp::UNIX_EPOCH, Duration::MAX),
            Timestamp::UNIX_EPOCH
        );
    }
}
