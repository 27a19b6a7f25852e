//! A clock that a test moves forward.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use tokio::{sync::Notify, time::Instant};

use crate::clock::Clock;

/// A clock that a test moves forward, shared by the sandbox and the program under test.
///
/// Clones are one clock. It follows tokio's clock, paused or not, and [`advance`](Self::advance)
/// moves it: 29 days pass without a sleep, also in a test with real sockets. Every sandbox has one
/// ([`Sandbox::clock`](super::Sandbox::clock)). Several sandboxes can share one
/// ([`SandboxBuilder::clock`](super::SandboxBuilder::clock)).
///
/// ```
/// use std::time::Duration;
/// use tower_oauth2_client::{clock::Clock, sandbox::{MovableClock, Sandbox}};
///
/// let clock = MovableClock::new();
/// let sandbox = Sandbox::builder().clock(clock.clone()).build();
/// let before = clock.wall();
/// clock.advance(Duration::from_secs(29 * 86_400));
/// assert!(clock.wall() >= before + Duration::from_secs(29 * 86_400));
/// assert!(sandbox.now() >= before + Duration::from_secs(29 * 86_400));
/// ```
///
/// # What moves
///
/// Pass it to the `clock` setting of each part of the program that has one: the
/// [client](crate::oauth::OAuthClientBuilder::clock), the
/// [cache](crate::cache::TokenCacheBuilder::clock) or the
/// [tenants](crate::tenants::TenantsBuilder::clock).
///
/// | moves | does not move |
/// | --- | --- |
/// | expiry and refresh windows of access tokens, at the provider and in the cache | tokio's timers: timeouts, and pauses that have begun |
/// | the age of refresh tokens, keepalive, and events about their expiry | leases of all stores |
/// | backoff of a cache, `min_refresh_interval`, the pause after a 401 to a new token | the circuit breaker of a token endpoint, which counts 30 seconds of tokio's clock |
/// | codes, device codes, `request_uri`s and assertions at the sandbox | [`background_delay`](crate::cache::TokenCacheBuilder::background_delay), and the interval of sweeps |
/// | `Date` and `expires_at` of the sandbox | the clocks of other parts, such as a database |
///
/// The background task of a cache or of tenants compares the time at once when the clock is moved.
/// It then refreshes what is due, if `background_delay` has passed: set that to zero in a test. A
/// request does not depend on the task, and sees the new time too. Tenants that are not resident
/// are refreshed by the next [sweep](crate::tenants::Tenants::sweep).
///
/// A refresh in the background takes a moment: [`Sandbox::wait_until`](super::Sandbox::wait_until)
/// waits for it without a sleep.
#[derive(Clone)]
pub struct MovableClock(Arc<Inner>);

struct Inner {
    starts_at: SystemTime,
    start: Instant,
    advanced: Mutex<Duration>,
    moved: Notify,
}

impl MovableClock {
    /// A clock that shows the machine's time.
    #[must_use]
    pub fn new() -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "the start of a clock that the test moves"
        )]
        let now = SystemTime::now();
        Self::starting_at(now)
    }

    /// A clock that shows `time` now, for reproducible runs.
    #[must_use]
    pub fn starting_at(time: SystemTime) -> Self {
        Self(Arc::new(Inner {
            starts_at: time,
            start: Instant::now(),
            advanced: Mutex::default(),
            moved: Notify::new(),
        }))
    }

    /// Moves the clock forward, and wakes the background tasks that use it. It stops 10,000 years
    /// later.
    pub fn advance(&self, by: Duration) {
        {
            let mut advanced = self.advanced();
            *advanced = advanced.saturating_add(by);
        }
        self.0.moved.notify_waiters();
    }

    /// The wall time when so much time has elapsed.
    pub(super) fn time_after(&self, elapsed: Duration) -> SystemTime {
        let start = self.0.starts_at;
        let elapsed = elapsed.min(MOST_ADVANCED);
        start.checked_add(elapsed).unwrap_or(start)
    }

    /// The time since the clock was created, moves included.
    pub(super) fn elapsed(&self) -> Duration {
        // A clock created outside a paused runtime and used inside it may see an earlier instant.
        let passed = Instant::now().saturating_duration_since(self.0.start);
        passed.saturating_add(*self.advanced())
    }

    fn advanced(&self) -> MutexGuard<'_, Duration> {
        // Each change leaves a valid value.
        let advanced = self.0.advanced.lock();
        advanced.unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for MovableClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for MovableClock {
    fn monotonic(&self) -> std::time::Instant {
        let now = Instant::now().into_std();
        let advanced = (*self.advanced()).min(MOST_ADVANCED);
        now.checked_add(advanced).unwrap_or(now)
    }

    fn wall(&self) -> SystemTime {
        self.time_after(self.elapsed())
    }

    fn moved(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        // It notices each move from its creation on.
        Box::pin(self.0.moved.notified())
    }
}

impl fmt::Debug for MovableClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MovableClock")
            .field("advanced", &*self.advanced())
            .finish_non_exhaustive()
    }
}

/// 10,000 years, which the clocks of all operating systems can represent.
const MOST_ADVANCED: Duration = Duration::from_secs(10_000 * 365 * 86_400);

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    #[tokio::test(start_paused = true)]
    async fn both_times_follow_a_paused_runtime_and_all_moves() {
        let clock = MovableClock::starting_at(SystemTime::UNIX_EPOCH);
        let (wall, monotonic) = (clock.wall(), clock.monotonic());
        tokio::time::advance(HOUR).await;
        clock.clone().advance(2 * HOUR);
        assert_eq!(clock.wall(), wall + 3 * HOUR);
        assert_eq!(clock.monotonic(), monotonic + 3 * HOUR);
        assert_eq!(clock.elapsed(), 3 * HOUR);
    }

    #[tokio::test(start_paused = true)]
    async fn time_saturates_and_never_steps_back() {
        let clock = MovableClock::starting_at(SystemTime::UNIX_EPOCH);
        clock.advance(MOST_ADVANCED / 2);
        let (wall, monotonic) = (clock.wall(), clock.monotonic());
        clock.advance(Duration::MAX);
        clock.advance(Duration::MAX);
        assert_eq!(clock.elapsed(), Duration::MAX);
        assert!(clock.wall() > wall && clock.monotonic() > monotonic);
    }

    #[test]
    fn a_move_before_the_first_poll_is_noticed() {
        let clock = MovableClock::new();
        clock.advance(HOUR);
        let moved = clock.moved();
        clock.advance(HOUR);
        assert!(moved.now_or_never().is_some());
        assert!(clock.moved().now_or_never().is_none());
    }
}
