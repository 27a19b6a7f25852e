//! Notifications of changes by other replicas.
//!
//! One connection listens for all waiting tasks and subscribers, in a task that starts with the
//! first of them and ends with the store. The connection is not from the program's pool, which may
//! have few. After each connect all are notified, since earlier notifications may have been missed.
//!
//! A proxy that pools transactions accepts `LISTEN` and drops the notifications. So a connection
//! probes itself: a notification that is sent through the program's pool must arrive.

use std::{
    convert::Infallible,
    fmt,
    future::pending,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use hmac_sha256::Hash as Sha256;
use sqlx::{
    PgPool,
    postgres::{PgConnectOptions, PgListener, PgPoolOptions},
};
use tokio::{
    sync::Notify,
    time::{Instant, sleep, sleep_until, timeout},
};

use crate::{
    later::Later,
    store::{
        announcer::{Announcer, Subscription},
        lease::LeaseOwner,
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

/// The deadline for the arrival of a probe.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);

/// The pause after a probe that did not arrive. Until a later one arrives, the store announces
/// nothing.
const DEAF_PAUSE: Duration = Duration::from_secs(300);

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
    /// By default those of the pool.
    options: Option<PgConnectOptions>,
    waiters: Arc<Waiters>,
    /// Whether the last probe did not arrive.
    is_deaf: Arc<AtomicBool>,
    listening: Listening,
}

impl Watch {
    pub(super) fn new(options: Option<PgConnectOptions>) -> Self {
        Self {
            options,
            ..Self::default()
        }
    }

    pub(super) fn options(&self) -> Option<&PgConnectOptions> {
        self.options.as_ref()
    }

    pub(super) async fn changed(&self, pool: &PgPool, tenant: &TenantId) {
        // Registered before the task starts, so that no notification is missed.
        let changed = self.waiters.slot(hash(tenant)).notified();
        self.start(pool);
        changed.await;
    }

    /// Returns `None` while notifications do not arrive.
    pub(super) fn subscribe(&self, pool: &PgPool) -> Option<Subscription> {
        let subscription = self.listening.subscribe();
        self.start(pool);
        (!self.is_deaf.load(Ordering::Relaxed)).then_some(subscription)
    }

    fn start(&self, pool: &PgPool) {
        if pool.is_closed() {
            return;
        }
        self.listening.ensure_running(|announcer| {
            let listener = Listener {
                pool: pool.clone(),
                options: self.options.clone(),
                waiters: Arc::clone(&self.waiters),
                is_deaf: Arc::clone(&self.is_deaf),
                announcer,
            };
            async move {
                let listening = listener.listen_and_reconnect();
                let _ = listener.pool.close_event().do_until(listening).await;
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

/// The contents of the listening task.
struct Listener {
    pool: PgPool,
    options: Option<PgConnectOptions>,
    waiters: Arc<Waiters>,
    is_deaf: Arc<AtomicBool>,
    announcer: Announcer,
}

/// Why a connection no longer serves.
enum End {
    Lost,
    /// A probe did not arrive.
    Deaf,
}

impl Listener {
    async fn listen_and_reconnect(&self) -> Infallible {
        let mut pause = SHORTEST_PAUSE;
        loop {
            match timeout(CONNECT_TIMEOUT, self.connect()).await {
                Ok(Ok(connection)) => {
                    self.waiters.wake_all();
                    self.announcer.missed();
                    pause = match self.listen(connection).await {
                        End::Lost => SHORTEST_PAUSE,
                        End::Deaf => {
                            self.is_deaf.store(true, Ordering::Relaxed);
                            self.announcer.end();
                            DEAF_PAUSE
                        }
                    };
                }
                _ => pause = LONGEST_PAUSE.min(pause * 2),
            }
            sleep(pause.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
        }
    }

    async fn connect(&self) -> Result<PgListener, sqlx::Error> {
        let options = match &self.options {
            Some(options) => options.clone(),
            // Read each time: the program may have changed the password.
            None => (*self.pool.connect_options()).clone(),
        };
        let alone = PgPoolOptions::new()
            .max_connections(1)
            .max_lifetime(None)
            .idle_timeout(None)
            .acquire_timeout(CONNECT_TIMEOUT)
            .connect_lazy_with(options);
        let mut listener = PgListener::connect_with(&alone).await?;
        listener.eager_reconnect(false);
        listener.listen(CHANNEL).await?;
        Ok(listener)
    }

    /// Receives notifications until the connection is lost, or a probe does not arrive.
    async fn listen(&self, mut connection: PgListener) -> End {
        loop {
            // Random, since each replica sends probes.
            let probe = format!("probe {}", LeaseOwner::random());
            if let Some(end) = self.receive_probe(&mut connection, &probe).await {
                return end;
            }
            // Until the connection is idle.
            loop {
                match timeout(PROBE_INTERVAL, connection.try_recv()).await {
                    Ok(Ok(Some(notification))) => self.notify(notification.payload()),
                    Ok(Ok(None) | Err(_)) => return End::Lost,
                    Err(_) => break,
                }
            }
        }
    }

    /// Sends a probe, and receives notifications until it arrives. A probe that cannot be sent
    /// proves nothing.
    async fn receive_probe(&self, connection: &mut PgListener, probe: &str) -> Option<End> {
        let mut sending = pin!(async {
            let notify = sqlx::query("SELECT pg_notify($1, $2)");
            notify.bind(CHANNEL).bind(probe).execute(&self.pool).await
        });
        let mut deadline = None;
        loop {
            let overdue = async {
                match deadline {
                    Some(deadline) => sleep_until(deadline).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                // After a pause of the runtime, the probe may have arrived and be overdue.
                biased;
                sent = &mut sending, if deadline.is_none() => match sent {
                    Ok(_) => deadline = Some(Instant::now().later(PROBE_TIMEOUT)),
                    Err(_) => return None,
                },
                received = connection.try_recv() => match received {
                    Ok(Some(notification)) if notification.payload() == probe => {
                        self.is_deaf.store(false, Ordering::Relaxed);
                        return None;
                    }
                    Ok(Some(notification)) => self.notify(notification.payload()),
                    Ok(None) | Err(_) => return Some(End::Lost),
                },
                () = overdue => return Some(End::Deaf),
            }
        }
    }

    fn notify(&self, payload: &str) {
        self.waiters.wake(payload);
        if let Some((tenant, generation)) = parse(payload) {
            self.announcer.saved(&tenant, generation);
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
        for foreign in [
            "",
            "acme",
            "probe 1",
            "1 x acme",
            "1 2",
            "1 2 ",
            "1 -2 acme",
        ] {
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
