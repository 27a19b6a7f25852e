//! The whole life of a grant whose tokens are bound to a key.

use std::time::Duration;

use http::{Method, StatusCode, header::AUTHORIZATION};
use tower::{Layer, ServiceExt};
use tower_oauth2_client::{
    OAuthErrorCode,
    bearer::BearerAuthLayer,
    cache::TokenCache,
    clock::SystemClock,
    sandbox::{ClientAuthentication, Dpop, DpopNonce, Sandbox},
    store::{EncryptedStore, EncryptionKey, EncryptionKeys, FileStore, MemoryStore, TokenStore},
    tenants::Tenants,
    token::{DpopKey, TenantId},
};

use crate::{
    partner::{Body, Partner, client, http, provider, sandbox},
    support,
};

async fn key(store: &impl TokenStore) -> Option<DpopKey> {
    let grant = store
        .load(&TenantId::new("default").unwrap())
        .await
        .unwrap()
        .unwrap();
    grant.tokens().unwrap().dpop_key().cloned()
}

#[tokio::test]
async fn grant_has_one_key_through_refreshes_and_a_401() {
    for authentication in [ClientAuthentication::Body, ClientAuthentication::None] {
        let sandbox = Sandbox::builder()
            .behavior(|behavior| {
                behavior.dpop = Dpop::REQUIRED;
                behavior.client_authentication = authentication;
            })
            .start()
            .await
            .unwrap();
        let store = MemoryStore::new();
        let partner = Partner::new(&sandbox, store.clone(), true);
        partner.connect(&sandbox).await;
        let first = key(&store).await.expect("the code exchange creates it");
        assert_eq!(partner.call().await, 200);
        assert_eq!(partner.call().await, 200, "with another proof");

        partner.tokens.refresh_now().await.unwrap();
        assert_eq!(partner.call().await, 200);
        sandbox.revoke_access_tokens();
        assert_eq!(partner.call().await, 200, "refreshed and retried");
        assert_eq!(key(&store).await.as_ref(), Some(&first));

        let counters = sandbox.counters();
        assert_eq!(counters.refreshes, 2);
        assert_eq!(counters.unauthorized, 1);
        assert_eq!(counters.proofs_refused, 0, "{:?}", sandbox.events());
        assert_eq!(counters.token_requests_refused, 0);

        partner.connect(&sandbox).await;
        assert_ne!(key(&store).await, Some(first), "another consent");
        assert_eq!(partner.call().await, 200);

        // A revocation needs no proof.
        partner.tokens.revoke().await.unwrap();
        assert!(sandbox.counters().revocations > 0);
    }
}

#[tokio::test]
async fn restart_loads_the_key() {
    let directory = tempfile::tempdir().unwrap();
    let keys = EncryptionKeys::new(EncryptionKey::generate("k1").unwrap());
    let plain = || FileStore::open(directory.path().join("plain")).unwrap();
    let encrypted = || {
        let inner = FileStore::open(directory.path().join("encrypted")).unwrap();
        EncryptedStore::new(inner, keys.clone(), "the-client").unwrap()
    };
    restart(plain).await;
    restart(encrypted).await;

    let key = key(&encrypted()).await.unwrap();
    let inner = FileStore::open(directory.path().join("encrypted")).unwrap();
    let row = inner
        .load(&TenantId::new("default").unwrap())
        .await
        .unwrap()
        .unwrap();
    let sealed = row.tokens().unwrap().dpop_key().unwrap();
    assert!(sealed.expose().starts_with("tow1.k1."));
    let bytes = row.to_bytes(&TenantId::new("default").unwrap());
    let text = String::from_utf8_lossy(&bytes);
    assert!(!text.contains(&key.expose()[60..100]), "encrypted");
}

async fn restart<S: TokenStore>(store: impl Fn() -> S) {
    let sandbox = sandbox(Dpop::REQUIRED).await;
    let partner = Partner::new(&sandbox, store(), true);
    partner.connect(&sandbox).await;
    assert_eq!(partner.call().await, 200);
    partner
        .tokens
        .shutdown(Duration::from_secs(5))
        .await
        .unwrap();
    drop(partner);

    let partner = Partner::new(&sandbox, store(), true);
    assert_eq!(partner.call().await, 200);
    partner.tokens.refresh_now().await.unwrap();
    assert_eq!(partner.call().await, 200);
    // Another replica keeps the proofs of the grant, also if its provider's data are older.
    let other = Partner::new(&sandbox, store(), false);
    assert_eq!(other.call().await, 200);
    other.tokens.refresh_now().await.unwrap();
    assert_eq!(other.call().await, 200);
    assert_eq!(sandbox.counters().proofs_refused, 0);
    other.tokens.shutdown(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test]
async fn p11_grant_from_before_stays_a_bearer_grant_until_its_next_consent() {
    let sandbox = sandbox(Dpop::Off).await;
    let store = MemoryStore::new();
    let before = Partner::new(&sandbox, store.clone(), false);
    before.connect(&sandbox).await;
    assert_eq!(before.call().await, 200);
    assert_eq!(key(&store).await, None);

    let partner = Partner::new(&sandbox, store.clone(), true);
    partner.tokens.refresh_now().await.unwrap();
    assert_eq!(partner.call().await, 200, "with a bearer token");
    assert_eq!(key(&store).await, None);
    assert_eq!(sandbox.counters().refreshes, 1);

    sandbox.change_behavior(|behavior| behavior.dpop = Dpop::REQUIRED);
    let error = partner.tokens.refresh_now().await.unwrap_err();
    assert_eq!(error.oauth_code(), Some(OAuthErrorCode::InvalidDpopProof));
    partner.connect(&sandbox).await;
    assert!(key(&store).await.is_some());
    assert_eq!(partner.call().await, 200);
}

#[tokio::test]
async fn tenants_have_keys_of_their_own_and_share_nonces() {
    let sandbox = sandbox(Dpop::Required {
        token_endpoint: DpopNonce::Fixed,
        api: DpopNonce::Fixed,
    })
    .await;
    let oauth = client(&sandbox, provider(&sandbox, true), SystemClock);
    let store = MemoryStore::new();
    let tenants = Tenants::builder(oauth.clone()).store(store.clone());
    let tenants = tenants.clock(SystemClock).build().unwrap();
    let names = ["a", "b", "c"].map(|name| TenantId::new(name).unwrap());
    for name in &names {
        let (url, pending) = oauth.authorization_url().unwrap();
        let callback = sandbox.consent(&url).await.unwrap();
        tenants
            .complete_authorization(name, &oauth, &pending, &callback)
            .await
            .unwrap();
    }
    let api = BearerAuthLayer::<Body>::new(tenants).layer(http());
    for name in names.iter().chain(&names) {
        let mut request = http::Request::get(format!("{}/v1/company", sandbox.url()))
            .body(Body::default())
            .unwrap();
        request.extensions_mut().insert(name.clone());
        let response = api.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), 200);
    }
    // One at each server, before its nonce was known.
    assert_eq!(sandbox.counters().proofs_refused, 2);
    let mut keys = Vec::new();
    for name in &names {
        let grant = store.load(name).await.unwrap().unwrap();
        keys.push(grant.tokens().unwrap().dpop_key().unwrap().clone());
    }
    assert!(keys[0] != keys[1] && keys[1] != keys[2] && keys[0] != keys[2]);
}

