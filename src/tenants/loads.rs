//! The loads in progress, and those that failed a moment ago.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use crate::{
    cache::{SingleFlight, TokenCache},
    error::{Error, ErrorKind},
    token::TenantId,
};

/// How many loads are remembered. A request can name any tenant, so this bounds the memory that
/// unknown names take.
const MAX_LOADS: usize = 10_000;

pub(super) type LoadResult = Result<TokenCache, Error>;

#[derive(Default)]
pub(super) struct Loads {
    loads: Mutex<HashMap<TenantId, Load>>,
}

pub(super) enum Load {
    InProgress {
        load: SingleFlight<LoadResult>,
        since: Instant,
    },
    Failed {
        error: Error,
        until: Instant,
    },
}

impl Loads {
    pub(super) fn lock(&self) -> MutexGuard<'_, HashMap<TenantId, Load>> {
        // Each change is one insertion or removal.
        self.loads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets a failed load of a tenant that now has a grant.
    pub(super) fn forget(&self, tenant: &TenantId) {
        let mut loads = self.lock();
        if let Some(Load::Failed { .. }) = loads.get(tenant) {
            loads.remove(tenant);
        }
    }
}

/// Forgets failed loads if there are too many; each of them then costs another load. Loads in
/// progress have to stay.
pub(super) fn make_room(loads: &mut HashMap<TenantId, Load>, now: Instant) -> Result<(), Error> {
    if loads.len() < MAX_LOADS {
        return Ok(());
    }
    loads.retain(|_, load| !matches!(load, Load::Failed { until, .. } if *until <= now));
    if loads.len() >= MAX_LOADS {
        loads.retain(|_, load| matches!(load, Load::InProgress { .. }));
    }
    if loads.len() >= MAX_LOADS {
        return Err(Error::new(
            ErrorKind::Unavailable,
            "10,000 tenants are being loaded at the same time; check how fast the token store \
             responds",
        ));
    }
    Ok(())
}
