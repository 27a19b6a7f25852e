//! The sandbox's own time: tokio's clock plus what a test has advanced it by.

use std::time::{Duration, SystemTime};

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

/// A point in sandbox time, as the time passed since the sandbox was built.
///
/// Plain durations add and compare without a way to fail, which a [`SystemTime`] does not promise.
pub(super) type Moment = Duration;

/// Wall time that follows tokio's, so that a paused runtime moves the sandbox too.
#[derive(Debug)]
pub(super) struct Clock {
    began: Timestamp,
    start: Instant,
    advanced: Duration,
}

impl Clock {
    /// A clock that shows `began` now.
    pub(super) fn new(began: SystemTime) -> Self {
        Self {
            began: Timestamp::try_from(began)
                .unwrap_or(Timestamp::MAX)
                .max(Timestamp::UNIX_EPOCH),
            start: Instant::now(),
            advanced: Duration::ZERO,
        }
    }

    /// The present.
    pub(super) fn now(&self) -> Moment {
        // A sandbox built outside a paused runtime and used inside it may see an earlier instant.
        Instant::now()
            .saturating_duration_since(self.start)
            .saturating_add(self.advanced)
    }

    /// Moves the present forward.
    pub(super) fn advance(&mut self, by: Duration) {
        self.advanced = self.advanced.saturating_add(by);
    }

    /// What a calendar shows at `moment`, between the years 1970 and 9999.
    pub(super) fn wall(&self, moment: Moment) -> Timestamp {
        later(self.began, moment)
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

/// The same point in time as the standard library writes it.
pub(super) fn system_time(timestamp: Timestamp) -> SystemTime {
    SystemTime::try_from(timestamp).unwrap_or(SystemTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn follows_a_paused_runtime_and_its_own_advances() {
        let mut clock = Clock::new(SystemTime::UNIX_EPOCH);
        tokio::time::advance(Duration::from_secs(5)).await;
        clock.advance(Duration::from_secs(60));
        assert_eq!(clock.now(), Duration::from_secs(65));
        assert_eq!(clock.wall(clock.now()).as_second(), 65);
    }

    #[tokio::test(start_paused = true)]
    async fn never_leaves_the_calendar() {
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
