//! The token of one request, if it is not fresh or was rejected.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use tokio::{runtime::Handle, time::sleep};

use super::{
    bearer_token::BearerToken,
    core::Core,
    request::{Requested, conclusive_outcome_of, outcome_of, request_refresh},
    state::Reason,
};
use crate::{
    error::Error,
    telemetry::Unauthorized,
    token::{Generation, HistoryEvent},
};

/// A token, or a future that waits for it.
pub(crate) enum Acquired {
    Now(Result<BearerToken, Error>),
    Later(Wait<Result<BearerToken, Error>>),
}

/// The retry of a request after a 401.
pub(crate) enum Rejected {
    Retry(RetryToken),
    /// Wait for a newer token.
    Later(Wait<Option<RetryToken>>),
    Nothing,
}

/// The token for the retry of a request.
pub(crate) struct RetryToken {
    pub(crate) token: BearerToken,
    /// Waits until the API knows the token, if it may not know it yet. Then returns the newest one.
    pub(crate) pause: Option<Wait<Result<BearerToken, Error>>>,
}

/// Boxed: its allocation is small compared with the wait.
pub(crate) type Wait<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// The held token while it serves. Otherwise the result of a refresh.
pub(super) fn acquire(core: &Arc<Core>) -> Acquired {
    let snapshot = core.published.snapshot();
    snapshot.mark_used();
    let now = core.now();
    let Some(held) = snapshot.alive(now) else {
        return match request_refresh(core, Reason::Mandatory) {
            Requested::Done(result) => Acquired::Now(result),
            Requested::Joined(mut joined) => {
                let core = Arc::clone(core);
                Acquired::Later(Box::pin(async move {
                    let outcome = outcome_of(&core, &mut joined, Reason::Mandatory).await;
                    core.published.snapshot().mark_used();
                    outcome
                }))
            }
        };
    };
    if snapshot.token_for(Reason::Advisory, now).is_some() {
        return Acquired::Now(Ok(held.clone()));
    }
    let held = held.clone();
    if snapshot.token_for(Reason::Mandatory, now).is_some() {
        if snapshot.claim_advisory_request(now) {
            request_advisory(core);
        }
        return Acquired::Now(Ok(held));
    }
    match request_refresh(core, Reason::Mandatory) {
        Requested::Done(result) => Acquired::Now(Ok(result.unwrap_or(held))),
        Requested::Joined(mut joined) => {
            let core = Arc::clone(core);
            Acquired::Later(Box::pin(async move {
                let outcome = outcome_of(&core, &mut joined, Reason::Mandatory).await;
                let snapshot = core.published.snapshot();
                snapshot.mark_used();
                // The held token may have outlived the wait, or another path may have brought a
                // newer one.
                outcome.or_else(|error| snapshot.alive(core.now()).cloned().ok_or(error))
            }))
        }
    }
}

/// Requests a refresh in the background. The request uses the held token, whatever the result.
pub(super) fn request_advisory(core: &Arc<Core>) {
    // It may have ended with its runtime.
    core.ensure_worker_runs();
    if core.settings.presence.is_staying() {
        let _ = request_refresh(core, Reason::Advisory);
    }
}

/// The token with which to retry a request, after a 401 to the token of this `generation`.
pub(super) fn rejected(core: &Arc<Core>, generation: Generation) -> Rejected {
    match request_refresh(core, Reason::Rejected(generation)) {
        Requested::Done(_) => {
            let Some((token, outcome)) = retry_token(core, generation) else {
                core.telemetry.unauthorized(Unauthorized::NoToken);
                return Rejected::Nothing;
            };
            core.telemetry.unauthorized(outcome);
            Rejected::Retry(token)
        }
        Requested::Joined(mut joined) => {
            let core = Arc::clone(core);
            Rejected::Later(Box::pin(async move {
                let outcome = outcome_of(&core, &mut joined, Reason::Rejected(generation)).await;
                // The joined refresh may have replaced an older token than the rejected one, or
                // its token may have expired already.
                let retry = retry_token(&core, generation).or_else(|| {
                    let token = outcome.ok()?;
                    let is_newer = token.generation() > generation;
                    is_newer
                        .then_some((RetryToken { token, pause: None }, Unauthorized::NewerToken))
                });
                core.telemetry.unauthorized(match retry {
                    Some((_, Unauthorized::SameToken)) => Unauthorized::SameToken,
                    Some(_) => Unauthorized::Refreshed,
                    None => Unauthorized::NoToken,
                });
                retry.map(|(token, _)| token)
            }))
        }
    }
}

