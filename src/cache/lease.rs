//! The lease: the right to refresh one grant, among all processes that share a store.
//!
//! A refresh acquires the lease before it loads the refresh token, extends it while it works, and
//! releases it after the save. While another process holds the lease, the refresh keeps loading the
//! grant, because usually the other process saves what is needed.

use std::{
    future::{Future, pending},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use tokio::{runtime::Handle, sync::Notify, time::timeout};

use super::{
    core::{Core, Locks},
    state::{CacheState, Moment},
};
use crate::{caught::caught_call, error::Error, store::LeaseOutcome};

/// Records the result of a request for the lease that was made at a moment.
type Record = fn(&mut CacheState, LeaseOutcome, Moment<'_>);

/// The use of the lease by one refresh, until it ends or panics.
pub(super) struct LeaseUse<'a> {
    core: &'a Arc<Core>,
    locks: Arc<Locks>,
    /// Whether the refresh counts as a user, so that no other refresh of this cache releases the
    /// lease.
    is_counted: AtomicBool,
    /// When the use began, as the state counts: it shows whether the refresh has stalled since.
    begun: AtomicU32,
    /// Whether the store may hold a lease of this process.
    must_release: AtomicBool,
    /// Whether the lease is no longer extended.
    has_ended: AtomicBool,
    changed: Notify,
}

impl<'a> LeaseUse<'a> {
    pub(super) fn new(core: &'a Arc<Core>) -> Self {
        Self {
            core,
            locks: core.locks(),
            is_counted: AtomicBool::new(false),
            begun: AtomicU32::new(0),
            must_release: AtomicBool::new(false),
            has_ended: AtomicBool::new(false),
            changed: Notify::new(),
        }
    }

    /// Acquires the lease, unless another process holds it.
    pub(super) async fn acquire(&self) -> Result<LeaseOutcome, Error> {
        if !self.is_counted.swap(true, Ordering::Relaxed) {
            let begun = self.core.change(|state, _| state.begin_lease_use());
            self.begun.store(begun, Ordering::Relaxed);
        }
        let outcome = self.request(CacheState::lease_acquired).await;
        // It may have been acquired although the call failed.
        if !matches!(outcome, Ok(LeaseOutcome::HeldByAnother)) {
            self.must_release.store(true, Ordering::Relaxed);
            self.changed.notify_one();
        }
        outcome
    }

    /// Does the work while extending the lease, once it is acquired.
    pub(super) async fn extended_during<T>(&self, work: impl Future<Output = T>) -> T {
        let mut extending = pin!(self.extend());
        let meanwhile = async {
            extending.as_mut().await;
            // The extension ends only after `has_ended` is set, below.
            pending().await
        };
        let done = tokio::select! {
            biased;
            done = work => done,
            done = meanwhile => done,
        };
        // An extension in flight must not arrive after the release.
        self.has_ended.store(true, Ordering::Relaxed);
        self.changed.notify_one();
        extending.await;
        done
    }

    /// Releases the lease, unless another refresh of this cache uses it.
    pub(super) async fn end(self) {
        if self.stop_counting() {
            release(self.core, &self.locks, self.begun()).await;
        }
    }

    async fn extend(&self) {
        while !self.must_release.load(Ordering::Relaxed) {
            self.changed.notified().await;
            if self.has_ended.load(Ordering::Relaxed) {
                return;
            }
        }
        let lease = self.core.settings.policy.lease;
        let mut pause = lease / 3;
        while !self.ends_within(pause).await {
            pause = match timeout(lease / 3, self.request(CacheState::lease_extended)).await {
                Ok(Ok(_)) => lease / 3,
                // Retry sooner, because the lease is about to expire.
                _ => lease / 30,
            };
        }
    }

    /// Acquires or extends the lease, and records the result.
    async fn request(&self, record: Record) -> Result<LeaseOutcome, Error> {
        let core = self.core;
        let _guard = self.locks.lease.lock().await;
        let begun = self.begun();
        let requested = core.moment();
        if !core.read(|state, _| state.owns_lease(begun)) {
            return Ok(LeaseOutcome::HeldByAnother);
        }
        let outcome = core.acquire_lease().await?;
        core.change(|state, _| {
            if state.owns_lease(begun) {
                record(state, outcome, requested);
            }
        });
        Ok(outcome)
    }

    async fn ends_within(&self, time: Duration) -> bool {
        if !self.has_ended.load(Ordering::Relaxed) {
            let _ = timeout(time, self.changed.notified()).await;
        }
        self.has_ended.load(Ordering::Relaxed)
    }

    /// When the use began, as the state counts.
    pub(super) fn begun(&self) -> u32 {
        self.begun.load(Ordering::Relaxed)
    }

    /// Returns whether the lease is to be released.
    fn stop_counting(&self) -> bool {
        let was_counted = self.is_counted.swap(false, Ordering::Relaxed);
        if was_counted {
            let begun = self.begun();
            self.core.change(|state, _| state.end_lease_use(begun));
        }
        was_counted && self.must_release.load(Ordering::Relaxed)
    }
}

/// Also releases the lease if the refresh panicked.
impl Drop for LeaseUse<'_> {
    fn drop(&mut self) {
        // If the clock panics again, the lease expires.
        if caught_call(|| self.stop_counting()).unwrap_or(false)
            && let Ok(runtime) = Handle::try_current()
        {
            let (core, locks) = (Arc::clone(self.core), Arc::clone(&self.locks));
            let begun = self.begun();
            // The store's deadline limits this.
            runtime.spawn(async move { release(&core, &locks, begun).await });
        }
    }
}

/// Releases the lease, unless another refresh of this cache uses it, or this one stalled.
async fn release(core: &Arc<Core>, locks: &Locks, begun: u32) {
    let _guard = locks.lease.lock().await;
    if core.read(|state, _| state.owns_lease(begun) && !state.is_lease_used()) {
        // If the release fails, the lease expires.
        let _ = core.release_lease().await;
        core.change(|state, _| state.lease_released());
    }
}
