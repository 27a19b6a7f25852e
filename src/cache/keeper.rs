//! The background task of a cache: renews ahead of time, and compares the clocks.
//!
//! It holds the cache weakly and so ends with its last handle, or with the runtime it was begun in; the next token that is
//! published begins another. Requests do not depend on it: whoever finds a token in its advisory window sets off the
//! exchange just the same.

use std::{
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use tokio::{runtime::Handle, task::JoinHandle, time::timeout};

use super::{cooldown::Urgency, core::Core, flight::Cause};

/// A suspend is noticed within this time: the monotonic clock, and with it every timer, stands still meanwhile.
const HEARTBEAT: Duration = Duration::from_secs(30);

/// Also while there is something to do: the exchange itself keeps a floor of a second.
const SHORTEST_NAP: Duration = Duration::from_secs(1);

pub(super) fn begin(core: &Arc<Core>) -> Option<JoinHandle<()>> {
    let runtime = Handle::try_current().ok()?;
    Some(runtime.spawn(keep(Arc::downgrade(core), Arc::clone(&core.published))))
}

async fn keep(core: Weak<Core>, published: Arc<tokio::sync::Notify>) {
    while let Some(core) = core.upgrade() {
        let nap = look(&core).saturating_duration_since(core.now());
        drop(core);
        let _ = timeout(nap, published.notified()).await;
    }
}

/// Does what is due, and tells when to look again.
fn look(core: &Arc<Core>) -> Instant {
    core.correct();
    let now = core.now();
    let snapshot = core.snapshot();
    let heartbeat = now + HEARTBEAT;
    let Some((_, schedule)) = snapshot.token() else {
        return heartbeat;
    };
    if snapshot.ended().is_some() {
        return heartbeat;
    }
    if now < schedule.refresh_at {
        return schedule.refresh_at.min(heartbeat);
    }
    let (cause, urgency) = if now < schedule.mandatory_at {
        (Cause::Ahead, Urgency::Advisory)
    } else if now < schedule.expires {
        (Cause::Due, Urgency::Mandatory)
    } else {
        (Cause::Due, Urgency::Blocking)
    };
    let _ = core.attend(cause);
    let next = core.lock().cooldown.until(urgency).unwrap_or(heartbeat);
    next.clamp(now + SHORTEST_NAP, heartbeat)
}
