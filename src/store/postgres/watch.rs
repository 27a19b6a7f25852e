//! Notifications of changes by other replicas.
//!
//! One connection listens for all waiting tasks and subscribers, in a task that starts with the
//! first of them and ends with the store. The connection is not from the program's pool, which may
//! have few. After each connect all are notified, since earlier notifications may have been missed.

use std::{convert::Infallible, fmt, sync::Arc, time::Duration};

use hmac_sha256::Hash as Sha256;
use sqlx::{
    Executor, PgPool,
    postgres::{PgListener, PgPoolOptions},
};
use tokio::{sync::Notify, time::timeout};

use crate::{
    store::{
        announcer::{Announcer, Subscription},
        listening::Listening,
    },
    token::{Generation, TenantId},
};

/// One channel for all schemas: a superfluous notification costs one load.
pub(super) const CHANNEL: &str = "tower_oauth2_client";

/// The deadline for connecting and listening.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// An idle connection is probed after this time, since a broken one may never report an error.
const PROBE_INTERVAL: Duration = Duration::from_secs(60);

/// Backoff between connection attempts: doubled after each failure, with jitter.
const SHORTEST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// The message after a save: the hash of the tenant's name, the generation and the name.
pub(super) fn saved(tenant: &TenantId, generation: i64) -> String {
    format!("{} {generation} {}", payload(tenant), tenant.as_str())
}

/// The message after the release of a lease: the hash of the tenant's name.
pub(super) fn payload(tenant: &TenantId) -> String {
    format!("{:016x}", hash(tenant))
}

fn hash(tenant: &TenantId) -> u64 {
    let hash = Sha256::hash(tenant.as_str().as_bytes());
    u64::from_be_bytes(hash.first_chunk().copied().unwrap_or_default())
}

/// The listening task, which ends when this is dropped.
#[derive(Default)]
pub(super) struct Watch {
    waiters: Arc<Waiters>,
    listening: Listening,
}

impl Watch {
    pub(super) async fn changed(&self, pool: &PgPool, tenant: &TenantId) {
        // Registered before the task starts, so that no notification is missed.
        let changed = self.waiters.slot(hash(tenant)).notified();
        self.start(pool);
        changed.await;
    }

    pub(super) fn subscribe(&self, pool: &PgPool) -> Subscription {
        let subscription = self.listening.subscribe();
        self.start(pool);
        subscription
    }

    fn start(&self, pool: &PgPool) {
        if pool.is_closed() {
            return;
        }
        self.listening.ensure_running(|announcer| {
            let (pool, waiters) = (pool.clone(), Arc::clone(&self.waiters));
            async move {
                let listening = listen_and_reconnect(&pool, &waiters, &announcer);
                let _ = pool.close_event().do_until(listening).await;
            }
        });
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").finish_non_exhaustive()
    }
}

/// Waiters tasks, by the hashes of their tenants. Tenants with equal hashes wake each other, which
/// costs one load each.
struct Waiters([Notify; 256]);

impl Waiters {
    fn slot(&self, hash: u64) -> &Notify {
        let [.., last] = hash.to_be_bytes();
        &self.0[usize::from(last)]
    }

    fn wake(&self, payload: &str) {
        // Other programs may use the channel too.
        let hash = payload.split(' ').next().unwrap_or_default();
        if let Ok(hash) = u64::from_str_radix(hash, 16) {
            self.slot(hash).notify_waiters();
        }
    }

    fn wake_all(&self) {
        self.0.iter().for_each(Notify::notify_waiters);
    }
}

impl Default for Waiters {
    fn default() -> Self {
        Self([const { Notify::const_new() }; 256])
    }
}

/// The tenant and generation of a message after a save.
fn parse(payload: &str) -> Option<(TenantId, Generation)> {
    let mut parts = payload.splitn(3, ' ').skip(1);
    let generation = Generation::from_u64(parts.next()?.parse().ok()?);
    Some((TenantId::new(parts.next()?).ok()?, generation))
}

async fn listen_and_reconnect(
    pool: &PgPool,
    waiters: &Waiters,
    announcer: &Announcer,
) -> Infallible {
    let mut pause = SHORTEST_PAUSE;
    loop {
        match timeout(CONNECT_TIMEOUT, connect(pool)).await {
            Ok(Ok(listener)) => {
                pause = SHORTEST_PAUSE;
                waiters.wake_all();
                announcer.missed();
                listen(listener, waiters, announcer).await;
            }
            _ => pause = LONGEST_PAUSE.min(pause * 2),
        }
        tokio::time::sleep(pause.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
    }
}

async fn connect(pool: &PgPool) -> Result<PgListener, sqlx::Error> {
    // Read each time: the program may have changed the password.
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

/// Receives notifications until the connection is lost.
async fn listen(mut listener: PgListener, waiters: &Waiters, announcer: &Announcer) {
    loop {
        match timeout(PROBE_INTERVAL, listener.try_recv()).await {
            Ok(Ok(Some(notification))) => {
                waiters.wake(notification.payload());
                if let Some((tenant, generation)) = parse(notification.payload()) {
                    announcer.saved(&tenant, generation);
                }
            }
            Ok(Ok(None) | Err(_)) => return,
            Err(_) => {
                let response = timeout(CONNECT_TIMEOUT, listener.execute("SELECT 1")).await;
                if !matches!(response, Ok(Ok(_))) {
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
    fn p23_only_saves_of_this_crate_are_announced() {
        for name in ["acme", "a b 7", " ", "é"] {
            let tenant = TenantId::new(name).unwrap();
            let announced = (tenant.clone(), Generation::from_u64(7));
            assert_eq!(parse(&saved(&tenant, 7)), Some(announced));
            assert_eq!(parse(&payload(&tenant)), None);
        }
        for foreign in ["", "acme", "1 x acme", "1 2", "1 2 ", "1 -2 acme"] {
            assert_eq!(parse(foreign), None, "{foreign}");
        }
    }

    #[test]
    fn payload_is_a_hash_that_wakes_the_tenants_waiters() {
        let tenant = TenantId::new("acme").unwrap();
        // The first digits of `printf acme | sha256sum`.
        assert_eq!(payload(&tenant), "822b33ad87c148a0");
        let waiters = Waiters::default();
        let mut acme = tokio_test::task::spawn(waiters.slot(hash(&tenant)).notified());
        assert!(acme.poll().is_pending());
        for foreign in ["", "acme", "-1", "10000000000000000"] {
            waiters.wake(foreign);
        }
        assert!(!acme.is_woken());
        waiters.wake(&payload(&tenant));
        assert!(acme.poll().is_ready());
        let mut acme = tokio_test::task::spawn(waiters.slot(hash(&tenant)).notified());
        assert!(acme.poll().is_pending());
        waiters.wake(&saved(&tenant, 7));
        assert!(acme.poll().is_ready());
    }
}
