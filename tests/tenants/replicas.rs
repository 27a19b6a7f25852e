//! Replicas that share a store adopt what the others save.

use std::time::Duration;

use tower_oauth2_client::{ErrorKind, cache::TokenState, tenants::Tenants};

use crate::support::{DAY, ManualClock, Source, Store, named, numbered, tenants_over, tokens_of};

fn replica(source: &Source, store: &Store) -> Tenants {
    tenants_over(source, store.clone()).build().unwrap()
}

/// Less than the second in which a replica adopts what another one has saved.
async fn soon() {
    tokio::time::sleep(Duration::from_millis(900)).await;
}

#[tokio::test(start_paused = true)]
async fn p06_thousand_tenants_that_are_replaced_at_once_are_adopted_within_a_second() {
    let (source, store) = (Source::new(&ManualClock::new()), Store::default());
    let (one, two) = (replica(&source, &store), replica(&source, &store));
    let clock = ManualClock::new();
    let tenants: Vec<_> = (0..1_000).map(numbered).collect();
    for tenant in &tenants {
        one.set_tokens(tenant, tokens_of(tenant, DAY, &clock))
            .await
            .unwrap();
        two.token(tenant).await.unwrap();
    }
    soon().await;
    let before = store.loads();
    for tenant in &tenants {
        let replaced = tokens_of(&named(&format!("new {tenant}")), DAY, &clock);
        one.set_tokens(tenant, replaced).await.unwrap();
    }
    let of_commands = store.loads() - before;
    soon().await;
    for tenant in &tenants {
        let (expected, found) = (one.token(tenant).await, two.token(tenant).await);
        assert_eq!(
            expected.unwrap().header_value(),
            found.unwrap().header_value()
        );
    }
    let of_looks = store.loads() - before - of_commands;
    assert!(of_looks <= 1_000, "one load for each tenant: {of_looks}");
}

#[tokio::test(start_paused = true)]
async fn p06_disconnect_and_reconnect_at_one_replica_reach_the_other() {
    let (source, store) = (Source::new(&ManualClock::new()), Store::default());
    let (one, two) = (replica(&source, &store), replica(&source, &store));
    let (clock, acme) = (ManualClock::new(), named("acme"));
    one.set_tokens(&acme, tokens_of(&acme, DAY, &clock))
        .await
        .unwrap();
    two.token(&acme).await.unwrap();
    one.revoke(&acme).await.unwrap();
    soon().await;
    let error = two.token(&acme).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Revoked);
    let status = two.status(&acme).await.unwrap();
    assert!(matches!(status.state, TokenState::Revoked { .. }));
    one.set_tokens(&acme, tokens_of(&named("again"), DAY, &clock))
        .await
        .unwrap();
    soon().await;
    assert_eq!(two.status(&acme).await.unwrap().state, TokenState::Fresh);
}

#[tokio::test(start_paused = true)]
async fn p12_save_during_the_load_of_a_tenant_is_not_missed() {
    let (source, store) = (Source::new(&ManualClock::new()), Store::default());
    let (one, two) = (replica(&source, &store), replica(&source, &store));
    let (clock, acme) = (ManualClock::new(), named("acme"));
    one.set_tokens(&acme, tokens_of(&acme, DAY, &clock))
        .await
        .unwrap();
    // The load reads the first grant, and returns it after the second one was announced.
    store.slow_next_load(Duration::from_secs(5));
    let load = tokio::spawn({
        let (two, acme) = (two.clone(), acme.clone());
        async move { two.token(&acme).await }
    });
    soon().await;
    one.set_tokens(&acme, tokens_of(&named("new"), DAY, &clock))
        .await
        .unwrap();
    load.await.unwrap().unwrap();
    soon().await;
    let (expected, found) = (one.token(&acme).await, two.token(&acme).await);
    assert_eq!(
        expected.unwrap().header_value(),
        found.unwrap().header_value()
    );
}

#[tokio::test(start_paused = true)]
async fn p12_consent_at_another_replica_ends_the_memory_of_a_missing_grant() {
    let (source, store) = (Source::new(&ManualClock::new()), Store::default());
    let (one, two) = (replica(&source, &store), replica(&source, &store));
    let (clock, acme) = (ManualClock::new(), named("acme"));
    let error = two.token(&acme).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoGrant);
    one.set_tokens(&acme, tokens_of(&acme, DAY, &clock))
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_millis(10)).await;
    two.token(&acme).await.unwrap();
}
