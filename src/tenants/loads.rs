//! From the store to memory: one look for each tenant at a time, for all who ask.
//!
//! A look runs in a task of its own, which its callers' ends do not stop. That there was nothing, or that it failed, is
//! remembered for a second; only of so many tenants at once, whatever names are asked for.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::{runtime::Handle, sync::watch};

use super::{Shared, unknown};
use crate::{
    cache::TokenCache,
    error::{Error, ErrorKind},
    token::TenantId,
};

/// How long it is remembered that a tenant is unknown.
const REMEMBERED: Duration = Duration::from_secs(1);
/// Of how many tenants.
const MOST: usize = 10_000;

type Outcome = Result<TokenCache, Error>;

#[derive(Default)]
pub(super) struct Loads {
    loads: Mutex<HashMap<TenantId, Load>>,
}

enum Load {
    InProgress(watch::Receiver<Option<Outcome>>),
    Failed { error: Error, until: Instant },
}

pub(super) async fn load(shared: &Arc<Shared>, tenant: &TenantId) -> Outcome {
    let mut told = match begin(shared, tenant)? {
        Begun::Held(tokens) => return Ok(tokens),
        Begun::Load(told) => told,
    };
    let told = told.wait_for(Option::is_some).await;
    told.ok()
        .and_then(|told| told.clone())
        .unwrap_or_else(|| Err(interrupted()))
}

enum Begun {
    Held(TokenCache),
    Load(watch::Receiver<Option<Outcome>>),
}

fn begin(shared: &Arc<Shared>, tenant: &TenantId) -> Result<Begun, Error> {
    let now = shared.settings.clock.monotonic();
    let mut loads = shared.loads.lock();
    match loads.get(tenant) {
        Some(Load::InProgress(told)) => return Ok(Begun::Load(told.clone())),
        Some(Load::Failed { error, until }) if now < *until => return Err(error.clone()),
        _ => {}
    }
    // It may have come in while this caller was on its way here.
    if let Some(held) = shared.residents.keep(tenant) {
        return Ok(Begun::Held(held));
    }
    shared.attendant().attend(shared)?;
    let runtime = Handle::try_current().map_err(|_| Error::outside_of_a_runtime())?;
    make_room(&mut loads, now)?;
    let (sender, told) = watch::channel(None);
    loads.insert(tenant.clone(), Load::InProgress(told.clone()));
    drop(loads);
    let landing = Landing {
        shared: Arc::clone(shared),
        tenant: tenant.clone(),
        sender,
        outcome: Err(interrupted()),
    };
    runtime.spawn(look(landing));
    Ok(Begun::Load(told))
}

async fn look(mut landing: Landing) {
    let (shared, tenant) = (&landing.shared, &landing.tenant);
    let stored = shared.settings.read(tenant).await;
    landing.outcome = match stored {
        Ok(Some(grant)) => shared.hold(tenant, Some(&grant)),
        // A consent may have come in meanwhile.
        Ok(None) => shared.residents.keep(tenant).ok_or_else(unknown),
        Err(error) => shared.residents.keep(tenant).ok_or(error),
    };
    if let Ok(tokens) = &landing.outcome {
        // An answer that was lost may be asked for, once more, for half a minute only.
        tokens.look_after();
    }
}

/// Tells those who wait, also if the look came to no end.
struct Landing {
    shared: Arc<Shared>,
    tenant: TenantId,
    sender: watch::Sender<Option<Outcome>>,
    outcome: Outcome,
}

impl Drop for Landing {
    fn drop(&mut self) {
        let mut loads = self.shared.loads.lock();
        loads.remove(&self.tenant);
        if let Err(error) = &self.outcome {
            let failed = Load::Failed {
                error: error.clone(),
                until: self.shared.settings.clock.monotonic() + REMEMBERED,
            };
            loads.insert(self.tenant.clone(), failed);
        }
        drop(loads);
        self.sender.send_replace(Some(self.outcome.clone()));
    }
}

impl Loads {
    /// What is remembered of a tenant is no longer true.
    pub(super) fn forget(&self, tenant: &TenantId) {
        let mut loads = self.lock();
        if let Some(Load::Failed { .. }) = loads.get(tenant) {
            loads.remove(tenant);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<TenantId, Load>> {
        // Each change is one insertion or removal.
        self.loads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is forgotten too early costs a look; what is under way must be waited for.
fn make_room(loads: &mut HashMap<TenantId, Load>, now: Instant) -> Result<(), Error> {
    if loads.len() < MOST {
        return Ok(());
    }
    loads.retain(|_, load| !matches!(load, Load::Failed { until, .. } if *until <= now));
    if loads.len() >= MOST {
        loads.retain(|_, load| matches!(load, Load::InProgress(_)));
    }
    if loads.len() >= MOST {
        return Err(Error::new(
            ErrorKind::Unavailable,
            "ten thousand tenants are being read from the store at this moment: check how fast it answers",
        ));
    }
    Ok(())
}

fn interrupted() -> Error {
    Error::new(
        ErrorKind::Interrupted,
        "the look into the store was cut short: its runtime shut down, or the store panicked",
    )
}
