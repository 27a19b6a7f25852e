//! The grants whose refreshes fail in each sweep.
//!
//! The cache of a tenant knows for how long not to try again, but not every tenant is resident.
//! Without this, a grant that is refused again and again would cost a token request in each sweep.

use std::{collections::HashMap, hash::BuildHasher, time::Duration};

use foldhash::fast::RandomState;
use tokio::time::Instant;

use crate::{later::Later, token::TenantId};

/// How many tenants are remembered, in 32 bytes each.
const MAX_TENANTS: usize = 100_000;

/// After how many failures in a row a grant is tried less often, and how often then. Both are those
/// of a stuck grant.
const ATTEMPTS: u8 = 5;
const PAUSE: Duration = Duration::from_secs(6 * 3_600);

/// A later failure is not in the same row.
const LONGEST_GAP: Duration = Duration::from_secs(2 * 86_400);

/// Tenants by the hashes of their names, with their last failure and the number of failures.
#[derive(Default)]
pub(super) struct SweepFailures {
    hasher: RandomState,
    by_tenant: HashMap<u64, (Instant, u8), RandomState>,
}

impl SweepFailures {
    /// Whether it is too early to try the grant of this tenant again.
    pub(super) fn is_paused(&self, tenant: &TenantId, now: Instant) -> bool {
        let failures = self.by_tenant.get(&self.hasher.hash_one(tenant));
        failures.is_some_and(|(last, times)| *times >= ATTEMPTS && now < last.later(PAUSE))
    }

    /// Whether the last refresh of this tenant in a sweep failed.
    pub(super) fn contains(&self, tenant: &TenantId) -> bool {
        self.by_tenant.contains_key(&self.hasher.hash_one(tenant))
    }

    /// Counts a refresh that the provider refused, or whose response could not be used.
    pub(super) fn add(&mut self, tenant: &TenantId, now: Instant) {
        let key = self.hasher.hash_one(tenant);
        let is_full = self.by_tenant.len() >= MAX_TENANTS;
        if is_full && !self.by_tenant.contains_key(&key) {
            // Those that fail again are remembered again.
            self.by_tenant.clear();
        }
        let (last, times) = self.by_tenant.entry(key).or_insert((now, 0));
        if now > last.later(LONGEST_GAP) {
            *times = 0;
        }
        (*last, *times) = (now, times.saturating_add(1));
    }

    pub(super) fn clear(&mut self, tenant: &TenantId) {
        self.by_tenant.remove(&self.hasher.hash_one(tenant));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    fn tenant(name: &str) -> TenantId {
        TenantId::new(name).unwrap()
    }

    #[test]
    fn p19_grant_that_fails_in_five_sweeps_is_tried_every_6_hours() {
        let (start, acme) = (Instant::now(), tenant("acme"));
        let mut failures = SweepFailures::default();
        let mut tried = Vec::new();
        for hour in 0..48 {
            let now = start + hour * HOUR;
            if !failures.is_paused(&acme, now) {
                failures.add(&acme, now);
                tried.push(hour);
            }
        }
        assert_eq!(tried, [0, 1, 2, 3, 4, 10, 16, 22, 28, 34, 40, 46]);
        assert!(!failures.is_paused(&tenant("other"), start + 46 * HOUR));
        failures.clear(&acme);
        assert!(!failures.is_paused(&acme, start + 46 * HOUR));
    }

    #[test]
    fn p19_failures_far_apart_cause_no_pause() {
        let (mut now, acme) = (Instant::now(), tenant("acme"));
        let mut failures = SweepFailures::default();
        for _ in 0..20 {
            failures.add(&acme, now);
            assert!(!failures.is_paused(&acme, now));
            now += 49 * HOUR;
        }
    }

    #[test]
    fn p19_number_of_remembered_tenants_is_bounded() {
        let now = Instant::now();
        let mut failures = SweepFailures::default();
        for number in 0..=MAX_TENANTS {
            failures.add(&tenant(&number.to_string()), now);
            assert!(failures.by_tenant.len() <= MAX_TENANTS);
        }
    }
}
