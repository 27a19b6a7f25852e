//! Callbacks that panic, or call the cache (scenario 29).

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use http::Request;
use tower::Service;
use tower_oauth2_client::{
    ErrorKind,
    cache::TokenCache,
    clock::Clock,
    sandbox::Sandbox,
    telemetry::GrantListener,
    token::{Generation, GrantState, ReauthorizationReason, TenantId},
};

use crate::support::{
    Body, DAY, HOUR, MINUTE, ManualClock, Partner, Store, connected_with, oauth_over, pass,
};

/// A partner whose HTTP client panics at the next request, if the flag is set.
async fn with_a_client_that_panics() -> (Partner, Arc<AtomicBool>) {
    let clock = ManualClock::new();
    let sandbox = Sandbox::builder().clock_starts_at(clock.wall()).build();
    let panics = Arc::new(AtomicBool::new(false));
    let http = tower::service_fn({
        let (mut service, panics) = (sandbox.service(), panics.clone());
        move |request: Request<Body>| {
            let panics = panics.swap(false, Ordering::SeqCst);
            let response = service.call(request);
            async move {
                assert!(!panics, "scripted panic");
                response.await
            }
        }
    });
    let oauth = oauth_over(&sandbox, &clock, http);
    let partner = Partner::of(sandbox, clock, oauth, Store::default(), |cache| cache);
    partner.connect().await;
    (partner, panics)
}

#[tokio::test(start_paused = true)]
async fn s29_refresh_that_panics_is_replayed_for_all_waiters() {
    let (partner, panics) = with_a_client_that_panics().await;
    pass(DAY + HOUR).await;
    panics.store(true, Ordering::SeqCst);
    let callers: Vec<_> = (0..100).map(|_| partner.calling()).collect();
    for caller in callers {
        caller.await.unwrap().unwrap();
    }
    partner.works().await;
    assert_eq!(partner.refreshes(), 1);
    assert_eq!(partner.sandbox.counters().refresh_tokens_reused, 0);
}

#[tokio::test(start_paused = true)]
async fn s29_refresh_that_panics_does_not_affect_a_valid_token() {
    let (partner, panics) = with_a_client_that_panics().await;
    pass(HOUR).await;
    panics.store(true, Ordering::SeqCst);
    let refreshing = partner.refreshing();
    partner.works().await;
    refreshing.await.unwrap().unwrap();
    assert!(matches!(partner.stored().await, GrantState::Active(_)));
}

struct Panics;

impl GrantListener for Panics {
    fn refreshed(&self, _: &TenantId, _: Generation) {
        panic!("scripted panic");
    }

    fn reauthorization_required(&self, _: &TenantId, _: ReauthorizationReason) {
        panic!("scripted panic");
    }
}

#[tokio::test(start_paused = true)]
async fn s29_listener_that_panics_changes_nothing() {
    let partner = connected_with(|sandbox| sandbox, |cache| cache.listener(Panics)).await;
    for _ in 0..3 {
        pass(DAY).await;
        partner.works().await;
    }
    assert!(partner.refreshes() >= 2);
    partner.sandbox.revoke_grants();
    let error = partner.refresh().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ReauthorizationRequired);
    assert!(partner.reason().is_some());
    partner.connect().await;
    partner.works().await;
}

/// A listener that calls its cache in every possible way.
#[derive(Clone, Default)]
struct Meddles {
    cache: Arc<OnceLock<TokenCache>>,
    came: Arc<AtomicU64>,
}

impl Meddles {
    fn call_everything(&self) {
        let tokens = self.cache.get().unwrap().clone();
        assert!(tokens.status().generation.is_some());
        tokens.invalidate();
        let came = self.came.clone();
        tokio::spawn(async move {
            let _ = tokens.token().await;
            came.fetch_add(1, Ordering::SeqCst);
        });
    }
}

impl GrantListener for Meddles {
    fn refreshed(&self, _: &TenantId, generation: Generation) {
        // Otherwise each refresh would cause another one.
        if generation.as_u64() == 2 {
            self.call_everything();
        }
    }

    fn reauthorization_required(&self, _: &TenantId, _: ReauthorizationReason) {
        self.call_everything();
    }
}

#[tokio::test(start_paused = true)]
async fn s29_listener_may_call_the_cache() {
    let meddles = Meddles::default();
    let listener = meddles.clone();
    let partner = connected_with(|sandbox| sandbox, |cache| cache.listener(listener)).await;
    assert!(meddles.cache.set(partner.tokens.clone()).is_ok());
    pass(HOUR).await;
    partner.refresh().await.unwrap();
    pass(MINUTE).await;
    partner.works().await;
    assert_eq!(meddles.came.load(Ordering::SeqCst), 1);
    assert_eq!(
        partner.refreshes(),
        2,
        "its own, because it had invalidated the token"
    );
    partner.sandbox.revoke_grants();
    partner.refresh().await.unwrap_err();
    pass(MINUTE).await;
    assert_eq!(meddles.came.load(Ordering::SeqCst), 2);
}
