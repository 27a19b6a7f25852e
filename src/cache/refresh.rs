//! What happens in an exchange's task, from the first look into the store to the answer. What becomes of a new token set
//! then stands in `settle`, and what of a refusal in `ending`.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use super::{
    admission::Reason,
    core::Core,
    intent::{self, Intent, Recorded},
    lease::{self, Taken},
    persist::persist,
    settings::within,
    single_flight::{Leader, Outcome},
    snapshot::Snapshot,
    terminate::{adopted, remember_end, terminate},
};
use crate::{
    error::{Error, ErrorKind},
    oauth::Place,
    token::{Generation, Grant, GrantState, TokenSet},
};

/// For the exchange, with whatever the source makes of it.
const EXCHANGE_DEADLINE: Duration = Duration::from_secs(15);

/// For the second one, after the answer to the first was lost.
const REPLAY_DEADLINE: Duration = Duration::from_secs(10);

pub(super) async fn refresh(leader: &Leader, reason: Reason) -> Outcome {
    let core = &leader.core;
    // Before all else, so that what nobody waits for troubles no store while it has to wait itself.
    let place = match core.settings.source.gate() {
        Some(gate) if !leader.is_awaited() => {
            gate.place(core.gate_key(), leader.until_awaited()).await?
        }
        _ => None,
    };
    // Before the look into the store, so that what is seen there is not a second old when the exchange begins.
    wait_min_interval(core).await;
    let stored = core.read().await?;
    core.adopt(stored.as_ref());
    if let Some(outcome) = without_exchange(core, reason) {
        return outcome;
    }
    match lease::acquire(core, reason).await? {
        Taken::Needless(outcome) => outcome,
        Taken::Lease(counted) => {
            lease::hold(core, counted, refresh_with_lease(leader, reason, place)).await
        }
    }
}

async fn refresh_with_lease(leader: &Leader, reason: Reason, place: Option<Place>) -> Outcome {
    let core = &leader.core;
    // Who came to wait for it has made it more than background.
    let place = place.filter(|_| !leader.is_awaited());
    let admission = match core.settings.source.gate() {
        Some(gate) => Some(gate.enter(core.gate_key(), place).await?),
        None => None,
    };
    // The turn may have been a while in coming, and so may the store.
    lease::check(core)?;
    // Neither a new consent nor a revocation comes between the look and the intent.
    let turn = core.command_lock.lock().await;
    if !leader.is_of_this_consent() {
        // It was begun for another, and would renew this one beside somebody else.
        return adopted(core);
    }
    // Read again, and before the refresh token is spent: another replica may have renewed, and a store that is down is
    // found out now.
    let stored = core.read().await?;
    core.adopt(stored.as_ref());
    if let Some(outcome) = without_exchange(core, reason) {
        return outcome;
    }
    let held = Arc::clone(&core.snapshot());
    if core.is_awaiting_expiry(&held, reason, core.now()) {
        leader.deferred.store(true, Ordering::Relaxed);
        // With the lease in hand: it is under way nowhere else.
        core.lock().own_intent = held.intent_since();
        return Err(awaiting_expiry());
    }
    lease::check(core)?;
    let expected = stored.map(|grant| grant.generation);
    let (mut intent, expected) = match intent::record(core, &held, expected).await? {
        Recorded::Proceed(intent, expected) => (intent, expected),
        Recorded::Superseded => return adopted(core),
    };
    drop(turn);
    if let Some(error) = core.snapshot().ended() {
        // Revoked meanwhile.
        return Err(error);
    }
    lease::check(core)?;
    let (answer, sent) = send(leader, &held, intent.as_mut()).await;
    if let Some(admission) = admission {
        admission.settle(&answer);
    }
    match answer {
        Ok(tokens) => {
            if let Reason::Rejected(_) = reason {
                // Only then: a failure has its own pause, and is no reason to leave a rejected token in use for longer.
                core.lock().forced_refresh_at = Some(sent);
            }
            let grant = Grant {
                generation: following(held.generation(), expected),
                state: GrantState::Active(tokens),
            };
            let fresh = Snapshot::of_new(grant, sent, core.moment());
            persist(leader, &held, expected, fresh).await
        }
        Err(error) if error.is_invalid_grant() => {
            terminate(core, &held, expected, error, intent).await
        }
        Err(error) => {
            if let Some(intent) = intent
                && !error.is_response_lost()
            {
                intent.take_back(core).await;
            }
            Err(error)
        }
    }
}

