//! The first token set of a tenant's grant, from the callback to the store.

use std::time::Duration;

use tokio_test::{assert_pending, task};
use tower_oauth2_client::{ErrorKind, store::TokenStore, tenants::Tenants};

use crate::{
    code_exchange::CodeExchange,
    support::{HOUR, ManualClock, Source, Store, grant_of, named, put, tenants_over},
};

struct Scene {
    provider: CodeExchange,
    store: Store,
    tenants: Tenants,
    clock: ManualClock,
}

fn scene() -> Scene {
    let clock = ManualClock::new();
    let store = Store::default();
    let tenants = tenants_over(&Source::new(&clock), store.clone());
    Scene {
        provider: CodeExchange::new(clock.clone()),
        tenants: tenants.build().unwrap(),
        store,
        clock,
    }
}

#[tokio::test(start_paused = true)]
async fn p23_a_completed_authorization_is_the_tenants_own() {
    let scene = scene();
    let (acme, initech) = (named("acme"), named("initech"));
    // The missing grant is remembered.
    let unknown = scene.tenants.token(&acme).await.unwrap_err();
    assert_eq!(unknown.kind(), ErrorKind::NoGrant);
    let (pending, callback) = scene.provider.consent("code=c1");
    scene
        .tenants
        .complete_authorization(&acme, &scene.provider.oauth, &pending, &callback)
        .await
        .unwrap();
    let token = scene.tenants.token(&acme).await.unwrap();
    assert_eq!(token.header_value(), "Bearer first");
    let unknown = scene.tenants.token(&initech).await.unwrap_err();
    assert_eq!(unknown.kind(), ErrorKind::NoGrant);
}

#[tokio::test(start_paused = true)]
async fn a_completed_authorization_replaces_a_grant() {
    let scene = scene();
    let acme = named("acme");
    let old = grant_of(&acme, HOUR, &scene.clock);
    put(&scene.store.memory, &acme, &old).await;
    let (pending, callback) = scene.provider.consent("code=c1");
    scene
        .tenants
        .complete_authorization(&acme, &scene.provider.oauth, &pending, &callback)
        .await
        .unwrap();
    let stored = scene.store.stored_tokens(&acme).await;
    assert_eq!(stored.access_token().expose(), "first");
}

#[tokio::test(start_paused = true)]
async fn a_callback_with_another_state_sends_no_code() {
    let scene = scene();
    let (pending, _) = scene.provider.consent("code=c1");
    let (_, callback) = scene.provider.consent("code=c1");
    let completed = scene
        .tenants
        .complete_authorization(&named("acme"), &scene.provider.oauth, &pending, &callback)
        .await;
    assert_eq!(completed.unwrap_err().kind(), ErrorKind::Callback);
    assert_eq!(scene.provider.requests(), 0);
    assert_eq!(scene.tenants.resident_count(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_refused_code_leaves_no_tenant_resident() {
    let scene = scene();
    let (pending, callback) = scene.provider.consent("code=c2");
    let completed = scene
        .tenants
        .complete_authorization(&named("acme"), &scene.provider.oauth, &pending, &callback)
        .await;
    assert!(completed.unwrap_err().is_invalid_grant());
    assert_eq!(scene.tenants.resident_count(), 0);
}

#[tokio::test(start_paused = true)]
async fn p14_a_store_that_cannot_be_read_keeps_the_code_unused() {
    let scene = scene();
    scene.store.fail_loads(true);
    let (pending, callback) = scene.provider.consent("code=c1");
    let completed = scene
        .tenants
        .complete_authorization(&named("acme"), &scene.provider.oauth, &pending, &callback)
        .await;
    assert_eq!(completed.unwrap_err().kind(), ErrorKind::Store);
    assert_eq!(scene.provider.requests(), 0);
}

#[tokio::test(start_paused = true)]
async fn p13_a_shutdown_waits_for_the_tokens_of_a_dropped_caller() {
    let scene = scene();
    let acme = named("acme");
    scene.provider.hold_responses();
    let (pending, callback) = scene.provider.consent("code=c1");
    let mut call = task::spawn(scene.tenants.complete_authorization(
        &acme,
        &scene.provider.oauth,
        &pending,
        &callback,
    ));
    assert_pending!(call.poll());
    while scene.provider.requests() == 0 {
        tokio::task::yield_now().await;
    }
    drop(call);
    let mut shutdown = task::spawn(scene.tenants.shutdown(Duration::from_secs(60)));
    assert_pending!(shutdown.poll());
    scene.provider.release_responses();
    shutdown.await.unwrap();
    assert!(scene.store.memory.load(&acme).await.unwrap().is_some());
}
