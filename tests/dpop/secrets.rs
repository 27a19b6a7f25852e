//! The key and the proofs stand in no log, error or debug output.

use tower_oauth2_client::{
    sandbox::{Dpop, DpopNonce},
    store::{MemoryStore, TokenStore},
    token::TenantId,
};

use crate::{
    partner::{Partner, sandbox},
    support::log::Log,
};

#[tokio::test]
async fn p21_key_and_proofs_are_not_logged() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(log.clone())
        .with_max_level(tracing::Level::TRACE)
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);

    let sandbox = sandbox(Dpop::Required {
        token_endpoint: DpopNonce::Fixed,
        api: DpopNonce::Rotating,
    })
    .await;
    let store = MemoryStore::new();
    let partner = Partner::new(&sandbox, store.clone(), true);
    partner.connect(&sandbox).await;
    assert_eq!(partner.call().await, 200);
    sandbox.revoke_access_tokens();
    assert_eq!(partner.call().await, 200);
    sandbox.change_behavior(|behavior| {
        behavior.dpop = Dpop::Required {
            token_endpoint: DpopNonce::Loop,
            api: DpopNonce::Loop,
        }
    });
    assert_eq!(partner.call().await, 401);
    let error = partner.tokens.refresh_now().await.unwrap_err();
    let token = partner.tokens.token().await.unwrap();
    let uri = "https://a.example/".parse().unwrap();
    let proof = token.dpop_proof(&http::Method::GET, &uri).unwrap().unwrap();

    let grant = store
        .load(&TenantId::new("default").unwrap())
        .await
        .unwrap()
        .unwrap();
    let key = grant
        .tokens()
        .unwrap()
        .dpop_key()
        .unwrap()
        .expose()
        .to_owned();
    let shown = format!(
        "{error} {error:?} {token:?} {proof:?} {grant:?} {:?} {:?} {:?} {:?}",
        partner.tokens,
        partner.api,
        partner.oauth,
        sandbox.events(),
    );
    let logged = log.text();
    assert!(logged.contains("refresh"), "something is logged");
    for text in [shown, logged] {
        // Parts of the key that are not the same in each key.
        for part in key.as_bytes().windows(16).skip(48) {
            let part = str::from_utf8(part).unwrap();
            assert!(!text.contains(part), "{part}");
        }
        assert!(!text.contains("eyJ0eXAiOiJkcG9wK2p3dCI"), "a proof");
    }
}
