//! Two replicas over one directory and real HTTP, at a provider that ends the old access token with
//! each rotation.

use std::time::Duration;

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http_body_util::Full;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::runtime::Builder;
use tower_oauth2_client::{
    ErrorKind, cache::TokenCache, oauth::OAuthClient, provider, sandbox::Sandbox, store::FileStore,
    token::TenantId,
};

#[path = "support/mod.rs"]
mod support;

use support::{DAY, ManualClock, Source};

type Http = Client<HttpConnector, Full<Bytes>>;

/// Waits until the replica knows of what another one has saved.
async fn until(is_known: impl Fn() -> bool) {
    let known = async {
        while !is_known() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), known)
        .await
        .expect("the save is announced");
}

#[tokio::test]
async fn p06_replica_uses_the_token_that_another_one_saved_and_stops_after_its_end() {
    let sandbox = Sandbox::builder()
        .behavior(|behavior| behavior.rotation_revokes_access_token = true)
        .start()
        .await
        .unwrap();
    let http: Http = Client::builder(TokioExecutor::new()).build_http();
    let provider = provider::justworks().on_origin(&sandbox.url()).unwrap();
    let oauth = OAuthClient::builder(provider, sandbox.client_id())
        .client_secret(sandbox.client_secret())
        .redirect_uri(sandbox.redirect_uri())
        .build(http.clone())
        .unwrap();
    let directory = tempfile::tempdir().unwrap();
    let replica = || {
        let store = FileStore::open(directory.path()).unwrap();
        let tokens = TokenCache::builder(oauth.clone()).store(store);
        tokens.build().unwrap()
    };
    let (one, two) = (replica(), replica());
    support::connect(&sandbox, &oauth, &one).await;
    two.token().await.unwrap();
    let rotated = one.refresh_now().await.unwrap();
    until(|| two.status().generation == Some(rotated.generation())).await;
    // Without a layer, and so without a retry: the first response has to be good.
    let request = http::Request::get(format!("{}/v1/company", sandbox.url()))
        .header(AUTHORIZATION, two.token().await.unwrap().header_value())
        .body(Full::new(Bytes::new()))
        .unwrap();
    assert_ne!(http.request(request).await.unwrap().status(), 401);
    one.revoke().await.unwrap();
    until(|| two.status().generation > Some(rotated.generation())).await;
    let error = two.token().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Revoked);
    support::connect(&sandbox, &oauth, &one).await;
    let new = one.status().generation;
    until(|| two.status().generation == new).await;
    two.token().await.unwrap();
    assert_eq!(sandbox.counters().refreshes, 1);
}

#[test]
fn p12_tenants_that_are_built_outside_of_their_runtime_follow_the_store() {
    let own = Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let directory = tempfile::tempdir().unwrap();
    let source = Source::new(&ManualClock::new());
    let replica = || {
        let store = FileStore::open(directory.path()).unwrap();
        let tenants = source.tenants().runtime(own.handle().clone());
        tenants.store(store).build().unwrap()
    };
    let (one, two) = (replica(), replica());
    let acme = TenantId::new("acme").unwrap();
    own.block_on(async {
        one.set_tokens(&acme, source.issue(DAY)).await.unwrap();
        let held = two.cache(&acme).await.unwrap();
        let replaced = source.issue(DAY);
        one.set_tokens(&acme, replaced).await.unwrap();
        let newest = one.cache(&acme).await.unwrap().status().generation;
        until(|| held.status().generation == newest).await;
    });
}
