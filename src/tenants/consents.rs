//! The code exchanges in progress: one for each tenant.
//!
//! A browser chooses the code of a callback, so a customer can cause any number of code exchanges.
//! With one at a time, a tenant takes one permit of the token endpoint, and the others stay free.

use std::{
    collections::{HashMap, hash_map::Entry},
    hash::BuildHasher,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use foldhash::fast::RandomState;

use crate::{
    error::{Error, ErrorKind},
    token::TenantId,
};

#[derive(Default)]
pub(crate) struct Consents {
    /// The flow of each tenant whose code is being exchanged, as a hash of its `state`.
    in_progress: Mutex<HashMap<TenantId, u64>>,
    hasher: RandomState,
}

/// The right to exchange a code for a tenant. Ends when it is dropped.
pub(crate) struct Consent {
    consents: Arc<Consents>,
    tenant: TenantId,
}

/// The code exchange of a tenant that is in progress already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InProgress {
    /// It is of the same flow: the callback has been repeated.
    SameFlow,
    OtherFlow,
}

impl Consents {
    /// Begins the code exchange of the flow with this `state`, unless one is in progress.
    pub(crate) fn begin(
        self: &Arc<Self>,
        tenant: &TenantId,
        state: &str,
    ) -> Result<Consent, InProgress> {
        let flow = self.hasher.hash_one(state);
        match self.lock().entry(tenant.clone()) {
            Entry::Occupied(other) if *other.get() == flow => Err(InProgress::SameFlow),
            Entry::Occupied(_) => Err(InProgress::OtherFlow),
            Entry::Vacant(entry) => {
                entry.insert(flow);
                Ok(Consent {
                    consents: Arc::clone(self),
                    tenant: tenant.clone(),
                })
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<TenantId, u64>> {
        // Each change is one insertion or removal.
        self.in_progress
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Consent {
    fn drop(&mut self) {
        self.consents.lock().remove(&self.tenant);
    }
}

impl From<InProgress> for Error {
    fn from(_: InProgress) -> Self {
        Self::new(
            ErrorKind::Unavailable,
            "another authorization of this tenant is being completed; the code was not sent, so \
             try again when that has ended",
        )
        .with_token_unused()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p16_one_code_exchange_at_a_time_for_each_tenant() {
        let consents = Arc::new(Consents::default());
        let tenant = |name| TenantId::new(name).unwrap();
        let acme = consents.begin(&tenant("acme"), "s1").ok().unwrap();
        for (name, state, expected) in [
            ("acme", "s1", Some(InProgress::SameFlow)),
            ("acme", "s2", Some(InProgress::OtherFlow)),
            ("initech", "s1", None),
            ("initech", "s2", None),
        ] {
            let begun = consents.begin(&tenant(name), state);
            assert_eq!(begun.err(), expected, "{name} {state}");
        }
        drop(acme);
        assert!(consents.begin(&tenant("acme"), "s2").is_ok());
    }
}
