//! The driver of a health check.

use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};

use tokio::{task::yield_now, time::timeout};

use super::{
    probe::Probe,
    report::{Health, StateCounts, StoreHealth},
};
use crate::{
    cache::{Leader, SingleFlight},
    error::{Error, ErrorKind},
    oauth::EndpointGate,
    tenants::state::TenantsState,
};

/// How long a result serves, by the monotonic clock.
const REMEMBERED: Duration = Duration::from_secs(1);
/// How long a caller waits for the store. A Kubernetes probe waits for a second by default.
const CALLER_DEADLINE: Duration = Duration::from_millis(900);
/// How long a check of the store takes at most. Until then, all callers wait for the same one.
const DEADLINE: Duration = Duration::from_secs(10);
/// How many grants are tried: one of them may be damaged. Those of other clients do not count.
const GRANTS: usize = 4;
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
            oldest_refresh = oldest_refresh.into_iter().chain(cache.refreshed_at()).min();
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

/// Fails before the code of a consent is sent if most stored grants cannot be read: the new one
/// would be saved with a key that the other replicas lack.
pub(in crate::tenants) async fn check_consent(state: &Arc<TenantsState>) -> Result<(), Error> {
    match store_health(state).await {
        // The error is of another tenant.
        StoreHealth::Unreadable(_) => Err(Error::new(
            ErrorKind::Store,
            "most stored grants cannot be read, so no new one is saved: other replicas could not \
             read it; check the encryption key of this process",
        )),
        // A store that cannot be reached fails the load of this tenant's grant.
        StoreHealth::Readable | StoreHealth::Unreachable(_) => Ok(()),
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
    match &*probe {
        Probe::Done(result, at) if now.saturating_duration_since(*at) < REMEMBERED => {
            return Ok(Joined::Result(result.clone()));
        }
        Probe::InFlight(flight, since) if now.saturating_duration_since(*since) < DEADLINE => {
            return Ok(Joined::Flight(flight.clone()));
        }
        _ => {}
    }
    let runtime = state.settings.runtime();
    let runtime = runtime.ok_or_else(Error::outside_of_a_runtime)?;
    let (leader, flight) = SingleFlight::start();
    *probe = Probe::InFlight(flight.clone(), now);
    drop(probe);
    runtime.spawn(check_store(Arc::clone(state), leader));
    Ok(Joined::Flight(flight))
}

/// Forgets a check that was interrupted, so that the next caller starts another one.
fn forget(state: &TenantsState, interrupted: &SingleFlight<StoreHealth>) {
    let mut probe = state.probe();
    if matches!(&*probe, Probe::InFlight(flight, _) if flight.is_same(interrupted)) {
        *probe = Probe::None;
    }
}

async fn check_store(state: Arc<TenantsState>, leader: Leader<StoreHealth>) {
    let result = timeout(DEADLINE, read_some_grants(&state))
        .await
        .unwrap_or_else(|_| StoreHealth::Unreachable(late()));
    let now = state.settings.clock.monotonic();
    *state.probe() = Probe::Done(result.clone(), now);
    leader.report(result);
}

/// Whether most of a few grants can be read.
async fn read_some_grants(state: &TenantsState) -> StoreHealth {
    let store = &state.settings.store;
    let names = match store.tenants(None, NAMES).await {
        Ok(names) => names,
        // The store cannot list its tenants. It responds if it finds no grant of this name.
        Err(error) if error.kind() == ErrorKind::Configuration => {
            let name = store.lease_name("health");
            let loaded = store.load(&name).await;
            return loaded.map_or_else(StoreHealth::Unreachable, |_| StoreHealth::Readable);
        }
        Err(error) => return StoreHealth::Unreachable(error),
    };
    let (mut readable, mut unreadable) = (0, Vec::new());
    for tenant in names {
        match state.settings.load(&tenant).await {
            Ok(Some(_)) => readable += 1,
            Ok(None) => {}
            // It says nothing about this client's grants.
            Err(error) if error.kind() == ErrorKind::ForeignGrant => {}
            Err(error) => unreadable.push(error),
        }
        if readable + unreadable.len() >= GRANTS {
            break;
        }
    }
    // With a wrong key, a process can still read what it has saved itself.
    if readable >= unreadable.len() {
        return StoreHealth::Readable;
    }
    let first = unreadable.into_iter().next();
    first.map_or(StoreHealth::Readable, StoreHealth::Unreadable)
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
