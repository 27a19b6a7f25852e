//! The lease: the right to refresh one grant, among all processes that share a store.
//!
//! A refresh acquires the lease and loads the refresh token with one call of the store, extends the
//! lease while it works, and releases it with its last save. While another process holds the lease,
//! the refresh keeps loading the grant, because usually the other process saves what is needed.

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
use crate::{
    caught::caught_call,
    error::Error,
    store::{LeaseOutcome, SaveOutcome},
    token::{Generation, Grant},
};

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
    /// Whether a save is in flight that releases the lease.
    is_releasing: AtomicBool,
    /// Whether the lease was extended during such a save.
    is_extended_late: AtomicBool,
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
            is_releasing: AtomicBool::new(false),
            is_extended_late: AtomicBool::new(false),
            has_ended: AtomicBool::new(false),
            changed: Notify::new(),
        }
    }

    /// Acquires the lease, unless another process holds it.
    pub(super) async fn acquire(&self) -> Result<LeaseOutcome, Error> {
        let acquire = async { Ok((self.core.acquire_lease().await?, None)) };
        Ok(self.acquire_by(acquire).await?.0)
    }

    /// Acquires the lease, unless another process holds it, and loads the grant in either case.
    pub(super) async fn acquire_and_load(&self) -> Result<(LeaseOutcome, Option<Grant>), Error> {
        self.acquire_by(self.core.acquire_and_load()).await
    }

    async fn acquire_by(
        &self,
        call: impl Future<Output = Result<(LeaseOutcome, Option<Grant>), Error>>,
    ) -> Result<(LeaseOutcome, Option<Grant>), Error> {
        if !self.is_counted.swap(true, Ordering::Relaxed) {
            let begun = self.core.change(|state, _| state.begin_lease_use());
            self.begun.store(begun, Ordering::Relaxed);
        }
        let outcome = self.request(CacheState::lease_acquired, call).await;
        // It may have been acquired although the call failed.
        if !matches!(outcome, Ok((LeaseOutcome::HeldByAnother, _))) {
            self.must_release.store(true, Ordering::Relaxed);
            self.changed.notify_one();
        }
        outcome
    }

    /// Saves a grant with which the refresh ends. If that commits, the lease is released with it,
    /// unless another refresh of this cache uses it.
    pub(super) async fn save_and_release(
        &self,
        expected: Option<Generation>,
        grant: &Grant,
    ) -> Result<SaveOutcome, Error> {
        let (core, begun) = (self.core, self.begun());
        // No other use acquires the lease meanwhile. The save does not wait for one that does.
        let guard = self.locks.lease.try_lock().ok();
        let guard = guard.filter(|_| {
            self.must_release.load(Ordering::Relaxed)
                && core.read(|state, _| state.owns_lease(begun) && state.is_lease_used_once())
        });
        if guard.is_none() {
            return core.save(expected, grant).await;
        }
        self.is_extended_late.store(false, Ordering::Relaxed);
        self.is_releasing.store(true, Ordering::Relaxed);
        let outcome = core.save_and_release(expected, grant).await;
        self.is_releasing.store(false, Ordering::Relaxed);
        if let Ok(SaveOutcome::Committed) = outcome {
            // An extension may have arrived after the release.
            let must_release = self.is_extended_late.load(Ordering::Relaxed);
            self.must_release.store(must_release, Ordering::Relaxed);
            self.has_ended.store(true, Ordering::Relaxed);
            self.changed.notify_one();
            core.change(|state, _| {
                if state.owns_lease(begun) {
                    state.lease_released();
                }
            });
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
            let extend = async { Ok((self.core.acquire_lease().await?, None)) };
            let extended = self.request(CacheState::lease_extended, extend);
            pause = match timeout(lease / 3, extended).await {
                Ok(Ok(_)) => lease / 3,
                // Retry sooner, because the lease is about to expire.
                _ => lease / 30,
            };
        }
    }

    /// Acquires or extends the lease by the call, and records the result.
    async fn request(
        &self,
        record: Record,
        call: impl Future<Output = Result<(LeaseOutcome, Option<Grant>), Error>>,
    ) -> Result<(LeaseOutcome, Option<Grant>), Error> {
        let core = self.core;
        let _guard = if self.is_releasing.load(Ordering::Relaxed) {
            // The save of this use has the lock. It may take as long as the lease lasts.
            self.is_extended_late.store(true, Ordering::Relaxed);
            None
        } else {
            Some(self.locks.lease.lock().await)
        };
        let begun = self.begun();
        let requested = core.moment();
        if !core.read(|state, _| state.owns_lease(begun)) {
            return Ok((LeaseOutcome::HeldByAnother, None));
        }
        let (outcome, stored) = call.await?;
        core.change(|state, _| {
            if state.owns_lease(begun) {
                record(state, outcome, requested);
            }
        });
        Ok((outcome, stored))
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
