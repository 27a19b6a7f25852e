//! The background task of a cache: refreshes early, keeps an idle grant alive, and compares the
//! clocks.
//!
//! It holds the cache weakly, so it ends with the last handle, or with the runtime that it was
//! started in. The next refresh or store check starts a new one. Requests do not depend on it: a
//! request that finds its token in the advisory window requests a refresh itself.

use std::{
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use tokio::{runtime::Handle, task::JoinHandle, time::timeout};

use super::{
    admission::Reason,
    backoff::Urgency,
    core::Core,
    snapshot::{Moment, Snapshot},
};
use crate::error::Error;

/// A suspend is detected within this time, during which the monotonic clock and all timers may
/// stand still.
const HEARTBEAT: Duration = Duration::from_secs(30);

/// The interval if no valid token depends on it.
const SLOW_HEARTBEAT: Duration = Duration::from_secs(3_600);

/// The shortest pause, even if something is due. Refreshes have a minimum interval of their own.
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);

pub(super) fn spawn(core: &Arc<Core>) -> Option<JoinHandle<()>> {
    let published = Arc::clone(core.published.as_ref()?);
    let runtime = Handle::try_current().ok()?;
    Some(runtime.spawn(run(Arc::downgrade(core), published)))
}

async fn run(core: Weak<Core>, published: Arc<tokio::sync::Notify>) {
    while let Some(core) = core.upgrade() {
        let pause = maintain(&core);
        drop(core);
        let _ = timeout(pause, published.notified()).await;
    }
}

/// Does what is due. Returns how long until something may be due again.
pub(super) fn maintain(core: &Arc<Core>) -> Duration {
    core.correct();
    let moment = core.moment();
    let snapshot = Arc::clone(&core.snapshot());
    if snapshot.grant().is_none() {
        // The grant has to be loaded before it can be kept alive.
        let _ = core.request_refresh(Reason::KeepAlive(None));
        return SLOW_HEARTBEAT;
    }
    report_expiry(core, &snapshot, moment);
    let is_alive = snapshot.alive(moment.now).is_some();
    // Also for a token that is not refreshed any more: a wall clock that is ahead ends it earlier.
    let heartbeat = if is_alive { HEARTBEAT } else { SLOW_HEARTBEAT };
    if snapshot.ended().is_some() {
        return heartbeat;
    }
    if let Some(reason) = core.replay_reason(&snapshot) {
        let _ = core.request_refresh(reason);
    }
    let pause = if snapshot.is_in_use() {
        refresh_ahead(core, &snapshot, moment)
    } else {
        SLOW_HEARTBEAT
    };
    pause
        .min(keep_alive(core, &snapshot, moment))
        .min(heartbeat)
}

/// Refreshes a token that is in use before it expires.
fn refresh_ahead(core: &Arc<Core>, snapshot: &Snapshot, Moment { now, .. }: Moment) -> Duration {
    let Some((_, schedule)) = snapshot.token() else {
        return SLOW_HEARTBEAT;
    };
    if now < schedule.refresh_at {
        return schedule.refresh_at - now;
    }
    let (reason, urgency) = if now < schedule.mandatory_at {
        (Reason::Advisory, Urgency::Advisory)
    } else if now < schedule.expires {
        (Reason::Mandatory, Urgency::Mandatory)
    } else {
        // Requests that wait request a refresh themselves, and sooner.
        (Reason::Mandatory, Urgency::Mandatory)
    };
    let is_hopeless = core
        .lock()
        .backoff
        .last()
        .is_some_and(Error::is_consent_required);
    if is_hopeless {
        // Without consent there is nothing to refresh. Requests get that error.
        return SLOW_HEARTBEAT;
    }
    let _ = core.request_refresh(reason);
    until_retry(core, urgency, now).min(HEARTBEAT)
}

/// How long until the backoff ends. Without a backoff a refresh is in flight, and its end wakes the
/// worker.
fn until_retry(core: &Core, urgency: Urgency, now: Instant) -> Duration {
    let again = core.lock().backoff.until(core.secret_epoch(), urgency);
    again
        .and_then(|again| again.checked_duration_since(now))
        .filter(|pause| !pause.is_zero())
        .map_or(HEARTBEAT, |pause| pause.max(SHORTEST_PAUSE))
}

/// Refreshes an idle grant before its refresh token expires.
fn keep_alive(core: &Arc<Core>, snapshot: &Snapshot, Moment { now, wall, .. }: Moment) -> Duration {
    let Some(expiry) = snapshot.refresh_token() else {
        return SLOW_HEARTBEAT;
    };
    let pause = expiry.until_due(now, wall);
    if !pause.is_zero() {
        return pause.max(SHORTEST_PAUSE);
    }
    let _ = core.request_refresh(Reason::KeepAlive(snapshot.generation()));
    until_retry(core, Urgency::Advisory, now)
}

/// Reports the remaining lifetime of both tokens, and an event if the refresh token expires soon.
fn report_expiry(core: &Core, snapshot: &Snapshot, Moment { now, wall, .. }: Moment) {
    let refresh_token = snapshot.refresh_token();
    if let Some((_, schedule)) = snapshot.token() {
        core.telemetry.remaining(
            schedule.expires.saturating_duration_since(now),
            refresh_token.map(|expiry| expiry.left(wall)),
        );
    }
    let Some((expiry, days)) =
        refresh_token.and_then(|expiry| Some((expiry, expiry.expiring(wall)?)))
    else {
        return;
    };
    let mut state = core.lock();
    let is_news = state
        .reported_expiry
        .is_none_or(|(expires, reported)| expires != expiry.expires_at || days < reported);
    if is_news {
        state.reported_expiry = Some((expiry.expires_at, days));
        drop(state);
        core.telemetry.refresh_token_expiring(days);
    }
}
