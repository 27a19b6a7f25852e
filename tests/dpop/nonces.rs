//! Servers that demand nonces.

use tower_oauth2_client::{
    ErrorKind, OAuthErrorCode,
    sandbox::{Dpop, DpopNonce},
    store::MemoryStore,
};

use crate::partner::{Partner, sandbox};

const fn at_both(nonce: DpopNonce) -> Dpop {
    // `Required` can get further fields.
    match nonce {
        DpopNonce::Fixed => Dpop::Required {
            token_endpoint: DpopNonce::Fixed,
            api: DpopNonce::Fixed,
        },
        _ => Dpop::Required {
            token_endpoint: DpopNonce::Rotating,
            api: DpopNonce::Rotating,
        },
    }
}

#[tokio::test]
async fn nonce_is_learnt_from_each_response() {
    for nonce in [DpopNonce::Fixed, DpopNonce::Rotating] {
        let sandbox = sandbox(at_both(nonce)).await;
        let partner = Partner::new(&sandbox, MemoryStore::new(), true);
        partner.connect(&sandbox).await;
        assert_eq!(sandbox.counters().proofs_refused, 1, "without a nonce");
        for _ in 0..3 {
            assert_eq!(partner.call().await, 200);
        }
        assert_eq!(sandbox.counters().proofs_refused, 2, "without a nonce");
        partner.tokens.refresh_now().await.unwrap();
        sandbox.revoke_access_tokens();
        assert_eq!(partner.call().await, 200, "a 401, a refresh, and the retry");
        let counters = sandbox.counters();
        assert_eq!(counters.proofs_refused, 2, "{:?}", sandbox.events());
        assert_eq!(counters.unauthorized, 1);
        assert_eq!(counters.refreshes, 2);
        assert_eq!(counters.token_requests_refused, 0);
    }
}

#[tokio::test]
async fn p07_nonce_retry_is_apart_from_the_retry_after_a_401() {
    let sandbox = sandbox(Dpop::REQUIRED).await;
    let partner = Partner::new(&sandbox, MemoryStore::new(), true);
    partner.connect(&sandbox).await;
    assert_eq!(partner.call().await, 200);
    sandbox.change_behavior(|behavior| behavior.dpop = at_both(DpopNonce::Fixed));
    sandbox.revoke_access_tokens();
    assert_eq!(partner.call().await, 200);
    let counters = sandbox.counters();
    // One at the API, and one at the token endpoint.
    assert_eq!(counters.proofs_refused, 2);
    assert_eq!((counters.unauthorized, counters.refreshes), (1, 1));
}

#[tokio::test]
async fn many_requests_at_once_have_nonces() {
    let sandbox = sandbox(at_both(DpopNonce::Fixed)).await;
    let partner = Partner::new(&sandbox, MemoryStore::new(), true);
    partner.connect(&sandbox).await;
    let calls = (0..50).map(|_| partner.call());
    for status in futures_util::future::join_all(calls).await {
        assert_eq!(status, 200);
    }
}

#[tokio::test]
async fn nonce_loop_ends_after_one_retry() {
    let looping = Dpop::Required {
        token_endpoint: DpopNonce::Loop,
        api: DpopNonce::Loop,
    };
    let sandbox = sandbox(Dpop::REQUIRED).await;
    let partner = Partner::new(&sandbox, MemoryStore::new(), true);
    partner.connect(&sandbox).await;
    assert_eq!(partner.call().await, 200);
    sandbox.change_behavior(|behavior| behavior.dpop = looping);

    let before = sandbox.counters();
    assert_eq!(partner.call().await, 401);
    let after = sandbox.counters();
    assert_eq!(after.proofs_refused - before.proofs_refused, 2);
    assert_eq!(after.requests - before.requests, 2, "no token request");

    let error = partner.tokens.refresh_now().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert_eq!(error.oauth_code(), Some(OAuthErrorCode::UseDpopNonce));
    assert!(error.to_string().contains("nonce"), "{error}");
    assert!(!error.is_response_lost(), "the refresh token is unused");
    let last = sandbox.counters();
    assert_eq!(last.requests - after.requests, 2);

    // The grant lives on.
    sandbox.change_behavior(|behavior| behavior.dpop = Dpop::REQUIRED);
    assert_eq!(partner.call().await, 200);

    sandbox.change_behavior(|behavior| behavior.dpop = looping);
    let (url, pending) = partner.oauth.authorization_url().unwrap();
    let callback = sandbox.consent(&url).await.unwrap();
    let code = pending.accept(&callback).unwrap();
    let error = partner.oauth.exchange_code(code).await.unwrap_err();
    assert_eq!(error.oauth_code(), Some(OAuthErrorCode::UseDpopNonce));
}
