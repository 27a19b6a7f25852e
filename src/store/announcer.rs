//! Announcements of saved grants, from a store to its subscribers.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use tokio::sync::Notify;

use crate::token::{Generation, TenantId};

/// How many tenants one subscription remembers. Beyond that, it reports
/// [`Missed`](Announcement::Missed) instead.
const MAX_PENDING: usize = 10_000;

/// One announcement of a store to its subscribers.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_enums,
    reason = "a subscriber that ignores a kind of announcement would miss saves"
)]
pub enum Announcement {
    /// A grant was saved.
    Saved {
        /// The tenant of the grant.
        tenant: TenantId,
        /// The generation of the saved grant.
        generation: Generation,
    },
    /// Announcements may have been lost, so any grant may have been saved.
    Missed,
}

/// Announces saved grants to any number of subscribers. A [`TokenStore`](super::TokenStore) that
/// learns of the saves of all processes contains one.
///
/// Clones announce to the same subscribers. No method waits.
///
/// ```
/// use tower_oauth2_client::{
///     store::{Announcement, Announcer},
///     token::{Generation, TenantId},
/// };
///
/// # tokio_test::block_on(async {
/// let announcer = Announcer::new();
/// let mut subscription = announcer.subscribe();
/// let (tenant, generation) = (TenantId::new("acme")?, Generation::FIRST);
/// announcer.saved(&tenant, generation);
/// let announcement = subscription.next().await;
/// assert_eq!(announcement, Some(Announcement::Saved { tenant, generation }));
/// # Ok::<(), tower_oauth2_client::Error>(()) }).unwrap();
/// ```
#[derive(Clone, Default)]
pub struct Announcer {
    subscribers: Arc<Mutex<Vec<Weak<Inbox>>>>,
}

/// The announcements that a subscriber has not taken yet.
#[derive(Default)]
struct Inbox {
    pending: Mutex<Pending>,
    arrived: Notify,
}

#[derive(Default)]
struct Pending {
    /// The newest announced generation of each tenant.
    saved: HashMap<TenantId, Generation>,
    is_missed: bool,
    has_ended: bool,
}

impl Announcer {
    /// Creates an announcer without subscribers.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Subscribes to all announcements from now on.
    #[must_use]
    pub fn subscribe(&self) -> Subscription {
        let inbox = Arc::default();
        self.subscribers().push(Arc::downgrade(&inbox));
        Subscription { inbox }
    }

    /// Announces a save. Call this after the save has been committed.
    pub fn saved(&self, tenant: &TenantId, generation: Generation) {
        self.each(|pending| pending.add(tenant, generation));
    }

    /// Announces that saves may have been missed, for example after a connection was lost.
    pub fn missed(&self) {
        self.each(Pending::add_missed);
    }

    /// Ends all subscriptions. The subscribers subscribe again.
    ///
    /// Call this when the task ends that receives the announcements.
    pub fn end(&self) {
        for inbox in self
            .subscribers()
            .drain(..)
            .filter_map(|inbox| inbox.upgrade())
        {
            inbox.pending().has_ended = true;
            inbox.arrived.notify_one();
        }
    }

    fn each(&self, change: impl Fn(&mut Pending)) {
        self.subscribers().retain(|inbox| {
            let Some(inbox) = inbox.upgrade() else {
                return false;
            };
            change(&mut inbox.pending());
            inbox.arrived.notify_one();
            true
        });
    }

