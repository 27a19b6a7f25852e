//! The stored form of grants that this process has seen last, so that a save need not load first.
//!
//! A save must not replace a grant that cannot be read, and a server cannot tell. So a store loads
//! the grant, reads it, and replaces exactly what it has read. A refresh loads once and saves twice
//! within seconds, so what the save would load is usually known.
//!
//! An entry is a condition and no copy: the server compares it with the stored grant in the
//! statement that writes. If they differ, nothing is written, and the save loads first. So an entry
//! that is missing or outdated costs a round trip and changes no outcome, and none has to be
//! removed, such as after a save whose outcome is unknown.

use std::{
    collections::HashMap,
    mem,
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::token::{Generation, Grant, TenantId};

/// The tenants of one of the two maps: far more than refresh at the same time.
const HALF: usize = 512;

/// The stored form of the grants that were read or written last, by a value that identifies it.
///
/// The last 512 tenants are kept, and at most 1,024. A save of any other tenant loads first.
pub(super) struct Known<V>(Mutex<Entries<V>>);

struct Entries<V> {
    recent: HashMap<TenantId, (Generation, V)>,
    /// Those that were the recent ones before. Dropped when the recent ones are full again.
    earlier: HashMap<TenantId, (Generation, V)>,
}

impl<V: Clone> Known<V> {
    /// The stored form of the tenant's grant, if it was last seen with this generation.
    pub(super) fn get(&self, tenant: &TenantId, generation: Generation) -> Option<V> {
        let entries = self.lock();
        let recent = entries.recent.get(tenant);
        let (of, form) = recent.or_else(|| entries.earlier.get(tenant))?;
        (*of == generation).then(|| form.clone())
    }

    /// Remembers the stored form of a grant that has been read.
    pub(super) fn loaded(&self, tenant: &TenantId, generation: Generation, form: V) {
        let mut entries = self.lock();
        if entries.recent.len() >= HALF && !entries.recent.contains_key(tenant) {
            entries.earlier = mem::take(&mut entries.recent);
        }
        entries.recent.insert(tenant.clone(), (generation, form));
    }

    /// Remembers the stored form of a grant that has been written, if its bytes can be read.
    pub(super) fn saved(
        &self,
        tenant: &TenantId,
        generation: Generation,
        bytes: &[u8],
        form: impl FnOnce() -> V,
    ) {
        // Otherwise the next save has to fail.
        let read = Grant::from_bytes(tenant, bytes);
        if read.is_ok_and(|read| read.generation == generation) {
            self.loaded(tenant, generation, form());
        }
    }

    fn lock(&self) -> MutexGuard<'_, Entries<V>> {
        // An entry is replaced as a whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<V> Default for Known<V> {
    fn default() -> Self {
        Self(Mutex::new(Entries {
            recent: HashMap::new(),
            earlier: HashMap::new(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::token::{AccessToken, GrantState, TokenSet};

    const ONE: Generation = Generation::from_u64(1);
    const TWO: Generation = Generation::from_u64(2);

    fn tenant(number: usize) -> TenantId {
        TenantId::new(format!("t{number}")).unwrap()
    }

    #[test]
    fn entry_is_of_one_tenant_and_generation() {
        let known = Known::default();
        assert_eq!(known.get(&tenant(0), ONE), None);
        known.loaded(&tenant(0), ONE, 'a');
        assert_eq!(known.get(&tenant(0), ONE), Some('a'));
        assert_eq!(known.get(&tenant(0), TWO), None);
        assert_eq!(known.get(&tenant(1), ONE), None);
        known.loaded(&tenant(0), ONE, 'b');
        assert_eq!(known.get(&tenant(0), ONE), Some('b'));
        known.loaded(&tenant(0), TWO, 'c');
        assert_eq!(known.get(&tenant(0), ONE), None);
    }

    #[test]
    fn entries_are_bounded_and_the_last_are_kept() {
        let known = Known::default();
        for number in 0..10 * HALF {
            known.loaded(&tenant(number), ONE, number);
            let entries = known.lock();
            assert!(entries.recent.len() + entries.earlier.len() <= 2 * HALF);
            drop(entries);
            let last = number.saturating_sub(HALF - 1)..=number;
            assert!(
                last.step_by(97)
                    .all(|n| known.get(&tenant(n), ONE) == Some(n))
            );
        }
        assert_eq!(known.get(&tenant(0), ONE), None);
    }

    #[test]
    fn newer_entry_outlasts_an_older_one_of_the_same_tenant() {
        let known = Known::default();
        known.loaded(&tenant(0), ONE, 'a');
        for number in 1..=HALF {
            known.loaded(&tenant(number), ONE, 'x');
        }
        known.loaded(&tenant(0), ONE, 'b');
        for number in HALF..3 * HALF {
            assert_ne!(known.get(&tenant(0), ONE), Some('a'));
            known.loaded(&tenant(number), ONE, 'x');
        }
    }

    #[test]
    fn p14_saved_grant_that_cannot_be_read_is_not_known() {
        let known = Known::default();
        let access_token = AccessToken::new("a").unwrap();
        let tokens = TokenSet::new(
            access_token,
            Duration::from_secs(60),
            SystemTime::UNIX_EPOCH,
        );
        let grant = Grant::new(ONE, GrantState::Active(tokens));
        let bytes = grant.to_bytes(&tenant(0));
        for (of, generation, bytes) in [
            (0, ONE, &b"{}"[..]),
            (0, ONE, &bytes[..40]),
            (0, TWO, &bytes),
            (1, ONE, &bytes),
        ] {
            known.saved(&tenant(of), generation, bytes, || 'a');
            assert_eq!(known.get(&tenant(of), generation), None);
        }
        known.saved(&tenant(0), ONE, &bytes, || 'a');
        assert_eq!(known.get(&tenant(0), ONE), Some('a'));
    }
}
