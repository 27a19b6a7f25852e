//! The end of a grant that cannot be refreshed, because its token source needs a refresh token and
//! there is none.
//!
//! Such a grant ends with its access token: when that expires, or when the API rejects it for good.
//! An API may also respond with 401 for other reasons, and a grant that was ended by mistake costs
//! the customer another consent. So one rejection ends nothing. The layer retries the request with
//! the same token, and only a token that is rejected again an hour later has ended, if the API has
//! accepted no request with it in between. An outage in which an API rejects every token is usually
//! shorter, and would otherwise end the grants of all customers.

use std::time::{Duration, Instant};

use super::{CacheState, moment::Moment, snapshot::Snapshot, suspicion::Suspicion};
use crate::{
    error::{Error, ErrorKind},
    token::{Generation, TokenSet},
};

/// How long the API has to reject the same token until the grant ends.
const CONFIRMED_AFTER: Duration = Duration::from_secs(3_600);

impl CacheState {
    /// Records a 401 to the held token, if that is the only token of the grant.
    pub(super) fn suspect(&mut self, rejected: Generation, m: Moment<'_>) {
        if !is_single(&self.held) || self.is_suspected() {
            return;
        }
        self.suspicion = Some(Box::new(Suspicion {
            generation: rejected,
            since: m.now,
        }));
    }

    /// The API has accepted a request with the token of this generation.
    pub(crate) fn accepted(&mut self, generation: Generation) {
        if self.held.is_token_of(generation) {
            self.clear_suspicion();
        }
    }

    /// The API has accepted the held token after all. Returns whether it was suspected.
    pub(super) fn clear_suspicion(&mut self) -> bool {
        let is_suspected = self.is_suspected();
        self.suspicion = None;
        if is_suspected {
            self.rejected = None;
        }
        is_suspected
    }

    /// Whether the API has rejected the held token, which cannot be replaced. A retry with the same
    /// token shows whether it rejects every request.
    pub(crate) fn is_suspected(&self) -> bool {
        self.suspected_since().is_some()
    }

    /// When the API rejected the held token for the first time, if it cannot be replaced.
    pub(super) fn suspected_since(&self) -> Option<Instant> {
        let suspicion = self.suspicion.as_deref()?;
        let is_of_held = self.held.is_token_of(suspicion.generation);
        is_of_held.then_some(suspicion.since)
    }

    /// Whether the grant ends with this failure of its refresh: nothing can refresh it, and its
    /// access token has expired, or was rejected for long enough.
    pub(super) fn ends_with_access_token(&self, error: &Error, m: Moment<'_>) -> bool {
        let is_of_grant = error.kind() == ErrorKind::NoGrant && !error.is_of_other_grant();
        if !is_of_grant || !is_single(&self.held) {
            return false;
        }
        // A token that the program has invalidated may still be valid.
        let expires_at = self.held.tokens().and_then(TokenSet::expires_at);
        let is_expired = expires_at.is_some_and(|expires_at| expires_at <= m.wall)
            && self.held.alive(m.now).is_none();
        let is_confirmed = self
            .suspected_since()
            .is_some_and(|since| m.now.saturating_duration_since(since) >= CONFIRMED_AFTER);
        is_expired || is_confirmed
    }
}

/// Whether there is an access token, and no refresh token.
fn is_single(held: &Snapshot) -> bool {
    held.tokens()
        .is_some_and(|tokens| tokens.refresh_token().is_none())
}