/// The API accepted the retry of a request with the token of the generation `accepted`.
pub(super) fn retry_accepted(core: &Arc<Core>, rejected: Generation, accepted: Generation) {
    let shown = core.change(|state, m| state.retry_accepted(rejected, accepted, m));
    if let Some(shown) = shown {
        core.settings.propagation.learn(shown);
    }
}

/// The API rejected the retry of a request too. Its caller gets that response, and the requests
/// after it need a newer token.
pub(super) fn retry_rejected(core: &Arc<Core>, generation: Generation) {
    core.note(HistoryEvent::Rejected);
    if core.settings.presence.is_staying() {
        let _ = request_refresh(core, Reason::Rejected(generation));
    }
}

/// The token for the retry, and how telemetry reports it.
fn retry_token(core: &Arc<Core>, rejected: Generation) -> Option<(RetryToken, Unauthorized)> {
    let api = core.settings.propagation.get();
    let retry = core.read(|state, m| state.retry(rejected, api, m))?;
    core.published.snapshot().mark_used();
    let outcome = if retry.is_same {
        Unauthorized::SameToken
    } else {
        Unauthorized::NewerToken
    };
    let token = retry.token;
    if retry.pause.is_zero() {
        return Some((RetryToken { token, pause: None }, outcome));
    }
    // Without a runtime there is no timer.
    Handle::try_current().ok()?;
    let pause = Some(propagated(Arc::clone(core), rejected, retry.pause));
    Some((RetryToken { token, pause }, outcome))
}

/// Waits until the API knows the token for the retry.
fn propagated(
    core: Arc<Core>,
    rejected: Generation,
    pause: Duration,
) -> Wait<Result<BearerToken, Error>> {
    Box::pin(async move {
        sleep(pause).await;
        // A refresh may have replaced the token meanwhile by one that is new too.
        let api = core.settings.propagation.get();
        let again = core.read(|state, m| state.retry(rejected, api, m));
        if let Some(again) = again {
            sleep(again.pause).await;
        }
        match core.read(|state, m| state.retry_after_pause(rejected, m)) {
            Some(retry) => Ok(retry.token),
            // The program has revoked the grant or invalidated the token.
            None => match acquire(&core) {
                Acquired::Now(result) => result,
                Acquired::Later(wait) => wait.await,
            },
        }
    })
}

/// Refreshes, even if the held token is fresh.
pub(super) async fn refresh_now(core: &Arc<Core>) -> Result<BearerToken, Error> {
    let reason = Reason::Manual(generation(core));
    match request_refresh(core, reason) {
        Requested::Done(outcome) => outcome,
        Requested::Joined(mut joined) => outcome_of(core, &mut joined, reason).await,
    }
}

/// Waits for the refresh that keeps an idle grant alive, without a limit.
pub(super) async fn keep_alive(core: &Arc<Core>) -> Result<(), Error> {
    let reason = Reason::KeepAlive(generation(core));
    let outcome = match request_refresh(core, reason) {
        Requested::Done(outcome) => outcome,
        Requested::Joined(mut joined) => conclusive_outcome_of(core, &mut joined, reason).await,
    };
    outcome.map(drop)
}

fn generation(core: &Core) -> Option<Generation> {
    core.published.snapshot().generation()
}
