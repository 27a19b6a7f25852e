//! Whether a cache can be evicted and loaded again later.

use std::time::Duration;

use super::{
    CacheState,
    backoff::Urgency,
    forced::FORCED_REFRESH_INTERVAL,
    moment::{Moment, is_within},
};
use crate::token::TokenSet;

/// How long a revocation that the provider has not confirmed keeps a cache in memory. A later call
/// of `revoke` may still confirm it. The limit keeps a provider that never does from filling the
/// memory.
const UNCONFIRMED_KEPT: Duration = Duration::from_secs(86_400);

/// How long a failure that counts towards a stuck grant keeps a cache in memory. A new cache would
/// count from zero.
const TROUBLE_KEPT: Duration = Duration::from_secs(86_400);

/// How long the first rejection of a token that cannot be replaced keeps a cache in memory: a
/// program that runs once a day meets the second one. A new cache would wait for another first one.
const SUSPICION_KEPT: Duration = Duration::from_secs(2 * 86_400);

impl CacheState {
    /// Whether the cache can be evicted without losing anything but a backoff: no work is running,
    /// the store knows everything, no minimum interval between refreshes is running that a new
    /// cache would not know, and no revocation of the last day is unconfirmed.
    pub(crate) fn is_saved(&self, m: Moment<'_>) -> bool {
        // The store counts an invalidated token as valid.
        let expires_at = self.held.tokens().and_then(TokenSet::expires_at);
        let is_invalidated = self.held.token().is_some_and(|(_, schedule)| {
            self.is_rejected()
                && schedule.expires <= m.now
                && expires_at.is_none_or(|expires_at| m.wall < expires_at)
        });
        let forced_at = self.forced.as_ref().map(|forced| forced.at);
        let min_interval = m.policy.min_refresh_interval;
        self.is_idle()
            && !self.commands.is_revoked_locally()
            && !is_invalidated
            && !is_within(min_interval, self.refresh_started_at, m.now)
            && !is_within(UNCONFIRMED_KEPT, self.commands.unconfirmed_at(), m.now)
            && !is_within(FORCED_REFRESH_INTERVAL, forced_at, m.now)
    }

    /// Whether [`is_saved`](Self::is_saved) holds, and also no refresh is due and no backoff is
    /// running, no refresh has failed in the last day for a reason of the grant, and no token that
    /// cannot be replaced was rejected for the first time in the last two days.
    pub(crate) fn is_at_rest(&self, m: Moment<'_>) -> bool {
        let refresh_token = self.held.refresh_token();
        let backoff = self.backoff.check(m.now, m.secret_epoch, Urgency::Advisory);
        !refresh_token.is_some_and(|expiry| expiry.is_due(m.now, m.wall))
            && backoff.is_ok()
            && !is_within(TROUBLE_KEPT, self.backoff.in_trouble_at(), m.now)
            && !is_within(SUSPICION_KEPT, self.suspected_since(), m.now)
            && !self.is_forced_recently(m)
            && self.is_saved(m)
    }
}