#[tokio::test]
async fn program_sends_a_proof_by_itself() {
    let sandbox = sandbox(Dpop::Required {
        token_endpoint: DpopNonce::None,
        api: DpopNonce::Rotating,
    })
    .await;
    let partner = Partner::new(&sandbox, MemoryStore::new(), true);
    partner.connect(&sandbox).await;
    let token = partner.tokens.token().await.unwrap();
    assert_eq!(token.header_name(), AUTHORIZATION);
    let mut statuses = Vec::new();
    for _ in 0..3 {
        let mut request = partner.request(Method::GET, "/v1/company?x=y");
        let proof = token.dpop_proof(request.method(), request.uri()).unwrap();
        let proof = proof.expect("the token is bound to a key");
        assert!(proof.is_sensitive());
        let headers = request.headers_mut();
        headers.insert(AUTHORIZATION, token.header_value().clone());
        headers.insert("dpop", proof);
        let uri = request.uri().clone();
        let response = http().request(request).await.unwrap();
        assert!(token.learn_dpop_nonce(&uri, response.headers()));
        statuses.push(response.status());
    }
    assert_eq!(statuses, [401, 200, 200]);
    let relative = token.dpop_proof(&Method::GET, &"/a".parse().unwrap());
    assert!(relative.is_err());
}

#[tokio::test]
async fn bearer_token_has_no_proof() {
    let sandbox = sandbox(Dpop::Off).await;
    let partner = Partner::new(&sandbox, MemoryStore::new(), false);
    partner.connect(&sandbox).await;
    let token = partner.tokens.token().await.unwrap();
    let proof = token.dpop_proof(&Method::GET, &"https://a.example/".parse().unwrap());
    assert_eq!(proof.unwrap(), None);
    // The header is a matter of the program then.
    let mut request = partner.request(Method::GET, "/v1/company");
    request.headers_mut().insert("dpop", "own".parse().unwrap());
    assert_eq!(partner.send(request).await, StatusCode::OK);
}

#[tokio::test]
async fn machine_with_a_wrong_clock_is_reported_and_loses_nothing() {
    let sandbox = sandbox(Dpop::REQUIRED).await;
    let store = MemoryStore::new();
    let right = Partner::new(&sandbox, store.clone(), true);
    right.connect(&sandbox).await;
    let requests = sandbox.counters().requests;

    let clock = support::ManualClock::new();
    let oauth = client(&sandbox, provider(&sandbox, true), clock);
    let (url, pending) = oauth.authorization_url().unwrap();
    let callback = sandbox.consent(&url).await.unwrap();
    let code = pending.accept(&callback).unwrap();
    let error = oauth.exchange_code(code).await.unwrap_err();
    assert_eq!(error.oauth_code().unwrap().as_str(), "invalid_dpop_proof");
    assert!(!error.is_response_lost() && !error.is_invalid_grant());
    assert!(error.to_string().contains("clock"), "{error}");

    // The cache of a replica with this clock: the API rejects the proof, not the token.
    let wrong = TokenCache::builder(right.oauth.clone()).store(store.clone());
    let wrong = wrong.clock(Hour).build().unwrap();
    let api = BearerAuthLayer::<Body>::new(wrong).layer(http());
    let request = right.request(Method::GET, "/v1/company");
    let response = api.oneshot(request).await.unwrap();
    assert_eq!(response.status(), 401);
    assert_eq!(sandbox.counters().refreshes, 0, "not refreshed");
    assert!(sandbox.counters().requests <= requests + 4, "not retried");
    assert_eq!(right.call().await, 200);
}

/// A clock that is an hour fast.
#[derive(Clone, Copy, Debug)]
struct Hour;

impl tower_oauth2_client::clock::Clock for Hour {
    fn monotonic(&self) -> std::time::Instant {
        tower_oauth2_client::clock::Clock::monotonic(&SystemClock)
    }

    fn wall(&self) -> std::time::SystemTime {
        tower_oauth2_client::clock::Clock::wall(&SystemClock) + Duration::from_secs(3_600)
    }
}
