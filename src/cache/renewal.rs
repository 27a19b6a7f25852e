//! What happens in an exchange's task, from the first look into the store to the answer. What becomes of a new token set
//! then stands in `settle`, and what of a refusal in `ending`.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use super::{
    attend::Cause,
    core::Core,
    ending::{adopted, end, remember_end},
    flight::{Outcome, Pilot},
    journal::{self, Note, Noted},
    lease::{self, Taken},
    settings::within,
    settle::settle,
    snapshot::Snapshot,
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

pub(super) async fn renew(pilot: &Pilot, cause: Cause) -> Outcome {
    let core = &pilot.core;
    // Before all else, so that what nobody waits for troubles no store while it has to wait itself.
    let place = match core.settings.source.gate() {
        Some(gate) if !pilot.is_awaited() => {
            gate.place(core.gate_key(), pilot.until_awaited()).await?
        }
        _ => None,
    };
    // Before the look into the store, so that what is seen there is not a second old when the exchange begins.
    wait_out_the_floor(core).await;
    let stored = core.read().await?;
    core.adopt(stored.as_ref());
    if let Some(outcome) = without_exchange(core, cause) {
        return outcome;
    }
    match lease::acquire(core, cause).await? {
        Taken::Needless(outcome) => outcome,
        Taken::Lease(counted) => {
            lease::hold(core, counted, renew_with_lease(pilot, cause, place)).await
        }
    }
}

async fn renew_with_lease(pilot: &Pilot, cause: Cause, place: Option<Place>) -> Outcome {
    let core = &pilot.core;
    // Who came to wait for it has made it more than background.
    let place = place.filter(|_| !pilot.is_awaited());
    let admission = match core.settings.source.gate() {
        Some(gate) => Some(gate.enter(core.gate_key(), place).await?),
        None => None,
    };
    // The turn may have been a while in coming, and so may the store.
    lease::check(core)?;
    // Neither a new consent nor a revocation comes between the look and the note.
    let turn = core.commands.lock().await;
    if !pilot.is_of_this_consent() {
        // It was begun for another, and would renew this one beside somebody else.
        return adopted(core);
    }
    // Read again, and before the refresh token is spent: another replica may have renewed, and a store that is down is
    // found out now.
    let stored = core.read().await?;
    core.adopt(stored.as_ref());
    if let Some(outcome) = without_exchange(core, cause) {
        return outcome;
    }
    let held = Arc::clone(&core.snapshot());
    if core.is_on_hold(&held, cause, core.now()) {
        pilot.is_held_back.store(true, Ordering::Relaxed);
        // With the lease in hand: it is under way nowhere else.
        core.lock().noted = held.unanswered();
        return Err(on_hold());
    }
    lease::check(core)?;
    let expected = stored.map(|grant| grant.generation);
    let (mut note, expected) = match journal::note(core, &held, expected).await? {
        Noted::Go(note, expected) => (note, expected),
        Noted::Overtaken => return adopted(core),
    };
    drop(turn);
    if let Some(error) = core.snapshot().ended() {
        // Revoked meanwhile.
        return Err(error);
    }
    lease::check(core)?;
    let (answer, sent) = exchange(pilot, &held, note.as_mut()).await;
    if let Some(admission) = admission {
        admission.settle(&answer);
    }
    match answer {
        Ok(tokens) => {
            if let Cause::Rejected(_) = cause {
                // Only then: a failure has its own pause, and is no reason to leave a rejected token in use for longer.
                core.lock().forced_at = Some(sent);
            }
            let grant = Grant {
                generation: following(held.generation(), expected),
                state: GrantState::Active(tokens),
            };
            let fresh = Snapshot::of_new(grant, sent, core.moment());
            settle(pilot, &held, expected, fresh).await
        }
        Err(error) if error.is_invalid_grant() => end(core, &held, expected, error, note).await,
        Err(error) => {
            if let Some(note) = note
                && !error.is_response_lost()
            {
                note.take_back(core).await;
            }
            Err(error)
        }
    }
}

/// What there is to say before anything is sent, if that is enough.
pub(super) fn without_exchange(core: &Core, cause: Cause) -> Option<Outcome> {
    let held = core.snapshot();
    if let Some(token) = held.answer(cause, core.now()) {
        return Some(Ok(token.clone()));
    }
    held.ended().map(Err)
}

/// Asks the source; and once more, if its answer was lost and that may be. Also tells when it was last asked.
async fn exchange(
    pilot: &Pilot,
    held: &Snapshot,
    note: Option<&mut Note>,
) -> (Result<TokenSet, Error>, Instant) {
    let core = &pilot.core;
    let sent = begin(pilot);
    let answer = ask(core, held, EXCHANGE_DEADLINE).await;
    let (Err(error), Some(note)) = (&answer, note) else {
        return (answer, sent);
    };
    if !error.is_response_lost() {
        return (answer, sent);
    }
    let mut is_replayed = note.may_replay(core);
    if is_replayed {
        // Time for the first connection to be dead, too.
        wait_out_the_floor(core).await;
        // Writing that down takes time, too.
        is_replayed = lease::check(core).is_ok()
            && note.replay(core).await
            && note.is_recent(core)
            && core.snapshot().ended().is_none()
            && lease::check(core).is_ok();
    }
    core.telemetry.response_lost(error, is_replayed);
    if !is_replayed {
        return (answer, sent);
    }
    let sent = begin(pilot);
    (ask(core, held, REPLAY_DEADLINE).await, sent)
}

async fn ask(core: &Core, held: &Snapshot, deadline: Duration) -> Result<TokenSet, Error> {
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
pub(super) async fn look(core: &Arc<Core>, cause: Cause, reason: Error) -> Outcome {
    let stored = core.read().await?;
    core.adopt(stored.as_ref());
    let snapshot = Arc::clone(&core.snapshot());
    if snapshot.ended().is_some() {
        remember_end(core, &snapshot, stored.map(|grant| grant.generation)).await;
    }
    let found = match cause {
        Cause::Due => snapshot.alive(core.now()),
        _ => snapshot.answer(cause, core.now()),
    };
    found
        .cloned()
        .ok_or_else(|| snapshot.ended().unwrap_or(reason))
}

pub(super) fn rejected_anew() -> Error {
    Error::new(
        ErrorKind::Unavailable,
        "the provider rejects tokens that it has just issued: no further exchange for up to 30 seconds",
    )
}

pub(super) fn on_hold() -> Error {
    Error::new(
        ErrorKind::Unavailable,
        "the answer to the last exchange was lost: the refresh token is not sent again while the access token serves",
    )
    .with_response_lost()
}

pub(super) fn unread() -> Error {
    Error::new(ErrorKind::NoGrant, "there is no grant that is known of yet")
}

async fn wait_out_the_floor(core: &Core) {
    let last = core.lock().exchanged_at;
    if let Some(wait) =
        last.and_then(|last| (last + core.settings.floor).checked_duration_since(core.now()))
    {
        tokio::time::sleep(wait).await;
    }
}

/// Notes that an exchange begins.
fn begin(pilot: &Pilot) -> Instant {
    pilot.has_sent.store(true, Ordering::Relaxed);
    let now = pilot.core.now();
    pilot.core.lock().exchanged_at = Some(now);
    now
}

/// The generation after everything that is known.
pub(super) fn following(held: Option<Generation>, stored: Option<Generation>) -> Generation {
    held.max(stored).map_or(Generation::FIRST, Generation::next)
}
