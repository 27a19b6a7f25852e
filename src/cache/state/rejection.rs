//! The consequences of a 401: how far refreshes are apart, and the end of a rejected token.
//!
//! If the grant ends, its access token usually serves until it expires. A token that the API has
//! rejected does not: the end is stored with a token set of which no lifetime is left.

use std::{
    sync::Arc,
    time::{Instant, SystemTime},
};

use super::{
    CacheState,
    event::Event,
    forced::Forced,
    moment::{Moment, is_within},
    next_generation,
    snapshot::Snapshot,
};
use crate::{
    error::{Error, ErrorKind},
    token::{Generation, Grant, GrantState, TokenSet},
};

impl CacheState {
    /// Whether the API has rejected the held token.
    pub(super) fn is_rejected(&self) -> bool {
        self.rejected
            .is_some_and(|rejected| self.held.is_token_of(rejected))
    }

    /// Records a 401 to the held token.
    pub(super) fn record_rejection(&mut self, rejected: Generation, m: Moment<'_>) {
        self.rejected = Some(rejected);
        self.suspect(rejected, m);
        self.end_rejected_token(m);
    }

    /// Records a successful refresh that a 401 caused.
    pub(super) fn record_forced_refresh(&mut self, at: Instant, generation: Generation) {
        // A token that served for twice the interval was not rejected at first use.
        let last = self.forced.as_deref().filter(|last| {
            let served = at.saturating_duration_since(last.at);
            served < last.interval().saturating_mul(2)
        });
        let forced = Forced {
            at,
            generation,
            times: last.map_or(0, |last| last.times.saturating_add(1)),
        };
        if forced.times > 0 {
            self.events.push(Event::RejectedAgain {
                times: forced.times,
                pause: forced.interval(),
            });
        }
        self.forced = Some(Box::new(forced));
    }

    /// Whether a refresh after a 401 was made so recently that another 401 causes none.
    pub(super) fn is_forced_recently(&self, m: Moment<'_>) -> bool {
        self.forced
            .as_deref()
            .is_some_and(|forced| is_within(forced.interval(), Some(forced.at), m.now))
    }

    /// Until when 401 responses cause no refresh, by the wall clock.
    pub(super) fn no_forced_refresh_until(&self, m: Moment<'_>) -> Option<SystemTime> {
        let forced = self.forced.as_deref()?;
        let passed = m.now.saturating_duration_since(forced.at);
        let left = forced.interval().checked_sub(passed)?;
        m.wall.checked_add(left).filter(|_| !left.is_zero())
    }

    /// The token set to keep with the end of its grant.
    pub(super) fn tokens_at_end(&self, tokens: &TokenSet) -> TokenSet {
        if self.is_rejected() {
            tokens.with_rejected_access_token()
        } else {
            tokens.clone()
        }
    }

    /// Stops using the access token of a grant that has ended, if the API has rejected it. The next
    /// store check saves that.
    pub(super) fn end_rejected_token(&mut self, m: Moment<'_>) {
        let held = &self.held;
        if !self.is_rejected() || held.alive(m.now).is_none() {
            return;
        }
        let Some(Grant {
            generation,
            state:
                GrantState::ReauthorizationRequired {
                    tokens,
                    reason,
                    since,
                },
            ..
        }) = held.grant()
        else {
            return;
        };
        let grant = Grant::new(
            next_generation(Some(*generation), None),
            GrantState::ReauthorizationRequired {
                tokens: tokens.with_rejected_access_token(),
                reason: *reason,
                since: *since,
            },
        );
        self.held = Arc::new(Snapshot::of_stored(grant, m));
    }
}

pub(super) fn rejected_again() -> Error {
    Error::new(
        ErrorKind::Unavailable,
        "the API rejected a token that was just issued; no refresh for up to 30 seconds, or up to 30 minutes if it rejects every new token",
    )
}
