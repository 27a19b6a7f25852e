//! What the clocks have shown, so that a token's life can be judged by each of them.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant, SystemTime},
};

use tower_oauth2_client::clock::Clock;

use crate::support::ManualClock;

/// A suspend is noticed within 30 seconds, and differences of up to a second between the clocks count as none.
const NOTICED: Duration = Duration::from_secs(31);
const TOLERANCE: Duration = Duration::from_secs(2);

/// Timers are coarse by a millisecond.
const MOMENT: Duration = Duration::from_millis(2);

/// When a token set was asked for, by both clocks, and how long its access token lives.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Life {
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
    /// How many seconds the wall clock was apart from the monotonic one, from when on.
    apart: Vec<(Instant, i64)>,
}

impl Times {
    pub(crate) fn new() -> Self {
        let clock = ManualClock::new();
        let start = clock.monotonic();
        let apart = vec![(start, 0)];
        let suspended = Duration::ZERO;
        let log = Arc::new(Mutex::new(Log { suspended, apart }));
        Self { clock, start, log }
    }

    pub(crate) fn now(&self) -> Instant {
        self.clock.monotonic()
    }

    /// The time of everybody else, since the beginning.
    pub(crate) fn truth(&self) -> Duration {
        self.now() - self.start + self.log.lock().unwrap().suspended
    }

    /// The machine sleeps: the wall clock and the world go on.
    pub(crate) fn suspend(&self, seconds: u32) {
        self.log.lock().unwrap().suspended += Duration::from_secs(u64::from(seconds));
        self.set_wall(i64::from(seconds));
    }

    /// Somebody sets the wall clock.
    pub(crate) fn set_wall(&self, by: i64) {
        self.clock.shift_wall(by);
        let now = self.now();
        let mut log = self.log.lock().unwrap();
        let apart = log.apart.last().map_or(0, |(_, apart)| *apart) + by;
        log.apart.push((now, apart));
    }

    /// Whether the token has more left than this, however badly the clocks have gone since it came.
    pub(crate) fn is_surely_alive(&self, life: Life, margin: Duration) -> bool {
        let now = self.now();
        let worst = self.apart_since(life.sent).max();
        now + margin < life.sent + life.lifetime
            && self.wall(now, worst) + margin < life.issued_at + life.lifetime
    }

    /// Whether the token is dead by one of the clocks, and has been for long enough to be noticed.
    /// A process that has it from the store has to rely on the wall clock.
    pub(crate) fn is_surely_dead(&self, life: Life, by_monotonic: bool) -> bool {
        let now = self.now();
        let kindest = self
            .apart_since(now.checked_sub(NOTICED).unwrap_or(now))
            .min();
        let by_wall = self.wall(now, kindest) >= life.issued_at + life.lifetime + TOLERANCE;
        by_wall || (by_monotonic && now >= life.sent + life.lifetime + MOMENT)
    }

    fn wall(&self, now: Instant, apart: Option<i64>) -> SystemTime {
        let current = self
            .log
            .lock()
            .unwrap()
            .apart
            .last()
            .map_or(0, |(_, apart)| *apart);
        debug_assert_eq!(now, self.now());
        let wall = self.clock.wall();
        let by = apart.unwrap_or(current) - current;
        let shift = Duration::from_secs(by.unsigned_abs());
        if by < 0 { wall - shift } else { wall + shift }
    }

    /// How far the wall clock was apart at any time since then.
    fn apart_since(&self, then: Instant) -> std::vec::IntoIter<i64> {
        let log = self.log.lock().unwrap();
        let before = log.apart.iter().rposition(|(at, _)| *at < then);
        let from = before.unwrap_or(0);
        let apart: Vec<i64> = log.apart[from..].iter().map(|(_, apart)| *apart).collect();
        apart.into_iter()
    }
}
