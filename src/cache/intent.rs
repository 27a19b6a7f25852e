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

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use super::{
    admission::Reason, cache_state::CacheState, command::contended, core::Core, lease,
    snapshot::Snapshot,
};
use crate::{
    error::Error,
    store::SaveOutcome,
    token::{Generation, Grant, GrantState, TokenSet},
};

/// How long another process may be working on its intent. Its request and its replay take at most
/// 26 seconds.
const IN_FLIGHT: Duration = Duration::from_secs(30);

/// How long after the first request the replay may be sent. Providers with a reuse grace accept a
/// rotated refresh token for at least 30 seconds. Measured by the wall clock, which includes a
/// suspend.
const REPLAY: Duration = Duration::from_secs(30);

/// How often saving an intent is retried after a lost race.
const ATTEMPTS: u32 = 4;

/// The policy after a lost response.
///
/// A response is lost if the token request may have reached the provider and no usable response
/// came back. It is then unknown whether the refresh token has been used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum LostResponse {
    /// Send the same refresh token once more: 1 second after the first request at the earliest, 30
    /// seconds at the latest.
    ///
    /// A provider with a reuse grace accepts a rotated refresh token again for a short time, and
    /// responds with the new tokens. If that response is lost too, the [module
    /// page](crate::cache#lost-responses) lists when the refresh token is sent again.
    ///
    /// The risk: a provider without a reuse grace may revoke the access token because of the replay
    /// (RFC 9700 section 4.14.2). The replay does not lose the new refresh token: that was lost
    /// with the first response.
    #[default]
    RetryOnce,
    /// Do not send the refresh token again while the access token is valid, except after a 401 or
    /// by [`refresh_now`](crate::cache::TokenCache::refresh_now).
    ///
    /// Choose this if the provider revokes the access token when a refresh token is reused, and API
    /// calls must continue until the access token expires.
    Defer,
}

/// A saved intent.
pub(super) struct Intent {
    generation: Generation,
    tokens: TokenSet,
    since: SystemTime,
    /// Whether the same refresh token has been sent before and the response was lost.
    pub(super) is_replay: bool,
}

/// The result of saving an intent.
pub(super) enum Recorded {
    /// The token request may be sent. The intent is `None` if nothing can be lost. The next save
    /// has to expect this generation.
    Proceed(Option<Intent>, Option<Generation>),
    /// Another replica has saved a newer grant, which was adopted.
    Superseded,
}

/// Saves the intent to refresh the held grant. `stored` is the generation that was loaded.
pub(super) async fn record(
    core: &Arc<Core>,
    held: &Snapshot,
    stored: Option<Generation>,
) -> Result<Recorded, Error> {
    let (Some(tokens), Some(generation)) = (held.tokens(), held.generation()) else {
        return Ok(Recorded::Proceed(None, stored));
    };
    if tokens.refresh_token().is_none() {
        return Ok(Recorded::Proceed(None, stored));
    }
    let intent = Intent {
        generation,
        tokens: tokens.clone(),
        since: core.clock().wall(),
        is_replay: held.intent_since().is_some(),
    };
    let mut expected = stored;
    for _ in 0..ATTEMPTS {
        match write(core, expected, &intent).await? {
            SaveOutcome::Committed => return Ok(Recorded::Proceed(Some(intent), Some(generation))),
            SaveOutcome::Superseded(stored) => {
                let found = stored.as_ref().map(|grant| grant.generation);
                if found >= Some(generation) && found != expected {
                    core.adopt(stored.as_ref());
                    return Ok(Recorded::Superseded);
                }
                // The store has gone back to an older state, for example from a backup. That is
                // overwritten.
                expected = found;
            }
        }
    }
    Err(contended())
}

impl Intent {
    /// Whether the same refresh token may be sent again after a lost response.
    pub(super) fn may_replay(&self, core: &Core) -> bool {
        !self.is_replay && self.is_recent(core)
    }

    pub(super) fn is_recent(&self, core: &Core) -> bool {
        core.may_replay(self.since)
    }

