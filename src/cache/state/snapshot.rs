//! The snapshot that requests read: an immutable value that is replaced as a whole.

use std::{
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    time::{Duration, Instant, SystemTime},
};

use super::{
    moment::Moment, reason::Reason, refresh_token_expiry::RefreshTokenExpiry, schedule::Schedule,
};
use crate::{
    cache::bearer_token::BearerToken,
    error::{Error, ErrorKind},
    token::{Generation, Grant, GrantState, KeptValues, TokenSet},
};

/// The token that a caller gets.
pub(crate) type Outcome = Result<BearerToken, Error>;

/// A grant with the schedules of its tokens. Empty until the store has been loaded.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    held: Option<Held>,
}

#[derive(Clone, Debug)]
struct Held {
    grant: Grant,
    /// The generation that brought the access token. Later ones may only have ended the grant, or
    /// replaced its refresh token.
    token_since: Generation,
    /// When this process first knew the intent, if there is one. Boxed, because an idle grant has
    /// none.
    intent_known_since: Option<Box<Instant>>,
    /// `None` once the grant is revoked.
    token: Option<(BearerToken, Schedule)>,
    /// Until when the grant can be refreshed. `None` if that is unknown.
    refresh_token: Option<RefreshTokenExpiry>,
    used: Used,
    last_request: LastRequest,
}

/// Whether a request has used the token. Written at most once, so that requests do not contend for
/// it.
#[derive(Debug, Default)]
struct Used(AtomicBool);

impl Used {
    fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Clone for Used {
    fn clone(&self) -> Self {
        Self(AtomicBool::new(self.get()))
    }
}

/// The shortest time between two requests that call for an advisory refresh: further calls would
/// have the same result.
pub(crate) const ADVISORY_REQUEST_INTERVAL: Duration = Duration::from_secs(1);

/// When a request last called for an advisory refresh, in milliseconds since the start of the
/// window. 0 for never.
#[derive(Debug, Default)]
struct LastRequest(AtomicU32);

impl Clone for LastRequest {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl Snapshot {
    pub(crate) const EMPTY: Self = Self { held: None };

    /// A grant with the full lifetime of its token. `sent` is when the token request was sent.
    pub(crate) fn of_new(grant: Grant, sent: Instant, m: Moment<'_>) -> Self {
        Self::with(grant, m, |tokens| {
            Schedule::of_new(tokens, sent, m.now, m.jitter, m.policy)
        })
    }

    /// A grant with the remaining lifetime of its token.
    pub(crate) fn of_stored(grant: Grant, m: Moment<'_>) -> Self {
        Self::with(grant, m, |tokens| {
            Schedule::of_stored(tokens, m.now, m.wall, m.jitter, m.policy)
        })
    }

    fn with(grant: Grant, m: Moment<'_>, schedule: impl FnOnce(&TokenSet) -> Schedule) -> Self {
        let is_refreshable = grant.state.is_refreshable();
        let is_intent = matches!(grant.state, GrantState::Refreshing { .. });
        let intent_known_since = is_intent.then(|| Box::new(m.now));
        let token = grant.tokens().map(|tokens| {
            let token = BearerToken::new(tokens, grant.generation, m.delivery);
            let schedule = schedule(tokens);
            if is_refreshable {
                (token, schedule)
            } else {
                (token, schedule.without_refresh())
            }
        });
        let refresh_token = grant
            .tokens()
            .filter(|_| is_refreshable)
            .and_then(|tokens| RefreshTokenExpiry::of(tokens, m.policy, (m.now, m.wall), m.jitter));
        Self {
            held: Some(Held {
                token_since: grant.generation,
                grant,
                intent_known_since,
                token,
                refresh_token,
                used: Used::default(),
                last_request: LastRequest::default(),
            }),
        }
    }

    fn change(&self, change: impl FnOnce(&mut Held)) -> Self {
        let mut held = self.held.clone();
        if let Some(held) = &mut held {
            change(held);
        }
        Self { held }
    }

    /// The grant under another generation, because another one was saved in between.
    pub(crate) fn with_generation(&self, generation: Generation) -> Self {
        self.change(|held| {
            held.grant.generation = generation;
            if let Some((token, _)) = &mut held.token {
                *token = token.clone().with_generation(generation);
            }
        })
    }

