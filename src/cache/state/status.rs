//! The state of a grant at one moment.

use std::time::SystemTime;

use super::{CacheState, moment::Moment};
use crate::{
    error::Error,
    token::{Generation, Grant, GrantState, ReauthorizationReason},
};

/// The state of a grant at one moment, from
/// [`TokenCache::status`](crate::cache::TokenCache::status).
///
/// With serde it becomes a map, for a status page or an operator. Times are texts as in RFC 3339,
/// and what is unknown is `null`. The map contains no secret and no tenant name:
///
/// ```
/// # use std::time::{Duration, SystemTime};
/// # use tower_oauth2_client::{
/// #     Error, cache::{TokenCache, token_fn}, token::{AccessToken, TokenSet},
/// # };
/// # tokio_test::block_on(async {
/// # let source = token_fn(|| async { Err::<TokenSet, _>(Error::invalid_grant()) });
/// # let tokens = TokenCache::builder(source).origin("https://api.example.com").build()?;
/// let json = serde_json::to_value(tokens.status())?;
/// assert_eq!(json["state"], "absent");
/// assert_eq!(json["expires_at"], serde_json::Value::Null);
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Status {
    /// The state of the access token and its grant.
    pub state: TokenState,
    /// The generation of the known grant. `None` if there is no grant, or if it has not been loaded
    /// yet.
    pub generation: Option<Generation>,
    /// When the held access token expires, by this machine's wall clock. `None` without a valid
    /// token, or if its lifetime is unknown.
    pub expires_at: Option<SystemTime>,
    /// Whether there is a refresh token that can be used. Without one, a grant ends with its access
    /// token. A source that needs no refresh token, such as
    /// [`ClientCredentials`](crate::cache::ClientCredentials), has none and refreshes nevertheless.
    pub has_refresh_token: bool,
    /// Until when the grant can be refreshed, by this machine's wall clock: when the refresh token
    /// expires, or when the provider accepts the [last
    /// refresh](crate::provider::ProviderBuilder::latest_refresh) of the access token, if that is
    /// earlier. `None` if neither is known.
    pub refresh_token_expires_at: Option<SystemTime>,
    /// Until when 401 responses cause no refresh, by this machine's wall clock. `None` if a 401
    /// causes one. The time is 30 seconds after such a refresh, and up to 30 minutes if the API
    /// rejected the tokens of several such refreshes soon.
    pub no_refresh_after_401_until: Option<SystemTime>,
    /// Since when refreshes have been failing, by this machine's wall clock, if the grant is
    /// [stuck](crate::cache#stuck-grants). `None` if it is not, or has ended.
    pub stuck_since: Option<SystemTime>,
    /// The error of the last refresh, if it failed.
    pub last_error: Option<Error>,
    /// Whether a refresh is in flight.
    pub is_refreshing: bool,
}

impl Status {
    /// Whether the customer has to consent: for the first time, because there is no grant, or
    /// again, because it has ended or was revoked. A grant that has ended needs a new consent at
    /// once, even while requests still use its access token.
    ///
    /// The store may have a grant that this process has not loaded. A status from
    /// [`TokenCache::load_status`](crate::cache::TokenCache::load_status) or
    /// [`Tenants::status`](crate::tenants::Tenants::status) knows it. A source [without a
    /// consent](crate::cache#grants-without-a-consent) has no grant before its first request.
    #[must_use]
    pub fn needs_consent(&self) -> bool {
        matches!(
            self.state,
            TokenState::Absent
                | TokenState::ReauthorizationRequired { .. }
                | TokenState::Revoked { .. }
        )
    }

    /// The status of a tenant without a grant.
    pub(crate) fn absent() -> Self {
        Self {
            state: TokenState::Absent,
            generation: None,
            expires_at: None,
            has_refresh_token: false,
            refresh_token_expires_at: None,
            no_refresh_after_401_until: None,
            stuck_since: None,
            last_error: None,
            is_refreshing: false,
        }
    }
}

