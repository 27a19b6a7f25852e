//! Removes what has long expired, so that a sandbox can run for months.

use std::{collections::HashSet, time::Duration};

use super::model::Authority;
use crate::sandbox::clock::Moment;

impl Authority {
    /// Prunes if there are enough codes and tokens to make the search worthwhile.
    pub(super) fn prune_if_needed(&mut self, now: Moment) {
        if self.code_and_token_count() >= self.prune_at {
            self.prune(now);
            // Doubling keeps the cost of pruning proportional to the number of tokens issued.
            self.prune_at = self
                .code_and_token_count()
                .saturating_mul(2)
                .max(MIN_PRUNE_COUNT);
        }
    }

    /// Removes codes and tokens that expired long ago, and grants without any.
    pub(super) fn prune(&mut self, now: Moment) {
        let retained = |expires_at: Moment| now < expires_at.saturating_add(RETENTION);
        self.codes.retain(|_, code| retained(code.expires_at));
        self.access_tokens
            .retain(|_, token| retained(token.expires_at));
        self.refresh_tokens
            .retain(|_, token| retained(token.expires_at));
        let codes = self.codes.values().filter_map(|code| code.grant);
        let referenced: HashSet<u64> = codes
            .chain(self.access_tokens.values().map(|token| token.grant))
            .chain(self.refresh_tokens.values().map(|token| token.grant))
            .collect();
        self.grants.retain(|number, _| referenced.contains(number));
    }

    fn code_and_token_count(&self) -> usize {
        self.codes.len() + self.access_tokens.len() + self.refresh_tokens.len()
    }
}

/// How long an expired code or token stays known. Until then, its reuse can revoke its grant.
const RETENTION: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Fewer codes and tokens than this are not searched.
pub(super) const MIN_PRUNE_COUNT: usize = 4096;