    /// If `other` holds the same access token, takes over its schedule by the monotonic clock. If
    /// it is the same token set, also whether it is used.
    pub(crate) fn with_history_of(self, other: &Self) -> Self {
        let (Some(tokens), Some((_, schedule))) = (self.tokens(), other.token()) else {
            return self;
        };
        if !other
            .tokens()
            .is_some_and(|other| other.has_access_token_of(tokens))
        {
            return self;
        }
        let is_same_set = other.tokens() == Some(tokens);
        let is_refreshable = self
            .grant()
            .is_some_and(|grant| grant.state.is_refreshable());
        let schedule = if is_refreshable {
            *schedule
        } else {
            schedule.without_refresh()
        };
        // No request has used the token of a new refresh, even if it has the same value as before.
        let is_restated = self.generation() == other.generation();
        if is_restated && other.held.as_ref().is_some_and(|held| held.used.get()) {
            self.mark_used();
        }
        let refresh_token = other
            .refresh_token()
            .copied()
            .filter(|_| is_refreshable && is_same_set);
        let is_same_intent = self.intent_since() == other.intent_since();
        let known_since = other.held.as_ref().filter(|_| is_same_intent);
        let known_since = known_since.and_then(|held| held.intent_known_since.clone());
        let token_since = other.held.as_ref().map(|held| held.token_since);
        self.rescheduled(schedule).change(|held| {
            held.token_since = token_since.unwrap_or(held.token_since);
            held.intent_known_since = known_since.or(held.intent_known_since.take());
            held.refresh_token = refresh_token.or(held.refresh_token);
        })
    }

    /// With an expiry corrected by the wall clock, and the difference. `None` if there is none.
    pub(crate) fn corrected(&self, now: Instant, wall: SystemTime) -> Option<(Self, Duration)> {
        let (_, before) = self.token()?;
        let after = before.corrected(self.tokens()?, now, wall)?;
        let by = before.expires.saturating_duration_since(after.expires);
        Some((self.rescheduled(after), by))
    }

    /// With a token that no request uses any more.
    pub(crate) fn invalidated(&self, now: Instant) -> Self {
        match self.token() {
            Some((_, schedule)) => self.rescheduled(schedule.ended(now)),
            None => self.clone(),
        }
    }

    fn rescheduled(&self, to: Schedule) -> Self {
        self.change(|held| {
            if let Some((_, schedule)) = &mut held.token {
                *schedule = to;
            }
        })
    }

    pub(crate) fn generation(&self) -> Option<Generation> {
        self.grant().map(|grant| grant.generation)
    }

    pub(crate) fn grant(&self) -> Option<&Grant> {
        self.held.as_ref().map(|held| &held.grant)
    }

    pub(crate) fn tokens(&self) -> Option<&TokenSet> {
        self.grant().and_then(Grant::tokens)
    }

    pub(crate) fn token(&self) -> Option<(&BearerToken, &Schedule)> {
        let (token, schedule) = self.held.as_ref()?.token.as_ref()?;
        Some((token, schedule))
    }

    /// The values that are kept with the grant. An error without a grant, if it was revoked, or if
    /// a value does not match its pattern.
    pub(crate) fn values(&self) -> Result<KeptValues, Error> {
        match self.token() {
            Some((token, _)) => token
                .delivery()
                .map_or(Ok(KeptValues::NONE), |delivery| delivery.values().cloned()),
            None => Err(self.ended().unwrap_or_else(no_grant)),
        }
    }

    /// Whether a request with a token of this generation carried the held access token.
    pub(crate) fn is_token_of(&self, generation: Generation) -> bool {
        self.held.as_ref().is_some_and(|held| {
            held.token.is_some() && (held.token_since..=held.grant.generation).contains(&generation)
        })
    }

    pub(crate) fn refresh_token(&self) -> Option<&RefreshTokenExpiry> {
        self.held.as_ref()?.refresh_token.as_ref()
    }

    /// Whether the access token expires by itself. Otherwise it serves until a 401.
    pub(crate) fn has_known_lifetime(&self) -> bool {
        self.tokens()
            .is_some_and(|tokens| tokens.lifetime().is_some())
    }

    /// Records that a request has used the token.
    pub(crate) fn mark_used(&self) {
        if let Some(held) = &self.held
            && !held.used.get()
        {
            held.used.0.store(true, Ordering::Relaxed);
        }
    }