/// The state of an access token and its grant.
///
/// If several variants apply, the one that is listed last is reported. For example, a rejected
/// token may also be in its advisory window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TokenState {
    /// There is no grant, or it has not been loaded yet.
    Absent,
    /// Requests use the token, and it needs no refresh yet. A token whose lifetime is unknown is
    /// fresh until the API rejects it.
    Fresh,
    /// Requests use the token. Its background refresh is due, and starts if a request has used the
    /// token.
    Advisory,
    /// The token is about to expire: requests wait for its refresh.
    Mandatory,
    /// The token has expired.
    Expired,
    /// The API rejected the token with a 401, or the program
    /// [invalidated](crate::cache::TokenCache::invalidate) it, and there is no newer token.
    Rejected {
        /// The generation of the rejected token.
        generation: Generation,
    },
    /// The response to the last refresh was lost, so the refresh token may have been used. Requests
    /// use the access token until it expires.
    Uncertain {
        /// When that refresh started, by the wall clock of the machine that made it.
        since: SystemTime,
    },
    /// The grant has ended at the provider, or for want of a refresh token: the customer has to
    /// consent again. Requests use the access
    /// token until it expires or the API rejects it.
    ReauthorizationRequired {
        /// Why the grant ended.
        reason: ReauthorizationReason,
        /// When that was detected, by the wall clock of the machine that detected it.
        since: SystemTime,
    },
    /// The grant was revoked by this program, or by one that shares its store. Requests get no
    /// token.
    Revoked {
        /// When it was revoked, by the wall clock of the machine that revoked it.
        since: SystemTime,
    },
}

impl TokenState {
    /// The name of the state, such as `reauthorization_required`. It is stable.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Fresh => "fresh",
            Self::Advisory => "advisory",
            Self::Mandatory => "mandatory",
            Self::Expired => "expired",
            Self::Rejected { .. } => "rejected",
            Self::Uncertain { .. } => "uncertain",
            Self::ReauthorizationRequired { .. } => "reauthorization_required",
            Self::Revoked { .. } => "revoked",
        }
    }
}

impl CacheState {
    /// The state of the grant at this moment.
    pub(crate) fn status(&self, m: Moment<'_>) -> Status {
        let held = &self.held;
        let alive = held
            .token()
            .map(|(_, schedule)| schedule)
            .filter(|schedule| m.now < schedule.expires);
        Status {
            state: self.token_state(m),
            generation: held.generation(),
            expires_at: alive
                .filter(|_| held.has_known_lifetime())
                .and_then(|schedule| {
                    m.wall
                        .checked_add(schedule.expires.saturating_duration_since(m.now))
                }),
            has_refresh_token: held.grant().is_some_and(|grant| {
                let tokens = grant.tokens().filter(|_| grant.state.is_refreshable());
                tokens.is_some_and(|tokens| tokens.refresh_token().is_some())
            }),
            refresh_token_expires_at: held.refresh_token().map(|expiry| expiry.expires_at),
            no_refresh_after_401_until: self.no_forced_refresh_until(m),
            stuck_since: self
                .backoff
                .stuck()
                .filter(|_| held.ended().is_none())
                .and_then(|trouble| m.wall.checked_sub(trouble.lasts(m.now))),
            last_error: self.backoff.last().cloned(),
            is_refreshing: self.is_refreshing(),
        }
    }

    /// See [`Grant::refreshed_at`].
    pub(crate) fn refreshed_at(&self) -> Option<SystemTime> {
        self.held.grant().and_then(Grant::refreshed_at)
    }

    fn token_state(&self, m: Moment<'_>) -> TokenState {
        let grant = self.held.grant();
        match grant.map(|grant| (&grant.state, grant.generation)) {
            Some((&GrantState::Revoked { since }, _)) => TokenState::Revoked { since },
            Some((&GrantState::ReauthorizationRequired { reason, since, .. }, _)) => {
                TokenState::ReauthorizationRequired { reason, since }
            }
            Some((&GrantState::Refreshing { since, .. }, _))
                if !self.is_refreshing() && !self.may_be_in_flight(since, m) =>
            {
                TokenState::Uncertain { since }
            }
            Some((_, generation)) if self.is_rejected() => TokenState::Rejected { generation },
            _ => match self.held.token() {
                None => TokenState::Absent,
                Some((_, schedule)) if m.now < schedule.refresh_at => TokenState::Fresh,
                Some((_, schedule)) if m.now < schedule.mandatory_at => TokenState::Advisory,
                Some((_, schedule)) if m.now < schedule.expires => TokenState::Mandatory,
                Some(_) => TokenState::Expired,
            },
        }
    }
}
