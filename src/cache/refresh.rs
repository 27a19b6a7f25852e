//! The steps of a refresh, from the first load to the token response. [`persist`](super::persist)
//! handles a new token set, and [`terminate`](super::terminate) a rejected refresh token.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use super::{
    admission::Reason,
    core::Core,
    intent::{self, Intent, Recorded},
    lease::{self, Acquisition},
    persist::persist,
    settings::within,
    single_flight::{Leader, Outcome},
    snapshot::Snapshot,
    terminate::{adopted, retry_saving_end, terminate},
};
use crate::{
    error::{Error, ErrorKind},
    oauth::BackgroundPermit,
    token::{Generation, Grant, GrantState, TokenSet},
};

/// For one call of the source.
const FETCH_DEADLINE: Duration = Duration::from_secs(15);

/// For the replay after a lost response.
const REPLAY_DEADLINE: Duration = Duration::from_secs(10);

pub(super) async fn refresh(leader: &Leader, reason: Reason) -> Outcome {
    let core = &leader.core;
    // First of all, so that background work that has to wait does not load the store meanwhile.
    let permit = match core.settings.source.gate() {
        Some(gate) if !leader.is_awaited() => {
            gate.acquire_background(core.gate_key(), leader.until_awaited())
                .await?
        }
        _ => None,
    };
    // Before the load, so that the loaded grant is not outdated when the request is sent.
    wait_min_interval(core).await;
    let stored = core.read().await?;
    core.adopt(stored.as_ref());
    if let Some(outcome) = without_request(core, reason) {
        return outcome;
    }
    match lease::acquire(core, reason).await? {
        Acquisition::NotNeeded(outcome) => outcome,
        Acquisition::Held(user) => {
            lease::hold(core, user, refresh_with_lease(leader, reason, permit)).await
        }
    }
}

async fn refresh_with_lease(
    leader: &Leader,
    reason: Reason,
    permit: Option<BackgroundPermit>,
) -> Outcome {
    let core = &leader.core;
    // A refresh that a caller waits for needs no background permit.
    let permit = permit.filter(|_| !leader.is_awaited());
    let admission = match core.settings.source.gate() {
        Some(gate) => Some(gate.acquire(core.gate_key(), permit).await?),
        None => None,
    };
    // The permit or the store may have taken a while.
    lease::check(core)?;
    // No command runs between the load and the intent.
    let guard = core.command_lock.lock().await;
    if !leader.is_of_this_consent() {
        // The refresh was started for a grant that has been replaced.
        return adopted(core);
    }
    // Load again before the refresh token is sent: another replica may have refreshed the grant,
    // and an unavailable store is detected here.
    let stored = core.read().await?;
    core.adopt(stored.as_ref());
    if let Some(outcome) = without_request(core, reason) {
        return outcome;
    }
    let held = Arc::clone(&core.snapshot());
    if core.is_awaiting_expiry(&held, reason, core.now()) {
        leader.deferred.store(true, Ordering::Relaxed);
        // This process holds the lease, so no other process is working on that intent.
        core.lock().own_intent = held.intent_since();
        return Err(awaiting_expiry());
    }
    lease::check(core)?;
    let expected = stored.map(|grant| grant.generation);
    let (mut intent, expected) = match intent::record(core, &held, expected).await? {
        Recorded::Proceed(intent, expected) => (intent, expected),
        Recorded::Superseded => return adopted(core),
    };
    drop(guard);
    if let Some(error) = core.snapshot().ended() {
        // Revoked meanwhile.
        return Err(error);
    }
    lease::check(core)?;
    let (response, sent) = send(leader, &held, intent.as_mut()).await;
    if let Some(admission) = admission {
        admission.record(&response);
    }
    match response {
        Ok(tokens) => {
            if let Reason::Rejected(_) = reason {
                // Only after a success: a failure has its own backoff, and is no reason to keep a
                // rejected token in use.
                core.lock().forced_refresh_at = Some(sent);
            }
            let grant = Grant {
                generation: next_generation(held.generation(), expected),
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
                intent.remove(core).await;
            }
            Err(error)
        }
    }
}

/// The result of a refresh that need not or cannot send a request.
pub(super) fn without_request(core: &Core, reason: Reason) -> Option<Outcome> {
    let held = core.snapshot();
    if let Some(token) = held.token_for(reason, core.now()) {
        return Some(Ok(token.clone()));
    }
    held.ended().map(Err)
}

/// Sends the token request, and the replay if the response is lost. Also returns when the last
/// request was sent.
async fn send(
    leader: &Leader,
    held: &Snapshot,
    intent: Option<&mut Intent>,
) -> (Result<TokenSet, Error>, Instant) {
    let core = &leader.core;
    let sent = mark_sent(leader);
    let response = fetch(core, held, FETCH_DEADLINE).await;
    let (Err(error), Some(intent)) = (&response, intent) else {
        return (response, sent);
    };
    if !error.is_response_lost() {
        return (response, sent);
    }
    let mut is_replayed = intent.may_replay(core);
    if is_replayed {
        // This also gives the first connection time to close.
        wait_min_interval(core).await;
        // Saving the replay also takes time.
        is_replayed = lease::check(core).is_ok()
            && intent.replay(core).await
            && intent.is_recent(core)
            && core.snapshot().ended().is_none()
            && lease::check(core).is_ok();
    }
    core.telemetry.response_lost(error, is_replayed);
    if !is_replayed {
        return (response, sent);
    }
    let sent = mark_sent(leader);
    (fetch(core, held, REPLAY_DEADLINE).await, sent)
}

async fn fetch(core: &Core, held: &Snapshot, deadline: Duration) -> Result<TokenSet, Error> {
    let response = core.settings.source.fetch(held.tokens());
    within(deadline, response, || {
        let late = format!(
            "the token source did not respond within {} seconds",
            deadline.as_secs()
        );
        Error::new(ErrorKind::Unavailable, late).with_response_lost()
    })
    .await
}

/// Loads the grant without refreshing it, because a refresh for `reason` was denied with `error`.
pub(super) async fn check_store(core: &Arc<Core>, reason: Reason, error: Error) -> Outcome {
    let stored = core.read().await?;
    core.adopt(stored.as_ref());
    let snapshot = Arc::clone(&core.snapshot());
    if snapshot.ended().is_some() {
        retry_saving_end(core, &snapshot, stored.map(|grant| grant.generation)).await;
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
        "the API rejected a token that was just issued; no refresh for up to 30 seconds",
    )
}

pub(super) fn awaiting_expiry() -> Error {
    Error::new(
        ErrorKind::Unavailable,
        "the response to the last refresh was lost; the refresh token is not sent again while the access token is valid",
    )
    .with_response_lost()
}

pub(super) fn grant_unknown() -> Error {
    Error::new(
        ErrorKind::NoGrant,
        "no grant has been found in the store yet",
    )
}

async fn wait_min_interval(core: &Core) {
    let last = core.lock().refresh_started_at;
    if let Some(wait) = last.and_then(|last| {
        (last + core.settings.min_refresh_interval).checked_duration_since(core.now())
    }) {
        tokio::time::sleep(wait).await;
    }
}

/// Records that a token request is sent now.
fn mark_sent(leader: &Leader) -> Instant {
    leader.has_sent.store(true, Ordering::Relaxed);
    let now = leader.core.now();
    leader.core.lock().refresh_started_at = Some(now);
    now
}

/// The generation after the held and the stored one.
pub(super) fn next_generation(held: Option<Generation>, stored: Option<Generation>) -> Generation {
    held.max(stored).map_or(Generation::FIRST, Generation::next)
}
