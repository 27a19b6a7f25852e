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
/// How many further loads are remembered of tenants that were resident before.
const MAX_KNOWN_LOADS: usize = 10_000;

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

    /// The load of a tenant that is in progress.
    pub(super) fn in_progress(&self, tenant: &TenantId) -> Option<SingleFlight<LoadResult>> {
        match self.lock().get(tenant) {
            Some(Load::InProgress { load, .. }) => Some(load.clone()),
            _ => None,
        }
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
///
/// `is_known` says whether the tenant was resident before. Such a tenant has a share of its own,
/// which loads of unknown names do not take.
pub(super) fn make_room(
    loads: &mut HashMap<TenantId, Load>,
    is_known: bool,
    now: Instant,
) -> Result<(), Error> {
    let most = if is_known {
        MAX_LOADS + MAX_KNOWN_LOADS
    } else {
        MAX_LOADS
    };
    if loads.len() < most {
        return Ok(());
    }
    loads.retain(|_, load| !matches!(load, Load::Failed { until, .. } if *until <= now));
    if loads.len() >= most {
        loads.retain(|_, load| matches!(load, Load::InProgress { .. }));
    }
    if loads.len() >= most {
        return Err(Error::new(
            ErrorKind::Unavailable,
            "10,000 tenants are being loaded at the same time; check how fast the token store \
             responds",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock, SystemClock};

    #[test]
    fn p16_loads_of_unknown_names_leave_a_share_to_known_tenants() {
        let now = SystemClock.monotonic();
        let mut loads = HashMap::new();
        let (_leader, load) = SingleFlight::start();
        let fill = |to: usize, loads: &mut HashMap<TenantId, Load>| {
            for number in loads.len()..to {
                let tenant = TenantId::new(format!("unknown-{number}")).unwrap();
                let load = load.clone();
                loads.insert(tenant, Load::InProgress { load, since: now });
            }
        };
        for (in_progress, is_known, has_room) in [
            (9_999, false, true),
            (9_999, true, true),
            (10_000, false, false),
            (10_000, true, true),
            (19_999, true, true),
            (20_000, true, false),
        ] {
            fill(in_progress, &mut loads);
            let room = make_room(&mut loads, is_known, now);
            assert_eq!(room.is_ok(), has_room, "{in_progress} {is_known}");
        }
    }
}
