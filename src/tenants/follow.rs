//! Follows the store for all resident caches, with one subscription.
//!
//! A load that is in progress when a save is announced may have read the grant before it. The look
//! at this tenant therefore waits for the load.

use std::{future, sync::Weak};

use tokio::{task::JoinSet, time::sleep};

use super::state::TenantsState;
use crate::{
    cache::{LOOK_INTERVAL, SUBSCRIBE_PAUSE},
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
            Some(_) = looks.tasks.join_next() => {}
            () = future::ready(()), if looks.may_start() => looks.start_one(),
        }
    }
}

/// Looks at the tenants that requests have used since the last time.
async fn look_at_used(tenants: &Weak<TenantsState>) {
    let mut looks = Looks::new(tenants);
    if let Some(state) = tenants.upgrade() {
        let now = state.settings.clock.monotonic();
        looks.others = state.residents.used_within(LOOK_INTERVAL, now);
    }
    looks.finish().await;
}

/// The looks in progress, each in a task that ends with this, and those that are still to be made.
struct Looks<'a> {
    tenants: &'a Weak<TenantsState>,
    tasks: JoinSet<Option<()>>,
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

async fn look_at(
    tenants: Weak<TenantsState>,
    tenant: TenantId,
    announced: Option<Generation>,
) -> Option<()> {
    let load = tenants.upgrade()?.loads.in_progress(&tenant);
    if let Some(load) = load {
        load.wait(|_| true).await;
    }
    let state = tenants.upgrade()?;
    state.loads.forget(&tenant);
    let cache = state.residents.peek(&tenant)?;
    drop(state);
    cache.look(announced).await;
    Some(())
}
