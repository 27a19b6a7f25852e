//! What other replicas have changed, as the database tells it.
//!
//! One connection listens for all who wait, in a task that is begun with the first of them and ends with the store. It is
//! outside of the program's pool, where it would hold one of perhaps few connections for ever. Whenever it is new, all who
//! wait are woken, since nobody knows what happened before it listened.

use std::{
    convert::Infallible,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use hmac_sha256::Hash as Sha256;
use sqlx::{
    Executor, PgPool,
    postgres::{PgListener, PgPoolOptions},
};
use tokio::{runtime::Handle, sync::Notify, task::JoinHandle, time::timeout};

use crate::token::TenantId;

/// One for all schemas: a notification too many costs a look at the database.
pub(super) const CHANNEL: &str = "tower_oauth2_client";

/// Until a connection listens.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection that says nothing for so long is asked whether it lives: one whose other end is gone looks the same.
const QUIET: Duration = Duration::from_secs(60);

/// Between one connection and the next. Doubled as long as there is none, and jittered.
const SHORTEST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// What a notification says: whose grant or lease it is about, as those can tell who know the name.
pub(super) fn payload(tenant: &TenantId) -> String {
    format!("{:016x}", hash(tenant))
}

fn hash(tenant: &TenantId) -> u64 {
    let hash = Sha256::hash(tenant.as_str().as_bytes());
    u64::from_be_bytes(hash.first_chunk().copied().unwrap_or_default())
}

/// The task that listens, owned: it ends when this is dropped.
#[derive(Default)]
pub(super) struct Watch {
    waiting: Arc<Waiting>,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Watch {
    pub(super) async fn changed(&self, pool: &PgPool, tenant: &TenantId) {
        // Before anything is begun, so that what it hears is not missed.
        let changed = self.waiting.of(hash(tenant)).notified();
        self.begin(pool);
        changed.await;
    }

    /// Begins to listen, unless that is going on. The task may have ended with its runtime, or with a panic.
    fn begin(&self, pool: &PgPool) {
        let mut task = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        let is_listening = task.as_ref().is_some_and(|task| !task.is_finished());
        if is_listening || pool.is_closed() {
            return;
        }
        if let Ok(runtime) = Handle::try_current() {
            let (pool, waiting) = (pool.clone(), Arc::clone(&self.waiting));
            *task = Some(runtime.spawn(async move {
                let listening = listen_for_ever(&pool, &waiting);
                let _ = pool.close_event().do_until(listening).await;
            }));
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let task = self.task.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(task) = task {
            task.abort();
        }
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").finish_non_exhaustive()
    }
}

/// Those who wait, by their tenants' hashes. Tenants that share a place wake each other, which costs a look each.
struct Waiting([Notify; 256]);

impl Waiting {
    fn of(&self, hash: u64) -> &Notify {
        let [.., last] = hash.to_be_bytes();
        &self.0[usize::from(last)]
    }

    fn wake(&self, payload: &str) {
        // What others send on this channel is nothing to those who wait.
        if let Ok(hash) = u64::from_str_radix(payload, 16) {
            self.of(hash).notify_waiters();
        }
    }

    fn wake_all(&self) {
        self.0.iter().for_each(Notify::notify_waiters);
    }
}

impl Default for Waiting {
    fn default() -> Self {
        Self([const { Notify::const_new() }; 256])
    }
}

async fn listen_for_ever(pool: &PgPool, waiting: &Waiting) -> Infallible {
    let mut pause = SHORTEST_PAUSE;
    loop {
        match timeout(CONNECT_TIMEOUT, connect(pool)).await {
            Ok(Ok(listener)) => {
                pause = SHORTEST_PAUSE;
                waiting.wake_all();
                listen(listener, waiting).await;
            }
            _ => pause = LONGEST_PAUSE.min(pause * 2),
        }
        tokio::time::sleep(pause.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
    }
}

async fn connect(pool: &PgPool) -> Result<PgListener, sqlx::Error> {
    // Asked for each time: a program may have changed the password.
    let options = pool.connect_options();
    let alone = PgPoolOptions::new()
        .max_connections(1)
        .max_lifetime(None)
        .idle_timeout(None)
        .acquire_timeout(CONNECT_TIMEOUT)
        .connect_lazy_with((*options).clone());
    let mut listener = PgListener::connect_with(&alone).await?;
    listener.eager_reconnect(false);
    listener.listen(CHANNEL).await?;
    Ok(listener)
}

/// Until the connection is lost.
async fn listen(mut listener: PgListener, waiting: &Waiting) {
    loop {
        match timeout(QUIET, listener.try_recv()).await {
            Ok(Ok(Some(notification))) => waiting.wake(notification.payload()),
            Ok(Ok(None) | Err(_)) => return,
            Err(_) => {
                let asked = timeout(CONNECT_TIMEOUT, listener.execute("SELECT 1")).await;
                if !matches!(asked, Ok(Ok(_))) {
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_are_hashes_that_lead_back_to_those_who_wait() {
        let tenant = TenantId::new("acme").unwrap();
        // The first digits of `printf acme | sha256sum`.
        assert_eq!(payload(&tenant), "822b33ad87c148a0");
        let waiting = Waiting::default();
        let mut acme = tokio_test::task::spawn(waiting.of(hash(&tenant)).notified());
        assert!(acme.poll().is_pending());
        for foreign in ["", "acme", "-1", "10000000000000000"] {
            waiting.wake(foreign);
        }
        assert!(!acme.is_woken());
        waiting.wake(&payload(&tenant));
        assert!(acme.poll().is_ready());
    }
}
