//! Caches over the store.

use tower_oauth2_client::{
    ErrorKind,
    store::{PostgresStore, TokenStore},
    token::{Generation, GrantState},
};

use crate::{
    SERVER, pool, replica, store,
    support::{ManualClock, Source, header},
    tenant,
};

#[tokio::test]
async fn replicas_share_one_grant_which_survives_a_restart() {
    let (options, store) = store().await;
    let source = Source::new(&ManualClock::new());
    let cache = |store| {
        source
            .cache()
            .store(store)
            .tenant("customer-1")
            .build()
            .unwrap()
    };
    let (one, two) = (cache(store.clone()), cache(replica(&options)));
    assert_eq!(header(&one).await, "Bearer a1");
    assert_eq!(header(&two).await, "Bearer a1");
    one.refresh_now().await.unwrap();
    // The save is announced to the other replica.
    while header(&two).await != "Bearer a2" {
        tokio::task::yield_now().await;
    }
    assert_eq!(source.refreshes(), 2);

    let stored = store.load(&tenant("customer-1")).await.unwrap().unwrap();
    assert_eq!(stored.generation, Generation::from_u64(2));
    assert!(matches!(stored.state, GrantState::Active(_)));

    let restarted = cache(replica(&options));
    assert_eq!(header(&restarted).await, "Bearer a2");
    assert_eq!(source.refreshes(), 2);

    one.revoke().await.unwrap();
    let error = two.refresh_now().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Revoked);
    assert_eq!(source.refreshes(), 2);
}

#[tokio::test]
async fn p23_tenants_in_one_store_have_separate_grants() {
    let (_, store) = store().await;
    let source = Source::new(&ManualClock::new());
    let cache = |tenant: &str| {
        source
            .cache()
            .store(store.clone())
            .tenant(tenant)
            .build()
            .unwrap()
    };
    let (one, two) = (cache("customer"), cache("Customer"));
    assert_eq!(header(&one).await, "Bearer a1");
    assert_eq!(header(&two).await, "Bearer a2");
    assert_eq!(header(&cache("customer")).await, "Bearer a1");
    assert_eq!(header(&cache("Customer")).await, "Bearer a2");
}

#[tokio::test]
async fn cache_works_over_a_socket_and_a_pool_of_one() {
    let options = SERVER.by_socket(&SERVER.database().await);
    let store = PostgresStore::new(pool(&options, 1))
        .schema("partner")
        .unwrap();
    store.migrate().await.unwrap();
    let source = Source::new(&ManualClock::new());
    let tokens = source.cache().store(store).build().unwrap();
    assert_eq!(header(&tokens).await, "Bearer a1");
    tokens.refresh_now().await.unwrap();
    assert_eq!(header(&tokens).await, "Bearer a2");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p11_one_of_concurrent_replicas_refreshes() {
    let (options, _) = store().await;
    let source = Source::new(&ManualClock::new());
    let mut replicas = Vec::new();
    for _ in 0..4 {
        let store = PostgresStore::new(pool(&options, 1));
        let tokens = source.cache().store(store).build().unwrap();
        assert_eq!(header(&tokens).await, "Bearer a1");
        replicas.push(tokens);
    }
    let mut refreshing = tokio::task::JoinSet::new();
    for tokens in replicas {
        refreshing.spawn(async move {
            tokens.refresh_now().await.unwrap();
            header(&tokens).await
        });
    }
    assert_eq!(refreshing.join_all().await, ["Bearer a2"; 4]);
    assert_eq!(source.refreshes(), 2);
}
