//! The plan of the background task: it refreshes early, keeps an idle grant alive, and compares the
//! clocks.

use std::{sync::Arc, time::Duration};

use super::{
    CacheState,
    backoff::Urgency,
    event::Event,
    intent::{has_grace, replay_reason},
    moment::Moment,
    reason::Reason,
    snapshot::Snapshot,
};
use crate::error::Error;

/// A suspend is detected within this time, during which the monotonic clock and all timers may
/// stand still.
const HEARTBEAT: Duration = Duration::from_secs(30);

/// The interval if no valid token with a known lifetime depends on it.
const SLOW_HEARTBEAT: Duration = Duration::from_secs(3_600);

/// The shortest pause, even if something is due. Refreshes have a minimum interval of their own.
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);

/// The next work of the background task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// The refreshes to request now.
    pub(crate) requests: Vec<Reason>,
    /// How long until something may be due again.
    pub(crate) wake_after: Duration,
}

impl CacheState {
    /// Plans the work that is due.
    pub(crate) fn plan(&mut self, m: Moment<'_>) -> Plan {
        self.correct(m);
        self.backoff.observe(m.recoveries);
        let held = Arc::clone(&self.held);
        if held.grant().is_none() {
            // The grant has to be loaded before it can be kept alive.
            return Plan {
                requests: vec![Reason::KeepAlive(None)],
                wake_after: SLOW_HEARTBEAT,
            };
        }
        self.report_expiry(&held, m);
        let is_alive = held.alive(m.now).is_some();
        // Also for a token that is not refreshed any more: a wall clock that is ahead ends it
        // earlier. No clock ends a token whose lifetime is unknown.
        let is_corrected = is_alive && held.has_known_lifetime();
        let mut plan = Plan {
            requests: Vec::new(),
            wake_after: if is_corrected {
                HEARTBEAT
            } else {
                SLOW_HEARTBEAT
            },
        };
        if held.ended().is_some() {
            return plan;
        }
        // Also in a process that may be about to end: the refresh token counts as used, and the
        // replay is possible for a short time only.
        if let Some(reason) = replay_reason(&held, m) {
            plan.requests.push(reason);
            if has_grace(m) {
                plan.wake_within(self.until_next_replay(m));
            }
        }
        if !m.is_staying {
            return plan;
        }
        if held.is_in_use() {
            self.plan_early_refresh(&mut plan, &held, m);
        }
        self.plan_keepalive(&mut plan, &held, m);
        plan
    }

    /// Refreshes a token that is in use before it expires.
    fn plan_early_refresh(&self, plan: &mut Plan, held: &Snapshot, m: Moment<'_>) {
        let Some((_, schedule)) = held.token() else {
            return;
        };
        if m.now < schedule.refresh_at {
            plan.wake_within(schedule.refresh_at.saturating_duration_since(m.now));
            return;
        }
        // Without consent there is nothing to refresh. Requests get that error.
        if self.backoff.last().is_some_and(Error::is_end_of_grant) {
            return;
        }
        if self.is_refreshed_rarely(held) && !self.is_backoff_over(Urgency::Advisory, m) {
            plan.wake_within(self.until_retry(Urgency::Advisory, m));
            return;
        }
        // Once the token has expired, requests that wait request a refresh themselves, and sooner.
        let (reason, urgency) = if m.now < schedule.mandatory_at {
            (Reason::Advisory, Urgency::Advisory)
        } else {
            (Reason::Mandatory, Urgency::Mandatory)
        };
        plan.requests.push(reason);
        plan.wake_within(self.until_retry(urgency, m));
        plan.wake_within(HEARTBEAT);
    }

    /// Whether the backoff of an idle grant holds also for the early refresh: the grant is stuck,
    /// or it fails by itself and no request uses its token. A request that needs a token requests a
    /// refresh itself.
    fn is_refreshed_rarely(&self, held: &Snapshot) -> bool {
        let is_stuck = self.backoff.stuck().is_some();
        is_stuck || (self.backoff.in_trouble_at().is_some() && !held.is_used())
    }

    fn is_backoff_over(&self, urgency: Urgency, m: Moment<'_>) -> bool {
        let backoff = self.backoff.check(m.now, m.secret_epoch, urgency);
        backoff.is_ok()
    }

    /// Refreshes an idle grant before its refresh token expires.
    fn plan_keepalive(&self, plan: &mut Plan, held: &Snapshot, m: Moment<'_>) {
        let Some(expiry) = held.refresh_token() else {
            return;
        };
        let pause = expiry.until_due(m.now, m.wall);
        if pause.is_zero() {
            plan.requests.push(Reason::KeepAlive(held.generation()));
            plan.wake_within(self.until_retry(Urgency::Advisory, m));
        } else {
            plan.wake_within(pause.max(SHORTEST_PAUSE));
        }
    }

    /// How long until the backoff ends. Without a backoff a refresh is in flight, and its end wakes
    /// the task.
    fn until_retry(&self, urgency: Urgency, m: Moment<'_>) -> Duration {
        let again = self.backoff.until(m.secret_epoch, urgency);
        again
            .and_then(|again| again.checked_duration_since(m.now))
            .filter(|pause| !pause.is_zero())
            .map_or(HEARTBEAT, |pause| pause.max(SHORTEST_PAUSE))
    }

    /// How long until the next replay within a reuse grace.
    fn until_next_replay(&self, m: Moment<'_>) -> Duration {
        if self.is_refreshing() {
            // Its end wakes the task.
            return HEARTBEAT;
        }
        let backoff = self.backoff.until(m.secret_epoch, Urgency::Blocking);
        let backoff = backoff.and_then(|again| again.checked_duration_since(m.now));
        self.until_replay(m)
            .max(backoff.unwrap_or(Duration::ZERO))
            .max(SHORTEST_PAUSE)
    }

    /// Shortens the token's lifetime by what the wall clock says.
    fn correct(&mut self, m: Moment<'_>) {
        if let Some((corrected, by)) = self.held.corrected(m.now, m.wall) {
            self.held = Arc::new(corrected);
            self.events.push(Event::ExpiryCorrected(by));
        }
    }

    /// Reports the remaining lifetime of both tokens, and an event if the refresh token expires
    /// soon.
    fn report_expiry(&mut self, held: &Snapshot, m: Moment<'_>) {
        let refresh_token = held.refresh_token();
        if let Some((_, schedule)) = held.token() {
            self.events.push(Event::Remaining {
                access_token: held
                    .has_known_lifetime()
                    .then(|| schedule.expires.saturating_duration_since(m.now)),
                refresh_token: refresh_token.map(|expiry| expiry.left(m.wall)),
            });
        }
        let Some((expires_at, days_left)) =
            refresh_token.and_then(|expiry| Some((expiry.expires_at, expiry.expiring(m.wall)?)))
        else {
            return;
        };
        let is_news = self
            .reported_expiry
            .as_deref()
            .is_none_or(|(expires, reported)| *expires != expires_at || days_left < *reported);
        if is_news {
            self.reported_expiry = Some(Box::new((expires_at, days_left)));
            self.events.push(Event::RefreshTokenExpiring { days_left });
        }
    }
}

impl Plan {
    fn wake_within(&mut self, pause: Duration) {
        self.wake_after = self.wake_after.min(pause);
    }
}
