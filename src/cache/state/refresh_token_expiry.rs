//! Until when a grant can be refreshed.
//!
//! Two times limit that: the lifetime of the refresh token, and the last refresh that the provider
//! accepts before the access token expires. The earlier one counts.
//!
//! An idle grant is not refreshed each time that its access token expires. It is refreshed once,
//! after two thirds of the time plus a random part of up to a fifteenth: after 20 to 22 of 30 days.
//! That leaves a third of the time for further attempts.
//!
//! If a response states how long its refresh token lives, a refresh may not prolong that. The next
//! one is then due after two thirds of what is left, until less than a twentieth of the lifetime is
//! left: then more refreshes do not help either. The last one is due at the end. Its rejection ends
//! the grant.
//!
//! Time is measured by the wall clock, and by the monotonic clock since the grant last changed. The
//! earlier one decides, so that a wall clock that was set back does not let a grant expire.

use std::time::{Duration, Instant, SystemTime};

use hmac_sha256::Hash as Sha256;

use super::moment::Policy;
use crate::token::{Grant, TenantId, TokenSet};

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);
const WEEK: Duration = Duration::from_secs(7 * 86_400);

/// How far the clocks of two machines may differ.
const TOLERANCE: Duration = Duration::from_secs(3_600);

/// The days left at which an event is reported.
const REPORTED_DAYS: [u64; 3] = [1, 3, 7];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RefreshTokenExpiry {
    /// When the grant must be kept alive, by either clock.
    due_at: Instant,
    due_wall: SystemTime,
    /// Until when the grant can be refreshed, by the wall clock.
    pub(crate) expires_at: SystemTime,
    lifetime: Duration,
}

/// One of the times that limit refreshes.
struct Limit {
    expires_at: SystemTime,
    lifetime: Duration,
    /// When the grant must be kept alive, counted from the last refresh.
    due: Duration,
}

impl RefreshTokenExpiry {
    /// `None` if no limit is known. `jitter` is a random number from 0 to 1.
    pub(crate) fn of(
        tokens: &TokenSet,
        policy: &Policy,
        (now, wall): (Instant, SystemTime),
        jitter: f64,
    ) -> Option<Self> {
        let jitter = jitter.clamp(0.0, 1.0);
        let limits = [
            Limit::of_refresh_token(tokens, policy, jitter),
            Limit::of_access_token(tokens, policy, jitter),
        ];
        let due = limits.iter().flatten().map(|limit| limit.due).min()?;
        // The provider accepts no refresh before.
        let accepted = tokens.lifetime().zip(policy.refresh_window.opens());
        let accepted = accepted.map_or(Duration::ZERO, |(lifetime, opens)| {
            lifetime.saturating_sub(opens)
        });
        let due = due.max(accepted);
        let limit = limits
            .into_iter()
            .flatten()
            .min_by_key(|limit| limit.expires_at)?;
        // Counted from the last refresh, even if it returned no new refresh token: a provider
        // without rotation must not get requests all the time.
        let (age, due_wall) = match wall.duration_since(tokens.issued_at()) {
            Ok(age) => (age, later(tokens.issued_at(), due)),
            Err(ahead) if ahead.duration() < TOLERANCE => (Duration::ZERO, later(wall, due)),
            // A wall clock was or is wrong: the age is unknown, and the grant is due. With jitter,
            // a process that restarts often would never be due.
            Err(_) => (due, wall),
        };
        Some(Self {
            due_at: now.checked_add(due.saturating_sub(age)).unwrap_or(now),
            due_wall,
            expires_at: limit.expires_at,
            lifetime: limit.lifetime,
        })
    }

    /// For a grant that is stored and not resident. `None` if it cannot be refreshed.
    pub(crate) fn of_stored(
        tenant: &TenantId,
        grant: &Grant,
        policy: &Policy,
        (now, wall): (Instant, SystemTime),
    ) -> Option<Self> {
        if !grant.state.is_refreshable() {
            return None;
        }
        let tokens = grant.tokens()?;
        // Constant for each tenant, however often this is called.
        let jitter = jitter_of(tenant);
        Self::of(tokens, policy, (now, wall), jitter)
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

    /// Whether little time is left. A short lifetime is not little from the beginning.
    pub(crate) fn is_expiring(&self, wall: SystemTime) -> bool {
        let left = self.expires_at.duration_since(wall);
        left.is_ok_and(|left| left <= WEEK.min(self.lifetime / 3))
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

impl Limit {
    /// The lifetime of the refresh token.
    fn of_refresh_token(tokens: &TokenSet, policy: &Policy, jitter: f64) -> Option<Self> {
        let issued = tokens.refresh_token_issued_at()?;
        // A new refresh token that has expired already would be of no use, so zero means nothing.
        let stated = tokens
            .refresh_token_lifetime()
            .filter(|lifetime| !lifetime.is_zero());
        let lifetime = stated.or(policy.refresh_token_lifetime)?;
        // A refresh token that outlived its lifetime and still worked has a lifetime that starts
        // again with each use.
        let since = if tokens.issued_at() >= later(issued, lifetime) {
            tokens.issued_at()
        } else {
            issued
        };
        let expires_at = later(since, lifetime);
        let due = if stated.is_none() {
            due(lifetime, jitter)
        } else {
            let left = expires_at.duration_since(tokens.issued_at());
            let left = left.unwrap_or(Duration::ZERO).min(lifetime);
            if left < lifetime / 20 {
                left
            } else {
                due(left, jitter).max(MINUTE)
            }
        };
        Some(Self {
            expires_at,
            lifetime,
            due,
        })
    }

    /// The last refresh that the provider accepts before the access token expires.
    fn of_access_token(tokens: &TokenSet, policy: &Policy, jitter: f64) -> Option<Self> {
        let latest = policy.refresh_window.latest?;
        let lifetime = tokens.lifetime()?.saturating_sub(latest);
        Some(Self {
            expires_at: later(tokens.issued_at(), lifetime),
            lifetime,
            due: due(lifetime, jitter),
        })
    }
}

/// Two thirds of the time, plus a random part of up to a fifteenth and 2 days.
fn due(time: Duration, jitter: f64) -> Duration {
    let spread = (2 * DAY).min(time / 15);
    (time / 3 * 2).saturating_add(spread.mul_f64(jitter))
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
    use super::{super::tests::POLICY, *};
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
        RefreshTokenExpiry::of(&tokens, &POLICY, (now, at), jitter).unwrap()
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
