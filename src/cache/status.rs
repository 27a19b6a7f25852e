//! What is known of a grant at this moment.

use std::time::SystemTime;

use super::{
    admission::{FORCED_REFRESH_INTERVAL, is_within},
    backoff::Urgency,
    core::Core,
    intent::may_be_under_way,
};
use crate::{
    error::Error,
    token::{Generation, GrantState, ReauthorizationReason},
};

/// What is known of a grant at this moment, as [`TokenCache::status`](super::TokenCache::status) tells it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Status {
    /// How the token does.
    pub state: TokenState,
    /// Which state of the grant is known. `None` before the store was first read, and without a grant.
    pub generation: Option<Generation>,
    /// When the held access token ends, by this machine's wall clock, if it still lives.
    pub expires_at: Option<SystemTime>,
    /// When the refresh token expires, by this machine's wall clock, if there is one and its lifetime is known.
    pub refresh_token_expires_at: Option<SystemTime>,
    /// Why there was no new token, if that was so the last time.
    pub last_error: Option<Error>,
    /// Whether an exchange is under way.
    pub is_refreshing: bool,
}

/// How a token does.
///
/// The states further down come first: a token that was rejected may also be in its advisory window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TokenState {
    /// The store was not read yet, or there is no grant.
    Absent,
    /// It serves, and is not yet to be renewed.
    Fresh,
    /// It serves, and is renewed in the background.
    Advisory,
    /// It is about to end: requests wait for its renewal.
    Mandatory,
    /// It does not serve any more.
    Expired,
    /// The API has refused it with a 401, or the program has [invalidated](super::TokenCache::invalidate) it, and there is
    /// no newer one.
    Rejected {
        /// That of the refused token.
        generation: Generation,
    },
    /// The answer to an exchange was lost, so that it is not known whether the refresh token is still good. The access token
    /// serves as long as it lives.
    Uncertain {
        /// When the exchange began, by this machine's wall clock.
        since: SystemTime,
    },
    /// The provider has ended the grant: the customer has to consent again. The access token serves as long as it lives.
    ReauthorizationRequired {
        /// Why.
        reason: ReauthorizationReason,
        /// When that was found out, by the wall clock of the machine that did.
        since: SystemTime,
    },
    /// The grant was ended on purpose.
    Revoked {
        /// When, by the wall clock of the machine that did.
        since: SystemTime,
    },
}

/// Whether nothing is under way, nothing is known here that the store does not know, and it is not too early for an exchange
/// that somebody who begins anew would make at once.
pub(super) fn is_saved(core: &Core) -> bool {
    let moment = core.moment();
    let slot = core.lock();
    let snapshot = core.snapshot();
    // One that is not to be used any more is good by the store's account.
    let is_invalidated = snapshot.token().is_some_and(|(token, schedule)| {
        slot.rejected == Some(token.generation())
            && schedule.expires <= moment.now
            && moment.wall < schedule.expires_wall
    });
    slot.work == 0
        && !slot.is_revoked_locally
        && !is_invalidated
        && !is_within(
            core.settings.min_refresh_interval,
            slot.refresh_started_at,
            moment.now,
        )
        && !is_within(FORCED_REFRESH_INTERVAL, slot.forced_refresh_at, moment.now)
}

/// The same, and no exchange is due, nor put off after a failure; nor is there a revocation to confirm.
pub(super) fn is_at_rest(core: &Core) -> bool {
    let moment = core.moment();
    let is_due = core
        .snapshot()
        .refresh_token()
        .is_some_and(|life| life.is_due(moment));
    let slot = core.lock();
    let has_paused = slot
        .backoff
        .check(moment.now, core.secret_epoch(), Urgency::Advisory)
        .is_ok();
    // The provider may yet be told.
    let is_confirmed = slot.unconfirmed.is_none();
    drop(slot);
    !is_due && has_paused && is_confirmed && is_saved(core)
}

pub(super) fn status(core: &Core) -> Status {
    let moment = core.moment();
    let slot = core.lock();
    let snapshot = core.snapshot();
    let is_refreshing = slot.refresh.is_some();
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
        Some((&GrantState::Exchanging { since, .. }, _))
            if !is_refreshing && !may_be_under_way(&slot, since, moment.wall) =>
        {
            TokenState::Uncertain { since }
        }
        Some((_, generation)) if slot.rejected == Some(generation) => {
            TokenState::Rejected { generation }
        }
        _ => by_age,
    };
    let refresh_token_expires_at = snapshot.refresh_token().map(|life| life.ends);
    Status {
        state,
        generation: snapshot.generation(),
        expires_at: alive.map(|schedule| moment.wall + (schedule.expires - moment.now)),
        refresh_token_expires_at,
        last_error: slot.backoff.last().cloned(),
        is_refreshing,
    }
}
