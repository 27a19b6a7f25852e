//! The effect of the token set of a new consent on the stored grant.
//!
//! A token set with a refresh token replaces any grant. One without would end a grant that can be
//! refreshed, so that needs a decision of the program: the new consent may be of another account,
//! and only the program can know that.

use super::{
    CacheState,
    commands::{NotInstalled, Sequence},
    event::Event,
};
use crate::{
    error::{Error, ErrorKind},
    token::{ConsentDecision, Generation, Grant, GrantState, TokenSet},
};

/// A decision of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Decided {
    pub(crate) decision: ConsentDecision,
    /// The generation of the stored grant that the decision is about. `None` for any grant.
    pub(crate) about: Option<Generation>,
}

/// An intent stays: it is still unknown whether the provider has rotated the refresh token.
fn with_refresh_token_of(held: &TokenSet, tokens: &TokenSet, state: &GrantState) -> GrantState {
    let tokens = tokens.clone().with_refresh_token_of(held);
    match *state {
        GrantState::Refreshing {
            since, is_replayed, ..
        } => GrantState::Refreshing {
            tokens,
            since,
            is_replayed,
        },
        _ => GrantState::Active(tokens),
    }
}

/// The decision to report about a saved consent. `None` if its response contained a refresh token.
pub(crate) fn missing_refresh_token(tokens: &TokenSet, saved: &Grant) -> Option<ConsentDecision> {
    let is_kept = saved
        .tokens()
        .is_some_and(|saved| saved.refresh_token().is_some());
    match (tokens.refresh_token(), is_kept) {
        (Some(_), _) => None,
        (None, true) => Some(ConsentDecision::KeepRefreshToken),
        (None, false) => Some(ConsentDecision::Replace),
    }
}

impl CacheState {
    /// Whether the save of a new consent may begin, and whether it needs the lease: it keeps the
    /// stored refresh token, so no refresh may be using that meanwhile.
    pub(crate) fn begin_consent(
        &self,
        sequence: Sequence,
        tokens: &TokenSet,
        decided: Option<Decided>,
    ) -> Result<bool, NotInstalled> {
        self.commands.may_install(sequence)?;
        let keeps_refresh_token = tokens.refresh_token().is_none()
            && decided.is_some_and(|it| it.decision == ConsentDecision::KeepRefreshToken);
        if keeps_refresh_token && self.is_refreshing() {
            return Err(NotInstalled::Refreshing);
        }
        Ok(keeps_refresh_token)
    }

    /// The state to save over the stored grant for the token set of a new consent.
    pub(crate) fn consented(
        &self,
        sequence: Sequence,
        tokens: &TokenSet,
        stored: Option<&Grant>,
        decided: Option<Decided>,
    ) -> Result<GrantState, NotInstalled> {
        self.commands.may_install(sequence)?;
        let alone = || GrantState::Active(tokens.clone());
        let Some(stored) = stored.filter(|stored| self.is_at_stake(tokens, stored)) else {
            return Ok(alone());
        };
        let decided = decided
            .filter(|decided| decided.about.is_none_or(|about| about == stored.generation))
            .ok_or(NotInstalled::Undecided(stored.generation))?;
        match (decided.decision, stored.tokens()) {
            (ConsentDecision::Reject, _) => Err(NotInstalled::Rejected),
            (ConsentDecision::KeepRefreshToken, Some(held)) => {
                Ok(with_refresh_token_of(held, tokens, &stored.state))
            }
            (ConsentDecision::KeepRefreshToken | ConsentDecision::Replace, _) => Ok(alone()),
        }
    }

    /// Whether `tokens` would drop a refresh token that can be used.
    fn is_at_stake(&self, tokens: &TokenSet, stored: &Grant) -> bool {
        let has_refresh_token = |tokens: &TokenSet| tokens.refresh_token().is_some();
        // This process knows that the grant has ended, and could not save it yet.
        let has_ended = self.commands.is_revoked_locally()
            || self.held.grant().is_some_and(|held| {
                held.generation > stored.generation && !held.state.is_refreshable()
            });
        !has_refresh_token(tokens)
            && !has_ended
            && stored.state.is_refreshable()
            && stored.tokens().is_some_and(has_refresh_token)
    }

    /// The token set of a consent contains no refresh token, and this was decided.
    pub(crate) fn refresh_token_missing(&mut self, decision: ConsentDecision) {
        self.events.push(Event::RefreshTokenMissing(decision));
    }
}

/// The error of a consent that is not saved, so that the stored refresh token is not lost.
pub(crate) fn refresh_token_missing() -> Error {
    Error::new(
        ErrorKind::RefreshTokenMissing,
        "the new consent brought no refresh token, and the stored grant has one: the stored grant \
         is unchanged; revoke it and let the customer consent again, or decide by set_tokens_with",
    )
}
