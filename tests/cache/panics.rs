//! Panics of sources, stores and clocks: the lease is released, and the next refresh starts.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use tokio::time;
use tower_oauth2_client::{
    Error,
    cache::{TokenCache, TokenSource},
    clock::Clock,
    store::{LeaseOutcome, LeaseOwner, SaveOutcome, TokenStore},
    token::{Generation, Grant, GrantState, TenantId, TokenSet},
};

use crate::support::{API, DAY, HOUR, ManualClock, SECOND, Source, Store, header, pass};

/// The call that panics, once or each time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Acquire,
    Fetch,
    Load,
    Save,
    Release,
}

#[derive(Clone)]
struct Panics {
    at: At,
    always: bool,
    armed: Arc<AtomicBool>,
}

impl Panics {
    fn at(&self, here: At) {
        if self.at == here && self.armed.load(Ordering::SeqCst) {
            self.armed.store(self.always, Ordering::SeqCst);
            panic!("scripted panic");
        }
    }
}

struct PanickingSource(Source, Panics);

impl TokenSource for PanickingSource {
    async fn fetch(&self, held: Option<&TokenSet>) -> Result<TokenSet, Error> {
        self.1.at(At::Fetch);
        self.0.fetch(held).await
    }
}

struct PanickingStore(Store, Panics);

impl TokenStore for PanickingStore {
    async fn load(&self, tenant: &TenantId) -> Result<Option<Grant>, Error> {
        self.1.at(At::Load);
        self.0.load(tenant).await
    }

    async fn save(
        &self,
        tenant: &TenantId,
        expected: Option<Generation>,
        grant: &Grant,
    ) -> Result<SaveOutcome, Error> {
        self.1.at(At::Save);
        self.0.save(tenant, expected, grant).await
    }

    async fn acquire(
        &self,
        tenant: &TenantId,
        owner: &LeaseOwner,
        duration: Duration,
    ) -> Result<LeaseOutcome, Error> {
        self.1.at(At::Acquire);
        self.0.acquire(tenant, owner, duration).await
    }

    async fn release(&self, tenant: &TenantId, owner: &LeaseOwner) -> Result<(), Error> {
        self.1.at(At::Release);
        self.0.release(tenant, owner).await
    }
}

/// A replica that panics, one over the same store that does not, and the switch. Their access token
/// has expired.
async fn pair(at: At, always: bool) -> (Source, Store, TokenCache, TokenCache) {
    let clock = ManualClock::new();
    let (source, store) = (Source::new(&clock), Store::default());
    let armed = Arc::new(AtomicBool::new(false));
    let panics = Panics { at, always, armed };
    let one = TokenCache::builder(PanickingSource(source.clone(), panics.clone()))
        .store(PanickingStore(store.clone(), panics.clone()))
        .origin(API)
        .clock(clock)
        .build()
        .unwrap();
    let two = source.cache().store(store.clone()).build().unwrap();
    one.set_tokens(source.issue(DAY)).await.unwrap();
    header(&two).await;
    pass(DAY + HOUR).await;
    panics.armed.store(true, Ordering::SeqCst);
    (source, store, one, two)
}

#[tokio::test(start_paused = true)]
async fn p04_panic_leaves_no_lease_behind() {
    for at in [At::Acquire, At::Fetch, At::Load, At::Save] {
        for always in [false, true] {
            let (_, _, one, two) = pair(at, always).await;
            let _ = one.token().await;
            let started = time::Instant::now();
            let token = two.token().await;
            let waited = started.elapsed();
            assert!(waited <= 2 * SECOND, "{at:?}: {waited:?}");
            token.unwrap_or_else(|error| panic!("{at:?}: {error}"));
        }
    }
    // A release that panics leaves a lease, which expires.
    let (_, _, one, two) = pair(At::Release, true).await;
    one.token().await.unwrap();
    pass(16 * SECOND).await;
    two.refresh_now().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn p04_one_panic_costs_at_most_one_attempt() {
    for at in [At::Acquire, At::Fetch, At::Load, At::Save, At::Release] {
        let (source, store, one, _two) = pair(at, false).await;
        if one.token().await.is_err() {
            pass(2 * SECOND).await;
            one.token().await.unwrap();
        }
        let stored = store.stored().await.unwrap();
        assert!(matches!(stored.state, GrantState::Active(_)), "{at:?}");
        let mut sent = source.sent_refresh_tokens();
        sent.dedup();
        assert_eq!(sent, source.sent_refresh_tokens(), "{at:?}");
    }
}

/// A clock that panics at the next call once the switch is on.
#[derive(Clone, Debug)]
struct PanickingClock(ManualClock, Arc<AtomicBool>);

impl Clock for PanickingClock {
    fn monotonic(&self) -> Instant {
        assert!(!self.1.swap(false, Ordering::SeqCst), "scripted panic");
        self.0.monotonic()
    }

    fn wall(&self) -> SystemTime {
        self.0.wall()
    }
}

#[tokio::test(start_paused = true)]
async fn p04_panic_of_a_clock_during_a_refresh_releases_the_lease() {
    let clock = ManualClock::new();
    let (source, store) = (Source::new(&clock), Store::default());
    let panics = Arc::new(AtomicBool::new(false));
    let one = TokenCache::builder(source.clone())
        .store(store.clone())
        .origin(API)
        .clock(PanickingClock(clock, panics.clone()))
        .build()
        .unwrap();
    let two = source.cache().store(store).build().unwrap();
    one.set_tokens(source.issue(DAY)).await.unwrap();
    source.set_delay(2 * SECOND);
    let refreshing = tokio::spawn({
        let one = one.clone();
        async move { one.refresh_now().await }
    });
    pass(SECOND).await;
    panics.store(true, Ordering::SeqCst);
    pass(2 * SECOND).await;
    refreshing.await.unwrap().unwrap_err();
    let started = time::Instant::now();
    two.refresh_now().await.unwrap();
    assert!(started.elapsed() <= 4 * SECOND, "{:?}", started.elapsed());
}
