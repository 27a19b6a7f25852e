//! What is noted in the store before a refresh token is sent.
//!
//! A intent says that an exchange has begun with these tokens: it replaces the stored grant by the same one in the state
//! [`Exchanging`](GrantState::Exchanging), under the same generation. So
//!
//! * a store that cannot be written is found out before the refresh token is spent;
//! * whoever reads it, another replica or the next start after a crash, knows that the answer is still missing;
//! * a refusal that comes after a lost answer is told apart from a revocation.
//!
//! A new token set, or an end, overwrites the intent. An exchange that has failed without using anything up takes it back.
//! Where there is no refresh token there is nothing to lose, and nothing is noted.

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

/// How long an exchange that another process has noted may be under way there: the first request and the second have 26
/// seconds between them.
const UNDER_WAY: Duration = Duration::from_secs(30);

/// How long after it was begun an exchange whose answer was lost is made again. Providers that forgive a second use do so for
/// half a minute at least; by the wall clock, since a machine that slept meanwhile has missed that.
const REPLAY: Duration = Duration::from_secs(30);

/// How often a intent that lost a race is tried anew.
const ATTEMPTS: u32 = 4;

/// What to do when the answer to an exchange was lost, so that nobody knows whether the provider has used up the refresh
/// token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum LostResponse {
    /// Send the same refresh token once more, when the first connection is gone, a second at least and 30 at most after the
    /// first time. If that is lost too, send it again only in the access token's last five minutes.
    ///
    /// Providers that forgive a prompt second use give the tokens then; with one that does not, the refresh token was lost
    /// already, and only what is left of the access token's life may be lost besides.
    #[default]
    RetryOnce,
    /// Do not send it again while the access token lives: for a provider that answers a second use by ending the access token
    /// too, and API calls that must go on as long as they can.
    Defer,
}

/// What was noted of an exchange.
pub(super) struct Intent {
    generation: Generation,
    tokens: TokenSet,
    since: SystemTime,
    /// Whether the same refresh token has been sent before, and the answer lost.
    pub(super) is_replay: bool,
}

/// What came of noting.
pub(super) enum Recorded {
    /// The exchange may be made; with a intent, if there is something to lose. A save has to expect this generation.
    Proceed(Option<Intent>, Option<Generation>),
    /// Another replica has stored something newer, which was taken over.
    Superseded,
}

/// Notes that an exchange with what is held begins. The store was seen to hold `stored`.
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
                // A store that has gone back to an older state, as from a backup, gives way.
                expected = found;
            }
        }
    }
    Err(contended())
}

impl Intent {
    /// Whether the same refresh token may be sent once more after its answer was lost.
    pub(super) fn may_replay(&self, core: &Core) -> bool {
        !self.is_replay && self.is_recent(core)
    }

    pub(super) fn is_recent(&self, core: &Core) -> bool {
        core.may_replay(self.since)
    }

    /// Notes that it is, under the time of the first. `false` if that cannot be recorded, so that it must not be.
    pub(super) async fn replay(&mut self, core: &Arc<Core>) -> bool {
        self.is_replay = true;
        let written = write(core, Some(self.generation), self).await;
        matches!(written, Ok(SaveOutcome::Committed))
    }

    /// Takes the intent back: nothing was used up. One of an earlier exchange, whose answer was lost, stays true.
    pub(super) async fn take_back(self, core: &Arc<Core>) {
        // Without the lease there may be somebody else's intent by now.
        if self.is_replay || lease::check(core).is_err() {
            return;
        }
        let grant = Grant {
            generation: self.generation,
            state: GrantState::Active(self.tokens),
        };
        // If that fails, the next start is more careful than it had to be.
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
        state: GrantState::Exchanging {
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
    /// Whether an exchange that was begun then, and whose answer was lost, may be made again at once.
    fn may_replay(&self, since: SystemTime) -> bool {
        // A wall clock that was set back says nothing; then the deadlines of both exchanges do.
        let elapsed = self.clock().wall().duration_since(since);
        self.settings.lost_response == LostResponse::RetryOnce
            && elapsed.is_ok_and(|elapsed| elapsed <= REPLAY)
    }

    /// The reason to make it again for, if there is one.
    pub(super) fn lost(&self, snapshot: &Snapshot) -> Option<Reason> {
        let since = snapshot.intent_since()?;
        (!snapshot.is_replayed() && self.may_replay(since)).then_some(Reason::LostResponse(since))
    }

    /// Whether the answer to the last exchange was lost, and this is no reason to send the same refresh token again; as far as
    /// one can tell without the lease, when that exchange may still be under way.
    pub(super) fn seems_awaiting_expiry(
        &self,
        state: &CacheState,
        snapshot: &Snapshot,
        reason: Reason,
        now: Instant,
    ) -> bool {
        let is_lost = snapshot
            .intent_since()
            .is_some_and(|since| !may_be_under_way(state, since, self.clock().wall()));
        is_lost && self.is_awaiting_expiry(snapshot, reason, now)
    }

    /// The same with the lease in hand.
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
            (_, Reason::LostResponse(_)) => return self.lost(snapshot).is_none(),
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

/// Whether an exchange that was noted then may be under way in another process.
pub(super) fn may_be_under_way(state: &CacheState, since: SystemTime, wall: SystemTime) -> bool {
    let age = wall.duration_since(since).unwrap_or(Duration::ZERO);
    state.own_intent != Some(since) && age < UNDER_WAY
}
