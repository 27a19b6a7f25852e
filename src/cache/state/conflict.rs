//! Which of two grants wins, if the store did not hold what a save expected.

use super::snapshot::Snapshot;
use crate::token::{Grant, GrantState, TokenSet};

/// The decision about a new token set that was not saved, because the store holds another grant
/// than expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Conflict {
    /// Save it over the stored grant.
    Overwrite,
    /// Use the stored grant.
    Adopt,
    /// The grant was revoked: use the stored end, and revoke the new tokens.
    Discard,
}

impl Conflict {
    /// Decides between the token set of `fresh`, which a refresh of `held` returned, and the
    /// `stored` grant.
    pub(super) fn between(held: &Snapshot, fresh: &Snapshot, stored: Option<&Grant>) -> Self {
        let Some(stored) = stored else {
            return Self::Overwrite;
        };
        match &stored.state {
            GrantState::Revoked { .. } => Self::Discard,
            // The provider rejected the refresh token that this refresh has used successfully. The
            // rejection of another refresh token would be newer.
            GrantState::ReauthorizationRequired { tokens, .. }
                if held
                    .tokens()
                    .is_some_and(|used| used.refresh_token() == tokens.refresh_token()) =>
            {
                Self::Overwrite
            }
            // A consent has kept the refresh token that this refresh has used. The provider has
            // replaced it by the new one.
            GrantState::Active(tokens) | GrantState::Refreshing { tokens, .. }
                if has_rotated(held, fresh, tokens) =>
            {
                Self::Overwrite
            }
            // The store has gone back to an older state, for example from a backup.
            GrantState::Active(_) | GrantState::Refreshing { .. }
                if Some(stored.generation) < fresh.generation() =>
            {
                Self::Overwrite
            }
            GrantState::Active(_)
            | GrantState::Refreshing { .. }
            | GrantState::ReauthorizationRequired { .. } => Self::Adopt,
        }
    }
}

/// Whether `stored` still has the refresh token that the refresh of `held` has used, and that the
/// provider has replaced.
fn has_rotated(held: &Snapshot, fresh: &Snapshot, stored: &TokenSet) -> bool {
    let used = held.tokens().and_then(TokenSet::refresh_token);
    let new = fresh.tokens().and_then(TokenSet::refresh_token);
    used.is_some() && new.is_some() && new != used && stored.refresh_token() == used
}
