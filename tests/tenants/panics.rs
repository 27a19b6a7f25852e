//! Panics of the program's clock and listener do not stop the background tasks.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Instant, SystemTime},
};

use tower_oauth2_client::{clock::Clock, store::MemoryStore, tenants::Tenants, token::TenantId};

use crate::{
    shared::pass,
    support::{DAY, HOUR, MINUTE, ManualClock, Source, named},
};

/// A clock that panics at the next calls.
#[derive(Clone, Debug)]
struct PanickingClock {
    clock: ManualClock,
    panics: Arc<AtomicU64>,
    panicked: Arc<AtomicU64>,
}

impl Clock for PanickingClock {
    fn monotonic(&self) -> Instant {
        let left = |left: u64| left.checked_sub(1);
        let order = Ordering::SeqCst;
        if self.panics.fetch_update(order, order, left).is_ok() {
            self.panicked.fetch_add(1, order);
            panic!("scripted panic");
        }
        self.clock.monotonic()
    }

    fn wall(&self) -> SystemTime {
        self.clock.wall()
    }
}

/// Tenants whose tokens requests have used.
async fn in_use(names: &[TenantId]) -> (PanickingClock, Source, Tenants) {
    let clock = PanickingClock {
        clock: ManualClock::new(),
        panics: Arc::default(),
        panicked: Arc::default(),
    };
    let source = Source::new(&clock.clock);
    let tenants = source.tenants().clock(clock.clone()).idle_after(10 * DAY);
    let tenants = tenants.store(MemoryStore::new()).build().unwrap();
    for tenant in names {
        tenants.set_tokens(tenant, source.issue(DAY)).await.unwrap();
        tenants.token(tenant).await.unwrap();
    }
    (clock, source, tenants)
}

#[tokio::test(start_paused = true)]
async fn p04_panics_in_a_round_do_not_stop_the_maintenance() {
    for panics in [1, 2, 10, 1_000] {
        let names = ["acme", "initech", "umbrella"].map(named);
        let (clock, source, _tenants) = in_use(&names).await;
        clock.panics.store(panics, Ordering::SeqCst);
        pass(MINUTE).await;
        // The rounds continue at their pace, whatever happens in them.
        let panicked = clock.panicked.load(Ordering::SeqCst);
        assert!((1..=60).contains(&panicked), "{panics}: {panicked}");
        clock.panics.store(0, Ordering::SeqCst);
        let before = source.refreshes();
        pass(23 * HOUR).await;
        assert_eq!(source.refreshes() - before, names.len(), "{panics}");
    }
}

#[tokio::test(start_paused = true)]
async fn p04_panic_of_a_clock_costs_other_tenants_nothing() {
    let names: Vec<_> = (0..100).map(|n| named(&format!("t{n}"))).collect();
    let (clock, source, _tenants) = in_use(&names).await;
    // One in each of many rounds.
    let before = source.refreshes();
    for _ in 0..(23 * 60) {
        clock.panics.store(1, Ordering::SeqCst);
        pass(MINUTE).await;
    }
    clock.panics.store(0, Ordering::SeqCst);
    let refreshed = source.refreshes() - before;
    assert!(refreshed >= names.len() - 1, "{refreshed}");
}
