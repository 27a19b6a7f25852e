//! When an access token is refreshed, and when it expires.

use std::time::{Duration, Instant, SystemTime};

use super::{moment::Policy, refresh_window::RefreshWindow};
use crate::{
    later::Later,
    token::{LONGEST_LIFETIME, TokenSet},
};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);

/// The schedule of an access token on the monotonic clock.
///
/// If the lifetime of the token is unknown, no process reaches any of these times, unless the token
/// is [ended](Self::ended).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Schedule {
    /// The start of the background refresh: a random point in the first half of the advisory
    /// window.
    pub(crate) refresh_at: Instant,
    /// The start of the mandatory window: requests wait for the refresh.
    pub(crate) mandatory_at: Instant,
    /// From here on an early refresh is made even after a lost response. This is 5 minutes before
    /// the last refresh that the provider accepts, or half of the advisory window if that is
    /// shorter. If the refresh token has been used, only this time is lost.
    pub(crate) last_resort_at: Instant,
    /// When the token expires.
    pub(crate) expires: Instant,
    /// When every API knows the token. Until then, a 401 proves nothing.
    pub(crate) propagated_at: Instant,
}

impl Schedule {
    /// For a token whose request was sent at `sent`, and whose response arrived at `now`. `jitter`
    /// is a random number from 0 to 1.
    pub(crate) fn of_new(
        tokens: &TokenSet,
        sent: Instant,
        now: Instant,
        jitter: f64,
        policy: &Policy,
    ) -> Self {
        let window = policy.refresh_window;
        let schedule = match tokens.lifetime() {
            Some(lifetime) => Self::ending(later(sent, lifetime), lifetime, jitter, window),
            None => Self::unknown(sent),
        };
        Self {
            // A slow provider may have issued the token at any time until then.
            propagated_at: later(now, propagation(tokens, policy)),
            ..schedule
        }
    }

    /// For a stored token: the remaining lifetime by the wall clock. It is at most the whole
    /// lifetime, so that a clock that was set back does not prolong it.
    pub(crate) fn of_stored(
        tokens: &TokenSet,
        now: Instant,
        wall: SystemTime,
        jitter: f64,
        policy: &Policy,
    ) -> Self {
        let age = wall
            .duration_since(tokens.issued_at())
            .unwrap_or(Duration::ZERO);
        let propagated_at = later(now, propagation(tokens, policy).saturating_sub(age));
        let (Some(lifetime), Some(expires_at)) = (tokens.lifetime(), tokens.expires_at()) else {
            return Self {
                propagated_at,
                ..Self::unknown(now)
            };
        };
        let left = expires_at.duration_since(wall).unwrap_or(Duration::ZERO);
        let schedule = Self {
            propagated_at,
            ..Self::ending(
                later(now, left.min(lifetime)),
                lifetime,
                jitter,
                policy.refresh_window,
            )
        };
        if tokens.issued_at() > wall.later(MINUTE) {
            // A wall clock was or is wrong, so the age is unknown.
            let accepted_at = schedule.accepted_at(policy.refresh_window).unwrap_or(now);
            return Self {
                refresh_at: now.max(accepted_at).min(schedule.refresh_at),
                ..schedule
            };
        }
        schedule
    }

    /// For a token that is used until it expires, and not refreshed.
    pub(crate) fn without_refresh(self) -> Self {
        Self {
            refresh_at: self.expires,
            mandatory_at: self.expires,
            last_resort_at: self.expires,
            ..self
        }
    }

    /// With an expiry no later than the wall clock says, which includes a suspend of the machine.
    /// `None` if nothing changes.
    pub(crate) fn corrected(
        self,
        tokens: &TokenSet,
        now: Instant,
        wall: SystemTime,
    ) -> Option<Self> {
        let left = tokens
            .expires_at()?
            .duration_since(wall)
            .unwrap_or(Duration::ZERO);
        let early = self
            .expires
            .saturating_duration_since(now)
            .saturating_sub(left);
        // Smaller differences come from reading the clocks one after the other.
        if early <= Duration::from_secs(1) {
            return None;
        }
        Some(Self {
            refresh_at: earlier(self.refresh_at, early),
            mandatory_at: earlier(self.mandatory_at, early),
            last_resort_at: earlier(self.last_resort_at, early),
            expires: earlier(self.expires, early),
            ..self
        })
    }

    /// For a token that is no longer used although it may be valid.
    pub(crate) fn ended(self, now: Instant) -> Self {
        let end = |at: Instant| at.min(now);
        Self {
            refresh_at: end(self.refresh_at),
            mandatory_at: end(self.mandatory_at),
            last_resort_at: end(self.last_resort_at),
            expires: end(self.expires),
            ..self
        }
    }

    /// From when on the provider accepts a refresh. `None` for at any time.
    pub(super) fn accepted_at(&self, window: RefreshWindow) -> Option<Instant> {
        self.expires.checked_sub(window.opens()?)
    }

    fn unknown(now: Instant) -> Self {
        let never = later(now, LONGEST_LIFETIME);
        Self {
            refresh_at: never,
            mandatory_at: never,
            last_resort_at: never,
            expires: never,
            propagated_at: now,
        }
    }

    fn ending(expires: Instant, lifetime: Duration, jitter: f64, window: RefreshWindow) -> Self {
        // The windows end with the last refresh that is accepted, and start with the first one.
        let closes = window.closes().min(lifetime);
        let (last, lifetime) = (earlier(expires, closes), lifetime.saturating_sub(closes));
        let advisory = advisory(lifetime).min(window.width());
        let mandatory_at = earlier(last, mandatory(lifetime).min(advisory / 2));
        let refresh_at = earlier(last, advisory.mul_f64(1.0 - jitter.clamp(0.0, 1.0) / 2.0));
        Self {
            refresh_at: refresh_at.min(mandatory_at),
            mandatory_at,
            last_resort_at: earlier(last, (5 * MINUTE).min(advisory / 2)),
            expires,
            propagated_at: expires,
        }
    }
}

