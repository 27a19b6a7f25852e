//! The code exchanges in progress: one for each tenant.
//!
//! A browser chooses the code of a callback, so a customer can cause any number of code exchanges.
//! With one at a time, a tenant takes one permit of the token endpoint, and the others stay free.

use std::{
    collections::{HashMap, hash_map::Entry},
    hash::BuildHasher,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use foldhash::fast::RandomState;

use crate::{
    error::{Error, ErrorKind},
    token::TenantId,
};

/// A code exchange and its save take less time. Afterwards their runtime stands still.
pub(super) const LONGEST: Duration = Duration::from_secs(20 * 60);

#[derive(Default)]
pub(crate) struct Consents {
    /// The flow of each tenant whose code is being exchanged, as a hash of its `state`, and when
    /// that began.
    in_progress: Mutex<HashMap<TenantId, (u64, Instant)>>,
    hasher: RandomState,
}

/// The right to exchange a code for a tenant. Ends when it is dropped.
pub(crate) struct Consent {
    consents: Arc<Consents>,
    tenant: TenantId,
    flow: (u64, Instant),
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
        now: Instant,
    ) -> Result<Consent, InProgress> {
        let flow = (self.hasher.hash_one(state), now);
        match self.lock().entry(tenant.clone()) {
            Entry::Occupied(other) if now.saturating_duration_since(other.get().1) < LONGEST => {
                return Err(if other.get().0 == flow.0 {
                    InProgress::SameFlow
                } else {
                    InProgress::OtherFlow
                });
            }
            entry => drop(entry.insert_entry(flow)),
        }
        Ok(Consent {
            consents: Arc::clone(self),
            tenant: tenant.clone(),
            flow,
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<TenantId, (u64, Instant)>> {
        // Each change is one insertion or removal.
        self.in_progress
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Consent {
    fn drop(&mut self) {
        let mut in_progress = self.consents.lock();
        if in_progress.get(&self.tenant) == Some(&self.flow) {
            in_progress.remove(&self.tenant);
        }
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
    use crate::clock::{Clock, SystemClock};

    #[test]
    fn p16_one_code_exchange_at_a_time_for_each_tenant() {
        let now = SystemClock.monotonic();
        let consents = Arc::new(Consents::default());
        let tenant = |name| TenantId::new(name).unwrap();
        let acme = consents.begin(&tenant("acme"), "s1", now).ok().unwrap();
        for (name, state, expected) in [
            ("acme", "s1", Some(InProgress::SameFlow)),
            ("acme", "s2", Some(InProgress::OtherFlow)),
            ("initech", "s1", None),
            ("initech", "s2", None),
        ] {
            let begun = consents.begin(&tenant(name), state, now);
            assert_eq!(begun.err(), expected, "{name} {state}");
        }
        drop(acme);
        let stalled = consents.begin(&tenant("acme"), "s2", now).ok().unwrap();
        // Its runtime stands still.
        let later = now + LONGEST;
        let next = consents.begin(&tenant("acme"), "s3", later).ok().unwrap();
        drop(stalled);
        assert!(consents.begin(&tenant("acme"), "s4", later).is_err());
        drop(next);
        assert!(consents.begin(&tenant("acme"), "s4", later).is_ok());
    }
}
