//! The token of one request, if it is not fresh or was rejected.

use std::{future::Future, pin::Pin, sync::Arc};

use super::{
    bearer_token::BearerToken,
    core::Core,
    request::{Requested, conclusive_outcome_of, outcome_of, request_refresh},
    state::Reason,
};
use crate::{error::Error, telemetry::Unauthorized, token::Generation};

/// A token, or a future that waits for it.
pub(crate) enum Acquired {
    Now(Result<BearerToken, Error>),
    Later(Wait<Result<BearerToken, Error>>),
}

/// A newer token than the rejected one, or a future that waits for it.
pub(crate) enum Rejected {
    Newer(BearerToken),
    Later(Wait<Option<BearerToken>>),
    Nothing,
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
            Requested::Joined(flight) => {
                let core = Arc::clone(core);
                Acquired::Later(Box::pin(async move {
                    let outcome = outcome_of(&core, flight, Reason::Mandatory).await;
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
        Requested::Joined(flight) => {
            let core = Arc::clone(core);
            Acquired::Later(Box::pin(async move {
                let outcome = outcome_of(&core, flight, Reason::Mandatory).await;
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
    let telemetry = &core.telemetry;
    if let Some(newer) = newer_than(core, generation) {
        telemetry.unauthorized(Unauthorized::NewerToken);
        return Rejected::Newer(newer);
    }
    match request_refresh(core, Reason::Rejected(generation)) {
        Requested::Done(Ok(newer)) => {
            telemetry.unauthorized(Unauthorized::NewerToken);
            Rejected::Newer(newer)
        }
        Requested::Done(Err(_)) => {
            telemetry.unauthorized(Unauthorized::NoToken);
            Rejected::Nothing
        }
        Requested::Joined(flight) => {
            let core = Arc::clone(core);
            Rejected::Later(Box::pin(async move {
                let outcome = outcome_of(&core, flight, Reason::Rejected(generation)).await;
                // The joined refresh may have replaced an older token than the rejected one.
                let newer = outcome
                    .ok()
                    .filter(|token| token.generation() > generation)
                    .or_else(|| newer_than(&core, generation));
                core.telemetry.unauthorized(match newer {
                    Some(_) => Unauthorized::Refreshed,
                    None => Unauthorized::NoToken,
                });
                newer
            }))
        }
    }
}

/// Refreshes, even if the held token is fresh.
pub(super) async fn refresh_now(core: &Arc<Core>) -> Result<BearerToken, Error> {
    let reason = Reason::Manual(generation(core));
    match request_refresh(core, reason) {
        Requested::Done(outcome) => outcome,
        Requested::Joined(flight) => outcome_of(core, flight, reason).await,
    }
}

/// Waits for the refresh that keeps an idle grant alive, without a limit.
pub(super) async fn keep_alive(core: &Arc<Core>) -> Result<(), Error> {
    let reason = Reason::KeepAlive(generation(core));
    let outcome = match request_refresh(core, reason) {
        Requested::Done(outcome) => outcome,
        Requested::Joined(flight) => conclusive_outcome_of(core, flight, reason).await,
    };
    outcome.map(drop)
}

/// The held token, if it is valid and newer than `generation`.
fn newer_than(core: &Core, generation: Generation) -> Option<BearerToken> {
    let snapshot = core.published.snapshot();
    let newer = snapshot.token_for(Reason::Rejected(generation), core.now())?;
    snapshot.mark_used();
    Some(newer.clone())
}

fn generation(core: &Core) -> Option<Generation> {
    core.published.snapshot().generation()
}
