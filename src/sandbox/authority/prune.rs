//! Forgets what has been dead for long, so that a sandbox can run for months.

use std::collections::HashSet;
use std::time::Duration;

use super::{Authority, Moment};

impl Authority {
    /// Forgets dead codes, tokens and grants, if there may be enough of them to be worth the search.
    pub(super) fn prune_if_crowded(&mut self, now: Moment) {
        if self.held() >= self.crowded_at {
            self.prune(now);
            // Twice as many next time, so that a search is paid for by as many issues.
            self.crowded_at = self.held().saturating_mul(2).max(FEWEST_PRUNED);
        }
    }

    /// Forgets codes and tokens whose end is long past, and grants that have none left.
    pub(super) fn prune(&mut self, now: Moment) {
        let remembered = |expires_at: Moment| now < expires_at.saturating_add(REMEMBERED);
        self.codes.retain(|_, code| remembered(code.expires_at));
        self.access_tokens
            .retain(|_, held| remembered(held.expires_at));
        self.refresh_tokens
            .retain(|_, held| remembered(held.expires_at));
        let codes = self.codes.values().filter_map(|code| code.redeemed_for);
        let needed: HashSet<u64> = codes
            .chain(self.access_tokens.values().map(|held| held.grant))
            .chain(self.refresh_tokens.values().map(|held| held.grant))
            .collect();
        self.grants.retain(|number, _| needed.contains(number));
    }

    fn held(&self) -> usize {
        self.codes.len() + self.access_tokens.len() + self.refresh_tokens.len()
    }
}

/// How long a dead code or token is told from one that never was. A replaced one that comes back ends its grant.
const REMEMBERED: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Fewer than this are not searched.
pub(super) const FEWEST_PRUNED: usize = 4096;