    /// Saves that the refresh token is sent again, with the time of the first request. Returns
    /// false if that failed, so that it must not be sent.
    pub(super) async fn replay(&mut self, core: &Arc<Core>) -> bool {
        self.is_replay = true;
        let written = write(core, Some(self.generation), self).await;
        matches!(written, Ok(SaveOutcome::Committed))
    }

    /// Removes the intent, because the refresh token was not used. An intent that stems from an
    /// earlier lost response remains.
    pub(super) async fn remove(self, core: &Arc<Core>) {
        // Without the lease, the store may hold the intent of another process.
        if self.is_replay || lease::check(core).is_err() {
            return;
        }
        let grant = Grant {
            generation: self.generation,
            state: GrantState::Active(self.tokens),
        };
        // If this fails, the next start assumes a lost response, which is safe.
        let _ = core.save(Some(self.generation), &grant).await;
        core.publish(Snapshot::of_stored(grant, core.moment()));
    }
}

async fn write(
    core: &Arc<Core>,
    expected: Option<Generation>,
    intent: &Intent,
) -> Result<SaveOutcome, Error> {
    let grant = Grant {
        generation: intent.generation,
        state: GrantState::Refreshing {
            tokens: intent.tokens.clone(),
            since: intent.since,
            is_replayed: intent.is_replay,
        },
    };
    core.lock().own_intent = Some(intent.since);
    let outcome = core.save(expected, &grant).await?;
    if outcome == SaveOutcome::Committed {
        core.publish(Snapshot::of_stored(grant, core.moment()));
    }
    Ok(outcome)
}

impl Core {
    /// Whether a refresh that started at `since` may be replayed now.
    fn may_replay(&self, since: SystemTime) -> bool {
        // If the wall clock was set back, the deadlines of both requests still limit the time.
        let elapsed = self.clock().wall().duration_since(since);
        self.settings.lost_response == LostResponse::RetryOnce
            && elapsed.is_ok_and(|elapsed| elapsed <= REPLAY)
    }

    /// The reason for replaying a lost refresh now, if that is permitted.
    pub(super) fn replay_reason(&self, snapshot: &Snapshot) -> Option<Reason> {
        let since = snapshot.intent_since()?;
        (!snapshot.is_replayed() && self.may_replay(since)).then_some(Reason::LostResponse(since))
    }

    /// Whether the refresh token must not be sent again before the access token expires, after a
    /// lost response. Without the lease, another process may still be working on its intent.
    pub(super) fn seems_awaiting_expiry(
        &self,
        state: &CacheState,
        snapshot: &Snapshot,
        reason: Reason,
        now: Instant,
    ) -> bool {
        let is_lost = snapshot
            .intent_since()
            .is_some_and(|since| !may_be_in_flight(state, since, self.clock().wall()));
        is_lost && self.is_awaiting_expiry(snapshot, reason, now)
    }

    /// Whether the refresh token must not be sent again before the access token expires, after a
    /// lost response. The caller holds the lease.
    pub(super) fn is_awaiting_expiry(
        &self,
        snapshot: &Snapshot,
        reason: Reason,
        now: Instant,
    ) -> bool {
        let Some((_, schedule)) = snapshot.token() else {
            return false;
        };
        let until = match (self.settings.lost_response, reason) {
            (_, Reason::LostResponse(_)) => return self.replay_reason(snapshot).is_none(),
            (LostResponse::RetryOnce, Reason::Advisory | Reason::KeepAlive(_)) => {
                schedule.last_resort_at
            }
            (LostResponse::Defer, Reason::Advisory | Reason::KeepAlive(_) | Reason::Mandatory) => {
                schedule.expires
            }
            _ => return false,
        };
        snapshot.intent_since().is_some() && now < until
    }
}

/// Whether another process may still be working on the intent of this time.
pub(super) fn may_be_in_flight(state: &CacheState, since: SystemTime, wall: SystemTime) -> bool {
    let age = wall.duration_since(since).unwrap_or(Duration::ZERO);
    state.own_intent != Some(since) && age < IN_FLIGHT
}
