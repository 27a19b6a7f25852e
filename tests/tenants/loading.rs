//! Loads from the store.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::task::JoinSet;
use tower_oauth2_client::{
    Error, ErrorKind,
    store::{LeaseOutcome, LeaseOwner, MemoryStore, SaveOutcome, TokenStore},
    tenants::Tenants,
    token::{Generation, Grant, TenantId},
};

use crate::support::{
    DAY, MINUTE, ManualClock, Source, Store, grant_of, named, numbered, pass, put, swept_elsewhere,
    tenants_over, tokens_of,
};

const SECOND: Duration = Duration::from_secs(1);

async fn with_acme() -> (Tenants, Source, Store) {
    let clock = ManualClock::new();
    let (source, store) = (Source::new(&clock), Store::default());
    put(
        &store.memory,
        &named("acme"),
        &grant_of(&named("acme"), DAY, &clock),
    )
    .await;
    swept_elsewhere(&store.memory).await;
    let tenants = tenants_over(&source, store.clone()).build().unwrap();
    (tenants, source, store)
}

#[tokio::test(start_paused = true)]
async fn a_thousand_concurrent_requests_cause_one_load() {
    let (tenants, source, store) = with_acme().await;
    store.slow_next_load(SECOND);
    let mut calls = JoinSet::new();
    for _ in 0..1_000 {
        let tenants = tenants.clone();
        calls.spawn(async move { tenants.token(&named("acme")).await.map(drop) });
    }
    assert!(calls.join_all().await.into_iter().all(|got| got.is_ok()));
    assert_eq!(store.loads(), 1);
    assert_eq!(source.refreshes(), 0);
    tenants.token(&named("acme")).await.unwrap();
    assert_eq!(store.loads(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_tenant_causes_one_load_per_second() {
    let (tenants, source, store) = with_acme().await;
    for _ in 0..100 {
        let error = tenants.token(&named("hooli")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NoGrant);
        assert!(error.is_consent_required());
        pass(SECOND / 10).await;
    }
    assert_eq!(store.loads(), 10);
    assert_eq!(source.refreshes(), 0);
    assert_eq!(tenants.resident_count(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_consent_clears_the_remembered_missing_grant() {
    let (tenants, source, _) = with_acme().await;
    let hooli = named("hooli");
    assert!(tenants.token(&hooli).await.is_err());
    tenants.set_tokens(&hooli, source.issue(DAY)).await.unwrap();
    assert_eq!(
        tenants.token(&hooli).await.unwrap().header_value(),
        "Bearer a1"
    );
}

#[tokio::test(start_paused = true)]
async fn a_consent_at_another_replica_is_found_within_a_second() {
    let (tenants, source, store) = with_acme().await;
    let other = tenants_over(&source, store).build().unwrap();
    let hooli = named("hooli");
    assert!(tenants.token(&hooli).await.is_err());
    other.set_tokens(&hooli, source.issue(DAY)).await.unwrap();
    pass(SECOND).await;
    assert!(tenants.token(&hooli).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_unknown_names_evicts_no_tenant() {
    let (tenants, source, store) = with_acme().await;
    tenants.token(&named("acme")).await.unwrap();
    for number in 0..30_000 {
        assert!(tenants.token(&numbered(number)).await.is_err());
    }
    assert_eq!(tenants.resident_count(), 1);
    let before = store.loads();
    tenants.token(&named("acme")).await.unwrap();
    assert_eq!(store.loads(), before);
    assert_eq!(source.refreshes(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_failed_load_is_a_store_error_and_retried_after_a_second() {
    let (tenants, _, store) = with_acme().await;
    store.fail_loads(true);
    for _ in 0..100 {
        let error = tenants.token(&named("acme")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Store);
    }
    store.fail_loads(false);
    pass(SECOND).await;
    assert!(tenants.token(&named("acme")).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn p04_a_dropped_caller_does_not_stop_the_load() {
    let (tenants, _, store) = with_acme().await;
    store.slow_next_load(MINUTE / 10);
    let first = tokio::spawn({
        let tenants = tenants.clone();
        async move { tenants.token(&named("acme")).await.map(drop) }
    });
    pass(SECOND).await;
    first.abort();
    assert!(tenants.token(&named("acme")).await.is_ok());
    assert_eq!(store.loads(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_hanging_load_times_out_and_the_next_is_independent() {
    let (tenants, _, store) = with_acme().await;
    store.slow_next_load(10 * MINUTE);
    let error = tenants.token(&named("acme")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Store);
    pass(SECOND).await;
    assert!(tenants.token(&named("acme")).await.is_ok());
}

/// Panics at the first load.
#[derive(Clone, Default)]
struct Panicking {
    inner: MemoryStore,
    loads: Arc<AtomicU64>,
}

impl TokenStore for Panicking {
    async fn load(&self, tenant: &TenantId) -> Result<Option<Grant>, Error> {
        let loads = self.loads.fetch_add(1, Ordering::SeqCst);
        assert!(loads > 0, "as the test requested");
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
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_the_store_strands_no_caller() {
    let clock = ManualClock::new();
    let (source, store) = (Source::new(&clock), Panicking::default());
    put(
        &store.inner,
        &named("acme"),
        &grant_of(&named("acme"), DAY, &clock),
    )
    .await;
    let tenants = tenants_over(&source, store).build().unwrap();
    let error = tenants.token(&named("acme")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Interrupted);
    pass(SECOND).await;
    assert!(tenants.token(&named("acme")).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_failed_set_tokens_leaves_no_tenant_resident() {
    let (tenants, source, store) = with_acme().await;
    store.fail_saves(true);
    let hooli = named("hooli");
    let error = tenants
        .set_tokens(&hooli, source.issue(DAY))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Store);
    assert_eq!(tenants.resident_count(), 0);
    store.fail_saves(false);
    assert_eq!(
        tenants.token(&hooli).await.unwrap_err().kind(),
        ErrorKind::NoGrant
    );
    assert_eq!(source.refreshes(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_tenant_is_revoked_and_connected_again() {
    let (tenants, source, store) = with_acme().await;
    let acme = named("acme");
    tenants.revoke(&acme).await.unwrap();
    assert_eq!(source.revoked(), ["r-acme"]);
    assert_eq!(
        tenants.token(&acme).await.unwrap_err().kind(),
        ErrorKind::Revoked
    );
    let other = tenants_over(&source, store).build().unwrap();
    assert_eq!(
        other.token(&acme).await.unwrap_err().kind(),
        ErrorKind::Revoked
    );
    let clock = ManualClock::new();
    tenants
        .set_tokens(&acme, tokens_of(&acme, DAY, &clock))
        .await
        .unwrap();
    assert!(tenants.token(&acme).await.is_ok());
    pass(SECOND).await;
    assert!(other.token(&acme).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_stops_loads_but_serves_resident_tenants() {
    let (tenants, _, _) = with_acme().await;
    tenants.token(&named("acme")).await.unwrap();
    tenants.shutdown(MINUTE).await.unwrap();
    assert!(tenants.token(&named("acme")).await.is_ok());
    let error = tenants.token(&named("hooli")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Interrupted);
    let cache = tenants.cache(&named("acme")).await.unwrap();
    assert_eq!(
        cache.refresh_now().await.unwrap_err().kind(),
        ErrorKind::Interrupted
    );
}

#[test]
fn tenants_built_outside_of_a_runtime_work_inside_one() {
    let clock = {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build();
        let _inside = runtime.as_ref().unwrap().enter();
        ManualClock::new()
    };
    let tenants = tenants_over(&Source::new(&clock), Store::default())
        .build()
        .unwrap();
    for _ in 0..2 {
        // The second runtime starts after the first has ended.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        runtime.block_on(async {
            let tenant = named("acme");
            let tokens = tokens_of(&tenant, DAY, &clock);
            tenants.set_tokens(&tenant, tokens).await.unwrap();
            assert!(tenants.token(&tenant).await.is_ok());
        });
    }
    let rule = tenants_over(&Source::new(&clock), Store::default());
    for wrong in [
        rule.capacity(0).build(),
        tenants_over(&Source::new(&clock), Store::default())
            .sweep_interval(SECOND)
            .build(),
    ] {
        assert_eq!(wrong.unwrap_err().kind(), ErrorKind::Configuration);
    }
}
