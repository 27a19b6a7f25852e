//! The write-ahead intent: saved before a refresh token is sent, so that a crash or a lost response
//! is detected.
//!
//! The intent is the stored grant in the state [`Refreshing`](GrantState::Refreshing), under the
//! same generation. It has three uses:
//!
//! * A store that cannot be written is detected before the refresh token is used.
//! * Another replica, or the next start after a crash, knows that a response is missing.
//! * A rejection after a lost response is distinguished from a revocation.
//!
//! A new token set, or an end, overwrites the intent. A failed refresh that did not use the refresh
//! token removes it. Without a refresh token nothing can be lost, and no intent is saved.

use std::time::{Duration, SystemTime};

use super::{
    CacheState, lost_response::LostResponse, moment::Moment, reason::Reason, snapshot::Snapshot,
};
use crate::{
    error::{Error, ErrorKind},
    token::{Generation, Grant, GrantState, TokenSet},
};

/// How long after the first request the replay may be sent, if the data of the provider name no
/// reuse grace. Providers with one accept a rotated refresh token for at least 30 seconds. Measured
/// by the wall clock, which includes a suspend.
const REPLAY: Duration = Duration::from_secs(30);

/// How long before the end of a reuse grace the last replay is sent, at most: the request takes a
/// while, and the clocks of two machines differ.
const LONGEST_MARGIN: Duration = Duration::from_secs(60);

/// The pause between two replays within a reuse grace is half of the time since the first request,
/// and between these.
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(600);

/// The intent of one refresh.
#[derive(Clone, Debug)]
pub(super) struct Intent {
    generation: Generation,
    tokens: TokenSet,
    /// When the refresh was started. Within a reuse grace, when the refresh token was first sent.
    since: SystemTime,
    /// Whether the same refresh token has been sent before and the response was lost.
    is_replay: bool,
}

impl Intent {
    /// The intent to refresh the held grant. `None` if nothing can be lost.
    pub(super) fn to_refresh(held: &Snapshot, m: Moment<'_>) -> Option<Self> {
        let tokens = held.tokens()?;
        tokens.refresh_token()?;
        // The reuse grace begins when the refresh token was first sent, and not again.
        let first_sent = held.intent_since().filter(|_| has_grace(m));
        Some(Self {
            generation: held.generation()?,
            tokens: tokens.clone(),
            since: first_sent.unwrap_or(m.wall),
            is_replay: held.intent_since().is_some(),
        })
    }

    pub(super) fn generation(&self) -> Generation {
        self.generation
    }

    pub(super) fn since(&self) -> SystemTime {
        self.since
    }

    pub(super) fn is_replay(&self) -> bool {
        self.is_replay
    }

    /// The refresh token is sent again: with the time of the first request.
    pub(super) fn into_replay(self) -> Self {
        Self {
            is_replay: true,
            ..self
        }
    }

    /// Whether the same attempt may send the refresh token again after a lost response and this
    /// pause. A longer pause is left to the backoff, also within a reuse grace: the attempt would
    /// keep its lease and its permit meanwhile.
    pub(super) fn may_be_replayed(&self, pause: Duration, m: Moment<'_>) -> bool {
        !self.is_replay && pause <= REPLAY && may_replay(self.since, pause, m)
    }

    /// Whether the replay is still possible once it has been saved.
    pub(super) fn is_recent(&self, m: Moment<'_>) -> bool {
        may_replay(self.since, Duration::ZERO, m)
    }

    /// Whether the refresh token was sent before, and the provider still accepts it again.
    pub(super) fn is_in_grace(&self, m: Moment<'_>) -> bool {
        has_grace(m) && self.is_replay && self.is_recent(m)
    }

    /// The grant to store while the refresh token is used.
    pub(super) fn grant(&self) -> Grant {
        Grant::new(
            self.generation,
            GrantState::Refreshing {
                tokens: self.tokens.clone(),
                since: self.since,
                is_replayed: self.is_replay,
            },
        )
    }

    /// The grant to store because the refresh token was not used. `None` if the intent has to
    /// remain, because it stems from an earlier lost response.
    pub(super) fn removed(self) -> Option<Grant> {
        (!self.is_replay).then_some(Grant::new(self.generation, GrantState::Active(self.tokens)))
    }
}

impl CacheState {
    /// Whether another process may still be working on the intent of this time.
    pub(super) fn may_be_in_flight(&self, since: SystemTime, m: Moment<'_>) -> bool {
        let age = m.wall.duration_since(since).unwrap_or(Duration::ZERO);
        // The replay is sent within its time, and then waits for its response.
        let in_flight = m.policy.fetch_timeout.saturating_add(REPLAY);
        self.own_intent != Some(since) && age < in_flight
    }

