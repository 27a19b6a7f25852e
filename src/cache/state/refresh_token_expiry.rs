//! The lifetime of the refresh token.
//!
//! An idle grant is not refreshed each time that its access token expires. It is refreshed once,
//! after two thirds of the refresh token's lifetime plus a random part of up to a fifteenth: after
//! 20 to 22 of 30 days. That leaves a third of the lifetime for further attempts.
//!
//! Time is measured by the wall clock, and by the monotonic clock since the grant last changed. The
//! earlier one decides, so that a wall clock that was set back does not let a grant expire.

use std::time::{Duration, Instant, SystemTime};

use hmac_sha256::Hash as Sha256;

use crate::token::{Grant, TenantId, TokenSet};

const DAY: Duration = Duration::from_secs(86_400);

/// How far the clocks of two machines may differ.
const TOLERANCE: Duration = Duration::from_secs(3_600);

/// The days left at which an event is reported.
const REPORTED_DAYS: [u64; 3] = [1, 3, 7];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RefreshTokenExpiry {
    /// When the grant must be kept alive, by either clock.
    due_at: Instant,
    due_wall: SystemTime,
    /// When the refresh token expires, by the wall clock.
    pub(crate) expires_at: SystemTime,
    lifetime: Duration,
}

impl RefreshTokenExpiry {
    /// `None` without a refresh token. `jitter` is a random number from 0 to 1.
    pub(crate) fn of(
        tokens: &TokenSet,
        lifetime: Duration,
        (now, wall): (Instant, SystemTime),
        jitter: f64,
    ) -> Option<Self> {
        let issued = tokens.refresh_token_issued_at()?;
        let spread = (2 * DAY).min(lifetime / 15);
        let most = lifetime / 3 * 2;
        let spread = spread.mul_f64(jitter.clamp(0.0, 1.0));
        let due = most.saturating_add(spread);
        // Counted from the last refresh, even if it returned no new refresh token: a provider
        // without rotation must not get requests all the time.
        let (age, due_wall) = match wall.duration_since(tokens.issued_at()) {
            Ok(age) => (age, later(tokens.issued_at(), due)),
            Err(ahead) if ahead.duration() < TOLERANCE => (Duration::ZERO, later(wall, due)),
            // A wall clock was or is wrong: the age is unknown, and the grant is due. With jitter,
            // a process that restarts often would never be due.
            Err(_) => (due, wall),
        };
        // A refresh token that outlived its lifetime and still worked has a lifetime that starts
        // again with each use.
        let since = if tokens.issued_at() >= later(issued, lifetime) {
            tokens.issued_at()
        } else {
            issued
        };
        Some(Self {
            due_at: now.checked_add(due.saturating_sub(age)).unwrap_or(now),
            due_wall,
            expires_at: later(since, lifetime),
            lifetime,
        })
    }

    /// For a grant that is stored and not resident. `None` if it cannot be refreshed.
    pub(crate) fn of_stored(
        tenant: &TenantId,
        grant: &Grant,
        lifetime: Duration,
        (now, wall): (Instant, SystemTime),
    ) -> Option<Self> {
        if !grant.state.is_refreshable() {
            return None;
        }
        let tokens = grant.tokens()?;
        // Constant for each tenant, however often this is called.
        let jitter = jitter_of(tenant);
        Self::of(tokens, lifetime, (now, wall), jitter)
    }

    /// How long until the grant must be kept alive. Zero if that is due.
    pub(crate) fn until_due(&self, now: Instant, wall: SystemTime) -> Duration {
        let by_wall = self.due_wall.duration_since(wall);
        let by_monotonic = self.due_at.saturating_duration_since(now);
        by_wall.unwrap_or(Duration::ZERO).min(by_monotonic)
    }

    pub(crate) fn is_due(&self, now: Instant, wall: SystemTime) -> bool {
        self.until_due(now, wall).is_zero()
    }

    /// The remaining lifetime of the refresh token, at most the whole lifetime.
    pub(crate) fn left(&self, wall: SystemTime) -> Duration {
        let left = self
            .expires_at
            .duration_since(wall)
            .unwrap_or(Duration::ZERO);
        left.min(self.lifetime)
    }

    /// The threshold in days that has been reached, if any.
    pub(crate) fn expiring(&self, wall: SystemTime) -> Option<u64> {
        let left = self.left(wall);
        REPORTED_DAYS
            .into_iter()
            // With a short lifetime, a larger threshold would be reached from the beginning.
            .filter(|days| DAY * u32::try_from(*days).unwrap_or(u32::MAX) <= self.lifetime / 3)
            .find(|days| !left.is_zero() && left.as_secs() <= days * DAY.as_secs())
    }
}

/// A number from 0 to 1 that is the same in each process.
fn jitter_of(tenant: &TenantId) -> f64 {
    let hash = Sha256::hash(tenant.as_str().as_bytes());
    let bytes = hash.first_chunk().copied().unwrap_or_default();
    f64::from(u32::from_be_bytes(bytes)) / f64::from(u32::MAX)
}

fn later(time: SystemTime, by: Duration) -> SystemTime {
    time.checked_add(by).unwrap_or(time)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        clock::{Clock, SystemClock},
        token::{AccessToken, RefreshToken},
    };

    const MONTH: Duration = Duration::from_secs(30 * 86_400);

    fn wall() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_764_000_000)
    }

    fn life(jitter: f64, now: Instant, at: SystemTime) -> RefreshTokenExpiry {
        let tokens = TokenSet::new(AccessToken::new("a").unwrap(), DAY, wall())
            .with_refresh_token(RefreshToken::new("r"), wall());
        RefreshTokenExpiry::of(&tokens, MONTH, (now, at), jitter).unwrap()
    }

    #[test]
    fn p19_idle_grant_is_due_after_20_to_22_days() {
        let now = SystemClock.monotonic();
        for (jitter, days) in [(0.0, 20), (0.5, 21), (1.0, 22)] {
            let life = life(jitter, now, wall());
            assert_eq!(life.until_due(now, wall()), days * DAY);
            assert_eq!(life.until_due(now + days * DAY, wall()), Duration::ZERO);
            assert_eq!(life.until_due(now, wall() + days * DAY), Duration::ZERO);
        }
    }

    #[test]
    fn p19_stored_grant_is_due_by_its_age() {
        let now = SystemClock.monotonic();
        let at = wall() + 19 * DAY;
        assert_eq!(life(0.0, now, at).until_due(now, at), DAY);
        // Issued a little in the future, by another machine's clock.
        let at = wall() - DAY / 48;
        assert_eq!(life(0.0, now, at).until_due(now, at), 20 * DAY);
        // Issued far in the future, by a clock that was or is wrong.
        let at = wall() - 365 * DAY;
        assert_eq!(life(0.0, now, at).until_due(now, at), Duration::ZERO);
        assert_eq!(life(1.0, now, at).until_due(now, at), Duration::ZERO);
        assert_eq!(life(0.0, now, at).left(at), MONTH);
    }

    #[test]
    fn p19_expiry_is_reported_at_7_3_and_1_days() {
        let life = life(0.0, SystemClock.monotonic(), wall());
        for (day, reported) in [
            (0, None),
            (22, None),
            (23, Some(7)),
            (26, Some(7)),
            (27, Some(3)),
            (29, Some(1)),
            (40, None),
        ] {
            assert_eq!(life.expiring(wall() + day * DAY), reported, "day {day}");
        }
    }
}
