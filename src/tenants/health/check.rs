//! The driver of a health check.

use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};

use tokio::{task::yield_now, time::timeout};

use super::{
    probe::LastCheck,
    report::{Health, StateCounts, StoreHealth},
};
use crate::{
    cache::{Leader, SingleFlight},
    error::{Error, ErrorKind},
    oauth::EndpointGate,
    tenants::state::TenantsState,
    token::TenantId,
};

/// How long a result serves, by the monotonic clock.
const REMEMBERED: Duration = Duration::from_secs(1);
/// How long a caller waits for the store. A Kubernetes probe waits for a second by default.
const CALLER_DEADLINE: Duration = Duration::from_millis(900);
/// How long a check of the store takes at most. Until then, all callers wait for the same one.
const DEADLINE: Duration = Duration::from_secs(10);
/// How many grants are tried: one of them may be damaged. Those of other clients do not count.
const GRANTS: usize = 8;
/// How many tenants are listed, to find that many grants.
const NAMES: usize = 64;
/// After this many tenants, a count lets other tasks run.
const BATCH: usize = 1_000;

pub(in crate::tenants) async fn check(state: &Arc<TenantsState>) -> Health {
    let store = store_health(state).await;
    let (mut residents, mut oldest_refresh) = (StateCounts::default(), None);
    for batch in state.residents.all().chunks(BATCH) {
        for cache in batch {
            residents.add(&cache.status());
            if let Some(refreshed) = cache.refreshed_at() {
                oldest_refresh =
                    Some(oldest_refresh.map_or(refreshed, |oldest| refreshed.min(oldest)));
            }
        }
        yield_now().await;
    }
    let last_sweep = state.last_sweep.lock();
    let last_sweep = last_sweep.unwrap_or_else(PoisonError::into_inner).clone();
    Health {
        store,
        endpoint: state.settings.gate().map(EndpointGate::status),
        residents,
        oldest_refresh,
        last_sweep,
        is_shut_down: state.maintenance().is_shut_down(),
    }
}

async fn store_health(state: &Arc<TenantsState>) -> StoreHealth {
    let flight = match join_or_start(state) {
        Ok(Joined::Result(result)) => return result,
        Ok(Joined::Flight(flight)) => flight,
        Err(error) => return StoreHealth::Unreachable(error),
    };
    match state
        .settings
        .limited(CALLER_DEADLINE, flight.wait(|_| true))
    {
        Ok(waiting) => match waiting.await {
            Ok(Some(result)) => result,
            Ok(None) => {
                forget(state, &flight);
                StoreHealth::Unreachable(interrupted())
            }
            Err(_) => StoreHealth::Unreachable(late()),
        },
        Err(error) => StoreHealth::Unreachable(error),
    }
}

enum Joined {
    Result(StoreHealth),
    Flight(SingleFlight<StoreHealth>),
}

fn join_or_start(state: &Arc<TenantsState>) -> Result<Joined, Error> {
    let now = state.settings.clock.monotonic();
    let mut probe = state.probe();
    match &probe.check {
        LastCheck::Done(result, at) if now.saturating_duration_since(*at) < REMEMBERED => {
            return Ok(Joined::Result(result.clone()));
        }
        LastCheck::InFlight(flight, since) if now.saturating_duration_since(*since) < DEADLINE => {
            return Ok(Joined::Flight(flight.clone()));
        }
        _ => {}
    }
    let runtime = state.settings.runtime();
    let runtime = runtime.ok_or_else(Error::outside_of_a_runtime)?;
    let (leader, flight) = SingleFlight::start();
    probe.check = LastCheck::InFlight(flight.clone(), now);
    let readable = probe.readable.clone();
    drop(probe);
    runtime.spawn(check_store(Arc::clone(state), leader, readable));
    Ok(Joined::Flight(flight))
}

/// Forgets a check that was interrupted, so that the next caller starts another one.
fn forget(state: &TenantsState, interrupted: &SingleFlight<StoreHealth>) {
    let mut probe = state.probe();
    if matches!(&probe.check, LastCheck::InFlight(flight, _) if flight.is_same(interrupted)) {
        probe.check = LastCheck::None;
    }
}

async fn check_store(
    state: Arc<TenantsState>,
    leader: Leader<StoreHealth>,
    readable: Option<TenantId>,
) {
    let (result, readable) = timeout(DEADLINE, read_some_grant(&state, readable))
        .await
        .unwrap_or_else(|_| (StoreHealth::Unreachable(late()), None));
    let now = state.settings.clock.monotonic();
    {
        let mut probe = state.probe();
        probe.check = LastCheck::Done(result.clone(), now);
        if readable.is_some() {
            probe.readable = readable;
        }
    }
    leader.report(result);
}

/// Reads grants until one can be read.
async fn read_some_grant(
    state: &TenantsState,
    readable: Option<TenantId>,
) -> (StoreHealth, Option<TenantId>) {
    let store = &state.settings.store;
    let names = match store.tenants(None, NAMES).await {
        Ok(names) => names,
        // The store cannot list its tenants. It responds if it can load a grant, or finds none.
        Err(error) if error.kind() == ErrorKind::Configuration => {
            let name = readable
                .clone()
                .unwrap_or_else(|| store.lease_name("health"));
            return match store.load(&name).await {
                Err(error) if error.kind() != ErrorKind::ForeignGrant => {
                    (StoreHealth::Unreachable(error), None)
                }
                _ => (StoreHealth::Readable, None),
            };
        }
        Err(error) => return (StoreHealth::Unreachable(error), None),
    };
    let mut unreadable = Vec::new();
    for tenant in readable.into_iter().chain(names) {
        match state.settings.load(&tenant).await {
            Ok(Some(_)) => return (StoreHealth::Readable, Some(tenant)),
            Ok(None) => {}
            // It says nothing about this client's grants.
            Err(error) if error.kind() == ErrorKind::ForeignGrant => {}
            Err(error) => unreadable.push(error),
        }
        if unreadable.len() >= GRANTS {
            break;
        }
    }
    let unreadable = unreadable.into_iter().next();
    let health = unreadable.map_or(StoreHealth::Readable, StoreHealth::Unreadable);
    (health, None)
}

fn late() -> Error {
    Error::new(
        ErrorKind::Store,
        "the token store did not respond in time to the health check; check that it is reachable",
    )
}

fn interrupted() -> Error {
    Error::new(
        ErrorKind::Interrupted,
        "the health check was interrupted: the runtime shut down, or the token store panicked",
    )
}
