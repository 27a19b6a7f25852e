//! What happens in an exchange's task, from the first look into the store to the answer. What becomes of a new token set
//! then stands in `settle`.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    core::{Core, within},
    flight::{Cause, Outcome, Pilot},
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

/// Between the beginnings of two exchanges, whatever comes back.
const FLOOR: Duration = Duration::from_secs(1);

pub(super) async fn renew(pilot: &Pilot, cause: Cause) -> Outcome {
    let core = &pilot.core;
    // Before the look into the store, so that what is seen there is not a second old when the exchange begins.
    wait_out_the_floor(core).await;
    // Read before the refresh token is spent: another replica may have renewed, and a store that is down is found out now.
    let stored = core.read().await?;
    core.adopt(stored.as_ref());
    let held = Arc::clone(&core.snapshot());
    let expected = stored.map(|grant| grant.generation);
    if let Some(token) = held.answer(cause, core.now()) {
        return Ok(token.clone());
    }
    if let Some(error) = held.ended() {
        return Err(error);
    }
    let sent = begin(core);
    let exchange = core.source.exchange(held.tokens());
    let late = "the exchange did not end within 15 seconds";
    let answer = within(EXCHANGE_DEADLINE, exchange, ErrorKind::Unavailable, late).await;
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
            let fresh = Snapshot::of_new(grant, sent, core.chance());
            settle(pilot, &held, expected, fresh).await
        }
        Err(error) if error.is_invalid_grant() => end(core, &held, expected, error).await,
        Err(error) => Err(error),
    }
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

async fn wait_out_the_floor(core: &Core) {
    let last = core.lock().exchanged_at;
    if let Some(wait) = last.and_then(|last| (last + FLOOR).checked_duration_since(core.now())) {
        tokio::time::sleep(wait).await;
    }
}

/// Notes that an exchange begins.
fn begin(core: &Core) -> Instant {
    let now = core.now();
    core.lock().exchanged_at = Some(now);
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
) -> Outcome {
    // Without a second look nobody may be declared dead.
    let stored = core.read().await?;
    if stored.as_ref().map(|grant| grant.generation) > expected.max(held.generation()) {
        core.adopt(stored.as_ref());
        return adopted(core);
    }
    let Some(tokens) = held.tokens() else {
        return Err(refusal);
    };
    let grant = Grant {
        generation: following(held.generation(), expected),
        state: GrantState::ReauthorizationRequired {
            tokens: tokens.clone(),
            reason: ReauthorizationReason::InvalidGrant,
            since: core.clock().wall(),
        },
    };
    let ended = Snapshot::of_stored(grant.clone(), core.now(), core.clock().wall(), 0.0);
    match core.save(expected, &grant).await {
        Ok(SaveOutcome::Committed) => core.publish(ended),
        Ok(SaveOutcome::Superseded(stored)) => {
            core.adopt(stored.as_ref());
            return adopted(core);
        }
        Err(error) => {
            tracing::error!(
                target: "tower_oauth2_client",
                error = %error,
                "the end of a grant could not be stored: it is known to this process only"
            );
            core.publish(ended);
        }
    }
    tracing::warn!(
        target: "tower_oauth2_client",
        reason = "invalid_grant",
        "reauthorization required: the provider has ended the grant"
    );
    Err(core.snapshot().ended().unwrap_or(refusal))
}

/// What another replica's state of the grant means for those who wait here.
pub(super) fn adopted(core: &Core) -> Outcome {
    let snapshot = core.snapshot();
    tracing::debug!(
        target: "tower_oauth2_client",
        generation = snapshot.generation().map(Generation::as_u64),
        "took over what another replica has stored"
    );
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
    let late = "the provider did not confirm the revocation within 15 seconds";
    let revocation = core.source.revoke(tokens);
    within(EXCHANGE_DEADLINE, revocation, ErrorKind::Unavailable, late).await
}

/// The generation after everything that is known.
pub(super) fn following(held: Option<Generation>, stored: Option<Generation>) -> Generation {
    held.max(stored).map_or(Generation::FIRST, Generation::next)
}
