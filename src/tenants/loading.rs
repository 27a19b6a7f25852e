//! Loads a tenant from the store: one load at a time for each tenant, shared by all callers.
//!
//! A load runs in a task of its own, which outlives its callers. If it finds no grant, or fails,
//! the error is returned to all callers of the next second without another load.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    loads::{Load, LoadResult, make_room},
    state::TenantsState,
};
use crate::{
    cache::{Leader, SingleFlight, TokenCache},
    error::{Error, ErrorKind},
    later::Later,
    token::TenantId,
};

const FAILURE_REMEMBERED: Duration = Duration::from_secs(1);

/// A load takes less time, because the store has a shorter deadline. Afterwards its runtime stands
/// still, and another load starts.
const LOAD_TIMEOUT: Duration = Duration::from_secs(15);

pub(super) async fn load(state: &Arc<TenantsState>, tenant: &TenantId) -> LoadResult {
    match start(state, tenant)? {
        Started::Resident(cache) => Ok(cache),
        Started::Load(load) => {
            let settings = &state.settings;
            let loaded = settings.limited(settings.acquire_timeout, load.wait(|_| true))?;
            match loaded.await.ok() {
                Some(result) => result.unwrap_or_else(|| Err(interrupted())),
                None => Err(late()),
            }
        }
    }
}

enum Started {
    Resident(TokenCache),
    Load(SingleFlight<LoadResult>),
}

fn start(state: &Arc<TenantsState>, tenant: &TenantId) -> Result<Started, Error> {
    let now = state.settings.clock.monotonic();
    let mut loads = state.loads.lock();
    match loads.get(tenant) {
        Some(Load::InProgress { load, since })
            if now.saturating_duration_since(*since) < LOAD_TIMEOUT =>
        {
            return Ok(Started::Load(load.clone()));
        }
        Some(Load::Failed { error, until }) if now < *until => return Err(error.clone()),
        _ => {}
    }
    // A load may have completed since the caller's lookup.
    if let Some(resident) = state.residents.get_locked(tenant) {
        return Ok(Started::Resident(resident));
    }
    state.ensure_running()?;
    let runtime = state.settings.runtime();
    let runtime = runtime.ok_or_else(Error::outside_of_a_runtime)?;
    make_room(&mut loads, state.residents.was_evicted(tenant), now)?;
    let (leader, load) = SingleFlight::start();
    let in_progress = Load::InProgress {
        load: load.clone(),
        since: now,
    };
    loads.insert(tenant.clone(), in_progress);
    drop(loads);
    let completion = Completion {
        state: Arc::clone(state),
        tenant: tenant.clone(),
        since: now,
        leader,
        result: Err(interrupted()),
    };
    runtime.spawn(load_from_store(completion));
    Ok(Started::Load(load))
}

async fn load_from_store(mut completion: Completion) {
    let (state, tenant) = (&completion.state, &completion.tenant);
    let stored = state.settings.load(tenant).await;
    completion.result = match stored {
        Ok(Some(grant)) => state.resident_or_new(tenant, Some(&grant)),
        // `set_tokens` may have been called in the meantime.
        Ok(None) => state.residents.get_locked(tenant).ok_or_else(no_grant),
        Err(error) => state.residents.get_locked(tenant).ok_or(error),
    };
    if let Ok(cache) = &completion.result {
        // At once: after a lost response, the replay is possible for 30 seconds only.
        cache.maintain();
    }
}

/// Publishes the result of a load when it is dropped, even if the load panicked.
struct Completion {
    state: Arc<TenantsState>,
    tenant: TenantId,
    since: Instant,
    leader: Leader<LoadResult>,
    result: LoadResult,
}

impl Drop for Completion {
    fn drop(&mut self) {
        let mut loads = self.state.loads.lock();
        // Another load has started if the runtime of this one stood still.
        let is_own = matches!(
            loads.get(&self.tenant),
            Some(Load::InProgress { since, .. }) if *since == self.since
        );
        if is_own {
            loads.remove(&self.tenant);
        }
        if is_own && let Err(error) = &self.result {
            let failed = Load::Failed {
                error: error.clone(),
                until: self
                    .state
                    .settings
                    .clock
                    .monotonic()
                    .later(FAILURE_REMEMBERED),
            };
            loads.insert(self.tenant.clone(), failed);
        }
        drop(loads);
        self.leader.report(self.result.clone());
    }
}

fn no_grant() -> Error {
    Error::new(
        ErrorKind::NoGrant,
        "the token store has no grant for this tenant; let the customer consent, and call \
         Tenants::complete_authorization",
    )
}

fn late() -> Error {
    Error::new(
        ErrorKind::Unavailable,
        "the tenant was not loaded within the acquire timeout; retry later",
    )
}

fn interrupted() -> Error {
    Error::new(
        ErrorKind::Interrupted,
        "loading the tenant was interrupted: the runtime shut down, or the token store panicked",
    )
}
