//! The background task of a cache.
//!
//! It holds the cache weakly, so it ends with the last handle, or with the runtime that it was
//! started in. The next refresh or store check starts a new one. Requests do not depend on it: a
//! request that finds its token in the advisory window requests a refresh itself.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::{runtime::Handle, sync::Notify, task::JoinHandle, time::timeout};

use super::{core::Core, request::request_refresh, state::CacheState};

pub(super) fn spawn(core: &Arc<Core>, changed: &Arc<Notify>) -> Option<JoinHandle<()>> {
    let runtime = Handle::try_current().ok()?;
    Some(runtime.spawn(run(Arc::downgrade(core), Arc::clone(changed))))
}

async fn run(core: Weak<Core>, changed: Arc<Notify>) {
    while let Some(core) = core.upgrade() {
        let pause = maintain(&core);
        drop(core);
        let _ = timeout(pause, changed.notified()).await;
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