    fn subscribers(&self) -> MutexGuard<'_, Vec<Weak<Inbox>>> {
        let subscribers = self.subscribers.lock();
        // Each change is one insertion or removal.
        subscribers.unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inbox {
    fn pending(&self) -> MutexGuard<'_, Pending> {
        // A panic in between loses one announcement at most.
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pending {
    fn add(&mut self, tenant: &TenantId, generation: Generation) {
        if let Some(known) = self.saved.get_mut(tenant) {
            *known = generation.max(*known);
        } else if self.saved.len() < MAX_PENDING {
            self.saved.insert(tenant.clone(), generation);
        } else {
            self.add_missed();
        }
    }

    /// The look at all grants that follows covers the announced ones too.
    fn add_missed(&mut self) {
        self.is_missed = true;
        self.saved = HashMap::new();
    }

    fn take(&mut self) -> Option<Announcement> {
        if std::mem::take(&mut self.is_missed) {
            return Some(Announcement::Missed);
        }
        let tenant = self.saved.keys().next()?.clone();
        let generation = self.saved.remove(&tenant)?;
        Some(Announcement::Saved { tenant, generation })
    }
}

/// The announcements of a store to one subscriber, from [`Announcer::subscribe`].
///
/// It remembers the newest generation of each tenant, for up to 10,000 tenants, until
/// [`next`](Self::next) takes it. The order of different tenants is not kept.
pub struct Subscription {
    inbox: Arc<Inbox>,
}

impl Subscription {
    /// Waits for the next announcement. Returns `None` once the subscription has
    /// [ended](Announcer::end).
    ///
    /// The future may be dropped at any point. No announcement is then lost.
    pub async fn next(&mut self) -> Option<Announcement> {
        loop {
            {
                let mut pending = self.inbox.pending();
                let next = pending.take();
                if next.is_some() || pending.has_ended {
                    return next;
                }
            }
            self.inbox.arrived.notified().await;
        }
    }
}

impl fmt::Debug for Announcer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Announcer")
            .field("subscribers", &self.subscribers().len())
            .finish()
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(name: &str) -> TenantId {
        TenantId::new(name).unwrap()
    }

    fn saved(name: &str, generation: u64) -> Announcement {
        Announcement::Saved {
            tenant: tenant(name),
            generation: Generation::from_u64(generation),
        }
    }

    fn announce(announcer: &Announcer, name: &str, generation: u64) {
        announcer.saved(&tenant(name), Generation::from_u64(generation));
    }

    #[tokio::test]
    async fn subscriber_gets_the_newest_generation_of_each_tenant_once() {
        let announcer = Announcer::new();
        let mut subscription = announcer.subscribe();
        for generation in [1, 3, 2] {
            announce(&announcer, "acme", generation);
        }
        assert_eq!(subscription.next().await, Some(saved("acme", 3)));
        let mut next = tokio_test::task::spawn(subscription.next());
        assert!(next.poll().is_pending());
        announce(&announcer, "acme", 4);
        assert!(next.is_woken());
        drop(next);
        assert_eq!(
            subscription.next().await,
            Some(saved("acme", 4)),
            "a drop loses none"
        );
    }

    #[tokio::test]
    async fn every_subscriber_gets_what_was_announced_since_it_subscribed() {
        let announcer = Announcer::new();
        let mut early = announcer.subscribe();
        drop(announcer.subscribe());
        announce(&announcer, "acme", 1);
        let mut late = announcer.subscribe();
        announce(&announcer, "acme", 2);
        assert_eq!(early.next().await, Some(saved("acme", 2)));
        assert_eq!(late.next().await, Some(saved("acme", 2)));
        assert_eq!(announcer.subscribers().len(), 2);
    }

    #[tokio::test]
    async fn more_tenants_than_the_limit_are_one_missed() {
        let announcer = Announcer::new();
        let mut subscription = announcer.subscribe();
        for number in 0..=MAX_PENDING {
            announce(&announcer, &number.to_string(), 1);
        }
        assert_eq!(subscription.next().await, Some(Announcement::Missed));
        announce(&announcer, "acme", 1);
        assert_eq!(subscription.next().await, Some(saved("acme", 1)));
    }

    #[tokio::test]
    async fn subscription_that_ends_returns_what_is_pending_first() {
        let announcer = Announcer::new();
        let mut subscription = announcer.subscribe();
        announce(&announcer, "acme", 1);
        announcer.end();
        assert_eq!(subscription.next().await, Some(saved("acme", 1)));
        assert_eq!(subscription.next().await, None);
        assert_eq!(subscription.next().await, None);
    }
}