/// How old a token is before a 401 concerns it, never over a tenth of the lifetime.
fn propagation(tokens: &TokenSet, policy: &Policy) -> Duration {
    let longest = tokens.lifetime().unwrap_or(Duration::MAX) / 10;
    policy.propagation.min(longest)
}

/// 15 % of the lifetime, 5 minutes to 4 hours, never over half of the lifetime.
fn advisory(lifetime: Duration) -> Duration {
    (lifetime * 3 / 20)
        .clamp(5 * MINUTE, 4 * HOUR)
        .min(lifetime / 2)
}

/// 60 seconds, never over a tenth of the lifetime.
fn mandatory(lifetime: Duration) -> Duration {
    MINUTE.min(lifetime / 10)
}

/// Does not overflow: a lifetime is at most a century.
fn later(instant: Instant, by: Duration) -> Instant {
    instant.checked_add(by).unwrap_or(instant)
}

/// Saturates at the start of the clock, which is the boot time on some systems.
fn earlier(instant: Instant, by: Duration) -> Instant {
    instant.checked_sub(by).unwrap_or(instant)
}

#[cfg(test)]
mod tests {
    use super::{super::tests::POLICY, *};
    use crate::{
        clock::{Clock, SystemClock},
        token::AccessToken,
    };

    fn tokens(seconds: u64, issued_at: SystemTime) -> TokenSet {
        let lifetime = Duration::from_secs(seconds);
        TokenSet::new(AccessToken::new("a").unwrap(), lifetime, issued_at)
    }

    fn wall() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_764_000_000)
    }

    fn before_expiry(schedule: Schedule) -> (Duration, Duration) {
        let before = |at: Instant| schedule.expires - at;
        (before(schedule.refresh_at), before(schedule.mandatory_at))
    }

    #[test]
    fn day_long_token_is_refreshed_3_6_to_1_8_hours_before_expiry() {
        let now = SystemClock.monotonic();
        let tokens = tokens(86_400, wall());
        let (first, mandatory) = before_expiry(Schedule::of_new(&tokens, now, now, 0.0, &POLICY));
        let (last, _) = before_expiry(Schedule::of_new(&tokens, now, now, 1.0, &POLICY));
        assert_eq!((first, last), (18 * HOUR / 5, 9 * HOUR / 5));
        assert_eq!(mandatory, MINUTE);
    }

    #[test]
    fn windows_scale_down_with_the_lifetime() {
        for (seconds, advisory_millis, mandatory_millis) in [
            (0, 0, 0),
            (5, 2_500, 500),
            (60, 30_000, 6_000),
            (600, 300_000, 60_000),
            (3_600, 540_000, 60_000),
            (31_622_400, 14_400_000, 60_000),
        ] {
            let lifetime = Duration::from_secs(seconds);
            assert_eq!(advisory(lifetime).as_millis(), advisory_millis, "{seconds}");
            assert_eq!(
                mandatory(lifetime).as_millis(),
                mandatory_millis,
                "{seconds}"
            );
        }
    }

    #[test]
    fn p18_clock_set_back_before_loading_does_not_prolong_the_lifetime() {
        let now = SystemClock.monotonic();
        let tokens = tokens(3_600, wall());
        let left =
            |at: SystemTime| Schedule::of_stored(&tokens, now, at, 0.0, &POLICY).expires - now;
        assert_eq!(left(wall() + Duration::from_secs(600)).as_secs(), 3_000);
        assert_eq!(left(wall() - Duration::from_secs(7_200)).as_secs(), 3_600);
        assert_eq!(left(wall() + Duration::from_secs(7_200)).as_secs(), 0);
    }

    #[test]
    fn p18_the_earlier_clock_decides() {
        let now = SystemClock.monotonic();
        let tokens = tokens(3_600, wall());
        let schedule = Schedule::of_new(&tokens, now, now, 0.5, &POLICY);
        assert_eq!(schedule.corrected(&tokens, now, wall()), None);
        assert_eq!(schedule.corrected(&tokens, now, wall() - 2 * HOUR), None);
        // Suspended for half an hour, during which the wall clock continued.
        let later = schedule.corrected(&tokens, now, wall() + HOUR / 2).unwrap();
        assert_eq!(later.expires - now, HOUR / 2);
        assert_eq!(schedule.refresh_at - later.refresh_at, HOUR / 2);
        // The correction is applied once.
        assert_eq!(later.corrected(&tokens, now, wall() + HOUR / 2), None);
    }

    #[test]
    fn p18_token_with_an_unknown_lifetime_has_no_window_and_no_expiry() {
        let now = SystemClock.monotonic();
        let tokens = TokenSet::new(AccessToken::new("a").unwrap(), None, wall());
        let year = 366 * 24 * HOUR;
        for at in [wall() - year, wall(), wall() + year, wall() + 99 * year] {
            for schedule in [
                Schedule::of_new(&tokens, now, now, 0.5, &POLICY),
                Schedule::of_stored(&tokens, now, at, 0.5, &POLICY),
                Schedule::of_stored(&tokens, now, at, 0.5, &POLICY).without_refresh(),
            ] {
                assert!(schedule.refresh_at > now + 99 * year);
                assert!(schedule.mandatory_at > now + 99 * year);
                assert!(schedule.expires > now + 99 * year);
                assert_eq!(schedule.corrected(&tokens, now, at), None);
                assert_eq!(schedule.ended(now).expires, now, "invalidated");
            }
        }
    }
}
