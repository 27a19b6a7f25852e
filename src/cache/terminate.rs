//! When a grant ends: by the provider's word, on purpose, or by what another process has stored.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use super::{
    core::Core, intent::Intent, refresh::following, settings::within, single_flight::Outcome,
    snapshot::Snapshot,
};
use crate::{
    error::{Error, ErrorKind},
    store::SaveOutcome,
    token::{Generation, Grant, GrantState, ReauthorizationReason, TokenSet},
};

/// For telling the provider that a grant has ended: two tokens, each with what the source makes of it.
const REVOCATION_DEADLINE: Duration = Duration::from_secs(30);

/// The provider refused the refresh token: the grant has ended, unless somebody else has renewed it.
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
            // Without a second look nobody may be declared dead. But there was an answer.
            if let Some(intent) = intent {
                intent.take_back(core).await;
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

/// Stores an end that is known here alone, since it could not be stored when it was found out.
pub(super) async fn remember_end(core: &Core, held: &Snapshot, expected: Option<Generation>) {
    if let Some(grant) = held
        .grant()
        .filter(|grant| Some(grant.generation) > expected)
    {
        // If it fails again, the next one who asks tries again.
        let _ = core.save(expected, grant).await;
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
    let revocation = core.settings.source.revoke(tokens);
    within(REVOCATION_DEADLINE, revocation, || {
        let late = "the provider did not confirm the revocation within 30 seconds";
        Error::new(ErrorKind::Unavailable, late)
    })
    .await
}
