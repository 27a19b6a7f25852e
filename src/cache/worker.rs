//! The background task of a cache: renews ahead of time, keeps an idle grant alive, and compares the clocks.
//!
//! It holds the cache weakly and so ends with its last handle, or with the runtime it was begun in; the next exchange, or look
//! into the store, begins another. Requests do not depend on it: whoever finds a token in its advisory window sets
//! off the exchange just the same.

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

/// A suspend is noticed within this time: the monotonic clock, and with it every timer, stands still meanwhile.
const HEARTBEAT: Duration = Duration::from_secs(30);

/// The same where no living token depends on it.
const SLOW_HEARTBEAT: Duration = Duration::from_secs(3_600);

/// Also while there is something to do: the exchange itself keeps its floor.
const SHORTEST_NAP: Duration = Duration::from_secs(1);

pub(super) fn spawn(core: &Arc<Core>) -> Option<JoinHandle<()>> {
    let published = Arc::clone(core.published.as_ref()?);
    let runtime = Handle::try_current().ok()?;
    Some(runtime.spawn(run(Arc::downgrade(core), published)))
}

async fn run(core: Weak<Core>, published: Arc<tokio::sync::Notify>) {
    while let Some(core) = core.upgrade() {
        let nap = maintain(&core);
        drop(core);
        let _ = timeout(nap, published.notified()).await;
    }
}

/// Does what is due, and tells how long until there may be more to do.
pub(super) fn maintain(core: &Arc<Core>) -> Duration {
    core.correct();
    let moment = core.moment();
    let snapshot = Arc::clone(&core.snapshot());
    if snapshot.grant().is_none() {
        // What is stored has to be known, to be kept alive.
        let _ = core.request_refresh(Reason::KeepAlive(None));
        return SLOW_HEARTBEAT;
    }
    report_expiry(core, &snapshot, moment);
    let is_alive = snapshot.alive(moment.now).is_some();
    // Also where it is not renewed any more: a clock that is ahead ends it earlier.
    let heartbeat = if is_alive { HEARTBEAT } else { SLOW_HEARTBEAT };
    if snapshot.ended().is_some() {
        return heartbeat;
    }
    if let Some(reason) = core.lost(&snapshot) {
        let _ = core.request_refresh(reason);
    }
    let nap = if snapshot.is_in_use() {
        refresh_ahead(core, &snapshot, moment)
    } else {
        SLOW_HEARTBEAT
    };
    nap.min(keep_alive(core, &snapshot, moment)).min(heartbeat)
}

/// Renews ahead of time.
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
        // Those who wait come by themselves, and sooner.
        (Reason::Mandatory, Urgency::Mandatory)
    };
    let is_hopeless = core
        .lock()
        .backoff
        .last()
        .is_some_and(Error::is_consent_required);
    if is_hopeless {
        // There is nothing to renew it with. Whoever asks for it hears so.
        return SLOW_HEARTBEAT;
    }
    let _ = core.request_refresh(reason);
    until_again(core, urgency, now).min(HEARTBEAT)
}

/// How long until the pause after a failure is over. Where there is none an exchange is under way, whose end wakes the
/// worker.
fn until_again(core: &Core, urgency: Urgency, now: Instant) -> Duration {
    let again = core.lock().backoff.until(core.secret_epoch(), urgency);
    again
        .and_then(|again| again.checked_duration_since(now))
        .filter(|nap| !nap.is_zero())
        .map_or(HEARTBEAT, |nap| nap.max(SHORTEST_NAP))
}

/// Makes the one exchange that keeps an idle grant from ending.
fn keep_alive(core: &Arc<Core>, snapshot: &Snapshot, Moment { now, wall, .. }: Moment) -> Duration {
    let Some(life) = snapshot.refresh_token() else {
        return SLOW_HEARTBEAT;
    };
    let nap = life.until_due(now, wall);
    if !nap.is_zero() {
        return nap.max(SHORTEST_NAP);
    }
    let _ = core.request_refresh(Reason::KeepAlive(snapshot.generation()));
    until_again(core, Urgency::Advisory, now)
}

/// Says what is left of both tokens, and when that is little.
fn report_expiry(core: &Core, snapshot: &Snapshot, Moment { now, wall, .. }: Moment) {
    let refresh_token = snapshot.refresh_token();
    if let Some((_, schedule)) = snapshot.token() {
        core.telemetry.remaining(
            schedule.expires.saturating_duration_since(now),
            refresh_token.map(|life| life.left(wall)),
        );
    }
    let Some((life, days)) = refresh_token.and_then(|life| Some((life, life.expiring(wall)?)))
    else {
        return;
    };
    let mut state = core.lock();
    let is_news = state
        .reported_expiry
        .is_none_or(|(expires, reported)| expires != life.ends || days < reported);
    if is_news {
        state.reported_expiry = Some((life.ends, days));
        drop(state);
        core.telemetry.refresh_token_expiring(days);
    }
}
