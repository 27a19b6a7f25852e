//! Rules of announcements.

use std::time::Duration;

use tokio::time::timeout;

use super::{
    names::{alike, shown},
    samples::plain,
    suite::Suite,
};
use crate::{
    store::{Announcement, Subscription, TokenStore},
    token::{Generation, TenantId},
};

/// The contract says one second. A busy machine takes longer.
const SOON: Duration = Duration::from_secs(5);

/// Each save by any handle is announced to subscribers of another handle: with its tenant and its
/// generation, or by `Missed`. A subscription counts from the call on.
pub async fn saves_are_announced(suite: &Suite<impl TokenStore>) {
    let tenants: Vec<TenantId> = alike().iter().map(|name| suite.named(name)).collect();
    let mut subscription = subscribe(suite, 1);
    let mut expected = None;
    for generation in 1..=2 {
        for (number, tenant) in tenants.iter().enumerate() {
            let grant = plain(generation, "announced");
            // Saves by the handle of the subscriber are announced too.
            suite.commit(number % 2, tenant, expected, &grant).await;
        }
        expected = Some(generation);
    }
    let mut missing = tenants;
    while !missing.is_empty() {
        let Ok(next) = timeout(SOON, subscription.next()).await else {
            let names: Vec<_> = missing.iter().map(shown).collect();
            suite.fail(format_args!(
                "no announcement within {SOON:?} of generation 2 of {}",
                names.join(", ")
            ));
        };
        match next {
            Some(Announcement::Saved { tenant, generation }) => {
                missing.retain(|other| *other != tenant || generation < Generation::from_u64(2));
            }
            Some(Announcement::Missed) => return,
            None => suite.fail("the subscription has ended"),
        }
    }
}

/// A load after an announcement returns the announced generation, or a newer one.
pub async fn announced_saves_can_be_loaded(suite: &Suite<impl TokenStore>) {
    let tenant = suite.tenant("announced");
    let mut subscription = subscribe(suite, 1);
    let mut expected = None;
    for number in 1..=8 {
        let grant = plain(number, "announced");
        suite.commit(0, &tenant, expected, &grant).await;
        expected = Some(number);
        // Other announcements may come first, and those of other tenants.
        let announced = async {
            loop {
                match subscription.next().await {
                    Some(Announcement::Saved {
                        tenant: saved,
                        generation,
                    }) if saved == tenant => {
                        let stored = suite.load(1, &tenant).await;
                        if stored.map(|stored| stored.generation) < Some(generation) {
                            suite.fail(format_args!(
                                "generation {generation} was announced, but a load returned an \
                                 older grant"
                            ));
                        }
                        if generation.as_u64() >= number {
                            return;
                        }
                    }
                    Some(Announcement::Saved { .. }) => {}
                    Some(Announcement::Missed) => return,
                    None => suite.fail("the subscription has ended"),
                }
            }
        };
        if timeout(SOON, announced).await.is_err() {
            suite.fail(format_args!(
                "no announcement within {SOON:?} of generation {number}"
            ));
        }
    }
}

fn subscribe(suite: &Suite<impl TokenStore>, handle: usize) -> Subscription {
    let subscription = suite.handles[handle].subscribe();
    subscription.unwrap_or_else(|| suite.fail("the store announces nothing"))
}
