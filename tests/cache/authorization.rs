//! The first token set of a grant, from the callback to the store.

use std::future::Future;

use tokio::time::{Instant, sleep};
use tokio_test::{assert_pending, task};
use tower_oauth2_client::{
    Error, ErrorKind, OAuthErrorCode,
    cache::{TokenCache, TokenState},
};

use crate::{
    code_exchange::CodeExchange,
    support::{ManualClock, SECOND, Source, Store, header},
};

struct Scene {
    provider: CodeExchange,
    store: Store,
    tokens: TokenCache,
}

fn scene() -> Scene {
    let clock = ManualClock::new();
    let store = Store::default();
    let tokens = Source::new(&clock).cache().store(store.clone()).build();
    Scene {
        provider: CodeExchange::new(clock),
        tokens: tokens.unwrap(),
        store,
    }
}

impl Scene {
    async fn complete(&self, parameters: &str) -> Result<(), Error> {
        let (pending, callback) = self.provider.consent(parameters);
        self.tokens
            .complete_authorization(&self.provider.oauth, &pending, &callback)
            .await
    }

    /// Completes an authorization, and drops its caller once the code was sent.
    async fn complete_and_drop(&self) {
        let (pending, callback) = self.provider.consent("code=c1");
        let mut call = task::spawn(self.tokens.complete_authorization(
            &self.provider.oauth,
            &pending,
            &callback,
        ));
        assert_pending!(call.poll());
        while self.provider.requests() == 0 {
            tokio::task::yield_now().await;
        }
        assert_pending!(call.poll());
    }

    async fn stored(&self) -> Option<String> {
        let grant = self.store.stored().await?;
        Some(grant.tokens()?.access_token().expose().to_owned())
    }
}

/// Waits, in virtual time, for the effect of another task.
async fn eventually<F: Future<Output = bool>>(condition: impl Fn() -> F) {
    for _ in 0..100 {
        if condition().await {
            return;
        }
        sleep(SECOND).await;
    }
    panic!("the condition was not met");
}

#[tokio::test(start_paused = true)]
async fn callback_with_a_code_saves_and_uses_the_tokens() {
    let scene = scene();
    scene.complete("code=c1").await.unwrap();
    assert_eq!(scene.stored().await.unwrap(), "first");
    assert_eq!(header(&scene.tokens).await, "Bearer first");
    assert_eq!(scene.provider.requests(), 1);
}

#[tokio::test(start_paused = true)]
async fn callback_with_another_state_sends_no_code() {
    let scene = scene();
    let (pending, _) = scene.provider.consent("code=c1");
    let (_, callback) = scene.provider.consent("code=c1");
    let completed = scene
        .tokens
        .complete_authorization(&scene.provider.oauth, &pending, &callback)
        .await;
    assert_eq!(completed.unwrap_err().kind(), ErrorKind::Callback);
    assert_eq!(scene.provider.requests(), 0);
    assert!(scene.store.stored().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn denied_consent_leaves_the_grant_unchanged() {
    let scene = scene();
    scene.complete("code=c1").await.unwrap();
    let denied = scene.complete("error=access_denied").await.unwrap_err();
    assert_eq!(denied.kind(), ErrorKind::Callback);
    assert_eq!(denied.oauth_code(), Some(OAuthErrorCode::AccessDenied));
    assert_eq!(scene.provider.requests(), 1);
    assert_eq!(scene.tokens.status().state, TokenState::Fresh);
}

#[tokio::test(start_paused = true)]
async fn refused_code_is_an_error_and_is_not_sent_again() {
    let scene = scene();
    let refused = scene.complete("code=c2").await.unwrap_err();
    assert!(refused.is_invalid_grant());
    assert_eq!(scene.provider.requests(), 1);
    assert!(scene.store.stored().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn p04_caller_dropped_after_the_code_was_sent_loses_no_tokens() {
    let scene = scene();
    scene.provider.hold_responses();
    scene.complete_and_drop().await;
    assert!(scene.store.stored().await.is_none());
    scene.provider.release_responses();
    eventually(async || scene.stored().await.is_some()).await;
    assert_eq!(header(&scene.tokens).await, "Bearer first");
    assert_eq!(scene.provider.requests(), 1);
}

#[tokio::test(start_paused = true)]
async fn p13_shutdown_waits_for_the_tokens_of_a_sent_code() {
    let scene = scene();
    scene.provider.hold_responses();
    scene.complete_and_drop().await;
    let mut shutdown = task::spawn(scene.tokens.shutdown(60 * SECOND));
    assert_pending!(shutdown.poll());
    scene.provider.release_responses();
    shutdown.await.unwrap();
    assert_eq!(scene.stored().await.unwrap(), "first");
    // From here on, no code is sent.
    let late = scene.complete("code=c1").await.unwrap_err();
    assert_eq!(late.kind(), ErrorKind::Interrupted);
    assert_eq!(scene.provider.requests(), 1);
}

#[tokio::test(start_paused = true)]
async fn p14_failing_store_is_retried_with_the_same_tokens() {
    let scene = scene();
    scene.store.fail_saves(true);
    let (store, saves) = (scene.store.clone(), scene.store.saves());
    tokio::spawn(async move {
        sleep(20 * SECOND).await;
        store.fail_saves(false);
    });
    scene.complete("code=c1").await.unwrap();
    assert!(scene.store.saves() > saves + 10);
    assert_eq!(scene.stored().await.unwrap(), "first");
    assert_eq!(scene.provider.requests(), 1);
}

#[tokio::test(start_paused = true)]
async fn p14_store_that_keeps_failing_is_an_error_after_30_seconds() {
    let scene = scene();
    scene.store.fail_saves(true);
    let started = Instant::now();
    let failed = scene.complete("code=c1").await.unwrap_err();
    assert_eq!(failed.kind(), ErrorKind::Store);
    assert!((30 * SECOND..32 * SECOND).contains(&started.elapsed()));
    assert!(scene.store.stored().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn p11_code_exchange_waits_for_its_response_for_60_seconds() {
    let scene = scene();
    scene.provider.hold_responses();
    let started = Instant::now();
    let late = scene.complete("code=c1").await.unwrap_err();
    assert_eq!(late.kind(), ErrorKind::Unavailable);
    assert_eq!(started.elapsed(), 60 * SECOND);
}
