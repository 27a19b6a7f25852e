//! What happens in an exchange's task, from the first look into the store to the last attempt to save.

use std::{
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::future::{Either, select};

use super::{
    command,
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

/// How long a save may take before a token set is used without it, where there is no other to use.
const GRACE: Duration = Duration::from_secs(1);

/// How long saving is tried once nobody holds the cache any more.
const LAST_WILL: Duration = Duration::from_secs(30);

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
        remember_end(core, &held, expected).await;
        return Err(error);
    }
    let sent = begin(core);
    let exchange = core.source.exchange(held.tokens());
    let answer = tokio::time::timeout(EXCHANGE_DEADLINE, exchange)
        .await
        .unwrap_or_else(|_| {
            Err(Error::new(
                ErrorKind::Unavailable,
                "the exchange did not end within 15 seconds",
            ))
        });
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
    let mut is_used = false;
    loop {
        let (Some(grant), Some((token, _))) = (fresh.grant().cloned(), fresh.token()) else {
            // An active grant always has a token.
            return Err(Error::new(
                ErrorKind::Interrupted,
                "a new grant holds no token",
            ));
        };
        let token = token.clone();
        let use_now = || {
            core.publish(fresh.clone());
            pilot.tell(Ok(token.clone()));
        };
        let save = tokio::spawn({
            // In a task of its own, so that a panic in the store loses nothing.
            let (core, grant) = (Arc::clone(core), grant.clone());
            async move { core.save(expected, &grant).await }
        });
        let needed = async {
            // A store that works is faster than this.
            tokio::time::sleep(GRACE).await;
            pilot.until_needed(held).await;
        };
        let saved = match unless(is_used, save, needed).await {
            Ok(saved) => saved,
            Err(save) => {
                use_now();
                is_used = true;
                save.await
            }
        };
        let saved = saved.unwrap_or_else(|error| {
            Err(Error::new(ErrorKind::Interrupted, "the token store panicked").with_source(error))
        });
        match saved {
            Ok(SaveOutcome::Committed) => return publish(core, fresh, token).await,
            // An earlier attempt was taken for failed, but was not.
            Ok(SaveOutcome::Superseded(Some(stored))) if stored == grant => {
                return publish(core, fresh, token).await;
            }
            Ok(SaveOutcome::Superseded(stored)) => {
                if let Some(outcome) = yield_to(core, held, &fresh, stored.as_ref()).await {
                    return outcome;
                }
                expected = stored.map(|grant| grant.generation);
                fresh = fresh.renumbered(following(held.generation(), expected));
            }
            Err(error) => {
                tell_of_failed_save(core, &error, since);
                if is_used {
                    // Everybody has it already.
                } else if pilot.can_wait_with(held) {
                    pilot.tell(Err(error));
                } else {
                    use_now();
                    is_used = true;
                }
            }
        }
        let is_abandoned = Arc::strong_count(core) == 1;
        if is_abandoned && core.now().saturating_duration_since(since) > LAST_WILL {
            return Err(Error::new(
                ErrorKind::Store,
                "a new token set could not be stored, and its cache is gone: the customer may have to consent again",
            ));
        }
        if let Err(rest) = unless(
            is_used,
            Box::pin(tokio::time::sleep(pause)),
            pilot.until_needed(held),
        )
        .await
        {
            core.publish(fresh.clone());
            pilot.tell(Ok(token));
            is_used = true;
            rest.await;
        }
        pause = (pause * 2).min(LAST_PAUSE);
    }
}

/// Waits for `work`, unless `event` comes first: then gives the work back. With `never`, the event does not count.
async fn unless<T: Future + Unpin>(
    never: bool,
    mut work: T,
    event: impl Future<Output = ()>,
) -> Result<T::Output, T> {
    if never {
        return Ok(work.await);
    }
    match select(&mut work, pin!(event)).await {
        Either::Left((output, _)) => Ok(output),
        Either::Right(((), _)) => Err(work),
    }
}

fn tell_of_failed_save(core: &Core, error: &Error, since: Instant) {
    tracing::error!(
        target: "tower_oauth2_client",
        error = %error,
        unsaved_seconds = core.now().saturating_duration_since(since).as_secs(),
        "a new token set could not be stored and would be lost in a crash: saving is tried again"
    );
}

/// What is stored instead of what was expected: somebody else's tokens are taken over, and an end is respected, unless it is
/// one that the exchange made here has overtaken. `None` if what is stored has to give way.
async fn yield_to(
    core: &Arc<Core>,
    held: &Snapshot,
    fresh: &Snapshot,
    stored: Option<&Grant>,
) -> Option<Outcome> {
    let stored = stored?;
    match &stored.state {
        GrantState::Revoked { .. } => {
            core.adopt(Some(stored));
            Some(Err(discard(core, fresh).await))
        }
        // A refusal of the refresh token that was used up here. Of another one it would be news.
        GrantState::ReauthorizationRequired { tokens, .. }
            if held
                .tokens()
                .is_some_and(|used| used.refresh_token() == tokens.refresh_token()) =>
        {
            None
        }
        // A store that has gone back to an older state, as from a backup.
        GrantState::Active(_) if Some(stored.generation) < fresh.generation() => None,
        GrantState::Active(_) | GrantState::ReauthorizationRequired { .. } => {
            core.adopt(Some(stored));
            Some(adopted(core))
        }
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

async fn publish(core: &Arc<Core>, fresh: Snapshot, token: BearerToken) -> Outcome {
    tracing::debug!(
        target: "tower_oauth2_client",
        generation = token.generation().as_u64(),
        "a new token set is stored"
    );
    core.publish(fresh.clone());
    let is_revoked_here = core.lock().is_revoked_here;
    if is_revoked_here {
        // The end could not be stored, and the store has just taken the opposite.
        if let Err(error) = command::store_end(core).await {
            tell_of_failed_save(core, &error, core.now());
        }
        return Err(discard(core, &fresh).await);
    }
    if core.snapshot().generation() == Some(token.generation()) {
        return Ok(token);
    }
    // It was revoked or replaced meanwhile.
    adopted(core)
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
