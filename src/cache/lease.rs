//! The lease: the right to refresh one grant, among all processes that share a store.
//!
//! A refresh acquires the lease before it loads the refresh token, extends it while it works, and
//! releases it after the save. While another process holds the lease, the refresh keeps loading the
//! grant, because usually the other process saves what is needed.
//!
//! A process that was stopped, or cut off from the store, may have lost the lease without noticing.
//! Each critical step therefore first [checks](check) that the lease has not expired. The
//! conditional save protects against the rest.

use std::{
    future::{Future, pending},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{sync::Notify, time::timeout};

use super::{admission::Reason, core::Core, refresh::without_request, single_flight::Outcome};
use crate::{
    error::{Error, ErrorKind},
    store::LeaseOutcome,
};

/// How long to wait for a lease that another process holds: at least `WAIT`, and `BEYOND` longer
/// than a lease lasts without being extended.
const WAIT: Duration = Duration::from_secs(15);
const BEYOND: Duration = Duration::from_secs(2);

/// The result of acquiring the lease.
pub(super) enum Acquisition<'a> {
    Held(LeaseUser<'a>),
    /// No refresh is needed any more.
    NotNeeded(Outcome),
}

/// Waits for the lease, or for a grant that needs no refresh.
pub(super) async fn acquire(core: &Arc<Core>, reason: Reason) -> Result<Acquisition<'_>, Error> {
    let begun = core.now();
    // LeaseUser first, so that no other refresh of this cache releases the lease.
    let user = LeaseUser::begin(core);
    loop {
        match acquire_once(core).await {
            Ok(LeaseOutcome::Acquired) => return Ok(Acquisition::Held(user)),
            Ok(LeaseOutcome::HeldByAnother) => {}
            Err(error) => {
                // It may have been acquired although the call failed.
                release(core, user).await;
                return Err(error);
            }
        }
        let stored = core.read().await?;
        core.adopt(stored.as_ref());
        if let Some(outcome) = without_request(core, reason) {
            return Ok(Acquisition::NotNeeded(outcome));
        }
        if core.now().saturating_duration_since(begun) >= WAIT.max(core.settings.lease + BEYOND) {
            return Err(Error::new(
                ErrorKind::Unavailable,
                "another process holds the lease on this grant, and has saved no newer token set in time",
            ));
        }
        let pause = Duration::from_millis(100) + Duration::from_millis(150).mul_f64(core.jitter());
        let _ = timeout(pause, core.store_changed()).await;
    }
}

/// Does the work while extending the lease, then releases it.
pub(super) async fn hold<T>(core: &Core, user: LeaseUser<'_>, work: impl Future<Output = T>) -> T {
    let stop = Stop::default();
    let mut extending = pin!(extend(core, &stop));
    let meanwhile = async {
        extending.as_mut().await;
        // The loop ends only after `stop.set()`, below.
        pending().await
    };
    let done = tokio::select! {
        biased;
        done = work => done,
        done = meanwhile => done,
    };
    // An extension in flight must not arrive after the release.
    stop.set();
    extending.await;
    release(core, user).await;
    done
}

/// Fails unless the lease is certainly held.
pub(super) fn check(core: &Core) -> Result<(), Error> {
    let until = core.lock().leased_until;
    let is_held =
        until.is_some_and(|(until, wall)| core.now() < until && core.clock().wall() < wall);
    if is_held {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Unavailable,
        "the lease expired before the token request was sent; retry",
    ))
}

async fn release(core: &Core, user: LeaseUser<'_>) {
    drop(user);
    let _guard = core.lease_lock.lock().await;
    if core.lock().lease_users == 0 {
        // If the release fails, the lease expires.
        let _ = core.release_lease().await;
        core.lock().leased_until = None;
    }
}

async fn extend(core: &Core, stop: &Stop) {
    let mut pause = core.settings.lease / 3;
    while !stop.is_set_within(pause).await {
        pause = match timeout(core.settings.lease / 3, acquire_once(core)).await {
            Ok(Ok(_)) => core.settings.lease / 3,
            // Retry sooner, because the lease is about to expire.
            _ => core.settings.lease / 30,
        };
    }
}

/// Acquires or extends the lease once. Its time counts from before the call.
async fn acquire_once(core: &Core) -> Result<LeaseOutcome, Error> {
    let _guard = core.lease_lock.lock().await;
    let (now, wall) = (core.now(), core.clock().wall());
    let outcome = core.acquire_lease().await?;
    core.lock().leased_until = match outcome {
        LeaseOutcome::Acquired => Some((now + core.settings.lease, wall + core.settings.lease)),
        LeaseOutcome::HeldByAnother => None,
    };
    Ok(outcome)
}

/// Counts a refresh as a user of the lease, until it ends or panics.
pub(super) struct LeaseUser<'a>(&'a Core);

impl<'a> LeaseUser<'a> {
    fn begin(core: &'a Core) -> Self {
        core.lock().lease_users += 1;
        Self(core)
    }
}

impl Drop for LeaseUser<'_> {
    fn drop(&mut self) {
        self.0.lock().lease_users -= 1;
    }
}

/// Ends the extension of the lease.
#[derive(Default)]
struct Stop {
    is_set: AtomicBool,
    changed: Notify,
}

impl Stop {
    fn set(&self) {
        self.is_set.store(true, Ordering::Relaxed);
        self.changed.notify_one();
    }

    async fn is_set_within(&self, time: Duration) -> bool {
        if !self.is_set.load(Ordering::Relaxed) {
            let _ = timeout(time, self.changed.notified()).await;
        }
        self.is_set.load(Ordering::Relaxed)
    }
}
