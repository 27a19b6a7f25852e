//! The end of a grant: by the provider, by the program, or by another process.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use super::{
    core::Core, intent::Intent, refresh::next_generation, settings::within, single_flight::Outcome,
    snapshot::Snapshot,
};
use crate::{
    error::{Error, ErrorKind},
    store::SaveOutcome,
    token::{Generation, Grant, GrantState, ReauthorizationReason, TokenSet},
};

/// For the revocation of both tokens at the provider.
const REVOCATION_DEADLINE: Duration = Duration::from_secs(30);

/// The provider rejected the refresh token: ends the grant, unless another process has refreshed
/// it.
pub(super) async fn terminate(
    core: &Arc<Core>,
    held: &Snapshot,
    expected: Option<Generation>,
    refusal: Error,
    intent: Option<Intent>,
) -> Outcome {
    let was_lost = intent.as_ref().is_some_and(|intent| intent.is_replay);
    let stored = match (core.read().await, intent) {
        (Ok(stored), _) => stored,
        (Err(error), intent) => {
            // A grant is not ended without another load. But the response was not lost.
            if let Some(intent) = intent {
                intent.remove(core).await;
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
        generation: next_generation(held.generation(), expected),
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
    let expiry = held.refresh_token();
    if was_lost {
        ReauthorizationReason::RotationLost
    } else if expiry.is_some_and(|expiry| expiry.left(wall).is_zero()) {
        ReauthorizationReason::RefreshTokenExpired
    } else {
        ReauthorizationReason::InvalidGrant
    }
}

/// Saves an end that could not be saved when it was detected.
pub(super) async fn retry_saving_end(core: &Core, held: &Snapshot, expected: Option<Generation>) {
    if let Some(grant) = held
        .grant()
        .filter(|grant| Some(grant.generation) > expected)
    {
        // If it fails again, the next store check retries it.
        let _ = core.save(expected, grant).await;
    }
}

/// The result for the waiters after another replica's grant was adopted.
pub(super) fn adopted(core: &Core) -> Outcome {
    let snapshot = core.snapshot();
    match snapshot.alive(core.now()) {
        Some(token) => Ok(token.clone()),
        None => Err(snapshot.ended().unwrap_or_else(|| {
            Error::new(
                ErrorKind::Unavailable,
                "the access token that another replica saved has already expired",
            )
        })),
    }
}

/// Revokes tokens that arrived for a grant that was revoked meanwhile. No request may use them.
pub(super) async fn discard(core: &Core, fresh: &Snapshot) -> Error {
    if let Some(tokens) = fresh.tokens() {
        let _ = revoke_at_provider(core, tokens).await;
    }
    core.snapshot()
        .ended()
        .unwrap_or_else(|| Error::new(ErrorKind::Revoked, "the grant was revoked"))
}

pub(super) async fn revoke_at_provider(core: &Core, tokens: &TokenSet) -> Result<(), Error> {
    let revocation = core.settings.source.revoke(tokens);
    within(REVOCATION_DEADLINE, revocation, || {
        let late = "the provider did not confirm the revocation within 30 seconds";
        Error::new(ErrorKind::Unavailable, late)
    })
    .await
}
