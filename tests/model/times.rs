//! A log of what the clocks have shown, to judge the lifetime of a token by each of them.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant, SystemTime},
};

use tower_oauth2_client::clock::Clock;

use crate::support::ManualClock;

/// A suspend is detected within 30 seconds. Differences of up to a second between the clocks are
/// ignored.
const NOTICED: Duration = Duration::from_secs(31);
const TOLERANCE: Duration = Duration::from_secs(2);

/// The resolution of timers is a millisecond.
const MOMENT: Duration = Duration::from_millis(2);

/// When a token set was requested, by both clocks, and the lifetime of its access token.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Validity {
    pub(crate) sent: Instant,
    pub(crate) issued_at: SystemTime,
    pub(crate) lifetime: Duration,
}

#[derive(Clone)]
pub(crate) struct Times {
    pub(crate) clock: ManualClock,
    start: Instant,
    log: Arc<Mutex<Log>>,
}

struct Log {
    suspended: Duration,
    /// The offset of the wall clock from the monotonic one in seconds, from each time on.
    offset: Vec<(Instant, i64)>,
}

impl Times {
    pub(crate) fn new() -> Self {
        let clock = ManualClock::new();
        let start = clock.monotonic();
        let offset = vec![(start, 0)];
        let suspended = Duration::ZERO;
        let log = Arc::new(Mutex::new(Log { suspended, offset }));
        Self { clock, start, log }
    }

    pub(crate) fn now(&self) -> Instant {
        self.clock.monotonic()
    }

    /// The time of the world, since the start.
    pub(crate) fn truth(&self) -> Duration {
        self.now() - self.start + self.log.lock().unwrap().suspended
    }

    /// The machine is suspended: the wall clock and the world continue.
    pub(crate) fn suspend(&self, seconds: u32) {
        self.log.lock().unwrap().suspended += Duration::from_secs(u64::from(seconds));
        self.set_wall(i64::from(seconds));
    }

    /// The wall clock is set.
    pub(crate) fn set_wall(&self, by: i64) {
        self.clock.shift_wall(by);
        let now = self.now();
        let mut log = self.log.lock().unwrap();
        let offset = log.offset.last().map_or(0, |(_, offset)| *offset) + by;
        log.offset.push((now, offset));
    }

    /// Whether more than this is left of the token's lifetime, whatever the clocks did since it
    /// arrived.
    pub(crate) fn is_certainly_valid(&self, validity: Validity, margin: Duration) -> bool {
        let now = self.now();
        let worst = self.offsets_since(validity.sent).max();
        now + margin < validity.sent + validity.lifetime
            && self.wall(now, worst) + margin < validity.issued_at + validity.lifetime
    }

    /// Whether the token has expired by one of the clocks, for long enough to be detected. A
    /// process that loaded it from the store depends on the wall clock.
    pub(crate) fn is_certainly_expired(&self, validity: Validity, by_monotonic: bool) -> bool {
        let now = self.now();
        let kindest = self
            .offsets_since(now.checked_sub(NOTICED).unwrap_or(now))
            .min();
        let by_wall = self.wall(now, kindest) >= validity.issued_at + validity.lifetime + TOLERANCE;
        by_wall || (by_monotonic && now >= validity.sent + validity.lifetime + MOMENT)
    }

    /// Whether the wall clock was set back by this much after the token was requested.
    pub(crate) fn was_set_back_since(&self, validity: Validity, by: Duration) -> bool {
        let now = self.now();
        let least = self.offsets_since(validity.sent).min();
        self.wall(now, least) - (now - validity.sent) + by <= validity.issued_at
    }

    fn wall(&self, now: Instant, offset: Option<i64>) -> SystemTime {
        let current = self
            .log
            .lock()
            .unwrap()
            .offset
            .last()
            .map_or(0, |(_, offset)| *offset);
        debug_assert_eq!(now, self.now());
        let wall = self.clock.wall();
        let by = offset.unwrap_or(current) - current;
        let shift = Duration::from_secs(by.unsigned_abs());
        if by < 0 { wall - shift } else { wall + shift }
    }

    /// The offsets of the wall clock since that time.
    fn offsets_since(&self, then: Instant) -> std::vec::IntoIter<i64> {
        let log = self.log.lock().unwrap();
        let before = log.offset.iter().rposition(|(at, _)| *at < then);
        let from = before.unwrap_or(0);
        let offset: Vec<i64> = log.offset[from..]
            .iter()
            .map(|(_, offset)| *offset)
            .collect();
        offset.into_iter()
    }
}
