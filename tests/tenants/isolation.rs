//! P23: no tenant gets another one's token, whatever their names and tokens are.

use tokio::task::JoinSet;
use tower_oauth2_client::{
    bearer::BearerAuthLayer,
    store::FileStore,
    token::{AccessToken, RefreshToken, TenantId, TokenSet},
};

use crate::support::{
    Api, DAY, MINUTE, ManualClock, Source, Store, named, pass, request, tenants_over,
};
use tower_oauth2_client::clock::Clock;

/// Names that could be confused: by case, Unicode, separators or prefixes, or in a path, a key or a
/// pattern.
const LOOK_ALIKES: [&str; 28] = [
    "acme",
    "Acme",
    "ACME",
    "acme ",
    " acme",
    "acme/",
    "acme/1",
    "acme:1",
    "acme1",
    "acme.1",
    "acme-1",
    "acme_1",
    "acme%2F1",
    "acme\\1",
    "{acme}",
    "acme*",
    "acme?",
    "../acme",
    "acme\u{200b}",
    "аcme",        // Cyrillic
    "ａｃｍｅ",    // full width
    "caf\u{e9}",   // composed
    "cafe\u{301}", // decomposed
    "stra\u{df}e",
    "strasse",
    "\u{130}stanbul",
    "istanbul",
    "tower-oauth2-client",
];

#[tokio::test(start_paused = true)]
async fn p23_look_alike_names_are_different_tenants() {
    let clock = ManualClock::new();
    let folder = tempfile::tempdir().unwrap();
    let source = Source::new(&clock);
    let file = FileStore::open(folder.path().join("grants")).unwrap();
    let tenants = tenants_over(&source, file.clone()).build().unwrap();
    for (number, name) in LOOK_ALIKES.iter().enumerate() {
        let token = AccessToken::new(format!("token-{number}")).unwrap();
        let tokens = TokenSet::new(token, DAY, clock.wall());
        tenants.set_tokens(&named(name), tokens).await.unwrap();
    }
    // Resident tenants, and tenants that are loaded.
    for tenants in [tenants, tenants_over(&source, file).build().unwrap()] {
        let (layer, api) = (BearerAuthLayer::new(tenants.clone()), Api::default());
        for (number, name) in LOOK_ALIKES.iter().enumerate() {
            let token = api.call(&layer, request(Some(&named(name)))).await;
            assert_eq!(token, Ok(format!("Bearer token-{number}")), "{name:?}");
        }
        assert_eq!(tenants.resident_count(), LOOK_ALIKES.len());
    }
    let (layer, api) = (
        BearerAuthLayer::new(tenants_over(&source, Store::default()).build().unwrap()),
        Api::default(),
    );
    assert!(
        api.call(&layer, request(Some(&named("acme"))))
            .await
            .is_err()
    );
}

#[tokio::test(start_paused = true)]
async fn p23_equal_tokens_of_two_tenants_are_two_grants() {
    let clock = ManualClock::new();
    let (source, store) = (Source::new(&clock), Store::default());
    let tenants = tenants_over(&source, store).build().unwrap();
    let same = || {
        TokenSet::new(AccessToken::new("same").unwrap(), DAY, clock.wall())
            .with_refresh_token(RefreshToken::new("same"), clock.wall())
    };
    let (acme, initech) = (named("acme"), named("initech"));
    tenants.set_tokens(&acme, same()).await.unwrap();
    tenants.set_tokens(&initech, same()).await.unwrap();
    let cache = tenants.cache(&acme).await.unwrap();
    assert_eq!(
        cache.refresh_now().await.unwrap().header_value(),
        "Bearer a1"
    );
    assert_eq!(
        tenants.token(&initech).await.unwrap().header_value(),
        "Bearer same"
    );
    tenants.revoke(&acme).await.unwrap();
    assert!(tenants.token(&acme).await.is_err());
    assert_eq!(
        tenants.token(&initech).await.unwrap().header_value(),
        "Bearer same"
    );
    let cache = tenants.cache(&initech).await.unwrap();
    assert_eq!(
        cache.refresh_now().await.unwrap().header_value(),
        "Bearer a2"
    );
}

/// Many threads use all tenants with a small capacity, so loads, evictions and refreshes overlap.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn p23_eviction_under_load_never_mixes_up_tenants() {
    const TENANTS: u64 = 200;
    let clock = ManualClock::new();
    let (source, store) = (Source::new(&clock), Store::default());
    let tenants = tenants_over(&source, store.clone())
        .capacity(50)
        .build()
        .unwrap();
    for number in 0..TENANTS {
        let tenant = TenantId::new(number.to_string()).unwrap();
        let token = AccessToken::new(format!("token-{number}")).unwrap();
        let tokens = TokenSet::new(token, DAY, clock.wall());
        tenants.set_tokens(&tenant, tokens).await.unwrap();
    }
    let layer = BearerAuthLayer::new(tenants);
    let mut callers = JoinSet::new();
    for caller in 0..8 {
        let layer = layer.clone();
        callers.spawn(async move {
            let api = Api::default();
            for call in 0..2_000_u64 {
                let number = (call * 7 + caller * 31 + call / 13) % TENANTS;
                let tenant = TenantId::new(number.to_string()).unwrap();
                let token = api.call(&layer, request(Some(&tenant))).await;
                assert_eq!(token, Ok(format!("Bearer token-{number}")));
            }
        });
    }
    callers.join_all().await;
}

#[tokio::test(start_paused = true)]
async fn p23_a_401_refreshes_only_its_own_tenant() {
    let clock = ManualClock::new();
    let (source, store) = (Source::new(&clock), Store::default());
    let tenants = tenants_over(&source, store).build().unwrap();
    for name in ["acme", "initech"] {
        let tokens = crate::support::tokens_of(&named(name), DAY, &clock);
        tenants.set_tokens(&named(name), tokens).await.unwrap();
    }
    pass(MINUTE).await;
    let layer = BearerAuthLayer::new(tenants.clone());
    let api = crate::support::Rejecting::new("Bearer a-acme");
    assert_eq!(api.call(&layer, &named("acme")).await, "Bearer a1");
    assert_eq!(
        api.call(&layer, &named("initech")).await,
        "Bearer a-initech"
    );
    assert_eq!(source.sent_refresh_tokens(), [Some("r-acme".to_owned())]);
}
