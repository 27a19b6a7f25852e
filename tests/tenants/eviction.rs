//! Which tenants are resident, and which are evicted.

use tower_oauth2_client::ErrorKind;

use crate::support::{
    DAY, HOUR, MINUTE, ManualClock, Source, Store, grant_of, named, numbered, pass, put,
    swept_elsewhere, tenants_over, tokens_of,
};

async fn with(count: u64) -> (Source, Store, ManualClock) {
    let clock = ManualClock::new();
    let (source, store) = (Source::new(&clock), Store::default());
    for number in 0..count {
        let tenant = numbered(number);
        put(&store.memory, &tenant, &grant_of(&tenant, 2 * DAY, &clock)).await;
    }
    swept_elsewhere(&store.memory).await;
    (source, store, clock)
}

#[tokio::test(start_paused = true)]
async fn an_idle_tenant_is_evicted_after_an_hour_and_loaded_again() {
    let (source, store, _) = with(100).await;
    let tenants = tenants_over(&source, store.clone()).build().unwrap();
    for number in 0..100 {
        tenants.token(&numbered(number)).await.unwrap();
    }
    for _ in 0..70 {
        pass(MINUTE).await;
        tenants.token(&numbered(7)).await.unwrap();
    }
    assert_eq!(tenants.resident_count(), 1);
    let before = store.loads();
    tenants.token(&numbered(7)).await.unwrap();
    assert_eq!(store.loads(), before);
    tenants.token(&numbered(8)).await.unwrap();
    assert_eq!(store.loads(), before + 1);
}

#[tokio::test(start_paused = true)]
async fn a_tenant_with_a_handle_stays_resident() {
    let (source, store, _) = with(2).await;
    let tenants = tenants_over(&source, store.clone()).build().unwrap();
    let handle = tenants.cache(&numbered(0)).await.unwrap();
    tenants.token(&numbered(1)).await.unwrap();
    pass(3 * HOUR).await;
    assert_eq!(tenants.resident_count(), 1);
    drop(handle);
    pass(MINUTE).await;
    assert_eq!(tenants.resident_count(), 0);
}

#[tokio::test(start_paused = true)]
async fn p14_a_tenant_with_unsaved_tokens_is_not_evicted() {
    let (source, store, clock) = with(0).await;
    let tenants = tenants_over(&source, store.clone()).build().unwrap();
    let acme = named("acme");
    tenants
        .set_tokens(&acme, tokens_of(&acme, DAY, &clock))
        .await
        .unwrap();
    store.fail_saves(true);
    let refresh = tenants.cache(&acme).await.unwrap();
    assert_eq!(
        refresh.refresh_now().await.unwrap_err().kind(),
        ErrorKind::Store
    );
    drop(refresh);
    pass(3 * HOUR).await;
    assert_eq!(tenants.resident_count(), 1);
    store.fail_saves(false);
    pass(HOUR).await;
    let stored = store.stored_tokens(&acme).await;
    assert_eq!(stored.access_token().expose(), "a1");
    pass(2 * HOUR).await;
    assert_eq!(tenants.resident_count(), 0);
}

#[tokio::test(start_paused = true)]
async fn no_more_tenants_are_resident_than_the_capacity() {
    let (source, store, _) = with(1_000).await;
    let tenants = tenants_over(&source, store.clone())
        .capacity(100)
        .build()
        .unwrap();
    for number in 0..1_000 {
        tenants.token(&numbered(number)).await.unwrap();
        assert!(tenants.resident_count() <= 100);
        // A tenant in use stays resident.
        tenants.token(&numbered(0)).await.unwrap();
    }
    assert_eq!(store.loads(), 1_000);
}

#[tokio::test(start_paused = true)]
async fn an_exhausted_capacity_is_an_error() {
    let (source, store, _) = with(4).await;
    let tenants = tenants_over(&source, store).capacity(3).build().unwrap();
    let mut handles = Vec::new();
    for number in 0..3 {
        handles.push(tenants.cache(&numbered(number)).await.unwrap());
    }
    let error = tenants.token(&numbered(3)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    handles.pop();
    pass(MINUTE).await;
    assert!(tenants.token(&numbered(3)).await.is_ok());
    assert_eq!(tenants.resident_count(), 3);
}

#[tokio::test(start_paused = true)]
async fn only_tokens_in_use_are_refreshed_before_they_expire() {
    let (source, store, _) = with(20).await;
    let tenants = tenants_over(&source, store)
        .idle_after(10 * DAY)
        .build()
        .unwrap();
    for number in 0..10 {
        tenants.token(&numbered(number)).await.unwrap();
    }
    for number in 10..20 {
        tenants.status(&numbered(number)).await.unwrap();
    }
    pass(DAY + 23 * HOUR).await;
    assert_eq!(source.refreshes(), 10);
    for number in 0..10 {
        // No request waits.
        tenants.token(&numbered(number)).await.unwrap();
    }
    assert_eq!(source.refreshes(), 10);
}

#[tokio::test(start_paused = true)]
async fn p18_a_suspend_is_noticed_for_all_resident_tenants() {
    let (source, store, clock) = with(50).await;
    let tenants = tenants_over(&source, store).build().unwrap();
    for number in 0..50 {
        tenants.token(&numbered(number)).await.unwrap();
    }
    clock.shift_wall(3 * 86_400);
    pass(MINUTE).await;
    let exchanges = source.refreshes();
    for number in 0..50 {
        let token = tenants.token(&numbered(number)).await.unwrap();
        assert!(token.header_value().to_str().unwrap().len() < "Bearer a-tenant".len());
    }
    assert_eq!(source.refreshes(), exchanges.max(50));
}
