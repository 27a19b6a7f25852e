//! The stored grants that this process has read, so that a save need not read them again.
//!
//! A save must not replace a grant that cannot be read, and a server cannot tell. So a store
//! compares the stored grant with the one that it has read. A refresh reads the grant with the
//! lease, and saves it twice within seconds: it finds what it has read here.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::token::{Generation, TenantId};

/// How many tenants are remembered: more than refresh at the same time. Beyond that, a save reads
/// the stored grant first.
const MOST: usize = 1_024;

/// The generations of the grants that were read or written last, each with what identifies its
/// stored form.
#[derive(Debug)]
pub(super) struct Seen<V>(Mutex<HashMap<TenantId, (Generation, V)>>);

impl<V: Clone> Seen<V> {
    /// The stored form of the tenant's grant, if it was of this generation.
    pub(super) fn get(&self, tenant: &TenantId, generation: Generation) -> Option<V> {
        let seen = self.lock();
        let (of, version) = seen.get(tenant)?;
        (*of == generation).then(|| version.clone())
    }

    pub(super) fn set(&self, tenant: &TenantId, generation: Generation, version: V) {
        let mut seen = self.lock();
        if seen.len() >= MOST && !seen.contains_key(tenant) {
            seen.clear();
        }
        seen.insert(tenant.clone(), (generation, version));
    }

    pub(super) fn remove(&self, tenant: &TenantId) {
        self.lock().remove(tenant);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<TenantId, (Generation, V)>> {
        // A wrong version costs a round trip only.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<V> Default for Seen<V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(number: usize) -> TenantId {
        TenantId::new(format!("t{number}")).unwrap()
    }

    #[test]
    fn version_is_that_of_the_same_generation() {
        let seen = Seen::default();
        let (first, second) = (Generation::from_u64(1), Generation::from_u64(2));
        assert_eq!(seen.get(&tenant(0), first), None);
        seen.set(&tenant(0), first, 'a');
        assert_eq!(seen.get(&tenant(0), first), Some('a'));
        assert_eq!(seen.get(&tenant(0), second), None);
        assert_eq!(seen.get(&tenant(1), first), None);
        seen.set(&tenant(0), first, 'b');
        assert_eq!(seen.get(&tenant(0), first), Some('b'));
        seen.remove(&tenant(0));
        assert_eq!(seen.get(&tenant(0), first), None);
    }

    #[test]
    fn memory_is_limited() {
        let seen = Seen::default();
        for number in 0..10 * MOST {
            seen.set(&tenant(number), Generation::FIRST, number);
            assert!(seen.lock().len() <= MOST);
            assert_eq!(seen.get(&tenant(number), Generation::FIRST), Some(number));
        }
    }
}
