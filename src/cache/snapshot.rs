//! What a request reads: one immutable value, replaced as a whole.

use std::{fmt, time::Instant, time::SystemTime};

use http::HeaderValue;

use super::{flight::Cause, schedule::Schedule};
use crate::{
    error::{Error, ErrorKind},
    token::{Generation, Grant, GrantState, TokenSet},
};

/// An access token, ready for a request, and which one it is.
#[derive(Clone)]
pub struct BearerToken {
    header: HeaderValue,
    generation: Generation,
}

impl BearerToken {
    /// `Bearer <token>`, marked sensitive: the value of the `Authorization` header.
    #[must_use]
    pub fn header_value(&self) -> &HeaderValue {
        &self.header
    }

    /// The state of the grant that it comes from.
    #[must_use]
    pub fn generation(&self) -> Generation {
        self.generation
    }

    pub(crate) fn into_header_value(self) -> HeaderValue {
        self.header
    }
}

impl fmt::Debug for BearerToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BearerToken")
            .field("generation", &self.generation)
            .finish_non_exhaustive()
    }
}

/// A grant with the turning points of its token's life. Empty before the store was first read.
#[derive(Clone)]
pub(super) struct Snapshot {
    held: Option<Held>,
}

#[derive(Clone)]
struct Held {
    grant: Grant,
    /// `None` once the grant is revoked.
    token: Option<(BearerToken, Schedule)>,
}

impl Snapshot {
    pub(super) const EMPTY: Self = Self { held: None };

    /// A grant with its token's life as of an exchange just made.
    pub(super) fn of_new(grant: Grant, sent: Instant, chance: f64) -> Self {
        Self::with(grant, |tokens| Schedule::of_new(tokens, sent, chance))
    }

    /// A grant with what is left of its token's life.
    pub(super) fn of_stored(grant: Grant, now: Instant, wall: SystemTime, chance: f64) -> Self {
        Self::with(grant, |tokens| {
            Schedule::of_stored(tokens, now, wall, chance)
        })
    }

    fn with(grant: Grant, schedule: impl FnOnce(&TokenSet) -> Schedule) -> Self {
        let token = grant.tokens().map(|tokens| {
            let schedule = schedule(tokens);
            let token = BearerToken {
                header: tokens.access_token().header_value().clone(),
                generation: grant.generation,
            };
            match grant.state {
                GrantState::Active(_) => (token, schedule),
                _ => (token, schedule.without_renewal()),
            }
        });
        Self {
            held: Some(Held { grant, token }),
        }
    }

    /// The same grant under another number, after another state of it came in between.
    pub(super) fn renumbered(self, generation: Generation) -> Self {
        let held = self.held.map(|mut held| {
            held.grant.generation = generation;
            if let Some((token, _)) = &mut held.token {
                token.generation = generation;
            }
            held
        });
        Self { held }
    }

    /// The same, with its token's end corrected by the wall clock, if that says something else.
    pub(super) fn corrected(&self, now: Instant, wall: SystemTime) -> Option<Self> {
        let held = self.held.as_ref()?;
        let (token, schedule) = held.token.as_ref()?;
        let schedule = schedule.corrected(now, wall)?;
        Some(Self {
            held: Some(Held {
                grant: held.grant.clone(),
                token: Some((token.clone(), schedule)),
            }),
        })
    }

    pub(super) fn generation(&self) -> Option<Generation> {
        self.grant().map(|grant| grant.generation)
    }

    pub(super) fn grant(&self) -> Option<&Grant> {
        self.held.as_ref().map(|held| &held.grant)
    }

    pub(super) fn tokens(&self) -> Option<&TokenSet> {
        self.grant().and_then(Grant::tokens)
    }

    pub(super) fn token(&self) -> Option<(&BearerToken, &Schedule)> {
        let (token, schedule) = self.held.as_ref()?.token.as_ref()?;
        Some((token, schedule))
    }

    /// The token, if it can still be used.
    pub(super) fn alive(&self, now: Instant) -> Option<&BearerToken> {
        self.token()
            .filter(|(_, schedule)| now < schedule.expires)
            .map(|(token, _)| token)
    }

    /// The token, if it is what `cause` asks for, so that no exchange is needed.
    pub(super) fn answer(&self, cause: Cause, now: Instant) -> Option<&BearerToken> {
        let (token, schedule) = self.token()?;
        // A grant that has ended has a new generation, but no new token.
        let is_active = self.ended().is_none();
        let good = match cause {
            Cause::Ahead => now < schedule.refresh_at,
            Cause::Due => now < schedule.mandatory_at,
            Cause::Rejected(generation) => {
                is_active && token.generation > generation && now < schedule.expires
            }
            Cause::Asked(generation) => {
                // Not knowing any, one cannot tell a newer one.
                is_active
                    && generation.is_some_and(|held| token.generation > held)
                    && now < schedule.expires
            }
        };
        good.then_some(token)
    }

    /// Why there will be no more tokens of this grant, if it has ended.
    pub(super) fn ended(&self) -> Option<Error> {
        match self.grant()?.state {
            GrantState::Active(_) => None,
            GrantState::ReauthorizationRequired { .. } => Some(Error::new(
                ErrorKind::ReauthorizationRequired,
                "the grant has ended at the provider: let the customer consent again",
            )),
            GrantState::Revoked { .. } => Some(Error::new(
                ErrorKind::Revoked,
                "the grant was revoked: let the customer consent again",
            )),
        }
    }
}
