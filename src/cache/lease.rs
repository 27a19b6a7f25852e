//! The right to make an exchange, among all processes over one store.
//!
//! It is taken before the refresh token is looked up, and given back once what the exchange brought is stored; meanwhile it
//! is extended. Whoever waits for it looks into the store all the while: most of the time there will be no exchange left to
//! make. A process that is stopped for longer than its lease lasts loses it; what it saves afterwards is judged by its
//! generation, as ever.

use std::{future::Future, pin::pin, sync::Arc, time::Duration};

use futures_util::future::{Either, select};
use tokio::time::{sleep, timeout};

use super::{attend::Cause, core::Core, flight::Outcome, renewal::without_exchange};
use crate::{
    error::{Error, ErrorKind},
    store::LeaseOutcome,
};

/// For somebody else to give it back.
const WAIT: Duration = Duration::from_secs(15);

/// Waits for the lease; or for what makes an exchange needless, which is returned.
pub(super) async fn acquire(core: &Arc<Core>, cause: Cause) -> Result<Option<Outcome>, Error> {
    let begun = core.now();
    loop {
        if core.acquire_lease().await? == LeaseOutcome::Acquired {
            return Ok(None);
        }
        let stored = core.read().await?;
        core.adopt(stored.as_ref());
        if let Some(outcome) = without_exchange(core, cause) {
            return Ok(Some(outcome));
        }
        if core.now().saturating_duration_since(begun) >= WAIT {
            return Err(Error::new(
                ErrorKind::Unavailable,
                "another process has been making an exchange for this grant for 15 seconds",
            ));
        }
        let pause = Duration::from_millis(100) + Duration::from_millis(150).mul_f64(core.chance());
        let _ = timeout(pause, core.store_changed()).await;
    }
}

/// Does the work with the lease in hand, and gives it back.
pub(super) async fn hold<T>(core: &Core, work: impl Future<Output = T>) -> T {
    core.lock().leases += 1;
    let counted = Counted(core);
    let done = match select(pin!(work), pin!(extend(core))).await {
        Either::Left((done, _)) => done,
        Either::Right((never, _)) => match never {},
    };
    drop(counted);
    if core.lock().leases == 0 {
        // If that fails, it runs out.
        let _ = core.release_lease().await;
    }
    done
}

/// One who counts on the lease, also if its work panics.
struct Counted<'a>(&'a Core);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.lock().leases -= 1;
    }
}

async fn extend(core: &Core) -> std::convert::Infallible {
    loop {
        sleep(core.lease / 3).await;
        // One that is lost is not won back, and one that cannot be extended may still last.
        let _ = core.acquire_lease().await;
    }
}
