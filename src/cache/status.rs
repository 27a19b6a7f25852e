//! The state of a grant at one moment.

use std::time::SystemTime;

use super::{
    admission::{FORCED_REFRESH_INTERVAL, is_within},
    backoff::Urgency,
    core::Core,
    intent::may_be_in_flight,
};
use crate::{
    error::Error,
    token::{Generation, GrantState, ReauthorizationReason},
};

/// The state of a grant at one moment, from [`TokenCache::status`](super::TokenCache::status).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Status {
    /// The state of the access token and its grant.
    pub state: TokenState,
    /// The generation of the known grant. `None` if there is no grant, or if it has not been loaded
    /// yet.
    pub generation: Option<Generation>,
    /// When the held access token expires, by this machine's wall clock. `None` without a valid
    /// token.
    pub expires_at: Option<SystemTime>,
    /// When the refresh token expires, by this machine's wall clock. `None` if there is no refresh
    /// token, or if its lifetime is unknown.
    pub refresh_token_expires_at: Option<SystemTime>,
    /// The error of the last refresh, if it failed.
    pub last_error: Option<Error>,
    /// Whether a refresh is in flight.
    pub is_refreshing: bool,
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
    /// Requests use the token, and it needs no refresh yet.
    Fresh,
    /// Requests use the token. Its background refresh is due, and starts if a request has used the
    /// token.
    Advisory,
    /// The token is about to expire: requests wait for its refresh.
    Mandatory,
    /// The token has expired.
    Expired,
    /// The API rejected the token with a 401, or the program
    /// [invalidated](super::TokenCache::invalidate) it, and there is no newer token.
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
    /// The provider ended the grant: the customer has to consent again. Requests use the access
    /// token until it expires.
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

/// Whether the cache can be evicted without losing anything but a backoff: no work is running, the
/// store knows everything, and no minimum interval between refreshes is running that a new cache
/// would not know.
pub(super) fn is_saved(core: &Core) -> bool {
    let moment = core.moment();
    let locked = core.lock();
    let snapshot = core.snapshot();
    // The store counts an invalidated token as valid.
    let is_invalidated = snapshot.token().is_some_and(|(token, schedule)| {
        locked.rejected == Some(token.generation())
            && schedule.expires <= moment.now
            && moment.wall < schedule.expires_wall
    });
    locked.work == 0
        && !locked.is_revoked_locally
        && !is_invalidated
        && !is_within(
            core.settings.min_refresh_interval,
            locked.refresh_started_at,
            moment.now,
        )
        && !is_within(
            FORCED_REFRESH_INTERVAL,
            locked.forced_refresh_at,
            moment.now,
        )
}

/// Whether [`is_saved`] holds, and also no refresh is due, no backoff is running, and no revocation
/// is unconfirmed.
pub(super) fn is_at_rest(core: &Core) -> bool {
    let moment = core.moment();
    let is_due = core
        .snapshot()
        .refresh_token()
        .is_some_and(|life| life.is_due(moment));
    let locked = core.lock();
    let has_paused = locked
        .backoff
        .check(moment.now, core.secret_epoch(), Urgency::Advisory)
        .is_ok();
    // A later call of `revoke` may still confirm it.
    let is_confirmed = locked.unconfirmed.is_none();
    drop(locked);
    !is_due && has_paused && is_confirmed && is_saved(core)
}

pub(super) fn status(core: &Core) -> Status {
    let moment = core.moment();
    let locked = core.lock();
    let snapshot = core.snapshot();
    let is_refreshing = locked.refresh.is_some();
    let alive = snapshot
        .token()
        .map(|(_, schedule)| schedule)
        .filter(|schedule| moment.now < schedule.expires);
    let by_age = match snapshot.token() {
        None => TokenState::Absent,
        Some((_, schedule)) if moment.now < schedule.refresh_at => TokenState::Fresh,
        Some((_, schedule)) if moment.now < schedule.mandatory_at => TokenState::Advisory,
        Some((_, schedule)) if moment.now < schedule.expires => TokenState::Mandatory,
        Some(_) => TokenState::Expired,
    };
    let state = match snapshot
        .grant()
        .map(|grant| (&grant.state, grant.generation))
    {
        Some((&GrantState::Revoked { since }, _)) => TokenState::Revoked { since },
        Some((&GrantState::ReauthorizationRequired { reason, since, .. }, _)) => {
            TokenState::ReauthorizationRequired { reason, since }
        }
        Some((&GrantState::Refreshing { since, .. }, _))
            if !is_refreshing && !may_be_in_flight(&locked, since, moment.wall) =>
        {
            TokenState::Uncertain { since }
        }
        Some((_, generation)) if locked.rejected == Some(generation) => {
            TokenState::Rejected { generation }
        }
        _ => by_age,
    };
    let refresh_token_expires_at = snapshot.refresh_token().map(|life| life.expires_at);
    Status {
        state,
        generation: snapshot.generation(),
        expires_at: alive.map(|schedule| moment.wall + (schedule.expires - moment.now)),
        refresh_token_expires_at,
        last_error: locked.backoff.last().cloned(),
        is_refreshing,
    }
}