    /// Whether this request is the one that calls for an advisory refresh. The others skip it,
    /// because the call takes a lock.
    pub(crate) fn claim_advisory_request(&self, now: Instant) -> bool {
        let Some((held, (_, schedule))) = self
            .held
            .as_ref()
            .and_then(|held| Some((held, held.token.as_ref()?)))
        else {
            return false;
        };
        let passed = now.saturating_duration_since(schedule.refresh_at);
        let passed = u32::try_from(passed.as_millis() + 1).unwrap_or(u32::MAX);
        let last = held.last_request.0.load(Ordering::Relaxed);
        let is_time = last == 0
            || u128::from(passed.saturating_sub(last)) >= ADVISORY_REQUEST_INTERVAL.as_millis();
        is_time
            && held
                .last_request
                .0
                .compare_exchange(last, passed, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }

    /// Whether the token is refreshed early: a request has used it, or its last response was lost.
    pub(crate) fn is_in_use(&self) -> bool {
        self.is_used() || self.intent_since().is_some()
    }

    /// Whether a request has used the token.
    pub(crate) fn is_used(&self) -> bool {
        self.held.as_ref().is_some_and(|held| held.used.get())
    }

    /// When the refresh started whose response is missing.
    pub(crate) fn intent_since(&self) -> Option<SystemTime> {
        match self.grant()?.state {
            GrantState::Refreshing { since, .. } => Some(since),
            _ => None,
        }
    }

    /// How long this process has known the intent, by the monotonic clock.
    pub(crate) fn intent_known_for(&self, now: Instant) -> Duration {
        let held = self.held.as_ref();
        let since = held.and_then(|held| held.intent_known_since.as_deref());
        since.map_or(Duration::ZERO, |since| {
            now.saturating_duration_since(*since)
        })
    }

    /// Whether the refresh with the missing response was already a replay.
    pub(crate) fn is_replayed(&self) -> bool {
        self.grant().is_some_and(|grant| {
            matches!(
                grant.state,
                GrantState::Refreshing {
                    is_replayed: true,
                    ..
                }
            )
        })
    }

    /// The token, if it has not expired.
    pub(crate) fn alive(&self, now: Instant) -> Option<&BearerToken> {
        self.token()
            .filter(|(_, schedule)| now < schedule.expires)
            .map(|(token, _)| token)
    }

    /// For how long the API may not know the token yet. Zero without one.
    pub(super) fn propagates_for(&self, now: Instant) -> Duration {
        self.token().map_or(Duration::ZERO, |(_, schedule)| {
            schedule.propagated_at.saturating_duration_since(now)
        })
    }

    /// Whether a 401 to this generation may be due to an API that does not know the token yet.
    pub(super) fn is_propagating(&self, rejected: Generation, now: Instant) -> bool {
        self.is_token_of(rejected)
            && self.alive(now).is_some()
            && !self.propagates_for(now).is_zero()
    }

    /// The token, if it satisfies `reason` without a refresh.
    pub(crate) fn token_for(&self, reason: Reason, now: Instant) -> Option<&BearerToken> {
        let (token, schedule) = self.token()?;
        // A grant that has ended has a new generation, but no new token.
        let is_active = self.ended().is_none();
        let good = match reason {
            Reason::Advisory => now < schedule.refresh_at,
            Reason::Mandatory => now < schedule.mandatory_at,
            Reason::Rejected(generation) => {
                is_active
                    && token.generation() > generation
                    && !self.is_token_of(generation)
                    && now < schedule.expires
            }
            Reason::Manual(generation) => {
                // Without a known generation, no token is known to be newer.
                is_active
                    && generation.is_some_and(|held| token.generation() > held)
                    && now < schedule.expires
            }
            // A newer generation has a newer refresh token, even if its access token has expired.
            Reason::KeepAlive(generation) => is_active && Some(token.generation()) > generation,
            Reason::LostResponse(since) => is_active && self.intent_since() != Some(since),
        };
        good.then_some(token)
    }

    /// The error that requests get if the grant has ended.
    pub(crate) fn ended(&self) -> Option<Error> {
        match self.grant()?.state {
            GrantState::Active(_) | GrantState::Refreshing { .. } => None,
            GrantState::ReauthorizationRequired { .. } => Some(Error::new(
                ErrorKind::ReauthorizationRequired,
                "the grant has ended at the provider; the customer has to consent again",
            )),
            GrantState::Revoked { .. } => Some(Error::new(
                ErrorKind::Revoked,
                "the grant was revoked; the customer has to consent again",
            )),
        }
    }
}

fn no_grant() -> Error {
    Error::new(
        ErrorKind::NoGrant,
        "there is no grant, and so no values are kept with it; let the customer consent",
    )
}
