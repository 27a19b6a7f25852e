//! Regressions: promises that once did not hold.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tower_oauth2_client::{
    Error, ErrorKind,
    clock::Clock,
    store::{LeaseOutcome, LeaseOwner, MemoryStore, SaveOutcome, TokenStore},
    token::{AccessToken, Generation, Grant, GrantState, RefreshToken, TenantId, TokenSet},
};

use crate::{
    shared::{Scripted, unavailable},
    support::{
        DAY, HOUR, MINUTE, ManualClock, Source, Store, grant_of, named, numbered, pass, put,
        swept_elsewhere, tenants_over, tokens_of,
    },
};

const SECOND: Duration = Duration::from_secs(1);

/// Puts a grant that was last refreshed `age` ago.
async fn put_aged(store: &MemoryStore, tenant: &TenantId, clock: &ManualClock, age: Duration) {
    let then = clock.wall() - age;
    let tokens = TokenSet::new(AccessToken::new("a").unwrap(), DAY, then)
        .with_refresh_token(RefreshToken::new(tenant.as_str()), then);
    let grant = Grant::new(Generation::FIRST, GrantState::Active(tokens));
    put(store, tenant, &grant).await;
}

fn setup() -> (ManualClock, Source, Store) {
    let clock = ManualClock::new();
    (clock.clone(), Source::new(&clock), Store::default())
}

#[tokio::test(start_paused = true)]
async fn p05_failing_idle_tenants_do_not_exhaust_the_capacity() {
    let (clock, source, store) = setup();
    let acme = named("acme");
    put(&store.memory, &acme, &grant_of(&acme, 2 * DAY, &clock)).await;
    for number in 0..20 {
        put_aged(&store.memory, &numbered(number), &clock, 23 * DAY).await;
        source.then(Scripted::Fail(unavailable()));
    }
    let tenants = tenants_over(&source, store).capacity(10).build().unwrap();
    let report = tenants.sweep().await.unwrap();
    assert_eq!((report.kept_alive, report.failed), (0, 20));
    pass(2 * SECOND).await;
    assert_eq!(
        tenants.token(&acme).await.unwrap().header_value(),
        "Bearer a-acme"
    );
}

#[tokio::test(start_paused = true)]
async fn p16_eviction_does_not_bypass_the_min_refresh_interval() {
    let (clock, source, store) = setup();
    swept_elsewhere(&store.memory).await;
    for number in 0..2 {
        put_aged(&store.memory, &numbered(number), &clock, 2 * DAY).await;
    }
    for _ in 0..1_000 {
        source.then(Scripted::Fail(unavailable()));
    }
    source.set_delay(Duration::ZERO);
    let tenants = tenants_over(&source, store).capacity(1).build().unwrap();
    for _ in 0..100 {
        for number in 0..2 {
            assert!(tenants.token(&numbered(number)).await.is_err());
        }
        pass(SECOND / 10).await;
    }
    // In ten seconds, for two tenants.
    assert!(source.refreshes() <= 22, "{}", source.refreshes());
}

#[tokio::test(start_paused = true)]
async fn an_invalidated_token_does_not_return_from_the_store() {
    let (clock, source, store) = setup();
    swept_elsewhere(&store.memory).await;
    for number in 0..2 {
        let tenant = numbered(number);
        put(&store.memory, &tenant, &grant_of(&tenant, DAY, &clock)).await;
    }
    let tenants = tenants_over(&source, store).capacity(1).build().unwrap();
    tenants.cache(&numbered(0)).await.unwrap().invalidate();
    let _ = tenants.token(&numbered(1)).await;
    let token = tenants.token(&numbered(0)).await.unwrap();
    assert_eq!(token.header_value(), "Bearer a1");
}

#[tokio::test(start_paused = true)]
async fn an_unconfirmed_revocation_prevents_eviction() {
    let (clock, source, store) = setup();
    swept_elsewhere(&store.memory).await;
    for number in 0..3 {
        let tenant = numbered(number);
        put(&store.memory, &tenant, &grant_of(&tenant, DAY, &clock)).await;
    }
    let tenants = tenants_over(&source, store).capacity(2).build().unwrap();
    source.fail_revocations(true);
    assert!(tenants.revoke(&numbered(0)).await.is_err());
    for number in 1..3 {
        tenants.token(&numbered(number)).await.unwrap();
    }
    source.fail_revocations(false);
    tenants.revoke(&numbered(0)).await.unwrap();
    assert_eq!(source.revoked(), ["r-tenant-000000"; 2]);
}

