//! The background tasks. One maintains the resident caches, and one sweeps the other tenants.
//!
//! Both hold the state weakly, and end with the last handle or with their runtime.

use std::sync::Weak;

use tokio::{
    runtime::Handle,
    task::{JoinHandle, yield_now},
    time::sleep,
};

use super::{state::TenantsState, sweep::sweep_periodically};

/// How many caches are maintained before the task yields to others.
const MAINTAINED_IN_A_ROW: usize = 128;

pub(super) fn start(state: &Weak<TenantsState>, runtime: &Handle) -> Vec<JoinHandle<()>> {
    vec![
        runtime.spawn(maintain_residents(Weak::clone(state))),
        runtime.spawn(sweep_periodically(Weak::clone(state))),
    ]
}

async fn maintain_residents(tenants: Weak<TenantsState>) {
    loop {
        let Some(state) = tenants.upgrade() else {
            return;
        };
        let now = state.settings.clock.monotonic();
        let (batch, pause) = state.residents.next_batch(now);
        drop(state);
        for caches in batch.chunks(MAINTAINED_IN_A_ROW) {
            for cache in caches {
                cache.maintain();
            }
            yield_now().await;
        }
        drop(batch);
        sleep(pause).await;
    }
}
