//! The background task of a cache: maintains it, and follows the store.
//!
//! It holds the cache weakly, so it ends with the last handle, or with its runtime. The next
//! refresh or store check starts a new one. Requests do not depend on it: a request that finds its
//! token in the advisory window requests a refresh itself.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::{runtime::Handle, sync::Notify, task::JoinHandle};

use super::{core::Core, follow::follow, request::request_refresh, state::CacheState};
use crate::caught::{PAUSE_AFTER_PANIC, caught_call};

pub(super) fn spawn(core: &Arc<Core>, changed: &Arc<Notify>, runtime: &Handle) -> JoinHandle<()> {
    let (core, changed) = (Arc::downgrade(core), Arc::clone(changed));
    runtime.spawn(async move {
        tokio::select! {
            // First, so that it subscribes to the store before the first load.
            biased;
            () = follow(Weak::clone(&core)) => {}
            () = run(core, changed) => {}
        }
    })
}

async fn run(core: Weak<Core>, changed: Arc<Notify>) {
    if let Some(core) = core.upgrade() {
        core.settings.presence.begin();
    }
    while let Some(core) = core.upgrade() {
        let settings = Arc::clone(&core.settings);
        // Before the plan, which reads the clock.
        let moved = settings.clock.moved();
        let planned = caught_call(|| maintain(&core));
        let pause = planned.unwrap_or(PAUSE_AFTER_PANIC);
        drop(core);
        let woken = async {
            tokio::select! {
                () = changed.notified() => {}
                () = moved => {}
            }
        };
        settings.presence.pause(pause, woken).await;
    }
}

/// Does what is due. Returns how long until something may be due again.
pub(super) fn maintain(core: &Arc<Core>) -> Duration {
    let plan = core.change(CacheState::plan);
    for reason in plan.requests {
        let _ = request_refresh(core, reason);
    }
    plan.wake_after
}
