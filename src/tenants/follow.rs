//! Follows the store for all resident caches, with one subscription.
//!
//! A load that is in progress when a save is announced may have read the grant before it. The look
//! at this tenant therefore waits for the load.

use std::{
    future,
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::{
    task::JoinSet,
    time::{Instant, sleep, sleep_until},
};

use super::state::TenantsState;
use crate::{
    cache::{DISTRUST_INTERVAL, LOOK_INTERVAL, SUBSCRIBE_PAUSE},
    later::Later,
    store::{Announcement, Subscription},
    token::{Generation, TenantId},
};

/// How many announced tenants are looked at concurrently. Each waits for its own refresh first.
/// Fewer load at the same time.
const MAX_ANNOUNCED: usize = 1_024;

/// How many other tenants are looked at concurrently.
const MAX_OTHERS: usize = 16;

/// Follows the store, from a subscription that was made before any load.
pub(super) async fn follow(tenants: Weak<TenantsState>, mut subscription: Option<Subscription>) {
    loop {
        if let Some(subscription) = subscription {
            // Saves before the subscription, or between two, were not announced.
            Looks::new(&tenants).at_all().await;
            follow_announcements(&tenants, subscription).await;
            sleep(SUBSCRIBE_PAUSE).await;
        } else {
            sleep(LOOK_INTERVAL).await;
            look_at_used(&tenants).await;
        }
        let Some(state) = tenants.upgrade() else {
            return;
        };
        subscription = state.settings.store.subscribe();
    }
}

async fn follow_announcements(tenants: &Weak<TenantsState>, mut subscription: Subscription) {
    let mut looks = Looks::new(tenants);
    let mut next_look = Instant::now().later(DISTRUST_INTERVAL);
    let mut has_failed = false;
    loop {
        tokio::select! {
            biased;
            announcement = subscription.next(), if looks.tasks.len() < MAX_ANNOUNCED => {
                match announcement {
                    Some(Announcement::Saved { tenant, generation }) => {
                        looks.at_announced(tenant, generation);
                    }
                    Some(Announcement::Missed) => looks.add_all(),
                    None => return,
                }
            }
            Some(looked) = looks.tasks.join_next() => {
                if !looked.unwrap_or(false) {
                    has_failed = true;
                    next_look = next_look.min(Instant::now().later(LOOK_INTERVAL));
                }
            }
            () = future::ready(()), if looks.may_start() => looks.start_one(),
            () = sleep_until(next_look) => {
                if has_failed {
                    looks.add_all();
                } else {
                    looks.add_used_within(DISTRUST_INTERVAL);
                }
                has_failed = false;
                next_look = Instant::now().later(DISTRUST_INTERVAL);
            }
        }
    }
}

/// Looks at the tenants that requests have used since the last time.
async fn look_at_used(tenants: &Weak<TenantsState>) {
    let mut looks = Looks::new(tenants);
    looks.add_used_within(LOOK_INTERVAL);
    looks.finish().await;
}

/// The looks in progress, each in a task that ends with this, and those that are still to be made.
struct Looks<'a> {
    tenants: &'a Weak<TenantsState>,
    /// Each returns whether its loads have not failed.
    tasks: JoinSet<bool>,
    others: Vec<TenantId>,
}

impl<'a> Looks<'a> {
    fn new(tenants: &'a Weak<TenantsState>) -> Self {
        Self {
            tenants,
            tasks: JoinSet::new(),
            others: Vec::new(),
        }
    }

    /// Starts a look, unless the tenant is unknown to this process or its generation is held.
    fn at_announced(&mut self, tenant: TenantId, generation: Generation) {
        let Some(state) = self.tenants.upgrade() else {
            return;
        };
        let is_loading = state.loads.in_progress(&tenant).is_some();
        let is_behind = |tenant| {
            let cache = state.residents.peek(tenant)?;
            Some(cache.is_behind(generation))
        };
        if is_loading || is_behind(&tenant) == Some(true) {
            self.spawn(tenant, Some(generation));
        } else {
            // The tenant may have had no grant a moment ago.
            state.loads.forget(&tenant);
        }
    }

    fn add_used_within(&mut self, time: Duration) {
        if let Some(state) = self.tenants.upgrade() {
            let now = state.settings.clock.monotonic();
            self.others = state.residents.used_within(time, now);
        }
    }

    fn add_all(&mut self) {
        if let Some(state) = self.tenants.upgrade() {
            self.others = state.residents.tenants();
        }
    }

    async fn at_all(mut self) {
        self.add_all();
        self.finish().await;
    }

    fn may_start(&self) -> bool {
        !self.others.is_empty() && self.tasks.len() < MAX_OTHERS
    }

    fn start_one(&mut self) {
        if let Some(tenant) = self.others.pop() {
            self.spawn(tenant, None);
        }
    }

    async fn finish(mut self) {
        loop {
            while self.may_start() {
                self.start_one();
            }
            if self.tasks.join_next().await.is_none() {
                return;
            }
        }
    }

    fn spawn(&mut self, tenant: TenantId, announced: Option<Generation>) {
        let tenants = Weak::clone(self.tenants);
        self.tasks.spawn(look_at(tenants, tenant, announced));
    }
}

/// Returns false if the loads have failed.
async fn look_at(
    tenants: Weak<TenantsState>,
    tenant: TenantId,
    announced: Option<Generation>,
) -> bool {
    let in_progress = |state: Arc<TenantsState>| state.loads.in_progress(&tenant);
    if let Some(load) = tenants.upgrade().and_then(in_progress) {
        load.wait(|_| true).await;
    }
    let resident = |state: Arc<TenantsState>| {
        state.loads.forget(&tenant);
        state.residents.peek(&tenant)
    };
    match tenants.upgrade().and_then(resident) {
        Some(cache) => cache.look(announced).await,
        None => true,
    }
}
