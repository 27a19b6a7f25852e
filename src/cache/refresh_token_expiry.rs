//! The refresh token's own clock.
//!
//! A grant that nobody uses is not renewed day by day: its access token is let die, and one exchange is made when two thirds
//! of the refresh token's life are over, and up to a fifteenth more at random (20 to 22 days of 30). That leaves a third
//! of its life to try again in.
//!
//! Days are counted by the wall clock, and by the monotonic one since the grant was last seen to change: whichever says so
//! first, so that a clock that is set back does not let a grant die.

use std::time::{Duration, Instant, SystemTime};

use hmac_sha256::Hash as Sha256;

use super::{
    settings::Settings,
    snapshot::{Moment, is_refreshable},
};
use crate::token::{Grant, TenantId, TokenSet};

const DAY: Duration = Duration::from_secs(86_400);

/// How far two machines' clocks may be apart.
const TOLERANCE: Duration = Duration::from_secs(3_600);

/// How many days are left when somebody is told.
const TOLD_AT: [u64; 3] = [1, 3, 7];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RefreshTokenExpiry {
    /// The keepalive, by either clock.
    due_at: Instant,
    due_wall: SystemTime,
    /// When the refresh token ends, by the wall clock, and how long it lives.
    pub(super) ends: SystemTime,
    lifetime: Duration,
}

impl RefreshTokenExpiry {
    /// `None` without a refresh token.
    pub(super) fn of(
        tokens: &TokenSet,
        lifetime: Duration,
        Moment {
            now, wall, jitter, ..
        }: Moment,
    ) -> Option<Self> {
        let issued = tokens.refresh_token_issued_at()?;
        let spread = (2 * DAY).min(lifetime / 15);
        let most = lifetime / 3 * 2;
        let spread = spread.mul_f64(jitter.clamp(0.0, 1.0));
        let due = most + spread;
        // Counted from the last exchange, also if that brought no new refresh token: a provider that does not replace them
        // must not be asked all the time.
        let (age, due_wall) = match wall.duration_since(tokens.issued_at()) {
            Ok(age) => (age, later(tokens.issued_at(), due)),
            Err(ahead) if ahead.duration() < TOLERANCE => (Duration::ZERO, later(wall, due)),
            // The clock was wrong then, or is now: nobody knows how old it is.
            Err(_) => (most, later(wall, spread)),
        };
        // One that has outlived its life, and was good all the same, lives from use to use.
        let since = if tokens.issued_at() >= later(issued, lifetime) {
            tokens.issued_at()
        } else {
            issued
        };
        Some(Self {
            due_at: now.checked_add(due.saturating_sub(age)).unwrap_or(now),
            due_wall,
            ends: later(since, lifetime),
            lifetime,
        })
    }

    /// How long until the keepalive; nothing if it is due.
    pub(super) fn until_due(&self, now: Instant, wall: SystemTime) -> Duration {
        let by_wall = self.due_wall.duration_since(wall);
        let by_monotonic = self.due_at.saturating_duration_since(now);
        by_wall.unwrap_or(Duration::ZERO).min(by_monotonic)
    }

    pub(super) fn is_due(&self, Moment { now, wall, .. }: Moment) -> bool {
        self.until_due(now, wall).is_zero()
    }

    /// What is left of the refresh token's life; never more than the whole of it.
    pub(super) fn left(&self, wall: SystemTime) -> Duration {
        let left = self.ends.duration_since(wall).unwrap_or(Duration::ZERO);
        left.min(self.lifetime)
    }

    /// The threshold that is reached, if any.
    pub(super) fn expiring(&self, wall: SystemTime) -> Option<u64> {
        let left = self.left(wall);
        TOLD_AT
            .into_iter()
            // For short lives the larger thresholds would be reached from the beginning.
            .filter(|days| DAY * u32::try_from(*days).unwrap_or(u32::MAX) <= self.lifetime / 3)
            .find(|days| !left.is_zero() && left.as_secs() <= days * DAY.as_secs())
    }
}

/// Of a stored grant that is not held: when its refresh token ends, and whether it is time to keep it alive.
impl Settings {
    pub(crate) fn keepalive(&self, tenant: &TenantId, grant: &Grant) -> Option<(SystemTime, bool)> {
        if !is_refreshable(&grant.state) {
            return None;
        }
        let (lifetime, tokens) = (self.refresh_token_lifetime?, grant.tokens()?);
        let wall = self.clock.wall();
        let is_of_unknown_age = tokens.issued_at() >= wall + TOLERANCE;
        let moment = Moment {
            now: self.clock.monotonic(),
            wall,
            // Always the same one of a tenant, however often this is asked; and none where it would be counted from each time
            // that it is.
            jitter: if is_of_unknown_age {
                0.0
            } else {
                jitter_of(tenant)
            },
            refresh_token_lifetime: Some(lifetime),
        };
        let life = RefreshTokenExpiry::of(tokens, lifetime, moment)?;
        Some((life.ends, life.is_due(moment)))
    }
}

/// A number from 0 to 1, the same in each process.
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
        let moment = Moment {
            now,
            wall: at,
            jitter,
            refresh_token_lifetime: None,
        };
        RefreshTokenExpiry::of(&tokens, MONTH, moment).unwrap()
    }

    #[test]
    fn p19_a_keepalive_is_due_after_20_to_22_days() {
        let now = SystemClock.monotonic();
        for (jitter, days) in [(0.0, 20), (0.5, 21), (1.0, 22)] {
            let life = life(jitter, now, wall());
            assert_eq!(life.until_due(now, wall()), days * DAY);
            assert_eq!(life.until_due(now + days * DAY, wall()), Duration::ZERO);
            assert_eq!(life.until_due(now, wall() + days * DAY), Duration::ZERO);
        }
    }

    #[test]
    fn p19_what_was_stored_is_as_old_as_it_is() {
        let now = SystemClock.monotonic();
        let at = wall() + 19 * DAY;
        assert_eq!(life(0.0, now, at).until_due(now, at), DAY);
        // Issued a little in the future, by another machine's clock.
        let at = wall() - DAY / 48;
        assert_eq!(life(0.0, now, at).until_due(now, at), 20 * DAY);
        // Far in the future, by a clock that was wrong then, or is now.
        let at = wall() - 365 * DAY;
        assert_eq!(life(0.0, now, at).until_due(now, at), Duration::ZERO);
        assert_eq!(life(1.0, now, at).until_due(now, at), 2 * DAY);
        assert_eq!(life(0.0, now, at).left(at), MONTH);
    }

    #[test]
    fn p19_the_last_days_are_told() {
        let life = life(0.0, SystemClock.monotonic(), wall());
        for (day, told) in [
            (0, None),
            (22, None),
            (23, Some(7)),
            (26, Some(7)),
            (27, Some(3)),
            (29, Some(1)),
            (40, None),
        ] {
            assert_eq!(life.expiring(wall() + day * DAY), told, "day {day}");
        }
    }
}
