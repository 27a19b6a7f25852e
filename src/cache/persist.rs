//! Saves a new token set before requests use it. If no other token serves, it is used before it is
//! saved.

use std::{
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    BearerToken, command,
    core::Core,
    refresh::next_generation,
    single_flight::{Leader, Outcome, unsaved},
    snapshot::Snapshot,
    terminate::{adopted, discard},
};
use crate::{
    error::{Error, ErrorKind},
    store::SaveOutcome,
    token::{Generation, Grant, GrantState, TokenSet},
};

/// The pause between two attempts to save doubles from the first to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LAST_PAUSE: Duration = Duration::from_secs(10);

/// How long a save may take before requests use the token set unsaved, if no other token serves.
const GRACE: Duration = Duration::from_secs(1);

/// How long a save is retried after the last handle of the cache was dropped.
const ABANDONED_SAVE_LIMIT: Duration = Duration::from_secs(30);

/// Saves a new token set and publishes it, in the order that the module page describes.
pub(super) async fn persist(
    leader: &Leader,
    held: &Snapshot,
    mut expected: Option<Generation>,
    mut fresh: Snapshot,
) -> Outcome {
    let core = &leader.core;
    let since = core.now();
    let mut pause = FIRST_PAUSE;
    let mut is_used = false;
    loop {
        let (Some(grant), Some((token, _))) = (fresh.grant().cloned(), fresh.token()) else {
            // An active grant always has a token.
            return Err(Error::new(
                ErrorKind::Interrupted,
                "a new grant contains no token",
            ));
        };
        let token = token.clone();
        let save = tokio::spawn({
            // In a task of its own, so that a panic in the store does not lose the token set.
            let (core, grant) = (Arc::clone(core), grant.clone());
            async move { core.save(expected, &grant).await }
        });
        let needed = async {
            // A working store is faster than this.
            tokio::time::sleep(GRACE).await;
            leader.until_needed().await;
        };
        let saved = match unless(is_used, save, needed).await {
            Ok(saved) => saved,
            Err(save) => {
                publish_unsaved(leader, &fresh, &token);
                is_used = true;
                save.await
            }
        };
        let saved = saved.unwrap_or_else(|error| {
            Err(Error::new(ErrorKind::Interrupted, "the token store panicked").with_source(error))
        });
        match saved {
            Ok(SaveOutcome::Committed) => return publish(core, fresh, token, since).await,
            // An earlier attempt was committed although it failed.
            Ok(SaveOutcome::Superseded(Some(stored))) if stored == grant => {
                return publish(core, fresh, token, since).await;
            }
            Ok(SaveOutcome::Superseded(stored)) => {
                if let Some(outcome) = resolve_conflict(core, held, &fresh, stored.as_ref()).await {
                    return outcome;
                }
                expected = stored.map(|grant| grant.generation);
                fresh = fresh.with_generation(next_generation(held.generation(), expected));
            }
            Err(error) => {
                report_failed_save(core, &error, since);
                if is_used {
                    // All waiters have the token already.
                } else if leader.can_wait() {
                    leader.defer(error);
                } else {
                    publish_unsaved(leader, &fresh, &token);
                    is_used = true;
                }
            }
        }
        let is_abandoned = Arc::strong_count(core) == 1;
        if is_abandoned && core.now().saturating_duration_since(since) > ABANDONED_SAVE_LIMIT {
            return Err(Error::new(
                ErrorKind::Store,
                "a new token set could not be saved before its cache was dropped; the customer may have to consent again",
            ));
        }
        if let Err(rest) = unless(
            is_used,
            Box::pin(tokio::time::sleep(pause)),
            leader.until_needed(),
        )
        .await
        {
            publish_unsaved(leader, &fresh, &token);
            is_used = true;
            rest.await;
        }
        pause = (pause * 2).min(LAST_PAUSE);
    }
}

/// Publishes a token set that is not saved yet, because no other token serves.
fn publish_unsaved(leader: &Leader, fresh: &Snapshot, token: &BearerToken) {
    let core = &leader.core;
    core.publish(fresh.clone());
    let held = core.snapshot();
    leader.report(if held.generation() != Some(token.generation()) {
        // The grant was revoked or replaced meanwhile.
        adopted(core)
    } else if held.alive(core.now()).is_some() {
        Ok(token.clone())
    } else {
        Err(unsaved())
    });
}

/// Waits for `work`, and returns it as an error if `event` comes first. If `never` is set, `event`
/// is ignored.
async fn unless<T: Future + Unpin>(
    never: bool,
    mut work: T,
    event: impl Future<Output = ()>,
) -> Result<T::Output, T> {
    if never {
        return Ok(work.await);
    }
    tokio::select! {
        biased;
        output = &mut work => Ok(output),
        () = event => Err(work),
    }
}

fn report_failed_save(core: &Core, error: &Error, since: Instant) {
    let unsaved = core.now().saturating_duration_since(since);
    core.telemetry.save_failed(error, unsaved);
}

/// Decides between a new token set and the grant that was stored instead of the expected one.
///
/// Adopts the tokens of another process, and an end unless this refresh has overtaken it. Returns
/// `None` if the stored grant is to be overwritten.
async fn resolve_conflict(
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
        // The provider rejected the refresh token that this refresh has used successfully. The
        // rejection of another refresh token would be newer.
        GrantState::ReauthorizationRequired { tokens, .. }
            if held
                .tokens()
                .is_some_and(|used| used.refresh_token() == tokens.refresh_token()) =>
        {
            None
        }
        // The store has gone back to an older state, for example from a backup.
        GrantState::Active(_) | GrantState::Refreshing { .. }
            if Some(stored.generation) < fresh.generation() =>
        {
            None
        }
        GrantState::Active(_)
        | GrantState::Refreshing { .. }
        | GrantState::ReauthorizationRequired { .. } => {
            core.adopt(Some(stored));
            Some(adopted(core))
        }
    }
}

async fn publish(core: &Arc<Core>, fresh: Snapshot, token: BearerToken, since: Instant) -> Outcome {
    core.publish(fresh.clone());
    let is_revoked_locally = core.lock().is_revoked_locally;
    if is_revoked_locally {
        // Saving the end failed before, and the store has just saved the opposite.
        if let Err(error) = command::save_end(core).await {
            report_failed_save(core, &error, core.now());
        }
        return Err(discard(core, &fresh).await);
    }
    if core.snapshot().generation() == Some(token.generation()) {
        let lifetime = fresh.tokens().map(TokenSet::lifetime).unwrap_or_default();
        core.telemetry.refreshed(token.generation(), lifetime);
        // A token that expired while it was being saved serves the waiters only if that was quick.
        let is_late = core.now().saturating_duration_since(since) > GRACE;
        if is_late && core.snapshot().alive(core.now()).is_none() {
            return Err(Error::new(
                ErrorKind::Unavailable,
                "the new access token expired while it was being saved; retry",
            ));
        }
        return Ok(token);
    }
    // The grant was revoked or replaced meanwhile.
    adopted(core)
}
