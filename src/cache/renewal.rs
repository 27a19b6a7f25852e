//! What happens in an exchange's task, from the first look into the store to the last attempt to save.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    core::Core,
    flight::{Cause, Outcome, Pilot},
    snapshot::{BearerToken, Snapshot},
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

/// Between attempts to save, doubling from the first to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LAST_PAUSE: Duration = Duration::from_secs(10);

/// How long saving is tried once nobody holds the cache any more.
const LAST_WILL: Duration = Duration::from_secs(30);

pub(super) async fn renew(pilot: &Pilot, cause: Cause) -> Outcome {
    let core = &pilot.core;
    // Read before the refresh token is spent: another replica may have renewed, and a store that is down is found out now.
    let stored = core.read().await?;
    core.adopt(stored.as_ref());
    let held = Arc::clone(&core.snapshot());
    if let Some(token) = held.answer(cause, core.now()) {
        return Ok(token.clone());
    }
    if let Some(error) = held.ended() {
        return Err(error);
    }
    let sent = begin(core, cause).await;
    let exchange = core.source.exchange(held.tokens());
    let answer = tokio::time::timeout(EXCHANGE_DEADLINE, exchange)
        .await
        .unwrap_or_else(|_| {
            Err(Error::new(
                ErrorKind::Unavailable,
                "the exchange did not end within 15 seconds",
            ))
        });
    let expected = stored.map(|grant| grant.generation);
    match answer {
        Ok(tokens) => {
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

/// Only the first half of that: what another replica has stored may be taken, but nothing is sent.
pub(super) async fn look(core: &Arc<Core>, cause: Cause) -> Outcome {
    let stored = core.read().await?;
    core.adopt(stored.as_ref());
    core.snapshot()
        .answer(cause, core.now())
        .cloned()
        .ok_or_else(rejected_anew)
}

pub(super) fn rejected_anew() -> Error {
    Error::new(
        ErrorKind::Unavailable,
        "the provider rejects tokens that it has just issued: no further exchange for up to 30 seconds",
    )
}

/// Waits out the floor, and notes that an exchange begins.
async fn begin(core: &Core, cause: Cause) -> Instant {
    let last = core.lock().exchanged_at;
    if let Some(wait) = last.and_then(|last| (last + FLOOR).checked_duration_since(core.now())) {
        tokio::time::sleep(wait).await;
    }
    let now = core.now();
    let mut slot = core.lock();
    slot.exchanged_at = Some(now);
    if let Cause::Rejected(_) = cause {
        slot.forced_at = Some(now);
    }
    now
}

/// Stores a new token set, then lets requests use it; or the other way round if there is nothing else to use.
async fn settle(
    pilot: &Pilot,
    held: &Snapshot,
    mut expected: Option<Generation>,
    mut fresh: Snapshot,
) -> Outcome {
    let core = &pilot.core;
    let since = core.now();
    let mut pause = FIRST_PAUSE;
    loop {
        let (Some(grant), Some((token, _))) = (fresh.grant(), fresh.token()) else {
            // An active grant always has a token.
            return Err(Error::new(
                ErrorKind::Interrupted,
                "a new grant holds no token",
            ));
        };
        let token = token.clone();
        let error = match core.save(expected, grant).await {
            Ok(SaveOutcome::Committed) => return publish(core, fresh, token),
            // An earlier attempt was taken for failed, but was not.
            Ok(SaveOutcome::Superseded(Some(stored))) if stored == *grant => {
                return publish(core, fresh, token);
            }
            Ok(SaveOutcome::Superseded(stored)) => {
                match stored.as_ref().map(|grant| &grant.state) {
                    // What ended the grant there was a refusal of the refresh token that was used up here.
                    None | Some(GrantState::ReauthorizationRequired { .. }) => {
                        expected = stored.map(|grant| grant.generation);
                        fresh = fresh.renumbered(following(held.generation(), expected));
                        continue;
                    }
                    Some(GrantState::Active(_)) => {
                        core.adopt(stored.as_ref());
                        return adopted(core);
                    }
                    Some(GrantState::Revoked { .. }) => {
                        core.adopt(stored.as_ref());
                        return Err(discard(core, &fresh).await);
                    }
                }
            }
            Err(error) => error,
        };
        let now = core.now();
        let can_wait = held.alive(now).is_some() && !pilot.is_held_token_rejected();
        tracing::error!(
            target: "tower_oauth2_client",
            error = %error,
            unsaved_seconds = now.saturating_duration_since(since).as_secs(),
            "a new token set could not be stored and would be lost in a crash: saving is tried again"
        );
        if can_wait {
            pilot.tell(Err(error));
        } else {
            core.publish(fresh.clone());
            pilot.tell(Ok(token));
        }
        let abandoned = Arc::strong_count(core) == 1;
        if abandoned && now.saturating_duration_since(since) > LAST_WILL {
            return Err(Error::new(
                ErrorKind::Store,
                "a new token set could not be stored, and its cache is gone: the customer may have to consent again",
            ));
        }
        // Up to the end of the held token, when the new one must be used.
        let held_until = held.token().map(|(_, schedule)| schedule.expires);
        let until_end = held_until
            .filter(|_| can_wait)
            .map_or(LAST_PAUSE, |end| end.saturating_duration_since(now));
        tokio::time::sleep(pause.min(until_end)).await;
        pause = (pause * 2).min(LAST_PAUSE);
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

fn publish(core: &Arc<Core>, fresh: Snapshot, token: BearerToken) -> Outcome {
    tracing::debug!(
        target: "tower_oauth2_client",
        generation = token.generation().as_u64(),
        "a new token set is stored"
    );
    core.publish(fresh);
    // Unless the grant was revoked or replaced meanwhile.
    match core.snapshot().ended() {
        Some(error) => Err(error),
        None => Ok(token),
    }
}

/// What another replica's state of the grant means for those who wait here.
fn adopted(core: &Core) -> Outcome {
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
async fn discard(core: &Core, fresh: &Snapshot) -> Error {
    if let Some(tokens) = fresh.tokens() {
        let _ = revoke_at_provider(core, tokens).await;
    }
    core.snapshot()
        .ended()
        .unwrap_or_else(|| Error::new(ErrorKind::Revoked, "the grant was revoked"))
}

pub(super) async fn revoke_at_provider(core: &Core, tokens: &TokenSet) -> Result<(), Error> {
    tokio::time::timeout(EXCHANGE_DEADLINE, core.source.revoke(tokens))
        .await
        .unwrap_or_else(|_| {
            Err(Error::new(
                ErrorKind::Unavailable,
                "the provider did not confirm the revocation within 15 seconds",
            ))
        })
}

/// The generation after everything that is known.
pub(super) fn following(held: Option<Generation>, stored: Option<Generation>) -> Generation {
    held.max(stored).map_or(Generation::FIRST, Generation::next)
}
