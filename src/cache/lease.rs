//! The right to make an exchange, among all processes over one store.
//!
//! It is taken before the refresh token is looked up, and given back once what the exchange brought is stored; meanwhile it
//! is extended. Whoever waits for it looks into the store all the while: most of the time there will be no exchange left to
//! make. A process that was stopped, or cut off from the store, may have lost it without being told, so each step that
//! counts on it first [checks](check) that it has not run out. What is saved afterwards is judged by its generation, as
//! ever.

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

use super::{admission::Reason, core::Core, refresh::without_exchange, single_flight::Outcome};
use crate::{
    error::{Error, ErrorKind},
    store::LeaseOutcome,
};

/// For somebody else to give it back: at least this, and longer than a lease that nobody extends any more.
const WAIT: Duration = Duration::from_secs(15);
const BEYOND: Duration = Duration::from_secs(2);

/// What waiting for the lease has brought.
pub(super) enum Taken<'a> {
    Lease(Counted<'a>),
    /// It is not needed any more.
    Needless(Outcome),
}

/// Waits for the lease; or for what makes an exchange needless.
pub(super) async fn acquire(core: &Arc<Core>, reason: Reason) -> Result<Taken<'_>, Error> {
    let begun = core.now();
    // Before it is taken, so that no other flight gives it back.
    let counted = Counted::begin(core);
    loop {
        match take(core).await {
            Ok(LeaseOutcome::Acquired) => return Ok(Taken::Lease(counted)),
            Ok(LeaseOutcome::HeldByAnother) => {}
            Err(error) => {
                // It may have been taken, and nobody heard.
                give_back(core, counted).await;
                return Err(error);
            }
        }
        let stored = core.read().await?;
        core.adopt(stored.as_ref());
        if let Some(outcome) = without_exchange(core, reason) {
            return Ok(Taken::Needless(outcome));
        }
        if core.now().saturating_duration_since(begun) >= WAIT.max(core.settings.lease + BEYOND) {
            return Err(Error::new(
                ErrorKind::Unavailable,
                "another process has been making an exchange for this grant all the while",
            ));
        }
        let pause = Duration::from_millis(100) + Duration::from_millis(150).mul_f64(core.jitter());
        let _ = timeout(pause, core.store_changed()).await;
    }
}

/// Does the work with the lease in hand, and gives it back.
pub(super) async fn hold<T>(core: &Core, counted: Counted<'_>, work: impl Future<Output = T>) -> T {
    let end = End::default();
    let mut extending = pin!(extend(core, &end));
    let meanwhile = async {
        extending.as_mut().await;
        // The loop ends only after `end.come()`, below.
        pending().await
    };
    let done = tokio::select! {
        biased;
        done = work => done,
        done = meanwhile => done,
    };
    // One that is under way could come after the giving back.
    end.come();
    extending.await;
    give_back(core, counted).await;
    done
}

/// Fails unless the lease is surely held.
pub(super) fn check(core: &Core) -> Result<(), Error> {
    let until = core.lock().leased_until;
    let is_held =
        until.is_some_and(|(until, wall)| core.now() < until && core.clock().wall() < wall);
    if is_held {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Unavailable,
        "the lease ran out before the request was sent: nothing was, and it can be tried again",
    ))
}

async fn give_back(core: &Core, counted: Counted<'_>) {
    drop(counted);
    let _turn = core.lease_lock.lock().await;
    if core.lock().lease_users == 0 {
        // If that fails, it runs out.
        let _ = core.release_lease().await;
        core.lock().leased_until = None;
    }
}

async fn extend(core: &Core, end: &End) {
    let mut pause = core.settings.lease / 3;
    while !end.has_come_within(pause).await {
        pause = match timeout(core.settings.lease / 3, take(core)).await {
            Ok(Ok(_)) => core.settings.lease / 3,
            // The time runs.
            _ => core.settings.lease / 30,
        };
    }
}

/// Takes or extends the lease, and notes until when, from when it was asked for.
async fn take(core: &Core) -> Result<LeaseOutcome, Error> {
    let _turn = core.lease_lock.lock().await;
    let (now, wall) = (core.now(), core.clock().wall());
    let outcome = core.acquire_lease().await?;
    core.lock().leased_until = match outcome {
        LeaseOutcome::Acquired => Some((now + core.settings.lease, wall + core.settings.lease)),
        LeaseOutcome::HeldByAnother => None,
    };
    Ok(outcome)
}

/// One who counts on the lease, also if its work panics.
pub(super) struct Counted<'a>(&'a Core);

impl<'a> Counted<'a> {
    fn begin(core: &'a Core) -> Self {
        core.lock().lease_users += 1;
        Self(core)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.lock().lease_users -= 1;
    }
}

/// Tells the extending that the work is done.
#[derive(Default)]
struct End {
    has_come: AtomicBool,
    coming: Notify,
}

impl End {
    fn come(&self) {
        self.has_come.store(true, Ordering::Relaxed);
        self.coming.notify_one();
    }

    async fn has_come_within(&self, time: Duration) -> bool {
        if !self.has_come.load(Ordering::Relaxed) {
            let _ = timeout(time, self.coming.notified()).await;
        }
        self.has_come.load(Ordering::Relaxed)
    }
}
