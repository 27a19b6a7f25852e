//! The background tasks. One maintains the resident caches, one follows the store for them, and one
//! sweeps the other tenants.
//!
//! They hold the state weakly, and end with the last handle or with their runtime.

use std::sync::{Arc, Weak};

use tokio::{
    runtime::Handle,
    task::{JoinHandle, yield_now},
};

use super::{follow::follow, state::TenantsState, sweep::sweep_periodically};
use crate::caught::{PAUSE_AFTER_PANIC, caught_call};

/// How many caches are maintained before the task yields to others.
const MAINTAINED_IN_A_ROW: usize = 128;

pub(super) fn start(state: &Weak<TenantsState>, runtime: &Handle) -> Vec<JoinHandle<()>> {
    // The store may start a task for the subscription.
    let _entered = runtime.enter();
    // Before any tenant is loaded, so that no save is missed.
    let subscription = state
        .upgrade()
        .and_then(|state| state.settings.store.subscribe());
    vec![
        runtime.spawn(maintain_residents(Weak::clone(state))),
        runtime.spawn(sweep_periodically(Weak::clone(state))),
        runtime.spawn(follow(Weak::clone(state), subscription)),
    ]
}

async fn maintain_residents(tenants: Weak<TenantsState>) {
    let settings = tenants.upgrade().map(|state| Arc::clone(&state.settings));
    let Some(settings) = settings else {
        return;
    };
    settings.presence.begin();
    let mut moved = settings.clock.moved();
    let mut has_moved = false;
    // How many caches are maintained without a pause, because the clock was moved.
    let mut at_once = 0_usize;
    while let Some(state) = tenants.upgrade() {
        if has_moved {
            // Before the clock is read.
            moved = settings.clock.moved();
            has_moved = false;
            at_once = state.residents.len();
        }
        let batch = caught_call(|| state.residents.next_batch(settings.clock.monotonic()));
        drop(state);
        let (batch, pause) = batch.unwrap_or((Vec::new(), PAUSE_AFTER_PANIC));
        at_once = at_once.saturating_sub(batch.len().max(1));
        for caches in batch.chunks(MAINTAINED_IN_A_ROW) {
            for cache in caches {
                // The panic of a listener, for example, costs its tenant one round, and no other.
                let _ = caught_call(|| cache.maintain());
            }
            yield_now().await;
        }
        drop(batch);
        if at_once == 0 {
            let woken = async {
                moved.as_mut().await;
                has_moved = true;
            };
            settings.presence.pause(pause, woken).await;
        }
    }
}
