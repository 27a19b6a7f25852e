//! Whether a cache can be evicted and loaded again later.

use super::{
    CacheState,
    backoff::Urgency,
    forced::FORCED_REFRESH_INTERVAL,
    moment::{Moment, is_within},
};
use crate::token::TokenSet;

impl CacheState {
    /// Whether the cache can be evicted without losing anything but a backoff: no work is running,
    /// the store knows everything, and no minimum interval between refreshes is running that a new
    /// cache would not know.
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
            && !is_within(FORCED_REFRESH_INTERVAL, forced_at, m.now)
    }

    /// Whether [`is_saved`](Self::is_saved) holds, and also no refresh is due, no backoff is
    /// running, and no revocation is unconfirmed.
    pub(crate) fn is_at_rest(&self, m: Moment<'_>) -> bool {
        let refresh_token = self.held.refresh_token();
        let backoff = self.backoff.check(m.now, m.secret_epoch, Urgency::Advisory);
        !refresh_token.is_some_and(|expiry| expiry.is_due(m.now, m.wall))
            && backoff.is_ok()
            && !self.is_forced_recently(m)
            // A later call of `revoke` may still confirm it.
            && self.commands.unconfirmed().is_none()
            && self.is_saved(m)
    }
}