#[tokio::test(start_paused = true)]
async fn p04_a_manual_sweep_ends_with_a_shutdown() {
    let (clock, source, store) = setup();
    for number in 0..100 {
        put_aged(&store.memory, &numbered(number), &clock, 23 * DAY).await;
    }
    let tenants = tenants_over(&source, store.clone()).build().unwrap();
    let sweep = tokio::spawn({
        let tenants = tenants.clone();
        async move { tenants.sweep().await.map(drop) }
    });
    pass(10 * SECOND).await;
    tenants.shutdown(MINUTE).await.unwrap();
    let before = source.refreshes();
    pass(10 * MINUTE).await;
    assert_eq!(source.refreshes(), before);
    let error = sweep.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Interrupted);
    let error = tenants.sweep().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Interrupted);
}

#[tokio::test(start_paused = true)]
async fn p18_a_grant_saved_by_a_clock_ahead_is_kept_alive() {
    let (clock, source, store) = setup();
    let then = clock.wall() + 365 * DAY;
    let tokens = TokenSet::new(AccessToken::new("a").unwrap(), DAY, then)
        .with_refresh_token(RefreshToken::new("r"), then);
    let grant = Grant::new(Generation::FIRST, GrantState::Active(tokens));
    put(&store.memory, &named("acme"), &grant).await;
    let tenants = tenants_over(&source, store).build().unwrap();
    pass(20 * DAY).await;
    assert_eq!(source.refreshes(), 1);
    drop(tenants);
}

/// Violates the contract of `TokenStore::tenants`.
#[derive(Clone, Default)]
struct BrokenPages {
    inner: MemoryStore,
    pages: Arc<Mutex<Vec<Vec<TenantId>>>>,
    asked: Arc<AtomicU64>,
    panics: Arc<AtomicU64>,
    loads_failing: Arc<AtomicU64>,
}

impl TokenStore for BrokenPages {
    async fn load(&self, tenant: &TenantId) -> Result<Option<Grant>, Error> {
        let failing = self.loads_failing.load(Ordering::SeqCst);
        if failing > 0 {
            self.loads_failing.store(failing - 1, Ordering::SeqCst);
            if failing <= 5 {
                return Err(Error::store("as the test asked for"));
            }
        }
        self.inner.load(tenant).await
    }

    async fn save(
        &self,
        tenant: &TenantId,
        expected: Option<Generation>,
        grant: &Grant,
    ) -> Result<SaveOutcome, Error> {
        self.inner.save(tenant, expected, grant).await
    }

    async fn acquire(
        &self,
        tenant: &TenantId,
        owner: &LeaseOwner,
        duration: Duration,
    ) -> Result<LeaseOutcome, Error> {
        self.inner.acquire(tenant, owner, duration).await
    }

    async fn release(&self, tenant: &TenantId, owner: &LeaseOwner) -> Result<(), Error> {
        self.inner.release(tenant, owner).await
    }

    async fn tenants(
        &self,
        after: Option<&TenantId>,
        limit: usize,
    ) -> Result<Vec<TenantId>, Error> {
        if self.panics.load(Ordering::SeqCst) > 0 {
            self.panics.fetch_sub(1, Ordering::SeqCst);
            panic!("as the test asked for");
        }
        let pages = self.pages.lock().unwrap().clone();
        if pages.is_empty() {
            return self.inner.tenants(after, limit).await;
        }
        let asked = usize::try_from(self.asked.fetch_add(1, Ordering::SeqCst)).unwrap();
        Ok(pages[asked % pages.len()].clone())
    }
}

#[tokio::test(start_paused = true)]
async fn p19_a_store_that_repeats_pages_does_not_trap_a_sweep() {
    for pages in [1, 2, 7] {
        let (_, source, _) = setup();
        let store = BrokenPages::default();
        let names = (0..pages).map(|number| vec![numbered(number)]);
        store.pages.lock().unwrap().extend(names);
        let tenants = tenants_over(&source, store).build().unwrap();
        let sweep = tokio::time::timeout(HOUR, tenants.sweep()).await;
        assert_eq!(sweep.unwrap().unwrap_err().kind(), ErrorKind::Store);
    }
}