/// What there is to say before anything is sent, if that is enough.
pub(super) fn without_exchange(core: &Core, reason: Reason) -> Option<Outcome> {
    let held = core.snapshot();
    if let Some(token) = held.token_for(reason, core.now()) {
        return Some(Ok(token.clone()));
    }
    held.ended().map(Err)
}

/// Asks the source; and once more, if its answer was lost and that may be. Also tells when it was last asked.
async fn send(
    leader: &Leader,
    held: &Snapshot,
    intent: Option<&mut Intent>,
) -> (Result<TokenSet, Error>, Instant) {
    let core = &leader.core;
    let sent = mark_sent(leader);
    let answer = fetch(core, held, EXCHANGE_DEADLINE).await;
    let (Err(error), Some(intent)) = (&answer, intent) else {
        return (answer, sent);
    };
    if !error.is_response_lost() {
        return (answer, sent);
    }
    let mut is_replayed = intent.may_replay(core);
    if is_replayed {
        // Time for the first connection to be dead, too.
        wait_min_interval(core).await;
        // Writing that down takes time, too.
        is_replayed = lease::check(core).is_ok()
            && intent.replay(core).await
            && intent.is_recent(core)
            && core.snapshot().ended().is_none()
            && lease::check(core).is_ok();
    }
    core.telemetry.response_lost(error, is_replayed);
    if !is_replayed {
        return (answer, sent);
    }
    let sent = mark_sent(leader);
    (fetch(core, held, REPLAY_DEADLINE).await, sent)
}

async fn fetch(core: &Core, held: &Snapshot, deadline: Duration) -> Result<TokenSet, Error> {
    let exchange = core.settings.source.fetch(held.tokens());
    within(deadline, exchange, || {
        let late = format!(
            "the exchange did not end within {} seconds",
            deadline.as_secs()
        );
        Error::new(ErrorKind::Unavailable, late).with_response_lost()
    })
    .await
}

/// Only the first half of that: what another replica has stored may be taken, but nothing is sent, for this `reason`.
pub(super) async fn check_store(core: &Arc<Core>, reason: Reason, error: Error) -> Outcome {
    let stored = core.read().await?;
    core.adopt(stored.as_ref());
    let snapshot = Arc::clone(&core.snapshot());
    if snapshot.ended().is_some() {
        remember_end(core, &snapshot, stored.map(|grant| grant.generation)).await;
    }
    let found = match reason {
        Reason::Mandatory => snapshot.alive(core.now()),
        _ => snapshot.token_for(reason, core.now()),
    };
    found
        .cloned()
        .ok_or_else(|| snapshot.ended().unwrap_or(error))
}

pub(super) fn rejected_again() -> Error {
    Error::new(
        ErrorKind::Unavailable,
        "the provider rejects tokens that it has just issued: no further exchange for up to 30 seconds",
    )
}

pub(super) fn awaiting_expiry() -> Error {
    Error::new(
        ErrorKind::Unavailable,
        "the answer to the last exchange was lost: the refresh token is not sent again while the access token serves",
    )
    .with_response_lost()
}

pub(super) fn grant_unknown() -> Error {
    Error::new(ErrorKind::NoGrant, "there is no grant that is known of yet")
}

async fn wait_min_interval(core: &Core) {
    let last = core.lock().refresh_started_at;
    if let Some(wait) = last.and_then(|last| {
        (last + core.settings.min_refresh_interval).checked_duration_since(core.now())
    }) {
        tokio::time::sleep(wait).await;
    }
}

/// Notes that an exchange begins.
fn mark_sent(leader: &Leader) -> Instant {
    leader.has_sent.store(true, Ordering::Relaxed);
    let now = leader.core.now();
    leader.core.lock().refresh_started_at = Some(now);
    now
}

/// The generation after everything that is known.
pub(super) fn following(held: Option<Generation>, stored: Option<Generation>) -> Generation {
    held.max(stored).map_or(Generation::FIRST, Generation::next)
}
