//! What happens in an exchange's task, from the first look into the store to the answer. What becomes of a new token set
//! then stands in `settle`.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant, SystemTime},
};

use super::{
    attend::Cause,
    core::{Core, within},
    flight::{Outcome, Pilot},
    journal::{self, Note, Noted},
    lease::{self, Taken},
    settle::settle,
    snapshot::Snapshot,
};
use crate::{
    error::{Error, ErrorKind},
    store::SaveOutcome,
    token::{Generation, Grant, GrantState, ReauthorizationReason, TokenSet},
};

/// For the exchange, with whatever the source makes of it.
const EXCHANGE_DEADLINE: Duration = Duration::from_secs(15);

/// For the second one, after the answer to the first was lost.
const REPLAY_DEADLINE: Duration = Duration::from_secs(10);

/// For telling the provider that a grant has ended: two tokens, each with what the source makes of it.
const REVOCATION_DEADLINE: Duration = Duration::from_secs(30);

pub(super) async fn renew(pilot: &Pilot, cause: Cause) -> Outcome {
    let core = &pilot.core;
    // Before the look into the store, so that what is seen there is not a second old when the exchange begins.
    wait_out_the_floor(core).await;
    let stored = core.read().await?;
    core.adopt(stored.as_ref());
    if let Some(outcome) = without_exchange(core, cause) {
        return outcome;
    }
    match lease::acquire(core, cause).await? {
        Taken::Needless(outcome) => outcome,
        Taken::Lease(counted) => lease::hold(core, counted, renew_with_lease(pilot, cause)).await,
    }
}

async fn renew_with_lease(pilot: &Pilot, cause: Cause) -> Outcome {
    let core = &pilot.core;
    let admission = match core.source.gate() {
        Some(gate) => Some(gate.enter(core.key).await?),
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
                && !error.is_answer_lost()
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
    if !error.is_answer_lost() {
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
    core.telemetry.answer_lost(error, is_replayed);
    if !is_replayed {
        return (answer, sent);
    }
    let sent = begin(pilot);
    (ask(core, held, REPLAY_DEADLINE).await, sent)
}

async fn ask(core: &Core, held: &Snapshot, deadline: Duration) -> Result<TokenSet, Error> {
    let exchange = core.source.exchange(held.tokens());
    within(deadline, exchange, || {
        let late = format!(
            "the exchange did not end within {} seconds",
            deadline.as_secs()
        );
        Error::new(ErrorKind::Unavailable, late).with_lost_answer()
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
    .with_lost_answer()
}

pub(super) fn unread() -> Error {
    Error::new(ErrorKind::NoGrant, "there is no grant that is known of yet")
}

async fn wait_out_the_floor(core: &Core) {
    let last = core.lock().exchanged_at;
    if let Some(wait) = last.and_then(|last| (last + core.floor).checked_duration_since(core.now()))
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

/// Stores an end that is known here alone, since it could not be stored when it was found out.
async fn remember_end(core: &Core, held: &Snapshot, expected: Option<Generation>) {
    if let Some(grant) = held
        .grant()
        .filter(|grant| Some(grant.generation) > expected)
    {
        // If it fails again, the next one who asks tries again.
        let _ = core.save(expected, grant).await;
    }
}

/// The provider refused the refresh token: the grant has ended, unless somebody else has renewed it.
async fn end(
    core: &Arc<Core>,
    held: &Snapshot,
    expected: Option<Generation>,
    refusal: Error,
    note: Option<Note>,
) -> Outcome {
    let was_lost = note.as_ref().is_some_and(|note| note.is_replay);
    let stored = match (core.read().await, note) {
        (Ok(stored), _) => stored,
        (Err(error), note) => {
            // Without a second look nobody may be declared dead. But there was an answer.
            if let Some(note) = note {
                note.take_back(core).await;
            }
            return Err(error);
        }
    };
    if stored.as_ref().map(|grant| grant.generation) > expected.max(held.generation()) {
        core.adopt(stored.as_ref());
        return adopted(core);
    }
    let Some(tokens) = held.tokens() else {
        return Err(refusal);
    };
    let wall = core.clock().wall();
    let reason = why(held, was_lost, wall);
    let grant = Grant {
        generation: following(held.generation(), expected),
        state: GrantState::ReauthorizationRequired {
            tokens: tokens.clone(),
            reason,
            since: wall,
        },
    };
    let ended = Snapshot::of_stored(grant.clone(), core.moment());
    match core.save(expected, &grant).await {
        Ok(SaveOutcome::Committed) => core.publish(ended),
        Ok(SaveOutcome::Superseded(stored)) => {
            core.adopt(stored.as_ref());
            return adopted(core);
        }
        Err(error) => {
            core.telemetry.save_failed(&error, Duration::ZERO);
            core.publish(ended);
        }
    }
    Err(core.snapshot().ended().unwrap_or(refusal))
}

fn why(held: &Snapshot, was_lost: bool, wall: SystemTime) -> ReauthorizationReason {
    let life = held.refresh_token();
    if was_lost {
        ReauthorizationReason::RotationLost
    } else if life.is_some_and(|life| life.left(wall).is_zero()) {
        ReauthorizationReason::RefreshTokenExpired
    } else {
        ReauthorizationReason::InvalidGrant
    }
}

/// What another replica's state of the grant means for those who wait here.
pub(super) fn adopted(core: &Core) -> Outcome {
    let snapshot = core.snapshot();
    match snapshot.alive(core.now()) {
        Some(token) => Ok(token.clone()),
        None => Err(snapshot.ended().unwrap_or_else(|| {
            Error::new(
                ErrorKind::Unavailable,
                "another replica has stored a token that has already expired",
            )
        })),
    }
}

/// Tokens that came in for a grant that was revoked meanwhile: nobody may use them, and the provider should know.
pub(super) async fn discard(core: &Core, fresh: &Snapshot) -> Error {
    if let Some(tokens) = fresh.tokens() {
        let _ = revoke_at_provider(core, tokens).await;
    }
    core.snapshot()
        .ended()
        .unwrap_or_else(|| Error::new(ErrorKind::Revoked, "the grant was revoked"))
}

pub(super) async fn revoke_at_provider(core: &Core, tokens: &TokenSet) -> Result<(), Error> {
    let revocation = core.source.revoke(tokens);
    within(REVOCATION_DEADLINE, revocation, || {
        let late = "the provider did not confirm the revocation within 30 seconds";
        Error::new(ErrorKind::Unavailable, late)
    })
    .await
}

/// The generation after everything that is known.
pub(super) fn following(held: Option<Generation>, stored: Option<Generation>) -> Generation {
    held.max(stored).map_or(Generation::FIRST, Generation::next)
}