#[tokio::test(start_paused = true)]
async fn p19_a_panic_in_the_store_does_not_end_the_background_tasks() {
    let (clock, source, _) = setup();
    let store = BrokenPages::default();
    put_aged(&store.inner, &numbered(0), &clock, 23 * DAY).await;
    store.panics.store(1, Ordering::SeqCst);
    let tenants = tenants_over(&source, store).build().unwrap();
    pass(HOUR).await;
    assert_eq!(source.refreshes(), 1);
    drop(tenants);
}

#[tokio::test(start_paused = true)]
async fn p19_a_short_store_failure_does_not_skip_all_due_grants() {
    let (clock, source, _) = setup();
    let store = BrokenPages::default();
    for number in 0..100 {
        put_aged(&store.inner, &numbered(number), &clock, 23 * DAY).await;
    }
    // A hundred loads, then a hundred refreshes.
    store.loads_failing.store(105, Ordering::SeqCst);
    let tenants = tenants_over(&source, store).build().unwrap();
    let started = tokio::time::Instant::now();
    let report = tenants.sweep().await.unwrap();
    assert_eq!((report.kept_alive, report.failed), (95, 5));
    // Neither the provider nor a failing store gets more than one request per second.
    assert!(started.elapsed() >= 100 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn p19_a_short_lived_refresh_token_is_not_reported_as_expiring() {
    let (clock, source, store) = setup();
    for (number, age) in [(0, Duration::ZERO), (1, DAY), (2, 3 * DAY)] {
        put_aged(&store.memory, &numbered(number), &clock, age).await;
    }
    source.then(Scripted::Fail(unavailable()));
    let tenants = tenants_over(&source, store)
        .refresh_token_lifetime(4 * DAY)
        .build()
        .unwrap();
    let report = tenants.sweep().await.unwrap();
    let names: Vec<_> = report.expiring.iter().map(|it| &it.tenant).collect();
    assert_eq!(names, [&numbered(2)]);
}

#[tokio::test(start_paused = true)]
async fn p19_a_grant_refreshed_during_the_sweep_is_not_reported_as_expiring() {
    let (clock, source, store) = setup();
    for number in 0..20 {
        put_aged(&store.memory, &numbered(number), &clock, 27 * DAY).await;
    }
    let tenants = tenants_over(&source, store.clone()).build().unwrap();
    pass(5 * SECOND).await;
    // A request refreshes the grant first.
    tenants.token(&numbered(19)).await.unwrap();
    pass(MINUTE).await;
    let report = tenants.last_sweep().unwrap();
    assert_eq!(report.kept_alive, 19);
    assert_eq!(report.expiring, []);
}

#[tokio::test(start_paused = true)]
async fn a_tenant_in_use_stays_resident_under_eviction_pressure() {
    let (clock, source, store) = setup();
    swept_elsewhere(&store.memory).await;
    for number in 0..100 {
        let tenant = numbered(number);
        put(&store.memory, &tenant, &grant_of(&tenant, 2 * DAY, &clock)).await;
    }
    let tenants = tenants_over(&source, store.clone())
        .capacity(3)
        .build()
        .unwrap();
    let handle = tenants.cache(&numbered(0)).await.unwrap();
    // Between two maintenance visits.
    pass(5 * SECOND).await;
    for turn in 0..95 {
        // Used every ten minutes. The clock hand passes before the next maintenance visit.
        if turn % 10 == 0 {
            tenants.token(&numbered(0)).await.unwrap();
        }
        for number in 1..20 {
            // Twice, so that the reference bit is set.
            for _ in 0..2 {
                tenants.token(&numbered(number)).await.unwrap();
            }
        }
        pass(MINUTE).await;
    }
    // From now on, only the time of its last use keeps it resident.
    drop(handle);
    let before = store.loads();
    pass(MINUTE).await;
    tenants.token(&numbered(0)).await.unwrap();
    assert_eq!(store.loads(), before);
}

#[tokio::test(start_paused = true)]
async fn a_consent_during_a_load_is_found_by_its_callers() {
    let (clock, source, store) = setup();
    swept_elsewhere(&store.memory).await;
    let tenants = tenants_over(&source, store.clone()).build().unwrap();
    let hooli = named("hooli");
    store.slow_next_load(SECOND);
    let waiting = tokio::spawn({
        let (tenants, hooli) = (tenants.clone(), hooli.clone());
        async move { tenants.token(&hooli).await.map(drop) }
    });
    pass(SECOND / 2).await;
    let tokens = tokens_of(&hooli, DAY, &clock);
    tenants.set_tokens(&hooli, tokens).await.unwrap();
    waiting.await.unwrap().unwrap();
}
