//! The consents of tenants: one code exchange at a time, and always room for the tokens.

use std::time::Duration;

use tower_oauth2_client::{ErrorKind, tenants::Tenants};

use crate::{
    code_exchange::CodeExchange,
    support::{
        DAY, HOUR, ManualClock, Source, Store, grant_of, named, numbered, pass, put,
        swept_elsewhere, tenants_over, tokens_of,
    },
};

const MILLISECOND: Duration = Duration::from_millis(1);

#[tokio::test(start_paused = true)]
async fn p16_a_second_authorization_of_a_tenant_fails_at_once_without_sending_its_code() {
    let clock = ManualClock::new();
    let provider = CodeExchange::new(clock.clone());
    let tenants = tenants_over(&Source::new(&clock), Store::default())
        .build()
        .unwrap();
    let complete = |name: &'static str, tenants: &Tenants| {
        let (tenants, oauth) = (tenants.clone(), provider.oauth.clone());
        let (pending, callback) = provider.consent("code=c1");
        tokio::spawn(async move {
            let tenant = named(name);
            let completed = tenants.complete_authorization(&tenant, &oauth, &pending, &callback);
            completed.await
        })
    };
    provider.hold_responses();
    let first = complete("acme", &tenants);
    pass(MILLISECOND).await;
    let error = complete("acme", &tenants).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(!error.is_response_lost());
    let other = complete("initech", &tenants);
    pass(MILLISECOND).await;
    provider.release_responses();
    other.await.unwrap().unwrap();
    first.await.unwrap().unwrap();
    assert_eq!(provider.requests(), 2);
    complete("acme", &tenants).await.unwrap().unwrap();
}

/// Three tenants with grants. Two are resident at a capacity of two.
async fn full() -> (Tenants, Source, Store, ManualClock) {
    let clock = ManualClock::new();
    let (source, store) = (Source::new(&clock), Store::default());
    for number in 0..3 {
        let tenant = numbered(number);
        put(&store.memory, &tenant, &grant_of(&tenant, 2 * DAY, &clock)).await;
    }
    swept_elsewhere(&store.memory).await;
    let tenants = tenants_over(&source, store.clone())
        .capacity(2)
        .build()
        .unwrap();
    for number in 0..2 {
        tenants.token(&numbered(number)).await.unwrap();
    }
    (tenants, source, store, clock)
}

#[tokio::test(start_paused = true)]
async fn p16_a_consent_finds_room_while_every_resident_tenant_is_in_use() {
    let (tenants, _, store, clock) = full().await;
    let provider = CodeExchange::new(clock.clone());
    let handles = [
        tenants.cache(&numbered(0)).await.unwrap(),
        tenants.cache(&numbered(1)).await.unwrap(),
    ];
    // A new tenant, one with a grant that is not resident, and tokens that the program brings.
    for tenant in [named("acme"), numbered(2)] {
        let (pending, callback) = provider.consent("code=c1");
        let completed =
            tenants.complete_authorization(&tenant, &provider.oauth, &pending, &callback);
        completed.await.unwrap();
        let stored = store.stored_tokens(&tenant).await;
        assert_eq!(stored.access_token().expose(), "first");
    }
    let initech = named("initech");
    let tokens = tokens_of(&initech, DAY, &clock);
    tenants.set_tokens(&initech, tokens).await.unwrap();
    assert!(tenants.token(&initech).await.is_ok());
    // The tenants that are not in use make room again.
    drop(handles);
    pass(2 * HOUR).await;
    tenants.token(&numbered(0)).await.unwrap();
    assert!(tenants.resident_count() <= 2);
}

#[tokio::test(start_paused = true)]
async fn p16_consents_and_requests_of_unknown_tenants_evict_no_tenant() {
    let (tenants, source, store, clock) = full().await;
    let provider = CodeExchange::new(clock.clone());
    let before = store.loads();
    for number in 1_000..3_000 {
        let unknown = numbered(number);
        let (pending, callback) = provider.consent("code=nonsense");
        let completed =
            tenants.complete_authorization(&unknown, &provider.oauth, &pending, &callback);
        assert!(completed.await.is_err());
        assert!(tenants.token(&unknown).await.is_err());
        assert!(tenants.needs_consent(&unknown).await.unwrap());
        assert!(tenants.revoke(&unknown).await.is_err());
        if number == 2_000 {
            store.fail_saves(true);
        }
        let tokens = tokens_of(&unknown, DAY, &clock);
        if number >= 2_000 {
            assert!(tenants.set_tokens(&unknown, tokens).await.is_err());
        }
    }
    assert_eq!(tenants.resident_count(), 2);
    let unknown_loads = store.loads() - before;
    for number in 0..2 {
        tenants.token(&numbered(number)).await.unwrap();
    }
    assert_eq!(store.loads() - before, unknown_loads);
    assert_eq!(source.refreshes(), 0);
}

#[tokio::test(start_paused = true)]
async fn p15_a_tenant_with_an_unconfirmed_revocation_is_not_evicted_for_a_day() {
    let (tenants, source, _, _) = full().await;
    source.fail_revocations(true);
    assert!(tenants.revoke(&numbered(0)).await.is_err());
    let handle = tenants.cache(&numbered(1)).await.unwrap();
    for _ in 0..23 {
        // No other tenant can be evicted for this one.
        let error = tenants.token(&numbered(2)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        pass(HOUR).await;
    }
    let asked = source.revoked().len();
    assert!(tenants.revoke(&numbered(0)).await.is_err());
    assert_eq!(source.revoked().len(), asked + 1);
    // The last attempt counts.
    pass(23 * HOUR).await;
    source.fail_revocations(false);
    tenants.revoke(&numbered(0)).await.unwrap();
    assert_eq!(source.revoked().len(), asked + 2);
    tenants.token(&numbered(2)).await.unwrap();
    drop(handle);
}
