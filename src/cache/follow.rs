//! Follows the store: adopts what other replicas save, without a request.
//!
//! A store announces saves to its subscribers. A cache of one tenant follows in its background
//! task. `Tenants` follow for all their caches with one subscription. The state decides which
//! announcements need a [`look`].

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout, timeout_at},
};

use super::{core::Core, state::CacheState};
use crate::{
    later::Later,
    store::{Announcement, Subscription},
    token::Generation,
};

/// How often a grant that requests use is loaded, if its store announces nothing.
pub(crate) const LOOK_INTERVAL: Duration = Duration::from_secs(30);

/// How often it is loaded although the store announces saves: announcements may fail silently.
pub(crate) const DISTRUST_INTERVAL: Duration = Duration::from_secs(900);

/// The pause before a new subscription, after one has ended.
pub(crate) const SUBSCRIBE_PAUSE: Duration = Duration::from_millis(250);

/// How long a look waits for a refresh or command of this cache, whose save is announced too.
/// Usually the saved grant is held a moment after its announcement, and no load is necessary.
const OWN_WORK_PATIENCE: Duration = Duration::from_millis(400);

/// How often a load that fails is repeated, and the pause before the first repetition. The pause
/// doubles.
const LOADS: u32 = 6;
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// Follows the store for one cache. Completes when the cache has been dropped.
pub(super) async fn follow(core: Weak<Core>) {
    let mut is_first = true;
    while let Some(subscription) = core.upgrade().map(|core| core.settings.store.subscribe()) {
        // A load that started before the subscription may have missed a save.
        let is_unknown = |core: Arc<Core>| core.read(|state, _| state.is_unused());
        if !(is_first && core.upgrade().is_some_and(is_unknown)) && subscription.is_some() {
            look_in_task(&core, None).await;
        }
        is_first = false;
        if let Some(subscription) = subscription {
            follow_announcements(&core, subscription).await;
            sleep(SUBSCRIBE_PAUSE).await;
        } else {
            sleep(LOOK_INTERVAL).await;
            let is_used = |core: Arc<Core>| core.published.snapshot().is_in_use();
            if core.upgrade().is_some_and(is_used) {
                look_in_task(&core, None).await;
            }
        }
    }
}

/// Completes when the subscription has ended.
async fn follow_announcements(core: &Weak<Core>, mut subscription: Subscription) {
    let mut next_look = Instant::now().later(DISTRUST_INTERVAL);
    loop {
        let announced = match timeout_at(next_look, subscription.next()).await {
            Ok(None) => return,
            Ok(Some(Announcement::Missed)) | Err(_) => None,
            Ok(Some(Announcement::Saved { tenant, generation })) => {
                let is_own = |core: Arc<Core>| *core.tenant() == tenant;
                if !core.upgrade().is_some_and(is_own) {
                    continue;
                }
                Some(generation)
            }
        };
        let has_looked = look_in_task(core, announced).await;
        let interval = if has_looked {
            DISTRUST_INTERVAL
        } else {
            LOOK_INTERVAL
        };
        next_look = Instant::now().later(interval);
    }
}

/// Looks in a task of its own, which a panic in the store ends without ending the caller. The task
/// ends with its caller.
async fn look_in_task(core: &Weak<Core>, announced: Option<Generation>) -> bool {
    let mut task = JoinSet::new();
    if let Some(core) = core.upgrade() {
        task.spawn(async move { look(&core, announced).await });
    }
    matches!(task.join_next().await, Some(Ok(true)))
}

/// Loads the grant and adopts it, if it is newer. Does nothing if the `announced` generation is
/// held. Returns false if the loads have failed.
pub(super) async fn look(core: &Arc<Core>, announced: Option<Generation>) -> bool {
    let is_needed = || core.read(|state, _| state.is_behind(announced));
    if !is_needed() {
        return true;
    }
    let _ = timeout(OWN_WORK_PATIENCE, core.until_idle()).await;
    let mut pause = FIRST_PAUSE;
    for _ in 0..LOADS {
        if !is_needed() {
            return true;
        }
        let loaded = {
            let _permit = core.settings.looks.acquire().await;
            core.load().await
        };
        match loaded {
            Ok(stored) => {
                core.change(|state, m| CacheState::adopt(state, stored.as_ref(), m));
                return true;
            }
            Err(_) => sleep(pause).await,
        }
        pause *= 2;
    }
    false
}
