//! The propagation of a new token: an API may know it only a few seconds after it was issued. The
//! data of the provider say after how many.
//!
//! A 401 to a token that is only seconds old proves nothing, so it causes no refresh. The request
//! is retried with the same token, once the token is old enough. There is one retry only, and this
//! one is right whether the provider keeps the previous access token alive or has ended it.
//!
//! The retry after a 401 to the *previous* token would meet the same API, with a token that is even
//! newer. Whether it has to pause too depends on what earlier requests have shown.

use std::time::Duration;

use super::{
    CacheState,
    moment::{Moment, Policy},
};
use crate::{
    cache::bearer_token::BearerToken,
    error::{Error, ErrorKind},
    token::Generation,
};

/// How old a token may be that shows, by being accepted, that the API knows new tokens at once.
const PROMPT: Duration = Duration::from_secs(1);

/// Evidence of how soon the API knows new tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ApiPropagation {
    Unknown,
    /// It has accepted a token that was less than a second old.
    Prompt,
    /// It has rejected a new token, and accepted the same token later.
    Delayed,
}

/// The token for a retry.
#[derive(Clone, Debug)]
pub(crate) struct Retry {
    pub(crate) token: BearerToken,
    /// How long to wait before the retry. Zero if the API is expected to know the token.
    pub(crate) pause: Duration,
    /// Whether it is the token that the API has just rejected.
    pub(crate) is_same: bool,
}

impl CacheState {
    /// The token for the retry of a request whose token the API rejected. `None` if there is no
    /// newer one, and the rejected one is old enough to be known to the API.
    pub(crate) fn retry(
        &self,
        rejected: Generation,
        api: ApiPropagation,
        m: Moment<'_>,
    ) -> Option<Retry> {
        let retry = self.retry_after_pause(rejected, m)?;
        let left = self.held.propagates_for(m.now);
        if retry.is_same {
            // A token that cannot be replaced is tried again at once.
            return (!left.is_zero() || self.is_unreplaceable()).then_some(Retry {
                pause: left,
                ..retry
            });
        }
        let is_paused = match api {
            ApiPropagation::Prompt => false,
            ApiPropagation::Delayed => true,
            // The provider has ended the previous token by an early refresh, so nothing is known to
            // be wrong with either token. After a rejection, callers have waited long enough.
            ApiPropagation::Unknown => {
                self.forced.as_ref().map(|forced| forced.generation) != self.held.generation()
            }
        };
        Some(Retry {
            pause: if is_paused { left } else { Duration::ZERO },
            ..retry
        })
    }

    /// The token for the retry once the pause is over: the same one, or a newer one.
    pub(crate) fn retry_after_pause(&self, rejected: Generation, m: Moment<'_>) -> Option<Retry> {
        let held = &self.held;
        let is_same = held.is_token_of(rejected);
        let token = held.alive(m.now)?;
        let is_newer = held.ended().is_none() && token.generation() > rejected;
        (is_same || is_newer).then(|| Retry {
            token: token.clone(),
            pause: Duration::ZERO,
            is_same,
        })
    }

    /// Whether the API has rejected the held token, and the source has no other one.
    fn is_unreplaceable(&self) -> bool {
        let last = self.backoff.last();
        self.is_suspected() && last.is_some_and(|error| error.kind() == ErrorKind::NoGrant)
    }

    /// The API accepted the token of this generation, after it had rejected another one, or the
    /// same one. Returns what this shows.
    pub(crate) fn retry_accepted(
        &mut self,
        rejected: Generation,
        accepted: Generation,
        m: Moment<'_>,
    ) -> Option<ApiPropagation> {
        let held = &self.held;
        if !held.is_token_of(accepted) {
            return None;
        }
        if let Some(forced) = &mut self.forced {
            forced.times = 0;
        }
        let is_same = held.is_token_of(rejected);
        if is_same {
            // An old token shows nothing about new ones.
            return (!self.clear_suspicion()).then_some(ApiPropagation::Delayed);
        }
        let is_prompt = held.propagates_for(m.now) > m.policy.propagation.saturating_sub(PROMPT);
        is_prompt.then_some(ApiPropagation::Prompt)
    }
}

/// The error of a refresh that a 401 to a new token does not cause.
pub(super) fn propagating(policy: &Policy) -> Error {
    let seconds = policy.propagation.as_secs();
    Error::new(
        ErrorKind::Unavailable,
        format!(
            "the API rejected a token that is only seconds old, and may not know it yet; no refresh for up to {seconds} seconds"
        ),
    )
}