    /// How long until the held intent may be replayed again. Only this process's last request
    /// counts: another process has a lease while it sends its own.
    pub(super) fn until_replay(&self, m: Moment<'_>) -> Duration {
        let (Some(since), Some(last)) = (self.held.intent_since(), self.refresh_started_at) else {
            return Duration::ZERO;
        };
        let age = m.wall.duration_since(since).unwrap_or(Duration::ZERO);
        let passed = m.now.saturating_duration_since(last);
        let pause = age.saturating_sub(passed) / 2;
        pause
            .clamp(SHORTEST_PAUSE, LONGEST_PAUSE)
            .saturating_sub(passed)
    }
}

/// The reason for replaying a lost refresh now, if that is permitted.
pub(super) fn replay_reason(held: &Snapshot, m: Moment<'_>) -> Option<Reason> {
    let since = held.intent_since()?;
    let is_permitted = has_grace(m) || !held.is_replayed();
    (is_permitted && is_replay_possible(held, m)).then_some(Reason::LostResponse(since))
}

/// Whether it is early enough for a replay of the held intent.
fn is_replay_possible(held: &Snapshot, m: Moment<'_>) -> bool {
    held.intent_since().is_some_and(|since| {
        // A wall clock that was set back does not prolong the time.
        let is_known_recently = held.intent_known_for(m.now) <= replay_limit(m);
        may_replay(since, Duration::ZERO, m) && is_known_recently
    })
}

/// Whether lost responses are replayed until the reuse grace of the provider ends.
pub(super) fn has_grace(m: Moment<'_>) -> bool {
    m.policy.reuse_grace.is_some() && m.policy.lost_response == LostResponse::RetryOnce
}

/// How long after the first request a replay may be sent.
pub(super) fn replay_limit(m: Moment<'_>) -> Duration {
    m.policy.reuse_grace.map_or(REPLAY, |grace| {
        grace.saturating_sub(LONGEST_MARGIN.min(grace / 10))
    })
}

/// Whether the refresh token must not be sent again before the access token expires, after a lost
/// response. The caller holds the lease.
pub(super) fn is_awaiting_expiry(held: &Snapshot, reason: Reason, m: Moment<'_>) -> bool {
    let Some((_, schedule)) = held.token() else {
        return false;
    };
    let until = match (m.policy.lost_response, reason) {
        (_, Reason::LostResponse(_)) => return replay_reason(held, m).is_none(),
        // The provider accepts the refresh token again.
        (LostResponse::RetryOnce, Reason::Advisory | Reason::KeepAlive(_))
            if has_grace(m) && is_replay_possible(held, m) =>
        {
            return false;
        }
        // Before the refresh token expires, if the access token may not.
        (LostResponse::RetryOnce, Reason::KeepAlive(_)) if !held.has_known_lifetime() => {
            return false;
        }
        (LostResponse::RetryOnce, Reason::Advisory | Reason::KeepAlive(_)) => {
            schedule.last_resort_at
        }
        // After the access token has expired, the provider would accept no refresh.
        (LostResponse::Defer, Reason::Advisory | Reason::KeepAlive(_) | Reason::Mandatory)
            if m.policy.refresh_window.latest.is_some() =>
        {
            schedule.last_resort_at
        }
        (LostResponse::Defer, Reason::Advisory | Reason::KeepAlive(_) | Reason::Mandatory) => {
            schedule.expires
        }
        _ => return false,
    };
    held.intent_since().is_some() && m.now < until
}

/// Whether a refresh that started at `since` may be replayed after this pause.
fn may_replay(since: SystemTime, pause: Duration, m: Moment<'_>) -> bool {
    // If the wall clock was set back, the deadlines of both requests still limit the time.
    let passed = m.wall.duration_since(since);
    m.policy.lost_response == LostResponse::RetryOnce
        && passed.is_ok_and(|passed| passed.saturating_add(pause) <= replay_limit(m))
}

pub(super) fn replayed_recently() -> Error {
    Error::new(
        ErrorKind::Unavailable,
        "the response to the last refresh was lost; the refresh token is sent again after a pause",
    )
    .with_response_lost()
}

pub(super) fn awaiting_expiry() -> Error {
    Error::new(
        ErrorKind::Unavailable,
        "the response to the last refresh was lost; the refresh token is not sent again while the access token is valid",
    )
    .with_response_lost()
}
